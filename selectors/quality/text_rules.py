"""Published rules of what looks like prose, each a drop with the rule's name as reason: Gopher, C4, FineWeb.

text_measures.py says what is measured, and whence; here are the published limits, which `limits` replaces. The first
rule that a text breaks is the reason, and the measure that broke it is told. With `column`, one of `measure: text`,
nothing is measured again. Stop words, word lengths and the least number of words are English's; with `language`, the
field or column that tells a text's, they are that language's (languages.py), and left out where it has no entry. Not
for code, for texts full of numbers and marks (gopher_letters drops nine of ten statutes), or for short texts such as
captions."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from tamis.selectors.contract import Batches, ByVerdict, Choice, ChosenShard, Filter, Floats, Inputs, Verdict
from tamis.selectors.texts.languages import ENGLISH, UNKNOWN, Language, language_of
from tamis.selectors.texts.measures import MEASURED, NAMES, REPEATED_NGRAMS, TOP_NGRAMS, Measures, stop_words, words_of

Family = Literal["gopher", "gopher_repetition", "c4", "fineweb"]
FAMILIES: tuple[Family, ...] = ("gopher_repetition", "gopher", "fineweb")  # asked for where none is named


class Rule(NamedTuple):
    """A text must have at least `least` and at most `most` of a measure."""

    name: str
    measure: str
    least: float | None = None
    most: float | None = None


TOP_SHARES = (0.20, 0.18, 0.16)  # of characters in the most frequent 2-, 3- and 4-gram
REPEATED_SHARES = (0.15, 0.14, 0.13, 0.12, 0.11, 0.10)  # of characters in repeated 5- to 10-grams
RULES: dict[str, tuple[Rule, ...]] = {
    "gopher": (
        Rule("gopher_word_count", "words", 50, 100_000),
        Rule("gopher_word_length", "word_length", 3, 10),
        Rule("gopher_hashes", "hashes", None, 0.1),
        Rule("gopher_ellipses", "ellipses", None, 0.1),
        Rule("gopher_bullets", "bullets", None, 0.9),
        Rule("gopher_cut_lines", "cut_lines", None, 0.3),
        Rule("gopher_letters", "letters", 0.8),
        Rule("gopher_stop_words", "stop_words", 2),
    ),
    "gopher_repetition": (
        Rule("gopher_repeated_paragraphs", "repeated_paragraphs", None, 0.3),
        Rule("gopher_repeated_paragraphs_characters", "repeated_paragraphs_characters", None, 0.2),
        Rule("gopher_repeated_lines", "repeated_lines", None, 0.3),
        Rule("gopher_repeated_lines_characters", "repeated_lines_characters", None, 0.2),
        *(Rule(f"gopher_top_{n}_gram", f"top_{n}_gram", None, m) for n, m in zip(TOP_NGRAMS, TOP_SHARES, strict=True)),
        *(
            Rule(f"gopher_repeated_{n}_grams", f"repeated_{n}_grams", None, m)
            for n, m in zip(REPEATED_NGRAMS, REPEATED_SHARES, strict=True)
        ),
    ),
    "c4": (
        Rule("c4_lorem_ipsum", "lorem_ipsum", None, 0),
        Rule("c4_curly_bracket", "curly_brackets", None, 0),
        Rule("c4_sentences", "sentences", 5),
    ),
    "fineweb": (
        Rule("fineweb_no_lines", "lines", 1),
        Rule("fineweb_line_ends", "line_ends", 0.12),
        Rule("fineweb_short_lines", "short_lines", None, 0.67),
        Rule("fineweb_repeated_lines", "line_repeats", None, 0.01),
        Rule("fineweb_line_breaks", "line_breaks", None, 0.3),
    ),
}
NAMED = 8  # languages without an entry
BY_LANGUAGE = ("gopher_word_count", "gopher_word_length", "gopher_stop_words")
RULE_NAMES = tuple(rule.name for rules in RULES.values() for rule in rules)


@dataclass(frozen=True, kw_only=True)
class TextQuality(Filter, ByVerdict):
    """apply     which rules: gopher, gopher_repetition, c4, fineweb; in this order
    column    of `measure: text`, where there is one
    language  a kept field with each text's language, or a column of `classify: fasttext`
    limits    other ones by rule: [least, most], either may be null
    """

    unscored: ClassVar[bool] = True

    apply: list[Family] = field(default_factory=lambda: list(FAMILIES))
    column: str | None = None
    language: str | None = None
    limits: dict[str, list[float | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.apply:
            raise ValueError(f"apply: wanted some of {', '.join(RULES)}")
        for name, pair in self.limits.items():
            known = [rule.name for family in self.apply for rule in RULES[family]]
            if name not in known:
                raise ValueError(f"limits: no rule {name!r} is applied; there are: {', '.join(known)}")
            if len(pair) != 2:
                raise ValueError(f"limits: {name}: wanted [least, most], either may be null, found {pair}")

    def inputs(self) -> Inputs:
        fields = ("text",) if self.column is None else tuple(self._fields(self.column).values())
        if self.language is None:
            return Inputs(fields=fields)
        return Inputs(
            fields=tuple(dict.fromkeys((*fields, self.language, "text"))), optional=(f"{self.language}_best",)
        )

    def fit(self, pool: Batches, targets: Sequence[Batches]) -> "TextQuality":
        return self

    def score(self, batch: pa.RecordBatch) -> Floats:
        return np.zeros(batch.num_rows)

    def verdicts(self, batch: pa.RecordBatch) -> list[Verdict]:
        """The rule that is broken, and the measure that broke it."""
        return [
            None if found is None else (found[0].name, f"{found[0].measure} {found[1]:.4g}")
            for found in self._broken(batch)
        ]

    def takes(self, reason: str) -> str | None:
        """What the rule of this name asks for."""
        rule = next((one for family in self.apply for one in RULES[family] if one.name == reason), None)
        if rule is None:
            return None
        least, most = self.limits.get(rule.name, (rule.least, rule.most))
        bounds = [f"{word} {bound:g}" for word, bound in (("at least", least), ("at most", most)) if bound is not None]
        own = " in English, otherwise by language" if self.language and rule.name in BY_LANGUAGE else ""
        return f"{rule.measure} of {' and '.join(bounds)}{own}"

    def _fields(self, column: str) -> dict[str, str]:
        """Measures of the families asked for -> names of the column's fields."""
        names = dict.fromkeys(name for family in self.apply for name in NAMES[family])
        return {name: column if name == "words" else f"{column}_{name}" for name in names}

    def tell(self, choice: Choice) -> dict[str, Any]:
        """Whose the rules are that depend on the language, and how many texts these ask nothing of."""
        if "gopher" not in self.apply:
            return {}
        if self.language is None:
            return {"said": ["stop words and lengths of words are English's; `language: FIELD` takes each text's own"]}
        unknown: Counter[str] = Counter()
        for found in choice.map(self._without_entry):
            unknown.update(found)
        if not unknown:
            return {}
        named = ", ".join(f"{code} {count:,}" for code, count in unknown.most_common(NAMED))
        said = f"{unknown.total():,} texts in languages without an entry, of which stop words and lengths are not asked"
        return {"without_language": unknown.total(), "said": [f"{said}: {named}"]}

    def _without_entry(self, shard: ChosenShard) -> Counter[str]:
        found: Counter[str] = Counter()
        for batch, _ in shard.batches():
            found.update(code or "none" for code in self._codes(batch) if language_of(code) is UNKNOWN)
        return found

    def _codes(self, batch: pa.RecordBatch) -> list[str | None]:
        """[rows] names of languages; of a column of `classify: fasttext` those that it found. Raises ValueError."""
        best = f"{self.language}_best"
        column = batch[best if best in batch.schema.names else self.language]
        if not (pa.types.is_string(column.type) or pa.types.is_null(column.type)):
            raise ValueError(f"language: {self.language!r} holds no names of languages, such as en or deu_Latn")
        codes: list[str | None] = column.to_pylist()
        return codes

    def _broken(self, batch: pa.RecordBatch) -> Iterator[tuple[Rule, float] | None]:
        languages = [ENGLISH] * batch.num_rows
        if self.language is not None:
            languages = [language_of(code) for code in self._codes(batch)]
        if self.column is None:
            for text, language in zip(batch["text"].to_pylist(), languages, strict=True):
                yield broken(text or "", self.apply, self.limits, language)
            return
        names = self._fields(self.column)
        columns = [batch[name].to_pylist() for name in names.values()]
        texts = batch["text"].to_pylist() if self.language is not None else [""] * batch.num_rows
        for *row, text, language in zip(*columns, texts, languages, strict=True):
            told: Any = dict(zip(names, row, strict=True))
            if language is not ENGLISH and "stop_words" in told:  # the column has English's
                told["stop_words"] = stop_words(text or "", Counter(words_of(text or "")), language)
            families = ((family, told) for family in self.apply)
            yield _first_broken(families, self.limits, language)


