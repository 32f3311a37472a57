"""Are the fields that a recipe names there? Told before a pool is read, with the field that was meant, perhaps."""

from pathlib import Path

from tamis.pipeline.errors import SourceError
from tamis.pipeline.files.bytes_in import Truncated, pieces
from tamis.pipeline.files.urls import as_url, fetched
from tamis.pipeline.progress import say, visible
from tamis.pipeline.read.images import rows
from tamis.pipeline.read.sources import SourceFile
from tamis.pipeline.read.tables import columnar, delimited, jsonl
from tamis.pipeline.recipe.source import IMAGE_FORMATS, Source
from tamis.selectors.hints import did_you_mean

OVERLAP = 256  # bytes of a piece that are looked at again with the next: longer than any field's name


def require_fields(source: Source, files: list[SourceFile], *, remote: bool) -> None:
    """Raises SourceError where no row of the source has a field that it names; of sidecars of images, where not every
    one need be there, it is said. `remote`: whether files may be fetched for it."""
    readable = [file for file in files if not file.problem and (remote or as_url(file.path) is None)]
    if not readable or source.format == "texts":
        return
    if source.format in IMAGE_FORMATS:
        _say_sidecars(source, readable)
        return
    names = [source.image or source.text, *source.captions, *([source.key] if source.key else [])]
    missing = dict.fromkeys([*names, *source.keep.values()])
    there: dict[str, None] = {}
    for file in readable:
        met = _fields(source, file)
        there |= dict.fromkeys(met)
        for name in met:
            missing.pop(name, None)
        if not missing:
            return
    for name in missing if there else ():  # of JSON lines only the first were looked at
        if source.format == "jsonl" and _holds(readable, name):
            continue
        role = "keep" if name not in names else "key" if name == source.key else "image" if source.image else "text"
        found = ", ".join(map(visible, there)) or "none"
        raise SourceError(
            f"source {Path(readable[0].path).name}: no row has the field {name!r} that `{role}` "
            f"names{did_you_mean(name, there)} (fields: {found})"
        )


def _fields(source: Source, file: SourceFile) -> list[str]:
    path = fetched(file.path, file.mtime_ns)
    if source.format == "csv":
        return delimited.csv_header(path)
    if source.format == "jsonl":
        return jsonl.names_in(path)
    place = ["split"] if source.format == "hf" else [*columnar.hive_values(path, Path(file.root))]
    names = columnar.schema_of(path).names
    return [*names, *place] if names else []  # of a file that can't be read its place says nothing


def _holds(files: list[SourceFile], name: str) -> bool:
    """Whether the name stands in quotes anywhere in the files, or could, written otherwise."""
    wanted = f'"{name}"'.encode()
    return not name.isascii() or '"' in name or "\\" in name or any(_bytes_hold(file, wanted) for file in files)


def _bytes_hold(file: SourceFile, wanted: bytes) -> bool:
    last = b""
    try:
        for piece in pieces(fetched(file.path, file.mtime_ns)):
            if wanted in last + piece:
                return True
            last = piece[-OVERLAP:]
    except (Truncated, OSError):
        pass
    return False


def _say_sidecars(source: Source, files: list[SourceFile]) -> None:
    kept = [name for name in source.keep.values() if name != "label"]
    if not kept:
        return
    values = rows.sniff(source.model_copy(update={"keep": {name: name for name in kept}}), files[: rows.SNIFF_FILES])
    for name in kept:
        if all(value is None for value in values[name]):
            told = f"none of the first {len(values[name]):,} images has {name!r} beside it"
            say(f"keep: {told}; it is null where there is none")
