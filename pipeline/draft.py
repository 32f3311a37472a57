"""`tamis init`: look at data and write a commented recipe for it."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyarrow import ArrowException, Table

from tamis.pipeline.errors import SourceError
from tamis.pipeline.files.patterns import is_pattern, matching
from tamis.pipeline.progress import visible
from tamis.pipeline.read.sources import IMAGE_SUFFIXES, SUFFIXES, has_suffix, suffixes_of
from tamis.pipeline.read.tables import columnar, delimited, jsonl
from tamis.pipeline.read.tables.saved import SPLITS, STATE, saved_files
from tamis.pipeline.read.walk import below
from tamis.pipeline.recipe.source import IMAGE_FORMATS, PLAIN_FIELD, RESERVED

TEXT_NAMES = ("text", "content", "body", "document", "caption", "raw_content", "prompt", "instruction")
KEY_NAMES = ("id", "key", "uid", "uuid", "doc_id", "_id", "url")


Paths = Path | Sequence[Path]
ALL = "all"  # fields to keep
SCHEMA = "tamis.schema.json"  # beside a recipe: by it editors complete and check
WIDE = 120  # characters of a line
TABLES = ("jsonl", "csv", "parquet")  # formats of which a folder may hold several


def sources_for(paths: Paths, keep: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """How to read files, folders and patterns of such: one source for all that are read alike, in the order given.
    Raises SourceError."""
    alike: dict[str, list[str]] = {}
    for path in several(paths):
        places = [path] if path.exists() else matching(Path.cwd(), str(path))
        if not places:
            missing = ", and nothing fits it as a pattern" if is_pattern(str(path)) else ""
            raise SourceError(f"{path}: no such file or folder{missing}")
        for place in places:
            for kind in formats_of(place):
                reading = json.dumps({**source_for(place, keep, kind), "path": None})
                alike.setdefault(reading, []).append(str(place))
    found = []
    for reading, some in alike.items():
        once = list(dict.fromkeys(some))
        found.append({**json.loads(reading), "path": once[0] if len(once) == 1 else once})
    return found


def several(paths: Paths) -> Sequence[Path]:
    return [paths] if isinstance(paths, Path) else paths


def source_for(path: Path, keep: tuple[str, ...], kind: str) -> dict[str, Any]:
    """How to read what is of a format in a file or folder, judged by its first rows. Raises SourceError."""
    source: dict[str, Any] = {"format": kind, "path": str(path)}
    if kind in IMAGE_FORMATS:
        more = ["label"] if kind != "img2dataset" else []
        more += [name for name in keep if name != ALL]  # what else a picture's own files hold is not known by name
        return source | ({"keep": list(dict.fromkeys(more))} if more else {})
    if kind == "texts":
        return source
    try:
        fields = fields_of(path, kind)
    except (ArrowException, OSError) as error:
        raise SourceError(f"{path}: can't be read ({error})") from error
    image = next((name for name, values in fields.items() if _holds_images(values)), None)
    if image is not None:
        source["image"] = image
        if captions := [name for name in TEXT_NAMES if name in fields]:
            source["caption"] = captions
        return source | _key_and_keep(fields, keep, [image, *captions])
    text = next((name for name in TEXT_NAMES if name in fields), None) or _longest_text(fields)
    if text is None:
        raise SourceError(f"{path}: found no field with texts (fields: {', '.join(fields) or 'none'}). Write a recipe.")
    source["text"] = text
    return source | _key_and_keep(fields, keep, [text])


def _key_and_keep(fields: dict[str, list[Any]], keep: tuple[str, ...], used: Sequence[str]) -> dict[str, Any]:
    key = next((name for name in KEY_NAMES if name in fields and _unique(fields[name])), None)
    wanted = [name for name in fields if name not in (*used, key)] if ALL in keep and ALL not in fields else keep
    told = {_kept_as(name): name for name in wanted}
    kept = list(told) if all(name == origin for name, origin in told.items()) else told
    return {**({"key": key} if key else {}), **({"keep": kept} if kept else {})}


def _kept_as(name: str) -> str:
    """The pool's name of a source's field."""
    plain = name if PLAIN_FIELD.fullmatch(name) else re.sub(r"[^\w.\- ]", "_", name).lstrip(" .-") or "field"
    return f"source_{plain}" if plain.casefold() in RESERVED else plain


def _holds_images(values: list[Any]) -> bool:
    """Bytes, Hugging Face's pairs of bytes and path, or paths of image files."""
    filled = [value for value in values if value is not None]
    return (
        bool(filled)
        and all(
            isinstance(value, bytes)
            or (isinstance(value, dict) and {"bytes", "path"} <= set(value))
            or (isinstance(value, str) and value.lower().endswith(IMAGE_SUFFIXES))
            for value in filled
        )
        and not all("://" in str(value) for value in filled)
    )


