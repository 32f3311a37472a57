"""What a selector is: frozen settings of one of three kinds, and what it has learned, which tells of batches.

A `Scorer` sees the pool once (`fit`) and then scores it, shard by shard; a `Filter` is a scorer that keeps or drops by
rule; a `Ranker` looks at all candidates together and says in which order to take them (`rank`). What `fit` and `rank`
return is a `Fitted`: a frozen dataclass whose fields are arrays, numbers, strings, or lists of them, so that a run can
store it without pickle. All that the run asks of either stands here, with its default. A user's own selector of `fit`
and `score` alone is one, too (own.py)."""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.selectors.lines import Line
from tamis.selectors.texts.minhash import Sketch
from tamis.selectors.texts.ngrams import Ngrams

Batches = Iterable[pa.RecordBatch]


class Rereadable:
    """Batches that can be read again, with other fields in the same order."""

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        raise NotImplementedError

    def having(self, *fields: str) -> Batches:
        """The same rows with these fields alone."""
        raise NotImplementedError


def having(batches: Batches, *fields: str) -> Batches:
    """The same rows; with these fields alone, where that can be had."""
    return batches.having(*fields) if isinstance(batches, Rereadable) else batches


Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
Masks = dict[str, npt.NDArray[np.bool_]]
Reasons = list[str | None]
BESIDE = "beside"  # a field of batches of what a ranker compares the pool with
SEEN = "seen"  # why a sample of the target tells nothing of recall: each fit that there is has seen it
T = TypeVar("T")


@dataclass(frozen=True)
class Inputs:
    """What the batches of a scorer must hold: the pool's fields by name, and hashed texts if asked for.

    With `ngrams`, batches have `n_tokens` (int32) and `ngrams` (binary: buckets, uint16 or uint32, little-endian); with
    `minhash`, `minhash_buckets` (a uint64 a band) and `minhash_low` (a byte a hash), null where a text is too short."""

    fields: tuple[str, ...] = ("text",)
    ngrams: Ngrams | None = None
    minhash: Sketch | None = None
    optional: tuple[str, ...] = ()  # fields that are given where the pool has them
    pool_only: tuple[str, ...] = ()  # of `fields`, those that the target need not have


@dataclass(frozen=True)
class Scored:
    """What is told of a batch; [rows] each, or [targets, rows] where several targets are served one after another."""

    score: Floats  # float64, higher is better; NaN: not scorable, never chosen
    order: Floats | None = None  # what the choice sorts by; None: the scores
    barred: Reasons | None = None  # why a row may not be chosen
    group: pa.Array | None = None  # text or bytes: what quotas and deduplication group by
    tie: pa.Array | None = None  # text: within a group the smallest goes first
    detail: Reasons | None = None  # what the ledger tells besides
    related: npt.NDArray[np.uint64] | None = None  # the sample that decided; 0: none
    weight: Floats | None = None  # [rows] how often it counts if it is chosen, or what it stands for


class Fitted:
    """What a selector has learned. A kind says `score`, and whichever of the others are not as here."""

    def score(self, batch: pa.RecordBatch) -> Floats:
        """[rows]; NaN: not scorable, never chosen."""
        raise NotImplementedError

    def order_keys(self, batch: pa.RecordBatch, scores: Floats) -> Floats | None:
        return None

    def barred(self, batch: pa.RecordBatch) -> Reasons | None:
        return None

    def groups(self, batch: pa.RecordBatch) -> pa.Array | None:
        return None

    def tie_keys(self, batch: pa.RecordBatch) -> pa.Array | None:
        return None

    def details(self, batch: pa.RecordBatch) -> Reasons | None:
        return None

    def related_ids(self, batch: pa.RecordBatch) -> npt.NDArray[np.uint64] | None:
        return None

    def sample_weights(self, batch: pa.RecordBatch) -> Floats | None:
        return None

    def scored(self, batch: pa.RecordBatch) -> Scored:
        """All of it at once: what the run asks for."""
        score = self.score(batch)
        return Scored(
            score,
            self.order_keys(batch, score),
            self.barred(batch),
            self.groups(batch),
            self.tie_keys(batch),
            self.details(batch),
            self.related_ids(batch),
            self.sample_weights(batch),
        )

    def unseen(self, batch: pa.RecordBatch, families: Rows | None, sources: Rows) -> Scored:
        """Of samples of the target, what a fit that has seen none of their `families` [rows] would tell, as if each lay
        in the pool; whole families are in the batch. None: it has seen none of them. `sources` [rows]: the target
        that each is of. A selector that needs a target says it for `tells_unseen`."""
        return self.scored(batch)

    def target_shares(self) -> Sequence[float]:
        """Of the budget, for targets that are served one after another."""
        return (1.0,)

    def quotas(self, budget: Any) -> dict[str, int]:
        """Where the choice is by quota: rows wanted of each group, weights counted."""
        raise NotImplementedError

    def candidates_of(self, eligible: int) -> int:
        """How many could have been chosen; of a ranker, those that it could have picked."""
        return eligible

    def tell(self, choice: "Choice") -> dict[str, Any]:
        """Facts about a choice, for manifest and report; `said` among them is a list of lines for people."""
        return {}

    def stored(self) -> dict[str, Any]:
        """What a run stores of it: its fields, but for settings."""
        return stored_fields(self)

    def explain(self, text: str, target: int = 0) -> list[tuple[str, int, float]] | None:
        """Rows (what, count, contribution) whose contributions sum to the score; None: it can't be taken apart."""
        return None


