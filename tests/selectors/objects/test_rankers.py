"""Rankers: exact on their own arrays, whatever the order of rows; never above the budget."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.selectors.budget import Budget, Fraction, parse_budget, shown
from tamis.selectors.catalog import build
from tamis.selectors.objects.proposals import struct_type
from tamis.selectors.vectors.columns import as_column
from tamis.selectors.vectors.k_means import k_means, nearest

Picture = list[tuple[str, list[float]]]  # of each object its class and feature


def batch_of(pictures: list[Picture | None], labels: list[str | None] | None = None, ids: Any = None) -> pa.RecordBatch:
    """A batch as a step sees it; ids are 1, 2, ... unless given."""
    dim = next((len(feature) for picture in pictures for _, feature in picture or []), 2)
    rows = [
        None
        if picture is None
        else [
            {
                "box": [0, 0, 4, 4],
                "class": name,
                "confidence": 0.9,
                "area": 0.1,
                "feature": np.array(feature, np.float16),
            }
            for name, feature in picture
        ]
        for picture in pictures
    ]
    arrays: dict[str, Any] = {
        "sample_id": pa.array(ids if ids is not None else range(1, len(rows) + 1), pa.uint64()),
        "objects": pa.array(rows, pa.list_(struct_type(dim))),
        "objects_count": pa.array([len(picture or []) for picture in pictures], pa.int32()),
    }
    if labels is not None:
        arrays["labels"] = pa.array(labels, pa.string())
    return pa.record_batch(arrays)


def picked(batches: list[pa.RecordBatch], budget: Any, name: str = "object_coverage", **more: Any) -> list[int]:
    """Ids in the order of the picks."""
    found = build(name, {"column": "objects", **more}).rank(iter(batches), budget)
    order = np.argsort(found.ranks[found.ranks > 0])
    return [int(one) for one in found.ids[found.ranks > 0][order]]


def scene(draw: np.random.Generator, classes: str = "aaabbc", most: int = 3) -> Picture:
    return [
        (str(draw.choice(list(classes))), draw.normal(size=4).tolist()) for _ in range(int(draw.integers(0, most + 1)))
    ]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    budget=st.integers(0, 40),
    unit=st.sampled_from(["rows", "objects", "minutes"]),
    negatives=st.sampled_from([0.0, 0.3]),
)
def test_the_budget_is_never_exceeded_and_rows_may_come_in_any_order(
    seed: int, budget: int, unit: str, negatives: float
) -> None:
    draw = np.random.default_rng(seed)
    pictures: list[Picture | None] = [scene(draw) for _ in range(30)]
    pictures[3] = None
    labels = [("a" if draw.random() < 0.1 else None) for _ in pictures]
    whole = batch_of(pictures, labels)
    asked: Any = {"rows": Budget(budget), "objects": Budget(budget, "objects", "objects_count")}.get(
        unit, Budget(budget * 60_000, "minutes", "objects_count", image=1.5, object=0.5)
    )
    picks = picked([whole], asked, negatives=negatives)
    spent = int(asked.costs(whole)[np.isin(whole["sample_id"].to_numpy(), picks)].sum())
    assert spent <= asked.amount
    labeled = {place for place, label in enumerate(labels, 1) if label}
    assert not labeled & set(picks) and len(picks) == len(set(picks))
    if unit == "rows":
        assert len(picks) == min(budget, 30 - len(labeled))
    order = draw.permutation(30)
    pieces = [whole.take(pa.array(part)) for part in np.array_split(order, 4)]
    assert picked(pieces, asked, negatives=negatives) == picks


def test_each_class_is_covered_before_any_has_a_second() -> None:
    draw = np.random.default_rng(0)
    common: list[Picture | None] = [[("a", draw.normal(size=4).tolist())] for _ in range(40)]
    rare: list[Picture | None] = [[(name, draw.normal(size=4).tolist())] for name in "bcdefg"]
    assert set(range(41, 47)) <= set(picked([batch_of(common + rare)], Budget(7)))
    assert picked([batch_of(common + rare)], Budget(3)) == [41, 42, 43], "fewer than classes: the rarest, by name"


def test_a_class_is_covered_cluster_by_cluster() -> None:
    corners = np.eye(4) * 10
    pictures: list[Picture | None] = [
        [("a", (corners[place % 4] + [0.01 * place, 0, 0, 0]).tolist())] for place in range(40)
    ]
    picks = picked([batch_of(pictures)], Budget(4))
    assert {(pick - 1) % 4 for pick in picks} == {0, 1, 2, 3}, "one of each corner"


def test_copies_of_an_image_add_no_pick() -> None:
    draw = np.random.default_rng(1)
    pictures: list[Picture | None] = [scene(draw) or [("a", [1.0, 0, 0, 0])] for _ in range(20)]
    before = picked([batch_of(pictures)], Budget(8))
    after = picked([batch_of([*pictures, *[pictures[before[0] - 1]] * 15])], Budget(8))
    same_scene = {before[0], *range(21, 36)}
    assert len(same_scene & set(after)) <= 1


def test_what_is_labeled_covers_what_it_holds() -> None:
    twin: Picture = [("a", [1.0, 0.0])]
    other: Picture = [("a", [0.0, 1.0])]
    assert picked([batch_of([twin, other, twin, other], ["x", None, None, None])], Budget(1)) == [2]


def test_a_class_that_is_never_proposed_is_told_and_gives_its_share_away() -> None:
    draw = np.random.default_rng(2)
    pictures: list[Picture | None] = [[("a", draw.normal(size=4).tolist())] for _ in range(10)]
    found = build("object_coverage", {"column": "objects", "classes": ["a", "unicorn"]}).rank(
        iter([batch_of(pictures)]), Budget(6)
    )
    assert (found.ranks > 0).sum() == 6
    assert [(row["class"], row["proposed"], row["picks"]) for row in found.facts["coverage"]] == [
        ("unicorn", 0, 0),
        ("a", 10, 6),
    ]


def test_images_without_objects_are_negatives_or_the_last_resort() -> None:
    draw = np.random.default_rng(3)
    pictures: list[Picture | None] = [[("a", draw.normal(size=4).tolist())] for _ in range(10)]
    empty: list[Picture | None] = [[] for _ in range(10)]
    assert not set(picked([batch_of(pictures + empty)], Budget(10))) & set(range(11, 21))
    assert len(set(picked([batch_of(pictures + empty)], Budget(10), negatives=0.3)) & set(range(11, 21))) == 3
    assert len(picked([batch_of(empty)], Budget(4))) == 4


def test_a_hundred_thousand_objects_of_one_class_are_told_apart() -> None:
    draw = np.random.default_rng(4)
    corner = np.arange(100_000) % 20
    vectors = (np.eye(20)[corner] + draw.normal(size=(100_000, 20)) * 0.02).astype(np.float16)
    kinds: list[Picture | None] = [[("a", feature)] for feature in vectors.tolist()]
    picks = picked([batch_of(kinds[at : at + 10_000], ids=range(at, at + 10_000)) for at in range(0, 100_000, 10_000)], Budget(20))  # fmt: skip
    assert len({int(corner[pick]) for pick in picks}) >= 19


def test_too_many_objects_leave_rare_classes_whole_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tamis.selectors.objects.proposals.MOST_OBJECTS", 60)
    draw = np.random.default_rng(5)
    pictures: list[Picture | None] = [[(str(draw.choice(list("abcdef"))), draw.normal(size=4).tolist())] * 2 for _ in range(300)]  # fmt: skip
    pictures += [[("rare", draw.normal(size=4).tolist())] for _ in range(5)]
    whole = batch_of(pictures)
    found = build("object_coverage", {"column": "objects"}).rank(iter([whole]), Budget(20))
    told = {row["class"]: row for row in found.facts["coverage"]}
    assert sum(row["proposed"] for row in told.values()) == 605
    assert (told["rare"]["proposed"], told["rare"]["images"]) == (5, 5)
    assert sum(row["images"] for row in told.values()) <= 60
    for seed in range(5):
        pieces = np.array_split(np.random.default_rng(seed).permutation(305), 7)
        assert picked([whole.take(pa.array(part)) for part in pieces], Budget(20)) == picked([whole], Budget(20))


def test_many_labels_leave_the_uncovered_objects_to_be_chosen() -> None:
    draw = np.random.default_rng(9)
    pictures: list[Picture | None] = [[("a", draw.normal(size=4).tolist())] for _ in range(1000)]
    given_ = batch_of(pictures, ["x"] * 950 + [None] * 50)
    found = build("object_coverage", {"column": "objects"}).rank(iter([given_]), Budget(20))
    texts = [text for text in found.details(given_) if text]
    assert len(texts) == 20 and not any("filled" in text for text in texts)


def test_a_price_that_overflows_is_refused_and_a_map_of_confidences_is_as_exact_as_a_number() -> None:
    prices = pa.record_batch({"price": pa.array([1e16, 5.0])})
    with pytest.raises(ValueError, match="too large"):
        Budget(10, "cost", "price").costs(prices)
    whole = batch_of([[("a", [1.0, 0.0])]])
    for least in (0.9, {"a": 0.9}):
        found = build("object_coverage", {"column": "objects", "confidence": least}).rank(iter([whole]), Budget(1))
        assert found.facts["coverage"][0]["images"] == 1


@pytest.mark.parametrize("name", ["object_coverage", "class_round_robin"])
def test_rivals_keep_to_budgets_in_objects_and_minutes(name: str) -> None:
    draw = np.random.default_rng(10)
    whole = batch_of([scene(draw) for _ in range(40)])
    for asked in (Budget(7, "objects", "objects_count"), Budget(90_000, "minutes", "objects_count", 0.25, 0.2)):
        picks = picked([whole], asked, name)
        assert picks and int(asked.costs(whole)[np.array(picks) - 1].sum()) <= asked.amount


def test_why_an_image_was_not_picked_is_on_record() -> None:
    pictures: list[Picture | None] = [
        [("a", [1.0, 0.0])], [("a", [1.0, 0.0])], [("b", [0.0, 1.0])], [], [("b", [5.0, 5.0])], None,
    ]  # fmt: skip
    whole = batch_of(pictures, ["x", None, None, None, None, None])
    found = build("object_coverage", {"column": "objects"}).rank(iter([whole]), Budget(1))
    reasons = found.barred(whole)
    assert (
        reasons[0] == "already_labeled"
        and reasons[1] == "covered"
        and (reasons[3], reasons[5]) == ("no_objects", "unknown")
    )
    assert found.related_ids(whole)[1] == 1, "the labeled image that covers it"
    assert found.details(whole)[int(np.flatnonzero(found.ranks)[0])].startswith("b (0.90), object 0 at [0, 0, 4, 4]")


def test_a_column_without_objects_or_features_is_one_clear_error() -> None:
    plain = pa.record_batch({"sample_id": pa.array([1], pa.uint64()), "objects": pa.array([1.5])})
    with pytest.raises(ValueError, match="no column of objects"):
        picked([plain], Budget(1))
    bare = batch_of([[("a", [1.0, 0.0])]])
    objects = bare["objects"].cast(pa.list_(struct_type(2)))
    flat = objects.flatten()
    fields = [field for field in flat.type if field.name != "feature"]
    less = pa.StructArray.from_arrays([flat.field(field.name) for field in fields], fields=fields)
    given = pa.record_batch({"sample_id": bare["sample_id"], "objects": pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), less)})  # fmt: skip
    with pytest.raises(ValueError, match="have no features: add"):
        picked([given], Budget(1))
    assert picked([given], Budget(1), "class_round_robin") == [1]


def of_vectors(vectors: Any, labels: Any = None) -> pa.RecordBatch:
    arrays = {"sample_id": pa.array(range(1, len(vectors) + 1), pa.uint64()), "objects": as_column(vectors)}
    if labels is not None:
        arrays["labels"] = pa.array(labels, pa.string())
    return pa.record_batch(arrays)


@pytest.mark.parametrize("labeled", [0, 3])
def test_k_center_is_the_plain_greedy_choice(labeled: int) -> None:
    draw = np.random.default_rng(6)
    labels = ["x"] * labeled + [None] * (200 - labeled)
    given_ = of_vectors(draw.normal(size=(200, 8)), labels)
    picks = [one - 1 for one in picked([given_], Budget(15), "k_center")]
    vectors = np.array(given_["objects"].to_pylist(), np.float64)
    chosen = list(range(labeled)) or [int(((vectors - vectors.mean(0)) ** 2).sum(1).argmin())]
    while len(chosen) < 15 + labeled:
        far = ((vectors[:, None] - vectors[chosen][None]) ** 2).sum(2).min(1)
        chosen.append(int(far.argmax()))
    assert picks == chosen[labeled:]


def test_typical_clusters_take_one_of_each_group_and_skip_the_labeled_one() -> None:
    draw = np.random.default_rng(7)
    vectors = np.repeat(np.eye(5), 30, 0) + draw.normal(size=(150, 5)) * 0.05
    labels = [None] * 149 + ["x"]
    picks = picked([of_vectors(vectors, labels)], Budget(4), "typical_clusters")
    assert {(pick - 1) // 30 for pick in picks} == {0, 1, 2, 3}


def test_k_means_finds_the_groups_and_gives_each_row_its_nearest_centre() -> None:
    draw = np.random.default_rng(8)
    vectors = (np.repeat(np.eye(6) * 4, 50, 0) + draw.normal(size=(300, 6)) * 0.1).astype(np.float32)
    labels, centres, far = k_means(vectors, 6, 0)
    assert len(centres) == 6 and all(len(set(labels[first : first + 50])) == 1 for first in range(0, 300, 50))
    plain = ((vectors[:, None] - centres[None]) ** 2).sum(2)
    assert (plain.argmin(1) == labels).all()
    np.testing.assert_allclose(far, plain.min(1), atol=1e-4)
    same = np.ones((50, 3), np.float32)
    assert len(k_means(same, 10, 0)[1]) == 1, "equal rows make one cluster"
    assert nearest(vectors[:0], centres)[0].shape == (0,)


@pytest.mark.parametrize(
    ("given_", "wanted"),
    [
        (40, "40 rows"), ({"objects": 200, "by": "n"}, "200 objects"),
        ({"minutes": 90, "image": 0.5, "object": 0.1, "by": "n"}, "90 minutes"),
        ({"cost": 12.5, "by": "price"}, "12.50 cost"), ({"tokens": 5, "by": "t"}, "5 tokens"),
    ],
)  # fmt: skip
def test_budgets_are_shown_as_they_were_given(given_: Any, wanted: str) -> None:
    assert str(parse_budget({"budget": given_})) == wanted


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ({"minutes": 90}, "say how long one takes"), ({"cost": 3}, "by: FIELD"), ({"metres": 3}, "budget must be"),
        ({"minutes": -1, "image": 1, "object": 1}, "0 or more"), ({"objects": 1.5}, "whole number"),
        ({"minutes": 9, "image": 0, "object": 0}, "say how long one takes"),
    ],
)  # fmt: skip
def test_budgets_that_mean_nothing_are_refused(given_: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_budget({"budget": given_})


def test_costs_are_summed_as_whole_numbers() -> None:
    batch = pa.record_batch({"n": pa.array([0, 3, 7]), "price": pa.array([0.1, 0.2, 0.3])})
    minutes = parse_budget({"budget": {"minutes": 1, "image": 0.5, "object": 0.1, "by": "n"}})
    assert isinstance(minutes, Budget) and minutes.costs(batch).tolist() == [30_000, 48_000, 72_000]
    money = parse_budget({"budget": {"cost": 1, "by": "price"}})
    assert isinstance(money, Budget) and money.costs(batch).tolist() == [1000, 2000, 3000]
    assert shown(90_000, "minutes") == "1.50" and Fraction(0.29).units(100) == 29
