"""Promise: memory is bounded whatever the bytes: what passes a limit is a reject with its reason, its neighbours are read
on, and rows = samples + rejects."""

import bz2
import gzip
import json
import lzma
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tamis.pipeline.errors import SourceError
from tamis.pipeline.files.bytes_in import BLOCK_BYTES, BLOCK_LINES, OVERLONG, line_blocks, pieces, zstd
from tamis.pipeline.read import rejects
from tamis.pipeline.read.tables import columnar, pages
from tests_support import Runner

SMALL = {"record": "64k", "page": "1M"}
GOOD = [{"id": f"g{n}", "text": f"good {n}"} for n in range(5)]
PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd.compress,
}


def lines(*texts: str) -> bytes:
    rows = [json.dumps(one) for one in GOOD[:2]] + list(texts) + [json.dumps(one) for one in GOOD[2:]]
    return "".join(f"{row}\n" for row in rows).encode()


def read(run_in: Runner, place: Path, **source: Any) -> dict[str, int]:
    """Reasons of the rejects, where all that is good was read and all rows are accounted for."""
    asked = {"limits": SMALL, "key": "id", **source}
    asked = {name: value for name, value in asked.items() if value is not None}
    pool = run_in(place, pool=[asked], target=[], steps=[{"random": {"fraction": 1.0}}], emit=["keys"]).manifest["pool"]
    assert pool["rows"] == pool["samples"] + sum(pool["rejects"].values())
    keys = (place / "store" / "runs" / "run" / "exports").glob("*")
    told = "".join(path.read_text() for path in keys if path.is_file())
    assert all(one["id"] in told for one in GOOD) or asked.get("key") is None
    return dict(pool["rejects"])


LONG = {
    "plain": "x" * 200_000,
    "of JSON": json.dumps({"id": "b", "text": "x" * 200_000}),
    "blank": " " * 200_000,
    "nested": "[" * 200_000,
}


@pytest.mark.parametrize("kind", LONG)
@pytest.mark.parametrize("packed", ["", *PACK])
def test_a_line_that_is_too_long_costs_itself(kind: str, packed: str, run_in: Runner, tmp_path: Path) -> None:
    (tmp_path / f"pool.jsonl{packed}").write_bytes(PACK.get(packed, bytes)(lines(LONG[kind])))
    assert read(run_in, tmp_path, format="jsonl", path=f"pool.jsonl{packed}") == {"over_limit": 1}


@pytest.mark.parametrize("end", [0, 1])
def test_a_last_line_without_an_end_is_one_reject(end: int, run_in: Runner, tmp_path: Path) -> None:
    (tmp_path / "pool.jsonl").write_bytes(lines() + b"y" * 300_000 + b"\n" * end)
    assert read(run_in, tmp_path, format="jsonl", path="pool.jsonl") == {"over_limit": 1}


CSVS = {
    "a long line": "b," + "x" * 200_000,
    "many fields": "b" + "," * 100_000,
    "a quote that never closes": 'b,"' + "x" * 200_000,
    "a long field in quotes": 'b,"' + "x" * 200_000 + '"',
}


@pytest.mark.parametrize("kind", CSVS)
def test_a_record_of_a_csv_that_is_too_long_costs_itself(kind: str, run_in: Runner, tmp_path: Path) -> None:
    rows = [f"{one['id']},{one['text']}" for one in GOOD]
    (tmp_path / "pool.csv").write_text("\n".join(["id,text", *rows[:2], CSVS[kind], *rows[2:]]) + "\n")
    assert sum(read(run_in, tmp_path, format="csv", path="pool.csv").values()) == 1


