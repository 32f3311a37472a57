"""What cleans a pool before it is chosen from, through whole runs: measures, hashes, evaluation sets, joined numbers,
splits."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageFilter

from tamis.pipeline.decode.perceptual_hash import PLAN as HASH_PLAN
from tamis.pipeline.decode.perceptual_hash import hashed
from tamis.pipeline.decode.quality import PLAN, measured
from tamis.pipeline.emit.splits import assigned
from tamis.pipeline.errors import RecipeError, SourceError, TamisError
from tamis.pipeline.explain.why import why
from tamis.pipeline.store.manifest import verify
from tamis.pipeline.store.runs import open_complete
from tamis.selectors.catalog import build
from tests_support import Runner, write_jsonl


def ledger(outcome: Any, step: int = 0) -> dict[str, dict[str, Any]]:
    """The step's rows by key."""
    run = open_complete(outcome.folder)
    keys: dict[int, str] = {}
    for part in run.pool.parts:
        table = pq.read_table(part.path, columns=["sample_id", "key"]).to_pydict()
        keys |= dict(zip(table["sample_id"], table["key"], strict=True))
    rows = pq.read_table(run.ledger(step)).to_pylist()
    return {keys[row["sample_id"]]: {**row, "related": keys.get(row["related_id"])} for row in rows}


# ---------------------------------------------------------------- images


def scene(seed: int, size: int = 160) -> Image.Image:
    """Soft shapes, as a photo has them."""
    draw = np.random.default_rng(seed)
    small = Image.fromarray(draw.integers(0, 255, (9, 9, 3), np.uint8))
    large = np.asarray(small.resize((size, size), Image.Resampling.BICUBIC), np.int16)
    return Image.fromarray(np.clip(large + draw.integers(-6, 7, large.shape), 0, 255).astype(np.uint8))


def bits(image: Image.Image) -> Any:
    return hashed(image.convert("RGB"), HASH_PLAN) > 0


def test_a_hash_hardly_moves_with_size_compression_and_brightness_and_others_are_far() -> None:
    for seed in range(8):
        image = scene(seed)
        jpeg = io.BytesIO()
        image.save(jpeg, "JPEG", quality=30)
        copies = [image.resize((80, 80)), Image.open(jpeg), image.point(lambda level: min(255, int(level * 0.85) + 12))]
        assert max(int((bits(image) != bits(copy)).sum()) for copy in copies) <= 4
        assert int((bits(image) != bits(scene(seed + 100))).sum()) > 12
    assert not hashed(Image.new("RGB", (50, 50), (9, 9, 9)), HASH_PLAN).any()
    assert np.linalg.norm(hashed(scene(1), HASH_PLAN)) == pytest.approx(1)


