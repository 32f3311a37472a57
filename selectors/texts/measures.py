"""What rules of text quality measure: Gopher, C4, FineWeb, and what else tells prose from what is none.

Gopher's quality and repetition measures (Rae et al. 2021, arXiv:2112.11446, table A1), C4's (Raffel et al. 2020,
arXiv:1910.10683; the authors' code, c4_utils of TensorFlow Datasets) and FineWeb's (Penedo et al. 2024,
arXiv:2406.17557; datatrove 0.10, which has forms of its own of Gopher's and C4's). C4's rules on lines would rewrite a
text: tamis rewrites none, and tells the share of lines that would be lost.

Words are parted by white space (`space`), or marks are words, too (`marks`): a run of letters and digits with the
apostrophes and hyphens inside it, a letter of a script without spaces, an address, or a run of other marks, where
datatrove uses a language's own tokenizer: counts differ by some percent. Stop words are looked for as `marks` parts
them; they are English's, or those of a language that is known (languages.py).

`measured` is compiled: about 30 MB/s a core for all. `measures` is the plain way, and its oracle."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.selectors.loops.constants import (
    ABBREVIATED,
    ALNUM,
    BREAK,
    DIGIT_BIT,
    LETTER_BIT,
    LONGEST_WORD,
    SHORT_LINE,
    SPACE,
    STOP,
)  # fmt: skip
from tamis.selectors.texts.languages import ENGLISH, Language
from tamis.selectors.texts.tokens import CODE_POINTS, letters_alone, marks_as_class, tables

WordsBy = Literal["space", "marks"]
BULLETS, BRACKETS = ("•", "-"), frozenset("()[]{}<>")
TOP_NGRAMS, REPEATED_NGRAMS = (2, 3, 4), (5, 6, 7, 8, 9, 10)  # words
NGRAM = 10  # words, and characters, whose repetition is told unless another number is asked for
FINEWEB_V1_ENDS = (".", "?", "!", '"', "'")  # when FineWeb was made; later the full stops of all scripts
POLICY = (
    "terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies",
)  # fmt: skip
CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
C4_FORMS: dict[str, tuple[tuple[str, ...] | None, int]] = {  # marks that end a line, and its fewest words
    "c4": ((".", "?", "!", '"'), 5),
    "c4_datatrove": ((".", "?", "!", '"', "'"), 3),
    "c4_fineweb": (None, 3),
}
# Unicode's Sentence_Terminal, as first and last code points
FULL_STOPS = """21 2e 3f 589 61d-61f 6d4 700-702 7f9 837 839 83d-83e 964-965 104a-104b 1362 1367-1368 166e 1735-1736
17d4-17d6 17d9-17da 1803 1809 1944-1945 1aa8-1aab 1b5a-1b5b 1b5e-1b5f 1b7d-1b7e 1c3b-1c3c 1c7e-1c7f 203c-203d 2047-2049
2e2e 2e3c 2e53-2e54 3002 a4ff a60e-a60f a6f3 a6f7 a876-a877 a8ce-a8cf a92f a9c8-a9c9 aa5d-aa5f aaf0-aaf1 abeb fe52
fe56-fe57 ff01 ff0e ff1f ff61 10a56-10a57 10f55-10f59 10f86-10f89 11047-11048 110be-110c1 11141-11143 111c5-111c6 111cd
111de-111df 11238-11239 1123b-1123c 112a9 1144b-1144c 115c2-115c3 115c9-115d7 11641-11642 1173c-1173e 11944 11946
11a42-11a43 11a9b-11a9c 11c41-11c42 11ef7-11ef8 11f43-11f44 16a6e-16a6f 16af5 16b37-16b38 16b44 16e98 1bc9f 1da88"""
LINE_BREAKS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"  # as str.splitlines has them
Measures = dict[str, float]

NAMES: dict[str, tuple[str, ...]] = {
    "gopher": (
        "words", "word_length", "letters", "stop_words", "hashes", "ellipses", "bullets", "cut_lines",
    ),
    "gopher_repetition": (
        "repeated_paragraphs", "repeated_paragraphs_characters", "repeated_lines", "repeated_lines_characters",
        *(f"top_{width}_gram" for width in TOP_NGRAMS), *(f"repeated_{width}_grams" for width in REPEATED_NGRAMS),
    ),
    "c4": ("lorem_ipsum", "curly_brackets", "sentences", "lines_lost"),
    "c4_datatrove": tuple(f"datatrove_{one}" for one in ("lorem_ipsum", "curly_brackets", "sentences", "lines_lost")),
    "c4_fineweb": tuple(f"fineweb_{one}" for one in ("lorem_ipsum", "curly_brackets", "sentences", "lines_lost")),
    "fineweb": ("lines", "line_ends", "short_lines", "line_repeats", "line_breaks"),
    "fineweb_v1": ("lines", "line_ends_v1", "short_lines", "line_repeats", "line_breaks"),
}  # fmt: skip
BESIDES = (
    "characters", "split_words", "letter_share", "digit_share", "space_share", "bracket_share", "address_share",
    "stop_word_share", "mean_line", "longest_line", "word_repetition", "character_repetition",
)  # fmt: skip
FIELDS = (  # in the order of the compiled loop
    *BESIDES[:10], *NAMES["gopher"], *NAMES["gopher_repetition"], *BESIDES[10:],
    "lines", "line_ends", "line_ends_v1", "short_lines", "line_repeats", "line_breaks",
    *chain.from_iterable(NAMES[form] for form in C4_FORMS),
)  # fmt: skip


def measured(
    texts: pa.Array,
    words: WordsBy = "space",
    languages: Sequence[Language] | None = None,
    word_ngram: int = NGRAM,
    character_ngram: int = NGRAM,
) -> dict[str, npt.NDArray[np.float64]]:
    """[texts] each of FIELDS; null is an empty text. Stop words are of the text's language, [texts],
    English unless told; where its letters stand alone marks part its words.

    Needs 30 bytes a byte of the longest text."""
    from tamis.selectors.loops.prose import measured as loop

    texts = texts.fill_null("")
    found = np.zeros((len(texts), len(FIELDS)))
    if len(texts):
        offsets = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts) + 1]
        data = np.frombuffer(texts.buffers()[2] or b"\0", np.uint8)
        known = list(dict.fromkeys(languages or [ENGLISH]))
        which = np.array([known.index(one) for one in languages or [ENGLISH] * len(texts)], np.int64)
        stops = np.stack([_slots(language) for language in known])
        marks = np.array([words == "marks" or one.letters_a_word > 0 for one in known])[which]
        loop(data, offsets, _classes(), marks, stops, which, word_ngram, character_ngram, found)
        place = FIELDS.index("stop_words")
        for row, language in enumerate(languages or ()):
            if language.letters_a_word:  # parts of a run, which no token tells
                text = texts[row].as_py()
                found[row, place] = sum(word in text for word in language.stop_words)
    return {name: found[:, place] for place, name in enumerate(FIELDS)}


@cache
def _classes() -> npt.NDArray[np.uint8]:
    """[code points] how a text is parted there, and what rules ask besides."""
    classes = tables()[0].copy()
    every = np.arange(CODE_POINTS, dtype="<u4").tobytes().decode("utf-32-le", "surrogatepass")
    spaces = np.fromiter(map(str.isspace, every), bool, CODE_POINTS)
    assert ((classes == SPACE) == spaces).all()
    for bit, asks in ((LETTER_BIT, str.isalpha), (DIGIT_BIT, str.isdecimal), (ALNUM, str.isalnum)):
        classes[np.fromiter(map(asks, every), bool, CODE_POINTS)] |= bit
    for bit, points in ((BREAK, map(ord, LINE_BREAKS)), (STOP, _full_stops())):
        classes[list(points)] |= bit
    return classes


def _full_stops() -> Iterator[int]:
    for one in FULL_STOPS.split():
        first, _, last = one.partition("-")
        yield from range(int(first, 16), int(last or first, 16) + 1)


@cache
def _slots(language: Language) -> npt.NDArray[np.uint64]:
    """[128, 2] hash and number of each stop word, an open table; in other languages than English whatever the case."""
    from tamis.selectors.loops.prose import hash_of

    slots = np.zeros((128, 2), np.uint64)
    for number, word in enumerate(sorted(language.stop_words)):
        for form in {word} if language is ENGLISH else {word, word.title(), word.upper(), word.capitalize()}:
            hashed = int(hash_of(np.array([*map(ord, form)], np.uint32)))
            place = (hashed >> 17) & 127
            while slots[place, 0]:
                place = (place + 1) & 127
            slots[place] = hashed, number
    return slots


# ---- the plain way


def measures(text: str, words: WordsBy = "space", language: Language = ENGLISH, ngram: int = NGRAM) -> Measures:
    """All of them, by name."""
    by_marks = words_of(text)
    told, parts = plain(text, by_marks, language), text.split() if words == "space" else by_marks
    told |= gopher(text, parts, stop_words(text, by_marks, language)) | gopher_repetition(text, parts)
    told |= fineweb(text, by_marks)
    for form in C4_FORMS:
        told |= dict(zip(NAMES[form], c4(text, form), strict=True))
    grams = [tuple(parts[place : place + ngram]) for place in range(len(parts) - ngram + 1)]
    often = Counter(grams)
    told["word_repetition"] = sum(often[gram] > 1 for gram in grams) / max(1, len(grams))
    letters = Counter(text[place : place + ngram] for place in range(len(text) - ngram + 1))
    largest = sorted((times for times in letters.values() if times > 1), reverse=True)[: int(len(letters) ** 0.5)]
    told["character_repetition"] = sum(largest) / max(1, len(text) - ngram + 1)
    return {name: told[name] for name in FIELDS}


def words_of(text: str) -> list[str]:
    """As `marks` has them."""
    found: list[str] = []
    for part in text.split():
        first, last = _bare(part)
        if is_address(part[first:last]):
            found += [*_word().findall(part[:first]), part[first:last], *_word().findall(part[last:])]
        else:
            found += _word().findall(part)
    return found


def _bare(part: str) -> tuple[int, int]:
    """Where it begins and ends without brackets and quotes before it, and marks of a sentence behind."""
    bare = part.lstrip("([<\"'")
    return len(part) - len(bare), len(part) - len(bare) + len(bare.rstrip(")]>\"'.,!?:;"))


def is_address(part: str) -> bool:
    """Whether it holds `://`, begins with `www.`, or names a mailbox."""
    low = part.lower()
    return "://" in part[1:] or (low.startswith("www.") and len(part) > 4) or bool(re.search(r".@[^@][^@]*\..", part))


@cache
def _word() -> re.Pattern[str]:
    alone, marks = letters_alone(), marks_as_class()
    run = rf"[^\W{alone}{marks}](?:[^\W{alone}]|[{marks}])*"
    return re.compile(rf"[{alone}][{marks}]*|{run}(?:['\u2019\-]{run})*|(?:[^\w\s]|[{marks}])+")


def plain(text: str, by_marks: list[str], language: Language) -> Measures:
    """Shares of characters and words that are of a kind, and how long lines are."""
    size, lines = max(1, len(text)), [len(line) for line in text.splitlines()]
    parts = [part[slice(*_bare(part))] for part in text.split()]
    stops = language.stop_words if language is ENGLISH else _cased(language)
    return {
        "characters": len(text),
        "split_words": len(parts),
        "letter_share": sum(map(str.isalpha, text)) / size,
        "digit_share": sum(map(str.isdecimal, text)) / size,
        "space_share": sum(map(str.isspace, text)) / size,
        "bracket_share": sum(char in BRACKETS for char in text) / size,
        "address_share": sum(len(part) for part in parts if is_address(part)) / size,
        "stop_word_share": sum(word in stops for word in by_marks) / max(1, len(by_marks)),
        "mean_line": sum(lines) / max(1, len(lines)),
        "longest_line": max(lines, default=0),
    }


def _cased(language: Language) -> set[str]:
    return {form for word in language.stop_words for form in (word, word.title(), word.upper(), word.capitalize())}


def gopher(text: str, words: list[str], stop_words: int) -> Measures:
    """Counts of words and stop words, characters a word, shares of lines and words, marks a word."""
    spoken = [len(word) for word in words if any(map(str.isalnum, word))]
    lines, count = text.splitlines(), max(1, len(words))
    return {
        "words": len(spoken),
        "word_length": sum(spoken) / max(1, len(spoken)),
        "letters": sum(any(map(str.isalpha, word)) for word in words) / count,
        "stop_words": stop_words,
        "hashes": text.count("#") / count,
        "ellipses": (text.count("...") + text.count("…")) / count,
        "bullets": sum(one.lstrip().startswith(BULLETS) for one in lines) / max(1, len(lines)),
        "cut_lines": sum(one.rstrip().endswith(("...", "…")) for one in lines) / max(1, len(lines)),
    }


def stop_words(text: str, by_marks: list[str], language: Language) -> int:
    """How many of the language's there are; as they stand in English, as published, and whatever the case in others."""
    if language.letters_a_word:
        return sum(word in text for word in language.stop_words)
    known = {*by_marks}
    if language is ENGLISH:
        return len(language.stop_words & known)
    return sum(
        not known.isdisjoint((word, word.title(), word.upper(), word.capitalize())) for word in language.stop_words
    )


