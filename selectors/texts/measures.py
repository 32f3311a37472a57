"""What published rules of text quality measure: Gopher, C4, FineWeb, each family a function from text to numbers.

Gopher's quality and repetition measures (Rae et al. 2021, arXiv:2112.11446, table A1), FineWeb's (Penedo et al. 2024,
arXiv:2406.17557), and C4's (Raffel et al. 2020), whose rules on lines would rewrite a text: tamis rewrites none, and
tells the share of lines that would be lost. A word is a run of letters and digits with the apostrophes and hyphens
inside it, a letter of a script without spaces, or a run of other marks, where the authors' code uses a language's own
tokenizer: counts differ by some percent. Stop words are English's, or those of a language that is known
(languages.py). About 2.4 MB/s for all: best as a column (`measure: text`), made once."""

import re
from collections import Counter
from collections.abc import Callable
from functools import cache

import numpy as np

from tamis.selectors.texts.languages import ENGLISH, Language
from tamis.selectors.texts.tokens import letters_alone, marks_as_class

WORD = re.compile(r"\w+(?:['\u2019\-]\w+)*|[^\w\s]+")
BULLETS = ("•", "-")
ENDS = (".", "?", "!", '"', "'")
FINEWEB_ENDS = (".", "?", "!", '"', "'", "\u201d", "\u2026", "\u3002", "\uff1f", "\uff01")
TOP_NGRAMS, REPEATED_NGRAMS = (2, 3, 4), (5, 6, 7, 8, 9, 10)  # words
SHORT_LINE = 30  # characters
LONGEST_WORD = 1000  # characters
POLICY = (
    "terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies",
)  # fmt: skip
CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
SENTENCE_END = re.compile(r"(?<![.?!])[.?!]+(?=\s|$)")  # begins at a run alone, so that long runs cost no square
Measures = dict[str, float]


def words_of(text: str) -> list[str]:
    return (WORD if text.isascii() or not _unparted().search(text) else _word()).findall(text)


@cache
def _unparted() -> re.Pattern[str]:
    return re.compile(f"[{letters_alone()}{marks_as_class()}]")


@cache
def _word() -> re.Pattern[str]:
    alone, marks = letters_alone(), marks_as_class()
    run = rf"[^\W{alone}{marks}](?:[^\W{alone}]|[{marks}])*"
    return re.compile(rf"[{alone}][{marks}]*|{run}(?:['\u2019\-]{run})*|(?:[^\w\s]|[{marks}])+")


def gopher(text: str, words: list[str], language: Language = ENGLISH) -> Measures:
    """Counts of words and stop words, characters a word, shares of lines and words, marks a word."""
    known = Counter(words)
    spoken = {word: times for word, times in known.items() if any(char.isalnum() for char in word)}
    said = sum(spoken.values())
    lines = text.splitlines() or [""]
    count = max(1, len(words))
    return {
        "words": said,
        "word_length": sum(len(word) * times for word, times in spoken.items()) / said if said else 0.0,
        "hashes": text.count("#") / count,
        "ellipses": (text.count("...") + text.count("…")) / count,
        "bullets": sum(one.lstrip().startswith(BULLETS) for one in lines) / len(lines),
        "cut_lines": sum(one.rstrip().endswith(("...", "…")) for one in lines) / len(lines),
        "letters": sum(times for word, times in spoken.items() if any(char.isalpha() for char in word)) / count,
        "stop_words": stop_words(text, known, language),
    }


def stop_words(text: str, known: Counter[str], language: Language) -> int:
    """How many of the language's there are; as they stand in English, as published, and whatever the case in others."""
    if language.letters_a_word:
        return sum(word in text for word in language.stop_words)
    if language is ENGLISH:
        return len(language.stop_words & known.keys())
    return len(language.stop_words & {word.lower() for word in known})


