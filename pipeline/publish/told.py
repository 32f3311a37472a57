"""Changes between two runs in a terminal, as Markdown, as a page, and as rows of an answer."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tamis.pipeline.errors import QueryError
from tamis.pipeline.explain.pages import write_page
from tamis.pipeline.progress import joined, visible
from tamis.pipeline.publish.changes import IN, OUT, Changes
from tamis.pipeline.read.identity import hex_id
from tamis.pipeline.recipe.expressions import one_select, problem_of
from tamis.pipeline.store.database import connect, lock

MOST_GROUPS = 6  # of a field, in a terminal: those whose share moved most
MOST_FIELDS = 6
EXAMPLES = 20  # of each reason, on the page
Moved = tuple[str, int, int, float, float]  # group, samples before and after, share before and after


def text(found: Changes) -> str:
    """The sum, the reasons, and the composition."""
    lines = [f"{visible(found.before)} → {visible(found.after)}"]
    counts = [("before", found.rows_before, ""), ("out", -found.count(OUT), ""), ("in", found.count(IN), "")]
    counts += [("after", found.rows_after, _stay(found))]
    wide = max(len(f"{count:,}") for _, count, _ in counts)
    for name, count, more in counts:
        lines.append(f"  {name:<7}{count:>{wide},}  {more}".rstrip())
        for why, samples in found.why(name) if name in (OUT, IN) else ():
            lines.append(f"  {'':<7}{'':>{wide}}  {samples:>{wide},}  {why}")
    for field in list(found.composition)[:MOST_FIELDS]:
        if rows := moved(found, field)[:MOST_GROUPS]:
            names = [_short(group) for group, *_ in rows]
            width = max(map(len, names))
            lines.append(f"  {visible(field)}")
            for name, (_, before, after, old, new) in zip(names, rows, strict=True):
                lines.append(f"    {name:<{width}}  {before:>{wide},} → {after:>{wide},}   {old:6.1%} → {new:6.1%}")
    if found.recipe:
        lines.append(f"  the recipes differ in: {', '.join(found.recipe)}")
    return joined(lines)


def _stay(found: Changes) -> str:
    ranks = "" if found.rank_correlation is None else f", rank correlation {found.rank_correlation:.3f}"
    return f"{found.stay:,} stay{ranks}"


def _short(group: str, most: int = 40) -> str:
    """Of a path its end says more."""
    told = visible(group)
    return told if len(told) <= most else "…" + told[-most + 1 :]


def moved(found: Changes, field: str) -> list[Moved]:
    """Groups of a field, those whose share moved most first; files without the folder that all lie in."""
    groups = found.composition[field]
    above = _above(list(groups)) if field == "source" else ""
    rows = [
        (
            group.removeprefix(f"{above}/") if above else group,
            before,
            after,
            before / max(1, found.rows_before),
            after / max(1, found.rows_after),
        )
        for group, (before, after) in groups.items()
    ]
    return sorted(rows, key=lambda row: (-abs(row[4] - row[3]), row[0]))


def _above(files: list[str]) -> str:
    """The folder that all lie in."""
    paths = [path.rpartition("/")[0] for path in files if path.startswith("/")]
    return os.path.commonpath(paths) if paths and len(paths) == len(files) else ""


def markdown(found: Changes) -> str:
    """The same for a page that shows Markdown."""
    lines = [f"**{found.before} → {found.after}**: {found.rows_before:,} - {found.count(OUT):,} + {found.count(IN):,} "]
    lines[0] += f"= {found.rows_after:,}; {_stay(found)}"
    for change, name in ((OUT, "went out"), (IN, "came in")):
        if told := found.why(change):
            lines += ["", f"| samples | {name} |", "|---:|---|", *(f"| {rows:,} | {why} |" for why, rows in told)]
    for field in list(found.composition)[:MOST_FIELDS]:
        if rows := moved(found, field)[:MOST_GROUPS]:
            lines += ["", f"| {escaped(field)} | before | after |", "|---|---:|---:|"]
            lines += [f"| {escaped(_short(g))} | {b:,} ({old:.1%}) | {a:,} ({new:.1%}) |" for g, b, a, old, new in rows]
    return "\n".join(lines)


def changes_table(found: Changes) -> list[dict[str, Any]]:
    """Counts by why."""
    return [
        {"change": change, "why": why, "samples": count} for change in (OUT, IN) for why, count in found.why(change)
    ]


def composition_table(found: Changes) -> list[dict[str, Any]]:
    """Groups whose share moved most."""
    return [
        {
            "field": visible(field), "group": visible(group), "before": before, "after": after,
            "share before": f"{old:.1%}", "share after": f"{new:.1%}",
        }
        for field in found.composition
        for group, before, after, old, new in moved(found, field)[:MOST_GROUPS]
    ]  # fmt: skip


def escaped(value: str) -> str:
    """A text in Markdown, with values of the pool or without: nothing in it is markup."""
    return "".join(f"\\{one}" if one in "\\`*_{}[]<>()#+-.!|~&" else one for one in visible(value))


def page(found: Changes, final: Path) -> None:
    """One HTML file that opens anywhere."""
    sides = []
    for change, title in ((OUT, "Went out"), (IN, "Came in")):
        mine = found.table.filter(pc.equal(found.table["change"], change))
        reasons = []
        for why, rows in found.why(change):
            some = mine.filter(pc.equal(mine["why"], why)).slice(0, EXAMPLES).to_pylist()
            reasons.append({"why": why, "rows": rows, "examples": [_shown(row) for row in some]})
        sides.append({"title": title, "rows": len(mine), "reasons": reasons})
    fields = [{"name": field, "groups": moved(found, field)[:20]} for field in found.composition]
    write_page("diff.html", final, sealed=False, found=found, stay=_stay(found), sides=sides, fields=fields)


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    related = None if row["related_id"] is None else hex_id(row["related_id"])
    return {**row, "related": related}


@contextmanager
def _answer(found: Changes, store: Path, query: str) -> Iterator[Any]:
    import duckdb

    with connect(store) as con:
        con.register("diff", found.table)
        lock(con, store)
        try:
            yield con.sql(one_select(con, query)).to_arrow_reader(8192)
        except (duckdb.Error, AttributeError) as error:
            fields = ", ".join(found.table.schema.names)
            raise QueryError(f"diff: {problem_of(error)} (the view is `diff`: {fields})") from error


def rows(found: Changes, store: Path, query: str | None = None) -> Iterator[pa.RecordBatch]:
    """Every change, or the answer to one SELECT over the view `diff`. Raises QueryError."""
    if query is None:
        yield from found.table.to_batches() or [pa.RecordBatch.from_pylist([], found.table.schema)]
        return
    with _answer(found, store, query) as answer:
        none = pa.RecordBatch.from_pylist([], answer.schema)
        yield next(answer, none)
        yield from answer
