"""The selection as WebDataset shards: each image's bytes as they are, its caption, and what tamis knows of it.

Members are named by sample id, since WebDataset cuts names at the first dot and knows no folders; the key stands in
the `.json`. The same selection gives the same bytes. Beside the folder `webdataset.json` lists the shards
(the layout of `wids`), `webdataset.parquet` where each sample lies: in it, `datasets` would read them for the data."""

import io
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tamis.pipeline.decode.locate import image_bytes, is_image
from tamis.pipeline.emit.restored import restored_rows
from tamis.pipeline.errors import RunFailed, Unusable
from tamis.pipeline.files.atomic import write_json, write_parquet
from tamis.pipeline.files.plain_json import json_text
from tamis.pipeline.progress import say
from tamis.pipeline.read.identity import hex_id
from tamis.pipeline.read.sources import IMAGE_SUFFIXES
from tamis.pipeline.recipe.outputs import Webdataset
from tamis.pipeline.store.runs import Run
from tamis.selectors.chance import uniform

INDEX = pa.schema(
    [
        ("sample_id", pa.uint64()), ("key", pa.string()), ("shard", pa.string()), ("member", pa.string()),
        ("offset", pa.int64()), ("n_bytes", pa.int64()), ("weight", pa.float64()),
    ]
)  # fmt: skip
MAGIC = {
    b"\xff\xd8": "jpg",
    b"\x89PNG": "png",
    b"GIF8": "gif",
    b"RIFF": "webp",
    b"BM": "bmp",
    b"II*": "tif",
    b"MM\0*": "tif",
}
SHOWN = ("rank", "key", "weight", "score", "uri", "captions", "width", "height")
HIDDEN = ("content_hash", "source", "position", "offset", "n_bytes", "text", "sample_id")


def write_webdataset(
    run: Run, batches: Iterable[pa.RecordBatch], settings: Webdataset, folder: Path, final: Path
) -> None:
    """Write the shards into `folder`, which becomes `final`, and both indexes beside it. Raises RunFailed where an
    image is gone or changed."""
    samples = _shuffled(run, batches) if settings.shuffle else _rows(batches)
    listed: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    gone: list[str] = []
    with ExitStack() as stack:
        shard: tarfile.TarFile | None = None
        for number, sample in enumerate(samples):
            if number % settings.per_shard == 0:
                name = f"{number // settings.per_shard:05d}.tar"
                if shard:
                    shard.close()
                shard = stack.enter_context(tarfile.open(folder / name, "w", format=tarfile.USTAR_FORMAT))
                listed.append({"url": f"{final.name}/{name}", "nsamples": 0})
            assert shard is not None
            try:
                found.append({**_add(shard, sample), "shard": listed[-1]["url"]})
            except Unusable as error:
                gone.append(f"{sample['key']} ({error.args[1]})")
                continue
            listed[-1]["nsamples"] += 1
    kinds = sorted({" ".join(one.pop("kinds")) for one in found})
    if len(kinds) > 1:
        told = f"its samples hold different kinds of files ({', '.join(kinds[:4])})"
        say(f"webdataset: {told}: `webdataset` opens them, `datasets` does not")
    if gone:
        raise RunFailed(
            f"webdataset: {len(gone):,} images are gone or changed since they were read, the first: {gone[0]}. "
            "Restore them and run the same command, or read the pool anew into another --store."
        )
    for shard_record in listed:
        shard_record["filesize"] = (folder / Path(shard_record["url"]).name).stat().st_size
    write_json(final.with_suffix(".json"), {"wids_version": 1, "name": run.name, "shardlist": listed})
    write_parquet(final.with_suffix(".parquet"), pa.Table.from_pylist(found, INDEX))


def _rows(batches: Iterable[pa.RecordBatch]) -> Iterator[dict[str, Any]]:
    yield from restored_rows(batches)


def _shuffled(run: Run, batches: Iterable[pa.RecordBatch]) -> Iterator[dict[str, Any]]:
    """By a hash of seed and id: the same order whatever chose the samples first."""
    table = pa.Table.from_batches(list(batches))  # places and captions, no image
    order = np.argsort(uniform(table["sample_id"].to_numpy(), run.recipe.seed, 0, "webdataset"), kind="stable")
    yield from restored_rows(table.take(pa.array(order)).to_batches(1024))


def _add(shard: tarfile.TarFile, sample: dict[str, Any]) -> dict[str, Any]:
    name = hex_id(sample["sample_id"])
    kinds: list[str] = []
    place = {"sample_id": sample["sample_id"], "key": sample["key"], "weight": sample["weight"], "kinds": kinds}
    if is_image(sample):
        data = image_bytes(sample)
        member = f"{name}.{ending(sample, data)}"
        kinds.append(member.partition(".")[2])
        place |= {"member": member, "offset": _write(shard, member, data), "n_bytes": len(data)}
    if sample["text"] is not None:
        kinds.append("txt")
        offset = _write(shard, f"{name}.txt", sample["text"].encode())
        place = {"member": f"{name}.txt", "offset": offset, "n_bytes": len(sample["text"].encode()), **place}
    told = {"sample_id": name, **{key: sample[key] for key in SHOWN if key in sample}}
    told |= {key: value for key, value in sample.items() if key not in told and key not in HIDDEN}
    _write(shard, f"{name}.json", json_text(told).encode())
    return place


def ending(sample: dict[str, Any], data: bytes) -> str:
    """As the source names it, else as the bytes begin."""
    suffix = Path(sample["uri"]).suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return suffix[1:]
    return next((ending for magic, ending in MAGIC.items() if data.startswith(magic)), "img")


def _write(shard: tarfile.TarFile, name: str, data: bytes) -> int:
    """Offset of the member's bytes."""
    info = tarfile.TarInfo(name)  # times, owners and modes as in every other run
    info.size = len(data)
    offset = shard.offset + tarfile.BLOCKSIZE
    shard.addfile(info, io.BytesIO(data))
    return offset
