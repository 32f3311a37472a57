"""SQL that a recipe or a user gives: one SELECT, or one expression over the rows of a shard. Nothing is run here."""

import json
import re
from collections.abc import Collection, Iterator
from typing import Any

from tamis.pipeline.errors import QueryError
from tamis.pipeline.schemas import POOL
from tamis.selectors.hints import did_you_mean


def one_select(con: Any, query: str) -> str:
    """The query, if it is one SELECT. Raises QueryError."""
    import duckdb

    try:
        statements = con.extract_statements(query)
    except duckdb.Error as error:
        raise QueryError(f"sql: {problem_of(error)}") from error
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise QueryError("sql: wanted one SELECT statement; nothing here can be changed")
    return statements[0].query


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


REFUSED = {  # classes of the parsed tree that are not of one row, and what to do instead
    "SUBQUERY": "no subqueries; it is asked of one shard at a time",
    "WINDOW": "no window functions; it is asked of one shard at a time",
    "STAR": "no `*`; name what is meant",
}
CHANGES = ("VOLATILE", "CONSISTENT_WITHIN_QUERY")  # stabilities of functions: dice and clocks
ZONED = "TIME ZONE|TIMESTAMPTZ"  # types of what a function takes
CLOCKS = ("current_date", "current_time", "current_timestamp", "localtime", "localtimestamp")  # written like fields
MACHINE = {  # what DuckDB takes for lasting, and another machine or setting answers otherwise
    "getenv", "version", "current_user", "session_user", "user", "current_localtime", "current_localtimestamp",
    "current_setting", "current_database", "current_schema", "current_schemas", "current_catalog", "current_query",
}  # fmt: skip


def check_where(where: str, fields: Collection[str]) -> None:
    """Refuse what is not one expression over a row with these fields beside the pool's own, before anything starts.
    Raises QueryError."""
    check_expression("where", where)
    names = [*POOL.names, *fields]
    known = {name.casefold() for name in names}
    for name in names_in(where):
        if name.casefold() not in known and name.casefold().partition(".")[0] not in known:
            hint = did_you_mean(name, names) or "; add it to `keep` or `columns`"
            there = ", ".join(sorted(fields)) or "none"
            raise QueryError(
                f"where {where!r}: no field or column {name!r}{hint} (there are: {there}, and the pool's own)"
            )


def check_expression(what: str, text: str) -> None:
    """Refuse what is not one expression over a row that answers the same each time. Raises QueryError."""
    import duckdb

    with duckdb.connect() as con:
        try:
            one_select(con, f"select ({text}\n)")
            tree, plain = _tree(con, text), _tree(con, "true")
        except (QueryError, duckdb.Error) as error:
            raise QueryError(f"{what} {text!r}: not an SQL expression ({problem_of(error)})") from error
        functions = _rows(
            con,
            "select function_name as name, function_type as kind, stability, parameter_types::text as takes "
            "from duckdb_functions()",
        )
    classes, called = set(_values(tree, "class")), {name.casefold() for name in _values(tree, "function_name")}
    if machine := sorted(called & MACHINE):
        raise QueryError(f"{what} {text!r}: {machine[0]} is of a machine or its settings, not of a row")
    for name, why in REFUSED.items():
        if name in classes:
            raise QueryError(f"{what} {text!r}: {why}")
    asked, bare = (one["statements"][0]["node"] for one in (tree, plain))
    if len(asked.get("select_list", [])) != 1 or asked | {"select_list": []} != bare | {"select_list": []}:
        raise QueryError(f"{what} {text!r}: not an SQL expression")  # its brackets let in a limit, a sample, a from
    scalar = {row["name"] for row in functions if row["kind"] in ("scalar", "macro")}
    for row in functions:
        if row["name"] in called and _changes(row):
            raise QueryError(f"{what} {text!r}: {row['name']}() answers otherwise each time; use a step `random`")
        if row["name"] in called and row["kind"] == "aggregate" and row["name"] not in scalar:
            raise QueryError(f"{what} {text!r}: {row['name']}() is of many rows; it is asked of one shard at a time")
    if clocks := {name.casefold() for name in _references(tree)} & {*CLOCKS}:
        raise QueryError(f"{what} {text!r}: {min(clocks)} is the clock, which answers otherwise each time")
    if "unnest" in called:
        raise QueryError(f"{what} {text!r}: unnest() makes several rows of one")


def _changes(function: dict[str, Any]) -> bool:
    """Whether it answers otherwise each time. What hangs on the time zone alone does not: that is UTC here."""
    zoned = function["stability"] == "CONSISTENT_WITHIN_QUERY" and re.search(ZONED, function["takes"] or "")
    return function["stability"] in CHANGES and not zoned


def _tree(con: Any, text: str) -> dict[str, Any]:
    query = {"query": f"select ({text}\n)"}
    (row,) = _rows(con, "select json_serialize_sql($query) as tree", query)
    tree: dict[str, Any] = json.loads(row["tree"])
    return tree


def _values(node: Any, key: str) -> Iterator[str]:
    """All values under a key, in the whole tree."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == key and isinstance(value, str):
                yield value
            yield from _values(value, key)
    elif isinstance(node, list):
        for value in node:
            yield from _values(value, key)


def problem_of(error: Exception) -> str:
    """The first paragraph of DuckDB's message, on one line."""
    return " ".join(str(error).split("\n\n")[0].split())


def names_in(text: str) -> list[str]:
    """The names that an expression speaks of, as written, `clip.class` as one; parameters of its lambdas are none."""
    import duckdb

    with duckdb.connect() as con:
        tree = _tree(con, text)
    mine = set(_parameters(tree))
    return list(dict.fromkeys(name for name in _references(tree) if name.partition(".")[0] not in mine))


def _parameters(node: Any) -> Iterator[str]:
    """Names that lambdas bind."""
    if isinstance(node, dict):
        if node.get("class") == "LAMBDA":
            yield from _references(node.get("lhs"))
            named = node.get("syntax_parameters") or node.get("params") or []
            yield from (name for name in named if isinstance(name, str))
        for value in node.values():
            yield from _parameters(value)
    elif isinstance(node, list):
        for value in node:
            yield from _parameters(value)


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if node.get("class") == "COLUMN_REF":
            yield ".".join(node["column_names"])
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def _rows(con: Any, query: str, parameters: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    answer = con.execute(query, parameters or {})
    names = [column[0] for column in answer.description or []]
    return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]
