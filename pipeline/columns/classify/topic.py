"""`topic:`: a target without examples, from keywords alone.

Lbl2Vec (Schopf, Braun and Matthes, 2021) in a column of vectors: the samples nearest to the mean of the keywords'
vectors, less outliers among them (local outlier factor), have a mean direction, and a sample's value is its cosine to
it."""

import heapq
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.pipeline.columns.contract import ColumnKind, Lessons, Output, Sources, Told
from tamis.pipeline.errors import RecipeError, RunFailed
from tamis.pipeline.files.atomic import atomic_path
from tamis.pipeline.recipe.extras import MissingExtra
from tamis.selectors.vectors.columns import as_array

TOPIC_VERSION = 1  # raise when the same keywords and pool would give another direction
NEIGHBOURS = 20  # of the local outlier factor, as published


@dataclass(frozen=True, kw_only=True)
class Topic(ColumnKind):
    """words      what it is about
    features   a column of vectors that can embed words, too
    documents  how many nearest samples stand for it
    """

    verb: ClassVar[str] = "topic"
    kind: ClassVar[str] = "keywords"
    extra: ClassVar[str] = "classify"
    heavy: ClassVar[bool] = False

    words: list[str]
    features: str
    documents: int = 100

    def __post_init__(self) -> None:
        if not self.words or not all(word.strip() for word in self.words):
            raise ValueError('wanted keywords, such as ["kidney disease", "dialysis"]')
        if self.documents < 1:
            raise ValueError(f"documents must be 1 or more, found {self.documents}")

    def makes(self, images: bool) -> list[Output]:
        return [Output(main=pa.float32(), reads=(self.features,))]

    @property
    def learns(self) -> tuple[Sources, ...]:
        return ("pool",)

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.features,)

    def check(self, column: str, known: dict[str, ColumnKind]) -> None:
        if not known[self.features].embeds_words:
            raise RecipeError(
                f"columns.{column}: features: {self.features!r}: {known[self.features].kind} embeds no words; "
                "open_clip and sentence_transformers do"
            )

    def fingerprinted(self, folder: Path) -> dict[str, Any]:
        return {**asdict(self), "version": TOPIC_VERSION}

    def learn(self, lessons: Lessons, final: Path) -> None:
        if not (final / "topic.npz").exists():
            words, _ = as_array(lessons.words(self.features, self.words))
            learn_topic(self, words, lessons.batches("pool"), final)

    def load(self, place: Path) -> "TopicModel":
        return TopicModel(self, place)


def learn_topic(settings: Topic, words: npt.NDArray[np.float32], pool: Iterable[pa.RecordBatch], final: Path) -> None:
    """Make `final`/topic.npz from the keywords' vectors [words, dim]. Raises RunFailed where no sample has a vector."""
    try:
        from sklearn.neighbors import LocalOutlierFactor
    except ImportError as error:
        raise MissingExtra("topic: keywords", "classify") from error
    nearest = _nearest(settings, unit(words.mean(0)), pool)
    if not len(nearest):
        raise RunFailed(f"topic: no sample of the pool has {settings.features}")
    inside = np.ones(len(nearest), bool)
    if len(nearest) > 2:  # fewer have no neighbourhood
        inside = LocalOutlierFactor(n_neighbors=min(NEIGHBOURS, len(nearest) - 1)).fit_predict(nearest) == 1
    with atomic_path(final / "topic.npz") as path, path.open("wb") as out:
        counted = [len(nearest), int((~inside).sum())]
        np.savez(out, direction=unit(nearest[inside].mean(0)), documents=counted)


def _nearest(settings: Topic, centre: Any, pool: Iterable[pa.RecordBatch]) -> npt.NDArray[np.float32]:
    """[documents, dim] vectors of the samples nearest to the centre, nearest first; ties go to the smaller id."""
    best: list[tuple[float, int, npt.NDArray[np.float32]]] = []
    for batch in pool:
        vectors, there = as_array(batch[settings.features])
        close = vectors @ centre
        close[~there] = -np.inf
        first = np.argsort(-close, kind="stable")[: settings.documents]
        ids = batch["sample_id"].to_numpy()
        some = [(-float(close[row]), int(ids[row]), vectors[row].copy()) for row in first if there[row]]
        best = heapq.nsmallest(settings.documents, best + some, key=lambda one: one[:2])
    return np.array([vector for _, _, vector in best], np.float32)


def unit(vector: Any) -> Any:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


class TopicModel:
    def __init__(self, settings: Topic, learned: Path) -> None:
        self.settings = settings
        with np.load(learned / "topic.npz", allow_pickle=False) as held:
            self.direction = held["direction"]
            self.facts: dict[str, Any] = dict(zip(("documents", "outliers"), held["documents"].tolist(), strict=True))

    def values(self, batch: pa.RecordBatch, told: Told) -> list[pa.Array]:
        """Cosine to the topic's direction; null where there is no vector."""
        vectors, there = as_array(batch[self.settings.features])
        return [pa.array((vectors @ self.direction).astype(np.float32), mask=~there)]