Verdict = tuple[str, str] | None  # reason why a row may not be chosen, and what the ledger tells besides


class ByVerdict(Fitted):
    """A `Fitted` that finds reason and detail in one look: `verdicts(batch)` -> [rows] Verdict, asked for once."""

    def verdicts(self, batch: pa.RecordBatch) -> list[Verdict]:
        raise NotImplementedError

    def barred(self, batch: pa.RecordBatch) -> Reasons:
        return self.scored(batch).barred or []

    def details(self, batch: pa.RecordBatch) -> Reasons:
        return self.scored(batch).detail or []

    def scored(self, batch: pa.RecordBatch) -> Scored:
        score, verdicts = self.score(batch), self.verdicts(batch)
        return Scored(
            score,
            self.order_keys(batch, score),
            [found and found[0] for found in verdicts],
            self.groups(batch),
            self.tie_keys(batch),
            [found and found[1] for found in verdicts],
            self.related_ids(batch),
        )


def stored_fields(value: Any) -> dict[str, Any]:
    """The fields of a dataclass that are no dataclasses themselves."""
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return {name: held for name, held in fields.items() if not dataclasses.is_dataclass(held)}


class ChosenShard(Protocol):
    """One shard of the candidates, after the choice."""

    def batches(self) -> Iterator[tuple[pa.RecordBatch, Masks]]:
        """Candidates, and which are in scope (`pool`), chosen (`selection`), and of a `random` subset as large."""

    def scores(self) -> Floats:
        """Of those in scope."""

    def texts(self) -> list[str]:
        """Some chosen and some other texts, cut to a bounded length."""


class Choice(Protocol):
    """What was chosen, for a `Fitted` to tell of."""

    def map(self, function: Callable[[ChosenShard], T]) -> Iterator[T]:
        """The function of each shard, in order; several at once."""


