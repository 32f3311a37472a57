"""The one door of model files: a folder is read as data and checked before a library sees it.

What a folder's configuration can make a library do is more than loading weights: import modules that lie beside them
(`auto_map`, `trust_remote_code` at any depth, module types of sentence-transformers), fetch and run kernels, follow
paths out of the folder, fall back to pickles, build on another model (PEFT). Nobody asked for that, so such a folder is
refused, with and without --allow-code. Of a hub no more is fetched than configuration, vocabulary and safetensors.

Everything here raises ValueError; loaders make it the one line of their own."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tamis.pipeline.columns.models.onnx_file import external_files
from tamis.pipeline.files.plain_json import load_json

WEIGHTS = "*.safetensors"
DATA = ["*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken"]  # beside them, what is fetched of a hub's model
UNREAD = ("tokenizer.json", "vocab.json")  # tables for a parser in Rust: large, and no settings
MOST_BYTES = 64 << 20  # of a configuration
PICKLED = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".h5", ".msgpack")
CODE = ("auto_map", "trust_remote_code", "custom_pipelines", "use_kernels", "kernel_config")
CHOOSES_CODE = ("attn_implementation", "experts_implementation")  # a word of the library's, or a hub's kernel
MODULES = re.compile(
    r"sentence_transformers\.[a-z_.]*(Transformer|Pooling|Dense|Normalize|LayerNorm|Dropout|StaticEmbedding|"
    r"WeightedLayerPooling|Router)"
)
ACTIVATIONS = re.compile(r"torch\.nn\.modules\.(activation|linear)\.[A-Za-z]+")
WORD = re.compile(r"[\w.-]+")
HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
TOKENIZER_SETTINGS = ("clean", "strip_sep_token", "language", "additional_special_tokens", "reduction_mask")


def model_folder(name: str, place: Path, weights: bool = True) -> Path:
    """The folder of a model: below `place` or by its whole path, else what a hub holds under that name, fetched. All
    that is in it has been looked at. Raises ValueError, and what the hub's library raises."""
    folder = place / name
    if not folder.is_dir():
        if not HUB_NAME.fullmatch(name):
            raise ValueError(f"no folder {folder}, and {name!r} is no name of a hub's model")
        from huggingface_hub import snapshot_download

        folder = Path(snapshot_download(name, allow_patterns=[*DATA, WEIGHTS] if weights else DATA))
    check_folder(folder)
    return folder


def check_folder(folder: Path) -> None:
    """Raises ValueError where a library that loads this folder would do more than read data."""
    for inside, _, names in os.walk(folder):
        weights = {Path(name).suffix.lower() for name in names}
        pickled = sorted(name for name in names if name.lower().endswith(PICKLED) and "model" in name.lower())
        if pickled and ".safetensors" not in weights:
            raise ValueError(f"{pickled[0]} is a pickle, and those are never loaded: save the model as safetensors")
        if "adapter_config.json" in names:
            raise ValueError("is an adapter (PEFT), which loads another model: merge them, and save the whole")
        for name in sorted(names):
            if name.endswith(".json") and name not in UNREAD:
                _check_settings(Path(inside), name)


def _check_settings(inside: Path, name: str) -> None:
    path = inside / name
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{name} has more than {MOST_BYTES >> 20} MiB, which no configuration has")
    settings = load_json(path.read_bytes())
    for key, value in settings_in(settings):
        if key in CODE and value:
            raise ValueError(f"{name} asks for code of its own ({key}), and no model's code is run: remove {key}")
        if key.lstrip("_").startswith(CHOOSES_CODE) and isinstance(value, str) and not WORD.fullmatch(value):
            raise ValueError(f"{name} asks for code of its own ({key}: {value}), and no model's code is run")
        if key == "use_pretrained_backbone" and value:
            raise ValueError(f"{name}: {key} loads another model: remove it, or save the whole")
        if key == "activation_function" and isinstance(value, str) and "." in value:
            _one_of(ACTIVATIONS, name, key, value)
        if key.endswith("_file") and isinstance(value, str):
            _inside(name, key, value)
    if name == "modules.json":
        for module in settings if isinstance(settings, list) else []:
            _one_of(MODULES, name, "type", str(module.get("type")))
            _inside(name, "path", str(module.get("path", "")))
    if isinstance(settings, dict):
        kinds = settings.get("types")
        for kind in kinds.values() if isinstance(kinds, dict) else []:
            _one_of(MODULES, name, "types", str(kind))
        files = settings.get("weight_map")
        for file in files.values() if isinstance(files, dict) else []:
            _inside(name, "weight_map", str(file))


def settings_in(value: Any) -> Iterator[tuple[str, Any]]:
    """Every name and value of a configuration, at any depth."""
    left = [value]
    while left:
        held = left.pop()
        if isinstance(held, dict):
            yield from ((str(key), one) for key, one in held.items())
            left.extend(held.values())
        elif isinstance(held, list):
            left.extend(held)


def _one_of(known: re.Pattern[str], name: str, key: str, value: str) -> None:
    if not known.fullmatch(value):
        raise ValueError(f"{name} asks for code of its own ({key}: {value}), and no model's code is run")


def _inside(name: str, key: str, value: str) -> None:
    if Path(value).is_absolute() or ".." in Path(value).parts:
        raise ValueError(f"{name}: {key} leads out of the folder: {value}")


def check_clip(config: dict[str, Any]) -> None:
    """The same of a model_cfg of open_clip's that came from outside."""
    for key, value in settings_in(config):
        if key in CODE and value:
            raise ValueError(f"open_clip_config.json asks for code of its own ({key}), and no model's code is run")
        if key == "timm_model_name" and value and not WORD.fullmatch(str(value)):
            raise ValueError(f"open_clip_config.json: {key} is another model: {value}")
        if key == "timm_model_pretrained" and value:
            raise ValueError(f"open_clip_config.json: {key} loads another model's weights: remove it")
        if key == "tokenizer_kwargs" and value:
            for setting, given in dict(value).items():
                if setting not in TOKENIZER_SETTINGS or isinstance(given, dict):
                    raise ValueError(
                        f"open_clip_config.json: tokenizer_kwargs has {setting}, which is not known to be safe"
                    )


def check_onnx(path: Path) -> list[Path]:
    """The files beside an ONNX file that hold its weights. Raises ValueError where it names any from elsewhere."""
    files = []
    for name in external_files(path):
        beside = path.parent / name
        _inside(path.name, "external data", name)
        if not beside.resolve().is_relative_to(path.parent.resolve()):
            raise ValueError(f"{path.name}: external data leads out of the folder: {name}")
        if not beside.is_file():
            raise ValueError(f"{path.name}: its weights lie in {name}, which is not there")
        files.append(beside)
    return files
