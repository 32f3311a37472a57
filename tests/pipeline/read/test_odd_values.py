"""Odd values of tables and lines: each is read as its own library would, or refused in one line."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq
import pytest

from tamis.pipeline.errors import SourceError
from tamis.pipeline.files import bytes_in
from tamis.pipeline.files.bytes_in import zstd
from tamis.pipeline.files.plain_yaml import load_yaml
from tamis.pipeline.read.pool import Pool
from tamis.pipeline.read.tables.delimited import CsvReader, number_of, numbers_of
from tests_support import Runner, write_jsonl

from .test_finding import pool_of, rejected


def kept(pool: Pool, *names: str) -> list[Any]:
    rows = [row for part in pool.parts for row in pq.read_table(part.path).select(list(names)).to_pylist()]
    return [row[names[0]] for row in rows] if len(names) == 1 else rows


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        (["1", "20", "-3"], [1, 20, -3]),
        (["1", "2.5", "1e-05", ".5"], [1.0, 2.5, 1e-05, 0.5]),
        (["0.1", "0.10"], [0.1, 0.1]),
        (["00501", "90210"], ["00501", "90210"]),
        (["1_000", "7"], ["1_000", "7"]),
        (["12e4", "7"], ["12e4", "7"]),
        (["1e9999", "7"], ["1e9999", "7"]),
        (["9007199254740993", "1.5"], ["9007199254740993", "1.5"]),
        (["9007199254740993", "1"], [9007199254740993, 1]),
        (["18446744073709551616", "1"], ["18446744073709551616", "1"]),
        (["+5", "1"], ["+5", "1"]),
        (["0x10", "1"], ["0x10", "1"]),
        (["Infinity", "1"], ["Infinity", "1"]),
        (["٣", "1"], ["٣", "1"]),
        ([" 1", "1"], [" 1", "1"]),
    ],
)
def test_csv_values_become_numbers_only_where_nothing_is_lost(texts: list[str | None], wanted: list[Any]) -> None:
    assert numbers_of(texts) == wanted


def test_a_number_that_is_none_is_one_beside_numbers() -> None:
    found = numbers_of(["1.5", "nan"])
    assert found[0] == 1.5
    assert math.isnan(found[1])
    assert number_of("007", whole=True) == "007", "and is rejected where the first rows showed numbers"


def test_a_quote_that_never_closes_costs_its_line(tmp_path: Path) -> None:
    lines = ["id,text", 'a,"two\nlines"', 'b,"open', *(f"r{n},text {n}" for n in range(50)), 'z,"whole"']
    (tmp_path / "p.csv").write_text("\n".join(lines) + "\n")
    pool = pool_of(tmp_path, format="csv", path="p.csv", key="id")
    assert (pool.rows, rejected(pool)) == (52, [("p.csv", "bad_row")])
    rows = pq.read_table(pool.folder / "rejects.parquet").to_pylist()
    assert (rows[0]["position"], "opens on line 4" in rows[0]["detail"]) == (4, True)


def test_csv_is_what_pythons_own_reader_reads(tmp_path: Path) -> None:
    text = 'a,b\n1,"x, ""y"""\n\n"2\n3",z\r\n4,"ü"\n'
    (tmp_path / "p.csv").write_text(text, encoding="utf-8", newline="")
    with (tmp_path / "p.csv").open(encoding="utf-8", newline="") as file:
        theirs = list(csv.DictReader(file))
    assert [row for _, row in CsvReader(tmp_path / "p.csv")] == theirs


@pytest.mark.parametrize("doubled", ["text", "id", "lang"])
def test_two_columns_of_one_name_are_refused_by_name(tmp_path: Path, doubled: str) -> None:
    names = ["id", "text", "lang", doubled]
    table = pa.Table.from_arrays([pa.array(["a"])] * 4, names=names)
    pq.write_table(table, tmp_path / "p.parquet")
    (tmp_path / "p.csv").write_text(",".join(names) + "\na,b,c,d\n")
    with pa.OSFile(str(tmp_path / "p.arrow"), "wb") as out, pa.ipc.new_stream(out, table.schema) as stream:
        stream.write_table(table)
    for kind, file in (("parquet", "p.parquet"), ("csv", "p.csv"), ("hf", "p.arrow")):
        (tmp_path / kind).mkdir()
        pool = pool_of(tmp_path / kind, format=kind, path=f"../{file}", key="id", keep=["lang"])
        (reject,) = pq.read_table(pool.folder / "rejects.parquet").to_pylist()
        assert repr(doubled) in reject["detail"]


