"""Facility location: the set whose nearest members are nearest to everything, chosen greedily.

f(S) = sum over i of max over j in S of s_ij, s = (1 + cosine) / 2, is monotone and submodular, so the greedy choice is
within 1 - 1/e of the best (Nemhauser, Wolsey, Fisher 1978). Lazy (Minoux 1978): a gain only falls, so whatever had less
than another has now needs no new look; here the old gains are kept fresh, too, as sums over similarities of 8 bits
(loops/similarities.py), and only samples that these sums can't exclude are looked at in full. O(n^2 dim) once, n^2 / 2
bytes. Not above some ten thousand samples at once: see parts.py."""

import math
import mmap
from typing import Any

import numpy as np
import numpy.typing as npt

from tamis.selectors.picks.lazily import best_row
from tamis.selectors.vectors.columns import unit

Vectors = npt.NDArray[np.float32]
BLOCK = 256  # rows of similarities at once: 256 x 20,000 float32 are 20 MB
LEVELS = 254  # of the scale from the lowest similarity that matters
SPARSE = 16  # once fewer than one of so many pairs can still gain, those are listed and the others forgotten
LUCK = 27.6  # -log of the chance, 1e-12, that a bound is too low


class FacilityLocation:
    """Chooses among `vectors` [rows, dim] of unit length; `covered` rows are in the set from the start."""

    def __init__(self, vectors: npt.NDArray[np.floating], covered: npt.NDArray[np.bool_]) -> None:
        self.vectors = unit(vectors)
        rows = len(self.vectors)
        self.best = np.zeros(rows, np.float32)  # similarity to the nearest of the set
        for first in range(0, rows if covered.any() else 0, BLOCK):
            some = similarities(self.vectors[first : first + BLOCK], self.vectors[covered])
            self.best[first : first + BLOCK] = some.max(1)
        self.codes: list[npt.NDArray[np.uint8]] | None = None  # of rows from k x BLOCK on, and columns from there on
        self.looked = np.zeros(0, np.int64), np.zeros((0, rows), np.float32)  # the last rows and their similarities
        self.listed: tuple[npt.NDArray[Any], ...] | None = None  # where rows' lists end, the other rows, their codes
        if covered.any():
            self._pack()
        else:  # the first gains are sums of similarities, which need no pairs
            total = self.vectors.sum(0, dtype=np.float64).astype(np.float32)
            self.exact = (rows + (self.vectors @ total).astype(np.float64)) / 2

    def next(self, may: npt.NDArray[np.bool_]) -> tuple[int, float]:
        """Place of the row that gains most, of equal ones the first, and its gain."""
        bounds = np.where(may, self.exact if self.codes is None else self._bounds(), -np.inf)
        looked = np.full(len(bounds), self.codes is None) | ~may
        place = best_row(bounds, looked, self.gains)
        return place, float(bounds[place])

    def take(self, place: int) -> None:
        """Add a row to the set."""
        seen, similar = self.looked
        row = similar[seen == place] if place in seen else similarities(self.vectors[place][None], self.vectors)
        best = np.maximum(self.best, row[0])
        if self.codes is None:
            self.best = best
            self._pack()
            return
        old, new = self._whole(self.best), self._whole(best)
        self.best = best
        self._fall(old, new)
        if self.listed is None and SPARSE * int(self.counts.sum(dtype=np.int64)) < len(best) ** 2:
            self._list(new)

    def gains(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """[places] how much f would grow by each."""
        some = similarities(self.vectors[places], self.vectors)
        self.looked = places, some
        self.exact[places] = [np.maximum(row - self.best, 0).sum(dtype=np.float64) for row in some]
        return self.exact[places]

    def value(self) -> float:
        """F of the set."""
        return float(self.best.sum(dtype=np.float64))

    def _bounds(self) -> npt.NDArray[np.float64]:
        """[rows] what no gain is above: an old gain, or a sum of rounded similarities and what rounding may do.

        A sum of N errors, independent and each within one step, is beyond step sqrt(LUCK N / 2) with a chance of
        exp(-LUCK) (Hoeffding 1963)."""
        counts = np.maximum(self.counts, 0)
        rounded = np.sqrt(LUCK / 2 * counts) * self.step + 1e-6 * counts  # and what float32 rounds
        return np.minimum(self.exact, self.sums / self.unit + rounded + (1 - self.best.astype(np.float64)))

    def _pack(self) -> None:
        """Codes of all pairs, exact gains of all rows, and the sums that follow them."""
        from tamis.selectors.loops.similarities import encode

        rows = len(self.vectors)
        low, self.step = float(self.best.min()), self._step()
        steps = math.floor((2**31 - 1) / max(1, rows) * self.step)  # in whole units, so small that all rows' sum fits
        self.unit = steps / self.step
        self.scale = (math.ceil(low * self.unit), steps, math.ceil(self.unit))
        luck = np.random.default_rng(0).integers(0, 1 << 16, rows).astype(np.int32)
        gains = np.zeros(rows)
        self.codes = []
        for first in range(0, rows, BLOCK):
            similar = similarities(self.vectors[first : first + BLOCK], self.vectors[first:])
            mapped = mmap.mmap(-1, similar.size)  # memory that goes back to the system as soon as it is dropped
            codes = np.frombuffer(mapped, np.uint8).reshape(similar.shape)
            encode(similar, low, self.step, self.best[first:], luck[first:], codes, gains[first:])
            self.codes.append(codes)
        self.exact = gains + (1 - self.best.astype(np.float64))  # each row's own similarity is 1
        self.sums, self.counts = np.zeros(rows, np.int32), np.zeros(rows, np.int32)
        self._fall(self._whole(self.best), np.full(rows, self.scale[2], np.int32))
        self.sums, self.counts = -self.sums, -self.counts  # all that there is to gain is what would be lost

    def _step(self) -> float:
        """Between two codes; the scale ends at the largest similarity of a sample of pairs, and what is above is 1."""
        some = similarities(self.vectors[:: max(1, len(self.vectors) // BLOCK)], self.vectors)
        high = float(some.max(where=some < 1 - 1e-6, initial=0))
        finest = 16 * len(self.vectors) / 2**31  # so that a step is many of the whole units that fit
        return max((high - float(self.best.min())) / LEVELS, finest)

    def _fall(self, old: npt.NDArray[np.int32], new: npt.NDArray[np.int32]) -> None:
        """Sums and counts as best similarities, in whole units, rise."""
        from tamis.selectors.loops.similarities import fall, fall_listed

        changed = np.flatnonzero(new > old)
        if self.listed is not None:
            fall_listed(*self.listed, old, new, changed, self.scale, self.sums, self.counts)
            return
        for number, codes in enumerate(self.codes or []):
            first = number * BLOCK
            mine = changed[np.searchsorted(changed, first) :] - first
            fall(codes, old[first:], new[first:], mine, self.scale, self.sums[first:], self.counts[first:])

    def _list(self, best: npt.NDArray[np.int32]) -> None:
        """Pairs that can still gain, by the row that gains; about three bytes each."""
        from tamis.selectors.loops.similarities import count_above, list_above

        low, step, _ = self.scale
        limits = np.clip((best - low) // step + 1, 0, 255).astype(np.int32)  # the lowest code above it, or all
        found = np.zeros(len(best), np.int32)
        for number, codes in enumerate(self.codes or []):
            count_above(codes, limits[number * BLOCK :], found[number * BLOCK :])
        pairs = int(found.sum(dtype=np.int64))
        ends = np.cumsum(found, dtype=np.int64) - found
        small = np.uint16 if len(best) <= 1 << 16 else np.uint32
        partners, kept = np.empty(pairs, small), np.empty(pairs, np.uint8)
        while self.codes:  # from the last on: lists grow as codes go
            codes = self.codes.pop()
            list_above(codes, len(self.codes) * BLOCK, limits, ends, partners, kept)
        self.listed = ends, partners, kept

    def _whole(self, best: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
        """In whole units, rounded down: gains are rather counted too high."""
        return np.floor(best.astype(np.float64) * self.unit).astype(np.int32)


def similarities(some: Vectors, others: Vectors) -> Vectors:
    """[some, others] (1 + cosine) / 2."""
    found = some @ others.T
    found += 1
    found *= 0.5
    return found
