"""What generated inputs have found, each as small as it could be made."""

import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tamis.pipeline.columns.measure.joined import Join
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.read.tables.pages import largest_batch


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
