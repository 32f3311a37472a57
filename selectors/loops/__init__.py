"""Compiled loops, nothing else; imported where used, since numba takes a second.

In and out: arrays. Called by vectors, texts and the steps.

    buckets.py       the compiled loops
    constants.py     numbers that loops and callers agree on
    evaluation.py    compiled loops that look for an evaluation's n-grams
    lines.py         compiled loops over a text's lines
    near.py          compiled loops that keep one of several
    pairs.py         compiled loops over pairs
    products.py      compiled loops over products of vectors
    prose.py         compiled loops that measure prose
    repeats.py       compiled loops that find what repeats in a text
    sets.py          compiled loops that choose a set of texts
    sha256.py        SHA-256 of short messages, compiled
    shingles.py      compiled loops over texts
    similarities.py  its compiled loops, over similarities of 8 bits
"""
