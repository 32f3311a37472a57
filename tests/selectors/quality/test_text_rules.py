"""Each published rule is broken by a text made for it, and by no ordinary prose."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.pipeline.errors import RecipeError
from tamis.selectors.quality import text_rules
from tamis.selectors.quality.text_rules import RULE_NAMES, TextQuality
from tamis.selectors.texts.languages import LANGUAGES, language_of
from tamis.selectors.texts.measures import FIELDS, c4, measured, measures, sentences_of, words_of
from tests_support import Runner, write_jsonl

SENTENCES = [
    "The committee met in the old library to talk about the budget of the coming year.",
    "Several members had prepared long notes, and most of them wanted to speak before lunch.",
    "After an hour of debate they agreed that the roof should be mended with the money that was left.",
    "Nobody mentioned the garden, although it had been promised to the children in spring.",
    "In the evening a short report was sent to all who could not be there.",
    "It closed with thanks to those who have given their time to the village.",
]
PROSE = "\n\n".join(" ".join(SENTENCES[n : n + 2]) for n in (0, 2, 4))
ALL = ("gopher_repetition", "gopher", "c4", "c4_datatrove", "c4_fineweb", "fineweb", "fineweb_v1")


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
    "c4_curly_bracket": ("c4", PROSE + "\nIt is written as { return; } in the end."),
    "c4_sentences": ("c4", "\n".join(SENTENCES[:2])),
    "c4_datatrove_lorem_ipsum": ("c4_datatrove", PROSE + "\nLorem ipsum dolor sit amet."),
    "c4_datatrove_curly_bracket": ("c4_datatrove", PROSE + "\nWritten as { return; }'"),
    "c4_datatrove_sentences": ("c4_datatrove", "\n".join(SENTENCES[:4])),
    "c4_fineweb_lorem_ipsum": ("c4_fineweb", PROSE + "\nLorem ipsum dolor sit amet"),
    "c4_fineweb_curly_bracket": ("c4_fineweb", PROSE + "\nif (x) { return; }"),
    "c4_fineweb_sentences": ("c4_fineweb", "\n".join(SENTENCES[:4])),
    "fineweb_no_lines": ("fineweb", " \n "),
    "fineweb_line_ends": ("fineweb", "\n".join(one.rstrip(".") for one in SENTENCES)),
    "fineweb_short_lines": ("fineweb", "\n".join([*[f"Line {n}." for n in "abcdefgh"], SENTENCES[0]])),
    "fineweb_repeated_lines": ("fineweb", "\n".join([*SENTENCES, SENTENCES[0]])),
    "fineweb_line_breaks": ("fineweb", PROSE + "\n" * 60),
    "fineweb_v1_no_lines": ("fineweb_v1", " \n "),
    "fineweb_v1_line_ends": ("fineweb_v1", "\n".join(one.replace(".", "。") for one in SENTENCES)),
    "fineweb_v1_short_lines": ("fineweb_v1", "\n".join([*[f"Line {n}." for n in "abcdefgh"], SENTENCES[0]])),
    "fineweb_v1_repeated_lines": ("fineweb_v1", "\n".join([*SENTENCES, SENTENCES[0]])),
    "fineweb_v1_line_breaks": ("fineweb_v1", PROSE + "\n" * 60),
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


def test_words_as_marks_part_them() -> None:
    assert words_of("It's well-known — 3.5 times!") == ["It's", "well-known", "—", "3", ".", "5", "times", "!"]
    links = "See (https://a.org/b_c-d?e=1), www.x.de/y, me@x.org. Not @you or a:b."
    told = ["See", "(", "https://a.org/b_c-d?e=1", "),", "www.x.de/y", ",", "me@x.org", "."]
    assert words_of(links) == [*told, "Not", "@", "you", "or", "a", ":", "b", "."]


LINES = {  # of each form: whether the line stays
    "A whole line of words.": (True, True, True),
    "Three words here.": (False, True, True),
    "A line of words without its end": (False, False, True),
    "Too short.": (False, False, False),
    "You need JavaScript to see all of this.": (False, False, False),
    "See our privacy policy here, if you please.": (False, False, False),
    "It goes on and on, with no end...": (False, False, True),
    "As was told [3] by many [edit].": (True, True, True),
    "What is cited ends no line. [3]": (False, False, True),
    "He said that 'these are the rules.'": (False, True, True),
    'She said that "these are the rules."': (True, True, True),
    "Of [1] [2] cites.": (False, True, True),
    f"Here is one long word: {'x' * 1001}.": (False, False, False),
    f"Here is one long word: {'x' * 999}.": (True, True, True),
}


def test_c4_cuts_what_its_codes_cut_and_looks_for_brackets_in_the_rest() -> None:
    for line, stays in LINES.items():
        forms = ("c4", "c4_datatrove", "c4_fineweb")
        assert tuple(c4(line, form)[3] == 0 for form in forms) == stays, line
        told = measured(pa.array([f"{line}\n{line} {{"]))
        assert [told[name][0] for name in ("lines_lost", "datatrove_lines_lost")] == [1 - n / 2 for n in stays[:2]]
    code = "The function adds two numbers.\nfn add(a: i32) {\n}\nIt is called in the main loop, once a record."
    assert c4(code)[1] == 0 and c4(code, "c4_fineweb")[1] == 1
    assert c4("An old lorem ipsum without an end")[0] == 0 and c4("A Lorem Ipsum with an end to it.")[0] == 1


def test_sentences_of_a_line() -> None:
    for line, count in {
        "One. Two! Three? Four": 4,
        "Mr. A. B. Jones of the U.S. came.": 1,
        "See Sec. 3 and art. 5 of vol. 2.": 1,
        "It cost 3.50 a piece... and more.": 2,
        'He said: "No." Then he left.': 2,
        "ends here. begins small": 1,
    }.items():
        assert sentences_of(line) == count, line


PIECES = [
    "a", "B", "é", "1", "½", "_", " ", "\t", "\n", "\r\n", "\n\n", ".", "..", "...", "…", "•", "-", "'", "’", "#", "(", "[",
    "[3]", "]", "{", "www.a.de", "http://x.y/z", "a@b.c", "中", "ก่", "क्", "Mr.", "J. K.", "the ", "of ", "and ", "No end",
    "! Then", '? "Yes." He', "\x85", "\u2028", "javascript ", "Lorem Ipsum ", "Use Cookies", "privacy policy", "।", "。", '"',
    "[edit]", "x" * 40, "one two three four five six ",
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=40).map("".join), min_size=1, max_size=8), st.booleans())
def test_the_compiled_loop_measures_as_the_plain_way(texts: list[str], by_marks: bool) -> None:
    words = "marks" if by_marks else "space"
    sliced = pa.array(["before", *texts, "after"]).slice(1, len(texts))
    told = measured(sliced, words)  # type: ignore[arg-type]
    for row, text in enumerate(texts):
        wanted = measures(text, words)  # type: ignore[arg-type]
        assert {name: told[name][row] for name in FIELDS} == pytest.approx(wanted, abs=1e-9), text


def test_what_is_counted_is_there_by_name() -> None:
    text = "The cat (see https://a.org/b) sat on 12 mats.\nThe cat sat."
    told = {name: values[0] for name, values in measured(pa.array([text]), word_ngram=2, character_ngram=5).items()}
    assert told["characters"] == len(text) and told["longest_line"] == 45 and told["mean_line"] == 28.5
    assert told["digit_share"] == 2 / len(text) and told["bracket_share"] == 2 / len(text)
    assert told["address_share"] == len("https://a.org/b") / len(text)
    assert told["word_repetition"] == 2 / 10, "The cat, twice"
    assert told["character_repetition"] > 0 and told["stop_word_share"] == 0, "The is not as English's list has it"


@pytest.mark.parametrize("text", ["", " ", "\n\n", "!!!", "a", "\u2028", "😀" * 50])
def test_odd_texts_break_a_rule_and_raise_nothing(text: str) -> None:
    assert broken(text, ALL) is not None


def test_a_column_of_measures_decides_as_the_text_does() -> None:
    texts = [PROSE, *(text for _, text in BROKEN.values()), "", None]
    told = measured(pa.array(texts))
    fields = {("q" if name == "words" else f"q_{name}"): pa.array(told[name], pa.float32()) for name in FIELDS}
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


PARAGRAPHS = {
    "de": "Der Ausschuss traf sich in der alten Bibliothek, um über den Haushalt des kommenden Jahres zu sprechen, und "
    "die meisten wollten vor dem Mittagessen reden. Nach einer Stunde war man sich einig, dass das Dach mit dem Geld, "
    "das noch da war, repariert werden sollte. Niemand dachte an den Garten, obwohl er den Kindern versprochen war.",
    "hi": "समिति पुराने पुस्तकालय में आने वाले साल के बजट पर बात करने के लिए मिली। कई सदस्यों ने लंबे नोट तैयार किए थे और "
    "उनमें से अधिकतर दोपहर के खाने से पहले बोलना चाहते थे। एक घंटे की बहस के बाद यह तय हुआ कि बचे हुए पैसे से छत की मरम्मत "
    "होनी चाहिए। किसी ने बगीचे का नाम नहीं लिया जबकि वसंत में बच्चों से इसका वादा किया गया था।",
    "zh": "委员会在旧图书馆开会，讨论来年的预算。好几位成员准备了很长的笔记，大多数人都想在午饭之前发言。经过一个小时的辩论，"
    "大家同意用剩下的钱把屋顶修好。没有人提到花园，虽然春天的时候已经答应了孩子们。晚上给所有不能到场的人寄了一份简短的报告，"
    "最后感谢了那些为村子付出时间的人，他们是这里最重要的人。",
    "ja": "委員会は古い図書館に集まり、来年の予算について話し合った。何人かの委員は長いメモを用意しており、そのほとんどが"
    "昼食の前に話したいと思っていた。一時間の議論のあと、残っているお金で屋根を直すことになった。庭のことは誰も言わなかったが、"
    "春に子どもたちと約束したものである。夜には、来ることのできなかった人に短い報告が送られた。",
    "th": "คณะกรรมการประชุมกันในห้องสมุดเก่าเพื่อพูดคุยเรื่องงบประมาณของปีหน้า สมาชิกหลายคนเตรียมบันทึกมายาวมาก "
    "และส่วนใหญ่อยากจะพูดก่อนอาหารกลางวัน หลังจากถกเถียงกันหนึ่งชั่วโมงก็ตกลงกันว่าจะใช้เงินที่เหลืออยู่ซ่อมหลังคา "
    "ไม่มีใครพูดถึงสวนที่ได้สัญญากับเด็กไว้ในฤดูใบไม้ผลิ ตอนเย็นมีการส่งรายงานสั้นให้ทุกคนที่ไม่ได้มา",
}


@pytest.mark.parametrize("code", PARAGRAPHS)
def test_prose_of_other_languages_passes_by_its_own_rules(code: str) -> None:
    text = PARAGRAPHS[code]
    assert text_rules.broken(text, ["gopher"], {"gopher_word_count": [40, None]}, language_of(code)) is None
    assert broken(text, ("gopher",)) is not None, "as English it is dropped"
    assert text_rules.broken("xeqo wiru " * 90, ["gopher"], {}, language_of(code)) is not None


def test_a_code_is_known_however_it_is_written_and_an_unknown_language_is_asked_for_nothing() -> None:
    for code in ("pt", "pt_BR", "por", "por_Latn", "__label__pt", "PT-br"):
        assert "uma" in language_of(code).stop_words
    unknown = "xeqo wiru " * 40
    assert text_rules.broken(unknown, ["gopher"], {}, language_of("xx")) is None
    assert broken(unknown, ("gopher",)) == "gopher_stop_words"
    assert min(len(one.stop_words) for one in LANGUAGES.values()) >= 8


def test_the_step_takes_each_texts_language_and_says_where_there_is_only_english(
    run_in: Runner, workplace: Path
) -> None:
    rows = [{"text": text, "lang": code, "sure": 0.5} for code, text in PARAGRAPHS.items()]
    rows += [{"text": PROSE, "lang": "en", "sure": 0.9}, {"text": "xeqo wiru " * 40, "lang": "xx", "sure": 0.1}]
    write_jsonl(workplace / "many.jsonl", rows)
    asked = {"pool": [{"format": "jsonl", "path": "many.jsonl", "keep": ["lang", "sure"]}], "target": [], "emit": []}
    rule = {"apply": ["gopher"], "limits": {"gopher_word_count": [40, None]}}
    kept, said = {}, {}
    for name, columns, more in (
        ("english", {}, {}),
        ("own", {}, {"language": "lang"}),
        ("column", {"read": {"measure": "text"}}, {"language": "lang", "column": "read"}),
    ):
        step = {"text_quality": {**rule, **more}}
        outcome = run_in(workplace, name=name, columns=columns, steps=[step], **asked)
        kept[name] = sorted(pq.read_table(outcome.folder / "selection.parquet")["lang"].to_pylist())
        said[name] = outcome.manifest["steps"][0]["facts"].get("said", [])
    every = sorted([*PARAGRAPHS, "en", "xx"])
    assert kept == {"english": ["en"], "own": every, "column": every}
    assert "English's" in said["english"][0]
    assert said["own"] == said["column"] and said["own"][0].startswith("1 texts in languages without an entry")
    with pytest.raises(RecipeError, match="holds no names of languages"):
        run_in(workplace, name="numbers", steps=[{"text_quality": {**rule, "language": "sure"}}], **asked)
