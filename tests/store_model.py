"""What must be there: a plain model of a pool's files, and of what a run made of them. It asks tamis nothing; what lies
in a store it reads as the Parquet and JSON that docs/store.md says it is."""

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

FLAWS = {  # how a row may be no sample, and what becomes of it
    "torn": {"jsonl": "bad_json", "csv": "bad_row"},
    "nameless": {"jsonl": "missing_field", "csv": "bad_row"},  # of a CSV an empty key is a key
    "blank": {"jsonl": "empty_text", "csv": "empty_text"},
}
REPEATS = ("exact_duplicate", "key_conflict")
BUDGETED = ("chosen", "below_cut")


class Row(NamedTuple):
    """One of a source; `flaw`: why it is no sample."""

    key: str
    part: str
    text: str
    flaw: str = ""


class Sources:
    """Files of a folder as they were last written, and as they were before. No two states of one have the same time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: dict[str, list[Row]] = {}
        self.times: dict[str, int] = {}
        self.before: list[tuple[str, list[Row], int]] = []
        self._time = 1_700_000_000

    def write(self, name: str, rows: list[Row], time: int | None = None) -> None:
        """`time`: as it was then; None: now."""
        self.remove(name)
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_jsonl(rows) if name.endswith("jsonl") else _csv(rows), encoding="utf-8")
        self.rows[name] = rows
        self.touch(name, time)

    def touch(self, name: str, time: int | None = None) -> None:
        self._time += 1
        self.times[name] = time or self._time
        os.utime(self.folder / name, (self.times[name],) * 2)

    def remove(self, name: str) -> None:
        """As if it was moved out of the way."""
        if name in self.rows:
            (self.folder / name).unlink()
            self.before.append((name, self.rows.pop(name), self.times.pop(name)))

    def of(self, kind: str) -> list[str]:
        return sorted(name for name in self.rows if name.endswith(kind))

    def placed(self) -> dict[tuple[str, int], Row]:
        """Every row by its file and line."""
        firsts = {name: 2 if name.endswith("csv") else 1 for name in self.rows}  # a header has the first line
        return {
            (str(self.folder / name), line): row
            for name, rows in self.rows.items()
            for line, row in enumerate(rows, firsts[name])
        }


def _jsonl(rows: list[Row]) -> str:
    lines = []
    for row in rows:
        record = {"id": row.key, "part": row.part, "text": "  " if row.flaw == "blank" else row.text}
        if row.flaw == "nameless":
            del record["id"]
        line = json.dumps(record)
        lines.append(line[: len(line) // 2] if row.flaw == "torn" else line)
    return "".join(f"{line}\n" for line in lines)


def _csv(rows: list[Row]) -> str:
    lines = io.StringIO()
    table = csv.writer(lines, lineterminator="\n")
    table.writerow(["id", "part", "text"])
    for row in rows:
        text = "  " if row.flaw == "blank" else row.text
        table.writerow([row.key, row.part] if row.flaw in ("torn", "nameless") else [row.key, row.part, text])
    return lines.getvalue()


@dataclass(frozen=True)
class Known:
    """What a run may know beside the pool, by key."""

    forgotten: frozenset[str]
    earlier: frozenset[str]  # chosen by earlier runs of the recipe
    labels: dict[str, str]
    target: frozenset[str]  # its texts


class Sample(NamedTuple):
    """A row of the pool, as it lies in the store."""

    id: int
    key: str
    part: str
    text: str
    source: str
    position: int


class Told(NamedTuple):
    """A row of the ledger, with the keys for the ids."""

    kept: bool
    reason: str
    rank: int | None
    weight: float
    score: str
    related: str | None
    detail: str | None


Ledger = list[dict[str, Told]]  # by step and key
Rule = Callable[[dict[str, Sample], dict[str, str], set[str]], set[str]]  # of candidates, labels, texts kept earlier


def pool_of(run: Path) -> dict[str, Sample]:
    """The samples that a complete run saw, by key. Raises AssertionError where a key stands twice."""
    names = json.loads((run / "manifest.json").read_text())["pool"]["parts"]
    found: dict[str, Sample] = {}
    for name in names:
        for row in pq.read_table(run.parent.parent / "pool" / name).to_pylist():
            sample = Sample(row["sample_id"], *(row[f] for f in ("key", "part", "text", "source", "position")))
            assert sample.key not in found, f"{sample.key} is in the pool twice"
            found[sample.key] = sample
    return found


def ledger_of(run: Path, pool: dict[str, Sample]) -> Ledger:
    """Raises AssertionError where a step tells of a sample twice, or of none of the pool's."""
    keys = {sample.id: sample.key for sample in pool.values()}
    found: Ledger = []
    for folder in sorted((run / "ledger").glob("step-*")):
        rows = [row for path in sorted(folder.glob("part-*.parquet")) for row in pq.read_table(path).to_pylist()]
        told = {
            keys[row["sample_id"]]: Told(
                row["kept"], row["reason"], row["rank"], row["weight"], str(row["score"]),
                row["related_id"] and keys.get(row["related_id"], "another run's"), row["detail"],
            )
            for row in rows
        }  # fmt: skip
        assert len(told) == len(rows), f"{folder}: a sample is told of twice"
        found.append(told)
    return found


def chosen_by(run: Path) -> list[dict[str, Any]]:
    return pq.read_table(run / "selection.parquet").to_pylist()


