"""Published rules of what looks like prose, each a drop with the rule's name as reason: Gopher, C4, FineWeb.

Gopher's quality and repetition rules (Rae et al. 2021, arXiv:2112.11446, table A1), FineWeb's (Penedo et al. 2024,
arXiv:2406.17557) and the rules of C4 that drop a document (Raffel et al. 2020); the first that fails is the reason.
tamis rewrites no text: lines that C4 would cut are counted (`detail`), and a document is dropped when fewer than
five sentences would be left. A word is a run of letters and digits with the apostrophes and hyphens inside it, or a
run of other marks, where the authors' code uses a language's own tokenizer: counts differ by some percent. Plain
Python. Not for languages without spaces, for code, for texts full of numbers and marks (gopher_letters drops nine of
ten statutes), or for short texts such as captions."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from tamis.selectors.contract import Batches, Floats, Inputs

WORD = re.compile(r"\w+(?:['\u2019\-]\w+)*|[^\w\s]+")
STOP_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))
BULLETS = ("•", "-")
ENDS = (".", "?", "!", '"', "'")
FINEWEB_ENDS = (".", "?", "!", '"', "'", "\u201d", "\u2026", "\u3002", "\uff1f", "\uff01")
TOP_NGRAMS = (
    (2, 0.20),
    (3, 0.18),
    (4, 0.16),
)  # (words, share of characters of the most frequent)
REPEATED_NGRAMS = ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10))
POLICY = (
    "terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies",
)  # fmt: skip
CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
SENTENCE_END = re.compile(r"[.?!]+(?=\s|$)")
Family = Literal["gopher", "gopher_repetition", "c4", "fineweb"]
FAMILIES: tuple[Family, ...] = ("gopher_repetition", "gopher", "fineweb")  # asked for where none is named
Rule = tuple[str, Callable[[], bool]]  # name, and whether the text breaks it


@dataclass(frozen=True, kw_only=True)
class TextQuality:
    """rules   which: gopher, gopher_repetition, c4, fineweb; in this order"""

    rules: ClassVar[bool] = True
    budgeted: ClassVar[bool] = False

    apply: list[Family] = field(default_factory=lambda: list(FAMILIES))

    def inputs(self) -> Inputs:
        return Inputs(fields=("text",))

    def fit(self, pool: Batches, targets: Sequence[Batches]) -> "TextQuality":
        return self

    def score(self, batch: pa.RecordBatch) -> Floats:
        return np.zeros(batch.num_rows)

    def barred(self, batch: pa.RecordBatch) -> list[str | None]:
        return [broken(text or "", self.apply) for text in batch["text"].to_pylist()]

    def details(self, batch: pa.RecordBatch) -> list[str | None]:
        """How many lines C4 would cut, where its rules are asked for."""
        if "c4" not in self.apply:
            return [None] * batch.num_rows
        return [_cut_lines(text or "") for text in batch["text"].to_pylist()]


def broken(text: str, apply: Sequence[str]) -> str | None:
    """Name of the first rule that the text breaks."""
    told = {"gopher": gopher, "gopher_repetition": gopher_repetition, "c4": c4, "fineweb": fineweb}
    for family in apply:
        for name, breaks in told[family](text):
            if breaks():
                return name
    return None


def words_of(text: str) -> list[str]:
    return WORD.findall(text)


def gopher(text: str) -> Iterator[Rule]:
    words = words_of(text)
    spoken = [word for word in words if any(char.isalnum() for char in word)]
    lines = text.splitlines() or [""]
    length = sum(map(len, spoken)) / len(spoken) if spoken else 0.0
    yield "gopher_word_count", lambda: not 50 <= len(spoken) <= 100_000
    yield "gopher_word_length", lambda: not 3 <= length <= 10
    yield "gopher_hashes", lambda: text.count("#") > 0.1 * len(words)
    yield "gopher_ellipses", lambda: text.count("...") + text.count("…") > 0.1 * len(words)
    yield "gopher_bullets", lambda: sum(one.lstrip().startswith(BULLETS) for one in lines) > 0.9 * len(lines)
    yield "gopher_cut_lines", lambda: sum(one.rstrip().endswith(("...", "…")) for one in lines) > 0.3 * len(lines)
    yield "gopher_letters", lambda: sum(any(c.isalpha() for c in word) for word in words) < 0.8 * len(words)
    yield "gopher_stop_words", lambda: len(STOP_WORDS.intersection(words)) < 2


def gopher_repetition(text: str) -> Iterator[Rule]:
    stripped = text.strip()
    size = max(1, len(text))
    for what, parts in (("paragraphs", re.split(r"\n{2,}", stripped)), ("lines", re.split(r"\n+", stripped))):
        repeats = _repeats(parts)
        yield f"gopher_repeated_{what}", lambda r=repeats, p=parts: len(r) > 0.3 * len(p)  # type: ignore[misc]
        yield f"gopher_repeated_{what}_characters", lambda r=repeats: sum(map(len, r)) > 0.2 * size  # type: ignore[misc]
    words = words_of(text)
    for width, most in TOP_NGRAMS:
        yield f"gopher_top_{width}_gram", lambda w=width, m=most: _top(words, w) > m * size  # type: ignore[misc]
    for width, most in REPEATED_NGRAMS:
        yield f"gopher_repeated_{width}_grams", lambda w=width, m=most: _repeated(words, w) > m * size  # type: ignore[misc]


def _repeats(parts: list[str]) -> list[str]:
    """Second and later occurrences."""
    seen: set[str] = set()
    return [part for part in parts if part in seen or seen.add(part)]  # type: ignore[func-returns-value]


def _top(words: list[str], width: int) -> int:
    """Characters that the most frequent n-gram makes up; of equally frequent ones the first."""
    grams = Counter(" ".join(words[first : first + width]) for first in range(len(words) - width + 1))
    if not grams:
        return 0
    gram, count = grams.most_common(1)[0]
    return len(gram) * count


def _repeated(words: list[str], width: int) -> int:
    """Characters of n-grams that occurred before, without overlap."""
    seen: set[tuple[str, ...]] = set()
    repeated, first = 0, 0
    while first + width <= len(words):
        gram = tuple(words[first : first + width])
        if gram in seen:
            repeated += sum(map(len, gram))
            first += width
        else:
            seen.add(gram)
            first += 1
    return repeated


def c4(text: str) -> Iterator[Rule]:
    low = text.lower()
    yield "c4_lorem_ipsum", lambda: "lorem ipsum" in low
    yield "c4_curly_bracket", lambda: "{" in text
    yield "c4_sentences", lambda: sum(len(SENTENCE_END.findall(line)) or 1 for line in c4_lines(text)) < 5


def c4_lines(text: str) -> list[str]:
    """The lines that C4 would leave."""
    left = []
    for whole in text.splitlines():
        words = whole.split()
        line = CITATION.sub("", whole).strip()
        low = line.lower()
        cut = (
            any(len(word) > 1000 for word in words) or not line.endswith(ENDS) or line.endswith("...") or len(words) < 3
        )
        if not cut and "javascript" not in low and not any(phrase in low for phrase in POLICY):
            left.append(line)
    return left


def _cut_lines(text: str) -> str | None:
    lines = len(text.splitlines())
    cut = lines - len(c4_lines(text))
    return f"C4 would cut {cut} of {lines} lines" if cut else None


def fineweb(text: str) -> Iterator[Rule]:
    lines = [line for line in text.splitlines() if line.strip()]
    count = len(lines)
    yield "fineweb_no_lines", lambda: count == 0
    yield "fineweb_line_ends", lambda: sum(line.rstrip().endswith(FINEWEB_ENDS) for line in lines) < 0.12 * count
    yield "fineweb_short_lines", lambda: sum(len(line) <= 30 for line in lines) > 0.67 * count
    characters = max(1, len(text.replace("\n", "")))
    yield "fineweb_repeated_lines", lambda: sum(map(len, _repeats(lines))) > 0.01 * characters
    yield "fineweb_line_breaks", lambda: text.count("\n") > 0.3 * max(1, len(words_of(text)))


def rule_names() -> list[str]:
    """All reasons that these rules give."""
    families = (gopher, gopher_repetition, c4, fineweb)
    return [name for family in families for name, _ in family("")]


assert all(a != b for a, b in pairwise(sorted(rule_names()))), "two rules of one name"