def broken(
    text: str,
    apply: Sequence[str],
    limits: dict[str, list[float | None]] | None = None,
    language: Language = ENGLISH,
) -> tuple[Rule, float] | None:
    """The first rule that the text breaks, and the measure that broke it."""
    words = words_of(text)
    families = ((family, MEASURED[family](text, words, language)) for family in apply)
    return _first_broken(families, limits or {}, language)


def _first_broken(
    families: Iterator[tuple[str, Measures]], limits: dict[str, list[float | None]], language: Language
) -> tuple[Rule, float] | None:
    for family, told in families:
        for rule in RULES[family]:
            least, most = limits.get(rule.name) or _limits(rule, language)
            value = np.float32(told[rule.measure])  # as columns hold it: both ways decide alike
            if (least is not None and value < np.float32(least)) or (most is not None and value > np.float32(most)):
                return rule, float(value)
    return None


def _limits(rule: Rule, language: Language) -> tuple[float | None, float | None]:
    """The published ones, as far as they are not English's."""
    if rule.name == "gopher_word_count" and language.size != 1:
        return (rule.least or 0) * language.size, (rule.most or 0) * language.size
    if rule.name == "gopher_word_length" and language is not ENGLISH:
        return language.shortest, language.longest
    if rule.name == "gopher_stop_words" and not language.stop_words:
        return None, None
    return rule.least, rule.most