def exported(run: Path, names: list[str]) -> None:
    """Each export has the selection's samples, in its order. Raises AssertionError."""
    wanted = [row["key"] for row in chosen_by(run)]
    folder = run / "exports"
    for name in names:
        if name == "keys":
            found = (folder / "selection.keys.txt").read_text().split()
        elif name == "csv":
            with (folder / "selection.csv").open(newline="") as file:
                found = [row["key"] for row in csv.DictReader(file)]
        else:
            found = [json.loads(line)["key"] for line in (folder / f"selection.{name}").read_text().splitlines()]
        assert found == wanted, name


def accounted(run: Path, pool: dict[str, Sample], sources: Sources) -> None:
    """Every row of the files is a sample or a reject with its reason, and nothing else is. Raises AssertionError."""
    manifest = json.loads((run / "manifest.json").read_text())["pool"]
    rejects = pq.read_table(run.parent.parent / "pool" / "rejects.parquet").to_pylist()
    rejects = [row for row in rejects if row["part_group"] in manifest["groups"]]
    rows = sources.placed()
    places = [(sample.source, sample.position) for sample in pool.values()]
    places += [(row["source"], row["position"]) for row in rejects]
    assert sorted(places) == sorted(rows), "rows are not samples + rejects"
    assert (manifest["rows"], manifest["samples"]) == (len(rows), len(pool))
    assert manifest["rejects"] == Counter(row["reason"] for row in rejects)
    for sample in pool.values():
        row = rows[sample.source, sample.position]
        assert (row.key, row.part, row.text, row.flaw) == (sample.key, sample.part, sample.text, "")
    for reject in rejects:
        row = rows[reject["source"], reject["position"]]
        if row.flaw:
            assert reject["reason"] == FLAWS[row.flaw][reject["source"].rpartition(".")[2]]
            continue
        met = pool[row.key]  # each key of the files is in the pool, or this is no key
        assert reject["related_id"] == met.id
        assert reject["reason"] == REPEATS[row.text != met.text], reject


def decided(run: Path, steps: list["Step"], pool: dict[str, Sample], known: Known) -> Ledger:
    """Each step tells of what the one before it kept, by its rule, and the selection is what the last one kept. Raises
    AssertionError."""
    ledger = ledger_of(run, pool)
    assert len(ledger) == len(steps)
    candidates = dict(pool)
    taken = {pool[key].text for key in known.earlier - known.forgotten if key in pool}
    apart = dict.fromkeys(known.earlier, "kept_earlier") | dict.fromkeys(known.forgotten, "forgotten")
    for number, (step, told) in enumerate(zip(steps, ledger, strict=True)):
        assert told.keys() == candidates.keys(), f"step {number} tells of others than its candidates"
        aside = {key: reason for key, reason in apart.items() if key in told} if number == 0 else {}
        held = {key for key, row in told.items() if row.reason == "held_out"}
        assert {candidates[key].text for key in held} <= known.target
        for key, reason in aside.items():
            assert not told[key].kept and told[key].reason in (reason, "held_out"), (key, reason, told[key])
        assert not {key for key, row in told.items() if row.reason in ("forgotten", "kept_earlier")} - aside.keys()
        open_ = {key: sample for key, sample in candidates.items() if key not in aside and key not in held}
        step.check({key: told[key] for key in open_}, open_, known.labels, taken)
        candidates = {key: sample for key, sample in candidates.items() if told[key].kept}
    if not steps:
        candidates = {key: sample for key, sample in pool.items() if key not in apart}
    rows = chosen_by(run)
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    assert {row["key"]: (row["sample_id"], row["text"], row["part"]) for row in rows} == {
        key: (sample.id, sample.text, sample.part) for key, sample in candidates.items()
    }
    assert len(rows) == len(candidates)
    return ledger


class Step(NamedTuple):
    """One as a recipe has it, and what it must do: keep what a rule names, or as many as a budget allows."""

    recipe: dict[str, Any]
    rule: Rule | None = None
    budget: int = 0

    def check(
        self, told: dict[str, Told], candidates: dict[str, Sample], labels: dict[str, str], taken: set[str]
    ) -> None:
        """Raises AssertionError."""
        kept = {key for key, row in told.items() if row.kept}
        if self.rule is not None:
            assert kept == self.rule(candidates, labels, taken), self.recipe
            return
        others = {row.reason for row in told.values()} - {*BUDGETED, "not_scorable"}
        assert not others, others
        may = [key for key, row in told.items() if row.reason in BUDGETED]
        assert len(kept) == min(self.budget, len(may)), self.recipe
        assert sorted(row.rank for row in told.values() if row.kept) == list(range(1, len(kept) + 1))


def first_of_contents(candidates: dict[str, Sample], _labels: dict[str, str], taken: set[str]) -> set[str]:
    """What exact_dedup keeps: the smallest key of each text that no earlier run chose."""
    smallest: dict[str, str] = {}
    for key in sorted(candidates):
        smallest.setdefault(candidates[key].text, key)
    return {key for text, key in smallest.items() if text not in taken}


def those(meets: Callable[[Sample], bool]) -> Rule:
    return lambda candidates, _labels, _taken: {key for key, sample in candidates.items() if meets(sample)}


def bytes_of(folder: Path) -> dict[str, bytes]:
    """All that lies in it, by name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
