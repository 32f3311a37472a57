"""Which samples of a target are of one family: equal contents, near-copies, and chains of these.

What is judged by a family must not have been fitted to any of it. Texts and images are compared as selectors/dedup/
together.py says; at most so many of them, chosen by a hash, and contents beyond stand alone."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.decode.locate import PLACE, image_bytes
from tamis.pipeline.decode.perceptual_hash import PLAN, hashed
from tamis.pipeline.errors import Unusable
from tamis.pipeline.files.atomic import fingerprint, write_parquet
from tamis.pipeline.files.sealed import made_anew
from tamis.pipeline.read.pool import Part, Pool
from tamis.selectors.chance import uniform
from tamis.selectors.dedup.near_images import codes_of
from tamis.selectors.dedup.together import join_images, join_texts, signed
from tamis.selectors.rows import contents_of, hashes_of

MOST_TEXTS, MOST_IMAGES = 50_000, 5_000  # that are compared: 10 s of signatures, or of decoding
FAMILIES_VERSION = 1  # raise when the same target would be other families
DECODED = 64  # pixels of the shorter side at least, of which 32 are hashed
Contents = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Families:
    """Arrays are [contents], by rising content."""

    contents: Contents
    of_content: Contents  # the family's lowest content

    def of(self, contents: Contents) -> Contents:
        """[rows] family of each; a content that is not known is its own."""
        if not len(self.contents):
            return contents
        place = np.minimum(np.searchsorted(self.contents, contents), len(self.contents) - 1)
        return np.where(self.contents[place] == contents, self.of_content[place], contents)


def families(target: Pool, sources: int) -> Families:
    """Of the samples of the target's first `sources` (others are the evaluation's); kept beside the target."""
    return _families(target.folder, tuple(part for part in target.parts if part.origin < sources))


@lru_cache(maxsize=4)
def _families(folder: Path, parts: tuple[Part, ...]) -> Families:
    path = folder / ".families" / f"{fingerprint([FAMILIES_VERSION, *(part.digest for part in parts)])}.parquet"
    if not made_anew(path):
        with suppress(pa.ArrowException, OSError, KeyError):
            table = pq.read_table(path)
            return Families(table["content"].to_numpy(), table["family"].to_numpy())
    found = _found(parts)
    write_parquet(path, pa.table({"content": found.contents, "family": found.of_content}))
    return found


def _found(parts: tuple[Part, ...]) -> Families:
    from tamis.selectors.loops.pairs import settle

    contents = np.unique(np.concatenate([np.zeros(0, np.uint64), *_contents(parts)]))
    root = np.arange(len(contents))
    chance = uniform(contents, 0, 0, "families")
    _join_texts(parts, contents, _lowest(chance, MOST_TEXTS), root)
    _join_images(parts, contents, _lowest(chance, MOST_IMAGES), root)
    settle(root)
    return Families(contents, contents[root])


def _contents(parts: tuple[Part, ...]) -> Iterator[Contents]:
    for part in parts:
        for batch in pq.ParquetFile(part.path).iter_batches(columns=["content_hash"]):
            yield contents_of(hashes_of(batch))


def _lowest(chance: npt.NDArray[np.float64], most: int) -> npt.NDArray[np.bool_]:
    if len(chance) <= most:
        return np.ones(len(chance), bool)
    return chance <= np.partition(chance, most - 1)[most - 1]


def _join_texts(parts: tuple[Part, ...], contents: Contents, some: Any, root: npt.NDArray[np.int64]) -> None:
    told: npt.NDArray[np.uint8] | None = None
    shingled = np.zeros(len(contents), bool)
    for part in parts:
        for batch in pq.ParquetFile(part.path).iter_batches(batch_size=1024, columns=["content_hash", "text"]):
            place = np.searchsorted(contents, contents_of(hashes_of(batch)))
            mine = np.flatnonzero(
                some[place] & ~shingled[place] & batch["text"].is_valid().to_numpy(zero_copy_only=False)
            )
            if not len(mine):
                continue
            found = signed(batch["text"].take(pa.array(mine)))
            told = np.zeros((len(contents), found.told.shape[1]), np.uint8) if told is None else told
            told[place[mine]], shingled[place[mine]] = found.told, found.shingled
    if told is not None:
        join_texts(root, told[shingled], shingled)


def _join_images(parts: tuple[Part, ...], contents: Contents, some: Any, root: npt.NDArray[np.int64]) -> None:
    hashes, there = np.zeros(len(contents), np.uint64), np.zeros(len(contents), bool)
    for part in parts:
        if "width" not in pq.read_schema(part.path).names:
            continue
        file = pq.ParquetFile(part.path)
        for batch in file.iter_batches(batch_size=256, columns=[*PLACE, "width"]):
            places = np.searchsorted(contents, contents_of(hashes_of(batch))).tolist()
            for place, row in zip(places, batch.to_pylist(), strict=True):
                if row["width"] is None or not some[place] or there[place]:
                    continue
                code = _looks(row)
                if code is not None:
                    hashes[place], there[place] = code, True
    if there.any():
        join_images(root, there, hashes)


def _looks(row: dict[str, Any]) -> np.uint64 | None:
    """An image's perceptual hash; None where it is gone, or of one grey."""
    from tamis.pipeline.decode.pixels import decode

    try:
        image, _, _ = decode(image_bytes(row), scaled_to=DECODED)
    except Unusable:
        return None
    vector = hashed(image, PLAN)
    return codes_of(vector[None, :], "perceptual_hash")[0] if vector.any() else None