def test_a_field_that_stands_twice_in_a_line_costs_the_line(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"text": "a", "text": "b"}\n{"text": "c", "x": 1, "x": 2}\n{"text": "d"}\n')
    pool = pool_of(tmp_path, format="jsonl", path="p.jsonl")
    assert (kept(pool, "text"), rejected(pool)) == (["c", "d"], [("p.jsonl", "bad_json")])


def test_a_json_array_is_told_from_lines(tmp_path: Path) -> None:
    for name, text in (("a", '[{"text": "x"}]'), ("b", '\ufeff[\n{"text": "x"}\n]'), ("c", '["x"]\n{"text": "y"}\n')):
        (tmp_path / f"{name}.jsonl").write_text(text)
    pool = pool_of(tmp_path, format="jsonl", path="*.jsonl")
    assert (kept(pool, "text"), rejected(pool)) == (["y"], [(f"{name}.jsonl", "bad_json") for name in "abc"])


def test_a_deeply_nested_line_costs_itself_wherever_it_stands(tmp_path: Path) -> None:
    deep = '{"text": ' + "[" * 100_000 + "]" * 100_000 + "}"
    (tmp_path / "p.jsonl").write_text("\n".join([deep, *(json.dumps({"text": f"t {n}"}) for n in range(1500)), deep]))
    pool = pool_of(tmp_path, format="jsonl", path="p.jsonl")
    assert (pool.rows, rejected(pool)) == (1500, [("p.jsonl", "bad_json")] * 2)


def test_a_list_that_was_empty_at_first_keeps_what_comes_later(tmp_path: Path) -> None:
    rows = [{"text": f"t {n}", "tags": [], "when": None} for n in range(1500)]
    rows += [{"text": "late", "tags": ["new"], "when": 7}, {"text": "later", "tags": [{"a": 1}], "when": 8}]
    write_jsonl(tmp_path / "p.jsonl", rows)
    pool = pool_of(tmp_path, format="jsonl", path="p.jsonl", keep=["tags", "when"])
    found = kept(pool, "tags", "when")
    assert found[-2:] == [{"tags": '["new"]', "when": 7}, {"tags": '[{"a": 1}]', "when": 8}]
    assert rejected(pool) == []


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "csv"])
def test_a_file_without_a_kept_field_has_nulls_there(tmp_path: Path, kind: str) -> None:
    for name, row in (("a", {"text": "one", "lang": "de"}), ("b", {"text": "two"})):
        file = tmp_path / f"{name}.{kind}"
        if kind == "jsonl":
            write_jsonl(file, [row])
        elif kind == "parquet":
            pq.write_table(pa.Table.from_pylist([row]), file)
        else:
            file.write_text(",".join(row) + "\n" + ",".join(row.values()) + "\n")
    pool = pool_of(tmp_path, format=kind, path=f"*.{kind}", keep=["lang"])
    assert sorted(kept(pool, "lang"), key=str) == [None, "de"]


class TestNames:
    """A field that no row has is told before the pool is read."""

    @pytest.mark.parametrize("kind", ["jsonl", "parquet", "csv"])
    @pytest.mark.parametrize(
        ("role", "settings"), [("keep", {"keep": ["lagn"]}), ("key", {"key": "lagn"}), ("text", {"text": "lagn"})]
    )
    def test_with_the_one_that_was_meant(
        self, tmp_path: Path, run_in: Runner, kind: str, role: str, settings: dict[str, Any]
    ) -> None:
        row = {"id": "a", "text": "x", "lang": "de"}
        write_jsonl(tmp_path / "p.jsonl", [row])
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / "p.parquet")
        (tmp_path / "p.csv").write_text("id,text,lang\na,x,de\n")
        with pytest.raises(SourceError, match=f"'lagn' that `{role}` names, did you mean 'lang'"):
            run_in(tmp_path, pool=[{"format": kind, "path": f"p.{kind}", **settings}], target=[], steps=[])
        assert not (tmp_path / "store" / "pool").exists()
        assert not list((tmp_path / "store").glob("runs/*")) if (tmp_path / "store").exists() else True

    def test_one_that_comes_late_is_there(self, tmp_path: Path) -> None:
        write_jsonl(tmp_path / "p.jsonl", [*({"text": f"t {n}"} for n in range(3000)), {"text": "x", "rare": 1}])
        assert kept(pool_of(tmp_path, format="jsonl", path="p.jsonl", keep=["rare"]), "rare")[-1] == 1