class Selector:
    """Settings: a frozen dataclass whose fields are the recipe's keys. `seed` and `step` are filled in by the run."""

    needs_target: ClassVar[bool] = False
    needs_evaluation: ClassVar[bool] = False  # it is given the recipe's evaluation sources instead of its target's
    needs_where: ClassVar[bool] = False  # its scope is its rule
    tells_unseen: ClassVar[bool] = False  # though it learns from the target, it judges its samples as if it had not
    tells_number: ClassVar[bool] = (
        False  # hardly another kind stands where its target does; else numbers are upper bounds
    )
    ranks: ClassVar[bool] = False  # whether it is a Ranker
    needs_labels: ClassVar[bool] = False  # of the recipe's `labels`
    by_chance: ClassVar[bool] = False  # equal contents may be decided otherwise, by a hash of their ids
    adds_up: ClassVar[bool] = False  # whether its fit sums counts of shards: `count` and `fit_counts`
    no_fields: ClassVar[tuple[str, ...]] = ()  # that a setting may have in place of a field's name
    budgets: ClassVar[tuple[str, ...]] = ("budget", "fraction")  # how a recipe may say how much; none: by rule alone
    weighs: ClassVar[bool] = False  # its weights are what samples stand for; else repeats, which cost each time
    unscored: ClassVar[bool] = False  # it only keeps or drops, so that the ledger tells no score
    outside: ClassVar[str] = ""  # reason why it drops what the step's `where` leaves out; empty: the step says
    shown_with: ClassVar[dict[str, str]] = {}  # settings that the reference's example has beside the required ones
    fitted: ClassVar[type | None] = None  # the class that `fit` or `rank` returns; None: that of the settings
    prepared: ClassVar[type | None] = None  # the class of what a ranker prepares once for many settings

    @property
    def choice(self) -> str:
        """The query in sql/ that turns scores to decisions."""
        return "ranked" if self.ranks else "budget"

    @property
    def rules(self) -> bool:
        """Whether it may decide without a budget."""
        return not self.budgets

    @property
    def tokens_field(self) -> str | None:
        """The field that counts a sample's tokens, for a budget in tokens that names none."""
        return None

    @property
    def objects_field(self) -> str | None:
        """The field that counts a sample's objects, for a budget in objects or minutes that names none."""
        return None

    @property
    def priced_by(self) -> str | None:
        """Where the choice is by quota: the field of groups whose prices a budget may give."""
        return None

    @property
    def epochs(self) -> int:
        """How often a sample may count, by quota or as a ranker tells."""
        return 1

    @property
    def extra(self) -> str:
        """The extra of tamis that it needs with these settings, if any."""
        return ""

    @property
    def noisy(self) -> bool:
        """Whether chance is added to the scores before they are sorted."""
        return False

    @property
    def in_turn(self) -> bool:
        """Whether several targets are served one after another, each with its part of the budget."""
        return False

    @property
    def compares_with(self) -> str | None:
        """`target` or `evaluation`, where a ranker is given these samples, too, first, in batches that have a
        field BESIDE."""
        return None

    @property
    def explains(self) -> bool:
        """Whether what it learned takes a score apart for `why`; else the ledger says all that there is to say."""
        kind = self.fitted or type(self)
        return issubclass(kind, Fitted) and kind.explain is not Fitted.explain

    @property
    def near_in(self) -> str | None:
        """The column of vectors in which `why` names the nearest of the target."""
        return None

    def inputs(self) -> Inputs:
        """What batches must hold."""
        return Inputs()

    def check(self, fields: Collection[str], targets: int) -> None:
        """What it needs of the fields that there are, and of the number of target sources. Raises ValueError."""

    def takes(self, reason: str) -> str | None:
        """What it would have taken not to be dropped for this reason, in words."""
        return None

    def lines(self) -> Sequence[Line]:
        """Of a rule that compares numbers, where."""
        return ()

    def line(self, reason: str) -> tuple[float | None, float | None] | None:
        """Of a rule the least and the most that it takes, of the number with which the ledger's detail ends."""
        mine = [line for line in self.lines() if line.reason == reason and line.in_detail]
        bounds = {line.is_least: line.value for line in mine}
        return (bounds.get(True), bounds.get(False)) if mine else None

    def restored(self, values: dict[str, Any], prepared: bool = False) -> Any:
        """What was learned, or prepared, from what was stored of it; a field that was not is the settings."""
        kind: Any = self.prepared if prepared else self.fitted or type(self)
        names = [field.name for field in dataclasses.fields(kind)]
        return kind(**{name: values.get(name, self) for name in names})

    def as_settings(self) -> dict[str, Any]:
        """JSON that stands for the settings."""
        return dataclasses.asdict(self)  # type: ignore[call-overload]  # every selector is a dataclass


class Scorer(Selector):
    """A selector that sees the pool once and then scores it, batch by batch."""

    def fit(self, pool: Batches, targets: Sequence[Batches]) -> Any:
        """See pool and targets once, streaming; returns a `Fitted`. `targets` has one entry for each target source."""
        raise NotImplementedError

    def table(self, targets: Sequence[Batches]) -> Any:
        """Where the fit `adds_up`, and what is counted depends on the targets: what `count` needs of them."""
        return None

    def count(self, batches: Batches, table: Any = None) -> npt.NDArray[np.int64]:
        """Where the fit `adds_up`: counts of some batches, which add up in any order."""
        raise NotImplementedError

    def fit_counts(
        self, counts: npt.NDArray[np.int64], targets: Sequence[Batches], sample: Sequence[pa.RecordBatch] = ()
    ) -> Any:
        """Where the fit `adds_up`: the `Fitted` from the pool's counts, and from what `sampled` gave of all shards."""
        raise NotImplementedError

    def sampled(self, batch: pa.RecordBatch, candidates: int) -> pa.RecordBatch | None:
        """Where the fit `adds_up` and needs some of so many candidates' rows, too: these, of a batch; by ids alone."""
        return None


class Filter(Scorer):
    """A scorer that keeps or drops by rule: `barred` of what it learned says why."""

    budgets: ClassVar[tuple[str, ...]] = ()


class Ranker(Selector):
    """A selector that looks at all candidates together and says in which order to take them, until the budget ends."""

    ranks: ClassVar[bool] = True

    def rank(self, pool: Batches, budget: Any) -> Any:
        """A `Ranked` (ranked.py); `budget` tells `units(candidates)` and `costs(batch)`, whose sum stays below. `pool`
        may be read several times."""
        raise NotImplementedError

    def prepares(self) -> Any:
        """Where something is `prepared`: the settings that it depends on; others are as if not given."""
        raise NotImplementedError

    def prepare(self, pool: Batches) -> Any:
        """Where something is `prepared`: an instance of that class."""
        raise NotImplementedError

    def rank_prepared(self, pool: Batches, budget: Any, prepared: Any) -> Any:
        """The same as `rank`, from what was prepared."""
        raise NotImplementedError


class RankingFilter(Ranker):
    """A ranker that keeps or drops by rule."""

    budgets: ClassVar[tuple[str, ...]] = ()
