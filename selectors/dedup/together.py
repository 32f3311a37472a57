"""What belongs together, so that a copy of one is not judged by what is known of another: near-copies of texts and of
images, and chains of these.

Texts as near_dedup compares them (near_texts.py), by signatures alone; images by perceptual hashes that differ in at
most 4 bits of 64 (near_images.py). 200 bytes a text."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.selectors.dedup.near_images import within
from tamis.selectors.dedup.near_texts import Signed
from tamis.selectors.texts.minhash import Sketch, signatures

Roots = npt.NDArray[np.int64]
SKETCH = Sketch()
NEAR_BITS = 4  # of 64, of two images that belong together


class SignedTexts(NamedTuple):
    """Arrays are [texts, ...]."""

    told: npt.NDArray[np.uint8]  # low bytes of the signature, then the keys of its bands
    shingled: npt.NDArray[np.bool_]  # whether the text is long enough to have one


def signed(texts: pa.StringArray) -> SignedTexts:
    found = signatures(texts, SKETCH)
    return SignedTexts(np.hstack([found.low, found.buckets.view(np.uint8)]), found.shingled)


def join_texts(root: Roots, told: npt.NDArray[np.uint8], shingled: npt.NDArray[np.bool_]) -> None:
    """Join near-copies in `root` [texts]; `told` are of the shingled ones alone."""
    from tamis.selectors.loops.pairs import join

    some = np.flatnonzero(shingled)
    if len(some):
        join(root, some, some[Signed(SKETCH, SKETCH.line).together(told)])


def join_images(root: Roots, has_hash: npt.NDArray[np.bool_], hashes: npt.NDArray[np.uint64]) -> None:
    """Join images that look the same in `root` [images]."""
    from tamis.selectors.loops.pairs import join

    join(root, np.arange(len(root)), within(has_hash, hashes, NEAR_BITS))


def join_equal(root: Roots, values: npt.NDArray[Any], there: npt.NDArray[np.bool_] | None = None) -> None:
    """Join samples of equal values, of those that are `there`."""
    from tamis.selectors.loops.pairs import join

    places = np.arange(len(values)) if there is None else np.flatnonzero(there)
    order = places[np.argsort(values[places], kind="stable")]
    same = np.flatnonzero(values[order][1:] == values[order][:-1])
    join(root, order[same], order[same + 1])
