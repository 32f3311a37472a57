"""A set that serves every sample of the target: plain greedy's choice, near the best there is, ahead of a norm."""

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from planted import batch_of, kinds_of_vectors
from sklearn.datasets import load_digits

from tamis.pipeline import open_run
from tamis.selectors.budget import Budget
from tamis.selectors.match.target_coverage import DIGITS, TargetCoverage
from tamis.selectors.ranked import Ranked
from tamis.selectors.vectors.columns import as_array, as_column, unit
from tests_support import Runner


def ranked(target: np.ndarray, pool: np.ndarray, budget: int, each: int | None = None) -> Ranked:
    batches = [batch_of(target, "t", beside=True), batch_of(pool, "p")]
    return TargetCoverage(column="v", each=each).rank(batches, Budget(budget))


def picks(found: Ranked) -> list[int]:
    """Places in the pool, in the order of the picks."""
    order = np.argsort(found.ranks, kind="stable")
    return order[found.ranks[order] > 0].tolist()


def cosines(target: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """[target, pool] as the column keeps them."""
    kept = [unit(as_array(as_column(vectors))[0]) for vectors in (target, pool)]
    return kept[0] @ kept[1].T


def value(close: np.ndarray, chosen: list[int], each: int) -> float:
    return float(np.maximum(np.sort(close[:, chosen], axis=1)[:, -each:], 0).sum())


def plainly(close: np.ndarray, count: int, each: int) -> list[int]:
    """Every gain anew for every pick."""
    chosen: list[int] = []
    for _ in range(count):
        last = value(close, chosen, each) if chosen else 0.0
        left = [place for place in range(close.shape[1]) if place not in chosen]
        gains = np.round([value(close, [*chosen, place], each) - last for place in left], DIGITS - 1)
        chosen.append(left[int(np.argmax(gains))])
    return chosen


@pytest.mark.parametrize("each", [1, 2, 4])
@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_plain_greedy_choice(seed: int, each: int) -> None:
    chance = np.random.default_rng(seed)
    target, pool = chance.normal(size=(30, 8)), chance.normal(size=(400, 8))
    close, count = cosines(target, pool), 25
    mine = picks(ranked(target, pool, count, each))
    plain = plainly(close, count, each)
    assert mine == plain or abs(value(close, mine, each) - value(close, plain, each)) < 1e-4


def test_it_is_within_the_bound_of_the_best() -> None:
    for seed in range(10):
        chance = np.random.default_rng(seed)
        target, pool = chance.normal(size=(12, 4)), chance.normal(size=(14, 4))
        close = cosines(target, pool)
        best = max(value(close, list(some), 1) for some in combinations(range(14), 4))
        assert value(close, picks(ranked(target, pool, 4, 1)), 1) >= (1 - 1 / np.e) * best


def served_and_kinds(budget: int) -> dict[str, np.ndarray]:
    """Of coverage, nearness to the nearest, and chance: the mean share of 60 digits of three classes that have a chosen
    one as near as half of them have their nearest of the target, and how many classes that were chosen of."""
    digits, classes = load_digits(return_X_y=True)
    digits = digits / np.linalg.norm(digits, axis=1, keepdims=True)
    found: dict[str, list[tuple[float, int]]] = {"coverage": [], "norm_sim": [], "random": []}
    for seed in range(10):
        chance = np.random.default_rng(seed)
        mine = chance.permutation(10)[:3]
        sizes = zip(mine, (40, 12, 8), strict=True)
        of = np.concatenate([chance.permutation(np.flatnonzero(classes == one))[:size] for one, size in sizes])
        pool = np.setdiff1d(np.arange(len(digits)), of)
        close, own = digits[of] @ digits[pool].T, digits[of] @ digits[of].T
        line = np.median((own - 2 * np.eye(60)).max(1))
        chosen = {
            "coverage": picks(ranked(digits[of], digits[pool], budget)),
            "norm_sim": np.argsort(-close.max(0))[:budget].tolist(),
            "random": chance.permutation(len(pool))[:budget].tolist(),
        }
        for name, some in chosen.items():
            kinds = set(classes[pool[some]].tolist()) & set(mine.tolist())
            found[name].append((float((close[:, some].max(1) >= line).mean()), len(kinds)))
    return {name: np.mean(told, axis=0) for name, told in found.items()}


def test_digits_of_three_classes_are_served() -> None:
    many, few = served_and_kinds(60), served_and_kinds(15)
    assert many["coverage"][0] > 0.8 and many["coverage"][0] > many["norm_sim"][0] + 0.15 > many["random"][0] + 0.4
    assert few["coverage"][0] > 0.45 and few["coverage"][0] > few["norm_sim"][0] + 0.1
    assert few["coverage"][1] == 3 > few["norm_sim"][1]


def test_where_all_are_served_the_nearest_follow_and_more_picks_serve_each() -> None:
    target = np.eye(3)
    pool = np.concatenate([np.eye(3), np.eye(3) - 0.3 * np.roll(np.eye(3), 1, 0), -np.eye(3)])
    few = ranked(target, pool, 5, each=1)
    assert sorted(picks(few)[:3]) == [0, 1, 2] and few.facts["by_gain"] == 3
    assert set(picks(few)[3:]) <= {3, 4, 5}
    assert "which is served already" in few.texts[f"{1000 + picks(few)[3]:016x}"]
    assert ranked(target, pool, 6).facts["each"] == 2, "as many as the budget has for it"
    assert "serves t" in few.texts[f"{1000 + picks(few)[0]:016x}"]


def test_copies_add_nothing_whatever_is_multiplied_with_what() -> None:
    chance = np.random.default_rng(0)
    target, some = chance.normal(size=(1000, 64)), chance.normal(size=(30, 64))
    found = ranked(target, np.concatenate([some, some, some]), 80, each=1)
    assert found.facts["by_gain"] == 30 and len(set(np.array(picks(found))[:30] % 30)) == 30
    assert ranked(np.eye(3), chance.normal(size=(400, 3)), 400).facts["each"] == 64


def test_a_target_without_vectors_or_of_another_model_is_refused() -> None:
    with pytest.raises(ValueError, match="no sample of the target has a vector in 'v'"):
        TargetCoverage(column="v").rank([batch_of(np.eye(3), "p")], Budget(2))
    with pytest.raises(ValueError, match="the target's vectors have 3 numbers, the pool's 4"):
        ranked(np.eye(3), np.eye(4), 2)
    with pytest.raises(ValueError, match="each must be 1 or more"):
        TargetCoverage(column="v", each=0)


def test_a_run_says_whom_each_pick_serves(run_in: Runner, tmp_path: Path) -> None:
    steps = [{"target_coverage": {"column": "v", "budget": 8}}]
    outcome = run_in(tmp_path, **kinds_of_vectors(tmp_path), steps=steps)
    result = open_run(outcome.folder)
    rows = result.sql("select key, detail from ledger join pool using (sample_id) where kept").to_pylist()
    assert len(rows) == 8 and {int(row["key"][1:]) // 30 for row in rows} == {0, 1}
    assert all(re.search(r"(serves|near) t[0-5] of the target \(cosine 0\.", row["detail"]) for row in rows)
    assert "nearest of the target: t" in result.why(rows[0]["key"])
    assert outcome.manifest["steps"][0]["facts"]["target"] == 6
