"""`tamis init`: look at data and write a commented recipe for it."""

import json
from pathlib import Path
from typing import Any

from pyarrow import ArrowException, Table

from tamis.pipeline.errors import SourceError
from tamis.pipeline.read.sources import IMAGE_SUFFIXES, SUFFIXES, has_suffix, suffixes_of
from tamis.pipeline.read.tables import columnar, delimited, jsonl
from tamis.pipeline.read.tables.saved import SPLITS, STATE, saved_files
from tamis.pipeline.read.walk import below
from tamis.pipeline.recipe.recipe import IMAGE_FORMATS

TEXT_NAMES = ("text", "content", "body", "document", "caption", "raw_content", "prompt", "instruction")
KEY_NAMES = ("id", "key", "uid", "uuid", "doc_id", "_id", "url")


def source_for(path: Path, keep: tuple[str, ...] = ()) -> dict[str, Any]:
    """How to read a file or folder, judged by its name and first rows. Raises SourceError."""
    kind = format_of(path)
    source: dict[str, Any] = {"format": kind, "path": str(path)}
    if kind in IMAGE_FORMATS:
        more = ["label"] if kind != "img2dataset" else []
        return source | ({"keep": list(dict.fromkeys([*more, *keep]))} if more or keep else {})
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
        return source | _key_and_keep(fields, keep)
    text = next((name for name in TEXT_NAMES if name in fields), None) or _longest_text(fields)
    if text is None:
        raise SourceError(f"{path}: found no field with texts (fields: {', '.join(fields) or 'none'}). Write a recipe.")
    source["text"] = text
    return source | _key_and_keep(fields, keep)


def _key_and_keep(fields: dict[str, list[Any]], keep: tuple[str, ...]) -> dict[str, Any]:
    key = next((name for name in KEY_NAMES if name in fields and _unique(fields[name])), None)
    return {**({"key": key} if key else {}), **({"keep": list(keep)} if keep else {})}


def _holds_images(values: list[Any]) -> bool:
    """Bytes, Hugging Face's pairs of bytes and path, or paths of image files."""
    filled = [value for value in values if value is not None]
    return bool(filled) and all(
        isinstance(value, bytes)
        or (isinstance(value, dict) and {"bytes", "path"} <= set(value))
        or (isinstance(value, str) and value.lower().endswith(IMAGE_SUFFIXES) and "://" not in value)
        for value in filled
    )


def format_of(path: Path) -> str:
    if not path.exists():
        raise SourceError(f"{path}: no such file or folder")
    if path.is_dir() and any((path / name).is_file() for name in (SPLITS, STATE)):
        return "hf"
    names = [Path(name).name.lower() for name in _files_of(path)]
    stems = [{Path(name).stem for name in names if name.endswith(ending)} for ending in SUFFIXES["img2dataset"]]
    if stems[0] & stems[1]:
        return "img2dataset"
    for kind in ("images", "webdataset", "jsonl", "csv", "texts", "parquet"):
        if any(has_suffix(name, suffixes_of(kind)) for name in names):
            return kind
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


def draft(path: Path, folder: Path) -> str:
    """The text of a recipe for the data at `path`, which lies beside or below `folder`; a target is left to fill in."""
    source = source_for(path)
    fields = {} if source["format"] in ("texts", *IMAGE_FORMATS) else fields_of(path, source["format"])
    pool_names = ("source", "text", "key", "uri", "position")
    keep = [
        name for name, values in fields.items() if _few_values(values) and name not in (*pool_names, source.get("text"))
    ] + source.get("keep", [])
    try:
        shown = str(path.absolute().relative_to(folder.absolute()))
    except ValueError:
        shown = str(path.absolute())
    used = (source.get("key"), source.get("text"), source.get("image"), *source.get("caption", []))
    others = [name for name in fields if name not in keep and name not in used]
    reading = [f"format: {source['format']}", f"path: {json.dumps(shown, ensure_ascii=False)}"]
    reading += [
        f"{name}: {json.dumps(source[name], ensure_ascii=False)}"
        for name in ("key", "text", "image", "caption")
        if name in source
    ]
    if keep:
        reading.append(f"keep: {json.dumps(keep, ensure_ascii=False)}")
    template = _IMAGES_TEMPLATE if source["format"] in IMAGE_FORMATS or "image" in source else _TEMPLATE
    return template.format(
        reading=", ".join(reading),
        others=f"  # other fields: {', '.join(others)}\n" if others else "",
    )


_TEMPLATE = """\
# Made by `tamis init`. Check it:  tamis plan THIS_FILE     Run it:  tamis run THIS_FILE --store my-store
seed: 0                     # the same seed chooses the same samples, whatever the number of threads

pool:                       # what to choose from; several sources may be listed
  - {{{reading}}}
{others}
# target:                   # samples that the selection should resemble; needed by importance_resampling
#   - {{format: jsonl, path: target.jsonl, text: text}}

steps:                      # applied in order; each sees what the ones before kept
  - exact_dedup: {{}}         # one of each content: the smallest key stays
  - random: {{fraction: 0.1}} # or budget: 5000, or budget: {{bytes: 10000000}}
  # - importance_resampling: {{features: ngrams, budget: auto}}   # needs the target above; as many as are like it
  # - quota: {{by: FIELD, shares: {{a: 0.7, b: 0.3}}, budget: 5000}}   # a wanted mixture; keep the field above

emit: [parquet, jsonl]      # also: csv, keys
"""
_IMAGES_TEMPLATE = """\
# Made by `tamis init`. Check it:  tamis plan THIS_FILE     Run it:  tamis run THIS_FILE --store my-store
seed: 0                     # the same seed chooses the same samples, whatever the number of threads

pool:                       # what to choose from; several sources may be listed
  - {{{reading}}}
{others}
# target:                   # images that the selection should resemble; needed by importance_resampling
#   - {{format: images, path: examples}}

columns:
  look: {{embed: classic}}    # shape and colour, no weights; or {{embed: open_clip, model: ViT-B-32, pretrained: ...}}

steps:                      # applied in order; each sees what the ones before kept
  - exact_dedup: {{}}         # one of each content: the smallest key stays
  - random: {{fraction: 0.1}} # or budget: 5000, or budget: {{bytes: 10000000}}
  # - importance_resampling: {{features: look, budget: auto}}     # needs the target above; as many as are like it

emit: [parquet, keys]       # also: jsonl, csv, webdataset, hf, uids
"""
