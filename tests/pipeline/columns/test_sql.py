"""`{sql: EXPR}`: equal to the database's own answer, checked as `where` is, made again when what it reads changes."""

from pathlib import Path
from typing import Any
from zlib import crc32

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest

from tamis.pipeline.errors import RecipeError
from tamis.pipeline.explain.why import why
from tamis.pipeline.store.manifest import verify
from tamis.pipeline.store.query import ask
from tamis.pipeline.store.runs import open_complete
from tests_support import Runner, write_jsonl

READ = {"read": {"measure": "text"}}
ALL = {"target": [], "steps": [{"random": {"fraction": 1.0}}], "emit": []}


def answers(store: Path, column: str) -> list[Any]:
    return [
        value
        for part in sorted((store / "columns" / column).glob("part-*"))
        for value in pq.read_table(part)[column].to_pylist()
    ]


@pytest.mark.parametrize(
    "expression",
    [
        "length(text)",
        "n_bytes / 7.0",
        "exp(read_sentences - read)",
        "part || ':' || key",
        "case when n_bytes > 300 then 'long' end",
        "N_BYTES > 300 and Part <> 'parse'",
        "list_sum(list_transform([1, 2], lambda x: x * n_bytes))",
        "round(n_bytes::decimal(10, 2) * 1.5, 1)",
    ],
)
def test_values_are_the_databases_own(run_in: Runner, workplace: Path, expression: str) -> None:
    outcome = run_in(workplace, **{**ALL, "columns": {**READ, "gain": {"sql": expression}}})
    pool = f"read_parquet('{workplace}/store/pool/part-*.parquet')"
    read = f"(select sample_id, read, sentences as read_sentences from read_parquet('{workplace}/store/columns/read/part-*'))"
    wanted = duckdb.sql(f"select {expression} as gain from {pool} join {read} using (sample_id) order by sample_id")
    found = [
        row["gain"]
        for batch in ask(open_complete(outcome.folder), "select gain from gain order by sample_id")
        for row in batch.to_pylist()
    ]
    assert found == [float(v) if hasattr(v, "as_tuple") else v for (v,) in wanted.fetchall()]
    assert len(found) > 1000
    assert verify(open_complete(outcome.folder)) == []


def test_steps_and_sql_know_it(run_in: Runner, workplace: Path) -> None:
    steps = [
        {"threshold": {"column": "size", "above": 500}},
        {"sql": {"where": "kind = 'long'"}},
        {"random": {"budget": 20}},
    ]
    columns = {"size": {"sql": "length(text)"}, "kind": {"sql": "case when size > 900 then 'long' else 'short' end"}}
    outcome = run_in(workplace, target=[], columns=columns, steps=steps)
    texts = pq.read_table(outcome.folder / "selection.parquet")["text"].to_pylist()
    assert len(texts) == 20 and min(map(len, texts)) > 900
    assert "SELECTED" in why(
        open_complete(outcome.folder), pq.read_table(outcome.folder / "selection.parquet")["key"][0].as_py()
    )


def test_it_is_made_again_when_the_expression_or_a_column_that_it_reads_changes(
    run_in: Runner, workplace: Path
) -> None:
    columns = {"base": {"sql": "length(text)"}, "twice": {"sql": "base * 2"}}
    run_in(workplace, **ALL, columns=columns)
    first = answers(workplace / "store", "twice")
    stamp = next((workplace / "store" / "columns" / "twice").glob("part-*")).stat().st_mtime_ns
    run_in(workplace, name="again", **{**ALL, "steps": [{"random": {"budget": 3}}]}, columns=columns)
    assert next((workplace / "store" / "columns" / "twice").glob("part-*")).stat().st_mtime_ns == stamp, "reused"
    outcome = run_in(workplace, name="other", **ALL, columns={**columns, "base": {"sql": "length(text) + 1"}})
    folder = next(c["folder"] for c in outcome.manifest["columns"] if c["name"] == "twice")
    again = [
        v
        for part in sorted((workplace / "store" / folder).glob("part-*"))
        for v in pq.read_table(part)["twice"].to_pylist()
    ]
    assert again == [value + 2 for value in first]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": {"sql": "(select max(n_bytes) from pool)"}}, "a .*no subqueries"),
        ({"a": {"sql": "random()"}}, "a .*answers otherwise each time"),
        ({"a": {"sql": "n_bytes; drop table pool"}}, "a .*not an SQL expression"),
        ({"a": {"sql": "n_byts * 2"}}, "no field or column 'n_byts', did you mean 'n_bytes'"),
        ({"a": {"sql": "b + 1"}, "b": {"sql": "n_bytes"}}, "no field or column 'b'"),
        ({"a": {"sql": "n_bytes", "where": "x"}}, "unknown setting 'where'"),
        ({"a": {"sql": 5}}, "expression"),
        ({"a": {"sql": "n_bytes", "measure": "text"}}, "are two columns"),
        ({"a": {"sql": "[n_bytes]"}}, "wanted a number or a text"),
        ({"a": {"sql": "text + 1"}}, "sql 'text . 1'"),
        ({"a": {"sql": "row_number() over ()"}}, "a .*no window functions"),
        ({"a": {"sql": "max(n_bytes)"}}, "a .*max.. is of many rows"),
        ({"a": {"sql": "*"}}, "a .*no `.`"),
        ({"a": {"sql": "unnest([1, 2])"}}, "a .*unnest.. makes several rows of one"),
        ({"a": {"sql": "n_bytes, text"}}, "wanted a number or a text"),
        ({"a": {"sql": "epoch(now())"}}, "a .*answers otherwise each time"),
        ({"a": {"sql": "year(Current_Date)"}}, "a .*current_date is the clock"),
        ({"a": {"sql": "n_bytes) limit (5"}}, "a .*not an SQL expression"),
        ({"a": {"sql": "n_bytes) using sample (10%"}}, "a .*not an SQL expression"),
        ({"a": {"sql": "n_bytes) where (n_bytes > 5"}}, "a .*not an SQL expression"),
        ({"a": {"sql": "n_bytes", "expression": "n_bytes"}}, "it stands behind `sql:` already"),
    ],
)
def test_wrong_expressions_are_one_line(run_in: Runner, workplace: Path, columns: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message) as told:
        run_in(workplace, **ALL, columns=columns)
    assert type(told.value).__module__ == "tamis.pipeline.errors" and "\n" not in str(told.value)


