"""What a list shows of each sample: key, how its text begins, where its picture lies.

Written once when a run is opened, uncompressed and in the pool's order, so that any row of a million is there in
microseconds; mapped, not read, and without a name in the folder from the moment it is, so that nothing of it stays."""

import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tamis.pipeline.parallel import ordered_map
from tamis.pipeline.progress import Counter
from tamis.pipeline.read.pool import Part
from tamis.pipeline.view.rows.seen import Seen

FIRST_CHARS = 260  # of a text
PLACE = ("source", "position", "uri", "offset", "n_bytes", "content_hash", "width", "height")  # of images alone
BRIEF = pa.schema([
    ("sample_id", pa.uint64()), ("key", pa.string()), ("text", pa.string()), ("source", pa.string()),
    ("position", pa.int64()), ("uri", pa.string()), ("offset", pa.int64()), ("n_bytes", pa.int64()),
    ("content_hash", pa.binary(16)), ("width", pa.int32()), ("height", pa.int32()),
])  # fmt: skip


class Brief:
    """Rows by number."""

    def __init__(self, seen: Seen) -> None:
        with tempfile.TemporaryDirectory(dir=room_of(seen.store), prefix="view-") as folder:
            path = Path(folder) / "rows.arrow"
            counter = Counter("reading samples", seen.pool.rows, "rows")
            with pa.OSFile(str(path), "wb") as out, pa.ipc.new_file(out, BRIEF) as writer:
                for batch in ordered_map(_brief, seen.parts):
                    writer.write_batch(batch)
                    counter.add(batch.num_rows)
            counter.end()
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            self._batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]

    def __getitem__(self, place: tuple[int, int]) -> dict[str, Any]:
        """Of a shard's number and a row in it."""
        part, row = place
        found: dict[str, Any] = self._batches[part].slice(row, 1).to_pylist()[0]
        return found


def room_of(store: Path) -> Path | None:
    """The store's folder for what is on its way; where nothing may be written there, the machine's."""
    with suppress(OSError):
        (store / ".tmp").mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=store / ".tmp"):
            return store / ".tmp"
    return None


def _brief(part: Part) -> pa.RecordBatch:
    table = pq.read_table(part.path, columns=BRIEF.names)
    image = pc.is_valid(table["width"])
    text = pc.utf8_slice_codeunits(table["text"], 0, FIRST_CHARS)
    arrays: Iterable[Any] = (
        pc.if_else(image, table[name], None) if name in PLACE else text if name == "text" else table[name]
        for name in BRIEF.names
    )
    return pa.table(list(arrays), schema=BRIEF).combine_chunks().to_batches()[0]
