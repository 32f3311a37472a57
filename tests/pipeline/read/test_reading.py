"""Every format gives the same samples; what can't be read is a reject with place and reason, and costs nothing else."""

import bz2
import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.pipeline.errors import SourceError, StoreError
from tamis.pipeline.files import bytes_in
from tamis.pipeline.files.bytes_in import zstd
from tamis.pipeline.read.blocks import Fields
from tamis.pipeline.read.ingest import ingest
from tamis.pipeline.read.pool import Pool
from tamis.pipeline.read.tables import jsonl
from tamis.pipeline.recipe.recipe import parse_recipe
from tamis.pipeline.recipe.source import Source
from tests_support import write_jsonl

RECORDS = [
    {"id": "a", "text": "the first text", "year": 1999, "tags": ["x", "y"], "extra": 1},
    {"id": "b", "text": "ein zweiter Text, naïve", "year": 2001, "tags": [], "extra": None},
    {"id": "c", "text": 'line\nbreak\u2028inside "quotes", commas', "year": 2020, "tags": ["z"], "extra": "s"},
]


def read(folder: Path, **source: Any) -> Pool:
    folder.mkdir(exist_ok=True)
    recipe = parse_recipe({"name": "t", "pool": [source]}, folder)
    return ingest(folder / "store" / "pool", recipe.pool, strict=False, say=lambda line: None)


def samples(pool: Pool) -> list[dict[str, Any]]:
    return pa.concat_tables([pq.read_table(part.path) for part in pool.parts]).to_pylist() if pool.parts else []


def rejects(pool: Pool) -> list[tuple[Any, ...]]:
    table = pq.read_table(pool.folder / "rejects.parquet").to_pylist()
    return [(Path(row["source"]).name, row["position"], row["reason"]) for row in table]


def texts_by_key(pool: Pool) -> dict[str, str]:
    return {row["key"]: row["text"] for row in samples(pool)}


WANTED = {record["id"]: record["text"] for record in RECORDS}
LINES = "".join(json.dumps(record) + "\n" for record in RECORDS).encode()
PACKERS = {
    "": lambda raw: raw, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress,
    ".zst": zstd.compress,
}  # fmt: skip


@pytest.mark.parametrize("suffix", PACKERS)
def test_jsonl_plain_and_packed(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"p.jsonl{suffix}").write_bytes(PACKERS[suffix](LINES))
    pool = read(tmp_path, format="jsonl", path=f"p.jsonl{suffix}", key="id", keep=["year", "tags"])
    assert texts_by_key(pool) == WANTED
    assert [(row["position"], row["year"], row["tags"]) for row in samples(pool)] == [
        (1, 1999, ["x", "y"]), (2, 2001, []), (3, 2020, ["z"]),
    ]  # fmt: skip


