"""One way from a name that came from outside to a path: inside of its folder once links are resolved, or refused.

Keys of a bucket, parts in records, names of runs and columns, members of archives: whoever wrote them may have meant
another file of this machine."""

import os
import re
from pathlib import Path

LONGEST = 1024  # bytes of a name, folders and all


class NotInside(ValueError):
    """The name leads elsewhere; args[0] says which and where."""


def inside(folder: Path, name: str) -> Path:
    """`folder/name`. Raises NotInside where that is not below the folder, also by a link on the way."""
    parts = name.split("/")
    if not name or "\0" in name or any(part in ("", ".", "..") for part in parts) or len(os.fsencode(name)) > LONGEST:
        raise NotInside(f"{folder}: {name[:200]!r} is no name of a file in it")
    path = folder / name
    if not is_inside(folder, path):
        raise NotInside(f"{folder}: {name[:200]!r} leads out of it by a link")
    return path


def is_inside(folder: Path, path: Path) -> bool:
    """Whether a path, its links resolved, is below the folder."""
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # links in a circle
        return False


def spelled(name: str) -> str:
    """A file's name as text: a byte that is no UTF-8 stands as a backslash, x and two digits; a backslash that comes
    before an x likewise, so that no two names are spelled alike."""
    told = name.replace("\\x", "\\x5cx")
    return re.sub("[\udc80-\udcff]", lambda byte: f"\\x{ord(byte[0]) - 0xDC00:02x}", told)


def plain_file(folder: Path, name: str) -> Path:
    """A file that is one itself, no link and no device. Raises NotInside."""
    path = inside(folder, name)
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise NotInside(f"{folder}: {name[:200]!r} is no plain file")
    return path
