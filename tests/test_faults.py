"""What tamis promises where something goes wrong, each shown by letting it go wrong.

Here in a short form; `python bench/faults.py` runs them all at length and prints what was promised and what was seen."""

import csv
import json
import os
import resource
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

from tamis.flows import settings
from tamis.pipeline.errors import TamisError
from tamis.pipeline.progress import hushed
from tamis.pipeline.read import formats
from tamis.pipeline.recipe.recipe import parse_recipe
from tamis.pipeline.starting import run_recipe
from tamis.pipeline.store.manifest import verify
from tamis.pipeline.store.runs import open_complete
from tests_support import BASIC, OF_PHOTOS, Runner, result_bytes, write_jsonl, write_tar

settings.apply()
KILLS = int(os.environ.get("TAMIS_FAULT_KILLS", "0"))  # for each engine; 0: the short form, the plain loop alone
FLIPS = int(os.environ.get("TAMIS_FAULT_FLIPS", "150"))
CASES = int(os.environ.get("TAMIS_FAULT_CASES", "30"))  # of each fuzzer
Seen = Callable[[str, Any], None]
TAMIS = Path(sys.executable).with_name("tamis")


def tamis(folder: Path, *arguments: str, **more: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([TAMIS, *arguments], cwd=folder, capture_output=True, text=True, check=False, **more)


def one_line(ended: "subprocess.CompletedProcess[str]", code: int) -> str:
    """What a failed command said last; it told no traceback."""
    assert ended.returncode == code and "Traceback" not in ended.stderr, ended.stderr
    return ended.stderr.strip().splitlines()[-1]


# ---------------------------------------------------------------- the machine


@pytest.mark.fault(
    "No room to write: one line, exit 1, nothing half; with room again the same command goes on to the same bytes"
)
def test_files_may_not_grow(run_in: Runner, workplace: Path, record_property: Seen) -> None:
    wanted = result_bytes(run_in(workplace, name="run", store="whole").folder)
    told = []
    for limit in (2_000, 40_000, 150_000, 400_000):
        ended = tamis(
            workplace, "run", "run.yaml", "--store", "small", "--local",
            preexec_fn=lambda size=limit: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
        )  # fmt: skip
        if ended.returncode:
            told.append(one_line(ended, 1))
            assert "no space left" in told[-1]
        for path in (workplace / "small").rglob("part-*.parquet"):
            pq.read_metadata(path)
    assert len(told) >= 2
    assert result_bytes(run_in(workplace, name="run", store="small").folder) == wanted
    record_property(
        "seen", f"{len(told)} runs stopped at a file's largest size, each with one line; then the same bytes"
    )


@pytest.mark.fault("A full disk: the same")
def test_a_disk_is_full(run_in: Runner, workplace: Path, record_property: Seen) -> None:
    wanted = result_bytes(run_in(workplace, name="run", store="whole").folder)
    inside(
        workplace,
        f"""
        mkdir disk && mount -t tmpfs -o size=600k none disk
        {TAMIS} run run.yaml --store disk/store --local 2> full.txt; echo $? > code
        mount -o remount,size=64m disk
        {TAMIS} run run.yaml --store disk/store --local && cp -r disk/store roomy
        """,
    )
    assert (workplace / "code").read_text().strip() == "1" and "Traceback" not in (workplace / "full.txt").read_text()
    assert "no space left" in (workplace / "full.txt").read_text().splitlines()[-1]
    assert result_bytes(workplace / "roomy" / "runs" / "run") == wanted
    record_property("seen", "tmpfs of 600 kB: one line; of 64 MB: the same bytes")


@pytest.mark.fault("A read-only store: a run is refused in one line, exit 2; why, sql, verify and report still answer")
def test_a_store_can_not_be_written(run_in: Runner, workplace: Path, record_property: Seen) -> None:
    run = run_in(workplace, name="run").folder
    key = pq.read_table(run / "selection.parquet")["key"][0].as_py()
    inside(
        workplace,
        f"""
        mount --bind store store && mount -o remount,ro,bind store
        {TAMIS} run run.yaml --store store --run other --local 2> refused.txt; echo $? > code
        {TAMIS} why store/runs/run '{key}' && {TAMIS} verify store/runs/run && {TAMIS} report store/runs/run
        {TAMIS} sql store/runs/run "select count(*) from ledger"
        """,
    )
    assert (workplace / "code").read_text().strip() == "2"
    refused = (workplace / "refused.txt").read_text()
    assert "can't be written" in refused and "Traceback" not in refused and len(refused.splitlines()) == 1
    record_property("seen", "refused in one line; the four readers answered")


def inside(folder: Path, script: str) -> None:
    """Run a script where it may mount; skips where this user may not."""
    if subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs leave to mount")
    ended = subprocess.run(
        ["unshare", "-m", "bash", "-e", "-o", "pipefail", "-c", f"set +e\n{script}"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr


CLOCK = """
import datetime, random, sys, time
chance, real = random.Random(5), time.time
time.time = lambda: real() + chance.uniform(-3e8, 3e8)
import tamis.pipeline.store.manifest as manifest
class Jumping(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.datetime.fromtimestamp(time.time(), tz)
manifest.datetime = Jumping
from tamis.pipeline.cli.app import main
sys.argv[1:] = ["run", "run.yaml", "--store", "jumped", "--local"]
main()
"""


@pytest.mark.fault("A clock that jumps by years at every look: the same bytes, and the same again is the same run")
def test_the_clock_jumps(run_in: Runner, workplace: Path, record_property: Seen) -> None:
    wanted = result_bytes(run_in(workplace, name="run", store="whole").folder)
    os.utime(workplace / "pool.jsonl", (4e9, 4e9))  # a file of the next century
    for _ in range(2):
        ended = subprocess.run(
            [sys.executable, "-c", CLOCK], cwd=workplace, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stderr
    assert "nothing was rewritten" in ended.stderr
    assert result_bytes(workplace / "jumped" / "runs" / "run") == wanted
    record_property("seen", "same bytes; the second time nothing was rewritten")


@pytest.mark.fault("Two runs at once, of one recipe and of two: one waits for the other, both are whole")
def test_two_runs_at_once(run_in: Runner, workplace: Path, record_property: Seen) -> None:
    wanted = result_bytes(run_in(workplace, name="one", store="whole").folder)
    (workplace / "two.yaml").write_text((workplace / "one.yaml").read_text().replace("budget: 100", "budget: 50"))
    asked = [("one", "one"), ("one", "one"), ("two", "two"), ("two", "three")]
    began = [
        subprocess.Popen([TAMIS, "run", f"{recipe}.yaml", "--store", "store", "--run", name, "--local"], cwd=workplace)
        for recipe, name in asked
    ]
    assert [process.wait() for process in began] == [0, 0, 0, 0]
    assert result_bytes(workplace / "store" / "runs" / "one") == wanted
    for name in ("one", "two", "three"):
        assert verify(open_complete(workplace / "store" / "runs" / name)) == []
    record_property("seen", "four at once, three runs: all verified, the same bytes")


# ---------------------------------------------------------------- what is read


def gone(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def changed(path: Path) -> None:
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[::2], '{"id": "new", "text": "of another day"}']))


@pytest.mark.fault(
    "A source that is deleted, cut or changed while it is read: what was read is accounted for, or one line; the next run reads it anew"
)
@pytest.mark.parametrize("how", [gone, cut, changed], ids=["deleted", "cut", "changed"])
def test_a_source_changes_during_the_run(
    run_in: Runner, workplace: Path, monkeypatch: pytest.MonkeyPatch, how: Any, record_property: Seen
) -> None:
    for number in range(3):
        write_jsonl(
            workplace / f"pool-{number}.jsonl",
            [{"id": f"{number}-{n}", "text": f"text {n} of {number}"} for n in range(400)],
        )
    real, met = formats._calls_of, []

    def meddled(source: Any, path: Path, root: Path, types: Any) -> Any:
        if path.name == "pool-1.jsonl" and not met:
            met.append(how(path))
        return real(source, path, root, types)

    asked = {
        **BASIC,
        "pool": [{"format": "jsonl", "path": "pool-*.jsonl", "key": "id"}],
        "steps": [{"random": {"budget": 50}}],
        "target": [],
        "emit": [],
    }
    with monkeypatch.context() as patch:
        patch.setattr(formats, "_calls_of", meddled)
        try:
            first = run_in(workplace, name="run", **asked)
        except TamisError as error:
            assert "\n" not in str(error)
            seen = f"one line ({type(error).__name__})"
        else:
            assert verify(open_complete(first.folder)) == []
            told = first.manifest["pool"]
            seen = f"{told['rows']:,} rows = {told['samples']:,} samples + {sum(told['rejects'].values()):,} rejects"
    assert met
    second = run_in(workplace, name="second", **asked)
    assert verify(open_complete(second.folder)) == []
    there = sum(len(path.read_text().splitlines()) for path in workplace.glob("pool-*.jsonl"))
    assert second.manifest["pool"]["rows"] == there, "the next run sees the files as they are now"
    record_property("seen", f"{seen}; then {there:,} rows")


@pytest.mark.fault(
    "A tar with ../ members, absolute paths, links and devices: read as data, nothing is written outside the store"
)
def test_a_tar_wants_out(run_in: Runner, photos: Path, tmp_path: Path, record_property: Seen) -> None:
    (tmp_path / "tars").mkdir()
    picture = (photos / "digits" / "00.png").read_bytes()
    with tarfile.open(tmp_path / "tars" / "00000.tar", "w") as tar:
        for name in ("../out.png", "../../out.txt", str(tmp_path / "absolute.png"), "fine.png", "a/../../b.png"):
            member = tarfile.TarInfo(name)
            member.size = len(picture)
            tar.addfile(member, __import__("io").BytesIO(picture))
        for name, kind, to in (
            ("link.png", tarfile.SYMTYPE, "/etc/passwd"),
            ("hard.png", tarfile.LNKTYPE, "/etc/passwd"),
            ("null.png", tarfile.CHRTYPE, ""),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, to
            tar.addfile(member)
    before = {path for path in tmp_path.rglob("*") if "store" not in path.parts}
    run = run_in(
        tmp_path,
        name="run",
        **{**OF_PHOTOS, "pool": [{"format": "webdataset", "path": "tars/*.tar"}], "emit": ["webdataset", "hf", "keys"]},
    )
    after = {path for path in tmp_path.rglob("*") if "store" not in path.parts}
    assert after - before == {tmp_path / "run.yaml"}
    assert verify(open_complete(run.folder)) == []
    text = b"".join(path.read_bytes() for path in run.folder.rglob("*") if path.is_file())
    assert b"root:x:0:0" not in text
    for tarred in (run.folder / "exports" / "webdataset").glob("*.tar"):
        with tarfile.open(tarred) as tar:
            assert all(m.isfile() and not m.name.startswith("/") and ".." not in m.name.split("/") for m in tar)
    told = run.manifest["pool"]
    record_property("seen", f"{told['samples']} samples, {sum(told['rejects'].values())} rejects; nothing outside")


EVIL = [
    '=HYPERLINK("http://evil","x")',
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    '<script>alert("x")</script>',
    "<img src=http://evil/ onerror=alert(1)>",
    "\x1b[2J",
    "\t=1+1",
]


@pytest.mark.fault(
    "HTML, script, terminal codes and formulas in texts and fields: inert in the report, the terminal, and the CSV made for people"
)
def test_texts_that_would_run(run_in: Runner, tmp_path: Path, record_property: Seen) -> None:
    rows = [
        {"id": f"k{n} {evil}", "text": f"{evil} {n}", "author": evil, "license": evil}
        for n in range(5)
        for evil in EVIL
    ]
    write_jsonl(tmp_path / "pool.jsonl", rows)
    run = run_in(
        tmp_path, name="run", pool=[{"format": "jsonl", "path": "pool.jsonl", "key": "id", "keep": ["author", "license"]}],
        target=[], steps=[{"random": {"budget": 30}}], emit=["csv", "keys"],
    )  # fmt: skip
    page = (run.folder / "report.html").read_text()
    assert "<script>alert" not in page and "<img src=http" not in page
    key = rows[6]["id"]
    ended = tamis(tmp_path, "why", str(run.folder), key)
    assert ended.returncode == 0 and "\x1b" not in ended.stdout
    with (run.folder / "exports" / "attribution.csv").open(newline="") as file:
        cells = [cell for row in list(csv.reader(file))[1:] for cell in row]
    assert not [cell for cell in cells if cell.lstrip("\t\r ")[:1] in ("=", "+", "-", "@")], "a sheet would run it"
    with (run.folder / "exports" / "selection.csv").open(newline="") as file:
        texts = {row["text"] for row in csv.DictReader(file)}
    assert texts <= {row["text"] for row in rows}, "the copy for programs holds samples as they are"
    record_property(
        "seen", f"{len(EVIL)} kinds, none of them live; selection.csv, for programs, holds samples unchanged"
    )


# ---------------------------------------------------------------- damage, and nonsense


WORDS = st.sampled_from(
    [
        "pool",
        "steps",
        "random",
        "budget",
        "where",
        "key",
        "text",
        "nan",
        "",
        "../x",
        "a.b",
        "path",
        "jsonl",
        "exact_dedup",
        "column",
        "\x00",
        "🤷",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)

LIKELY = (
    st.integers(-1, 50)
    | st.floats(0, 1)
    | st.sampled_from(["part = 'a'", "length(text) > 300", "part", "sample_id", "csv", [], {}])
)


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*at, key))


@pytest.mark.fault("Any recipe: it runs and adds up, or is refused in words; never a traceback")
def test_any_recipe(
    tmp_path_factory: pytest.TempPathFactory, doc_records: list[dict[str, str]], record_property: Seen
) -> None:
    folder = tmp_path_factory.mktemp("recipes")
    write_jsonl(folder / "pool.jsonl", doc_records[:40])
    write_jsonl(folder / "target.jsonl", doc_records[50:60])
    whole = {
        **BASIC,
        "name": "any",
        "steps": [
            {"exact_dedup": {"where": "part <> 'x'"}},
            {"threshold": {"column": "n_bytes", "above": 3, "budget": 20}},
            {"random": {"fraction": 0.5}},
        ],
    }
    counts = {"ran": 0, "refused": 0}

    @given_settings(max_examples=CASES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def fuzz(data: Any) -> None:
        recipe = json.loads(json.dumps(whole))
        at = data.draw(st.sampled_from([place for place in places(recipe) if place]))
        node = recipe
        for key in at[:-1]:
            node = node[key]
        if data.draw(st.booleans()):
            node[at[-1]] = data.draw(LIKELY | VALUES)
        elif isinstance(node, dict):
            node[data.draw(WORDS)] = node.pop(at[-1])
        else:
            node.append(data.draw(VALUES))
        store = folder / f"store-{sum(counts.values())}"
        try:
            with hushed():
                run = run_recipe(parse_recipe(recipe, folder), folder, store)
            assert verify(open_complete(run.folder)) == []
            counts["ran"] += 1
        except TamisError as error:
            assert str(error).strip() and len(str(error)) < 3000
            counts["refused"] += 1
        shutil.rmtree(store, ignore_errors=True)
        assert not (folder.parent / "x").exists()

    fuzz()
    record_property("seen", f"{counts['ran']} ran and were verified, {counts['refused']} refused in words")


LINES = st.one_of(
    st.binary(max_size=60),
    st.builds(lambda value: json.dumps(value).encode(), VALUES),
    st.builds(lambda key, text: json.dumps({"id": key, "text": text, "part": key}).encode(), st.text(max_size=5), st.text(max_size=40)),
    st.builds(lambda key, text: json.dumps({"id": key, "text": text}, ensure_ascii=False).encode("utf-8", "surrogatepass"), st.text(max_size=3), st.text(max_size=20)),
)  # fmt: skip


@pytest.mark.fault("Any bytes as a pool: every row is a sample or a reject with its reason; never a traceback")
@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet", "texts", "webdataset"])
def test_any_pool(format: str, tmp_path_factory: pytest.TempPathFactory, photos: Path, record_property: Seen) -> None:
    folder = tmp_path_factory.mktemp(format)
    names = {
        "jsonl": "pool.jsonl",
        "csv": "pool.csv",
        "parquet": "pool.parquet",
        "texts": "texts/a.txt",
        "webdataset": "tars/0.tar",
    }
    path = folder / names[format]
    path.parent.mkdir(exist_ok=True)
    seeds = seed_of(format, folder, photos)
    keyed = {"key": "id"} if format in ("jsonl", "csv", "parquet") else {}
    recipe = {
        "name": "any",
        "pool": [{"format": format, "path": names[format].split("/")[0], **keyed}],
        "steps": [{"exact_dedup": {}}],
        "emit": ["jsonl"],
    }
    counts = {"ran": 0, "refused": 0, "rows": 0, "rejects": 0}

    @given_settings(
        max_examples=CASES // 3 if format == "webdataset" else CASES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def fuzz(data: Any) -> None:
        if format == "jsonl":
            path.write_bytes(b"\n".join(data.draw(st.lists(LINES, min_size=1, max_size=12))))
        else:
            path.write_bytes(bent(seeds, data))
        store = folder / f"store-{counts['ran'] + counts['refused']}"
        try:
            with hushed():
                run = run_recipe(parse_recipe(recipe, folder), folder, store)
            assert verify(open_complete(run.folder)) == []
            counts["ran"] += 1
            counts["rows"] += run.manifest["pool"]["rows"]
            counts["rejects"] += sum(run.manifest["pool"]["rejects"].values())
        except TamisError as error:
            assert str(error).strip()
            counts["refused"] += 1
        shutil.rmtree(store, ignore_errors=True)

    fuzz()
    told = f"{counts['rows']:,} rows, {counts['rejects']:,} of them rejects; {counts['refused']} pools without one usable row"
    record_property("seen", f"{format}: {counts['ran']} pools ran: {told}")


def seed_of(format: str, folder: Path, photos: Path) -> bytes:
    """A good file of the format, to be bent."""
    if format == "texts":
        return b"A text of some words.\nAnd another line."
    if format == "csv":
        return b'id,text\na,"first, quoted"\nb,"two\nlines"\nc,third\n'
    if format == "parquet":
        import pyarrow as pa

        pq.write_table(pa.table({"id": ["a", "b", "c"], "text": ["first", "second", None]}), folder / "seed.parquet")
        return (folder / "seed.parquet").read_bytes()
    few = folder / "few"
    few.mkdir()
    for picture in sorted((photos / "digits").glob("*.png"))[:4]:
        shutil.copy(picture, few)
    (few / "00.txt").write_text("a caption")
    return write_tar(folder / "seed.tar", few).read_bytes()


def bent(whole: bytes, data: Any) -> bytes:
    """Some bytes changed, taken out, or put in."""
    out = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(out) - 1)))
        how = data.draw(st.sampled_from(["flip", "cut", "put", "end"]))
        if how == "flip" and out:
            out[at] ^= 1 << data.draw(st.integers(0, 7))
        elif how == "cut":
            del out[at : at + data.draw(st.integers(1, 600))]
        elif how == "put":
            out[at:at] = data.draw(st.binary(max_size=20))
        else:
            del out[at:]
    return bytes(out)
