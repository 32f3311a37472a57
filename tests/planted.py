"""Texts of kinds that differ by their words, for tests of what finds one among the others."""

import numpy as np

WORDS = {
    "sea": "wave salt boat harbour tide sail",
    "law": "court judge appeal statute clause party",
    "kitchen": "oven flour butter simmer onion pan",
}


def planted(draw: np.random.Generator, kind: str, words: int) -> str:
    """So many words, two in three of them the kind's own."""
    return " ".join(draw.choice([*WORDS[kind].split(), "the", "of", "and"], words))
