"""Hashed n-grams: each text becomes the list of buckets of all its n-grams of order 1 to n, with repetition.

This is the feature map of importance resampling (Xie et al. 2023, arXiv:2302.03169, section 3). `sha256` gives the
published buckets: SHA-256 of the tokens joined by one space, as one number, modulo the number of buckets. `fnv1a` is
ours and faster: tokens are hashed while they are read (FNV-1a, 64 bits), n-grams are folded from token hashes.
Cost: one pass over the bytes, 2 or 4 bytes an n-gram; about 200 MB/s a core (fnv1a), 50-100 MB/s (sha256)."""

import threading
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from tamis.selectors.sha256 import sha256_mod
from tamis.selectors.tokens import ready, tables, tokenize, tokens

Array = npt.NDArray[Any]
FOLD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, odd: token order matters in the fold
MEMO_SLOTS = 1 << 18  # 256k n-grams a thread, 3 MB: stays in the second-level cache's reach
MAX_BUCKETS = 1 << 24


@dataclass(frozen=True, kw_only=True)
class Ngrams:
    """How texts become buckets. Two texts can be compared only under the same settings."""

    order: int = 2
    buckets: int = 10_000
    hash: Literal["fnv1a", "sha256"] = "fnv1a"
    distinct: bool = False  # each bucket once a text, whatever its count there

    def __post_init__(self) -> None:
        if not 1 <= self.order <= 8:
            raise ValueError(f"ngrams: the order must be 1 to 8, found {self.order}")
        if not 2 <= self.buckets <= MAX_BUCKETS:
            raise ValueError(f"buckets must be 2 to {MAX_BUCKETS}, found {self.buckets}")

    @property
    def dtype(self) -> type[np.unsignedinteger[Any]]:
        return np.uint16 if self.buckets <= 1 << 16 else np.uint32

    def features(self, texts: pa.StringArray) -> tuple[Array, Array, Array]:
        """Buckets of all n-grams, flat, [rows + 1] offsets into them, and [rows] token counts.

        Within a text: by first token, then by order, where distinct only the first of equals. With repetition a text
        of L tokens has sum over k of max(L - k + 1, 0) of them."""
        rows = len(texts)
        counts = np.zeros(rows, np.int32)
        places = np.zeros(rows + 1, np.int64)
        if rows == 0 or not texts.buffers()[2]:
            return np.empty(0, self.dtype), places, counts
        texts = ready(texts)
        data = np.frombuffer(texts.buffers()[2], np.uint8)
        offsets = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + rows + 1]
        n_bytes = int(offsets[-1] - offsets[0])
        out = _scratch(n_bytes * self.order * self.dtype().itemsize).view(self.dtype)  # a token has a byte at least
        longest = int(np.diff(offsets).max(initial=0))
        low = np.empty(2 * longest + 80, np.uint8)  # lowering lengthens a letter by half at most
        ends, hashes = np.empty(longest + 1, np.int64), np.empty(longest + 1, np.uint64)
        met = np.zeros(_slots(longest * self.order) if self.distinct else 1, np.uint64)
        work = (self.order, self.buckets, out, places, counts, low, ends, hashes, met)
        if self.hash == "fnv1a":
            _fast(data, offsets, *tables(), *work)
        else:
            powers = np.array([pow(2, 32 * (7 - k), self.buckets) for k in range(8)], np.uint64)
            _published(data, offsets, *tables(), *work, powers, *_memo(self.buckets))
        return out[: places[-1]].copy(), places, counts

    def named(self, text: str) -> tuple[list[str], Array]:
        """All n-grams of one text as strings, by first token and then by order, and the bucket of each."""
        words = tokens(text)
        names = [
            " ".join(words[i : i + k]) for i in range(len(words)) for k in range(1, min(self.order, len(words) - i) + 1)
        ]
        return names, replace(self, distinct=False).features(pa.array([text], pa.string()))[0]


def _slots(features: int) -> int:
    """A power of two, twice the features of the longest text or more: a set in it stays half empty."""
    return 1 << (2 * features).bit_length()


_held = threading.local()


def _scratch(n_bytes: int) -> Array:
    """This thread's scratch, reused: fresh pages cost more than the loop that fills them. Untouched ones are free."""
    held = getattr(_held, "scratch", None)
    if held is None or len(held) < n_bytes:
        held = _held.scratch = np.empty(2 * n_bytes, np.uint8)
    return held[:n_bytes]


