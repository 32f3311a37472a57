"""What a selector is: a frozen settings object that sees the pool once and then scores it, or a query that filters.

A scorer is a frozen dataclass with `fit`; what `fit` returns is a frozen dataclass whose fields are arrays, numbers,
strings, or lists of them (so that a run can store it without pickle), with `score`. Everything else is optional and
listed in `Scorer` and `Fitted` with its default. A user's own selector needs `fit` and `score` alone."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.selectors.texts.minhash import Form
from tamis.selectors.texts.ngrams import Ngrams

Batches = Iterable[pa.RecordBatch]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Inputs:
    """What the batches of a scorer must hold: the pool's fields by name, and hashed texts if asked for.

    With `ngrams`, batches have `n_tokens` (int32) and `ngrams` (binary: buckets, uint16 or uint32, little-endian); with
    `minhash`, `minhash_buckets` (14 uint64) and `minhash_low` (112 bytes), null where a text is too short."""

    fields: tuple[str, ...] = ("text",)
    ngrams: Ngrams | None = None
    minhash: Form | None = None
    optional: tuple[str, ...] = ()  # fields that are given where the pool has them
    pool_only: tuple[str, ...] = ()  # of `fields`, those that the target need not have


class Fitted(Protocol):
    """What a scorer has learned. Optional besides `score`:

    `scores(batch)` -> [targets, rows] where several targets are served one after another, with `proportions`;
    `order_keys(batch, scores)` -> [targets, rows], what the choice sorts by (default: the scores);
    `barred(batch)` -> [rows] reason why a row may not be chosen, or None;
    `details(batch)` -> [rows] text for the ledger, or None; both at once by `verdicts` (`ByVerdict`);
    `groups(batch)` -> [rows] text or bytes, what quotas and deduplication group by;
    `explain(text)` -> rows (what, count, contribution) whose contributions sum to the score."""

    def score(self, batch: pa.RecordBatch) -> Floats:
        """[rows] float64, higher is better; NaN: not scorable, never chosen."""


Verdict = tuple[str, str] | None  # reason why a row may not be chosen, and what the ledger tells besides


class ByVerdict:
    """A `Fitted` that finds reason and detail in one look: `verdicts(batch)` -> [rows] Verdict, asked for once."""

    def verdicts(self, batch: pa.RecordBatch) -> list[Verdict]:
        raise NotImplementedError

    def barred(self, batch: pa.RecordBatch) -> list[str | None]:
        return [None if found is None else found[0] for found in self.verdicts(batch)]

    def details(self, batch: pa.RecordBatch) -> list[str | None]:
        return [None if found is None else found[1] for found in self.verdicts(batch)]


class Scorer(Protocol):
    """Settings. Optional besides `fit`:

    `needs_target` (False), and `choice` ("budget"), class variables: the query in sql/ that turns scores to decisions;
    `needs_evaluation` (False): `fit` is given the recipe's evaluation sources instead of its target's;
    `rules` (False): whether it decides without a budget, by `barred` alone;
    `unscored` (False): whether it only keeps or drops, so that the ledger tells no score;
    `tokens_field`: the field that counts a sample's tokens, for a budget in tokens that names none;
    `inputs()`, what the batches must hold (default: the text);
    `fitted`, class variable: the class that `fit` returns, where that is not the settings' own;
    `takes(reason)`: what it would have taken not to be dropped for this reason, in words, or None;
    fields `seed` and `step`, which the run fills in."""

    needs_target: ClassVar[bool] = False
    choice: ClassVar[str] = "budget"

    def fit(self, pool: Batches, targets: Sequence[Batches]) -> Fitted:
        """See pool and targets once, streaming. `targets` has one entry for each of the recipe's target sources."""


class Ranker(Protocol):
    """Settings of a method that looks at all candidates together and says in which order to take them, until the
    budget ends. Optional besides `rank` as for a scorer, and:

    `objects_field`: the field that counts a sample's objects, for a budget in objects or minutes that names none."""

    choice: ClassVar[str] = "ranked"

    def rank(self, pool: Batches, budget: Any) -> Any:
        """A `Ranked` (ranked.py); `budget` tells `units(candidates)` and `costs(batch)`, whose sum stays below."""


def inputs_of(selector: Any) -> Inputs:
    return selector.inputs() if hasattr(selector, "inputs") else Inputs()
