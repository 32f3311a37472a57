"""`classify: linear`: how much more a text looks like the target than like the pool, or a column of numbers distilled.

Logistic regression (scikit-learn) on hashed n-grams or a column of vectors; target and pool weigh the same. Each sample
is judged by a model that did not see its content: five folds by a hash of it. At most 20,000 samples of each side.

`train: COLUMN` learns a score that a part of the pool has, and tells it for all of it. Scores are put in buckets (as
BETR, Mizrahi et al. 2025, arXiv:2507.12466, and FineWeb-Edu's classifier learn a score), with bounds at 1/2, 3/4, 7/8
and so on to 63/64 of those that there are, while ten and more lie above; one regression a bound, both sides of it
weighing the same. The value is the mean of the probabilities to lie above each, which count by how few do: 1 is what
would be among the highest 64th. A plain mean parts the better half well, and the best of it hardly."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.pipeline.columns.contract import ColumnKind, Lessons, Output, Sources, Told
from tamis.pipeline.errors import RunFailed
from tamis.pipeline.files.atomic import atomic_path
from tamis.pipeline.recipe.extras import MissingExtra
from tamis.selectors.chance import uniform
from tamis.selectors.learners.folds import FOLDS, fold_of
from tamis.selectors.match.density_ratio import FIT_ROWS
from tamis.selectors.quantiles import numbers_of, share_below
from tamis.selectors.rows import contents_of, hashes_of
from tamis.selectors.texts.ngrams import Ngrams
from tamis.selectors.vectors.columns import as_array

LINEAR_VERSION = 2  # raise when the same pool and target would give another model
NGRAMS = Ngrams(order=2, buckets=1 << 18, distinct=True)
TARGET = "target_vs_pool"
TAUGHT = "_taught"  # the numbers that are learned, in a batch
BOUNDS = tuple(1 - 0.5**k for k in range(1, 7))  # shares of the scores below
FEWEST = 10  # scores above a bound


@dataclass(frozen=True, kw_only=True)
class Linear(ColumnKind):
    """train     target_vs_pool, or a column or field of numbers
    features  ngrams, or a column of vectors
    strength  inverse of the regularisation
    """

    verb: ClassVar[str] = "classify"
    kind: ClassVar[str] = "linear"
    extra: ClassVar[str] = "classify"
    heavy: ClassVar[bool] = False
    by_folds: ClassVar[bool] = True

    train: str = TARGET
    features: str = "ngrams"
    strength: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.strength > 0:
            raise ValueError(f"strength must be above 0, found {self.strength}")

    def makes(self, images: bool) -> list[Output]:
        return [
            Output(main=pa.float32(), reads=("content_hash", "text" if self.features == "ngrams" else self.features))
        ]

    @property
    def learns(self) -> tuple[Sources, ...]:
        return ("pool", "target") if self.train == TARGET else ("pool",)

    @property
    def taught_by(self) -> tuple[str, ...]:
        return () if self.train == TARGET else (self.train,)

    @property
    def columns(self) -> tuple[str, ...]:
        return () if self.features == "ngrams" else (self.features,)

    def fingerprinted(self, folder: Path) -> dict[str, Any]:
        return {**asdict(self), "version": LINEAR_VERSION}

    def learn(self, lessons: Lessons, final: Path) -> None:
        if (final / "linear.npz").exists():
            return
        if self.train == TARGET:
            train_linear(self, lessons.batches("pool"), lessons.batches("target"), final)
        else:
            distil(self, lessons.batches("pool"), final)

    def load(self, place: Path) -> "LinearModel":
        return LinearModel(self, place)


def train_linear(
    settings: Linear, pool: Iterable[pa.RecordBatch], target: Iterable[pa.RecordBatch], final: Path
) -> None:
    """Make `final`/linear.npz with the folds' weights. Raises RunFailed where one side has nothing."""
    mine, theirs = _sampled(settings, pool), _sampled(settings, target)
    for what, side in (("pool", mine), ("target", theirs)):
        if not len(side[1]):
            raise RunFailed(f"classify: linear: no sample of the {what} has {settings.features}")
    x = _joined([mine[0], theirs[0]])
    y = np.repeat([0, 1], [len(mine[1]), len(theirs[1])])
    fold = fold_of(np.concatenate([mine[1], theirs[1]]), settings.seed, 0)
    weights = _weights(settings, x, y, fold)
    with atomic_path(final / "linear.npz") as path, path.open("wb") as out:
        np.savez_compressed(out, weights=weights, samples=[len(mine[1]), len(theirs[1])])


