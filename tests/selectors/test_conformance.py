"""What every selector of the catalog must hold, run through a real store; a user's own selector meets the same suite.

Decisions are compared by key, so that a failure says which sample was decided otherwise."""

import json
import shutil
import textwrap
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tamis.pipeline.choose import batches
from tamis.pipeline.read import image_blocks, shards
from tamis.selectors.catalog import SELECTORS
from tests_support import BASIC, Runner, write_jsonl

OWN = textwrap.dedent(
    '''
    """A user's own selector: the longest texts first."""
    from dataclasses import dataclass

    import numpy as np
    import pyarrow.compute as pc


    @dataclass(frozen=True, kw_only=True)
    class Longest:
        """Prefer long texts, up to a length that is enough."""

        enough: int = 1000

        def fit(self, pool, targets):
            return self

        def score(self, batch):
            return np.minimum(pc.utf8_length(batch["text"]).to_numpy(), self.enough).astype(float)
    '''
)
CASES: dict[str, dict[str, Any]] = {
    "active": {"column": "v", "budget": 20},
    "active facility": {"column": "v", "acquire": "facility_location", "budget": 20},
    "cluster_balance": {"column": "v", "clusters": 5, "budget": 20},
    "cluster_balance tree": {"column": "v", "clusters": [12, 3], "budget": 20},
    "near_dedup": {},
    "semantic_dedup": {"column": "v", "similarity": 0.95, "clusters": 2},
    "semantic_dedup earlier": {"column": "v", "similarity": 0.9, "clusters": 1, "mode": "earlier", "keep": "hardest"},
    "semantic_dedup components": {"column": "v", "similarity": 0.9, "clusters": 1, "mode": "components"},
    "text_quality": {"apply": ["fineweb"]},
    "sql": {"where": "part <> 'b'"},
    "clip_score": {"image": "v", "text": "w", "budget": 20},
    "clip_score column": {"column": "v_prior", "at_least": 5.0},
    "clip_score ties": {"column": "v_prior", "ties": "include", "budget": 20},
    "decontaminate": {"ngram": 5, "least": 3},
    "decontaminate column": {"column": "v", "similarity": 0.5},
    "image_quality": {"column": "photo", "sharpness": 3000.0},
    "language": {"column": "sure", "keep": ["p"], "above": 0.5},
    "near_dedup column": {"column": "seen", "distance": 8},
    "near_dedup fast": {"form": "fast", "keep": "longest"},
    "neg_clip_loss": {"image": "v", "text": "w", "temperature": 0.07, "batch": 30, "partitions": 2, "budget": 20},
    "norm_sim": {"column": "v", "p": 2, "budget": 20},
    "norm_sim nearest": {"column": "v", "p": "inf", "budget": 20},
    "target_clusters": {"column": "v", "clusters": 6},
    "text_quality column": {"apply": ["gopher"], "column": "read", "limits": {"gopher_word_count": [8, None]}},
    "class_round_robin": {"column": "objects", "budget": 20},
    "detection_entropy": {"column": "objects", "budget": 20},
    "k_center": {"column": "v", "budget": 20},
    "object_coverage": {"column": "objects", "budget": 20},
    "object_coverage negatives": {"column": "objects", "pick": "confident", "negatives": 0.2, "budget": 20},
    "typical_clusters": {"column": "v", "budget": 20},
    "exact_dedup": {},
    "importance_resampling": {"budget": 20},
    "importance_resampling codes": {"features": "v", "budget": 20},
    "importance_resampling logistic": {"features": "v", "ratio": "logistic", "budget": 20},
    "importance_resampling published": {"form": "published", "min_length": 5, "budget": 20},
    "label_errors": {"column": "v", "budget": 4},
    "loss_reduction": {"prior": "v_prior", "conditional": "v_conditional", "budget": 20},
    "ood": {"column": "v", "budget": 20},
    "perplexity": {"column": "v_prior", "keep": "low", "budget": 20},
    "perplexity middle": {"column": "v_prior", "keep": "middle", "budget": 20},
    "quota": {"by": "part", "shares": {"a": 2, "b": 1}, "budget": 18},
    "random": {"budget": 20},
    "self_paced": {"column": "v", "budget": 20},
    "source_budgets": {"column": "v", "by": "part", "floor": 2, "budget": 20},
    "threshold": {"column": "v_prior", "budget": 20},
    "own.py:Longest": {"budget": 20},
}
WRONG = ("s003", "s017", "s031", "s044", "s058", "s066", "s071", "s085")  # labels of label_errors
RECORDS = [
    {
        "id": f"s{i:03d}",
        "part": "abc"[i % 3],
        "sure": [0.9, 0.4, 0.8, 0.7][i % 4],
        "sure_best": "ppq"[i % 3],
        "text": f"word{i % 7} alice went {'to the store ' * (i % 5)}number {i % 23}",
    }
    for i in range(90)
]
TARGET = [{"id": "t0", "text": "alice went to the store"}, {"id": "t1", "text": "word3 to the store"}]
WITH_VECTORS = {  # equal texts, equal vectors
    "columns": {name: {"embed": "precomputed", "path": "vectors.npz", "vector": name} for name in "vw"},
    "target": [{"format": "jsonl", "path": "target.jsonl", "key": "id"}],
}