def test_a_text_that_is_too_long_costs_itself(run_in: Runner, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    for number in range(3):
        (tmp_path / "texts" / f"{number}.txt").write_text(f"good {number}")
    (tmp_path / "texts" / "a.txt").write_text("x" * 100_000)
    (tmp_path / "texts" / "b.txt.gz").write_bytes(gzip.compress(b"x" * 50_000_000))
    (tmp_path / "texts" / "c.txt.zst").write_bytes(zstd.compress(b"x" * 50_000_000))
    assert read(run_in, tmp_path, format="texts", path="texts", key=None) == {"over_limit": 3}


def parquet(path: Path, big: str, **settings: Any) -> None:
    rows = [*GOOD[:2], {"id": "b", "text": big}, *GOOD[2:]]
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2, **settings)


@pytest.mark.parametrize(
    "settings", [{}, {"use_dictionary": False}, {"compression": "zstd"}, {"data_page_version": "2.0"}], ids=str
)
def test_a_page_or_value_that_is_too_large_costs_its_rows(
    settings: dict[str, Any], run_in: Runner, tmp_path: Path
) -> None:
    parquet(tmp_path / "pool.parquet", "x" * 100_000, **settings)
    assert read(run_in, tmp_path, format="parquet", path="pool.parquet") == {"over_limit": 1}, "a value"
    parquet(tmp_path / "other.parquet", "x" * 3_000_000, **settings)
    asked = {"format": "parquet", "path": "other.parquet", "key": "id", "limits": SMALL}
    pool = run_in(tmp_path, store="other", pool=[asked], target=[], steps=[{"random": {"budget": 1}}]).manifest["pool"]
    assert pool["rejects"] == {"over_limit": 1} and pool["samples"] == 4, "a page, and with it its row group"


def test_a_text_that_stands_once_in_a_file_and_in_many_rows_comes_few_at_a_time(tmp_path: Path) -> None:
    text = pa.array(["lorem ipsum " * 90_000])
    many = pa.DictionaryArray.from_arrays(pa.array([0] * 5000, pa.int32()), text)
    for typed in (True, False):  # whether the file says that it is of a dictionary
        path = tmp_path / "a.parquet"
        pq.write_table(pa.table({"text": many}), path, store_schema=typed)
        assert pa.types.is_dictionary(pq.read_schema(path).field("text").type) == typed
        assert path.stat().st_size < 1_000_000
        assert pages.pages_of(path, pages.chunks_of(path)[0], ["text"]).dictionary > 1_000_000
        fields = columnar.Fields(key=None, text="text", keep={}, types={"text": pa.string()})
        blocks = columnar.table_blocks(path, tmp_path, fields, columnar.parquet_batches)
        assert max(block.table.nbytes for block, _ in zip(blocks, range(3), strict=False)) < 64 << 20


@pytest.mark.parametrize("kind", ["file", "stream"])
@pytest.mark.parametrize("packing", ["lz4", "zstd"])
def test_a_packed_batch_of_arrow_is_looked_at_before_it_is_unpacked(kind: str, packing: str, tmp_path: Path) -> None:
    path = tmp_path / "a.arrow"
    table = pa.table({"text": ["x" * 1_000_000] * 8})
    with pa.OSFile(str(path), "wb") as out:
        writer = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
        with writer(out, table.schema, options=pa.ipc.IpcWriteOptions(compression=packing)) as to:
            to.write_table(table)
    assert path.stat().st_size < 100_000 and pages.largest_batch(path) > 8_000_000
    with pytest.raises(pa.ArrowInvalid, match="limits"):
        next(columnar.arrow_batches(path, tmp_path, ["text"], page=1 << 20))


@pytest.mark.parametrize("packed", PACK)
def test_pieces_of_a_packed_file_are_small(packed: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{packed}"
    path.write_bytes(PACK[packed](bytes(60_000_000)))
    assert path.stat().st_size < 200_000
    sizes = [len(piece) for piece in pieces(path)]
    assert sum(sizes) == 60_000_000
    assert max(sizes[1:] or [0]) <= 16 << 20 and (packed == ".zst" or max(sizes) <= BLOCK_BYTES)


def test_blocks_have_few_lines_and_long_ones_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"x\n" * 300_000 + b"y" * 5_000_000 + b"\nlast")
    found = list(line_blocks(path, most=1 << 20))
    assert max(block.count(b"\n") for block, _ in found) <= BLOCK_LINES
    assert [first for block, first in found if block is OVERLONG] == [300_001]
    assert found[-1] == (b"last", 300_002)