def test_measures_of_images_say_what_they_mean() -> None:
    image = scene(3, 300)
    sharp, soft = measured(image, PLAN), measured(image.filter(ImageFilter.GaussianBlur(6)), PLAN)
    assert sharp[0] > 5 * soft[0]
    black, white = (measured(Image.new("RGB", (40, 40), (level,) * 3), PLAN) for level in (0, 255))
    assert black.tolist() == [0, 0, 0, 1, 0] and white.tolist() == [0, 1, 0, 0, 1]
    levels = np.asarray(image.convert("L").resize((256, 256)), np.float64)
    assert sharp[1] == pytest.approx(levels.mean() / 255, abs=0.01) and sharp[2] == pytest.approx(
        levels.std() / 255, abs=0.01
    )


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(6):
        scene(seed).save(folder / f"p{seed}.png")
    scene(0).resize((300, 300)).save(folder / "p0_large.png")
    scene(1).save(folder / "p1_copy.jpg", quality=40)
    Image.new("RGB", (64, 64), (20, 90, 20)).save(folder / "plain.png")
    Image.new("RGB", (64, 64), (90, 20, 20)).save(folder / "plain2.png")
    scene(9).resize((20, 20)).save(folder / "tiny.png")
    scene(10).resize((400, 40)).save(folder / "strip.png")
    scene(11).filter(ImageFilter.GaussianBlur(30)).save(folder / "fog.png")
    Image.fromarray((np.asarray(scene(12)) // 30).astype(np.uint8)).save(folder / "night.png")
    return tmp_path


OF_FOLDER = {"pool": [{"format": "images", "path": "photos"}], "target": [], "emit": []}


def test_near_duplicate_images_name_the_one_that_is_kept(run_in: Runner, photos: Path) -> None:
    columns = {"seen": {"embed": "perceptual_hash"}}
    steps = [{"near_dedup": {"column": "seen"}}]
    told = ledger(run_in(photos, columns=columns, steps=steps, **OF_FOLDER))
    dropped = {key: row["related"] for key, row in told.items() if not row["kept"]}
    assert dropped == {"p0_large": "p0", "p1_copy": "p1"}  # of one grey: no hash, and kept
    assert told["p0_large"]["reason"] == "near_duplicate" and told["p0_large"]["detail"].endswith("of 64 bits")
    largest = [{"near_dedup": {"column": "seen", "keep": "largest"}}]
    again = ledger(run_in(photos, name="largest", columns=columns, steps=largest, **OF_FOLDER))
    assert not again["p0"]["kept"] and again["p0"]["related"] == "p0_large"
    with pytest.raises(RecipeError, match="holds no hashes of 64 bits"):
        run_in(photos, name="no", columns={"look": {"embed": "classic"}}, steps=[{"near_dedup": {"column": "look"}}], **OF_FOLDER)  # fmt: skip


def test_image_quality_names_what_is_wrong(run_in: Runner, photos: Path) -> None:
    columns = {"photo": {"measure": "image"}}
    told = ledger(run_in(photos, columns=columns, steps=[{"image_quality": {"column": "photo"}}], **OF_FOLDER))
    reasons = {key: row["reason"] for key, row in told.items() if not row["kept"]}
    assert reasons == {
        "plain": "near_constant", "plain2": "near_constant", "tiny": "too_small", "strip": "too_long", "fog": "blurred",
        "night": "too_dark",
    }  # fmt: skip
    assert told["strip"]["detail"] == "aspect 10"
    off = {"column": "photo", **dict.fromkeys(("least_side", "most_aspect", "sharpness", "dark", "bright", "contrast"))}
    assert all(row["kept"] for row in ledger(run_in(photos, name="off", columns=columns, steps=[{"image_quality": off}], **OF_FOLDER)).values())  # fmt: skip
    by_sql = [{"sql": {"where": "photo > 5 and photo_contrast > 0.02"}}]
    outcome = run_in(photos, name="sql", columns=columns, steps=by_sql, **OF_FOLDER)
    assert {key for key, row in ledger(outcome).items() if not row["kept"]} == {"plain", "plain2", "fog", "night"}
    (photos / "photos" / "p2.png").unlink()  # gone before a column that comes later is made
    late = {"again": {"measure": "image"}}
    told = ledger(
        run_in(photos, name="late", columns=late, steps=[{"image_quality": {"column": "again"}}], **OF_FOLDER)
    )
    assert "p2" not in told or told["p2"]["reason"] == "not_scorable"


# ---------------------------------------------------------------- evaluation sets

QUESTION = "Which of the following rivers flows through the largest number of different countries on its way to the sea"
DOCS = {
    "clean": "A text about gardens, and what to plant in them when spring comes late and the ground is still hard.",
    "verbatim": f"Quiz night! {QUESTION}? The answer may surprise you.",
    "marks": "He asked: which, of the FOLLOWING rivers -- flows through the largest number of different countries?!",
    "part": "which of the following rivers flows through the largest",
    "short": "Then someone said: name the seven hills of old Rome in order, please, and all fell silent.",
}


def of_texts(folder: Path, evaluation: list[dict[str, str]], **more: Any) -> dict[str, Any]:
    write_jsonl(folder / "pool.jsonl", [{"id": key, "text": text} for key, text in DOCS.items()])
    write_jsonl(folder / "bench.jsonl", evaluation)
    return {
        "pool": [{"format": "jsonl", "path": "pool.jsonl", "key": "id"}],
        "target": [],
        "evaluation": [{"format": "jsonl", "path": "bench.jsonl", "key": "qid"}],
        "emit": [],
        **more,
    }


def test_what_overlaps_an_evaluation_set_is_dropped_and_the_item_named(run_in: Runner, tmp_path: Path) -> None:
    items = [
        {"qid": "rivers/1", "text": QUESTION},
        {"qid": "hills/7", "text": "Name the seven hills of old Rome in order"},
        {"qid": "tiny", "text": "Why?"},
    ]
    asked = of_texts(tmp_path, items, steps=[{"decontaminate": {}}])
    outcome = run_in(tmp_path, **asked)
    told = ledger(outcome)
    assert {key for key, row in told.items() if not row["kept"]} == {"verbatim", "marks", "short"}
    assert told["verbatim"]["detail"].startswith("item rivers/1: which of the following rivers flows through")
    assert told["short"]["detail"] == "item hills/7: name the seven hills of old rome in order"
    assert {row["reason"] for row in told.values() if not row["kept"]} == {"in_evaluation"}
    assert outcome.manifest["steps"][0]["facts"]["too_short"] == 1
    story = why(open_complete(outcome.folder), "verbatim")
    assert "item rivers/1" in story and "in_evaluation" in story
    assert verify(open_complete(outcome.folder)) == []
    nine = run_in(tmp_path, **{**asked, "name": "nine", "steps": [{"decontaminate": {"ngram": 9}}]})
    assert not ledger(nine)["part"]["kept"]
    with pytest.raises(RecipeError, match="add `evaluation:`"):
        run_in(tmp_path, **{**asked, "name": "none", "evaluation": []})
    with pytest.raises(RecipeError, match="fewer than 8 words"):
        write_jsonl(tmp_path / "bench.jsonl", items[2:])
        run_in(tmp_path, **{**asked, "name": "short"})


def test_an_evaluation_set_is_no_target(run_in: Runner, tmp_path: Path) -> None:
    """Beside a target: the choice is the same as without the evaluation, and the evaluation is looked for."""
    asked = of_texts(tmp_path, [{"qid": "q", "text": QUESTION}])
    write_jsonl(tmp_path / "like.jsonl", [{"text": DOCS["clean"]}, {"text": "what to plant when spring comes late"}])
    target = {"target": [{"format": "jsonl", "path": "like.jsonl"}]}
    step = {"importance_resampling": {"budget": 2, "min_length": 3}}
    alone = run_in(tmp_path, **{**asked, **target, "evaluation": [], "steps": [step], "name": "alone"})
    both = run_in(tmp_path, **{**asked, **target, "steps": [step, {"decontaminate": {}}], "name": "both"})
    scores = [{key: row["score"] for key, row in ledger(one).items()} for one in (alone, both)]
    assert scores[0] == scores[1]
    kept = {key for key, row in ledger(both, 1).items() if row["kept"]}
    assert kept == {key for key, row in ledger(alone).items() if row["kept"]} - {"verbatim", "marks"}


def test_another_evaluation_set_is_another_choice_of_later_steps(run_in: Runner, tmp_path: Path) -> None:
    texts = {
        f"k{n:02d}": f"{QUESTION} and then again {chr(97 + n % 26) * 5} {chr(97 + n // 26) * 4} end" for n in range(40)
    }
    write_jsonl(tmp_path / "pool.jsonl", [{"id": key, "text": text} for key, text in texts.items()])
    chosen = []
    for name, items in (("a", range(20)), ("b", range(20, 40))):
        write_jsonl(tmp_path / "bench.jsonl", [{"qid": f"q{n}", "text": texts[f"k{n:02d}"]} for n in items])
        steps = [{"decontaminate": {"ngram": 25, "least": 5}}, {"near_dedup": {}}]
        told = ledger(run_in(tmp_path, name=name, steps=steps, **of_texts_alone(tmp_path)), 1)
        assert set(told) == {f"k{n:02d}" for n in range(40) if n not in items}
        chosen.append({key for key, row in told.items() if row["kept"]})
    assert chosen[0] and chosen[1] and not chosen[0] & chosen[1]


def of_texts_alone(_folder: Path) -> dict[str, Any]:
    return {
        "pool": [{"format": "jsonl", "path": "pool.jsonl", "key": "id"}],
        "target": [],
        "evaluation": [{"format": "jsonl", "path": "bench.jsonl", "key": "qid"}],
        "emit": [],
    }


def test_an_evaluation_without_a_row_is_an_error_whatever_the_target_has(run_in: Runner, tmp_path: Path) -> None:
    asked = of_texts(tmp_path, [{"qid": "a", "text": QUESTION}], steps=[{"decontaminate": {}}])
    write_jsonl(tmp_path / "like.jsonl", [{"text": DOCS["clean"]}])
    (tmp_path / "empty.jsonl").write_text('{"qid": "b", "text": " "}\n')
    source = asked["evaluation"][0]
    asked |= {
        "target": [{"format": "jsonl", "path": "like.jsonl"}],
        "evaluation": [source, {**source, "path": "empty.jsonl"}],
    }
    with pytest.raises(SourceError, match="evaluation source 1"):
        run_in(tmp_path, **asked)
    same = {**source, "namespace": "n"}
    write_jsonl(tmp_path / "like.jsonl", [{"qid": "a", "text": DOCS["clean"]}])
    asked |= {
        "target": [{"format": "jsonl", "path": "like.jsonl", "key": "qid", "namespace": "n"}],
        "evaluation": [same],
    }
    told = ledger(run_in(tmp_path, **{**asked, "name": "same"}))
    assert not told["verbatim"]["kept"], "a key that the target has, too, is still an item"


def test_images_of_an_evaluation_set(run_in: Runner, photos: Path) -> None:
    (photos / "held_out").mkdir()
    scene(4).resize((90, 90)).save(photos / "held_out" / "q4.jpg", quality=80)
    asked = {**OF_FOLDER, "evaluation": [{"format": "images", "path": "held_out"}]}
    columns = {"seen": {"embed": "perceptual_hash"}, "look": {"embed": "classic"}}
    steps = [{"decontaminate": {"column": "seen", "distance": 4}}]
    told = ledger(run_in(photos, columns=columns, steps=steps, **asked))
    assert {key: row["detail"][:9] for key, row in told.items() if not row["kept"]} == {"p4": "item q4: "}
    assert "of 64 bits" in told["p4"]["detail"] and told["plain"]["kept"]
    with pytest.raises(RecipeError, match="holds no hashes"):
        run_in(
            photos, name="bits", columns=columns, steps=[{"decontaminate": {"column": "look", "distance": 4}}], **asked
        )
    near = [{"decontaminate": {"column": "look", "similarity": 0.95}}]
    told = ledger(run_in(photos, name="look", columns=columns, steps=near, **asked))
    assert {key for key, row in told.items() if not row["kept"]} == {"p4"} and "cosine 0.9" in told["p4"]["detail"]
    for wrong in ({}, {"similarity": 0.9, "distance": 3}, {"similarity": 2.0}):
        with pytest.raises(RecipeError, match="decontaminate"):
            run_in(photos, name="no", columns=columns, steps=[{"decontaminate": {"column": "seen", **wrong}}], **asked)


# ---------------------------------------------------------------- joined numbers


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_numbers_are_joined_by_key_never_by_place(run_in: Runner, tmp_path: Path, suffix: str) -> None:
    asked = of_texts(tmp_path, [])
    rows = [{"name": key, "worth": float(n), "more": "x"} for n, key in enumerate(reversed(DOCS))][:-1]
    if suffix == "csv":
        lines = [f"{row['more']},{row['name']},{row['worth']}" for row in rows]
        (tmp_path / "s.csv").write_text("\n".join(["more,name,worth", *lines]) + "\n")
    elif suffix == "jsonl":
        (tmp_path / "s.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "s.parquet")
    columns = {"mine": {"join": f"s.{suffix}", "key": "name", "value": "worth"}}
    steps = [{"threshold": {"column": "mine", "above": 1.5}}]
    outcome = run_in(tmp_path, **{**asked, "evaluation": [], "columns": columns, "steps": steps})
    scores = {key: row["score"] for key, row in ledger(outcome).items()}
    assert {key: scores[key] for key in list(DOCS)[1:]} == {row["name"]: row["worth"] for row in rows}
    (tmp_path / "like.jsonl").write_text('{"text": "a target has none of these numbers"}\n')
    target = [{"format": "jsonl", "path": "like.jsonl"}]
    of_target = {**asked, "evaluation": [], "columns": columns, "steps": steps, "target": target, "name": "of-target"}
    assert run_in(tmp_path, **of_target).selected == outcome.selected
    first = ledger(outcome)[next(iter(DOCS))]
    assert first["reason"] == "not_scorable" and not first["kept"]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("name,worth\na,1\na,2\n", "two values that differ, such as 'a'"),
        ("name,worth\na,high\n", "holds no numbers"),
        ("name,other\na,1\n", "can't read its fields 'name' and 'worth'"),
    ],
)
def test_a_file_that_cannot_be_joined_is_one_clear_line(run_in: Runner, tmp_path: Path, lines: str, told: str) -> None:
    asked = {**of_texts(tmp_path, []), "evaluation": []}
    (tmp_path / "s.csv").write_text(lines)
    columns = {"mine": {"join": "s.csv", "key": "name", "value": "worth"}}
    with pytest.raises(TamisError, match=told):
        run_in(tmp_path, **{**asked, "columns": columns, "steps": [{"threshold": {"column": "mine", "above": 0}}]})
    for path in ("none.csv", "s.txt"):
        with pytest.raises(RecipeError, match="join"):
            run_in(tmp_path, **{**asked, "columns": {"mine": {"join": path, "value": "worth"}}, "steps": []})


# ---------------------------------------------------------------- splits


def test_splits_hold_groups_and_duplicates_together(run_in: Runner, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    vocabulary = ["".join(chr(97 + int(letter)) for letter in draw.integers(0, 26, 6)) for _ in range(3000)]
    texts = [" ".join(draw.choice(vocabulary, 60)) for _ in range(300)]
    records = [{"id": f"s{n:03d}", "video": f"v{n // 5}", "text": text} for n, text in enumerate(texts)]
    for n in range(0, 300, 30):  # near-duplicates in other videos
        words = texts[n].split()
        words[3] = "changed"
        records.append({"id": f"near{n}", "video": None, "text": " ".join(words)})
    records += [{"id": f"blank{n}", "video": "", "text": " ".join(draw.choice(vocabulary, 40))} for n in range(20)]
    records += [{"id": f"same{n}", "video": f"w{n}", "text": texts[n]} for n in range(7, 300, 50)]
    write_jsonl(tmp_path / "pool.jsonl", records)
    asked = {
        "pool": [{"format": "jsonl", "path": "pool.jsonl", "key": "id", "keep": ["video"]}],
        "target": [], "steps": [], "emit": [{"splits": {"by": "video", "shares": {"train": 0.7, "held_out": 0.3}}}],
    }  # fmt: skip
    outcome = run_in(tmp_path, **asked)
    folder = outcome.folder / "exports" / "splits"
    told = {row["key"]: row for row in pq.read_table(folder / "splits.parquet").to_pylist()}
    assert len(told) == len(records)
    by_name = {name: pq.read_table(folder / f"{name}.parquet") for name in ("train", "held_out")}
    assert sum(table.num_rows for table in by_name.values()) == len(records)
    assert abs(by_name["train"].num_rows / len(records) - 0.7) < 0.03
    videos = [{row["video"] for row in table.to_pylist() if row["video"]} for table in by_name.values()]
    assert not videos[0] & videos[1]
    for n in range(0, 300, 30):
        assert told[f"near{n}"]["split"] == told[f"s{n:03d}"]["split"]
    assert len({told[f"blank{n}"]["group"] for n in range(20)}) == 20, "no value is no group"
    for n in range(7, 300, 50):
        assert told[f"same{n}"]["group"] == told[f"s{n:03d}"]["group"]
    again = run_in(tmp_path, **{**asked, "name": "again"})
    files = [sorted((one.folder / "exports" / "splits").iterdir()) for one in (outcome, again)]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]
    nothing = run_in(tmp_path, **{**asked, "name": "nothing", "steps": [{"random": {"budget": 0}}]})
    assert pq.read_table(nothing.folder / "exports" / "splits" / "train.parquet").num_rows == 0
    with pytest.raises(RecipeError, match="no field 'movie'"):
        run_in(tmp_path, **{**asked, "name": "no", "emit": [{"splits": {"by": "movie"}}]})
    for wrong in ({"shares": {}}, {"shares": {"a b": 1.0}}, {"shares": {"a": 0.0}}, {"near": True}):
        with pytest.raises(RecipeError, match="emit"):
            run_in(tmp_path, **{**asked, "name": "no", "emit": [{"splits": wrong}]})


def test_near_images_stay_in_one_split(run_in: Runner, photos: Path) -> None:
    emit = {**OF_FOLDER, "emit": [{"splits": {"shares": {"a": 0.5, "b": 0.5}}}]}
    outcome = run_in(photos, columns={"seen": {"embed": "perceptual_hash"}}, steps=[], **emit)
    told = pq.read_table(outcome.folder / "exports" / "splits" / "splits.parquet").to_pylist()
    splits = {row["key"]: row["split"] for row in told}
    assert (
        splits["p0"] == splits["p0_large"] and splits["p1"] == splits["p1_copy"] and set(splits.values()) == {"a", "b"}
    )
    empty = run_in(photos, name="none", columns={"seen": {"embed": "perceptual_hash"}}, steps=[{"random": {"budget": 0}}], **emit)  # fmt: skip
    assert pq.read_table(empty.folder / "exports" / "splits" / "a.parquet").num_rows == 0


def test_groups_are_assigned_whole_and_shares_hold_to_within_a_group() -> None:
    draw = np.random.default_rng(1)
    ids = draw.permutation(5000).astype(np.uint64)
    roots = np.sort(draw.integers(0, 400, 5000))
    which = assigned(ids, roots, [0.8, 0.1, 0.1], 0)
    assert all(len(set(which[roots == root].tolist())) == 1 for root in set(roots.tolist()))
    largest = np.bincount(roots).max()
    assert np.abs(np.bincount(which) - [4000, 500, 500]).max() <= 2 * largest
    order = draw.permutation(5000)
    assert np.array_equal(assigned(ids[order], roots[order], [0.8, 0.1, 0.1], 0), which[order])


# ---------------------------------------------------------------- sameness


@pytest.mark.thorough
@pytest.mark.parametrize("threads", ["1", "2"])
def test_threads_shards_and_the_order_of_files_change_no_decision(tmp_path: Path, threads: str) -> None:
    """The steps that multiply vectors, on rows in one file and reversed in five, with one thread and with two."""
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(40, 96))
    images = centres[draw.integers(0, 40, 1500)] + 0.3 * draw.normal(size=(1500, 96))
    texts = images + 1.5 * draw.normal(size=images.shape)
    keys = [f"k{n:04d}" for n in range(1500)]
    vocabulary = ["".join(chr(97 + int(letter)) for letter in draw.integers(0, 26, 6)) for _ in range(500)]
    captions = [" ".join(draw.choice(vocabulary, 12)) for _ in range(1200)]
    for place, order in (("whole", range(1500)), ("pieces", range(1499, -1, -1))):
        folder = tmp_path / place
        folder.mkdir()
        rows = [{"id": keys[n], "text": captions[n % 1200]} for n in order]
        size = 1500 if place == "whole" else 300
        for first in range(0, 1500, size):
            write_jsonl(folder / f"pool{first:04d}.jsonl", rows[first : first + size])
        np.savez(folder / "v.npz", key=np.array(keys), image=images, text=texts)
        (folder / "bench.jsonl").write_text('{"qid": "k0003", "text": "none"}\n')
        (folder / "r.yaml").write_text(RECIPE)
        command = [sys.executable, "-m", "tamis.pipeline.cli.app", "run", "r.yaml", "--store", "store", "--local"]
        limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads if place == "whole" else "2")
        subprocess.run(command, cwd=folder, env={**os.environ, **limits}, check=True)
    found = []
    for place in ("whole", "pieces"):
        run = open_complete(tmp_path / place / "store" / "runs" / "r")
        told: list[tuple[Any, ...]] = []
        for step in range(len(run.steps)):
            rows = ledger(SimpleNamespace(folder=run.folder), step)
            told += [
                (step, key, *(row[name] for name in ("kept", "score", "rank", "reason", "related", "detail")))
                for key, row in sorted(rows.items())
            ]
        found.append([tuple("nan" if value != value else value for value in row) for row in told])
    assert found[0] == found[1] and len({row[5] for row in found[0]}) >= 5