def formats_of(path: Path) -> list[str]:
    """The format of a file or folder; of a folder with tables of several formats each. Raises SourceError."""
    if path.is_dir() and any((path / name).is_file() for name in (SPLITS, STATE)):
        return ["hf"]
    names = [Path(name).name.lower() for name in _files_of(path)]
    stems = [{Path(name).stem for name in names if name.endswith(ending)} for ending in SUFFIXES["img2dataset"]]
    if stems[0] & stems[1]:
        return ["img2dataset"]
    there = [
        kind
        for kind in ("images", "webdataset", *TABLES, "texts")
        if any(has_suffix(name, suffixes_of(kind)) for name in names)
    ]
    if there:
        return [kind for kind in there if kind in TABLES] if there[0] in TABLES else there[:1]
    raise SourceError(
        f"{path}: no format that tamis reads "
        "(JSONL, Parquet, CSV, text files, images, tars of images, a saved HF dataset)"
    )


def _files_of(path: Path) -> list[str]:
    if path.is_file():
        return [str(path)]
    return [file for file, problem in below(path, follow=False) if problem is None]


def first_file(path: Path, kind: str) -> Path:
    """Raises SourceError."""
    if path.is_file():
        return path
    if kind == "hf":
        return saved_files(path, [])[0]
    return Path(min(file for file in _files_of(path) if has_suffix(file, suffixes_of(kind))))


def fields_of(path: Path, kind: str) -> dict[str, list[Any]]:
    """Values of the first rows by field."""
    file = first_file(path, kind)
    if kind in ("parquet", "hf"):
        names = columnar.schema_of(file).names
        batches = (columnar.arrow_batches if kind == "hf" else columnar.parquet_batches)(file, path, names)
        first = next(iter(batches), None)
        return {name: first[name].slice(0, 200).to_pylist() for name in names} if isinstance(first, Table) else {}
    if kind == "csv":
        return delimited.sniff_csv(file, delimited.csv_header(file))
    return jsonl.sniff(file, jsonl.names_in(file))


def _longest_text(fields: dict[str, list[Any]]) -> str | None:
    sizes = {name: sum(len(value) for value in values if isinstance(value, str)) for name, values in fields.items()}
    best = max(sizes, key=lambda name: sizes[name], default=None)
    return best if best and sizes[best] else None


def _unique(values: list[Any]) -> bool:
    filled = [value for value in values if isinstance(value, (str, int)) and not isinstance(value, bool)]
    return len(filled) == len(values) > 0 and len(set(map(str, filled))) == len(filled)


