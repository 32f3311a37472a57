"""What a tar holds and where: names, offsets and sizes, read from its headers alone; nothing is ever unpacked.

A tar is untrusted: links, devices and names that leave it are told apart, sizes are held against the file's end, and
what can't be a header ends the list with a word on it. Read here, 10 microseconds a member, since the standard
library's reader ends silently at a damaged header and goes in circles on a negative size. Formats: POSIX ustar, its
extended headers (pax) for long names and sizes, GNU's long names."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

BLOCK = 512
REGULAR, FOLDER = (b"0", b"\0", b"7"), b"5"
EMPTY = (b"1", b"2", b"3", b"4", b"5", b"6")  # links, devices, folders and pipes: whatever size they claim, no data
BEHIND = "data behind the end mark"
MOST_EXTENDED = 1 << 20  # bytes of an extended header or a long name; paths have 4,096


@dataclass(frozen=True)
class Member:
    number: int  # from 1, in the tar's order
    name: str
    offset: int
    size: int
    problem: str | None = None  # why it can't be used: a reason of REJECT_REASONS
    detail: str = ""


class _Damaged(Exception):
    """No header where one should be; the word to say."""


def members(path: Path) -> tuple[list[Member], str | None]:
    """All members but folders, and what is wrong with the rest of the tar, if anything. Raises OSError."""
    end = path.stat().st_size
    found: list[Member] = []
    with path.open("rb") as file:
        try:
            _read(file, end, found)
        except _Damaged as damage:
            return found, str(damage)
    return found, None


def _read(file: BinaryIO, end: int, found: list[Member]) -> None:
    """Append members to `found` up to the end marker. Raises _Damaged."""
    place, number = 0, 0
    told: dict[str, str] = {}  # what extended headers say of the next member
    while head := _block(file, place, end):
        size, kind = _checked(head, place), head[156:157]
        if kind in (b"x", b"L", b"K", b"g"):
            if size > MOST_EXTENDED or place + BLOCK + size > end:
                raise _Damaged(f"an extended header of {size:,} bytes at byte {place:,}; what follows was not read")
            data = file.read(size)
            told |= _extended(data) if kind == b"x" else {"path": _text(data)} if kind == b"L" else {}
            place += BLOCK + _padded(size)
            continue
        number += 1
        size = _size_of(told, size, place)
        held = 0 if kind in EMPTY else size
        if kind != FOLDER:
            name = told.get("path") or _name(head)
            found.append(_judged(Member(number, name, place + BLOCK, size), kind, told, end))
        told = {}
        place += BLOCK + _padded(held)


def _block(file: BinaryIO, place: int, end: int) -> bytes:
    """The header at a place; nothing at the end. Raises _Damaged."""
    if place >= end:  # also where the last member is cut: it says so itself
        if end == 0:
            raise _Damaged("the file is empty")
        return b""
    file.seek(place)
    head = file.read(BLOCK)
    if len(head) < BLOCK:
        raise _Damaged(f"the tar ends inside a header at byte {place:,}")
    if head.strip(b"\0"):
        return head
    if file.read(BLOCK).strip(b"\0"):  # one empty block amid data is no end
        raise _Damaged(f"an empty block at byte {place:,}; what follows was not read")
    while rest := file.read(1 << 20):  # zeros fill a tar up to its record
        if rest.strip(b"\0"):
            raise _Damaged(
                f"{BEHIND} at byte {place:,}: joined tars, or an older file's rest; read as tar reads, to here"
            )
    return b""


def _checked(head: bytes, place: int) -> int:
    """The size that a header states. Raises _Damaged where its sum is wrong, which tells headers from anything else."""
    try:
        stated, size = _number(head[148:156]), _number(head[124:136])
    except ValueError:
        stated, size = -1, 0
    if stated != sum(head) - sum(head[148:156]) + 8 * 32:
        packed = place == 0 and head[:2] in (b"\x1f\x8b", b"BZ", b"\xfd7", b"\x28\xb5")
        what = "a packed tar: unpack it first, its members have no offsets" if packed else "no header"
        raise _Damaged(f"{what} at byte {place:,}; what follows was not read")
    return size


def _number(field: bytes) -> int:
    """Octal digits, or GNU's binary for large ones. Raises ValueError, also for negative ones."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.split(b"\0")[0].strip()
    if not all(digit in b"01234567" for digit in digits):
        raise ValueError(digits)
    return int(digits or b"0", 8)


def _extended(data: bytes) -> dict[str, str]:
    r"""Records `LENGTH KEY=VALUE\n` of a pax header; what is no record ends them."""
    told: dict[str, str] = {}
    while data:
        length, _, _ = data.partition(b" ")
        if not length.isdigit() or not 0 < int(length) <= len(data):
            break
        key, _, value = data[len(length) + 1 : int(length) - 1].partition(b"=")
        told[_text(key)] = _text(value)
        data = data[int(length) :]
    return told


def _size_of(told: dict[str, str], size: int, place: int) -> int:
    stated = told.get("size", "")
    if stated and not (stated.isdigit() and len(stated) < 19):
        raise _Damaged(f"a size of {stated[:40]!r} at byte {place:,}; what follows was not read")
    return int(stated) if stated else size


def _name(head: bytes) -> str:
    name = head[:100].split(b"\0")[0]
    prefix = head[345:500].split(b"\0")[0]
    return _text(prefix + b"/" + name if prefix and head[257:265] == b"ustar\x0000" else name)


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode("utf-8", "surrogateescape")


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _judged(member: Member, kind: bytes, told: dict[str, str], end: int) -> Member:
    """The member under its plain name, with its problem if it has one."""
    name = member.name.removeprefix("./")
    problem, detail = None, ""
    if name.startswith("/") or ".." in name.split("/") or "\0" in name:
        problem, detail = "unsafe_path", f"{name!r} leaves the tar"
    elif kind not in REGULAR or any(key.startswith("GNU.sparse") for key in told):
        problem, detail = "not_a_file", "a link, device, pipe or sparse member"
    elif member.offset + member.size > end:
        problem, detail = "truncated", "the tar ends inside this member"
    return replace(member, name=name, problem=problem, detail=detail)


def read_range(path: str, offset: int, size: int) -> bytes:
    with Path(path).open("rb") as file:
        file.seek(offset)
        return file.read(size)
