"""Hashed n-grams: each text becomes the list of buckets of all its n-grams of order 1 to n, with repetition.

This is the feature map of importance resampling (Xie et al. 2023, arXiv:2302.03169, section 3). `sha256` gives the
published buckets: SHA-256 of the tokens joined by one space, as one number, modulo the number of buckets. `fnv1a` is
ours and faster: tokens are hashed while they are read (FNV-1a, 64 bits), n-grams are folded from token hashes.
Cost: one pass over the bytes, 2 or 4 bytes an n-gram; measured 140 MB/s a core (fnv1a), 100 with
distinct buckets, 22 with sha256."""

import threading
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.selectors.texts.tokens import Tokens, ready, tables, tokens

Array = npt.NDArray[Any]
MEMO_SLOTS = 1 << 18  # 256k n-grams a thread, 3 MB: stays in the second-level cache's reach
MAX_BUCKETS = 1 << 24


@dataclass(frozen=True, kw_only=True)
class Ngrams:
    """How texts become buckets. Two texts can be compared only under the same settings."""

    order: int = 2
    buckets: int = 10_000
    hash: Literal["fnv1a", "sha256"] = "fnv1a"
    distinct: bool = False  # each bucket once a text, whatever its count there
    tokens: Tokens = "tamis"  # see tokens.py

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
        from tamis.selectors.loops.buckets import hash_fast, hash_published

        texts = ready(texts)
        data = np.frombuffer(texts.buffers()[2], np.uint8)
        offsets = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + rows + 1]
        longest = int(np.diff(offsets).max(initial=0))
        out = _held.array("out", int(offsets[-1] - offsets[0]) * self.order, self.dtype)  # a token has a byte at least
        low = _held.array("low", 2 * longest + 80, np.uint8)  # lowering lengthens a letter by half at most
        ends = _held.array("ends", longest + 1, np.int64)
        hashes = _held.array("hashes", longest + 1, np.uint64)
        work = (
            self.order,
            self.buckets,
            out,
            places,
            counts,
            low,
            ends,
            hashes,
            *_held.met(longest * self.order, rows),
        )
        if self.hash == "fnv1a":
            hash_fast(data, offsets, *tables(self.tokens), self.distinct, *work)
        else:
            powers = np.array([pow(2, 32 * (7 - k), self.buckets) for k in range(8)], np.uint64)
            hash_published(data, offsets, *tables(self.tokens), self.distinct, *work, powers, *_held.memo(self.buckets))
        return out[: places[-1]].copy(), places, counts

    def named(self, text: str) -> tuple[list[str], Array]:
        """All n-grams of one text as strings, by first token and then by order, and the bucket of each."""
        words = tokens(text, self.tokens)
        names = [
            " ".join(words[i : i + k]) for i in range(len(words)) for k in range(1, min(self.order, len(words) - i) + 1)
        ]
        return names, replace(self, distinct=False).features(pa.array([text], pa.string()))[0]


class _Held(threading.local):
    """Each thread's scratch, reused from call to call: fresh pages cost more than the loop that fills them."""

    def __init__(self) -> None:
        self._arrays: dict[Any, Array] = {}
        self._rows = 0

    def array(self, name: str, size: int, dtype: Any) -> Array:
        """Uninitialised; its untouched pages cost nothing."""
        key = name, np.dtype(dtype)
        if key not in self._arrays or len(self._arrays[key]) < size:
            self._arrays[key] = np.empty(size + size // 2, dtype)
        return self._arrays[key]

    def met(self, features: int, rows: int) -> tuple[Array, int]:
        """The set of `_without_repeats`, at least twice as large as a text's features, and its next free stamp."""
        slots = 1 << (2 * features).bit_length()
        if len(self._arrays.get("met", ())) < slots or self._rows + rows >= 1 << 32:
            self._arrays["met"], self._rows = np.zeros(slots, np.uint64), 1
        stamp, self._rows = self._rows, self._rows + rows
        return self._arrays["met"], stamp

    def memo(self, buckets: int) -> tuple[Array, Array]:
        """(n-gram's 64-bit hash, bucket) by slot; a slot is overwritten when another n-gram needs it.

        Two n-grams with one 64-bit hash would share a bucket: for 100 million distinct ones, a chance of 3 in 10,000
        that any pair does."""
        if ("memo", buckets) not in self._arrays:
            self._arrays["memo", buckets] = np.zeros(MEMO_SLOTS, np.uint64)
            self._arrays["memo bucket", buckets] = np.zeros(MEMO_SLOTS, np.uint32)
        return self._arrays["memo", buckets], self._arrays["memo bucket", buckets]


_held = _Held()


def load_loops(settings: Ngrams) -> None:
    """Import and compile what `features` needs; meant for a thread of its own while files are read."""
    settings.features(pa.array(["so that the first real batch finds all at hand"]))


def flat(batch: pa.RecordBatch, ngrams: Ngrams) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Buckets of all rows, one after another, and [rows + 1] offsets into them, from the `ngrams` field."""
    column = batch["ngrams"]
    if not len(column) or column.buffers()[2] is None:
        return np.empty(0, ngrams.dtype), np.zeros(len(column) + 1, np.int64)
    kind = np.int64 if pa.types.is_large_binary(column.type) else np.int32
    offsets = np.frombuffer(column.buffers()[1], kind)[column.offset : column.offset + len(column) + 1]
    size = np.dtype(ngrams.dtype).itemsize
    data = np.frombuffer(column.buffers()[2], np.uint8)[offsets[0] : offsets[-1]]
    return data.view(ngrams.dtype), (offsets - offsets[0]).astype(np.int64) // size
