"""What faiss finds on a GPU is what the processor finds: with faiss on this processor in the GPU's place."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tamis.selectors.dedup.near_vectors import nearest_earlier
from tamis.selectors.dedup.semantic import SemanticDedup
from tamis.selectors.vectors import faiss_search
from tamis.selectors.vectors.columns import as_column, unit
from tamis.selectors.vectors.k_means import nearest
from tamis.selectors.vectors.nearest import best_match


@pytest.fixture
def by_faiss(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """faiss on this processor in the GPU's place; tells how many rows it was asked for."""
    pytest.importorskip("torch")  # before faiss: the other way round they crash
    faiss = pytest.importorskip("faiss", reason="needs the extra `faiss`")
    asked: list[int] = []

    def found(some: Any, others: Any, count: int, squared: bool) -> Any:
        asked.append(len(some))
        return faiss.knn(some, others, count, metric=faiss.METRIC_L2 if squared else faiss.METRIC_INNER_PRODUCT)

    monkeypatch.setattr(faiss_search, "search", lambda: found)
    monkeypatch.setattr(faiss_search, "WORTH", 1)
    return asked


def test_what_faiss_finds_is_what_the_processor_finds(by_faiss: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Among them 300 rows of which 20 others are copies, more than faiss is asked for, and centres that are equal."""
    draw = np.random.default_rng(4)
    others = draw.normal(size=(900, 24))
    others[::45] = others[0]
    some = np.concatenate([others[:300] + 0.3 * draw.normal(size=(300, 24)), np.repeat(others[:1], 300, 0)])
    some, others = unit(some.astype(np.float32)), unit(others.astype(np.float32))
    found = [*best_match(some, others), *nearest(some, others), nearest_earlier(some)]
    assert sum(by_faiss) >= 3 * len(some) - 256
    monkeypatch.setattr(faiss_search, "search", lambda: None)
    plain = [*best_match(some, others), *nearest(some, others), nearest_earlier(some)]
    for mine, wanted in zip(found, plain, strict=True):
        assert np.array_equal(mine, wanted)


def test_a_selection_by_faiss_is_the_same(by_faiss: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(6)
    centres = draw.normal(size=(40, 16))
    vectors = as_column((centres[draw.integers(0, 40, 3000)] + 0.4 * draw.normal(size=(3000, 16))).astype(np.float32))
    keys = [f"k{n:04d}" for n in range(3000)]
    batch = pa.record_batch({"sample_id": np.arange(3000, dtype=np.uint64), "key": keys, "v": vectors})
    step = SemanticDedup(column="v", similarity=0.9, clusters=5)
    found = step.rank([batch], None)
    monkeypatch.setattr(faiss_search, "search", lambda: None)
    plain = step.rank([batch], None)
    assert by_faiss and np.array_equal(found.ranks, plain.ranks) and np.array_equal(found.related, plain.related)
    assert 0 < (plain.ranks == 0).sum() < 3000 and np.array_equal(found.values, plain.values, equal_nan=True)
