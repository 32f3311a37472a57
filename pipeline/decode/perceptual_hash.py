"""A perceptual hash of an image: 64 bits of its lowest frequencies, equal or nearly so for copies of other size,
compression or brightness.

Zauner 2010, "Implementation and benchmarking of perceptual image hash functions", section 3.2.1: 32 x 32 grey pixels,
discrete cosine transform, the 8 x 8 lowest frequencies but the constant ones, each above or not above their median.
Stored as a vector of 64 numbers +-1/8, so that a cosine is 1 - (differing bits) / 32 and all that compares vectors
compares hashes. An image of one grey has none. About 0.2 ms an image besides decoding."""

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL import Image

HASH_VERSION = 1  # raise when the same image would get another hash
PLAN = {"kind": "perceptual_hash", "side": 32, "frequencies": 8}
FLAT = 1.0  # grey levels of standard deviation; less is one grey


def length(plan: dict[str, Any]) -> int:
    return int(plan["frequencies"] ** 2)


@lru_cache(maxsize=1)
def _cosines(side: int, frequencies: int) -> npt.NDArray[np.float64]:
    """[frequencies, side] of the transform, without the constant one."""
    waves = np.arange(1, frequencies + 1)[:, None] * (np.arange(side) + 0.5) * np.pi / side
    return np.cos(waves)


def hashed(image: "Image.Image", plan: dict[str, Any]) -> npt.NDArray[np.float32]:
    """[64] of unit length, or zeros for an image of one grey."""
    from PIL import Image

    small = image.convert("L").resize((plan["side"],) * 2, Image.Resampling.BILINEAR)  # a box of it moves 4 bits
    grey = np.asarray(small, np.float64)
    if grey.std() < FLAT:
        return np.zeros(length(plan), np.float32)
    cosines = _cosines(plan["side"], plan["frequencies"])
    waves = (cosines @ grey @ cosines.T).ravel()
    return (np.where(waves > np.median(waves), 1, -1) / plan["frequencies"]).astype(np.float32)
