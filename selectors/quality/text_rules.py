"""Published rules of what looks like prose, each a drop with the rule's name as reason: Gopher, C4, FineWeb.

texts/measures.py says what is measured, and whence; here are the published limits, which `limits` replaces. The first
rule that a text breaks is the reason, and the measure that broke it is told. With `column`, one of `measure: text`,
nothing is measured again. Stop words, word lengths and the least number of words are English's; with `language`, the
field or column that tells a text's, they are that language's (languages.py), and left out where it has no entry. Not
for code, for texts full of numbers and marks, or for short texts such as captions.

    gopher, gopher_repetition  Rae et al. 2021, table A1; words as white space parts them, `words: marks` as datatrove
    c4                         the authors' code: 5 words a line, 3 sentences
    c4_datatrove               datatrove's: 3 words a line, 5 sentences, an apostrophe ends a line, too
    c4_fineweb                 the same without a mark at the end of lines, as FineWeb used it
    fineweb, fineweb_v1        datatrove's, lines end in a full stop of any script; as FineWeb was made: . ? ! " '"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from tamis.selectors.contract import Batches, ByVerdict, Choice, ChosenShard, Filter, Floats, Inputs, Verdict
from tamis.selectors.lines import Line
from tamis.selectors.rows import as_floats
from tamis.selectors.texts.languages import ENGLISH, UNKNOWN, Language, language_of
from tamis.selectors.texts.measures import NAMES, REPEATED_NGRAMS, TOP_NGRAMS, WordsBy, measured

Family = Literal["gopher", "gopher_repetition", "c4", "c4_datatrove", "c4_fineweb", "fineweb", "fineweb_v1"]
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
    **{
        form: (
            Rule(f"{form}_lorem_ipsum", f"{prefix}lorem_ipsum", None, 0),
            Rule(f"{form}_curly_bracket", f"{prefix}curly_brackets", None, 0),
            Rule(f"{form}_sentences", f"{prefix}sentences", sentences),
        )
        for form, prefix, sentences in (("c4", "", 3), ("c4_datatrove", "datatrove_", 5), ("c4_fineweb", "fineweb_", 5))
    },
    **{
        version: (
            Rule(f"{version}_no_lines", "lines", 1),
            Rule(f"{version}_line_ends", ends, 0.12),
            Rule(f"{version}_short_lines", "short_lines", None, 0.67),
            Rule(f"{version}_repeated_lines", "line_repeats", None, 0.01),
            Rule(f"{version}_line_breaks", "line_breaks", None, 0.3),
        )
        for version, ends in (("fineweb", "line_ends"), ("fineweb_v1", "line_ends_v1"))
    },
}
NAMED = 8  # languages without an entry
BY_LANGUAGE = ("gopher_word_count", "gopher_word_length", "gopher_stop_words")
RULE_NAMES = tuple(rule.name for rules in RULES.values() for rule in rules)


@dataclass(frozen=True, kw_only=True)
class TextQuality(Filter, ByVerdict):
    """apply     which rules: gopher, gopher_repetition, c4, c4_datatrove, c4_fineweb, fineweb, fineweb_v1; in
              this order
    column    of `measure: text`, where there is one
    words     of Gopher's rules: space parts them (default), or marks are words, too; of a column its own setting
    language  a kept field with each text's language, or a column of `classify: fasttext`
    limits    other ones by rule: [least, most], either may be null
    """

    unscored: ClassVar[bool] = True

    apply: list[Family] = field(default_factory=lambda: list(FAMILIES))
    column: str | None = None
    words: WordsBy | None = None
    language: str | None = None
    limits: dict[str, list[float | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.apply:
            raise ValueError(f"apply: wanted some of {', '.join(RULES)}")
        if self.words and self.column:
            raise ValueError(f"words: belongs to the column: {self.column}: {{measure: text, words: {self.words}}}")
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
        languages = None if self.language is None else [language_of(code) for code in self._codes(batch)]
        told = self._told(batch, languages)
        return [
            None if found is None else (found[0].name, f"{found[0].measure} {found[1]:.4g}")
            for found in first_broken(told, self.apply, self.limits, languages or [ENGLISH] * batch.num_rows)
        ]

    def _told(self, batch: pa.RecordBatch, languages: list[Language] | None) -> Mapping[str, Floats]:
        """[rows] of each measure: of the column's, texts in other languages than English are measured again."""
        if self.column is None:
            return measured(batch["text"].cast(pa.string()), self.words or "space", languages)
        columns = {name: as_floats(batch[field]) for name, field in self._fields(self.column).items()}
        told = {name: column.to_numpy(zero_copy_only=False) for name, column in columns.items()}
        others = [row for row, language in enumerate(languages or ()) if language is not ENGLISH]
        if others and languages:
            again = measured(
                batch["text"].cast(pa.string()).take(pa.array(others)), "space", [languages[row] for row in others]
            )
            unspaced = np.array([languages[row].letters_a_word > 0 for row in others])
            for name in told.keys() & {*NAMES["gopher"], *NAMES["gopher_repetition"]}:
                mine = np.ones(len(others), bool) if name == "stop_words" else unspaced
                told[name] = np.array(told[name])
                told[name][np.array(others)[mine]] = again[name][mine]
        return told

    def takes(self, reason: str) -> str | None:
        """What the rule of this name asks for."""
        rule = self._rule(reason)
        if rule is None:
            return None
        least, most = self.limits.get(rule.name, (rule.least, rule.most))
        bounds = [f"{word} {bound:g}" for word, bound in (("at least", least), ("at most", most)) if bound is not None]
        own = " in English, otherwise by language" if self.language and rule.name in BY_LANGUAGE else ""
        return f"{rule.measure} of {' and '.join(bounds)}{own}"

    def lines(self) -> list[Line]:
        """English's; where each text has its own language, those of its rules are stored nowhere."""
        found = []
        for rule in (rule for family in self.apply for rule in RULES[family]):
            bounds = self.limits.get(rule.name, (rule.least, rule.most))
            field = "" if self.column is None or self.language else self._fields(self.column)[rule.measure]
            for place, value in enumerate(bounds):
                setting = ("limits", rule.name, place)
                found.append(Line(setting, value, place == 0, rule.name, field, in_detail=True, single=True))
        return found

    def _rule(self, name: str) -> Rule | None:
        return next((one for family in self.apply for one in RULES[family] if one.name == name), None)

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


