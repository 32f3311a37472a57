"""DataComp's filters on files of its exact layout, by the recipes that ship: who is kept, and the manifest's bytes.

Expected are plain computations from the published rules, one row at a time, beside golden counts."""

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import DATA

from tamis.pipeline.recipe.recipe import load_recipe
from tamis.pipeline.starting import Outcome, run_recipe
from tests_support import ROOT, result_bytes

ROWS, SHARDS = 1000, 3
CAPTIONS = [
    "a photo of a red house by the sea", "two dogs run over the wet beach", "The old mill and its garden in spring",
    "ein Foto von einem roten Haus am Meer", "une photo d'une maison rouge au bord de la mer", "赤い家の写真 です 海 の", "Café in Zürich — naïve résumé of the façade",
    "IMG_2041.JPG", "red car", "a b c", "a b cd", "cat", "sunset 🌅 over the mountains of Norway", "the quick brown fox jumps over", "дом у моря летом",
    "  padded   with   spaces and words  ",
]  # fmt: skip
SIDES = [(200, 200), (199, 400), (200, 600), (200, 601), (640, 480), (1200, 400), (1201, 400), (1000, 199), (300, 900)]


def records() -> list[dict[str, Any]]:
    draw = np.random.default_rng(7)
    rows = []
    for n in range(ROWS):
        width, height = SIDES[int(draw.integers(len(SIDES)))]
        halves = draw.integers(0, 1 << 63, 2, dtype=np.uint64)
        rows.append(
            {
                "uid": f"{int(halves[0]):016x}{int(halves[1]):016x}",
                "url": f"https://example.org/{n}.jpg",
                "text": CAPTIONS[int(draw.integers(len(CAPTIONS)))],
                "original_width": width,
                "original_height": height,
                "clip_b32_similarity_score": float(np.float32(draw.normal(0.24, 0.05))),
                "clip_l14_similarity_score": round(float(draw.normal(0.2, 0.05)), 2),  # many ties
                "face_bboxes": [],
                "sha256": f"{n:064x}",
            }
        )
    rows[0]["uid"] = "139e4a9b22a614771f06c700a8ebe150"
    return rows


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Metadata as DataComp's downloader leaves it: Parquet and .npz of one stem and row order."""
    folder = tmp_path_factory.mktemp("datacomp")
    draw = np.random.default_rng(8)
    centres = draw.normal(size=(40, 16))
    whole = records()
    (folder / "metadata").mkdir()
    (folder / "target").mkdir()
    for shard in range(SHARDS):
        some = whole[shard::SHARDS]
        stem = folder / "metadata" / f"{shard:032x}"
        pq.write_table(pa.Table.from_pylist(some), stem.with_suffix(".parquet"))
        images = centres[draw.integers(0, 40, len(some))] + 0.1 * draw.normal(size=(len(some), 16))
        np.savez(stem.with_suffix(".npz"), l14_img=images.astype(np.float16), dedup=np.zeros(len(some)))
    target = [{"uid": f"{n:032x}", "text": "of the target"} for n in range(12)]
    pq.write_table(pa.Table.from_pylist(target), folder / "target" / "t.parquet")
    near = centres[:12] + 0.1 * draw.normal(size=(12, 16))
    np.savez(folder / "target" / "t.npz", l14_img=near.astype(np.float16))
    return folder


def run_shipped(name: str, layout: Path, *overrides: str) -> Outcome:
    shutil.copy(ROOT / "recipes" / f"{name}.yaml", layout)
    recipe = load_recipe(layout / f"{name}.yaml", list(overrides))
    return run_recipe(recipe, layout, layout / f"store-{name}")


def manifest(uids: list[str]) -> bytes:
    """A subset file, as the one line of numpy that DataComp's readers are made for."""
    told = np.array(sorted((int(u[:16], 16), int(u[16:], 16)) for u in uids), np.dtype("u8,u8"))
    import io

    np.save(out := io.BytesIO(), told)
    return out.getvalue()


def kept(outcome: Outcome) -> list[str]:
    uids: list[str] = pq.read_table(outcome.folder / "selection.parquet")["uid"].to_pylist()
    assert (outcome.folder / "exports" / "uids.npy").read_bytes() == manifest(uids)
    return sorted(uids)


