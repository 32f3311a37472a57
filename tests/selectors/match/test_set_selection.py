"""A set whose n-grams tell the target best: plain greedy's choice, in every unit, and a set that covers both kinds."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tamis.pipeline import open_run
from tamis.pipeline.errors import RecipeError
from tamis.selectors import passes
from tamis.selectors.budget import Budget
from tamis.selectors.contract import BESIDE
from tamis.selectors.match import set_selection
from tamis.selectors.match.set_selection import SetSelection
from tamis.selectors.ranked import Ranked
from tests_support import Runner, write_jsonl

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def batch_of(texts: list[str], asked: SetSelection, beside: bool = False, first: int = 0) -> pa.RecordBatch:
    buckets, places, counts = asked.map.features(pa.array(texts, pa.string()))
    width, held = buckets.itemsize, buckets.tobytes()
    rows = [held[places[row] * width : places[row + 1] * width] for row in range(len(texts))]
    ids = pa.array(np.arange(first, first + len(texts), dtype=np.uint64))
    columns = {"sample_id": ids, "n_tokens": pa.array(counts, pa.int32()), "ngrams": pa.array(rows, pa.binary())}
    return pa.record_batch({**columns, **({BESIDE: pa.nulls(len(texts), pa.string())} if beside else {})})


def words(chance: np.random.Generator, kind: str, least: int = 3, most: int = 30) -> str:
    """Words of a kind's own letters, some far more often than others."""
    length = int(chance.integers(least, most))
    return " ".join(kind + LETTERS[min(25, int(chance.exponential(6)))] for _ in range(length))


@pytest.fixture
def drawn() -> tuple[list[str], list[str]]:
    chance = np.random.default_rng(0)
    pool = [words(chance, kind) for kind in chance.choice(list("xyz"), 200)]
    target = [words(chance, "x") for _ in range(30)] + [words(chance, "y") for _ in range(5)]
    return target, pool


def ranked(asked: SetSelection, target: list[str], pool: list[str], budget: Budget) -> Ranked:
    batches = [batch_of(target, asked, beside=True, first=10_000)]
    batches += [batch_of(pool[first : first + 33], asked, first=first) for first in range(0, len(pool), 33)]
    return asked.rank(batches, budget)


def picks(found: Ranked) -> list[int]:
    order = np.argsort(found.ranks, kind="stable")
    return order[found.ranks[order] > 0].tolist()


def counts_of(asked: SetSelection, texts: list[str]) -> np.ndarray:
    """[texts, buckets]"""
    held = [asked.map.features(pa.array([text], pa.string()))[0] for text in texts]
    return np.stack([np.bincount(some, minlength=asked.buckets) for some in held])


def plainly(asked: SetSelection, target: list[str], pool: list[str], budget: int, by_tokens: bool) -> list[int]:
    """Every gain anew for every pick, from all counts."""
    counts, wanted = counts_of(asked, pool), counts_of(asked, target).sum(0)
    share, sizes = wanted / wanted.sum(), counts.sum(1)
    costs = sizes if by_tokens else np.ones(len(pool), int)
    less = np.zeros(len(pool)) if by_tokens else sizes / (sizes.mean() * budget)
    chosen: list[int] = []
    now, left = np.full(asked.buckets, asked.smoothing), budget
    while True:
        open_ = [row for row in range(len(pool)) if row not in chosen and costs[row] <= left]
        if not open_:
            return chosen
        gains = [(share @ np.log((now + counts[row]) / now) - less[row]) / costs[row] for row in open_]
        best = open_[int(np.argmax(np.round(gains, 12)))]
        chosen.append(best)
        now, left = now + counts[best], left - int(costs[best])


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("by_tokens", [False, True])
def test_it_is_the_plain_greedy_choice(drawn: tuple[list[str], list[str]], by_tokens: bool, order: int) -> None:
    asked = SetSelection(ngrams=order, buckets=1 << 12, candidates=1000)
    budget = Budget(300, "tokens") if by_tokens and order == 1 else Budget(25)
    mine = picks(ranked(asked, *drawn, budget))
    assert mine == plainly(asked, *drawn, budget.amount, by_tokens and order == 1)


def test_an_order_in_tokens_is_a_prefix_for_smaller_budgets(drawn: tuple[list[str], list[str]]) -> None:
    asked = SetSelection(buckets=1 << 12, candidates=1000)
    large, small = (picks(ranked(asked, *drawn, Budget(tokens, "tokens"))) for tokens in (600, 200))
    same = next((place for place, pair in enumerate(zip(large, small, strict=False)) if pair[0] != pair[1]), len(small))
    assert same >= len(small) - 5, "until only shorter ones fit"


def test_the_small_kind_of_the_target_is_covered(drawn: tuple[list[str], list[str]]) -> None:
    target, pool = drawn
    chosen = picks(ranked(SetSelection(), target, pool, Budget(400, "tokens")))
    kinds = [pool[row][0] for row in chosen]
    assert 0.05 < kinds.count("y") / len(kinds) < 0.5 and "z" not in kinds


