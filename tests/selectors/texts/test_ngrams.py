"""The compiled loops against the plain way, on real and on hostile text."""

import hashlib
import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.selectors.texts.ngrams import Ngrams
from tamis.selectors.texts.scripts import IDEOGRAPHS, KANA_MARKS, SOUNDS, stands_alone
from tamis.selectors.texts.tokens import CODE_POINTS, Tokens, tables, tokens

PUBLISHED = Ngrams(order=2, buckets=10_000, hash="sha256", tokens="published")
letters = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
odd = st.text(st.sampled_from("aAzZ_09 .,'\n\t\u00a0\u2028İIıΣσςßéÉ\u0307語²½٣Ⅷ🙂𐐀\x00\x1c"), max_size=60)


spaceless = st.text(st.sampled_from("中文日本ひらカー。，ทีั่่ก๒นي\u0301a Zé9คྀབོ་ကို\u3099ﾞｶ한"), max_size=40)


def plain_buckets(text: str, order: int, buckets: int, kind: Tokens = "published") -> list[int]:
    words = re.findall(r"\w+|[^\w\s]+", text.lower()) if kind == "published" else tokens(text)
    return [
        int(hashlib.sha256(" ".join(words[i : i + k]).encode()).hexdigest(), 16) % buckets
        for i in range(len(words))
        for k in range(1, min(order, len(words) - i) + 1)
    ]


def test_published_buckets_are_the_specifications_golden_ones() -> None:
    flat, places, counts = PUBLISHED.features(pa.array(["alice", "alice went", "Alice went to the store"]))
    assert flat[0] == 6720
    assert list(flat[1:4]) == [6720, 114, flat[3]]
    assert (np.diff(places).tolist(), counts.tolist()) == ([1, 3, 9], [1, 2, 5])


@settings(max_examples=300, deadline=None)
@given(st.lists(letters | odd | spaceless, max_size=6), st.integers(1, 4), st.sampled_from(["tamis", "published"]))
def test_compiled_features_equal_the_plain_ones(texts: list[str], order: int, kind: Tokens) -> None:
    made = Ngrams(order=order, buckets=10_000, hash="sha256", tokens=kind)
    flat, places, counts = made.features(pa.array(texts, pa.string()))
    for row, text in enumerate(texts):
        assert flat[places[row] : places[row + 1]].tolist() == plain_buckets(text, order, 10_000, kind)
        assert counts[row] == len(tokens(text, kind))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Hello 中文，abc日本語カー!", ["hello", "中", "文", "，", "abc", "日", "本", "語", "カー", "!"]),
        ("ที่นี่ 24 ๒๕๖๗ปี", ["ที่", "นี่", "24", "๒๕๖๗", "ปี"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("한국어 텍스트", ["한국어", "텍스트"]),
        ("cafe\u0301 ガ\u0301 \u0301x", ["cafe\u0301", "ガ\u0301", "\u0301", "x"]),
        ("བོད་ཡིག", ["བོད", "་", "ཡིག"]),
        ("it's re-read", ["it", "'", "s", "re", "-", "read"]),
    ],
)
def test_letters_of_scripts_without_spaces_are_tokens_and_marks_stay_with_their_letter(
    text: str, wanted: list[str]
) -> None:
    assert tokens(text) == wanted


def test_the_scripts_are_unicodes() -> None:
    """Against the tables of the package `regex`, letter by letter of those that this Python knows."""
    regex = pytest.importorskip("regex")
    names = (
        "Han", "Bopomofo", "Yi", "Tangut", "Nushu", "KhitanSmallScript", "Thai", "Lao", "Myanmar", "Khmer", "TaiLe",
        "NewTaiLue", "TaiTham", "TaiViet", "Ahom", "Balinese", "Javanese", "Hiragana", "Katakana",
    )  # fmt: skip
    theirs = regex.compile("[" + "".join(rf"\p{{Script={name}}}" for name in names) + "]")
    for first, last in (*IDEOGRAPHS, *SOUNDS):
        for char in map(chr, [*range(max(0, first - 40), first + 400), *range(last - 400, last + 40)]):
            if char.isalnum() and not char.isdecimal() and char not in KANA_MARKS:
                assert stands_alone(char) == bool(theirs.match(char)), hex(ord(char))
                assert (tables()[0][ord(char)] == 3) == stands_alone(char), hex(ord(char))


@settings(max_examples=200, deadline=None)
@given(st.lists(letters | odd, max_size=6), st.sampled_from([97, 65_536, 1 << 20]))
def test_distinct_features_are_the_first_of_equals(texts: list[str], buckets: int) -> None:
    every, places, _ = Ngrams(buckets=buckets).features(pa.array(texts, pa.string()))
    once, starts, _ = Ngrams(buckets=buckets, distinct=True).features(pa.array(texts, pa.string()))
    for row in range(len(texts)):
        wanted = list(dict.fromkeys(every[places[row] : places[row + 1]].tolist()))
        assert once[starts[row] : starts[row + 1]].tolist() == wanted


def test_fast_hash_is_fnv1a_of_tokens_folded_and_mixed() -> None:
    """The definition in plain Python: stored columns depend on it, so it must never drift."""
    mask = (1 << 64) - 1

    def fnv(word: str) -> int:
        h = 0xCBF29CE484222325
        for byte in word.encode():
            h = (h ^ byte) * 0x100000001B3 & mask
        return h

    def mixed(h: int) -> int:
        h = (h ^ h >> 33) * 0xFF51AFD7ED558CCD & mask
        h = (h ^ h >> 33) * 0xC4CEB9FE1A85EC53 & mask
        return h ^ h >> 33

    one = fnv("naïve") * 0x9E3779B97F4A7C15 & mask
    two = (one + fnv("bayes")) * 0x9E3779B97F4A7C15 & mask
    flat, _, _ = Ngrams(buckets=1 << 20).features(pa.array(["Naïve BAYES"]))
    assert flat[0] == (mixed(one) >> 32) * (1 << 20) >> 32
    assert flat[1] == (mixed(two) >> 32) * (1 << 20) >> 32


def test_slices_and_nothing_give_what_their_texts_give() -> None:
    texts = pa.array(["skip me", "", "one two", "three"])
    flat, places, counts = PUBLISHED.features(texts.slice(1, 2))
    alone, _, _ = PUBLISHED.features(pa.array(["one two"]))
    assert flat.tolist() == alone.tolist()
    assert (places.tolist(), counts.tolist()) == ([0, 0, 3], [0, 2])
    assert len(PUBLISHED.features(pa.array([], pa.string()))[0]) == 0


def test_one_very_long_token_is_hashed_in_many_blocks() -> None:
    text = "x" * 5000 + " y"
    assert PUBLISHED.features(pa.array([text]))[0].tolist() == plain_buckets(text, 2, 10_000)


def test_tables_agree_with_python_on_every_code_point() -> None:
    kind, lower = tables("published")
    for point in [*range(0x3000), *range(0xFB00, 0xFE00), *range(0x10400, 0x10500), *range(0x1E900, 0x1E950)]:
        char = chr(point)
        assert (kind[point] == 1) == bool(re.match(r"\w", char))
        assert (kind[point] == 0) == bool(re.match(r"\s", char))
        if len(char.lower()) == 1 and char != "Σ":
            assert chr(lower[point]) == char.lower()
    assert len(kind) == CODE_POINTS


@pytest.mark.parametrize("settings_", [{"order": 0}, {"order": 9}, {"buckets": 1}, {"buckets": 1 << 30}])
def test_impossible_settings_are_refused(settings_: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Ngrams(**settings_)
