"""Do text_quality's rules drop what their own code drops? And how fast are all measures together?

    python -m venv peer
    peer/bin/pip install "datatrove[processing]==0.10.1" spacy tensorflow_datasets==4.9.10 absl-py numba pyarrow xxhash
    peer/bin/pip install --no-deps .
    peer/bin/python bench/rules.py agree    # 2,000 real documents, each rule beside its source
    python bench/rules.py speed             # all measures, on one core

Sources are datatrove's filters and `clean_page`, with which C4 was made; its sentence model (nltk's punkt) is data that
no package holds, so spaCy's sentences, datatrove's own, stand in for it. Each source is run as it is, then with
tamis's words, then with tamis's words and sentences: what differs in the first alone is by these. Prints two tables."""

import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pyarrow as pa

from real_text import documents
from tamis.selectors.quality.text_rules import TextQuality
from tamis.selectors.texts.measures import FIELDS, measured, sentences_of, words_of

DOCUMENTS, SECONDS = 2000, 3
Drops = Callable[[str], str | None]


def texts() -> list[str]:
    chance = random.Random(0)
    found = [doc["text"] for doc in documents()]
    return chance.sample(found, DOCUMENTS)


def by_filter(name: str, module: str, **settings: Any) -> Drops:
    """A datatrove filter as text -> reason."""
    import importlib

    from datatrove.data import Document

    made = getattr(importlib.import_module(f"datatrove.pipeline.filters.{module}"), name)(**settings)

    def drops(text: str) -> str | None:
        told = made.filter(Document(text=text, id="0"))
        return None if told is True else str(told[1])

    return drops


def by_clean_page() -> Drops:
    import importlib.util
    from importlib.metadata import files

    class Stub(ModuleType):  # what it imports for its pipeline, and not for a page
        __path__: tuple[str, ...] = ()

        def __getattr__(self, name: str) -> Any:
            return Stub(name)

    for name in ("", ".core", ".core.utils", ".core.utils.lazy_imports_utils", ".public_api"):
        sys.modules[f"tensorflow_datasets{name}"] = Stub(name)
    place = next(file for file in files("tensorflow_datasets") or [] if file.name == "c4_utils.py").locate()
    spec = importlib.util.spec_from_file_location("c4_utils", place)
    assert spec is not None
    assert spec.loader is not None
    c4_utils = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(c4_utils)
    c4_utils._get_sentences = sentences  # type: ignore[attr-defined]
    clean = c4_utils.get_clean_page_fn()
    reasons: list[str] = []

    def count(name: str, _amount: int = 1) -> None:
        reasons.append(name)

    def drops(text: str) -> str | None:
        reasons.clear()
        kept = list(clean(c4_utils.PageFeatures(text=text), counter_inc_fn=count))
        return None if kept else reasons[-1]

    return drops


def sentences(line: str) -> list[Any]:
    """Whichever are asked for now."""
    if OURS["sentences"]:
        return [None] * sentences_of(line)
    from datatrove.utils.text import split_into_sentences

    return split_into_sentences(line, "en")


OURS = {"words": "", "sentences": False}


def patched() -> None:
    """datatrove's filters with words and sentences that can be exchanged."""
    from datatrove.pipeline.filters import (
        c4_filters,
        fineweb_quality_filter,
        gopher_quality_filter,
        gopher_repetition_filter,
    )

    theirs, split = gopher_quality_filter.split_into_words, c4_filters.split_into_sentences
    ways = {"": None, "space": str.split, "marks": words_of}

    def words(text: str, language: str) -> list[str]:
        way = ways[OURS["words"]]
        return theirs(text, language) if way is None else way(text)

    for module in (gopher_quality_filter, gopher_repetition_filter, fineweb_quality_filter):
        module.split_into_words = words
    c4_filters.split_into_sentences = lambda line, language: (
        [None] * sentences_of(line) if OURS["sentences"] else split(line, language)
    )


def agree() -> None:
    patched()
    given = texts()
    batch = pa.record_batch({"text": given})
    v1 = {"stop_chars": (".", "'", '"', "!", "?")}
    rows: list[tuple[str, dict[str, Any], Drops, str]] = [
        ("gopher", {"words": "space"}, by_filter("GopherQualityFilter", "gopher_quality_filter"), "space"),
        ("gopher", {"words": "marks"}, by_filter("GopherQualityFilter", "gopher_quality_filter"), "marks"),
        (
            "gopher_repetition",
            {"words": "space"},
            by_filter("GopherRepetitionFilter", "gopher_repetition_filter"),
            "space",
        ),
        (
            "gopher_repetition",
            {"words": "marks"},
            by_filter("GopherRepetitionFilter", "gopher_repetition_filter"),
            "marks",
        ),
        ("c4", {}, by_clean_page(), ""),
        ("c4_datatrove", {}, by_filter("C4QualityFilter", "c4_filters"), ""),
        ("c4_fineweb", {}, by_filter("C4QualityFilter", "c4_filters", filter_no_terminal_punct=False), ""),
        ("fineweb", {}, by_filter("FineWebQualityFilter", "fineweb_quality_filter"), "marks"),
        ("fineweb_v1", {}, by_filter("FineWebQualityFilter", "fineweb_quality_filter", **v1), "marks"),
    ]
    print(
        "| rule | tamis drops | its source | differ, as it is | with tamis's words | and sentences | theirs, where they differ as it is |"
    )
    print("|---|---:|---:|---:|---:|---:|---|")
    for family, settings, theirs, words in rows:
        mine = [reason is not None for reason in TextQuality(apply=[family], **settings).barred(batch)]
        told, causes, dropped = [], Counter[str](), 0
        for ours in (("", False), (words, False), (words, True)):
            OURS["words"], OURS["sentences"] = ours
            reasons = [theirs(text) for text in given]
            differ = [(own, reason) for own, reason in zip(mine, reasons, strict=True) if own != (reason is not None)]
            if not told:
                causes = Counter("kept" if reason is None else reason for _, reason in differ)
                dropped = sum(reason is not None for reason in reasons)
            told.append(len(differ))
        name = f"`{family}`" + (f", `words: {settings['words']}`" if settings else "")
        named = ", ".join(f"{count} {reason}" for reason, count in causes.most_common(4))
        print(f"| {name} | {sum(mine):,} | {dropped:,} | {told[0]} | {told[1]} | {told[2]} | {named} |", flush=True)


def speed() -> None:
    given = pa.array([doc["text"] for doc in documents()])
    size = given.buffers()[2].size / 1e6
    print(f"{len(given):,} documents of {size:.0f} MB, {len(FIELDS)} measures, one core, best of {SECONDS}")
    for words in ("space", "marks"):
        measured(given.slice(0, 10), words)  # type: ignore[arg-type]
        spent = []
        for _ in range(SECONDS):
            before = time.process_time()
            measured(given, words)  # type: ignore[arg-type]
            spent.append(time.process_time() - before)
        print(f"| `words: {words}` | {size / min(spent):.0f} MB/s |")


if __name__ == "__main__":
    {"agree": agree, "speed": speed}[sys.argv[1]]()