WITH_LOSSES = {  # equal texts, equal losses
    "columns": {
        f"v_{name}": {"loss": "precomputed", "path": "vectors.npz", "value": name} for name in ("prior", "conditional")
    },
    "target": [],
}


WITH_OBJECTS = {  # equal texts, equal images with equal boxes
    "pool": [{"format": "images", "path": "photos", "keep": ["part"]}],
    "columns": {"objects": {"detect": "file", "path": "boxes.parquet", "features": {"embed": "classic"}}},
    "target": [],
}
WITH_MEASURES = {"columns": {"read": {"measure": "text"}}}
WITH_LANGUAGES = {"pool": [{**BASIC["pool"][0], "keep": ["part", "sure", "sure_best"]}]}
WITH_IMAGES = {  # equal texts, equal images
    "pool": [{"format": "images", "path": "photos", "keep": ["part"]}],
    "columns": {"photo": {"measure": "image"}, "seen": {"embed": "perceptual_hash"}},
    "target": [],
}
RANKERS = (
    "active",
    "class_round_robin",
    "cluster_balance",
    "k_center",
    "label_errors",
    "near_dedup",
    "neg_clip_loss",
    "object_coverage",
    "self_paced",
    "semantic_dedup",
    "typical_clusters",
)  # they look at all together


BY_RULE = (
    "decontaminate",
    "exact_dedup",
    "image_quality",
    "language",
    "near_dedup",
    "semantic_dedup",
    "sql",
    "target_clusters",
    "text_quality",
)  # they take no budget


def step_of(case: str, **changes: Any) -> list[dict[str, Any]]:
    return [{case.split(maxsplit=1)[0]: {**CASES[case], **changes}}]


def more_of(case: str) -> dict[str, Any]:
    values = CASES[case].values()
    if case == "label_errors":
        return {**WITH_VECTORS, "labels": "labels.csv"}
    if case.startswith("decontaminate"):
        return {**WITH_VECTORS, "evaluation": WITH_VECTORS["target"], "target": []}
    if "objects" in values:
        return WITH_OBJECTS
    if "photo" in values or "seen" in values:
        return WITH_IMAGES
    if "sure" in values:
        return WITH_LANGUAGES
    if "read" in values:
        return WITH_MEASURES
    return WITH_VECTORS if "v" in values else WITH_LOSSES if "v_prior" in values else {}