def test_no_file_is_read(run_in: Runner, workplace: Path) -> None:
    secret = workplace / "secret.txt"
    secret.write_text("x")
    with pytest.raises(Exception, match="no subqueries"):
        run_in(workplace, **ALL, columns={"a": {"sql": f"(from read_text('{secret}'))"}})


def test_outputs_of_a_column_and_vectors_are_seen(run_in: Runner, photos: Path) -> None:
    np.savez(photos.parent / "v.npz", key=["china/00"], vector=np.eye(4)[:1])
    columns = {
        "look": {"embed": "precomputed", "path": "v.npz"},
        "sharp": {"measure": "image"},
        "found": {"sql": "look is not null and sharp_brightness > 0 and width > 10"},
        "first": {"sql": "look[1]"},
    }
    pool = [{"format": "images", "path": "photos"}]
    run_in(photos.parent, **{**ALL, "pool": pool}, columns=columns)
    assert answers(photos.parent / "store", "found").count(True) == 1
    assert [v for v in answers(photos.parent / "store", "first") if v is not None] == [1.0]


def words_counted(text: str) -> list[float]:
    counts = np.zeros(256)
    for word in text.lower().split():
        counts[crc32(word.encode()) % 256] += 1
    return np.sqrt(counts + 0.01).tolist()


@pytest.mark.parametrize("of", ["texts", "images"])
def test_a_linear_classifier_learns_from_a_column(run_in: Runner, photos: Path, doc_records: Any, of: str) -> None:
    folder = photos.parent
    if of == "images":
        asked: dict[str, Any] = {
            "pool": [{"format": "images", "path": "photos", "keep": ["label"]}],
            "target": [{"format": "images", "path": "photos/digits"}],
            "columns": {"look": {"embed": "classic"}},
        }
        wanted, field = "digits", "label"
    else:
        mine = [record for record in doc_records if record["part"] == "tokenize"]
        write_jsonl(folder / "target.jsonl", mine[::2])
        write_jsonl(folder / "pool.jsonl", mine[1::2] + [one for one in doc_records if one not in mine][:500])
        numbers = {record["id"]: words_counted(record["text"]) for record in doc_records}
        np.savez(folder / "v.npz", key=list(numbers), vector=np.array(list(numbers.values())))
        asked = {"columns": {"look": {"embed": "precomputed", "path": "v.npz"}}}
        asked["target"] = [{"format": "jsonl", "path": "target.jsonl", "key": "id", "text": "text"}]
        wanted, field = "tokenize", "part"
    asked["columns"]["like"] = {"classify": "linear", "features": "look"}
    outcome = run_in(folder, **{**ALL, **asked, "steps": [{"threshold": {"column": "like", "budget": 30}}]})
    chosen = pq.read_table(outcome.folder / "selection.parquet")[field].to_pylist()
    assert chosen.count(wanted) > 15, chosen
    assert verify(open_complete(outcome.folder)) == []


def test_columns_that_read_each_other_are_refused(run_in: Runner, workplace: Path) -> None:
    with pytest.raises(RecipeError, match="no field or column 'b'"):
        run_in(workplace, **ALL, columns={"a": {"sql": "b"}, "b": {"sql": "a"}})


def test_what_is_made_of_one_is_made_without_a_target(run_in: Runner, workplace: Path) -> None:
    (workplace / "mine.py").write_text(
        "from dataclasses import dataclass\n"
        "import pyarrow.compute as pc\n"
        "from tamis.pipeline.columns.contract import ColumnKind, NoModel, Output\n"
        "import pyarrow as pa\n\n\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class Doubled(ColumnKind):\n"
        "    verb, kind = 'measure', 'doubled'\n\n"
        "    def makes(self, images):\n"
        "        return [Output(main=pa.float64(), reads=('long',))]\n\n"
        "    def fingerprinted(self, folder):\n"
        "        return {}\n\n"
        "    def load(self, place):\n"
        "        return Twice()\n\n\n"
        "class Twice(NoModel):\n"
        "    def values(self, batch, told):\n"
        "        return [pc.multiply(batch['long'], 2.0)]\n"
    )
    columns = {"long": {"sql": "length(text)"}, "twice": {"python": "mine.py:Doubled"}}
    asked = {name: value for name, value in ALL.items() if name != "target"}  # the workplace's own target stays
    outcome = run_in(workplace, **asked, columns=columns, allow_code=True)
    assert outcome.manifest["target"]
    store = workplace / "store"
    assert answers(store, "twice") == [2.0 * value for value in answers(store, "long")]
