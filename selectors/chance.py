"""Chance that belongs to a sample, not to an order: a hash of (seed, step, purpose, sample_id).

A generator would give other numbers for another order of rows, another number of threads, or a second try; a hash
gives the same number to the same sample always. Cost: a few nanoseconds a sample."""

import numpy as np
import numpy.typing as npt
import xxhash

Ids = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]


def uniform(sample_ids: Ids, seed: int, step: int, purpose: str) -> Floats:
    """[rows] float64 in (0, 1), never 0 or 1."""
    key = np.uint64(xxhash.xxh3_64_intdigest(f"{seed}/{step}/{purpose}".encode()))
    bits = _mixed(sample_ids.astype(np.uint64) ^ key)
    return ((bits >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53


def gumbel(sample_ids: Ids, seed: int, step: int, purpose: str) -> Floats:
    """[rows] standard Gumbel noise: adding it to log weights and taking the top k draws without replacement."""
    return -np.log(-np.log(uniform(sample_ids, seed, step, purpose)))


def _mixed(bits: Ids) -> Ids:
    """The finalizer of splitmix64 (Steele, Lea, Flood 2014), after its increment; every bit depends on every bit."""
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
