"""Labels that came back, round after round: what was asked of whom, checked, and kept in the store for good.

Each import is one Parquet file below STORE/labels, written whole, so no kill loses or halves a round. A recipe reads
them with `labels: STORE/labels`; of a sample that was labeled again, by the round that said so, the last one counts.
Nothing is guessed: unknown keys and classes and contradicting annotators are listed, and the same key with the same
label counts once."""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.columns.detect.rounds import round_rows, rounds
from tamis.pipeline.errors import StoreError
from tamis.pipeline.files.atomic import store_lock, write_parquet
from tamis.pipeline.labels.answers import Answer, Boxes
from tamis.pipeline.read.names import one_ends_the_other, parts_of, stem_of

BOXES = pa.list_(pa.struct([("box", pa.list_(pa.float64(), 4)), ("class", pa.string())]))  # xyxy, in shares
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
        pa.field("boxes", BOXES),  # what was drawn; null: nothing is said of boxes
    ]
)
LISTED = 10  # of each kind of problem
HEX_ID = re.compile(r"[0-9a-f]{16}")
UPLOADED = re.compile(r"[0-9a-f]{8}(?:-|__)(?=.)")  # what Label Studio puts before names of files


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
    unclear: list[str] = field(default_factory=list)  # labeled, and not by one class
    partly: list[str] = field(default_factory=list)  # labeled, and something of it is not read
    left_out: list[str] = field(default_factory=list)  # no answers
    new_classes: list[str] = field(default_factory=list)  # no earlier round gave them, and none was named

    @property
    def empty(self) -> bool:
        """Whether nothing was taken in, and nothing is known already."""
        return not self.added and not self.repeated

    def lines(self) -> list[str]:
        said = f"round {self.round}: {self.added:,} labels" if self.round else "nothing new; no round was written"
        out = [said + (f", {self.repeated:,} known already" if self.repeated else "")]
        for what, some in (
            ("unknown keys, left out", self.unknown_keys),
            (
                "names of several samples, left out: say sample_id, as Label Studio's JSON and CSV do",
                self.several,
            ),
            ("unknown classes, left out", self.unknown_classes),
            ("contradictions, left out: settle them and import again", self.conflicts),
            ("labeled without a class", self.unclear),
            ("labeled, of which something is not read", self.partly),
            ("no answers, left out", self.left_out),
            ("classes that no earlier round gave (--classes FILE says which may be)", self.new_classes),
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
        pool = PoolNames.of(store)
        known = {row["sample_id"]: row for rows in round_rows(store / "labels") for row in rows}
        given: dict[int, list[Answer]] = {}
        for answer in answers:
            sample_id = pool.meant(answer.key)
            if answer.left_out:
                found.left_out.append(f"{answer.key}: {answer.unclear}")
            elif sample_id is None:
                found.unknown_keys.append(answer.key)
            elif sample_id < 0:
                found.several.append(answer.key)
            elif classes is not None and (unknown := _unknown(answer, classes)):
                found.unknown_classes.append(f"{pool.names[sample_id]}: {unknown}")
            else:
                given.setdefault(sample_id, []).append(answer)
                if answer.unclear:
                    (found.partly if answer.label else found.unclear).append(
                        f"{pool.names[sample_id]}: {answer.unclear}"
                    )
        rows = []
        for sample_id, some in given.items():
            before = known.get(sample_id)
            row = _settled(sample_id, pool, some, None if replace else before, found, source)
            if row is None:
                continue
            row["held_out"] = held_out or bool(before and before["held_out"])  # once held out, for good
            same = before and all(before.get(name) == row[name] for name in ("label", "held_out", "boxes"))
            if before and same and (not replace or before["source"] == source):
                found.repeated += len(some)
                continue
            found.repeated += len(some) - 1
            rows.append(row)
        before_now = {row["label"] for row in known.values() if row["label"]}
        if classes is None and before_now:
            new = Counter(row["label"] for row in rows if row["label"] and row["label"] not in before_now)
            found.new_classes = [f"{label} ({count})" for label, count in sorted(new.items())]
        if rows:
            number = 1 + max([int(path.stem.partition("-")[2]) for path in rounds(store / "labels")], default=0)
            write_parquet(store / "labels" / f"round-{number:05d}.parquet", pa.Table.from_pylist(rows, ROUND))
            found.round, found.added = number, len(rows)
    return found


def _unknown(answer: Answer, classes: list[str]) -> str:
    """A class of the answer that may not be."""
    names = [answer.label] if answer.label else []
    return next((name for name in [*names, *(answer.boxes.names if answer.boxes else ())] if name not in classes), "")


def _settled(
    sample_id: int,
    pool: "PoolNames",
    some: list[Answer],
    before: dict[str, Any] | None,
    found: Imported,
    source: str,
) -> dict[str, Any] | None:
    """The one answer that all agree on, the one `before`, too."""
    labels = {answer.label for answer in some} | ({before["label"]} if before else set())
    drawn = [boxes for answer in some if (boxes := _in_shares(answer.boxes, pool.sizes.get(sample_id))) is not None]
    if before and before.get("boxes") is not None:
        drawn.append(before["boxes"])
    first = some[0]
    if len(labels) > 1 or any(boxes != drawn[0] for boxes in drawn):
        who = ", ".join(f"{answer.label or 'no class'} ({answer.annotator or 'unnamed'})" for answer in some)
        more = f", before: {before['label'] or 'no class'}" if before else ""
        found.conflicts.append(f"{pool.names[sample_id]}: {who}{more}" + ("" if len(labels) > 1 else ", other boxes"))
        return None
    costs = [answer.cost for answer in dict.fromkeys(some) if answer.cost is not None]  # a line twice is paid once
    return {
        "sample_id": sample_id, "key": pool.names[sample_id], "label": first.label, "annotator": first.annotator,
        "labeled_at": first.labeled_at or datetime.now(UTC).isoformat(timespec="seconds"),
        "cost": sum(costs) if costs else None, "source": source, "boxes": drawn[0] if drawn else None,
    }  # fmt: skip


def _in_shares(boxes: Boxes | None, pixels: tuple[int, int] | None) -> list[dict[str, Any]] | None:
    """As a round keeps them; None where there are none, or no size to hold them against."""
    size = boxes and (boxes.size or pixels)
    if boxes is None or not size:
        return None
    whole = (*size, *size)
    found = [
        {"box": [round(side / of, 6) for side, of in zip(box, whole, strict=True)], "class": name}
        for box, name in zip(boxes.corners, boxes.names, strict=True)
    ]
    return sorted(found, key=lambda one: (one["box"], one["class"]))  # whatever the order in which they were drawn


@dataclass
class PoolNames:
    """By what a tool's file may name the pool's samples."""

    keys: dict[str, int]
    several: set[str]  # keys that more than one sample has
    names: dict[int, str]
    sizes: dict[int, tuple[int, int]]  # width and height of images
    bases: dict[str, list[int]]  # by a key's last part

    @classmethod
    def of(cls, store: Path) -> "PoolNames":
        found = cls({}, set(), {}, {}, {})
        for part in sorted((store / "pool").glob("part-*.parquet")):
            for row in pq.read_table(part, columns=["sample_id", "key", "width", "height"]).to_pylist():
                sample_id, key = row["sample_id"], row["key"]
                if sample_id in found.names:  # of a file that was read anew
                    continue
                found.names[sample_id] = key
                found.bases.setdefault(PurePosixPath(key).name, []).append(sample_id)
                if row["width"] is not None:
                    found.sizes[sample_id] = (row["width"], row["height"])
                if found.keys.setdefault(key, sample_id) != sample_id:
                    found.several.add(key)
        return found

    def meant(self, name: str) -> int | None:
        """The sample that a name is of: a key or id, a file's path, an address. None: no sample, -1: several."""
        path = plain_path(name)
        for one in dict.fromkeys((name, path, stem_of(path))):
            if one in self.several:
                return -1
            if (found := self.keys.get(one, _id_in(one, self.names))) is not None:
                return found
        if path == name == stem_of(path):  # no file of a tool's, and no key
            return None
        found = self._ending_as(stem_of(path))
        base = PurePosixPath(path).name
        plain = UPLOADED.sub("", base, count=1) if UPLOADED.match(base) else base
        return self._ending_as(stem_of(plain)) if found is None and plain != base else found

    def _ending_as(self, path: str) -> int | None:
        """By the only key that the path ends with, or that ends with it; else the only one of that last part."""
        some = self.bases.get(PurePosixPath(path).name, [])
        ending = [one for one in some if one_ends_the_other(parts_of(path), parts_of(self.names[one]))]
        longest = max((len(parts_of(self.names[one])) for one in ending), default=0)
        best = [one for one in ending if len(parts_of(self.names[one])) == longest]
        meant = best or some
        return None if not meant else meant[0] if len(meant) == 1 else -1


def plain_path(name: str) -> str:
    """The path of a file in an address such as `/data/local-files/?d=photos/a%20b.jpg`."""
    if "?d=" in name:
        return unquote(name.partition("?d=")[2])
    return unquote(urlsplit(name).path).lstrip("/") if "://" in name else name


def _id_in(name: str, names: dict[int, str]) -> int | None:
    """The sample of an id in hex: alone, or as the name of an exported file."""
    last = PurePosixPath(name).name
    found = int(last, 16) if HEX_ID.fullmatch(last) else None
    return found if found in names else None