def gopher_repetition(text: str, words: list[str]) -> Measures:
    """Shares of repeated paragraphs and lines, and shares of characters in what is repeated."""
    size = max(1, len(text))
    told: Measures = {}
    for what, parts in (("paragraphs", re.split(r"\n{2,}", text.strip())), ("lines", re.split(r"\n+", text))):
        repeats = _repeats(parts)
        told[f"repeated_{what}"] = len(repeats) / len(parts)
        told[f"repeated_{what}_characters"] = sum(map(len, repeats)) / size
    told |= {f"top_{width}_gram": _top(words, width) / size for width in TOP_NGRAMS}
    return told | {f"repeated_{width}_grams": _repeated(words, width) / size for width in REPEATED_NGRAMS}


def _repeats(parts: Sequence[str]) -> list[str]:
    """Second and later occurrences."""
    seen: set[str] = set()
    return [part for part in parts if part in seen or seen.add(part)]  # type: ignore[func-returns-value]


def _grams(words: list[str], width: int) -> list[str]:
    return [" ".join(words[place : place + width]) for place in range(len(words) - width + 1)]


def _top(words: list[str], width: int) -> int:
    """Characters that the most frequent n-gram makes up, spaces between its words, too."""
    often = Counter(_grams(words, width)).most_common(1)
    return len(often[0][0]) * often[0][1] if often else 0


