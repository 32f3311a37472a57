"""Hostile, damaged and odd images: each costs itself alone, is counted with its reason, and nothing crashes or hangs.

All cases are read by one run, but for those that raise or hang already while their rows are listed."""

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile_images import GOOD, Case, make_corpus, packed, photo

from tamis.pipeline.decode import decoders
from tamis.pipeline.progress import hushed
from tamis.pipeline.read.images import blocks as image_blocks
from tamis.pipeline.read.images.folders import Row
from tamis.pipeline.read.images.rows import image_rows
from tamis.pipeline.read.kept_types import settle_types
from tamis.pipeline.read.sources import find_files
from tamis.pipeline.recipe.recipe import parse_recipe
from tamis.pipeline.schemas import REJECT_REASONS
from tamis.pipeline.starting import run_recipe


@dataclass
class Found:
    """What came of one case, or what its reading raised."""

    samples: list[dict[str, Any]] = field(default_factory=list)  # the pool's rows, with `vector`
    rejects: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None


@dataclass(frozen=True)
class Read:
    """A whole run, as its files tell it."""

    manifest: dict[str, Any]
    parts: list[tuple[pa.Table, pa.Table]]  # (pool, column) of each shard
    rejects: list[dict[str, Any]]

    @property
    def samples(self) -> list[dict[str, Any]]:
        return [
            {**row, "vector": vector}
            for pool, column in self.parts
            for row, vector in zip(pool.to_pylist(), column["look"].to_pylist(), strict=True)
        ]


def read(folder: Path, sources: list[dict[str, Any]]) -> Read:
    """Run a recipe without steps and with the column that needs no weights."""
    folder.mkdir(parents=True)
    recipe = parse_recipe({"name": "t", "pool": sources, "columns": {"look": {"embed": "classic"}}}, folder)
    with hushed():
        run = run_recipe(recipe, folder, folder / "store")
    (column,) = (folder / "store" / "columns").iterdir()
    parts = [
        (pq.read_table(path), pq.read_table(column / path.name))
        for path in sorted((folder / "store" / "pool").glob("part-*"))
    ]
    return Read(run.manifest, parts, pq.read_table(folder / "store" / "pool" / "rejects.parquet").to_pylist())


class NotDone(BaseException):
    """No Exception, and no TimeoutError, which is an OSError: readers rightly turn those into rejects."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """A reader that never ends is a failure, not a wait."""

    def ring(*_: Any) -> None:
        raise NotDone(f"not done after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def raised(case: Case) -> str | None:
    """What reading a case raises, with every image taken for a good one: milliseconds, where a run takes a second."""
    try:
        with at_most(2):
            source = parse_recipe({"name": "t", "pool": [case.source]}, Path("/")).pool[0]
            files = find_files(source)
            json.dumps([file.record() for file in files]).encode()
            types, _ = settle_types([source], [(0, files)], None)
            items = list(image_rows(source, files))
            sum(map(image_blocks._size, items))
            facts = [[1, 1, 1, "00" * 16] for item in items if isinstance(item, Row)]
            image_blocks._block(source, types, items, facts, [])
    except (Exception, NotDone) as error:  # noqa: BLE001  whatever it is, it is the finding
        return f"{type(error).__name__}: {str(error)[:200]}"
    return None


class Reader:
    """Reads cases together, those of equal settings as one source: starting workers takes longer than decoding."""

    def __init__(self, root: Path) -> None:
        self.root, self.reads, self.found = root, [], {}
        (root / "clean").mkdir(parents=True)
        for number, data in enumerate(GOOD):
            (root / "clean" / f"clean{number}.jpg").write_bytes(data)

    def take(self, cases: list[Case]) -> None:
        by_settings: dict[str, list[Case]] = {}
        for case in cases:
            settings = {key: value for key, value in case.source.items() if key != "path"}
            by_settings.setdefault(json.dumps(settings, sort_keys=True), []).append(case)
        sources = [
            {**json.loads(settings), "path": [c.source["path"] for c in some]} for settings, some in by_settings.items()
        ]
        clean = {"format": "images", "path": str(self.root / "clean"), "namespace": "clean"}  # no run has no sample
        with at_most(60):
            self._sort(cases, read(self.root / f"run{len(os.listdir(self.root))}", [clean, *sources]))

    def take_sound(self, cases: list[Case]) -> None:
        """All in one run but those that fail already when they are read without decoding: one hides no other."""
        self.found |= {case.name: Found(error=told) for case in cases if (told := raised(case))}
        self.take([case for case in cases if case.name not in self.found])

    def _sort(self, cases: list[Case], whole: Read) -> None:
        found = {case.name: Found() for case in cases}
        for rows, kind in ((whole.samples, "samples"), (whole.rejects, "rejects")):
            for row in rows:
                place = Path(row["source"])
                if place.parent.name != "clean":
                    getattr(found[place.relative_to(self.root / "corpus").parts[0]], kind).append(row)
        self.found |= found
        self.reads.append(whole)


@dataclass(frozen=True)
class Seen:
    cases: list[Case]
    found: dict[str, Found]
    reads: list[Read]  # the runs that came to their end


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    root = tmp_path_factory.mktemp("hostile")
    reader = Reader(root)
    cases = make_corpus(root / "corpus")
    reader.take_sound(cases)
    return Seen(cases, reader.found, reader.reads)


def differing(seen: Seen, wanted: Callable[[Case], Any], got: Callable[[Case, Found], Any]) -> dict[str, Any]:
    """The cases that came to another end than they say: (wanted, found), or what was raised."""
    differ: dict[str, Any] = {}
    for case in seen.cases:
        found = seen.found[case.name]
        if not found.error and wanted(case) != got(case, found):
            differ[case.name] = {"wanted": wanted(case), "found": got(case, found)}
    return differ


def none(differ: dict[str, Any]) -> None:
    """No case differs; else each in a line of its own, which pytest's own report would cut."""
    assert not differ, "\n" + "\n".join(f"{name}: {what}" for name, what in differ.items())