RECIPE = """
pool: [{format: jsonl, path: "pool*.jsonl", key: id}]
target: [{format: jsonl, path: bench.jsonl, key: qid}]
evaluation: [{format: jsonl, path: bench.jsonl, key: qid}]
columns:
  image: {embed: precomputed, path: v.npz, vector: image}
  caption: {embed: precomputed, path: v.npz, vector: text}
steps:
  - near_dedup: {}
  - semantic_dedup: {column: image, keep_share: 0.8, clusters: 4}
  - decontaminate: {column: image, similarity: 0.7}
  - neg_clip_loss: {image: image, text: caption, batch: 200, partitions: 3, temperature: 0.05, fraction: 0.8}
  - norm_sim: {column: image, fraction: 0.8}
  - clip_score: {image: image, text: caption, fraction: 0.8}
  - cluster_balance: {column: image, clusters: [30, 5], budget: 200}
emit: [{splits: {}}]
"""


def test_why_tells_what_a_rule_would_have_taken(run_in: Runner, tmp_path: Path) -> None:
    write_jsonl(
        tmp_path / "pool.jsonl", [{"id": "few", "text": "of the few words"}, {"id": "x", "text": "and x " * 80}]
    )
    asked: dict[str, Any] = {"pool": [{"format": "jsonl", "path": "pool.jsonl", "key": "id"}], "target": [], "emit": []}
    limits = {"gopher_word_count": [20, None]}
    steps = [{"text_quality": {"apply": ["gopher"], "limits": limits}}]
    run = open_complete(run_in(tmp_path, steps=steps, **asked).folder)
    told = why(run, "few")
    assert "dropped, gopher_word_count\n" in told and "words 4\n" in told
    assert told.endswith("it took words of at least 20")
    assert why(run, "x").endswith("it took word_length of at least 3 and at most 10")