def gopher_repetition(text: str, words: list[str], _language: Language = ENGLISH) -> Measures:
    """Shares of repeated paragraphs and lines, and shares of characters in what is repeated."""
    from tamis.selectors.loops.grams import repeated, top

    stripped = text.strip()
    size = max(1, len(text))
    told: Measures = {}
    for what, parts in (("paragraphs", re.split(r"\n{2,}", stripped)), ("lines", re.split(r"\n+", stripped))):
        repeats = _repeats(parts)
        told[f"repeated_{what}"] = len(repeats) / len(parts)
        told[f"repeated_{what}_characters"] = sum(map(len, repeats)) / size
    known: dict[str, int] = {}
    numbers = np.array([known.setdefault(word, len(known)) for word in words], np.int32)
    sizes = np.array([*map(len, words)], np.int32)
    told |= {f"top_{width}_gram": top(numbers, sizes, width) / size for width in TOP_NGRAMS}
    return told | {f"repeated_{width}_grams": repeated(numbers, sizes, width) / size for width in REPEATED_NGRAMS}


def _repeats(parts: list[str]) -> list[str]:
    """Second and later occurrences."""
    seen: set[str] = set()
    return [part for part in parts if part in seen or seen.add(part)]  # type: ignore[func-returns-value]


def c4(text: str, _words: list[str], _language: Language = ENGLISH) -> Measures:
    """How often what drops a document occurs, the share of lines that would be cut, and the sentences of the rest."""
    low = text.lower()
    left = c4_lines(text)
    lines = len(text.splitlines())
    return {
        "lorem_ipsum": low.count("lorem ipsum"),
        "curly_brackets": text.count("{"),
        "sentences": sum(len(SENTENCE_END.findall(line)) or 1 for line in left),
        "lines_lost": (lines - len(left)) / lines if lines else 0.0,
    }


def c4_lines(text: str) -> list[str]:
    """The lines that C4 would leave."""
    left = []
    for whole in text.splitlines():
        words = whole.split()
        line = CITATION.sub("", whole).strip()
        low = line.lower()
        cut = any(len(word) > LONGEST_WORD for word in words) or len(words) < 3
        cut = cut or not line.endswith(ENDS) or line.endswith("...")
        if not cut and "javascript" not in low and not any(phrase in low for phrase in POLICY):
            left.append(line)
    return left


def fineweb(text: str, words: list[str], _language: Language = ENGLISH) -> Measures:
    """Lines that are not blank, shares of them, and line breaks a word."""
    lines = [line for line in text.splitlines() if line.strip()]
    count = max(1, len(lines))
    return {
        "lines": len(lines),
        "line_ends": sum(line.rstrip().endswith(FINEWEB_ENDS) for line in lines) / count,
        "short_lines": sum(len(line) <= SHORT_LINE for line in lines) / count,
        "line_repeats": sum(map(len, _repeats(lines))) / max(1, len(text.replace("\n", ""))),
        "line_breaks": text.count("\n") / max(1, len(words)),
    }


def plain(text: str) -> Measures:
    """What captions are judged by: characters, and words as white space parts them."""
    return {"characters": len(text), "split_words": len(text.split())}


MEASURED: dict[
    str, Callable[[str, list[str], Language], Measures]
] = {  # each is given the text, its words, its language
    "gopher": gopher,
    "gopher_repetition": gopher_repetition,
    "c4": c4,
    "fineweb": fineweb,
}
NAMES: dict[str, tuple[str, ...]] = {
    "gopher": (
        "words", "word_length", "hashes", "ellipses", "bullets", "cut_lines", "letters", "stop_words",
    ),
    "gopher_repetition": (
        "repeated_paragraphs", "repeated_paragraphs_characters", "repeated_lines", "repeated_lines_characters",
        *(f"top_{width}_gram" for width in TOP_NGRAMS), *(f"repeated_{width}_grams" for width in REPEATED_NGRAMS),
    ),
    "c4": ("lorem_ipsum", "curly_brackets", "sentences", "lines_lost"),
    "fineweb": ("lines", "line_ends", "short_lines", "line_repeats", "line_breaks"),
}  # fmt: skip
PLAIN = ("characters", "split_words")
ALL_NAMES = tuple(name for names in (*NAMES.values(), PLAIN) for name in names)  # `words` first


def measures(text: str) -> Measures:
    """All of them, by name."""
    told, words = plain(text), words_of(text)
    for of in MEASURED.values():
        told |= of(text, words, ENGLISH)
    return told