def test_candidates_are_cut_by_importance_and_by_what_may_be_held(
    drawn: tuple[list[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = ranked(SetSelection(candidates=2), *drawn, Budget(20))
    assert found.facts["looked_at"] == 40
    reasons = np.array([*found.reasons, "picked"])[found.reason]
    assert {str(name): int((reasons == name).sum()) for name in np.unique(reasons)} == {
        "not_a_candidate": 160, "not_picked": 20, "picked": 20
    }  # fmt: skip
    monkeypatch.setattr(set_selection, "HELD_BYTES", 4 * 500)
    assert ranked(SetSelection(candidates=2), *drawn, Budget(20)).facts["looked_at"] < 40
    assert passes.HELD_BYTES == 512 << 20


def test_what_no_budget_pays_for_takes_no_place(drawn: tuple[list[str], list[str]]) -> None:
    long = [" ".join(drawn[0]) for _ in range(5)]
    found = ranked(SetSelection(), drawn[0], [*long, *drawn[1]], Budget(100, "tokens"))
    assert len(picks(found)) > 3 and min(picks(found)) >= 5


def test_a_text_may_be_picked_again(drawn: tuple[list[str], list[str]]) -> None:
    target, pool = drawn
    once, often = (ranked(SetSelection(max_epochs=most), target, pool, Budget(900, "tokens")) for most in (1, 4))
    assert often.facts["target_nats"] < once.facts["target_nats"]
    assert set(once.counts) == {1.0} and {1.0, 4.0} <= set(often.counts) <= {1.0, 2.0, 3.0, 4.0}
    lengths = np.array([len(text.split()) for text in pool])
    assert 890 <= (lengths * often.counts)[often.ranks > 0].sum() <= 900


def test_a_budget_that_repeats_can_not_fill_is_told(drawn: tuple[list[str], list[str]]) -> None:
    target, pool = drawn
    said = [ranked(SetSelection(max_epochs=3), target, pool[:4], Budget(rows)).facts["said"] for rows in (12, 13)]
    assert [len(lines) for lines in said] == [1, 2] and said[1][1] == "asked for 13: 12 with each of 4 3 times"


def test_nothing_chooses_among_repeats(run_in: Runner, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "pool.jsonl", [{"id": "a", "text": "one"}])
    again = {"set_selection": {"budget": 3, "max_epochs": 3}}
    source = {"format": "jsonl", "path": "pool.jsonl", "key": "id"}
    with pytest.raises(RecipeError, match=r"steps.1 \(random\): chooses among what step 0 \(set_selection\) repeats"):
        run_in(tmp_path, pool=[source], target=[source], steps=[again, {"random": {"budget": 2}}])


def test_what_earlier_runs_chose_is_in_the_set_from_the_start() -> None:
    asked = SetSelection()
    target = ["red red blue", "blue red green"]
    pool = ["red red red", "red red", "blue blue", "green"]
    batch = batch_of(pool, asked)
    before = batch.append_column("labels", pa.array(["", None, None, None], pa.string()))
    beside = batch_of(target, asked, beside=True, first=100)
    assert picks(asked.rank([beside, batch], Budget(2, "tokens"))) == [1]
    assert picks(asked.rank([beside, before], Budget(2, "tokens"))) == [2], "red is there already"


@pytest.mark.parametrize(
    ("settings", "told"),
    [({"smoothing": 0.0}, "above 0"), ({"candidates": 0.5}, "1 or more"), ({"ngrams": 0}, "order")],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        SetSelection(**settings)


def test_a_target_without_texts_and_an_empty_pool() -> None:
    asked = SetSelection()
    with pytest.raises(ValueError, match="no sample of the target has a text"):
        asked.rank([batch_of(["one two"], asked)], Budget(1))
    assert len(asked.rank([batch_of(["one"], asked, beside=True)], Budget(1)).ids) == 0


@pytest.mark.parametrize("most", [1, 3])
def test_a_run_in_tokens_stays_within_its_budget(
    run_in: Runner, tmp_path: Path, drawn: tuple[list[str], list[str]], most: int
) -> None:
    target, pool = drawn
    write_jsonl(tmp_path / "pool.jsonl", [{"id": f"p{n}", "text": f"{text} n{n}"} for n, text in enumerate(pool)])
    write_jsonl(tmp_path / "target.jsonl", [{"id": f"t{n}", "text": text} for n, text in enumerate(target)])
    outcome = run_in(
        tmp_path,
        pool=[{"format": "jsonl", "path": "pool.jsonl", "key": "id"}],
        target=[{"format": "jsonl", "path": "target.jsonl", "key": "id"}],
        steps=[{"set_selection": {"budget": {"tokens": 300}, "max_epochs": most}}],
        emit=["keys"],
    )
    chosen = open_run(outcome.folder).selection()
    pairs = list(zip(chosen["text"].to_pylist(), chosen["weight"].to_pylist(), strict=True))
    spent = sum(len(text.split()) * times for text, times in pairs)
    assert 280 <= spent <= 300 and outcome.manifest["steps"][0]["spent"] == spent
    assert (max(times for _, times in pairs) > 1) == (most > 1)
    told = outcome.manifest["steps"][0]["facts"]
    assert told["target_nats"] > 0 and "nats under the selection" in told["said"][0]
