"""`classify: linear`: how much more a text looks like the target than like the pool, learned here.

Logistic regression (scikit-learn, both sides weighing the same) on hashed n-grams or a column of vectors. Each sample
is judged by a model that did not see its content: five folds by a hash of it. At most 20,000 samples of each side."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

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
from tamis.selectors.rows import contents_of, hashes_of
from tamis.selectors.texts.ngrams import Ngrams
from tamis.selectors.vectors.columns import as_array

LINEAR_VERSION = 2  # raise when the same pool and target would give another model
NGRAMS = Ngrams(order=2, buckets=1 << 18, distinct=True)


@dataclass(frozen=True, kw_only=True)
class Linear(ColumnKind):
    """train     what is told apart
    features  ngrams, or a column of vectors
    strength  inverse of the regularisation
    """

    verb: ClassVar[str] = "classify"
    kind: ClassVar[str] = "linear"
    extra: ClassVar[str] = "classify"
    heavy: ClassVar[bool] = False
    by_folds: ClassVar[bool] = True

    train: Literal["target_vs_pool"] = "target_vs_pool"
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
        return ("pool", "target")

    @property
    def columns(self) -> tuple[str, ...]:
        return () if self.features == "ngrams" else (self.features,)

    def fingerprinted(self, folder: Path) -> dict[str, Any]:
        return {**asdict(self), "version": LINEAR_VERSION}

    def learn(self, lessons: Lessons, final: Path) -> None:
        if not (final / "linear.npz").exists():
            train_linear(self, lessons.batches("pool"), lessons.batches("target"), final)

    def load(self, place: Path) -> "LinearModel":
        return LinearModel(self, place)


def train_linear(
    settings: Linear, pool: Iterable[pa.RecordBatch], target: Iterable[pa.RecordBatch], final: Path
) -> None:
    """Make `final`/linear.npz with the folds' weights. Raises RunFailed where one side has nothing."""
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise MissingExtra("classify: linear", "classify") from error
    mine, theirs = _sampled(settings, pool), _sampled(settings, target)
    for what, side in (("pool", mine), ("target", theirs)):
        if not len(side[1]):
            raise RunFailed(f"classify: linear: no sample of the {what} has {settings.features}")
    x = _joined([mine[0], theirs[0]])
    y = np.repeat([0, 1], [len(mine[1]), len(theirs[1])])
    fold = fold_of(np.concatenate([mine[1], theirs[1]]), settings.seed, 0)
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
    with atomic_path(final / "linear.npz") as path, path.open("wb") as out:
        np.savez_compressed(out, weights=np.stack(weights).astype(np.float32), samples=[len(mine[1]), len(theirs[1])])


def _sampled(settings: Linear, batches: Iterable[pa.RecordBatch]) -> tuple[Any, npt.NDArray[np.uint64]]:
    """Features and contents of at most FIT_ROWS rows that have any, by a hash of their ids, in the order of it."""
    held: list[tuple[Any, npt.NDArray[np.uint64], npt.NDArray[np.float64]]] = []
    limit, rows = 1.0, 0
    for batch in batches:
        x, there = features_of(settings, batch)
        chances = uniform(batch["sample_id"].to_numpy(), settings.seed, 0, "linear")
        mine = np.flatnonzero(there & (chances <= limit))
        if len(mine):
            held.append((x[mine], contents_of(hashes_of(batch))[mine], chances[mine]))
            rows += len(mine)
        if rows > 2 * FIT_ROWS:
            held = [_lowest(held)]
            limit, rows = held[0][2][-1], FIT_ROWS
    if not held:
        return np.empty((0, 0)), np.empty(0, np.uint64)
    return _lowest(held)[:2]


def _lowest(held: list[tuple[Any, Any, Any]]) -> tuple[Any, Any, Any]:
    """The FIT_ROWS rows with the lowest chances, in their order."""
    contents, chances = (np.concatenate([one[place] for one in held]) for place in (1, 2))
    first = np.argsort(chances, kind="stable")[:FIT_ROWS]
    return _joined([x for x, *_ in held])[first], contents[first], chances[first]


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
            self.weights = held["weights"].astype(np.float64)
            self.facts: dict[str, Any] = {"samples": held["samples"].tolist()}

    def values(self, batch: pa.RecordBatch, told: Told) -> list[pa.Array]:
        """Probability of the target, were both sides equally many; null where there are no features."""
        x, there = features_of(self.settings, batch)
        logits = np.asarray(x @ self.weights[:, :-1].T) + self.weights[:, -1]
        fold = fold_of(contents_of(hashes_of(batch)), self.settings.seed, 0)
        mine = logits[np.arange(len(fold)), fold]
        return [pa.array(1 / (1 + np.exp(-mine)), pa.float32(), mask=~there)]
