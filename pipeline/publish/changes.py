"""What changed between two runs of a store: who came in, who went out, and why each.

A selection minus what went plus what came is the other one, to the sample and its weight; a sample that counts another
number of times is in both lists. Why is told by what the later run's ledger says of who went, and the earlier one's of
who came; of a run that was thinned there is no ledger, and then it is told without."""

from collections import Counter
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tamis.pipeline.choose.groups import composition, group_fields, grouping
from tamis.pipeline.choose.selection import FIXED
from tamis.pipeline.errors import RunError
from tamis.pipeline.publish.pairs import apart, chosen, pool_files, stayed
from tamis.pipeline.publish.reasons import Reasons, differing
from tamis.pipeline.schemas import CHANGES
from tamis.pipeline.store.runs import Run

OUT, IN = "out", "in"
MOST_VALUES = 1000  # of a field in the composition; more are names


class Changes(NamedTuple):
    """From one run to another."""

    before: str
    after: str
    rows_before: int
    rows_after: int
    stay: int
    rank_correlation: float | None
    table: pa.Table  # CHANGES, who went first, then who came, each best first
    composition: dict[str, dict[str, tuple[int, int]]]  # field -> group -> samples before and after
    recipe: list[str]  # keys of the recipe that differ

    def why(self, change: str) -> list[tuple[str, int]]:
        """How many for each reason, the most first."""
        mine = self.table.filter(pc.equal(self.table["change"], change))["why"].to_pylist()
        return sorted(Counter(mine).items(), key=lambda one: (-one[1], one[0]))

    def count(self, change: str) -> int:
        return int(pc.sum(pc.equal(self.table["change"], change)).as_py() or 0)


def changes(before: Run, after: Run) -> Changes:
    """Both complete, of one store. Raises RunError."""
    if before.store != after.store:
        raise RunError(f"diff: {before.folder} and {after.folder} are runs of two stores, whose samples differ")
    told, went, came = stayed(before, after), apart(before, after), apart(after, before)
    newer = bool(pool_files(before)) and any(not row["there"] for row in came.select(["there"]).to_pylist())
    table = pa.concat_tables(
        [
            _listed(OUT, went, Reasons(before, after, went=True, newer=newer)),
            _listed(IN, came, Reasons(after, before, went=False)),
        ]
    )
    one, other = (pq.read_metadata(run.folder / "selection.parquet").num_rows for run in (before, after))
    return Changes(
        before.name, after.name, one, other, one - len(went), told["rank_correlation"], table,
        _composition(before, after), differing(before, after),
    )  # fmt: skip


def _listed(change: str, found: pa.Table, reasons: Reasons) -> pa.Table:
    whys = [reasons.of(row) for batch in found.to_batches() for row in batch.to_pylist()]
    named = {
        "change": pa.array([change] * len(whys), pa.string()),
        "why": pa.array([why for why, _ in whys], pa.string()),
        "detail": pa.array([detail for _, detail in whys], pa.string()),
    }
    columns = [named[name] if name in named else found[name] for name in CHANGES.names]
    return pa.table(columns, CHANGES.names).cast(CHANGES)


def _composition(before: Run, after: Run) -> dict[str, dict[str, tuple[int, int]]]:
    """By kept fields, as the selections have them; by source and language, where both runs' pools are there."""
    one, other = _by_field(before), _by_field(after)
    found = {}
    for field in other:
        if field in one and max(len(one[field]), len(other[field])) <= MOST_VALUES:
            groups = sorted({*one[field], *other[field]}, key=lambda g: (-other[field].get(g, 0), g))
            found[field] = {group: (one[field].get(group, 0), other[field].get(group, 0)) for group in groups}
    return found


def _by_field(run: Run) -> dict[str, dict[str, int]]:
    file = run.folder / "selection.parquet"
    schema = pq.read_schema(file)
    kept = [name for name in grouping(schema) if name not in {field.name for field in FIXED}]
    found: dict[str, dict[str, int]] = {}
    if not run.thinned and pool_files(run):
        more = [field for field in group_fields(run) if field not in kept]
        found |= composition(run, more, chosen(run))
    for name in kept:
        column = pq.read_table(file, columns=[name])[name].cast(pa.string())
        pairs = column.value_counts().to_pylist()
        found[name] = {"∅" if one["values"] is None else one["values"]: one["counts"] for one in pairs}
    return found
