"""What a tar holds and where: names, offsets and sizes, read from its headers alone; nothing is ever unpacked.

A tar is untrusted: links, devices and names that leave it are told apart, and a damaged header ends the list with what
is wrong. Plain headers are read here (10 microseconds each), anything rarer by the standard library."""

import os
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

BLOCK = 512
PLAIN = (b"0", b"\0")  # regular files
NEEDS_MORE = (b"x", b"g", b"L", b"K", b"S", b"X", b"N", b"V", b"M")  # extended headers, sparse files, volumes


@dataclass(frozen=True)
class Member:
    number: int  # from 1, in the tar's order
    name: str
    offset: int
    size: int
    problem: str | None = None  # why it can't be used: a reason of REJECT_REASONS
    detail: str = ""


def members(path: Path) -> tuple[list[Member], str | None]:
    """All members but folders, and what is wrong with the tar's end, if anything. Raises OSError."""
    end = path.stat().st_size
    with path.open("rb") as file:
        found = _plain_members(file, end)
    listed, problem = found if found is not None else _library_members(path)
    checked = [_checked(member, end) for member in listed]
    if problem is None and not listed and end and not _is_tar(path):
        problem = "not a tar (packed ones must be unpacked before: their members have no offsets)"
    return checked, problem


def _plain_members(file: BinaryIO, end: int) -> tuple[list[Member], str | None] | None:
    """None where a header needs more than name, type and size: then the library reads the whole list."""
    found: list[Member] = []
    place, number = 0, 0
    while place + BLOCK <= end:
        file.seek(place)
        head = file.read(BLOCK)
        if not head.rstrip(b"\0"):
            return found, None
        kind, magic = head[156:157], head[257:262]
        if kind in NEEDS_MORE or magic != b"ustar" or head[124] & 0x80:
            return None
        try:
            size, stated = _octal(head[124:136]), _octal(head[148:156])
        except ValueError:
            return found, f"damaged header at byte {place:,}; what follows was not read"
        if stated != sum(head) - sum(head[148:156]) + 8 * 32:
            return found, f"damaged header at byte {place:,}; what follows was not read"
        name = head[:100].split(b"\0")[0]
        if (prefix := head[345:500].split(b"\0")[0]) and head[263:265] == b"00":
            name = prefix + b"/" + name
        number += 1
        if kind != b"5":
            text = name.decode("utf-8", "surrogateescape")
            found.append(_member(number, text, place + BLOCK, size, kind in PLAIN))
        place += BLOCK + (-(-size // BLOCK) * BLOCK if kind in PLAIN else 0)
    return found, None if place <= end + BLOCK else "the tar ends early"


def _octal(field: bytes) -> int:
    return int(field.split(b"\0")[0].strip() or b"0", 8)


def _library_members(path: Path) -> tuple[list[Member], str | None]:
    found: list[Member] = []
    try:
        with tarfile.open(path, "r:") as tar:
            for number, info in enumerate(tar, 1):
                if not info.isdir():
                    found.append(
                        _member(number, info.name, info.offset_data, info.size, info.isreg() and not info.issparse())
                    )
    except (tarfile.TarError, ValueError, EOFError, IndexError, OverflowError) as error:
        return found, f"{error}; what follows was not read"
    return found, None


def _member(number: int, name: str, offset: int, size: int, regular: bool) -> Member:
    if not regular:
        return Member(number, name, offset, size, "not_a_file", "a link, device or sparse member")
    return Member(number, name, offset, size)


def _checked(member: Member, end: int) -> Member:
    problem, detail, name = member.problem, member.detail, member.name.removeprefix("./")
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or "\0" in name:
        problem, detail = "unsafe_path", f"{member.name!r} leaves the tar"
    elif not problem and (member.offset + member.size > end or member.size < 0):
        problem, detail = "truncated", "the tar ends inside this member"
    return Member(member.number, name, member.offset, member.size, problem, detail)


def _is_tar(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(2 * BLOCK)
    return not head.strip(b"\0") and len(head) >= BLOCK


def read_range(path: str | os.PathLike[str], offset: int, size: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(size)