def _memo(buckets: int) -> tuple[Array, Array]:
    """This thread's memo of (n-gram's 64-bit hash -> bucket); a slot is overwritten when another n-gram needs it.

    Two n-grams with one 64-bit hash would share a bucket: for 100 million distinct ones, a chance of 3 in 10,000
    that any pair does."""
    memos = _held.__dict__.setdefault("memos", {})
    if buckets not in memos:
        memos[buckets] = np.zeros(MEMO_SLOTS, np.uint64), np.zeros(MEMO_SLOTS, np.uint32)
    return memos[buckets]


@njit(nogil=True, cache=True)
def _mixed(h: int) -> int:
    """MurmurHash3's 64-bit finalizer: the top bits, which choose the bucket, depend on all bits."""
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xFF51AFD7ED558CCD)
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xC4CEB9FE1A85EC53)
    return h ^ (h >> np.uint64(33))


@njit(nogil=True, cache=True)
def _fast(
    data: Array, offsets: Array, kind: Array, lower: Array, order: int, buckets: int, out: Array, places: Array,
    counts: Array, low: Array, ends: Array, hashes: Array, met: Array,
) -> None:  # fmt: skip
    for row in range(len(counts)):
        n = tokenize(data, offsets[row], offsets[row + 1], kind, lower, low, ends, hashes)
        counts[row] = n
        used = places[row]
        for i in range(n):
            h = np.uint64(0)
            for j in range(i, min(i + order, n)):
                h = (h + hashes[j]) * FOLD
                out[used] = ((_mixed(h) >> np.uint64(32)) * np.uint64(buckets)) >> np.uint64(32)
                used += 1
        places[row + 1] = used if len(met) == 1 else _without_repeats(out, places[row], used, met, row)


@njit(nogil=True, cache=True)
def _published(
    data: Array, offsets: Array, kind: Array, lower: Array, order: int, buckets: int, out: Array, places: Array,
    counts: Array, low: Array, ends: Array, hashes: Array, met: Array,
    powers: Array, memo_hash: Array, memo_bucket: Array,
) -> None:  # fmt: skip
    message = np.empty(len(low) + 80 + 8 * order, np.uint8)
    state, words = np.empty(8, np.uint32), np.empty(64, np.uint32)
    mask = np.uint64(len(memo_hash) - 1)
    for row in range(len(counts)):
        n = tokenize(data, offsets[row], offsets[row + 1], kind, lower, low, ends, hashes)
        counts[row] = n
        used = places[row]
        for i in range(n):
            h = np.uint64(0)
            for j in range(i, min(i + order, n)):
                h = (h + hashes[j]) * FOLD
                key = _mixed(h)
                slot = key & mask
                if memo_hash[slot] != key or key == 0:
                    length = _joined(low, ends, i, j, message)
                    memo_bucket[slot] = sha256_mod(message, length, powers, buckets, state, words)
                    memo_hash[slot] = key
                out[used] = memo_bucket[slot]
                used += 1
        places[row + 1] = used if len(met) == 1 else _without_repeats(out, places[row], used, met, row)


@njit(nogil=True, cache=True)
def _joined(low: Array, ends: Array, first: int, last: int, message: Array) -> int:
    """Tokens first to last with one space between, written to `message`; returns the length in bytes."""
    length = 0
    for t in range(first, last + 1):
        if t > first:
            message[length] = 32
            length += 1
        for k in range(0 if t == 0 else ends[t - 1], ends[t]):
            message[length] = low[k]
            length += 1
    return length


@njit(nogil=True, cache=True)
def _without_repeats(out: Array, start: int, end: int, met: Array, row: int) -> int:
    """Keep the first of equal buckets in out[start:end]; returns the new end.

    `met` is an open-addressed set, a power of two in size, never cleared: the row number in the upper half of an
    entry says whether it is of this text. The part used grows with the text, so short ones stay in the cache."""
    mask = 1
    while mask < 2 * (end - start):
        mask *= 2
    mask -= 1
    kept = start
    stamp = np.uint64(row + 1) << np.uint64(32)
    for i in range(start, end):
        entry = stamp | np.uint64(out[i])
        slot = np.int64((np.uint64(out[i]) * FOLD) >> np.uint64(40)) & mask
        while met[slot] >> np.uint64(32) == stamp >> np.uint64(32) and met[slot] != entry:
            slot = (slot + 1) & mask
        if met[slot] != entry:
            met[slot] = entry
            out[kept] = out[i]
            kept += 1
    return kept