def _repeated(words: list[str], width: int) -> int:
    """Characters of n-grams that stood before, from the left, the next beginning where the last ended."""
    grams, seen, found, place = _grams(words, width), set[str](), 0, 0
    while place < len(grams):
        if grams[place] in seen:
            found += len(grams[place]) - (width - 1)
            place += width
        else:
            seen.add(grams[place])
            place += 1
    return found


def c4(text: str, form: str = "c4") -> tuple[int, int, int, float]:
    """Lines with lorem ipsum and lines with a curly bracket, of those that are left there; sentences of the lines that
    stay; the share of lines that would be cut."""
    ends, fewest = C4_FORMS[form]
    lorem, curly, sentences, kept = 0, 0, 0, 0
    lines = text.splitlines()
    for whole in lines:
        line = CITATION.sub("", whole.strip())  # what stood before a citation may be a space, and ends no line
        words = (line if form == "c4" else whole).split()
        if len(words) < fewest or any(len(word) > LONGEST_WORD for word in whole.split()):
            continue
        if ends is not None and (not line.endswith(ends) or line.endswith("...")):
            continue
        low = line.lower()
        lorem += "lorem ipsum" in low
        if "javascript" in low:
            continue
        curly += "{" in line
        if not any(phrase in low for phrase in POLICY):
            sentences += sentences_of(line)
            kept += 1
    return lorem, curly, sentences, (len(lines) - kept) / max(1, len(lines))


