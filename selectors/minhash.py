"""MinHash signatures of texts: how many of 112 hashes agree estimates the Jaccard index of two texts' shingles.

Broder 1997. Texts are lowered, numbers become 0, punctuation and white space one space, accents go; shingles are 5
words; each is hashed by XXH64 to x, and hash j is the least of (a_j x + b_j) mod 2^61 - 1, where the product wraps
at 64 bits: the rule that datatrove's MinHash uses, with its parameters. 14 buckets of 8 hashes: two texts meet where
all 8 of a bucket agree, with a probability of 1 - (1 - J^8)^14. O(shingles x 112)."""

import re
import unicodedata

import numpy as np
import numpy.typing as npt

BUCKETS, ROWS, WORDS = 14, 8, 5
HASHES = BUCKETS * ROWS
PRIME = np.uint64((1 << 61) - 1)
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
NO_WORD = re.compile(r"[^\w]+|_+")
Hashes = npt.NDArray[np.uint64]


def parameters() -> tuple[Hashes, Hashes]:
    """A and b of each hash, as numpy's generator of seed 1 gives them."""
    draw = np.random.RandomState(1)
    whole = int(PRIME)
    a = np.array(draw.randint(1, whole, size=HASHES, dtype=np.uint64), np.uint64)
    b = np.array(draw.randint(0, whole, size=HASHES, dtype=np.uint64), np.uint64)
    return a, b


def words(text: str) -> list[str]:
    """What shingles are made of."""
    plain = NO_WORD.sub(" ", NUMBER.sub("0", text.lower()))
    if not plain.isascii():
        decomposed = unicodedata.normalize("NFD", plain)
        plain = "".join(char for char in decomposed if unicodedata.category(char) != "Mn")
    return plain.split()


def signatures(texts: list[str]) -> tuple[Hashes, npt.NDArray[np.bool_]]:
    """[texts, 112] hashes, and which texts have a shingle at all."""
    from tamis.selectors.minhash_loops import sign

    a, b = parameters()
    told = [words(text) for text in texts]
    joined = [" ".join(some).encode("utf-8", "surrogatepass") for some in told]
    ends = np.cumsum([len(one) for one in joined], dtype=np.int64)
    data = np.frombuffer(b"".join(joined), np.uint8)
    out = np.full((len(texts), HASHES), PRIME, np.uint64)
    shingled = np.zeros(len(texts), bool)
    sign(data, ends, a, b, out, shingled)
    return out, shingled


def bucket_keys(signed: Hashes) -> Hashes:
    """[texts, 14] one number for the 8 hashes of each bucket."""
    keys = np.zeros((len(signed), BUCKETS), np.uint64)
    for row in range(ROWS):
        mixed = signed.reshape(-1, BUCKETS, ROWS)[:, :, row] ^ (keys >> np.uint64(29))
        keys = (keys * np.uint64(0x9E3779B97F4A7C15) + mixed) * np.uint64(0xBF58476D1CE4E5B9)
        keys ^= keys >> np.uint64(32)
    return keys
