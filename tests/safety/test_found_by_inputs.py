"""What generated inputs have found, each as small as it could be made."""

import json
import os
import struct
import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tamis.pipeline.columns.measure.joined import Join
from tamis.pipeline.errors import RecipeError, SourceError
from tamis.pipeline.labels.files import read_answers
from tamis.pipeline.read.ingest import ingest
from tamis.pipeline.read.pool import Pool
from tamis.pipeline.read.tables.bare import require_sound
from tamis.pipeline.read.tables.pages import largest_batch
from tamis.pipeline.recipe.recipe import parse_recipe
from tests_support import write_jsonl


def read(folder: Path, **source: Any) -> Pool:
    recipe = parse_recipe({"name": "t", "pool": [source]}, folder)
    return ingest(folder / "store" / "pool", recipe.pool, strict=False, say=lambda _: None)


def refused(path: Path) -> str:
    """What a join says of a file."""
    with pytest.raises(RecipeError) as refusal:
        Join(path=path.name, value="value").load(path.parent)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_a_packed_batch_that_is_shorter_than_its_header_says_is_no_traceback(tmp_path: Path) -> None:
    path = tmp_path / "data.arrow"
    table = pa.table({"text": ["a text that is packed " * 9]})
    with pa.ipc.new_stream(path, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    held = path.read_bytes()
    said = set()
    for place in range(0, len(held) - 8, 8):  # each number in turn, where buffers begin among them
        path.write_bytes(held[:place] + struct.pack("<q", 1 << 60) + held[place + 8 :])
        with suppress(OSError):
            try:
                largest_batch(path)
            except pa.ArrowException as error:
                said.add(str(error)[:31])
    assert "a batch's header can't be read " in said


@pytest.mark.parametrize("keys", [[["a"]], [{"a": 1}], pa.array([b"\xff"])], ids=["list", "struct", "bytes"])
def test_keys_of_a_join_that_are_no_texts_are_told_in_one_line(tmp_path: Path, keys: Any) -> None:
    pq.write_table(pa.table({"key": keys, "value": [1.0]}), tmp_path / "j.parquet")
    assert "field 'key' holds no keys" in refused(tmp_path / "j.parquet")


def test_a_text_of_two_lines_among_the_numbers_of_a_join_is_told_in_one(tmp_path: Path) -> None:
    (tmp_path / "j.csv").write_text('key,value\na,"1\n2"\n')
    assert "holds no numbers" in refused(tmp_path / "j.csv")


def test_a_row_group_that_ends_early_is_a_reject(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table({"text": [f"text {row}" for row in range(99)]}), path, compression="none")
    held = path.read_bytes()
    footer = len(held) - 8 - struct.unpack("<I", held[-8:-4])[0]
    values = held.index(b"\x16\xc6\x01\x16", footer)  # num_values of the column: 99 as a zigzag number, then its sizes
    path.write_bytes(held[:values] + b"\x16\x80\x00\x16" + held[values + 4 :])
    pool = read(tmp_path, format="parquet", path="p.parquet")
    assert (pool.rows, pool.rejects) == (0, {"unreadable_file": 1})


def test_names_of_fields_never_make_a_second_line(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "p.jsonl", [{"text": "a", "two\nlines": 1}])
    with pytest.raises(SourceError, match="two lines") as refusal:
        read(tmp_path, format="jsonl", path="p.jsonl", keep=["year"])
    assert "\n" not in str(refusal.value)


def as_saved(folder: Path, table: pa.Table) -> Path:
    """A dataset as Hugging Face's `datasets` saves it; the file of its rows."""
    folder.mkdir()
    (folder / "state.json").write_text('{"_data_files": [{"filename": "data.arrow"}]}')
    with pa.ipc.new_stream(folder / "data.arrow", table.schema) as writer:
        writer.write_table(table)
    return folder / "data.arrow"


@pytest.mark.parametrize("name", ["text", "tags", "place"])
def test_an_arrow_file_whose_offsets_lead_elsewhere_is_a_reject(tmp_path: Path, name: str) -> None:
    table = pa.table(
        {
            "text": ["one text"] * 3,
            "tags": [["x"] * 5] * 3,
            "place": pa.array(["far", "near", "far"]).dictionary_encode(),
        }
    )
    path = as_saved(tmp_path / "saved", table.select(["text"] if name == "text" else ["text", name]))
    held = path.read_bytes()
    offsets = {"text": (0, 8, 16, 24), "tags": (0, 5, 10, 15), "place": (0, 1, 0)}[name]
    sound = struct.pack(f"<{len(offsets)}i", *offsets)
    assert sound in held
    path.write_bytes(held.replace(sound, struct.pack(f"<{len(offsets)}i", *offsets[:-2], 1 << 30, -(1 << 30))))
    pool = read(tmp_path, format="hf", path="saved", keep=[] if name == "text" else [name])
    assert (pool.rows, pool.rejects) == (0, {"unreadable_file": 1})


def test_an_arrow_file_with_fewer_bytes_than_its_lists_need_is_a_reject(tmp_path: Path) -> None:
    path = as_saved(tmp_path / "saved", pa.table({"text": ["a"] * 3, "tags": [["x"] * 5] * 3}))
    held, items = path.read_bytes(), struct.pack("<qq", 15, 0)  # how many items, and how many are null
    assert held.count(items) == 1
    path.write_bytes(held.replace(items, struct.pack("<qq", 1 << 22, 0)))
    pool = read(tmp_path, format="hf", path="saved", keep=["tags"])
    assert (pool.rows, pool.rejects) == (0, {"unreadable_file": 1})


def test_an_arrow_file_with_other_odd_values_is_read(tmp_path: Path) -> None:
    odd = {
        "bytes": pa.array([b"\xff", b"a"]).view(pa.string()), "day": pa.array([1, 2]).view(pa.date64()),
        "some": pa.array([[b"\xff"], [b"a"]]).view(pa.list_(pa.string())), "map": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int8())),
        "time": pa.array([-5, 1 << 30], pa.int32()).view(pa.time32("s")), "pair": pa.array([[1, 2], [3, 4]], pa.list_(pa.int8(), 2)),
        "struct": pa.array([{"a": "x", "at": 5}, None], pa.struct({"a": pa.large_string(), "at": pa.timestamp("ns")})),
        "price": pa.array([1, None], pa.decimal128(20, 3)), "span": pa.array([1, 2], pa.duration("s")),
    }  # fmt: skip
    for name, column in odd.items():
        require_sound(column)
        as_saved(tmp_path / name, pa.table({"text": ["a", "b"], "odd": column}))
        (tmp_path / f"of-{name}").mkdir()
        pool = read(tmp_path / f"of-{name}", format="hf", path=f"../{name}", keep=["odd"])
        assert pool.source_rows == 2, name
        assert "unreadable_file" not in pool.rejects, name


