"""Labels that came back, round after round: what was asked of whom, checked, and kept in the store for good.

Each import is one Parquet file below STORE/labels, written whole, so no kill loses or halves a round. A recipe reads
them with `labels: STORE/labels`; of a sample that was labeled again, by the round that said so, the last one counts.
Nothing is guessed: unknown keys and classes and contradicting annotators are listed, and the same key with the same
label counts once."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.atomic import store_lock, write_parquet
from tamis.pipeline.errors import StoreError
from tamis.pipeline.identity import hex_id

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
    unknown_classes: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        said = f"round {self.round}: {self.added:,} labels" if self.round else "nothing new; no round was written"
        out = [said + (f", {self.repeated:,} known already" if self.repeated else "")]
        for what, some in (
            ("unknown keys, left out", self.unknown_keys),
            ("unknown classes, left out", self.unknown_classes),
            ("contradictions, left out: settle them and import again", self.conflicts),
        ):
            if some:
                more = f", and {len(some) - LISTED:,} more" if len(some) > LISTED else ""
                out.append(f"{len(some):,} {what}: {', '.join(some[:LISTED])}{more}")
        return out


def rounds(folder: Path) -> list[Path]:
    return sorted(folder.glob("round-*.parquet"))


def round_rows(folder: Path) -> list[list[dict[str, Any]]]:
    """The rows of each round."""
    return [pq.read_table(path).to_pylist() for path in rounds(folder)]


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
    with store_lock(store, say):
        keys = _pool_keys(store)
        known = {row["sample_id"]: row["label"] for rows in round_rows(store / "labels") for row in rows}
        given: dict[int, list[Answer]] = {}
        for answer in answers:
            sample_id = keys.get(answer.key)
            if sample_id is None:
                found.unknown_keys.append(answer.key)
            elif classes is not None and answer.label and answer.label not in classes:
                found.unknown_classes.append(f"{answer.key}: {answer.label}")
            else:
                given.setdefault(sample_id, []).append(answer)
        before = {} if replace else known
        settled = [_settled(sample_id, some, before, found, source) for sample_id, some in given.items()]
        rows = [{**row, "held_out": held_out} for row in settled if row and known.get(row["sample_id"]) != row["label"]]
        found.repeated += sum(row is not None for row in settled) - len(rows)
        if rows:
            number = len(rounds(store / "labels")) + 1
            write_parquet(store / "labels" / f"round-{number:05d}.parquet", pa.Table.from_pylist(rows, ROUND))
            found.round, found.added = number, len(rows)
    return found


def _settled(
    sample_id: int, some: list[Answer], known: dict[int, str], found: Imported, source: str
) -> dict[str, Any] | None:
    """The one label that all agree on, earlier rounds too."""
    labels = {answer.label for answer in some} | ({known[sample_id]} if sample_id in known else set())
    first = some[0]
    if len(labels) > 1:
        who = ", ".join(f"{answer.label} ({answer.annotator or 'unnamed'})" for answer in some)
        before = f", before: {known[sample_id]}" if sample_id in known else ""
        found.conflicts.append(f"{first.key}: {who}{before}")
        return None
    found.repeated += len(some) - (sample_id not in known)
    if sample_id in known:
        return None
    costs = [answer.cost for answer in some if answer.cost is not None]
    return {
        "sample_id": sample_id, "key": first.key, "label": first.label, "annotator": first.annotator,
        "labeled_at": first.labeled_at or datetime.now(UTC).isoformat(timespec="seconds"),
        "cost": sum(costs) if costs else None, "source": source,
    }  # fmt: skip


def _pool_keys(store: Path) -> dict[str, int]:
    """Ids by key and by id in hex. Raises StoreError."""
    parts = sorted((store / "pool").glob("part-*.parquet"))
    if not parts:
        raise StoreError(f"store {store}: holds no pool; labels belong to samples of a store that a run has filled")
    keys: dict[str, int] = {}
    for part in parts:
        table = pq.read_table(part, columns=["sample_id", "key"])
        for sample_id, key in zip(table["sample_id"].to_pylist(), table["key"].to_pylist(), strict=True):
            keys[hex_id(sample_id)] = sample_id
            keys[key] = sample_id  # a key wins over another sample's id
    return keys
