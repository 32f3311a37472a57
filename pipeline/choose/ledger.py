"""Decisions into ledger parts: one row for each candidate, and the counts that must add up."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tamis.pipeline.read.identity import hex_id
from tamis.pipeline.recipe.plans import StepPlan
from tamis.pipeline.schemas import LEDGER


def by_part(reader: Any, parts: int) -> Iterator[tuple[int, pa.Table]]:
    """Rows of the answer, which is in the order of shards and rows, shard by shard; empty shards too."""
    empty = pa.table(reader.schema.empty_table())
    current, held = 0, [empty]
    for batch in reader:
        numbers = batch["part"].to_numpy()
        for part in range(current, int(numbers[-1]) + 1):
            if part > current:
                yield current, pa.concat_tables(held)
                current, held = part, [empty]
            first, end = np.searchsorted(numbers, [part, part + 1])
            held.append(pa.table(batch).slice(first, end - first))
    for part in range(current, parts):
        yield part, pa.concat_tables(held)
        held = [empty]


class Record:
    """Counts what goes into the ledger, and where the line between kept and dropped ran."""

    def __init__(self, plan: StepPlan, candidates: int) -> None:
        self.plan, self.candidates = plan, candidates
        self.kept = self.dropped = self.spent = 0
        self.weight = 0.0
        self.reasons: Counter[str] = Counter()
        self.last: dict[str, Any] | None = None  # the lowest ranked that was kept
        self.first: dict[str, Any] | None = None  # the highest ranked that was dropped

    def entered(self, table: pa.Table, scores: Path) -> pa.Table:
        """The ledger's rows of one shard: the decisions, with score and detail from the score file."""
        count = table.num_rows
        told = pq.read_table(scores, columns=["score", "detail", "cost", "related_id", "weight"]).take(table["row"])
        repeats = table["weight"].to_numpy()
        if told["weight"].null_count < count:
            place, counts = table.schema.get_field_index("weight"), pc.fill_null(told["weight"], 1.0).to_numpy()
            whole = np.where(table["kept"].to_numpy(), repeats * counts, repeats)
            table = table.set_column(place, "weight", pa.array(whole))
            repeats = repeats if self.plan.selector.weighs else whole
        table = table.append_column("score", told["score"]).append_column("detail", told["detail"])
        table = table.append_column("cost", told["cost"])
        kept = table["kept"].to_numpy()
        self.kept += int(kept.sum())
        self.dropped += count - int(kept.sum())
        self.weight += float(table["weight"].to_numpy()[kept].sum())
        reasons = table["reason"].to_pylist()
        self.reasons.update(reasons)
        chosen = np.array([reason == "chosen" for reason in reasons], bool)
        times = np.rint(repeats[chosen]).astype(np.int64)
        self.spent += int((told["cost"].to_numpy()[chosen] * times).sum())
        ranked = table.filter(table["rank"].is_valid()) if count else table
        for state, best in ((True, max), (False, min)):
            side = ranked.filter(pa.array(ranked["kept"].to_numpy() == state)) if ranked.num_rows else ranked
            if side.num_rows:
                ranks = side["rank"].to_numpy()
                row = side.slice(int(ranks.argmax() if state else ranks.argmin()), 1).to_pylist()[0]
                mine = {name: row[name] for name in ("rank", "score", "cost")}
                mine["sample_id"] = hex_id(row["sample_id"])
                if state:
                    self.last = best(filter(None, (self.last, mine)), key=lambda r: r["rank"])
                else:
                    self.first = best(filter(None, (self.first, mine)), key=lambda r: r["rank"])
        arrays = {name: table[name] for name in table.column_names}
        arrays["related_id"] = pc.coalesce(table["related_id"], told["related_id"])
        arrays["step"] = pa.array(np.full(count, self.plan.number, np.int32))
        arrays["selector"] = pa.array([self.plan.name] * count, pa.string())
        return pa.table({name: arrays[name] for name in LEDGER.names}).cast(LEDGER)

    def summary(self, budget: int | None, eligible: int) -> dict[str, Any]:
        assert self.kept + self.dropped == self.candidates, "the ledger lost a candidate"
        return {
            "step": self.plan.number,
            "selector": self.plan.name,
            "candidates": self.candidates,
            "eligible": eligible,
            "kept": self.kept,
            "dropped": self.dropped,
            "reasons": dict(sorted(self.reasons.items())),
            "budget": budget,
            "unit": "rows" if self.plan.budget is None else self.plan.budget.unit,
            "spent": self.spent,
            "ranked": self.plan.selector.ranks,
            "next_cost": self.first["cost"] if self.first else None,
            "weight": self.weight,
            "last_kept": self.last,
            "first_dropped": self.first,
        }