def test_parquet_csv_and_saved_datasets(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(
        RECORDS[:2], pa.schema([("id", pa.string()), ("text", pa.large_string()), ("year", pa.int32())])
    )
    pq.write_table(table, tmp_path / "p.parquet")
    pool = read(tmp_path / "a", format="parquet", path="../p.parquet", key="id", keep=["year"])
    assert {row["key"]: (row["text"], row["year"]) for row in samples(pool)} == {
        "a": (WANTED["a"], 1999),
        "b": (WANTED["b"], 2001),
    }

    import csv

    with (tmp_path / "p.csv").open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, ["id", "text", "year"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(RECORDS)
    pool = read(tmp_path / "b", format="csv", path="../p.csv", key="id", keep=["year"])
    assert texts_by_key(pool) == WANTED
    assert [(row["position"], row["year"]) for row in samples(pool)] == [(2, 1999), (3, 2001), (5, 2020)]

    saved = tmp_path / "saved"  # the layout of datasets' save_to_disk
    saved.mkdir()
    (saved / "dataset_info.json").write_text("{}")
    (saved / "state.json").write_text('{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}')
    for place, writer in (("c", pa.ipc.new_stream), ("d", pa.ipc.new_file)):  # Arrow's own tools write files
        with (
            pa.OSFile(str(saved / "data-00000-of-00001.arrow"), "wb") as out,
            writer(out, table.schema) as rows,
        ):
            rows.write_table(table)
        pool = read(tmp_path / place, format="hf", path="../saved", key="id", keep=["year"])
        assert texts_by_key(pool) == {"a": WANTED["a"], "b": WANTED["b"]}
        assert [row["year"] for row in samples(pool)] == [1999, 2001]


def test_a_folder_of_texts_has_paths_as_keys(tmp_path: Path) -> None:
    for name, text in (
        ("one.txt", "first"),
        ("sub/two.md", "second"),
        ("sub/three.txt.gz", "third"),
        ("four.pdf", "no"),
    ):
        path = tmp_path / "texts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    (tmp_path / "texts" / "bad.txt").write_bytes(b"\xff\xfe\xfa")
    (tmp_path / "texts" / "empty.txt").write_bytes(b" \n")
    pool = read(tmp_path, format="texts", path="texts")
    assert texts_by_key(pool) == {"one": "first", "sub/two": "second", "sub/three": "third"}
    assert sorted(rejects(pool)) == [("bad.txt", 1, "invalid_utf8"), ("empty.txt", 1, "empty_text")]
    assert all(row["uri"] == row["source"] for row in samples(pool))


BAD_LINES = [
    (b'{"id": "1", "text": "good"}', None),
    (b"", None),
    (b'{"id": "2", "text": "cut', "bad_json"),
    (b"[1, 2]", "bad_json"),
    (b'{"id": "3", "text": 5}', "wrong_type"),
    (b'{"id": "4"}', "missing_field"),
    (b'{"id": "5", "text": null}', "missing_field"),
    (b'{"id": "6", "text": " \\n\\t "}', "empty_text"),
    (b'{"id": "7", "text": "\xff"}', "invalid_utf8"),
    (b'{"id": "8", "text": "\\ud800"}', "invalid_utf8"),
    (b'{"text": "no key"}', "missing_field"),
    (b'{"id": "9", "text": "also good"} ', None),
    (b'{"id": "10", "text": "two"}{"id": "11", "text": "objects"}', "bad_json"),
    (b'{"id": 12, "text": "whole number as key"}', None),
    (b'{"id": {"x": 1}, "text": "map as key"}', "wrong_type"),
]


def test_bad_lines_are_rejected_with_line_and_reason_and_cost_no_others(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_bytes(
        b'{"id": "0", "text": "x", "year": 1}\n' + b"\n".join(line for line, _ in BAD_LINES)
    )
    pool = read(tmp_path, format="jsonl", path="p.jsonl", key="id", keep=["year"])
    wanted = [("p.jsonl", number, reason) for number, (_, reason) in enumerate(BAD_LINES, 2) if reason]
    assert sorted(rejects(pool)) == sorted(wanted)
    assert set(texts_by_key(pool)) == {"0", "1", "9", "12"}
    assert pool.source_rows == pool.rows + sum(pool.rejects.values())


def test_one_bad_line_in_the_middle_of_a_large_block(tmp_path: Path) -> None:
    lines = [json.dumps({"id": str(i), "text": f"text number {i} " * 20}).encode() for i in range(3000)]
    lines[1700] = b"{broken"
    (tmp_path / "p.jsonl").write_bytes(b"\n".join(lines))
    pool = read(tmp_path, format="jsonl", path="p.jsonl", key="id")
    assert rejects(pool) == [("p.jsonl", 1701, "bad_json")]
    assert {row["key"]: row["position"] for row in samples(pool)} == {str(i): i + 1 for i in range(3000) if i != 1700}


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".bz2", ".xz"])
@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_damaged_archives_give_what_comes_before_the_damage(tmp_path: Path, suffix: str, damage: str) -> None:
    import random

    chance = random.Random(1)
    body = "".join(
        json.dumps({"id": str(i), "text": f"{chance.random()} {chance.random()}"}) + "\n" for i in range(20_000)
    )
    packed = bytearray(PACKERS[suffix](body.encode()))
    middle = len(packed) // 2
    if damage == "cut":
        del packed[middle:]
    else:
        packed[middle : middle + 64] = bytes(64)
    (tmp_path / f"p.jsonl{suffix}").write_bytes(packed)
    pool = read(tmp_path, format="jsonl", path=f"p.jsonl{suffix}", key="id")
    assert any(reason == "truncated" for _, _, reason in rejects(pool))
    assert pool.source_rows == pool.rows + sum(pool.rejects.values())
    if suffix in (".gz", ".zst"):  # the others unpack in blocks of nearly a megabyte
        assert pool.rows > 8000


def test_files_that_are_not_what_they_say_are_one_reject_each(tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 this is none")
    pq.write_table(pa.table({"body": ["x"]}), tmp_path / "other.parquet")
    pq.write_table(pa.table({"text": [[1, 2]]}), tmp_path / "nested.parquet")
    pq.write_table(pa.table({"text": ["fine", None, " "]}), tmp_path / "fine.parquet")
    pool = read(tmp_path, format="parquet", path="*.parquet")
    assert sorted(rejects(pool)) == [
        ("bad.parquet", None, "unreadable_file"), ("fine.parquet", 2, "missing_field"), ("fine.parquet", 3, "empty_text"),
        ("nested.parquet", None, "wrong_type"), ("other.parquet", None, "missing_field"),
    ]  # fmt: skip
    assert [row["text"] for row in samples(pool)] == ["fine"]


def test_csv_with_wrong_counts_bad_bytes_and_a_cut_quote(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes(b'id,text\n1,good\n2,too,many\n3,\xff\n4,"never closed\n')
    pool = read(tmp_path, format="csv", path="p.csv", key="id")
    assert [(position, reason) for _, position, reason in rejects(pool)] == [
        (3, "bad_row"), (4, "invalid_utf8"), (5, "bad_row"),
    ]  # fmt: skip
    assert set(texts_by_key(pool)) == {"1"}


def test_same_key_again_is_a_duplicate_or_a_conflict_and_names_the_first(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "p.jsonl", [
        {"id": "a", "text": "one"}, {"id": "a", "text": "one"}, {"id": "a", "text": "two"}, {"id": "b", "text": "one"},
    ])  # fmt: skip
    pool = read(tmp_path, format="jsonl", path="p.jsonl", key="id")
    assert rejects(pool) == [("p.jsonl", 2, "exact_duplicate"), ("p.jsonl", 3, "key_conflict")]
    details = pq.read_table(pool.folder / "rejects.parquet")["detail"].to_pylist()
    assert all("p.jsonl:1" in detail for detail in details)
    assert set(texts_by_key(pool)) == {"a", "b"}


def test_two_keys_with_one_id_are_a_collision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    from tamis.pipeline.read import shards

    monkeypatch.setattr(shards, "sample_ids", lambda namespace, keys: np.full(len(keys), 7, np.uint64))
    write_jsonl(tmp_path / "p.jsonl", RECORDS[:2])
    pool = read(tmp_path, format="jsonl", path="p.jsonl", key="id")
    assert [reason for *_, reason in rejects(pool)] == ["id_collision"]


def test_without_keys_the_content_names_the_sample(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "p.jsonl", [{"text": "x"}, {"text": "y"}, {"text": "x"}])
    pool = read(tmp_path, format="jsonl", path="p.jsonl")
    assert all(row["key"] == row["content_hash"].hex() for row in samples(pool))
    assert rejects(pool) == [("p.jsonl", 3, "exact_duplicate")]


def test_chunks_are_slices_of_their_parent(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "p.jsonl", [{"id": "a", "text": "one  two\nthree four five"}])
    pool = read(tmp_path, format="jsonl", path="p.jsonl", key="id", chunk={"words": 2})
    assert [(row["key"], row["text"], row["parent"]) for row in samples(pool)] == [
        ("a#0", "one  two", "a"), ("a#1", "three four", "a"), ("a#2", "five", "a"),
    ]  # fmt: skip


def test_a_chunk_counts_letters_of_scripts_without_spaces_as_words(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "p.jsonl", [{"id": "a", "text": "他说：“你好，世界。” abc カー défi 12 ที่ก"}])
    pool = read(tmp_path, format="jsonl", path="p.jsonl", key="id", chunk={"words": 4})
    assert [row["text"] for row in samples(pool)] == ["他说：“你好，", "世界。” abc カー", "défi 12 ที่ก"]


def test_kept_fields_that_differ_meet_as_text(tmp_path: Path) -> None:
    write_jsonl(
        tmp_path / "p.jsonl", [{"text": "x", "v": 1}, {"text": "y", "v": "one"}, {"text": "z", "v": {"a": [1]}}]
    )
    pool = read(tmp_path, format="jsonl", path="p.jsonl", keep={"value": "v"})
    assert [row["value"] for row in samples(pool)] == ["1", '"one"', '{"a": [1]}'], "as JSON"


def test_a_kept_value_that_does_not_fit_the_first_thousand_rows_is_rejected(tmp_path: Path) -> None:
    records = [{"text": f"t{i}", "year": i} for i in range(1200)]
    records[1100]["year"], records[1150]["year"], records[1160]["year"] = "no number", 2.5, True
    pool = read(tmp_path, format="jsonl", path=str(write_jsonl(tmp_path / "p.jsonl", records)), keep=["year"])
    assert (pool.rows, rejects(pool)) == (1197, [("p.jsonl", row, "wrong_type") for row in (1101, 1151, 1161)])


def test_several_sources_and_namespaces(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [{"n": 1, "text": "x"}])
    write_jsonl(tmp_path / "b.jsonl", [{"n": 1, "body": "y"}])
    sources = [
        {"format": "jsonl", "path": "a.jsonl", "key": "n"},
        {"format": "jsonl", "path": "b.jsonl", "key": "n", "text": "body", "namespace": "b"},
    ]
    recipe = parse_recipe({"name": "t", "pool": sources}, tmp_path)
    pool = ingest(tmp_path / "store" / "pool", recipe.pool, strict=False, say=lambda line: None)
    assert sorted((row["key"], row["text"]) for row in samples(pool)) == [("1", "x"), ("1", "y")]


def test_strict_makes_the_first_reject_fatal(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"text": "x"}\n{bad\n')
    recipe = parse_recipe({"name": "t", "pool": [{"format": "jsonl", "path": "p.jsonl"}]}, tmp_path)
    with pytest.raises(SourceError, match=r"p\.jsonl line 2: bad_json"):
        ingest(tmp_path / "store" / "pool", recipe.pool, strict=True, say=lambda line: None)


def test_new_files_add_shards_and_changed_ones_replace_theirs(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", RECORDS[:1])
    first = read(tmp_path, format="jsonl", path="*.jsonl", key="id")
    stamp = first.parts[0].path.stat().st_mtime_ns
    write_jsonl(tmp_path / "b.jsonl", RECORDS[1:])
    second = read(tmp_path, format="jsonl", path="*.jsonl", key="id")
    assert (second.rows, len(second.parts)) == (3, 2)
    assert second.parts[0].path.stat().st_mtime_ns == stamp
    write_jsonl(tmp_path / "a.jsonl", [{"id": "new", "text": "changed"}])
    third = read(tmp_path, format="jsonl", path="*.jsonl", key="id")
    assert set(texts_by_key(third)) == {"b", "c", "new"}
    assert first.parts[0].path.exists(), "old runs still need it"


def test_a_changed_file_gives_back_what_was_a_duplicate_of_it(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [{"id": "k", "text": "same"}])
    assert read(tmp_path, format="jsonl", path="*.jsonl", key="id").rows == 1
    write_jsonl(tmp_path / "b.jsonl", [{"id": "k", "text": "same"}])
    assert read(tmp_path, format="jsonl", path="*.jsonl", key="id").rejects == {"exact_duplicate": 1}
    write_jsonl(tmp_path / "a.jsonl", [{"id": "other", "text": "changed"}])
    pool = read(tmp_path, format="jsonl", path="*.jsonl", key="id")
    assert (texts_by_key(pool), pool.rejects) == ({"k": "same", "other": "changed"}, {})


def test_another_pool_is_refused(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", RECORDS)
    read(tmp_path, format="jsonl", path="a.jsonl", key="id")
    with pytest.raises(StoreError, match="holds another pool"):
        read(tmp_path, format="jsonl", path="a.jsonl")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from([line for line, _ in BAD_LINES] + [b'{"id": "x", "text": "y"}', b"\r", b"\xef\xbb\xbf{}"]),
        max_size=12,
    ),
    st.integers(1, 200),
)
def test_rows_are_lines_whatever_the_block_size(lines: list[bytes], slow_bytes: int) -> None:
    raw = b"\n".join(lines)
    fields = Fields("id", "text", {}, {"id": pa.string(), "text": pa.string()})
    kept = jsonl.SLOW_BYTES
    jsonl.SLOW_BYTES = slow_bytes
    try:
        block = jsonl.parse_lines(raw, 1, "s", fields)
    finally:
        jsonl.SLOW_BYTES = kept
    found = (block.table["position"].to_pylist() if block.table.num_rows else []) + [
        reject.position for reject in block.rejects
    ]
    assert sorted(found) == [number for number, line in enumerate(raw.split(b"\n"), 1) if line.strip(b" \t\r")]


def test_pieces_survive_any_cut(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    packed = gzip.compress(b"abc\n" * 1000) + gzip.compress(b"def\n")
    for cut in (0, 1, 5, len(packed) // 3, len(packed) - 1):
        path.write_bytes(packed[:cut])
        with pytest.raises(bytes_in.Truncated):
            list(bytes_in.pieces(path))
    path.write_bytes(packed)
    assert b"".join(bytes_in.pieces(path)) == b"abc\n" * 1000 + b"def\n"


def test_source_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="a name that tamis uses itself"):
        Source(format="jsonl", path="x", keep=["source"])
    with pytest.raises(ValueError, match="no fields to name"):
        Source(format="texts", path="x", key="id")