def test_a_refused_run_leaves_nothing_behind(run_in: Runner, workplace: Path) -> None:
    run_in(workplace)
    (workplace / "other.jsonl").write_text('{"id": "a", "text": "x", "part": "p"}\n')
    with pytest.raises(Exception, match="another pool"):
        run_in(workplace, name="refused", pool=[{"format": "jsonl", "path": "other.jsonl"}])
    assert [path.name for path in (workplace / "store" / "runs").iterdir()] == ["run"]


def test_a_long_window_is_read_or_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {zstd.CompressionParameter.window_log: 28, zstd.CompressionParameter.enable_long_distance_matching: 1}
    data = json.dumps({"text": "a text"}).encode() + b"\n"
    stream = zstd.ZstdCompressor(options=asked)
    (tmp_path / "p.jsonl.zst").write_bytes(stream.compress(data) + stream.flush())
    assert pool_of(tmp_path, format="jsonl", path="p.jsonl.zst").rows == 1
    monkeypatch.setattr(bytes_in, "memory_bytes", lambda: 1 << 30)
    (tmp_path / "small").mkdir()
    pool = pool_of(tmp_path / "small", format="jsonl", path="../p.jsonl.zst")
    (reject,) = pq.read_table(pool.folder / "rejects.parquet").to_pylist()
    assert (reject["reason"], "window of more than 128 MB" in reject["detail"]) == ("unreadable_file", True)


def test_yaml_is_as_it_looks() -> None:
    assert load_yaml("{a: 010, b: 1:30, c: 1e3, d: 1_000, e: no, f: 0}") == {
        "a": "010", "b": "1:30", "c": 1000.0, "d": 1000, "e": "no", "f": 0,
    }  # fmt: skip
    for text in ("a: 1\na: 2", "x: {steps: 1, 'steps': 2}"):
        with pytest.raises(Exception, match="stands twice in one map, first on line 1"):
            load_yaml(text)