def test_rejects_go_to_the_disk_as_they_come(run_in: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejects, "HELD", 100)
    (tmp_path / "pool.jsonl").write_bytes(lines(*["x"] * 5000))
    assert read(run_in, tmp_path, format="jsonl", path="pool.jsonl") == {"bad_json": 5000}
    table = pq.read_table(tmp_path / "store" / "pool" / "rejects.parquet")
    assert table["position"].to_pylist() == list(range(3, 5003)), "in their order"


def test_folders_in_folders_a_thousand_deep_are_walked(run_in: Runner, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "top.txt").write_text("at the top")
    here = os.open(tmp_path / "texts", os.O_RDONLY)
    for depth in range(1600):  # deeper than a path can say, too
        os.mkdir("dd", dir_fd=here)
        below = os.open("dd", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
        if depth in (1000, 1500):
            file = os.open("deep.txt", os.O_WRONLY | os.O_CREAT, dir_fd=here)
            os.write(file, f"at {depth}".encode())
            os.close(file)
    os.close(here)
    told = read(run_in, tmp_path, format="texts", path="texts", key=None)
    pool = json.loads((tmp_path / "store" / "runs" / "run" / "manifest.json").read_text())["pool"]
    assert pool["samples"] == 2 and told == {"unreadable_file": 1}
    subprocess.run(["rm", "-rf", str(tmp_path / "texts")], check=True)


ODD = {
    "numbers beyond 64 bits": '{"id": "b", "text": "t", "n": ' + "9" * 5000 + "}", "nesting": '{"id": "b", "text": ' + "[" * 50_000,
    "closed nesting": '{"id": "b", "x": ' + "[" * 20_000 + "]" * 20_000 + ', "text": "t"}', "a name of a mile": '{"' + "k" * 60_000 + '": 1}',
    "a null": "null", "halves of characters": '{"id": "b", "text": "\\ud800"}', "a number as a text": '{"id": "b", "text": 1e999}',
}  # fmt: skip


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_record_costs_no_neighbour(kind: str, run_in: Runner, tmp_path: Path) -> None:
    (tmp_path / "pool.jsonl").write_bytes(lines(ODD[kind]))
    assert sum(read(run_in, tmp_path, format="jsonl", path="pool.jsonl", keep=[]).values()) <= 1


def test_the_limit_is_the_sources_own(run_in: Runner, tmp_path: Path) -> None:
    (tmp_path / "pool.jsonl").write_bytes(lines(LONG["of JSON"]))
    assert read(run_in, tmp_path, format="jsonl", path="pool.jsonl", limits={"record": "1M"}) == {}
    with pytest.raises(Exception, match="limits"):
        run_in(tmp_path, pool=[{"format": "jsonl", "path": "pool.jsonl", "limits": {"record": "0"}}], target=[])


def test_targets_have_limits_too(run_in: Runner, tmp_path: Path) -> None:
    (tmp_path / "pool.jsonl").write_bytes(lines())
    (tmp_path / "target.jsonl").write_bytes(lines("x" * 200_000))
    source = {"format": "jsonl", "path": "target.jsonl", "limits": SMALL}
    pool = [{"format": "jsonl", "path": "pool.jsonl", "key": "id"}]
    steps = [{"importance_resampling": {"budget": 2}}]
    assert run_in(tmp_path, pool=pool, target=[source], steps=steps).manifest["target"]["rejects"] == {"over_limit": 1}
    with pytest.raises(SourceError, match="strict"):
        run_in(tmp_path, name="other", pool=pool, target=[source], steps=steps, strict=True)


# A child's peak begins with its parent's size, which is a test worker's own: so the command is a small one's child.
MEASURED = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


def packed_jsonl(path: Path) -> dict[str, Any]:
    (path / "a.jsonl.bz2").write_bytes(bz2.compress(lines()) + bz2.compress(b" " * 45_000_000) * 30)
    return {"format": "jsonl", "path": "a.jsonl.bz2"}


def packed_csv(path: Path) -> dict[str, Any]:
    (path / "a.csv.bz2").write_bytes(bz2.compress(b"text\ngood\n") + bz2.compress(b"x" * 45_000_000) * 30)
    return {"format": "csv", "path": "a.csv.bz2"}


def packed_text(path: Path) -> dict[str, Any]:
    (path / "a.txt.xz").write_bytes(lzma.compress(bytes(45_000_000)) * 30)
    (path / "good.txt").write_text("beside it")
    return {"format": "texts", "path": "*.txt*"}


def nested(path: Path) -> dict[str, Any]:
    (path / "a.jsonl").write_bytes(lines(*['{"id": "b", "text": ' + "[" * 100_000] * 20))
    return {"format": "jsonl", "path": "a.jsonl"}


def bad_lines(path: Path) -> dict[str, Any]:
    (path / "a.jsonl.gz").write_bytes(gzip.compress(lines() + b"x\n" * 200_000))
    return {"format": "jsonl", "path": "a.jsonl.gz"}


def many_files(path: Path) -> dict[str, Any]:
    (path / "texts").mkdir()
    for number in range(5000):
        (path / "texts" / f"{number}.txt").write_text(f"text {number}")
    return {"format": "texts", "path": "texts"}


def one_text_in_many_rows(path: Path) -> dict[str, Any]:
    text = pa.array(["lorem ipsum " * 90_000])
    pq.write_table(
        pa.table({"text": pa.DictionaryArray.from_arrays(pa.array([0] * 2000, pa.int32()), text)}), path / "a.parquet"
    )
    return {"format": "parquet", "path": "a.parquet"}


def page(path: Path) -> dict[str, Any]:
    pq.write_table(
        pa.table({"text": ["x" * 20_000_000] * 4}), path / "a.parquet", use_dictionary=False, compression="zstd"
    )
    pq.write_table(pa.table({"text": ["good"]}), path / "b.parquet")
    return {"format": "parquet", "path": "*.parquet", "limits": {"page": "16M"}}


def batch(path: Path) -> dict[str, Any]:
    table = pa.table({"text": ["x" * 20_000_000] * 4})
    for name, held in (("a", table), ("b", pa.table({"text": ["good"]}))):
        packed = pa.ipc.IpcWriteOptions(compression="zstd")
        with (
            pa.OSFile(str(path / f"{name}.arrow"), "wb") as out,
            pa.ipc.new_stream(out, held.schema, options=packed) as to,
        ):
            to.write_table(held)
    return {"format": "hf", "path": "*.arrow", "limits": {"page": "16M"}}


BOMBS: dict[Callable[[Path], dict[str, Any]], str] = {
    packed_jsonl: "1 over_limit", packed_csv: "1 over_limit", packed_text: "1 over_limit", nested: "20 bad_json",
    bad_lines: "200,000 bad_json", many_files: "5,000", one_text_in_many_rows: "1,999 exact_duplicate",
    page: "over_limit", batch: "1 unreadable_file",
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_what_is_small_and_becomes_large_takes_little_memory(
    bomb: Callable[[Path], dict[str, Any]], tmp_path: Path
) -> None:
    """In a process of its own, whose peak is counted; its neighbours are read."""
    recipe = {"pool": [bomb(tmp_path)], "steps": [{"random": {"budget": 1}}]}
    assert sum(path.stat().st_size for path in tmp_path.iterdir() if path.is_file()) < 2_100_000
    (tmp_path / "r.yaml").write_text(json.dumps(recipe))
    command = [Path(sys.executable).with_name("tamis"), "run", "r.yaml", "--store", "s", "--local"]
    small = [sys.executable, "-SEc", MEASURED, *command]
    done = subprocess.run(small, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stderr.split()[-1]) < 1_000_000, "KB"
    assert BOMBS[bomb] in done.stderr, done.stderr
