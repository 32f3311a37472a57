"""Does the selection find the target's kind, and does it serve the target? Each kind of two real pools in turn.

    python bench/precision.py domains     # the 15 domains of the real text pool
    python bench/precision.py languages   # 20 languages' command pages among 14 English domains, at most 700 of each
    python bench/precision.py short       # documents cut to 4 to 400 words; and the same without the target's kind

200 documents (languages: 100, or a third) are held back as target; 200 others, where there are as many again, are
judged by: `target nats` is what one of their n-grams costs under the selection's (as `tamis compare` measures it).
Budgets are one, three and ten times what is left of the kind; precision is the share of the selection that is of it, for
one budget, and recall the share of it that was found, for the larger. Selectors are called as the steps call them.
Prints a table by kind, and one of means."""

import argparse
import random
import sys
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from real_text import documents
from tamis.pipeline.columns.hashed import made, ngrams_maker
from tamis.pipeline.comparing.measures import NGRAMS, nats
from tamis.selectors.chance import uniform
from tamis.selectors.match.importance import ImportanceResampling

HELD_BACK, A_LANGUAGE, BUDGETS, ROWS = 200, 700, (1, 3, 10), 1024
FORMS: dict[str, dict[str, Any]] = {
    "published": {"form": "published", "min_length": 0},
    "mean": {"smoothing": 0.5, "weight": "mean"},
    "tamis": {},
}
MEASURED = ("precision", "nats", "recall x3", "nats x3", "recall x10", "nats x10")


@dataclass
class Pool:
    texts: list[str]
    kinds: np.ndarray

    def __post_init__(self) -> None:
        self._made: dict[Any, pa.Table] = {}

    def batches(self, ngrams: Any, rows: Any) -> list[pa.RecordBatch]:
        """Of some texts, with what the selector reads."""
        if ngrams not in self._made:
            ids, zero = np.arange(len(self.texts), dtype=np.uint64), pa.array([bytes(16)] * ROWS, pa.binary(16))
            found = []
            for first in range(0, len(self.texts), ROWS):
                batch = pa.record_batch({"text": pa.array(self.texts[first : first + ROWS])})
                count, buckets = made(ngrams_maker(ngrams), batch)
                told = {"sample_id": pa.array(ids[first : first + ROWS]), "content_hash": zero[: batch.num_rows]}
                found.append(pa.record_batch({**told, "n_tokens": count, "ngrams": buckets.cast(pa.large_binary())}))
            self._made[ngrams] = pa.Table.from_batches(found)
        table = self._made[ngrams].take(pa.array(rows))
        place = table.schema.get_field_index("ngrams")
        return table.set_column(place, "ngrams", table["ngrams"].cast(pa.binary())).to_batches(ROWS)

    def counts(self, rows: Any) -> Any:
        return ImportanceResampling(
            buckets=NGRAMS.buckets, occurrences="all", tokens=NGRAMS.tokens, hash=NGRAMS.hash
        ).count(self.batches(NGRAMS, rows))


def ranked(pool: Pool, rows: np.ndarray, target: np.ndarray, settings: dict[str, Any] | None) -> np.ndarray:
    """Places in `rows`, the best first."""
    if settings is None:
        return np.argsort(uniform(rows.astype(np.uint64), 0, 0, "random"))
    selector = ImportanceResampling(**settings)
    batches = pool.batches(selector.map, rows)
    learned = selector.fit(batches, [pool.batches(selector.map, target)])
    keys = np.concatenate([learned.order_keys(batch, learned.scores(batch))[0] for batch in batches])
    return np.argsort(-np.nan_to_num(keys, nan=-np.inf), kind="stable")


