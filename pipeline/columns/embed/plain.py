"""Numbers of images that decoding workers make themselves, without a model."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from tamis.pipeline.columns.contract import NoModel
from tamis.pipeline.decode.plans import PLAIN, shape_of


class PlainImages(NoModel):
    """What a plan leaves of each image, as it is."""

    def __init__(self, plan: str) -> None:
        self.plan = PLAIN[plan]
        self.dim = shape_of(self.plan)[0][0]

    def best_batch(self) -> int:
        return 1  # nothing is batched

    def images(self, array: npt.NDArray[np.float32], batch: int) -> Callable[[], Any]:
        return lambda: array