def place(folder: Path, records: list[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_jsonl(folder / "pool.jsonl", records)
    write_jsonl(folder / "target.jsonl", TARGET)
    (folder / "own.py").write_text(OWN)
    every = records + TARGET
    vectors = [np.random.default_rng(list(record["text"].encode())).normal(size=8) for record in every]
    keys = np.array([record["id"] for record in every])
    losses = np.array(vectors)[:, :2].T + 5
    place_images(folder, records)
    kinds = ["pq"[int(vector[0] > 0) ^ (record["id"] in WRONG)] for record, vector in zip(every, vectors, strict=True)]
    rows = [f"{record['id']},{kind}" for record, kind in zip(every, kinds, strict=True)]
    (folder / "labels.csv").write_text("\n".join(["key,label", *rows]) + "\n")
    beside = np.array(vectors) + np.roll(np.array(vectors), 1, axis=1)
    np.savez(folder / "vectors.npz", key=keys, v=np.array(vectors), w=beside, prior=losses[0], conditional=losses[1])
    return folder


def place_images(folder: Path, records: list[dict[str, Any]]) -> None:
    """An image for each record, and some boxes in it."""
    shutil.rmtree(folder / "photos", ignore_errors=True)
    (folder / "photos").mkdir()
    boxes = []
    for record in records:
        draw = np.random.default_rng(list(record["text"].encode()))
        Image.fromarray(draw.integers(0, 255, (24, 24, 3), np.uint8)).save(folder / "photos" / f"{record['id']}.png")
        (folder / "photos" / f"{record['id']}.json").write_text(json.dumps({"part": record["part"]}))
        for _ in range(draw.integers(0, 4)):
            x, y = draw.integers(0, 12, 2).tolist()
            kind, sure = "abcd"[int(draw.choice(4, p=[0.6, 0.2, 0.15, 0.05]))], float(draw.random())
            row = {"key": record["id"], "x1": x, "y1": y, "x2": x + 8, "y2": y + 8, "class": kind, "confidence": sure}
            boxes.append(row)
        if not boxes or boxes[-1]["key"] != record["id"]:  # known to be empty: a box that is dropped
            boxes.append(dict(boxes[-1] if boxes else row_of_nothing(), key=record["id"], x1=90, x2=99))
    pq.write_table(pa.Table.from_pylist(boxes), folder / "boxes.parquet")


def row_of_nothing() -> dict[str, Any]:
    return {"x1": 90, "y1": 90, "x2": 99, "y2": 99, "class": "a", "confidence": 1.0}


def decisions(run_in: Runner, folder: Path, case: str, **changes: Any) -> dict[str, tuple[Any, ...]]:
    outcome = run_in(folder, steps=step_of(case, **changes), allow_code=True, **more_of(case))
    query = """select p.key, l.kept, case when isfinite(l.score) then round(l.score, 9) end, l.rank, l.weight, l.reason
               from read_parquet($ledger) l join read_parquet($pool) p using (sample_id)"""
    found = duckdb.execute(
        query,
        {"ledger": f"{outcome.folder}/ledger/step-00/part-*.parquet", "pool": f"{folder}/store/pool/part-*.parquet"},
    ).fetchall()
    assert len(found) == outcome.manifest["pool"]["samples"]
    return {row[0]: row[1:] for row in found}


@pytest.fixture(params=sorted(CASES))
def case(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_selector_is_in_the_suite() -> None:
    assert set(SELECTORS) <= {name.split()[0] for name in CASES}


def test_each_candidate_has_one_row_and_the_budget_is_kept(run_in: Runner, tmp_path: Path, case: str) -> None:
    found = decisions(run_in, place(tmp_path, RECORDS), case)
    assert len(found) == len(RECORDS)
    kept = [row for row in found.values() if row[0]]
    if "budget" in CASES[case]:
        weight = sum(row[3] for row in kept)
        assert weight > CASES[case]["budget"] if "ties" in CASES[case] else weight == CASES[case]["budget"]


def test_order_of_rows_shards_and_batches_do_not_matter(
    run_in: Runner, tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = decisions(run_in, place(tmp_path / "whole", RECORDS), case)
    monkeypatch.setattr(shards, "SHARD_ROWS", 16)
    monkeypatch.setattr(shards, "SHARD_IMAGES", 16)
    monkeypatch.setattr(image_blocks, "BLOCK_IMAGES", 16)
    monkeypatch.setattr(batches, "BATCH_ROWS", 5)
    pieces = decisions(run_in, place(tmp_path / "pieces", RECORDS[::-1]), case)
    assert len(list((tmp_path / "pieces" / "store" / "pool").glob("part-*"))) >= 5
    assert pieces == whole


def test_same_seed_same_result_other_seed_may_differ(run_in: Runner, tmp_path: Path, case: str) -> None:
    first = decisions(run_in, place(tmp_path / "a", RECORDS), case)
    assert decisions(run_in, place(tmp_path / "b", RECORDS), case) == first


@pytest.mark.parametrize("budget", [0, 10_000])
def test_budget_zero_keeps_none_and_a_large_one_all_that_may_be_kept(
    run_in: Runner, tmp_path: Path, case: str, budget: int
) -> None:
    if "budget" not in CASES[case]:
        pytest.skip("takes no budget")
    found = decisions(run_in, place(tmp_path, RECORDS), case, budget=budget)
    kept = sum(row[0] for row in found.values())
    assert (
        kept == sum(row[2] == 1 or row[1] == max(one[1] for one in found.values()) for row in found.values())
        if budget == 0 and "ties" in CASES[case]
        else kept == 0
        if budget == 0
        else kept
        == sum(row[4] not in ("no_quota", "too_short", "no_objects", "label_stands") for row in found.values())
    )


def test_samples_of_equal_content_have_equal_scores(run_in: Runner, tmp_path: Path, case: str) -> None:
    if case.split(maxsplit=1)[0] in ("random", "quota", "source_budgets", *RANKERS):
        pytest.skip("chance belongs to the sample, not to its content; a ranker takes one of two")
    twins = [{**RECORDS[5], "id": "twin"}]
    found = decisions(run_in, place(tmp_path, RECORDS + twins), case)
    assert found["twin"][1] == found["s005"][1]
    if case == "exact_dedup":
        assert (found["s005"][0], found["twin"][0]) == (True, False)


def test_outside_of_where_samples_pass_through(run_in: Runner, tmp_path: Path, case: str) -> None:
    if case == "sql":
        pytest.skip("its `where` is its rule")
    changes = {} if case.split(maxsplit=1)[0] in BY_RULE else {"budget": 5}
    found = decisions(run_in, place(tmp_path, RECORDS), case, where="part <> 'c'", **changes)
    outside = [row for key, row in found.items() if RECORDS[int(key[1:])]["part"] == "c"]
    assert all(row[0] and row[4] == "not_in_scope" for row in outside)
    assert {row[4] for row in found.values()} != {"not_in_scope"}


def test_steps_after_a_step_that_kept_none_see_no_candidates(run_in: Runner, tmp_path: Path, case: str) -> None:
    steps = [{"random": {"budget": 0}}, *step_of(case)]
    outcome = run_in(place(tmp_path, RECORDS), steps=steps, allow_code=True, **more_of(case))
    assert (outcome.manifest["steps"][1]["candidates"], outcome.selected) == (0, 0)
    assert pq.read_table(outcome.folder / "selection.parquet").num_rows == 0
    assert BASIC["emit"]
