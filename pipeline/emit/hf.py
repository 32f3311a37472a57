"""The selection as a Hugging Face dataset on disk, as `datasets.load_from_disk` opens it, images with their bytes.

The layout is Arrow streams, a description of the fields, and a list of the files; written with Arrow alone."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from tamis.pipeline.decode.locate import image_bytes, is_image
from tamis.pipeline.emit.restored import restored
from tamis.pipeline.errors import RunFailed, Unusable
from tamis.pipeline.files.atomic import fingerprint
from tamis.pipeline.read.identity import hex_id

FILE_BYTES = 500 << 20  # a new Arrow file after this much
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
HIDDEN = ("content_hash", "source", "position", "offset", "n_bytes")
NAMES = {
    "double": "float64",
    "float": "float32",
    "halffloat": "float16",
    "date32[day]": "date32",
    "date64[ms]": "date64",
}  # Arrow's names -> the library's


def write_hf(batches: Iterable[pa.RecordBatch], images: bool, schema: pa.Schema, folder: Path) -> None:
    """Write the dataset into `folder`; `images` says whether the pool has any, `schema` what its JSON becomes. Raises
    RunFailed where an image is gone."""
    names: list[str] = []
    features: dict[str, Any] = {}
    out, size, sizes = None, 0, []
    for batch in _with_images((restored(batch, schema) for batch in batches), images):
        features = features or {field.name: feature_of(field.type) for field in batch.schema}
        told = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
        if out is None or size > FILE_BYTES:
            if out is not None:
                out.close()
                sizes.append(size)
            names.append(f"data-{len(names):05d}.arrow")
            out, size = pa.ipc.new_stream(folder / names[-1], batch.schema.with_metadata(told)), 0
        out.write_batch(batch.replace_schema_metadata(told))
        size += batch.nbytes
    if out is not None:
        out.close()
    state: dict[str, Any] = {
        "_data_files": [{"filename": name} for name in names],
        "_fingerprint": fingerprint([names, features]),
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": "train",
    }
    (folder / "state.json").write_text(json.dumps(state, indent=1), encoding="utf-8")
    info = {"features": features, "splits": None, "citation": "", "description": "", "homepage": "", "license": ""}
    (folder / "dataset_info.json").write_text(json.dumps(info, indent=1), encoding="utf-8")


def _with_images(batches: Iterable[pa.RecordBatch], images: bool) -> Iterator[pa.RecordBatch]:
    for whole in batches:
        for first in range(0, max(1, whole.num_rows), 64):  # 64 photos of 1 MB at once
            batch = whole.slice(first, 64)
            rows = batch.to_pylist()
            arrays: dict[str, Any] = {}
            if images:
                arrays["image"] = pa.array([_image(row) if is_image(row) else None for row in rows], IMAGE)
            arrays["sample_id"] = pa.array([hex_id(row["sample_id"]) for row in rows], pa.string())
            for name in batch.schema.names:
                if name not in arrays and name not in HIDDEN:
                    column = batch[name]
                    arrays[name] = column.cast(_plain(column.type))
            told = pa.record_batch(arrays)
            yield told.take(
                pa.array(range(told.num_rows), pa.int64())
            )  # what lies in memory below a null is no part of the file


def _plain(kind: pa.DataType) -> pa.DataType:
    """Without dictionaries and lists of one length, which the library's versions describe in different words."""
    if pa.types.is_dictionary(kind):
        return kind.value_type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.list_(_plain(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _plain(field.type)) for field in kind])
    return kind


def _image(row: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"bytes": image_bytes(row), "path": Path(row["uri"]).name}
    except Unusable as error:
        raise RunFailed(
            f"hf: {row['key']}: {error.args[1]}. Restore it and run the same command, or read the pool anew "
            "into another --store."
        ) from error


def feature_of(kind: pa.DataType) -> Any:
    """The library's description of an Arrow type."""
    if kind == IMAGE:
        return {"_type": "Image"}
    if pa.types.is_struct(kind):
        return {kind.field(i).name: feature_of(kind.field(i).type) for i in range(kind.num_fields)}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return [feature_of(kind.value_type)]
    return {"dtype": NAMES.get(str(kind), str(kind)), "_type": "Value"}