def distil(settings: Linear, pool: Iterable[pa.RecordBatch], final: Path) -> None:
    """The same of a column of numbers: [bounds, folds, features + 1] weights, and how well it foretells the column.
    Raises RunFailed where the column holds no two numbers."""
    x, contents, values = _sampled(settings, _with_numbers(pool, settings.train))
    above = values[values > values.min()] if len(values) else values
    if not len(above):
        raise RunFailed(f"classify: linear: {settings.train!r} holds no two different numbers to learn from")
    lowest = above.min()
    bounds = np.unique(np.maximum(np.quantile(values, BOUNDS, method="higher"), lowest))
    bounds = np.array([bound for bound in bounds if bound == lowest or (values >= bound).sum() >= FEWEST])
    fold = fold_of(contents, settings.seed, 0)
    weights = np.stack([_weights(settings, x, values >= bound, fold) for bound in bounds])
    counts = np.array([1 / (values >= bound).mean() for bound in bounds])
    unseen = len(above) >= FEWEST  # else a fold may have to see itself
    agreement = _rank_correlation(_value(x, weights, counts, fold), values) if unseen else np.nan
    with atomic_path(final / "linear.npz") as path, path.open("wb") as out:
        told: dict[str, Any] = {"samples": [len(values)], "bounds": bounds, "counts": counts, "agreement": agreement}
        np.savez_compressed(out, weights=weights, **told)


def _weights(settings: Linear, x: Any, y: Any, fold: Any) -> npt.NDArray[np.float32]:
    """[folds, features + 1] of models that have not seen their fold."""
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise MissingExtra("classify: linear", "classify") from error
    weights = []
    for number in range(FOLDS):
        seen = fold != number
        if len(set(y[seen].tolist())) < 2:  # so few that one fold holds a whole side
            seen = np.ones(len(y), bool)
        model = LogisticRegression(
            C=settings.strength, class_weight="balanced", max_iter=200, random_state=settings.seed, solver="liblinear"
        )
        model.fit(x[seen], y[seen])
        weights.append(np.append(model.coef_[0], model.intercept_[0]))
    return np.stack(weights).astype(np.float32)


def _value(x: Any, weights: npt.NDArray[np.float32], counts: Any, fold: npt.NDArray[np.int64]) -> Any:
    """[rows] mean over the bounds of the probabilities, each by the model of the row's fold; `counts` [bounds]."""
    told = np.zeros(len(fold))
    for bound, count in zip(weights.astype(np.float64), counts, strict=True):
        logits = np.asarray(x @ bound[:, :-1].T) + bound[:, -1]
        told += count / (1 + np.exp(-logits[np.arange(len(fold)), fold]))
    return told / np.sum(counts)


def _rank_correlation(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """Spearman's; 0 where one of them is all alike."""
    ranks = [share_below(some, np.sort(some)) for some in (one, other)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1]) if all(np.ptp(some) > 0 for some in ranks) else 0.0


def _with_numbers(pool: Iterable[pa.RecordBatch], column: str) -> Iterator[pa.RecordBatch]:
    """Rows that have one, with it as TAUGHT."""
    for batch in pool:
        try:
            values = numbers_of(batch, column)
        except ValueError as error:
            raise RunFailed(f"classify: linear: {error}") from error
        yield batch.append_column(TAUGHT, pa.array(values)).filter(pa.array(np.isfinite(values)))


