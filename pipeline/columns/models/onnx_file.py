"""Where an ONNX file keeps weights that are not in itself: names of files, read from the protobuf without its library.

A message is a list of fields: a tag (number and wire type), then a number, or a length and that many bytes. Only the
fields that lead to tensors are entered; weights are stepped over, so a file of gigabytes costs nothing."""

import mmap
from collections.abc import Iterator
from pathlib import Path

# message -> field number -> message, as in onnx.proto of ONNX 1.17
ROADS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
DEEPEST = 100  # graphs in attributes of graphs, as protobuf itself has it


def external_files(path: Path) -> list[str]:
    """Names as the file has them, each once. Raises ValueError where it is no ONNX file."""
    if not path.stat().st_size:
        raise ValueError(f"{path.name} is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held:
        return list(dict.fromkeys(_found(held, 0, len(held), "model", 0)))


def _found(held: mmap.mmap, at: int, end: int, message: str, depth: int) -> Iterator[str]:
    if depth > DEEPEST:
        raise ValueError("nested too deeply")
    entry: dict[int, bytes] = {}
    while at < end:
        tag, at = _number(held, at, end)
        field, wire = tag >> 3, tag & 7
        if wire == 2:
            size, at = _number(held, at, end)
            if size > end - at:
                raise ValueError("damaged: a field is longer than the file")
            if message == "entry" and field in (1, 2):
                entry[field] = held[at : at + min(size, 1 << 16)]
            elif field in ROADS.get(message, {}):
                yield from _found(held, at, at + size, ROADS[message][field], depth + 1)
            at += size
        elif wire == 0:
            _, at = _number(held, at, end)
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            raise ValueError("damaged, or no ONNX file")
    if message == "entry" and entry.get(1) == b"location":
        yield entry.get(2, b"").decode("utf-8", "surrogateescape")


def _number(held: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    """A number of 7 bits a byte, the lowest first, and where it ends."""
    value = shift = 0
    while at < end and shift < 64:
        byte = held[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
    raise ValueError("damaged, or no ONNX file")
