"""negCLIPLoss: the CLIP score of a pair less what its image and its caption get from all others (Wang et al. 2024).

arXiv:2405.19547, equation 1: s_i = cos(f_i, g_i) - T/2 (log sum_j exp(cos(f_i, g_j) / T) + log sum_j exp(cos(f_j, g_i)
/ T)), with j over a batch of pairs drawn by chance; the mean over several partitions of the pool into batches. A
caption that fits every image, or an image that fits every caption, falls. Batches are equal but for one pair, and the
sums of the smaller ones are scaled up. O(partitions x pairs x batch x dim); 90 bytes a pair and 512 MB of vectors at
once, or one batch. Not with the temperature of another model."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.selectors.budget import Budget, Fraction
from tamis.selectors.chance import uniform
from tamis.selectors.contract import Batches, Floats, Inputs, Ranker
from tamis.selectors.passes import Places, groups
from tamis.selectors.quality.clip_score import Rows
from tamis.selectors.ranked import Coded, Ranked, ranked
from tamis.selectors.rows import has_label
from tamis.selectors.vectors.clustered import halves
from tamis.selectors.vectors.columns import row_dots, unit

Halves = npt.NDArray[np.float16]
NOTHING = np.zeros(0, np.uint64), np.zeros(0, bool), np.zeros(0, bool)
BLOCK = 256  # images at once: against 32,768 captions 67 MB
LEAST_TEMPERATURE = 0.003  # exp(-2 / T) is still a number in float64
DIGITS = 8  # of a score: beyond them lies what the order of sums changes


@dataclass(frozen=True, kw_only=True)
class NegClipLoss(Ranker):
    """image        vectors of the images
    text         vectors of their captions, from the same model
    temperature  the model's: 0.01 for OpenAI's
    batch        pairs that each is compared with
    partitions   over which the mean is taken
    """

    fitted: ClassVar[type | None] = Ranked

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
        """Best first, ties by id. `pool` is read several times. Raises ValueError where a column holds no vectors."""
        rows = [(batch["sample_id"].to_numpy(), self._pairs(batch)[1], has_label(batch)) for batch in pool]
        ids, paired, labeled = map(np.concatenate, zip(*rows, strict=True)) if rows else NOTHING
        order = np.argsort(ids, kind="stable")
        ids, paired, labeled = ids[order], paired[order], labeled[order]
        open_ = np.flatnonzero(paired & ~labeled)
        scores = np.full(len(ids), np.nan)
        scores[open_] = self._scores(pool, ids, open_)
        picks = open_[np.argsort(-scores[open_], kind="stable")]
        why = np.where(labeled, 2, np.where(paired, 0, 1))
        batches = self._batches(len(open_))
        said = f"{self.partitions} partitions into {batches:,} batches of {len(open_) // batches:,} pairs"
        return ranked(
            self, ids, picks, scores=scores, texts={}, facts={"batches": batches, "said": [said]},
            candidates=int((~labeled).sum()), reasons=Coded(["below_cut", "not_scorable", "already_labeled"], why),
        )  # fmt: skip

    def _batches(self, count: int) -> int:
        return max(1, round(count / self.batch))

    def _pairs(self, batch: pa.RecordBatch) -> tuple[list[Halves], npt.NDArray[np.bool_]]:
        """Vectors of images and captions, and [rows] which have both. Raises ValueError."""
        (images, seen), (texts, said) = (halves(batch, name) for name in (self.image, self.text))
        if images.shape[1] != texts.shape[1]:
            raise ValueError(f"{self.image} and {self.text} differ in dimensions: not of one model")
        return [images, texts], seen & said

    def _scores(self, pool: Batches, ids: npt.NDArray[np.uint64], places: Places) -> Floats:
        """[places] of those in `ids`; vectors are brought some batches at a time."""
        count = len(places)
        total = np.zeros(len(ids))
        row_bytes = next((4 * self._pairs(batch)[0][0].shape[1] for batch in pool), 1)
        batches = self._batches(count)
        partitions = self.partitions if batches > 1 else 1
        for partition in range(partitions if count else 0):
            mine = ids[places]
            order = places[np.lexsort([mine, uniform(mine, self.seed, self.step, f"neg_clip_loss {partition}")])]
            ends = np.cumsum([len(some) for some in np.array_split(order, batches)])
            for where, (images, texts) in groups(pool, ids, order, ends, row_bytes, lambda some: self._pairs(some)[0]):
                scale = -(-count // batches) / len(images)
                total[order[where]] += _of_batch(unit(images), unit(texts), self.temperature, scale)
        return np.round(total[places] / partitions, DIGITS)


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
