"""Each published rule is broken by a text made for it, and by no ordinary prose."""

import pyarrow as pa
import pytest

from tamis.selectors.quality import text_rules
from tamis.selectors.quality.text_rules import RULE_NAMES, TextQuality
from tamis.selectors.texts.measures import c4_lines, measures, words_of

SENTENCES = [
    "The committee met in the old library to talk about the budget of the coming year.",
    "Several members had prepared long notes, and most of them wanted to speak before lunch.",
    "After an hour of debate they agreed that the roof should be mended with the money that was left.",
    "Nobody mentioned the garden, although it had been promised to the children in spring.",
    "In the evening a short report was sent to all who could not be there.",
    "It closed with thanks to those who have given their time to the village.",
]
PROSE = "\n\n".join(" ".join(SENTENCES[n : n + 2]) for n in (0, 2, 4))
ALL = ("gopher_repetition", "gopher", "c4", "fineweb")


def broken(text: str, apply: tuple[str, ...]) -> str | None:
    found = text_rules.broken(text, apply)
    return None if found is None else found[0].name


def test_prose_breaks_no_rule() -> None:
    assert broken(PROSE, ALL) is None


BROKEN = {
    "gopher_word_count": ("gopher", "The only sentence that is here to stay with us."),
    "gopher_word_length": ("gopher", "of a to be it " * 30),
    "gopher_hashes": ("gopher", PROSE + " # # # # # # # # # # # # # # # #"),
    "gopher_ellipses": ("gopher", PROSE.replace(" ", "... ")),
    "gopher_bullets": ("gopher", "\n".join(f"- {one}" for one in SENTENCES)),
    "gopher_cut_lines": ("gopher", "\n".join(f"{one}…" if n % 2 else one for n, one in enumerate(SENTENCES))),
    "gopher_letters": ("gopher", PROSE + " 123 456 789" * 12),
    "gopher_stop_words": ("gopher", "Purple engines rarely whistle under frozen bridges. " * 12),
    "gopher_repeated_paragraphs": ("gopher_repetition", "\n\n".join([*SENTENCES[:2], *SENTENCES[:1] * 2])),
    "gopher_repeated_lines": ("gopher_repetition", "\n".join([*SENTENCES[:3], *SENTENCES[:2]])),
    "gopher_repeated_paragraphs_characters": ("gopher_repetition", "\n\n".join([*[f"Nr {n}." for n in range(8)], SENTENCES[2], SENTENCES[2]])),
    "gopher_repeated_lines_characters": ("gopher_repetition", "\n".join([*[f"Nr {n}." for n in range(8)], SENTENCES[2], SENTENCES[2]])),
    "gopher_top_2_gram": ("gopher_repetition", "garden roof " * 6 + "and the village of stones by the quiet river"),
    "c4_lorem_ipsum": ("c4", PROSE + "\nLorem ipsum dolor sit amet."),
    "c4_curly_bracket": ("c4", PROSE + "\nif (x) { return; }"),
    "c4_sentences": ("c4", "\n".join(SENTENCES[:3])),
    "fineweb_no_lines": ("fineweb", " \n "),
    "fineweb_line_ends": ("fineweb", "\n".join(one.rstrip(".") for one in SENTENCES)),
    "fineweb_short_lines": ("fineweb", "\n".join([*[f"Line {n}." for n in "abcdefgh"], SENTENCES[0]])),
    "fineweb_repeated_lines": ("fineweb", "\n".join([*SENTENCES, SENTENCES[0]])),
    "fineweb_line_breaks": ("fineweb", PROSE + "\n" * 60),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_each_rule_names_itself(name: str) -> None:
    family, text = BROKEN[name]
    assert broken(text, (family,)) == name


def test_repeated_ngrams_are_counted_without_overlap() -> None:
    phrase = "one two three four five six seven eight nine ten eleven twelve "
    rest = " ".join(f"{a}{b}" for a in "abcdefghijklmnopqrst" for b in "uvw")
    assert broken(phrase * 3 + rest, ("gopher_repetition",)) == "gopher_repeated_5_grams"


def test_all_reasons_have_a_text_or_are_of_one_kind() -> None:
    untested = {name for name in RULE_NAMES if name not in BROKEN}
    assert untested == {"gopher_top_3_gram", "gopher_top_4_gram", *(f"gopher_repeated_{n}_grams" for n in range(5, 11))}


def test_words_and_the_lines_that_c4_leaves() -> None:
    assert words_of("It's well-known — 3.5 times!") == ["It's", "well-known", "—", "3", ".", "5", "times", "!"]
    lines = [
        "A whole line of words.",
        "Too short.",
        "no end of it",
        "Enable JavaScript to see this.",
        "See our privacy policy here.",
        "It goes on...",
        "As told [3] by many [edit].",
    ]
    assert c4_lines("\n".join(lines)) == ["A whole line of words.", "As told  by many ."]


@pytest.mark.parametrize("text", ["", " ", "\n\n", "!!!", "a", "\u2028", "😀" * 50])
def test_odd_texts_break_a_rule_and_raise_nothing(text: str) -> None:
    assert broken(text, ALL) is not None


def test_a_column_of_measures_decides_as_the_text_does() -> None:
    texts = [PROSE, *(text for _, text in BROKEN.values()), "", None]
    told = [measures(text or "") for text in texts]
    fields = {
        ("q" if name == "words" else f"q_{name}"): pa.array([one[name] for one in told], pa.float32())
        for name in told[0]
    }
    batch = pa.record_batch({"text": pa.array(texts, pa.string()), **fields})
    of_text, of_column = TextQuality(apply=list(ALL)), TextQuality(apply=list(ALL), column="q")
    assert of_text.barred(batch) == of_column.barred(batch)
    assert of_text.details(batch) == of_column.details(batch)
    assert of_text.barred(batch)[0] is None and of_text.details(batch)[1] == "top_3_gram 0.3617"
    assert set(of_column.inputs().fields) <= set(batch.schema.names)


def test_limits_replace_the_published_ones() -> None:
    batch = pa.record_batch({"text": [PROSE, "The only sentence that is here to stay with us."]})
    assert TextQuality(apply=["gopher"]).barred(batch) == [None, "gopher_word_count"]
    assert TextQuality(apply=["gopher"], limits={"gopher_word_count": [5, None]}).barred(batch) == [None, None]
    assert TextQuality(apply=["gopher"], limits={"gopher_word_count": [None, 20]}).details(batch)[0] == "words 93"
    for wrong in ({"gopher": [1, 2]}, {"gopher_letters": [1]}):
        with pytest.raises(ValueError, match="limits"):
            TextQuality(limits=wrong)  # type: ignore[arg-type]
