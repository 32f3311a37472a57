"""Labels that came back, round after round: what was asked of whom, checked, and kept in the store for good.

Each import is one Parquet file below STORE/labels, written whole, so no kill loses or halves a round. A recipe reads
them with `labels: STORE/labels`; of a sample that was labeled again, by the round that said so, the last one counts.
Nothing is guessed: unknown keys and classes and contradicting annotators are listed, and the same key with the same
label counts once."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.columns.labels import round_rows, rounds
from tamis.pipeline.errors import StoreError
from tamis.pipeline.files.atomic import store_lock, write_parquet

ROUND = pa.schema(
    [
        pa.field("sample_id", pa.uint64(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),  # empty: labeled, and not by one class (boxes, for instance)
        pa.field("annotator", pa.string()),
        pa.field("labeled_at", pa.string()),  # ISO 8601, as the tool said it
        pa.field("cost", pa.float64()),  # in the unit that the team counts in; null: unknown
        pa.field("source", pa.string(), nullable=False),  # name of the imported file
        pa.field("held_out", pa.bool_(), nullable=False),  # for measuring alone: never learned from
    ]
)
LISTED = 10  # of each kind of problem
HEX_ID = re.compile(r"[0-9a-f]{16}")


class Answer(NamedTuple):
    """One label as a file has it."""

    key: str  # the sample's key, or its id in 16 hex digits
    label: str
    annotator: str | None = None
    labeled_at: str | None = None
    cost: float | None = None


@dataclass
class Imported:
    """What an import found."""

    round: int | None = None  # None: nothing new, nothing written
    added: int = 0
    repeated: int = 0  # the same key and label, in this file or an earlier round
    unknown_keys: list[str] = field(default_factory=list)
    several: list[str] = field(default_factory=list)  # keys of samples of several namespaces
    unknown_classes: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        said = f"round {self.round}: {self.added:,} labels" if self.round else "nothing new; no round was written"
        out = [said + (f", {self.repeated:,} known already" if self.repeated else "")]
        for what, some in (
            ("unknown keys, left out", self.unknown_keys),
            ("keys of several namespaces' samples, left out: say sample_id", self.several),
            ("unknown classes, left out", self.unknown_classes),
            ("contradictions, left out: settle them and import again", self.conflicts),
        ):
            if some:
                more = f", and {len(some) - LISTED:,} more" if len(some) > LISTED else ""
                out.append(f"{len(some):,} {what}: {', '.join(some[:LISTED])}{more}")
        return out


def import_answers(
    store: Path,
    answers: Iterable[Answer],
    source: str,
    classes: list[str] | None,
    say: Callable[[str], None],
    *,
    held_out: bool = False,
    replace: bool = False,
) -> Imported:
    """Add a round of checked answers to the store: `held_out` for measuring alone, `replace` where labels that earlier
    rounds gave are asked again. Raises StoreError where it holds no pool."""
    found = Imported()
    if not any((store / "pool").glob("part-*.parquet")):
        raise StoreError(f"store {store}: holds no pool; labels belong to samples of a store that a run has filled")
    with store_lock(store, say):
        keys, several, names = _pool_keys(store)
        known = {row["sample_id"]: row for rows in round_rows(store / "labels") for row in rows}
        given: dict[int, list[Answer]] = {}
        for answer in answers:
            sample_id = keys.get(answer.key, _id_in(answer.key, names))
            if answer.key in several:
                found.several.append(answer.key)
            elif sample_id is None:
                found.unknown_keys.append(answer.key)
            elif classes is not None and answer.label and answer.label not in classes:
                found.unknown_classes.append(f"{answer.key}: {answer.label}")
            else:
                given.setdefault(sample_id, []).append(answer)
        rows = []
        for sample_id, some in given.items():
            before = known.get(sample_id)
            row = _settled(sample_id, names[sample_id], some, None if replace else before, found, source)
            if row is None:
                continue
            row["held_out"] = held_out or bool(before and before["held_out"])  # once held out, for good
            same = before and (before["label"], before["held_out"]) == (row["label"], row["held_out"])
            if before and same and (not replace or before["source"] == source):
                found.repeated += len(some)
                continue
            found.repeated += len(some) - 1
            rows.append(row)
        if rows:
            number = 1 + max([int(path.stem.partition("-")[2]) for path in rounds(store / "labels")], default=0)
            write_parquet(store / "labels" / f"round-{number:05d}.parquet", pa.Table.from_pylist(rows, ROUND))
            found.round, found.added = number, len(rows)
    return found


def _settled(
    sample_id: int, key: str, some: list[Answer], before: dict[str, Any] | None, found: Imported, source: str
) -> dict[str, Any] | None:
    """The one label that all agree on, the label `before`, too."""
    labels = {answer.label for answer in some} | ({before["label"]} if before else set())
    first = some[0]
    if len(labels) > 1:
        who = ", ".join(f"{answer.label} ({answer.annotator or 'unnamed'})" for answer in some)
        found.conflicts.append(f"{first.key}: {who}" + (f", before: {before['label']}" if before else ""))
        return None
    costs = [answer.cost for answer in dict.fromkeys(some) if answer.cost is not None]  # a line twice is paid once
    return {
        "sample_id": sample_id, "key": key, "label": first.label, "annotator": first.annotator,
        "labeled_at": first.labeled_at or datetime.now(UTC).isoformat(timespec="seconds"),
        "cost": sum(costs) if costs else None, "source": source,
    }  # fmt: skip


def _id_in(name: str, names: dict[int, str]) -> int | None:
    """The sample of an id in hex: alone, or as the name of an exported file."""
    last = PurePosixPath(name).name
    found = int(last, 16) if HEX_ID.fullmatch(last) else None
    return found if found in names else None


def _pool_keys(store: Path) -> tuple[dict[str, int], set[str], dict[int, str]]:
    """Ids by key, keys that more than one sample has, and keys by id."""
    keys: dict[str, int] = {}
    names: dict[int, str] = {}
    several = set()
    for part in sorted((store / "pool").glob("part-*.parquet")):
        table = pq.read_table(part, columns=["sample_id", "key"])
        for sample_id, key in zip(table["sample_id"].to_pylist(), table["key"].to_pylist(), strict=True):
            names[sample_id] = key
            if keys.setdefault(key, sample_id) != sample_id:
                several.add(key)
    return keys, several, names
