"""negCLIPLoss: the CLIP score of a pair less what its image and its caption get from all others (Wang et al. 2024).

arXiv:2405.19547, equation 1: s_i = cos(f_i, g_i) - T/2 (log sum_j exp(cos(f_i, g_j) / T) + log sum_j exp(cos(f_j, g_i)
/ T)), with j over a batch of pairs drawn by chance; the mean over several partitions of the pool into batches. A
caption that fits every image, or an image that fits every caption, falls. Batches are equal but for one pair, and the
sums of the smaller ones are scaled up. O(partitions x pairs x batch x dim); 4 x dim bytes a pair, so at most some
million pairs at once. Not with the temperature of another model."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from tamis.selectors.budget import Budget, Fraction
from tamis.selectors.chance import uniform
from tamis.selectors.clip_score import Rows
from tamis.selectors.contract import Batches, Floats, Inputs
from tamis.selectors.embedded import gather
from tamis.selectors.ranked import Ranked, ranked
from tamis.selectors.vectors import as_halves, row_dots, unit

BLOCK = 256  # images at once: against 32,768 captions 67 MB
LEAST_TEMPERATURE = 0.003  # exp(-2 / T) is still a number in float64
DIGITS = 8  # of a score: beyond them lies what the order of sums changes


@dataclass(frozen=True, kw_only=True)
class NegClipLoss:
    """image        vectors of the images
    text         vectors of their captions, from the same model
    temperature  the model's: 0.01 for OpenAI's
    batch        pairs that each is compared with
    partitions   over which the mean is taken
    """

    choice: ClassVar[str] = "ranked"
    fitted: ClassVar[type] = Ranked

    image: str = "clip.image"
    text: str = "clip.text"
    temperature: float = 0.01
    batch: int = 32_768
    partitions: int = 10
    seed: int = 0
    step: int = 0

    def __post_init__(self) -> None:
        if not self.temperature >= LEAST_TEMPERATURE:
            raise ValueError(f"temperature must be {LEAST_TEMPERATURE} or more, found {self.temperature}")
        if self.batch < 1 or self.partitions < 1:
            raise ValueError(f"batch and partitions must be 1 or more, found {self.batch} and {self.partitions}")

    def inputs(self) -> Inputs:
        return Inputs(fields=(self.image, self.text))

    def rank(self, pool: Batches, budget: Budget | Fraction) -> Ranked:
        """Best first, ties by id. Raises ValueError where a column holds no vectors."""
        given = gather(pool, self.image, budget, (self.text,))
        scores = np.full(len(given), np.nan)
        if len(given):
            captions, said = as_halves(given.more[self.text])
            if captions.shape[1] != given.vectors.shape[1]:
                raise ValueError(f"{self.image} and {self.text} differ in dimensions: not of one model")
            open_ = np.flatnonzero(given.there & said & ~given.labeled)
            images, texts = (unit(some[open_].astype(np.float32)) for some in (given.vectors, captions))
            scores[open_] = self.scores(images, texts, given.ids[open_])
        there = np.flatnonzero(np.isfinite(scores))
        picks = there[np.argsort(-scores[there], kind="stable")]
        reasons = np.where(np.isfinite(scores), "below_cut", "not_scorable").astype(object)
        reasons[given.labeled] = "already_labeled"
        batches = max(1, round(len(there) / self.batch))
        said_of = f"{self.partitions} partitions into {batches:,} batches of {len(there) // batches:,} pairs"
        return ranked(
            self, given.ids, picks.tolist(),
            scores={place: float(scores[place]) for place in there.tolist()}, reasons=reasons.tolist(), texts={},
            facts={"batches": batches, "said": [said_of]}, candidates=int((~given.labeled).sum()),
        )  # fmt: skip

    def scores(self, images: Rows, texts: Rows, ids: npt.NDArray[np.uint64]) -> Floats:
        """[pairs], of unit vectors."""
        count = len(ids)
        total = np.zeros(count)
        if not count:
            return total
        batches = max(1, round(count / self.batch))
        for partition in range(self.partitions if batches > 1 else 1):
            order = np.lexsort([ids, uniform(ids, self.seed, self.step, f"neg_clip_loss {partition}")])
            for some in np.array_split(order, batches):
                whole = -(-count // batches)
                total[some] += _of_batch(images[some], texts[some], self.temperature, whole / len(some))
        return np.round(total / (self.partitions if batches > 1 else 1), DIGITS)


def _of_batch(images: Rows, texts: Rows, temperature: float, scale: float) -> Floats:
    """[pairs] the equation in one batch; `scale` makes up for a pair less than in others."""
    of_images, of_texts = np.zeros(len(images)), np.zeros(len(texts))
    whole = images.astype(np.float64), texts.astype(np.float64)  # whose products are the same for any threads
    for first in range(0, len(images), BLOCK):
        cosines = whole[0][first : first + BLOCK] @ whole[1].T
        each = np.exp((cosines - 1) / temperature)  # 1 is the largest cosine there is
        of_images[first : first + BLOCK] = each.sum(1)
        of_texts += each.sum(0)
    own = row_dots(images, texts)
    return own - temperature / 2 * (np.log(scale * of_images) + np.log(scale * of_texts) + 2 / temperature)
