"""The version of a store's form, in its store.json: what is older is read, what is newer is refused in one line.

1  seals, and this file itself. Stores without it are of version 0: the same files, nothing known of their bytes
   beside what manifests and records say. They are read, and become 1 when a run works in them."""

from pathlib import Path

from tamis.pipeline.errors import StoreError
from tamis.pipeline.files.atomic import read_json, write_record

FORMAT = 1
NAME = "store.json"


def check_format(store: Path) -> None:
    """Raises StoreError where a store is of a version that is not known here."""
    path = store / NAME
    if not path.exists():
        return
    told = read_json(path)
    version = told.get("format") if isinstance(told, dict) else None
    if not isinstance(version, int) or version > FORMAT:
        raise StoreError(
            f"store {store}: is of format {version}, made by a newer tamis; this one knows up to {FORMAT}. Use that "
            "version, or another --store."
        )


def mark_format(store: Path) -> None:
    """Say that a store is of this version, once there is one."""
    check_format(store)
    if not (store / NAME).exists():
        write_record(store / NAME, {"format": FORMAT}, sealed=False)