def one_kind(pool: Pool, kind: str, held_back: int) -> tuple[int, dict[str, list[float]]]:
    mine = np.flatnonzero(pool.kinds == kind)
    count = min(held_back, len(mine) // 3)
    drawn = np.array(random.Random(0).sample(mine.tolist(), len(mine)))
    target, judges = drawn[:count], drawn[count : 2 * count] if len(mine) >= 4 * count else drawn[:0]
    rows = np.setdiff1d(np.arange(len(pool.texts)), np.concatenate([target, judges]))
    left = int((pool.kinds[rows] == kind).sum())
    counted = pool.counts(judges)
    result = {}
    for name, settings in {"random": None, **FORMS}.items():
        order = rows[ranked(pool, rows, target, settings)]
        told = []
        for times in BUDGETS:
            chosen = order[: times * left]
            found = (pool.kinds[chosen] == kind).sum() / left
            there = times * left < 0.9 * len(rows)
            told += [found, nats_of(counted, pool.counts(chosen)) if len(judges) and there else np.nan]
        result[name] = told
    return left, result


def nats_of(target: Any, mine: Any) -> float:
    seen = target > 0
    return nats(target[seen], mine[seen])


def table(pool: Pool, kinds: list[str], held_back: int) -> None:
    names = ["random", *FORMS]
    print("| kind | left of it | " + " | ".join(f"{name}: precision" for name in names) + " |")
    print("|---|" + "---:|" * (len(names) + 1))
    every = defaultdict(list)
    for kind in kinds:
        left, result = one_kind(pool, kind, held_back)
        for name, told in result.items():
            every[name].append(told)
        print(f"| {kind} | {left:,} | " + " | ".join(f"{every[name][-1][0]:.3f}" for name in names) + " |", flush=True)
    print("\n| | " + " | ".join(["precision, macro", "worst", *MEASURED[1:]]) + " |\n|---|" + "---:|" * 7)
    for name in names:
        whole = np.array(every[name])
        cells = [f"{whole[:, 0].mean():.3f}", f"{whole[:, 0].min():.3f}"]
        print(
            f"| {name} | " + " | ".join(cells + [f"{value:.3f}" for value in np.nanmean(whole[:, 1:], axis=0)]) + " |"
        )


def domains() -> None:
    docs = list(documents())
    pool = Pool([doc["text"] for doc in docs], np.array([doc["domain"] for doc in docs]))
    table(pool, sorted(set(pool.kinds)), HELD_BACK)


def languages() -> None:
    by_kind = defaultdict(list)
    for doc in documents():
        by_kind[doc["lang"] if doc["domain"] == "cli_tldr_i18n" else f"{doc['domain']}, English"].append(doc["text"])
    some = {
        kind: random.Random(1).sample(texts, min(len(texts), A_LANGUAGE)) for kind, texts in sorted(by_kind.items())
    }
    kinds = np.array([kind for kind, texts in some.items() for _ in texts])
    table(Pool([text for texts in some.values() for text in texts], kinds), sorted(set(kinds)), HELD_BACK // 2)


def short() -> None:
    """Of 15 domains, 200 true among 8,200 and 100 target texts, which are whole."""
    by_domain = defaultdict(list)
    for doc in documents():
        by_domain[doc["domain"]].append(doc["text"])
    told: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in FORMS}
    for domain, texts in sorted(by_domain.items()):
        chance = random.Random(5)
        mine = chance.sample(texts, min(len(texts), 500))
        others = [
            text
            for name, some in by_domain.items()
            if name != domain
            for text in chance.sample(some, min(len(some), 8000 // 14))
        ]
        for what in ("whole", "cut", "none"):
            pooled = [*(mine[100:300] if what != "none" else []), *others]
            pooled = pooled if what == "whole" else [cut(text, chance) for text in pooled]
            kinds = np.array([domain] * (len(pooled) - len(others)) + ["other"] * len(others) + ["target"] * 100)
            pool = Pool([*pooled, *mine[:100]], kinds)
            rows, target = np.arange(len(pooled)), np.arange(len(pooled), len(kinds))
            for name, settings in FORMS.items():
                order = ranked(pool, rows, target, settings)
                if what == "none":
                    told[name][what].append(float(np.mean([len(pooled[place].split()) <= 12 for place in order[:300]])))
                else:
                    told[name][what].append(float((kinds[order[:200]] == domain).mean()))
    print("| | whole: precision, macro | worst | cut: precision, macro | worst | short, none there: mean | worst |")
    print("|---|" + "---:|" * 6)
    for name, by in told.items():
        cells = [np.mean(by["whole"]), min(by["whole"]), np.mean(by["cut"]), min(by["cut"])]
        cells += [np.mean(by["none"]), max(by["none"])]
        print(f"| {name} | " + " | ".join(f"{value:.3f}" for value in cells) + " |")


def cut(text: str, chance: random.Random) -> str:
    """4 to 400 words in a row, lengths uniform in the logarithm."""
    words = text.split()
    length = int(np.exp(chance.uniform(np.log(4), np.log(400))))
    first = chance.randrange(max(1, len(words) - length))
    return " ".join(words[first : first + length])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["domains", "languages", "short"])
    {"domains": domains, "languages": languages, "short": short}[parser.parse_args().what]()


if __name__ == "__main__":
    sys.exit(main())