@pytest.mark.parametrize(
    ("name", "settings", "reason", "wanted"),
    [
        ("image_quality", {"column": "q"}, "too_small", "side of at least 32"),
        ("image_quality", {"column": "q"}, "too_bright", "bright of at most 0.95"),
        (
            "language",
            {"column": "l", "keep": ["en", "de"]},
            "language_unsure",
            "en or de with a probability above 0.65",
        ),
        ("language", {"column": "l", "keep": ["en"]}, "not_scorable", None),
        ("text_quality", {}, "gopher_letters", "letters of at least 0.8"),
    ],
)
def test_limits_are_told_in_words(name: str, settings: dict[str, Any], reason: str, wanted: str | None) -> None:
    assert build(name, settings).takes(reason) == wanted


@pytest.mark.parametrize(("dear", "taken"), [(1, 3), (1000, 2), (1001, 1)])
def test_a_budget_of_costs_skips_what_is_too_dear_for_a_while(
    run_in: Runner, tmp_path: Path, dear: int, taken: int
) -> None:
    """One that fits, so many that do not, and two that would: at most 1,000 are looked at after the first that is left."""
    prices = [4, *([50] * dear), 3, 3]
    rows = [{"id": f"k{n:04d}", "text": f"t{n}", "p": price, "s": -n} for n, price in enumerate(prices)]
    write_jsonl(tmp_path / "pool.jsonl", rows)
    source = {"format": "jsonl", "path": "pool.jsonl", "key": "id", "keep": ["p", "s"]}
    steps = [{"threshold": {"column": "s", "budget": {"cost": 10, "by": "p"}}}]
    outcome = run_in(tmp_path, pool=[source], target=[], steps=steps, emit=[])
    assert outcome.selected == taken


def test_a_filter_after_a_choice_leaves_its_scores(run_in: Runner, workplace: Path) -> None:
    """The selection's score is of the last step that scored: none of these does."""
    chosen = {"importance_resampling": {"budget": 100}}
    filters = [{"near_dedup": {}}, {"text_quality": {"apply": ["c4"]}}, {"sql": {"where": "true"}}]
    tables = [
        pq.read_table(run_in(workplace, name=name, steps=steps, emit=[]).folder / "selection.parquet")
        for name, steps in (("a", [chosen]), ("b", [chosen, *filters]))
    ]
    scores, after = (dict(zip(t["key"].to_pylist(), t["score"].to_pylist(), strict=True)) for t in tables)
    assert 0 < len(after) < 100 and after.items() <= scores.items()
    first, last = (t["key"].to_pylist() for t in tables)
    assert last == [key for key in first if key in after], "and the order: a rule puts nothing in order"
    told = ledger(run_in(workplace, name="b", steps=[chosen, *filters], emit=[]), 1)
    assert {row["score"] is None and row["rank"] is None for row in told.values() if row["kept"]} == {True}
