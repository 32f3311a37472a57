"""Thrift's compact protocol, in which a Parquet file speaks of itself: a struct as its fields by number.

Read here, since Arrow ends the process at some footers that are damaged (parquet::ParquetException out of
RowGroupMetaData.ColumnChunk), and has no way to look at a page's header alone."""

from typing import Any

Wanted = dict[int, Any]  # fields that are kept, and of the structs in them which; an empty one keeps all
MOST_DEPTH = 16


class Struct:
    """What it holds, and where it ends. Raises IndexError where the bytes end first, ValueError where they are none."""

    def __init__(self, data: bytes, wanted: Wanted | None = None) -> None:
        self.data, self.end = data, 0
        self.fields: dict[int, Any] = self._struct(wanted or {}, 0)  # ints, bytes, lists and dicts of such

    def _struct(self, wanted: Wanted, depth: int) -> dict[int, Any]:
        fields: dict[int, Any] = {}
        field = 0
        while kind := self._byte():
            step, kind = kind >> 4, kind & 15
            field = field + step if step else self._zigzag()
            value = self._value(kind, wanted.get(field, {}), depth)
            if value is not None and (field in wanted or not wanted):
                fields[field] = value
        return fields

    def _value(self, kind: int, wanted: Wanted, depth: int) -> Any:
        if depth > MOST_DEPTH:
            raise ValueError("nested too deeply")
        if kind in (1, 2):
            return None  # a truth is in its kind
        if kind == 3:
            return self._byte()
        if kind in (4, 5, 6):
            return self._zigzag()
        if kind == 7:
            return self._skipped(8)
        if kind == 8:
            return self._skipped(self._number())
        if kind in (9, 10):
            head = self._byte()
            count, kind = head >> 4, head & 15
            count = self._number() if count == 15 else count
            return [self._value(3 if kind in (1, 2) else kind, wanted, depth + 1) for _ in range(count)]
        if kind == 12:
            return self._struct(wanted, depth + 1)
        raise ValueError(f"a value of the kind {kind}")

    def _skipped(self, size: int) -> bytes:
        begin, self.end = self.end, self.end + size
        if self.end > len(self.data):
            raise IndexError("cut")
        return self.data[begin : self.end]

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
                raise ValueError("a number without an end")

    def _zigzag(self) -> int:
        value = self._number()
        return (value >> 1) ^ -(value & 1)
