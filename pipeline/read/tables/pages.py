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

from tamis.pipeline.read.tables.compact import Struct, Wanted

USUAL_BYTES, HEADER_BYTES = 1 << 10, 1 << 24  # statistics of a page are in it, and may be long texts
DICTIONARY, DATA, DATA_2 = 7, 5, 8  # fields of a header
# Of FileMetaData the row groups, of these the columns, of these path, values, bytes, where data and dictionary begin.
FOOTER: Wanted = {4: {1: {3: {3: {}, 5: {}, 7: {}, 9: {}, 11: {}}}}}
OF_DICTIONARY = 2  # a message's kind
SMALL_DICTIONARY = 64 << 10  # of 4,096 values of this size a batch has 256 MB


class Pages(NamedTuple):
    """Of some columns of a row group: bytes of the largest page, of the largest dictionary, and the most bytes a value
    that a page has on average."""

    largest: int = 0
    dictionary: int = 0
    value: int = 0


class Chunk(NamedTuple):
    """A column of a row group: its field of the table, where its pages begin, their bytes, and how many values."""

    field: str
    place: int
    size: int
    values: int


def chunks_of(path: Path) -> list[list[Chunk]]:
    """By row group, as the file's footer has them. Raises OSError where it can't be read."""
    with path.open("rb") as file:
        size = int.from_bytes(_at(file, file.seek(0, 2) - 8, 4), "little")
        footer = _at(file, file.seek(0, 2) - 8 - size, size)
    try:
        groups = Struct(footer, FOOTER).fields.get(4, [])
        return [[_chunk(one[3]) for one in group[1]] for group in groups]
    except (IndexError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise OSError(f"its footer can't be read ({type(error).__name__}: {error})") from error


def _at(file: BinaryIO, place: int, size: int) -> bytes:
    if place < 0:
        raise OSError("its footer is longer than the file")
    file.seek(place)
    return file.read(size)


def _chunk(told: dict[int, Any]) -> Chunk:
    place, dictionary = told[9], told.get(11, 0)
    return Chunk(told[3][0].decode(), min(place, dictionary) if dictionary > 0 else place, told[7], told[5])


def pages_of(path: Path, chunks: Sequence[Chunk], names: Sequence[str]) -> Pages:
    """What is in a row group, of the named columns. Raises OSError where a header is none."""
    found = Pages()
    with path.open("rb") as file:
        for chunk in chunks:
            if chunk.field in names:
                found = _of_column(file, chunk, found)
    return found


def _of_column(file: BinaryIO, chunk: Chunk, found: Pages) -> Pages:
    place, end = chunk.place, chunk.place + chunk.size
    if place < 0:
        raise OSError(f"a page at byte {place:,}")
    values = 0
    while place < end and values < chunk.values:
        file.seek(place)
        header = _header(file.read(USUAL_BYTES), file)
        size, packed = (header.fields.get(number) for number in (2, 3))
        if not (isinstance(size, int) and isinstance(packed, int) and size >= 0 and packed >= 0):
            raise OSError(f"a page at byte {place:,} has no size")
        mine = next((header.fields[kind].get(1) for kind in (DATA, DATA_2) if _is_struct(header, kind)), 0)
        if _is_struct(header, DICTIONARY):
            found = found._replace(dictionary=max(found.dictionary, size))
        elif isinstance(mine, int) and mine > 0:
            values += mine
            found = found._replace(value=max(found.value, size // mine))
        found = found._replace(largest=max(found.largest, size))
        place += header.end + packed
    return found


def _is_struct(header: Struct, field: int) -> bool:
    return isinstance(header.fields.get(field), dict)


def _header(begins: bytes, file: BinaryIO) -> Struct:
    try:
        try:
            return Struct(begins)
        except IndexError:
            return Struct(begins + file.read(HEADER_BYTES))
    except IndexError as error:
        raise OSError("a page's header is cut") from error
    except ValueError as error:
        raise OSError(f"a page's header is none ({error})") from error


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
