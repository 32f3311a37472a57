"""Scripts whose words no space parts, as ranges of code points, and the marks that belong to the letter before them.

From Unicode's Scripts.txt (17.0): of each script all from its first character on, gaps closed where they hold no letter
of another. What in these ranges is a letter is decided by Python's own tables, so marks and full stops need no ranges
here. Tibetan parts its syllables by a point, Hangul its words by spaces: they are as other scripts."""

import unicodedata
from bisect import bisect_right

# Han, Bopomofo, Yi, Tangut, Nushu, Khitan small script: a sign stands for a word or a syllable with a meaning
IDEOGRAPHS = (
    (0x2EA, 0x2EB), (0x2E80, 0x3005), (0x3007, 0x3029), (0x3038, 0x303B), (0x3105, 0x312F), (0x31A0, 0x31BF),
    (0x3400, 0xA4C6), (0xF900, 0xFAD9), (0x16FE0, 0x18DF2), (0x1B170, 0x1B2FB), (0x20000, 0x33479),
)  # fmt: skip
# Thai, Lao, Myanmar, Khmer, Tai Le, New Tai Lue, Tai Tham, Tai Viet, Ahom, Balinese, Javanese, Hiragana, Katakana
SOUNDS = (
    (0xE01, 0xEDF), (0x1000, 0x109F), (0x1780, 0x17F9), (0x1950, 0x19FF), (0x1A20, 0x1AAD), (0x1B00, 0x1B7F),
    (0x3041, 0x3096), (0x309D, 0x30FA), (0x30FD, 0x30FF), (0x31F0, 0x31FF), (0xA980, 0xA9CD), (0xA9D0, 0xA9FE),
    (0xAA60, 0xAADF), (0xFF66, 0xFF6F), (0xFF71, 0xFF9D), (0x116D0, 0x11746), (0x1AFF0, 0x1B168), (0x1F200, 0x1F200),
)  # fmt: skip
KANA_MARKS = "\u3099\u309a\u30fc\uff70\uff9e\uff9f"  # voiced, half voiced, and prolonged: another sound, not an accent
SOUNDS_A_WORD = 3  # letters with their marks; a word of running Thai or Japanese kana has about so many


def is_mark(char: str) -> bool:
    """Whether it belongs to the letter before it."""
    return char in KANA_MARKS or unicodedata.category(char) in ("Mn", "Mc", "Me")


def is_accent(char: str) -> bool:
    """Whether a word without it is still the same word: marks of any script, vowel points that writers leave out, and
    selectors of a glyph.

    In scripts of India and South-East Asia marks are vowels, and stay."""
    if unicodedata.category(char) not in ("Mn", "Me") or char in KANA_MARKS:
        return False
    return unicodedata.name(char, "").startswith(("COMBINING ", "HEBREW ", "ARABIC ", "SYRIAC ", "VARIATION SELECTOR"))


def stands_alone(char: str) -> bool:
    """Whether it is a letter of a script without spaces."""
    return char.isalnum() and not char.isdecimal() and char not in KANA_MARKS and _within(char, _ALL)


def is_sound(char: str) -> bool:
    """Whether it is such a letter, and stands for a sound."""
    return stands_alone(char) and _within(char, _SOUNDS)


def _bounds(ranges: tuple[tuple[int, int], ...]) -> list[int]:
    return [bound for first, last in sorted(ranges) for bound in (first, last + 1)]


def _within(char: str, bounds: list[int]) -> bool:
    return bisect_right(bounds, ord(char)) % 2 == 1


_ALL, _SOUNDS = _bounds(IDEOGRAPHS + SOUNDS), _bounds(SOUNDS)
