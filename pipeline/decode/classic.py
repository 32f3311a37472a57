"""Classic features of an image: histograms of oriented gradients and a colour histogram. No weights, runs everywhere.

Dalal and Triggs 2005 (HOG), through scikit-image: the image squashed to 64 x 64, cells of 16 pixels, blocks of 2 x 2
cells, 9 orientations: 324 numbers. Colour: 4 x 8 x 8 bins of CIE Lab, square roots: 256 numbers, at half the weight.
About 1 ms an image besides decoding. Shape and colour of the whole picture; not what is in it."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL import Image

CLASSIC_VERSION = 1  # raise when the same image would give another vector
PLAN = {"kind": "classic", "side": 64, "cell": 16, "orientations": 9, "bins": [4, 8, 8], "colour": 0.5}
LAB_LOW, LAB_SPAN = (0, -64, -64), (100, 128, 128)  # lightness, and the colours that photos have


def length(plan: dict[str, Any]) -> int:
    """Numbers in the vector."""
    blocks = plan["side"] // plan["cell"] - 1
    return int(blocks**2 * 4 * plan["orientations"] + np.prod(plan["bins"]))


def describe(image: "Image.Image", plan: dict[str, Any]) -> npt.NDArray[np.float32]:
    """[length(plan)], of unit length."""
    from PIL import Image
    from skimage.color import rgb2lab
    from skimage.feature import hog

    small = image.resize((plan["side"],) * 2, Image.Resampling.BILINEAR)
    shape = hog(
        np.asarray(small.convert("L"), np.float32) / 255, orientations=plan["orientations"],
        pixels_per_cell=(plan["cell"],) * 2, cells_per_block=(2, 2), block_norm="L2-Hys",
    )  # fmt: skip
    lab = rgb2lab(np.asarray(small, np.float32) / 255).reshape(-1, 3)
    bins = np.array(plan["bins"])
    places = np.floor((lab - LAB_LOW) / LAB_SPAN * bins).astype(int).clip(0, bins - 1)
    counts = np.bincount(np.ravel_multi_index(places.T, plan["bins"]), minlength=int(bins.prod()))
    joined = np.concatenate([_unit(shape), plan["colour"] * _unit(np.sqrt(counts))])
    return _unit(joined).astype(np.float32)


def _unit(vector: npt.NDArray[Any]) -> npt.NDArray[Any]:
    size = np.linalg.norm(vector)
    return vector / size if size else vector