def test_the_corpus_is_large_and_names_known_reasons(seen: Seen) -> None:
    assert len(seen.cases) >= 40
    named = {reason for case in seen.cases for reason in case.rejects}
    assert named <= set(REJECT_REASONS)
    assert set(REJECT_REASONS) - named == {"empty_text", "id_collision", "over_limit", "wrong_type"}, (
        "tested with texts"
    )


def test_no_case_raises_or_hangs(seen: Seen) -> None:
    none({name: found.error for name, found in seen.found.items() if found.error})


def test_each_case_gives_the_samples_and_rejects_that_it_says(seen: Seen) -> None:
    none(
        differing(
            seen,
            lambda case: (case.samples, case.rejects),
            lambda _, found: (len(found.samples), dict(Counter(row["reason"] for row in found.rejects))),
        )
    )


def test_samples_and_rejects_bear_their_own_keys(seen: Seen) -> None:
    none(
        differing(
            seen,
            lambda case: (case.keys, case.lost),
            lambda case, found: (
                case.keys & {row["key"] for row in found.samples},
                case.lost & {row["key"] for row in found.rejects},
            ),
        )
    )


def test_sizes_are_those_of_the_image_as_displayed(seen: Seen) -> None:
    def sizes(case: Case, found: Found) -> dict[str, Any]:
        return {row["key"]: (row["width"], row["height"]) for row in found.samples if row["key"] in case.sizes}

    none(differing(seen, lambda case: case.sizes, sizes))


def test_captions_are_whole_or_none(seen: Seen) -> None:
    def texts(case: Case, found: Found) -> dict[str, Any]:
        return {row["key"]: row["text"] and row["text"][:99] for row in found.samples if row["key"] in case.texts}

    none(differing(seen, lambda case: case.texts, texts))


def test_rejects_say_why_in_words(seen: Seen) -> None:
    def said(case: Case, found: Found) -> tuple[str, ...]:
        details = [row["detail"] for row in found.rejects]
        assert all(details), case.name
        return tuple(words for words in case.details if any(words in detail for detail in details))

    none(differing(seen, lambda case: case.details, said))


def test_source_rows_are_samples_and_rejects(seen: Seen) -> None:
    for whole in seen.reads:
        rows = sum(pool.num_rows for pool, _ in whole.parts)
        told = whole.manifest["pool"]
        assert (told["rows"], told["samples"]) == (rows + len(whole.rejects), rows)


def test_every_row_of_the_column_is_its_pools_and_holds_a_vector(seen: Seen) -> None:
    for whole in seen.reads:
        for pool, column in whole.parts:
            assert column["sample_id"].equals(pool["sample_id"])
            assert column["look"].null_count == 0


