"""How fast texts become hashed n-grams, by script, with our tokens and the published ones.

    python bench/tokens.py

English statutes; the Chinese and Japanese of the command pages without what is ASCII in them; Thai letters by chance.
Ten alternating pairs, one thread, processor seconds; MB of UTF-8 a second at the median, and the median ratio of the
pairs with the interval that holds the true one in 98 of 100 cases (second to ninth of ten)."""

import random
import re
import sys
import time

import numpy as np
import pyarrow as pa

from real_text import documents
from tamis.selectors.texts.ngrams import Ngrams
from tamis.selectors.texts.tokens import Tokens

PAIRS, ROWS = 10, 1024


def texts() -> dict[str, list[str]]:
    docs = list(documents())
    chance = random.Random(0)
    letters, marks = [chr(code) for code in range(0x0E01, 0x0E2F)], ["\u0e31", "\u0e34", "\u0e48", "", "", "\u0e32"]
    dense = [re.sub(r"[\x00-\x7f]", "", doc["text"]) for doc in docs if doc["lang"] in ("zh", "ja")]
    thai = ["".join(chance.choice(letters) + chance.choice(marks) for _ in range(500)) for _ in range(4000)]
    return {
        "English statutes": [doc["text"] for doc in docs if doc["domain"] == "law_dc"],
        "Chinese and Japanese": dense * 30,
        "Thai letters": thai,
    }


def seconds(array: pa.Array, ngrams: Ngrams) -> float:
    began = time.process_time()
    for first in range(0, len(array), ROWS):
        ngrams.features(array.slice(first, ROWS))
    return time.process_time() - began


def main() -> None:
    print("| | MB | published, MB/s | tamis, MB/s | ratio of seconds | 98% interval |\n|---|---:|---:|---:|---:|---:|")
    for name, some in texts().items():
        array, size = pa.array(some), sum(len(text.encode()) for text in some) / 1e6
        kinds: tuple[Tokens, Tokens] = ("published", "tamis")
        settings = [Ngrams(buckets=1 << 18, distinct=True, tokens=kind) for kind in kinds]
        told = np.array([[seconds(array, one) for one in settings] for _ in range(PAIRS + 1)][1:])
        ratios = np.sort(told[:, 1] / told[:, 0])
        rates = size / np.median(told, axis=0)
        numbers = f"{size:.1f} | {rates[0]:.0f} | {rates[1]:.0f} | {np.median(ratios):.3f} | {ratios[1]:.3f} to {ratios[8]:.3f}"
        print(f"| {name} | {numbers} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
