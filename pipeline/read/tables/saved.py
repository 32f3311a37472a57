"""Datasets that Hugging Face's `datasets` saved with `save_to_disk`: the files that they list, and their splits.

What a dataset is stands in its state.json: files that it doesn't list (an earlier save's, a cache of `map`) are none of
its rows."""

import os
from pathlib import Path
from typing import Any

from tamis.pipeline.errors import SourceError
from tamis.pipeline.files.plain_json import load_json

SPLITS = "dataset_dict.json"
STATE = "state.json"


def saved_files(folder: Path, wanted: list[str]) -> list[Path]:
    """The Arrow files of a saved dataset, of the `wanted` splits where it has several. Raises SourceError."""
    if (folder / SPLITS).is_file():
        splits = [str(name) for name in _held(folder / SPLITS, "splits")]
        unknown = [name for name in wanted if name not in splits]
        if unknown or (not wanted and len(splits) != 1):
            told = f"no split {unknown[0]!r}" if unknown else "several splits, and one pool would mix them"
            choose = f"say which: `split: {splits[0]}`" if splits else "it has none"
            raise SourceError(f"source {folder}: {told} (it holds {', '.join(splits) or 'none'}); {choose}, or a list")
        return [file for name in wanted or splits for file in saved_files(folder / _plain(folder, name), [])]
    if not (folder / STATE).is_file():
        raise SourceError(f"source {folder}: not a dataset saved on disk (wanted {STATE} or {SPLITS}).")
    if wanted and wanted != [split_of(folder)]:
        raise SourceError(f"source {folder}: is the split {split_of(folder)!r}, and `split` names another")
    if _held(folder / STATE, "_indices_data_files", []):
        raise SourceError(
            f"source {folder}: a choice of rows that an old version of datasets saved as indices; save it again"
        )
    listed = _held(folder / STATE, "_data_files")
    if not (isinstance(listed, list) and all(isinstance(one, dict) and "filename" in one for one in listed)):
        raise SourceError(f"source {folder / STATE}: can't be read as a saved dataset's (its files have no names)")
    files = [folder / _plain(folder, str(one["filename"])) for one in listed]
    if gone := [file.name for file in files if not os.path.isfile(file)]:  # of a name that is too long, too
        raise SourceError(f"source {folder}: {STATE} lists {gone[0]}, which is not there. Save it again.")
    return files


def split_of(folder: Path) -> str | None:
    """The split that a saved dataset is, if it says so."""
    if not (folder / STATE).is_file():
        return None
    split = _held(folder / STATE, "_split", None)
    if split is None and (folder.parent / SPLITS).is_file():
        split = folder.name
    return None if split is None else str(split)


def _held(path: Path, name: str, *default: Any) -> Any:
    try:
        held = load_json(path.read_text(encoding="utf-8"))
        return held.get(name, *default) if default else held[name]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise SourceError(f"source {path}: can't be read as a saved dataset's ({error})") from error


def _plain(folder: Path, name: str) -> str:
    if os.path.basename(name) != name or name in ("", ".", ".."):
        raise SourceError(f"source {folder}: names {name!r}, which is no file in it")
    return name