def test_good_neighbours_have_the_vectors_that_they_have_without_bad_ones(seen: Seen, tmp_path: Path) -> None:
    for number, data in enumerate(GOOD):
        (tmp_path / f"{number}.jpg").write_bytes(data)
    alone = read(tmp_path / "run", [{"format": "images", "path": str(tmp_path / "*.jpg")}]).samples
    wanted = {row["content_hash"]: row["vector"] for row in alone}
    assert len(wanted) == len(GOOD)
    among = [row for found in seen.found.values() for row in found.samples if row["content_hash"] in wanted]
    assert len(among) > len(seen.cases)
    assert [row["key"] for row in among if row["vector"] != wanted[row["content_hash"]]] == []


DECODER = """
import os, time, PIL.Image
plain = PIL.Image.open
def open(*arguments, **named):
    image = plain(*arguments, **named)
    if image.size == (13, 37):
        os.abort()
    if image.size == (13, 38):
        time.sleep(1000)
    return image
PIL.Image.open = open
"""


@pytest.mark.fault("An image that crashes or hangs the decoder: that one is a reject")
def test_a_decoder_that_crashes_or_hangs_costs_the_one_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow itself is made to crash and to hang, in the worker processes and on images of one size."""
    images = {f"{number:02d}": photo(number) for number in range(40)}
    images |= {"05": photo(50, 13, 37), "09": photo(50, 13, 38), "38": photo(51, 13, 37)}
    place = tmp_path / "images"
    place.mkdir()
    for key, image in images.items():
        (place / f"{key}.png").write_bytes(packed(image, "PNG"))
    source = {"format": "images", "path": str(place)}
    before = {row["key"]: row["vector"] for row in read(tmp_path / "before", [source]).samples}
    assert len(before) == 40
    (tmp_path / "sitecustomize.py").write_text(DECODER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(decoders, "ONE_SECONDS", 2.0)
    with at_most(60):
        after = read(tmp_path / "after", [source])
    assert [(row["key"], row["reason"]) for row in after.rejects] == [
        (key, "undecodable") for key in ("05", "09", "38")
    ]
    assert {row["key"]: row["vector"] for row in after.samples} == {
        k: v for k, v in before.items() if k not in ("05", "09", "38")
    }


def workers_at_work() -> list[int]:
    """Our own decoding workers that have mapped the shared memory: they are past their start."""
    mine = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            ours = parent == os.getpid() and b"decode.worker" in (place / "cmdline").read_bytes()
            if ours and "(deleted)" in (place / "maps").read_text():
                mine.append(int(place.name))
        except (OSError, ValueError, IndexError):  # it ended while we looked
            continue
    return mine


@pytest.mark.fault("A decoding worker is killed: no image is lost")
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc to find the workers")
def test_a_killed_worker_costs_no_image(tmp_path: Path) -> None:
    place = tmp_path / "images"
    place.mkdir()
    for number in range(500):
        (place / f"{number:03d}.jpg").write_bytes(packed(photo(number, 320, 240)))
    source = {"format": "images", "path": str(place)}
    killed: list[int] = []

    def kill() -> None:
        end = time.monotonic() + 30
        while len(killed) < 2 and time.monotonic() < end:
            for worker in [worker for worker in workers_at_work() if worker not in killed][:1]:
                time.sleep(0.6 if killed else 0.1)  # in the middle of a task, the second not of the first's trial again
                os.kill(worker, signal.SIGKILL)
                killed.append(worker)
            time.sleep(0.01)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    with at_most(60):
        after = read(tmp_path / "run", [source])
    assert killed, "no worker was caught at work"
    assert after.rejects == []
    assert [row["key"] for row in after.samples] == [f"{number:03d}" for number in range(500)]
    assert all(row["vector"] is not None for row in after.samples)


def test_a_manifest_that_names_a_fifo_does_not_wait_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading one blocks until somebody writes: two minutes for the task that meets it, and half a one for each try."""
    (tmp_path / "good.jpg").write_bytes(GOOD[0])
    os.mkfifo(tmp_path / "pipe.jpg")
    rows = [{"id": name, "file": file} for name, file in (("a", "good.jpg"), ("p", "pipe.jpg"), ("z", "good.jpg"))]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"format": "jsonl", "path": str(tmp_path / "m.jsonl"), "image": "file", "key": "id"}
    monkeypatch.setattr(decoders, "TASK_SECONDS", 6.0)
    monkeypatch.setattr(decoders, "ONE_SECONDS", 3.0)
    with at_most(30):
        found = read(tmp_path / "run", [source])
    assert [row["key"] for row in found.samples] == ["a", "z"]
    assert [(row["key"], row["reason"]) for row in found.rejects] == [("p", "not_a_file")]