SENTENCE_END = re.compile(r"(?<![.?!])([.?!]+)[\"')\]]*\s+(?=\S)")
LAST_WORD = re.compile(r"[^\x00-@\[-`{-\x7f]+$")


def sentences_of(line: str) -> int:
    """One, and one more for each end inside it. A point ends none behind a letter or an abbreviation, or before a
    small letter; the codes use learned models for that, which know more abbreviations."""
    found = 1
    for end in SENTENCE_END.finditer(line):
        before = LAST_WORD.search(line, 0, end.start())
        word = before[0].lower() if before else ""
        short = end[0][1].isspace() and (word in ABBREVIATED or (len(word) == 1 and word.isascii()))
        no_end = short or "a" <= line[end.end()] <= "z"
        found += not (end[1] == "." and no_end)
    return found


def fineweb(text: str, by_marks: list[str]) -> Measures:
    """Lines that are not blank, shares of them, and line breaks a word."""
    lines = [line for line in text.split("\n") if line.strip()]
    count, stops = max(1, len(lines)), tuple(map(chr, _full_stops()))
    return {
        "lines": len(lines),
        "line_ends": sum(line.endswith(stops) for line in lines) / count,
        "line_ends_v1": sum(line.endswith(FINEWEB_V1_ENDS) for line in lines) / count,
        "short_lines": sum(len(line) <= SHORT_LINE for line in lines) / count,
        "line_repeats": sum(map(len, _repeats(lines))) / max(1, len(text.replace("\n", ""))),
        "line_breaks": text.count("\n") / max(1, len(by_marks)),
    }