def broken(
    text: str,
    apply: Sequence[str],
    limits: dict[str, list[float | None]] | None = None,
    language: Language = ENGLISH,
    words: WordsBy = "space",
) -> tuple[Rule, float] | None:
    """The first rule that the text breaks, and the measure that broke it."""
    return first_broken(measured(pa.array([text]), words, [language]), apply, limits or {}, [language])[0]


def first_broken(
    told: Mapping[str, Floats], apply: Sequence[str], limits: dict[str, list[float | None]], languages: list[Language]
) -> list[tuple[Rule, float] | None]:
    """[rows] the first rule that is broken, and the measure that broke it."""
    found: list[tuple[Rule, float] | None] = [None] * len(languages)
    for rule in (rule for family in apply for rule in RULES[family]):
        values = told[rule.measure].astype(np.float32)  # as columns hold it: both ways decide alike
        if own := limits.get(rule.name):
            pairs = [(own[0], own[1])] * len(languages)
        elif rule.name in BY_LANGUAGE:
            known = {language: _limits(rule, language) for language in dict.fromkeys(languages)}
            pairs = [known[language] for language in languages]
        else:
            pairs = [(rule.least, rule.most)] * len(languages)
        least = np.array([-np.inf if low is None else low for low, _ in pairs], np.float32)
        most = np.array([np.inf if high is None else high for _, high in pairs], np.float32)
        for row in np.flatnonzero((values < least) | (values > most)).tolist():
            if found[row] is None:
                found[row] = rule, float(values[row])
    return found


def _limits(rule: Rule, language: Language) -> tuple[float | None, float | None]:
    """The published ones, as far as they are not English's."""
    if rule.name == "gopher_word_count" and language.size != 1:
        return (rule.least or 0) * language.size, (rule.most or 0) * language.size
    if rule.name == "gopher_word_length" and language is not ENGLISH:
        return language.shortest, language.longest
    if rule.name == "gopher_stop_words" and not language.stop_words:
        return None, None
    return rule.least, rule.most
