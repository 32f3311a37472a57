"""Perplexity, loss reduction and thresholds on arrays: order, counts, bands, and what they refuse."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.selectors import quantiles
from tamis.selectors.catalog import build
from tamis.selectors.match.loss_reduction import LossReduction
from tamis.selectors.quality.perplexity import Perplexity
from tamis.selectors.quality.threshold import Threshold
from tamis.selectors.quantiles import shares_below, sorted_values


def batch(**columns: Any) -> pa.RecordBatch:
    rows = len(next(iter(columns.values())))
    return pa.record_batch(
        {"sample_id": pa.array(range(rows), pa.uint64()), **{n: pa.array(v) for n, v in columns.items()}}
    )


def kept(selector: Any, data: pa.RecordBatch) -> list[int]:
    fitted = selector.fit([data], [])
    return [
        i
        for i, (reason, score) in enumerate(zip(fitted.barred(data), fitted.score(data), strict=True))
        if reason is None and np.isfinite(score)
    ]


def test_loss_reduction_is_prior_minus_conditional_and_swapping_the_models_inverts_it() -> None:
    rng = np.random.default_rng(0)
    data = batch(a=rng.normal(4, 1, 500).astype(np.float32), b=rng.normal(4, 1, 500).astype(np.float32))
    one = LossReduction(prior="a", conditional="b").fit([], []).score(data)
    other = LossReduction(prior="b", conditional="a").fit([], []).score(data)
    wanted = data["a"].to_numpy().astype(np.float64) - data["b"].to_numpy()
    assert np.array_equal(one, wanted) and np.array_equal(np.argsort(one), np.argsort(other)[::-1])


def test_losses_of_other_tokens_are_not_compared() -> None:
    data = batch(a=[1.0, 2.0], b=[1.0, 1.0], a_tokens=[5, 9], b_tokens=[5, 8])
    with pytest.raises(ValueError, match=r"9 and 8 of one sample.*one tokenizer"):
        LossReduction(prior="a", conditional="b").fit([], []).score(data)


def test_what_a_model_was_trained_on_is_said_and_dropped_on_request() -> None:
    data = batch(
        a=[3.0, 3.0, None],
        b=[1.0, 2.0, 1.0],
        a_in_training_slice=[True, False, False],
        b_in_training_slice=[None, False, False],
    )
    marked = LossReduction(prior="a", conditional="b").fit([], [])
    assert marked.barred(data) == [None] * 3 and "training slice" in str(marked.details(data)[0])
    assert np.isnan(marked.score(data)[2])
    dropped = LossReduction(prior="a", conditional="b", exclude_training=True).fit([], [])
    assert dropped.barred(data) == ["in_training_slice", None, None]
    low = Perplexity(column="a", keep="low", exclude_training=True, band=[0, 1]).fit([data], [])
    assert low.barred(data)[0] == "in_training_slice"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=1, max_size=60), st.sampled_from(["low", "middle", "high"]))
def test_perplexity_orders_by_the_loss_and_by_any_rising_function_of_it(losses: list[float], keep: str) -> None:
    def order(values: list[float]) -> list[int]:
        data = batch(x=values)
        fitted = Perplexity(column="x", keep=keep).fit([data], [])
        keys = np.asarray(fitted.order_keys(data, fitted.score(data)[None, :])).ravel()
        return np.lexsort((np.arange(len(keys)), -keys)).tolist()

    rounded = [round(value, 3) for value in losses]
    assert order(rounded) == order([value * 3 + 7 for value in rounded])
    best = rounded[order(rounded)[0]]
    assert keep == "middle" or best == (min(rounded) if keep == "low" else max(rounded))


def test_middle_takes_those_around_the_median() -> None:
    data = batch(x=np.arange(101.0)[::-1])
    fitted = Perplexity(column="x", keep="middle").fit([data], [])
    best = np.argsort(-fitted.score(data), kind="stable")[:21]
    assert sorted(data["x"].to_numpy()[best].tolist()) == list(np.arange(40.0, 61.0))


def test_bands_buckets_and_cutoffs_cut_where_they_say() -> None:
    data = batch(x=np.arange(100.0))
    assert kept(Perplexity(column="x", keep="low", band=[0.2, 0.4]), data) == list(range(20, 40))
    for keep, wanted in (("low", range(30)), ("middle", range(30, 60)), ("high", range(60, 100))):
        assert kept(Perplexity(column="x", keep=keep, buckets=[0.3, 0.6]), data) == list(wanted)
        assert kept(Perplexity(column="x", keep=keep, cutoffs=[30.0, 60.0]), data) == list(wanted)
    told = Perplexity(column="x", keep="low", buckets=[0.3, 0.6]).fit([data], []).details(data)
    assert (told[0], told[30], told[99]) == ("head", "middle", "tail")


def test_by_a_group_each_has_its_own_quantiles() -> None:
    data = batch(x=[1.0, 2, 3, 4, 101, 102, 103, 104, np.nan], lang=["en"] * 4 + ["de"] * 4 + [None])
    assert kept(Perplexity(column="x", keep="low", buckets=[0.5, 0.75], by="lang"), data) == [0, 1, 4, 5]
    cutoffs = {"en": [3.0, 4.0], "de": [102.0, 103.0]}
    assert kept(Perplexity(column="x", keep="low", cutoffs=cutoffs, by="lang"), data) == [0, 1, 4]
    fitted = Perplexity(column="x", keep="low", by="lang").fit([data], [])
    keys = fitted.order_keys(data, fitted.score(data)[None, :])[0]
    assert min(keys[0], keys[4]) > max(keys[1], keys[5]) > max(keys[2], keys[6]) and np.isnan(keys[8])
    names, values, ends = sorted_values([data], "x", "lang")
    assert (names, ends.tolist()) == (["de", "en"], [4, 8])
    assert shares_below(batch(x=[103.5], lang=["de"]), "x", "lang", names, values, ends).tolist() == [0.75]


def test_thresholds_on_numbers_integers_and_booleans() -> None:
    data = batch(x=[1, 2, 3, None, 5], y=[True, False, True, None, False], z=["a"] * 5)
    assert kept(Threshold(column="x", above=1, below=5), data) == [1, 2]
    assert kept(Threshold(column="y", above=0.5), data) == [0, 2]
    assert kept(Threshold(column="x", above_quantile=0.5), data) == [2, 4]
    assert kept(Threshold(column="x", below_quantile=0.5), data) == [0, 1]
    as_text = batch(x=["1", " 2.5 ", "", "  ", None])
    assert kept(Threshold(column="x", above=1), as_text) == [1], "blank ones are no numbers, and end nothing"
    with pytest.raises(ValueError, match="'z' holds no numbers"):
        kept(Threshold(column="z", above_quantile=0.5), data)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("perplexity", {"column": "x"}, "keep: missing"),
        ("perplexity", {"column": "x", "keep": "low", "band": [0.5, 0.1]}, "the smaller first"),
        ("perplexity", {"column": "x", "keep": "low", "band": [0, 1], "buckets": [0, 1]}, "one of band"),
        ("perplexity", {"column": "x", "keep": "low", "cutoffs": {"en": [1.0, 2.0]}}, "need `by`"),
        ("threshold", {"column": "x", "above_quantile": 2.0}, "from 0 to 1"),
        ("loss_reduction", {"prior": "a"}, "conditional: missing"),
    ],
)
def test_wrong_settings_are_refused(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(name, settings)


def test_equal_values_share_their_part_of_the_scale() -> None:
    data = batch(x=[1.0] * 3000 + list(np.linspace(0, 0.9, 7000)))
    assert abs(len(kept(Threshold(column="x", above_quantile=0.9), data)) - 1000) < 100
    assert len(kept(Perplexity(column="x", keep="low", band=[0, 0.2]), batch(x=[4.0] * 1000))) in range(160, 240)


def test_beyond_what_is_held_shares_are_those_of_a_random_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantiles, "MOST", 4000)
    rising = np.arange(40_000.0)  # a pool in the order of its values
    parts = [
        pa.record_batch({"sample_id": pa.array(rising[i : i + 1000].astype(np.uint64)), "x": rising[i : i + 1000]})
        for i in range(0, 40_000, 1000)
    ]
    names, values, ends = sorted_values(parts, "x", None)
    assert 4000 <= len(values) <= 8000
    for share in (0.1, 0.5, 0.9):
        found = shares_below(batch(x=[share * 40_000]), "x", None, names, values, ends)[0]
        assert abs(found - share) < 0.03
