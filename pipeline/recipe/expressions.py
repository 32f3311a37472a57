"""SQL that a recipe or a user gives: one SELECT, or one expression over the rows of a shard. Nothing is run here."""

import json
from collections.abc import Iterator
from typing import Any

from tamis.pipeline.errors import QueryError


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


def check_where(where: str) -> None:
    """Refuse what is not one expression, before anything starts; unknown names show when the pool is there."""
    check_expression("where", where)


def check_expression(what: str, text: str) -> None:
    """Refuse what is not one expression over a shard's rows that answers the same each time. Raises QueryError."""
    import duckdb

    with duckdb.connect() as con:
        try:
            one_select(con, f"select ({text}\n)")
            tree = str(_rows(con, "select json_serialize_sql($query) as tree", {"query": f"select ({text}\n)"}))
        except (QueryError, duckdb.Error) as error:
            raise QueryError(f"{what} {text!r}: not an SQL expression ({problem_of(error)})") from error
        volatile = _rows(
            con, "select distinct function_name as name from duckdb_functions() where stability = 'VOLATILE'"
        )
    if '"SUBQUERY"' in tree:
        raise QueryError(f"{what} {text!r}: no subqueries; it is asked of one shard at a time")
    for row in volatile:
        if f'"function_name":"{row["name"]}"' in tree:
            raise QueryError(f"{what} {text!r}: {row['name']}() answers otherwise each time; use a step `random`")


def problem_of(error: Exception) -> str:
    """The first paragraph of DuckDB's message, on one line."""
    return " ".join(str(error).split("\n\n")[0].split())


def names_in(text: str) -> list[str]:
    """The names that an expression speaks of, as written, `clip.class` as one; parameters of its lambdas among them."""
    import duckdb

    with duckdb.connect() as con:
        query = f"select ({text}\n)"
        (row,) = _rows(con, "select json_serialize_sql($query) as tree", {"query": query})
    return list(dict.fromkeys(_references(json.loads(row["tree"]))))


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