@pytest.mark.parametrize("kind", ["parquet", "hf"])
def test_times_in_nanoseconds_are_kept(tmp_path: Path, kind: str) -> None:
    table = pa.table({"text": ["a", "b"], "at": pa.array([0, (1 << 63) - 1], pa.timestamp("ns"))})
    as_saved(tmp_path / "saved", table)
    pq.write_table(table, tmp_path / "saved" / "p.parquet")
    pool = read(tmp_path, format=kind, path="saved", keep=["at"])
    assert pool.rows == 2


def test_a_name_of_a_field_that_is_no_utf8_is_a_reject(tmp_path: Path) -> None:
    path = as_saved(tmp_path / "saved", pa.table({"text": ["a"], "some_name": [1]}))
    path.write_bytes(path.read_bytes().replace(b"some_name", b"some\xffname"))
    pool = read(tmp_path, format="hf", path="saved")
    assert (pool.rows, pool.rejects) == (0, {"unreadable_file": 1})


def test_a_footer_at_which_arrow_ends_the_process_is_a_reject(tmp_path: Path) -> None:
    """In a process of its own, so that an end of it is seen as one."""
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table({"text": ["a"] * 9, "tags": [["b"]] * 9}), path, compression="none")
    footer = struct.unpack("<I", path.read_bytes()[-8:-4])[0] + 8
    script = f"""
import json, sys
from pathlib import Path
from tamis.pipeline.read.tables.columnar import table_blocks, parquet_batches
from tamis.pipeline.read.blocks import Fields
import pyarrow as pa
path, held = Path({str(path)!r}), Path({str(path)!r}).read_bytes()
fields = Fields(key=None, text="text", keep={{"tags": "tags"}}, types={{"text": pa.string(), "tags": pa.list_(pa.string())}})
for place in range(len(held) - {footer}, len(held) - 8):  # each byte of the footer in turn
    path.write_bytes(held[:place] + bytes([held[place] ^ 4]) + held[place + 1 :])
    print(place, [(b.table.num_rows, len(b.rejects)) for b in table_blocks(path, path.parent, fields, parquet_batches)])
print("all")
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout[-200:] + done.stderr[-800:]
    assert done.stdout.endswith("all\n")


def test_a_zip_of_answers_that_is_damaged_anywhere_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "answers.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(zipfile.ZipInfo("classes.txt"), "cat\n")
        packed.writestr(zipfile.ZipInfo("labels/a.txt"), "0 0.5 0.5 0.2 0.2\n")
    held = path.read_bytes()
    for place in range(len(held)):
        for other in (held[:place] + b"\xff" + held[place + 1 :], held[:place] + held[place + 5 :]):
            path.write_bytes(other)
            with suppress(RecipeError):
                read_answers(path)


def test_a_number_of_more_digits_than_python_reads_is_a_text(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(f"text,n\na text,{'9' * 5000}\nanother,-{'1' * 20}\n")
    assert (read(tmp_path, format="csv", path="p.csv", keep=["n"]).rows) == 2


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_a_span_that_python_has_no_word_for_is_a_reject(tmp_path: Path, unit: str) -> None:
    spans = pa.array([1, (1 << 63) - 1, -(1 << 63) + 1, None], pa.int64()).cast(pa.duration(unit))
    pq.write_table(pa.table({"text": ["a", "b", "c", "d"], "span": spans}), tmp_path / "p.parquet")
    pool = read(tmp_path, format="parquet", path="p.parquet", keep=["span"])
    held = [row for part in pool.parts for row in pq.read_table(part.path).to_pylist()]
    assert len(held) + pool.rejects.get("wrong_type", 0) == 4
    assert len(held) == (2 if unit in ("s", "ms") else 4)


@pytest.mark.parametrize("source", [
    {"format": "parquet"}, {"format": "parquet", "image": "jpg"}, {"format": "img2dataset"},
], ids=["texts", "table of images", "img2dataset"])  # fmt: skip
def test_a_column_whose_name_is_no_text_costs_its_file(tmp_path: Path, source: dict[str, Any]) -> None:
    (tmp_path / "pool").mkdir()
    path = tmp_path / "pool" / "00000.parquet"
    pq.write_table(pa.table({"text": ["a"], "jpg": [b"x"], "odd_name": [1], "key": ["k"]}), path)
    path.write_bytes(path.read_bytes().replace(b"odd_name", b"\xff\xfe\xe1name"[:8]))
    with suppress(SourceError):
        pool = read(tmp_path, path="pool", **source)
        assert pool.rows == 0 and set(pool.rejects) <= {"unreadable_file", "missing_image", "no_image"}


@pytest.mark.parametrize("listed", [[{}], [3], {"filename": "a"}, [{"filename": "d" * 5000}]])
def test_a_saved_dataset_that_lists_its_files_oddly_is_told_in_one_line(tmp_path: Path, listed: Any) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "state.json").write_text(json.dumps({"_data_files": listed}))
    with pytest.raises(SourceError) as refusal:
        read(tmp_path, format="hf", path="d")
    assert "\n" not in str(refusal.value)


LARGE = 10**400


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", 'key,"lab\nel"\na,b\n'),
        ("a.json", json.dumps([{"data": {"key": "a"}, "annotations": [{"lead_time": LARGE, "result": []}]}])),
        ("a.json", json.dumps([{"data": {"key": "a"}, "annotations": [{"result": [
            {"type": "rectanglelabels", "from_name": "l", "value": {"x": LARGE, "y": 1, "width": 1, "height": 1, "rectanglelabels": ["a"]}}
        ]}]}])),
        ("a.json", json.dumps({"images": [{"id": 1, "file_name": "a", "width": LARGE, "height": 1}], "annotations": [], "categories": []})),
        ("a.json", json.dumps({
            "images": [{"id": 1, "file_name": "a"}], "categories": [{"id": 1, "name": "c"}],
            "annotations": [{"image_id": 1, "category_id": 1, "bbox": [LARGE, 1, 1, 1]}],
        })),
    ],
    ids=["a name of two lines", "minutes", "a box of Label Studio's", "a size of COCO's", "a box of COCO's"],
)  # fmt: skip
def test_answers_with_odd_names_or_numbers_are_read_or_told_in_one_line(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    try:
        read_answers(tmp_path / name)
    except RecipeError as refusal:
        assert "\n" not in str(refusal)