def _sampled(settings: Linear, batches: Iterable[pa.RecordBatch]) -> "Lesson":
    """At most FIT_ROWS rows that have features, by a hash of their ids, in the order of it."""
    held: list[tuple[Lesson, npt.NDArray[np.float64]]] = []
    limit, rows = 1.0, 0
    for batch in batches:
        x, there = features_of(settings, batch)
        chances = uniform(batch["sample_id"].to_numpy(), settings.seed, 0, "linear")
        mine = np.flatnonzero(there & (chances <= limit))
        if len(mine):
            taught = batch[TAUGHT].to_numpy() if TAUGHT in batch.schema.names else np.zeros(len(there))
            held.append((Lesson(x[mine], contents_of(hashes_of(batch))[mine], taught[mine]), chances[mine]))
            rows += len(mine)
        if rows > 2 * FIT_ROWS:
            held = [_lowest(held)]
            limit, rows = held[0][1][-1], FIT_ROWS
    if not held:
        return Lesson(np.empty((0, 0)), np.empty(0, np.uint64), np.empty(0))
    return _lowest(held)[0]


def _lowest(held: "list[tuple[Lesson, npt.NDArray[np.float64]]]") -> "tuple[Lesson, npt.NDArray[np.float64]]":
    """The FIT_ROWS rows with the lowest chances, in their order."""
    chances = np.concatenate([some for _, some in held])
    first = np.argsort(chances, kind="stable")[:FIT_ROWS]
    contents, taught = (np.concatenate([one[place] for one, _ in held])[first] for place in (1, 2))
    return Lesson(_joined([one.features for one, _ in held])[first], contents, taught), chances[first]


class Lesson(NamedTuple):
    """Rows to learn from."""

    features: Any  # [rows, features]
    contents: npt.NDArray[np.uint64]
    taught: npt.NDArray[np.float64]  # [rows] the numbers; 0 where there are none to learn


def _joined(several: list[Any]) -> Any:
    from scipy.sparse import issparse, vstack

    return vstack(several, format="csr") if issparse(several[0]) else np.concatenate(several)


def features_of(settings: Linear, batch: pa.RecordBatch) -> tuple[Any, npt.NDArray[np.bool_]]:
    """[rows, features] of length 1, and [rows] whether there are any."""
    if settings.features != "ngrams":
        return as_array(batch[settings.features])
    from scipy.sparse import csr_matrix  # the arrays' indices would be 64 bits wide, which liblinear refuses

    buckets, places, _ = NGRAMS.features(batch["text"].fill_null(""))
    sizes = np.diff(places)
    values = np.repeat(1 / np.sqrt(np.maximum(sizes, 1)), sizes)
    indices, ends = buckets.astype(np.int32), places.astype(np.int32)
    return csr_matrix((values, indices, ends), shape=(len(sizes), NGRAMS.buckets)), sizes > 0


class LinearModel:
    def __init__(self, settings: Linear, learned: Path) -> None:
        self.settings = settings
        with np.load(learned / "linear.npz", allow_pickle=False) as held:
            self.weights = held["weights"] if held["weights"].ndim == 3 else held["weights"][None]
            self.counts = held.get("counts", [1.0])
            self.facts: dict[str, Any] = {"samples": held["samples"].tolist()}
            if "bounds" in held:
                agreement = float(held["agreement"])
                told = {} if np.isnan(agreement) else {"rank_correlation": round(agreement, 4)}
                self.facts |= {"bounds": held["bounds"].tolist(), **told}

    def values(self, batch: pa.RecordBatch, told: Told) -> list[pa.Array]:
        """Probability of the target, were both sides equally many, or the mean of those to lie above each bound; null
        where there are no features."""
        x, there = features_of(self.settings, batch)
        fold = fold_of(contents_of(hashes_of(batch)), self.settings.seed, 0)
        return [pa.array(_value(x, self.weights, self.counts, fold), pa.float32(), mask=~there)]