def _few_values(values: list[Any]) -> bool:
    """Fields worth keeping to compare by: short text with repeats, or all the same."""
    filled = [value for value in values if isinstance(value, str) and len(value) <= 60]
    return len(filled) == len(values) > 0 and (len(set(filled)) <= max(1, len(filled) // 3))


def draft(paths: Paths, folder: Path, like: Path | None = None) -> str:
    """The text of a recipe for the data at `paths`, which lie beside or below `folder`, choosing what is `like` others;
    without these a target is left to fill in. Raises SourceError."""
    given = several(paths)
    sources = sources_for(given)
    of_images = {reads_images(source) for source in sources}
    if len(of_images) > 1:
        raise SourceError(f"{', '.join(map(str, given))}: some hold images, others texts; a pool is of one of them")
    pattern = str(given[0]) if len(given) == len(sources) == 1 else None  # it finds what comes later, too
    pool = "".join(_reading(source, folder, pattern) for source in sources)
    images = of_images == {True}
    if like is None:
        target, choice = _NO_TARGET.format(example=_EXAMPLE[images]), _NO_CHOICE
    else:
        wanted = sources_for(like)
        if {reads_images(source) for source in wanted} != of_images:
            raise SourceError(f"{like}: of images and texts it holds one, the pool the other")
        target, choice = f"target:{_OF_TARGET}{_targets(wanted, folder, like)}\n", _CHOICE
    return _TEMPLATE.format(
        schema=SCHEMA, sources=pool, target=target, columns=_COLUMNS[images],
        near=_NEAR[images], choice=choice.format(features="look" if images else "ngrams"), emit=_EMIT[images],
    )  # fmt: skip


def _targets(sources: list[dict[str, Any]], folder: Path, like: Path) -> str:
    bare = ({name: value for name, value in source.items() if name != "keep"} for source in sources)
    told = (_reading(source, folder, str(like), keeps=False) for source in bare)
    return "".join(told).rstrip("\n")


def reads_images(source: dict[str, Any]) -> bool:
    return source["format"] in IMAGE_FORMATS or "image" in source


def _reading(source: dict[str, Any], folder: Path, pattern: str | None, *, keeps: bool = True) -> str:
    """The lines of a source in a recipe of that folder; with a `pattern` under that. A target `keeps` no fields."""
    places = [source["path"]] if isinstance(source["path"], str) else source["path"]
    bare = source["format"] in ("texts", *IMAGE_FORMATS)
    fields = {} if bare else fields_of(Path(places[0]), source["format"])
    used = (source.get("key"), source.get("text"), source.get("image"), *source.get("caption", []))
    keep = {_kept_as(name): name for name, values in fields.items() if _few_values(values) and name not in used}
    keep |= {name: name for name in source.get("keep", [])}
    kept = (list(keep) if all(name == origin for name, origin in keep.items()) else keep) if keeps else []
    paths = [_shown(place, folder) for place in ([pattern] if pattern else places)]
    told: dict[str, Any] = {
        **source,
        "path": paths[0] if len(paths) == 1 else paths,
        **({"keep": kept} if kept else {}),
    }
    reading = [f"format: {source['format']}"]
    reading += [
        f"{name}: {json.dumps(told[name], ensure_ascii=False)}"
        for name in ("path", "key", "text", "image", "caption", "keep")
        if name in told
    ]
    line = f"  - {{{', '.join(reading)}}}\n"
    if len(line) > WIDE:
        line = f"  - {reading[0]}\n" + "".join(f"    {part}\n" for part in reading[1:])
    others = [name for name in fields if name not in keep.values() and name not in used and keeps]
    return line + (f"  # other fields: {', '.join(map(visible, others))}\n" if others else "")


def _shown(place: str, folder: Path) -> str:
    path = Path(place).expanduser().absolute()
    try:
        return str(path.relative_to(folder.absolute()))
    except ValueError:
        return str(path)


_TEMPLATE = """\
# yaml-language-server: $schema={schema}
# Made by `tamis init`. Check it:  tamis plan THIS_FILE     Run it:  tamis run THIS_FILE --store my-store
seed: 0                     # the same seed chooses the same samples, whatever the number of threads

pool:                       # what to choose from; several sources may be listed
{sources}
{target}{columns}
steps:                      # applied in order; each sees what the ones before kept
  - exact_dedup: {{}}         # one of each content: the smallest key stays
{near}{choice}
emit: {emit}
"""
_OF_TARGET = "                     # samples that the selection should resemble\n"
_NO_TARGET = """\
# target:                   # samples that the selection should resemble; `tamis init POOL --like FILE` fills it in
#   - {example}
"""
_CHOICE = "  - importance_resampling: {{features: {features}, budget: auto}}    # as many as are like it; or 5000\n"
_NO_CHOICE = """\
  # - importance_resampling: {{features: {features}, budget: auto}}   # needs the target above; as many as are like it
  # - random: {{fraction: 0.1}} # or budget: 5000, or budget: {{bytes: 10000000}}
  # - quota: {{by: FIELD, shares: {{a: 0.7, b: 0.3}}, budget: 5000}}    # a wanted mixture; keep the field above
"""
_EXAMPLE = ("{format: jsonl, path: target.jsonl, text: text}", "{format: images, path: examples}")  # of texts, images
_COLUMNS = (
    "",
    """
columns:
  seen: {embed: perceptual_hash}
  look: {embed: classic}    # shape and colour, no weights; or {embed: open_clip, model: ViT-B-32, pretrained: ...}

""",
)
_NEAR = (
    "  - near_dedup: {}          # of texts that nearly repeat each other one\n",
    "  - near_dedup: {column: seen, keep: largest}    # of images that look the same one\n",
)
_EMIT = ("[parquet, jsonl]      # also: csv, keys", "[parquet, keys]       # also: jsonl, csv, webdataset, hf, uids")
