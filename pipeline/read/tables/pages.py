"""How much unpacking a Parquet or Arrow file can take, by its headers alone, before any of it is unpacked.

A page is unpacked whole, and a value that stands in a dictionary once may stand in a million rows: neither shows in
the file's size. A header is a struct of Thrift's compact protocol (parquet.thrift, PageHeader: 1 type, 2 and 3 sizes
unpacked and packed, 5 data page, 7 dictionary page, 8 data page of version 2; of each the first field is its values).
An Arrow file's batch is a table of FlatBuffers (Message.fbs), whose packed buffers begin with their size unpacked."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pyarrow.parquet as pq

USUAL_BYTES, HEADER_BYTES = 1 << 10, 1 << 24  # statistics of a page are in it, and may be long texts
DICTIONARY, DATA, DATA_2 = 7, 5, 8  # fields of a header
OF_DICTIONARY = 2  # a message's kind
SMALL_DICTIONARY = 64 << 10  # of 4,096 values of this size a batch has 256 MB


class Pages(NamedTuple):
    """Of some columns of a row group: bytes of the largest page, of the largest dictionary, and the most bytes a value
    that a page has on average."""

    largest: int = 0
    dictionary: int = 0
    value: int = 0


def pages_of(path: Path, meta: Any, group: int, names: Sequence[str]) -> Pages:
    """What is in a row group, of the named columns. Raises OSError where a header is none."""
    found = Pages()
    with path.open("rb") as file:
        for number in range(meta.num_columns):
            column = meta.row_group(group).column(number)
            if any(column.path_in_schema == name or column.path_in_schema.startswith(f"{name}.") for name in names):
                found = _of_column(file, column, found)
    return found


def _of_column(file: BinaryIO, column: Any, found: Pages) -> Pages:
    begins = [column.data_page_offset]
    if column.has_dictionary_page and column.dictionary_page_offset:
        begins.append(column.dictionary_page_offset)
    place = min(begins)
    end = place + column.total_compressed_size
    values = 0
    while place < end and values < column.num_values:
        file.seek(place)
        header = _header(file.read(USUAL_BYTES), file)
        size, packed = header.numbers.get(2, -1), header.numbers.get(3, -1)
        if size < 0 or packed < 0:
            raise OSError(f"a page at byte {place:,} has no size")
        if DICTIONARY in header.inside:
            found = found._replace(dictionary=max(found.dictionary, size))
        elif mine := header.inside.get(DATA) or header.inside.get(DATA_2):
            values += mine
            found = found._replace(value=max(found.value, size // mine))
        found = found._replace(largest=max(found.largest, size))
        place += header.end + packed
    return found


def _header(begins: bytes, file: BinaryIO) -> "_Header":
    try:
        return _Header(begins)
    except IndexError:
        try:
            return _Header(begins + file.read(HEADER_BYTES))
        except IndexError as error:
            raise OSError("a page's header is cut") from error


class _Header:
    """Numbers of a struct by field, the first number of each struct inside of it, and where it ends."""

    def __init__(self, data: bytes) -> None:
        self.data, self.end = data, 0
        self.inside: dict[int, int] = {}
        self.numbers = self._struct(0)

    def _struct(self, depth: int) -> dict[int, int]:
        numbers: dict[int, int] = {}
        field = 0
        while kind := self._byte():
            step, kind = kind >> 4, kind & 15
            field = field + step if step else self._zigzag()
            value = self._value(kind, depth)
            if isinstance(value, dict):
                if not depth:
                    self.inside[field] = value.get(1, 0)
            elif value is not None:
                numbers[field] = value
        return numbers

    def _value(self, kind: int, depth: int) -> int | dict[int, int] | None:
        if depth > 16:
            raise OSError("a page's header is nested too deeply")
        if kind in (1, 2):
            return None  # a truth is in its kind
        if kind == 3:
            return self._byte()
        if kind in (4, 5, 6):
            return self._zigzag()
        if kind == 7:
            self.end += 8
        elif kind == 8:
            size = self._number()
            self.end += size
        elif kind in (9, 10):
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._number()
            for _ in range(min(count, HEADER_BYTES)):
                self._value(head & 15 if head & 15 not in (1, 2) else 3, depth + 1)
        elif kind == 12:
            return self._struct(depth + 1)
        else:
            raise OSError("a page's header is none")
        return None

    def _byte(self) -> int:
        self.end += 1
        return self.data[self.end - 1]

    def _number(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
            if shift > 63:
                raise OSError("a page's header is none")

    def _zigzag(self) -> int:
        value = self._number()
        return (value >> 1) ^ -(value & 1)


def largest_batch(path: Path) -> int:
    """Bytes of the largest packed batch of an Arrow file, unpacked; 0 where none is packed. Raises ArrowException."""
    import pyarrow as pa

    largest = 0
    with pa.memory_map(str(path)) as mapped:
        if mapped.read(6) != b"ARROW1":
            mapped.seek(0)
        else:
            mapped.seek(8)
        for message in pa.ipc.MessageReader.open_stream(mapped):
            if message.type == "schema":
                continue
            try:
                packed = _packed_buffers(message.metadata.to_pybytes())
                if packed is None:
                    continue
                body = memoryview(message.body)
                sizes = [struct.unpack_from("<q", body, place)[0] for place in packed]
            except (struct.error, IndexError) as error:
                raise pa.ArrowInvalid(f"a batch's header can't be read ({error})") from error
            largest = max(largest, sum(size for size in sizes if size > 0))
    return largest


def _packed_buffers(message: bytes) -> list[int] | None:
    """Where the buffers of a batch begin in its body; None where they are not packed."""
    root = struct.unpack_from("<I", message)[0]
    header = _field(message, root, 2)
    if header is None:
        return None
    batch = header + struct.unpack_from("<I", message, header)[0]
    if message[_field(message, root, 1) or 0] == OF_DICTIONARY:  # a batch inside of it
        inner = _field(message, batch, 1)
        if inner is None:
            return None
        batch = inner + struct.unpack_from("<I", message, inner)[0]
    buffers = _field(message, batch, 2)
    if _field(message, batch, 3) is None or buffers is None:
        return None
    vector = buffers + struct.unpack_from("<I", message, buffers)[0]
    count = struct.unpack_from("<I", message, vector)[0]
    pairs = (struct.unpack_from("<qq", message, vector + 4 + 16 * number) for number in range(count))
    return [place for place, length in pairs if length > 8]


def _field(message: bytes, table: int, number: int) -> int | None:
    """Where a field of a table lies."""
    offsets = table - struct.unpack_from("<i", message, table)[0]
    size = struct.unpack_from("<H", message, offsets)[0]
    place = 4 + 2 * number
    found = struct.unpack_from("<H", message, offsets + place)[0] if place < size else 0
    return table + found if found else None


def longest_in_dictionary(path: Path, group: int, names: Sequence[str]) -> int:
    """Bytes of the longest value that stands in a dictionary of a row group's columns."""
    import pyarrow as pa
    import pyarrow.compute as pc

    longest = 0
    for name in names:
        file = pq.ParquetFile(path, read_dictionary=[name])
        batch = next(file.iter_batches(batch_size=1, row_groups=[group], columns=[name], use_threads=False), None)
        for array in batch.columns if batch is not None else ():
            if pa.types.is_dictionary(array.type) and len(array.dictionary):
                longest = max(longest, pc.max(pc.binary_length(array.dictionary)).as_py() or 0)
    return longest
