"""Measures of an image as numbers: sharpness, brightness, contrast, and how much of it is black or burnt out.

On grey pixels, the longer side at most 256, so that sizes compare. `sharpness` is the variance of the Laplacian
(Pech-Pacheco et al. 2000) of grey levels 0 to 255: a few for fog and blur, hundreds for a sharp photo; it means little
for tiny images and drawings. `contrast` is the standard deviation, near 0 for a constant image. About 1 ms an image
besides decoding."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL import Image

QUALITY_VERSION = 1  # raise when the same image would get other numbers
PLAN = {"kind": "image_quality", "side": 256}
MEASURES = ("sharpness", "brightness", "contrast", "dark", "bright")  # the main one first; all but it are 0 to 1
BLACK, BURNT = 10, 245  # grey levels of 0 to 255


def measured(image: "Image.Image", plan: dict[str, Any]) -> npt.NDArray[np.float32]:
    """[measures]"""
    grey = image.convert("L")
    grey.thumbnail((plan["side"],) * 2)
    levels = np.asarray(grey, np.float32)
    padded = np.pad(levels, 1, mode="edge")
    laplacian = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * levels
    shares = [(levels <= BLACK).mean(), (levels >= BURNT).mean()]
    return np.array([laplacian.var(), levels.mean() / 255, levels.std() / 255, *shares], np.float32)