class TestKeptValues:
    """None is changed on the way: it fits its type whole, or its row is a reject, or the field is JSON."""

    def test_lists_are_not_cut_to_whole_numbers(self, tmp_path: Path) -> None:
        rows = [{"text": f"t {n}", "s": [10, 20]} for n in range(1100)]
        write_jsonl(tmp_path / "p.jsonl", [*rows, {"text": "x", "s": [10.5, 20.9]}, {"text": "y", "s": [True]}])
        pool = pool_of(tmp_path, format="jsonl", path="p.jsonl", keep=["s"])
        assert (pool.rows, rejected(pool)) == (1100, [("p.jsonl", "wrong_type")] * 2)

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ([{"a": 1}], [{"a": 1, "b": 2}]), ([[1]], [[1.5]]), ([1], [1.5]), ([1], [True]), ([True], [7]),
            ([{"a": 1}], ["text"]), ([[1]], [{"a": 1}]),
        ],
    )  # fmt: skip
    def test_files_of_other_schemas_meet(
        self, tmp_path: Path, run_in: Runner, first: list[Any], second: list[Any]
    ) -> None:
        for name, values in (("a", first), ("b", second)):
            table = pa.table({"text": [f"{name} {n}" for n in range(len(values))], "v": values})
            pq.write_table(table, tmp_path / f"{name}.parquet")
        pool = [{"format": "parquet", "path": "*.parquet", "keep": ["v"]}]
        outcome = run_in(tmp_path, pool=pool, target=[], steps=[], emit=["jsonl"])
        lines = (outcome.folder / "exports" / "selection.jsonl").read_text().splitlines()
        told = {row["text"][0]: row["v"] for row in map(json.loads, lines)}
        texts = {type(first[0]), type(second[0])} == {int, bool}  # of no type in common, and no list: texts
        assert (
            told == {"a": str(first[0]).lower(), "b": str(second[0]).lower()}
            if texts
            else {"a": first[0], "b": second[0]}
        )

    def test_names_that_a_database_would_change_are_kept(self, tmp_path: Path, run_in: Runner) -> None:
        kind = pa.struct([("a", pa.int64()), ("A", pa.int64())])
        pq.write_table(pa.table({"text": ["x"], "s": pa.array([{"a": 1, "A": 2}], kind)}), tmp_path / "p.parquet")
        pool = [{"format": "parquet", "path": "p.parquet", "keep": ["s"]}]
        outcome = run_in(tmp_path, pool=pool, target=[], steps=[], emit=["jsonl"])
        assert json.loads((outcome.folder / "exports" / "selection.jsonl").read_text())["s"] == {"a": 1, "A": 2}

    def test_values_that_nobody_can_hold_cost_their_row(self, tmp_path: Path, run_in: Runner) -> None:
        far = pa.array([0, 4_000_000], pa.int32()).cast(pa.date32())
        late = pa.array([0, 10**18], pa.int64()).cast(pa.timestamp("us"))
        broken = pa.array([{"s": b"fine"}, {"s": b"\xff"}], pa.struct([("s", pa.binary())])).cast(
            pa.struct([("s", pa.string())]), safe=False
        )
        fields = {"far": far, "late": late, "broken": broken}
        for name, values in fields.items():
            pq.write_table(
                pa.table({"text": [f"{name} good", f"{name} bad"], name: values}), tmp_path / f"{name}.parquet"
            )
        pool = [{"format": "parquet", "path": f"{name}.parquet", "keep": [name]} for name in fields]
        outcome = run_in(tmp_path, pool=pool, target=[], steps=[], emit=["jsonl", "csv", "hf", "parquet"])
        assert (outcome.selected, outcome.manifest["pool"]["rejects"]) == (3, {"wrong_type": 3})

    def test_whole_numbers_beyond_floats_stay_what_they_are(self, tmp_path: Path, run_in: Runner) -> None:
        rows = [{"id": f"{n:05d}", "text": f"t {n}", "m": {"n": 9007199254740993}} for n in range(1100)]
        rows += [{"id": f"{n:05d}", "text": f"u {n}", "m": {"n": 0.5}} for n in range(1100, 1200)]
        write_jsonl(tmp_path / "p.jsonl", rows)
        pool = [{"format": "jsonl", "path": "p.jsonl", "key": "id", "keep": ["m"]}]
        outcome = run_in(tmp_path, pool=pool, target=[], steps=[], emit=["parquet", "jsonl"])
        table = pq.read_table(outcome.folder / "exports" / "selection.parquet")
        assert {json.loads(text)["n"] for text in table["m"].to_pylist()} == {9007199254740993, 0.5}

    def test_lists_of_one_length_open_as_a_dataset(self, tmp_path: Path, run_in: Runner) -> None:
        datasets = pytest.importorskip("datasets")
        values = pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2))
        pq.write_table(pa.table({"text": ["x"], "v": values}), tmp_path / "p.parquet")
        pool = [{"format": "parquet", "path": "p.parquet", "keep": ["v"]}]
        outcome = run_in(tmp_path, pool=pool, target=[], steps=[], emit=["hf"])
        assert datasets.load_from_disk(str(outcome.folder / "exports" / "hf"))[0]["v"] == [1.0, 2.0]


def test_links_in_circles_end_under_any_pattern(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    write_jsonl(tmp_path / "pool" / "a.jsonl", [{"text": "x"}])
    for name in ("l1", "l2", "l3"):
        (tmp_path / "pool" / name).symlink_to(tmp_path / "pool", target_is_directory=True)
    pool = pool_of(tmp_path, format="jsonl", path="pool/**/*.jsonl")
    assert (pool.rows, rejected(pool)) == (1, [(name, "link") for name in ("l1", "l2", "l3")])
