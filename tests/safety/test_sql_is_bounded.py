"""Promise: a recipe's condition is one lasting expression; a person's SQL reads the store alone, and ends."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tamis.pipeline.errors import QueryError, RecipeError, TamisError
from tamis.pipeline.recipe.expressions import check_expression, check_where
from tamis.pipeline.store.query import ask, print_answer
from tamis.pipeline.store.runs import Run, open_complete
from tests_support import Runner, write_jsonl

CONDITIONS = [
    "true) using sample (10%", "true) union all select (12345", "true) limit (5", "true; drop table pool", "true /*",
    "now() > timestamp '2020-01-01'", "current_date > date '2020-01-01'", "today() is not null", "txid_current() > 0",
    "random() < 0.5", "uuid() is not null", "gen_random_uuid() is not null", "current_setting('threads') = '2'",
    "nextval('x') > 0", "getenv('HOME') is not null", "current_localtimestamp() is not null",
    "get_current_timestamp() is not null", "(select count(*) from read_csv('/etc/passwd')) > 0", "version() is not null",
    "exists (from glob('/*'))", "current_user() is not null", "current_schema() = 'main'",
]  # fmt: skip


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_condition_that_is_more_or_does_not_last_is_refused(condition: str) -> None:
    with pytest.raises(TamisError):
        check_expression("where", condition)


@pytest.mark.parametrize(
    "condition", ["lang = 'en' and length(text) > 3", "score between 1 and 2", "key like '%x%' -- note"]
)
def test_a_condition_that_is_one_expression_is_taken(condition: str) -> None:
    check_where(condition, ["lang", "score"])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    from tamis.pipeline.recipe.recipe import parse_recipe
    from tamis.pipeline.starting import run_recipe

    folder = tmp_path_factory.mktemp("sql")
    write_jsonl(folder / "pool.jsonl", [{"id": f"k{n}", "text": f"text {n}"} for n in range(20)])
    (folder / "secret.csv").write_text("a\nprecious\n")
    asked: dict[str, Any] = {
        "name": "run",
        "pool": [{"format": "jsonl", "path": "pool.jsonl", "key": "id"}],
        "steps": [],
    }
    return open_complete(run_recipe(parse_recipe(asked, folder), folder, folder / "store").folder)


QUERIES: dict[str, Callable[[Path], str]] = {
    "a file beside the store": lambda store: f"select * from '{store.parent}/secret.csv'",
    "a file above it": lambda store: f"select * from read_csv('{store}/../secret.csv')",
    "a file of the machine": lambda store: "select * from read_text('/etc/passwd')",
    "files by a pattern": lambda store: f"from glob('{store.parent}/*')",
    "an attached file": lambda store: f"attach '{store}/x.db'",
    "a copy out": lambda store: f"copy (select 1) to '{store}/out.csv'",
    "two statements": lambda store: "select 1; select 2",
    "a setting": lambda store: "set enable_external_access = true",
    "a pragma": lambda store: "pragma enable_external_access",
    "an extension": lambda store: "install httpfs",
    "a loaded extension": lambda store: f"load '{store}/x.duckdb_extension'",
    "the web": lambda store: "select * from read_csv('http://127.0.0.1:9/x.csv')",
    "a table made": lambda store: "create table x as select 1",
    "an export": lambda store: f"export database '{store}/x'",
    "the environment": lambda store: "select getenv('HOME')",
    "a call": lambda store: "call pragma_version()",
}


@pytest.mark.parametrize("name", QUERIES)
def test_a_persons_sql_reads_the_store_alone(name: str, run: Run) -> None:
    with pytest.raises(QueryError):
        print_answer(ask(run, QUERIES[name](run.store)), "json", out=open("/dev/null", "w"))  # noqa: SIM115
    assert sum(batch.num_rows for batch in ask(run, "select * from pool")) == 20


ENDLESS = [
    "select count(*) from range(100000000) a, range(100000) b",
    "with recursive r as (select 1 x union all select x + 1 from r) select count(*) from r",
    "select sum(hash(a.range, b.range)) from range(10000000) a, range(100000) b",
    "select count(*) from pool a, pool b, pool c, pool d, pool e, pool f, pool g, pool h where a.text || b.text > c.text",
]


@pytest.mark.parametrize("query", ENDLESS, ids=range(len(ENDLESS)))
def test_sql_that_would_not_end_is_stopped(query: str, run: Run) -> None:
    began = time.monotonic()
    with pytest.raises(QueryError, match=r"stopped after 0\.5 seconds; --seconds|it needs more"):
        list(ask(run, query, seconds=0.5))
    assert time.monotonic() - began < 60, "and not by its end"
    assert next(ask(run, "select 1 as a")).to_pylist() == [{"a": 1}]


@pytest.mark.parametrize(
    "query",
    [
        "select count(*) from (select repeat('x', 50) || range t, count(*) from range(30000000) group by 1)",
        "select * from (select repeat('x', 60) || range t from range(30000000)) order by t desc",
    ],
)
def test_sql_that_would_fill_the_disk_is_stopped(query: str, run: Run) -> None:
    with pytest.raises(QueryError, match="--spill gives it more"):
        list(ask(run, query, spill=1 << 20))
    assert not (run.store / ".tmp").exists() or not list((run.store / ".tmp").iterdir())


@pytest.mark.parametrize("condition", CONDITIONS[:5])
def test_nothing_is_read_under_a_condition_that_is_refused(condition: str, run_in: Runner, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "pool.jsonl", [{"id": f"k{n}", "text": f"text {n}"} for n in range(20)])
    pool = [{"format": "jsonl", "path": "pool.jsonl", "key": "id"}]
    for steps in ([{"sql": {"where": condition}}], [{"random": {"budget": 2, "where": condition}}]):
        with pytest.raises((RecipeError, QueryError)):
            run_in(tmp_path, pool=pool, target=[], steps=steps)
        assert not (tmp_path / "store" / "pool").exists()