def test_clip_score_keeps_what_datacomps_rule_keeps(layout: Path) -> None:
    scores = {row["uid"]: row["clip_l14_similarity_score"] for row in records()}
    line = sorted(scores.values(), reverse=True)[int(ROWS * 0.3)]
    wanted = sorted(uid for uid, score in scores.items() if score >= line)
    outcome = run_shipped("datacomp_clip_score", layout)
    assert kept(outcome) == wanted and len(wanted) == 356  # the 301st and its ties
    exact = run_shipped("datacomp_clip_score", layout, "steps.0.clip_score.ties=by_id", "name=exact")
    assert len(kept(exact)) == 300 and set(kept(exact)) < set(wanted)
    edges = {0.0: int(sum(score == max(scores.values()) for score in scores.values())), 1.0: ROWS}
    for fraction, count in edges.items():
        step = [f"steps.0.clip_score.fraction={fraction}", f"name=edge{int(fraction)}"]
        assert len(kept(run_shipped("datacomp_clip_score", layout, *step))) == count
    at_least = run_shipped("datacomp_clip_score", layout, f"steps=[{{clip_score: {{column: clip_l14_similarity_score, at_least: {line}}}}}]", "name=at-least")  # fmt: skip
    assert kept(at_least) == wanted


def test_the_uid_of_the_published_example(layout: Path) -> None:
    outcome = run_shipped("datacomp_clip_score", layout, "steps=[]", "name=all")
    pairs = np.load(outcome.folder / "exports" / "uids.npy", allow_pickle=False)
    assert (0x139E4A9B22A61477, 0x1F06C700A8EBE150) in [tuple(pair) for pair in pairs.tolist()]
    assert pairs.dtype == np.dtype("u8,u8") and len(pairs) == ROWS == len(set(pairs.tolist()))


def english() -> Any:
    fasttext = pytest.importorskip("fasttext", reason="fasttext-predict is not installed")
    path = DATA / "models" / "lid.176.ftz"
    if not path.exists():
        pytest.skip(f"no fastText model at {path}; set TAMIS_TEST_DATA")
    model = fasttext.load_model(str(path))
    return lambda text: model.predict(text.replace("\n", " "))[0][0] == "__label__en"


def test_basic_filtering_by_its_shipped_recipe(layout: Path) -> None:
    is_english = english()
    wanted = sorted(
        row["uid"]
        for row in records()
        if is_english(row["text"])
        and len(row["text"].split()) > 2
        and len(row["text"]) > 5
        and min(row["original_width"], row["original_height"]) >= 200
        and max(row["original_width"], row["original_height"]) / min(row["original_width"], row["original_height"])
        <= 3.0
    )
    outcome = run_shipped("datacomp_basic", layout, f"columns.language.model={DATA / 'models' / 'lid.176.ftz'}")
    assert kept(outcome) == wanted and len(wanted) == 227
    ledger = pq.ParquetDataset(outcome.folder / "ledger").read().to_pylist()
    reasons = {row["reason"] for row in ledger if not row["kept"]}
    assert reasons == {"other_language", "condition_not_met"}


def test_image_based_filtering_by_its_shipped_recipe(layout: Path) -> None:
    is_english = english()
    overrides = [f"columns.language.model={DATA / 'models' / 'lid.176.ftz'}", "steps.2.target_clusters.clusters=40"]
    outcome = run_shipped("datacomp_image_based", layout, *overrides)
    found = kept(outcome)
    captions = {row["uid"]: row["text"] for row in records()}
    passed = [uid for uid, text in captions.items() if is_english(text) and len(text) > 5 and len(text.split()) > 1]
    ledger = pq.read_table(outcome.folder / "ledger" / "step-02").to_pylist()
    assert len(ledger) == len(passed) and set(found) <= set(passed)
    assert 0.15 < len(found) / len(passed) < 0.45  # 12 of 40 centres hold the target
    assert {row["reason"] for row in ledger if not row["kept"]} == {"no_target_near"}


@pytest.mark.skipif(sys.platform == "win32", reason="paths")
def test_the_order_of_files_and_their_cut_change_nothing(layout: Path, tmp_path: Path) -> None:
    """The same rows in one file, reversed: the same selection to the byte."""
    first = run_shipped("datacomp_clip_score", layout)
    (tmp_path / "metadata").mkdir()
    pq.write_table(pa.Table.from_pylist(records()[::-1]), tmp_path / "metadata" / "one.parquet")
    again = run_shipped("datacomp_clip_score", tmp_path)
    assert kept(first) == kept(again)
    assert result_bytes(first.folder).keys() == result_bytes(again.folder).keys()
