"""Which packages of ours are extras, what they bring, and the command that installs what is missing."""

import json
import os
import shlex
import sys
from importlib.metadata import distributions
from importlib.util import find_spec
from urllib.parse import unquote, urlsplit

from tamis.pipeline.errors import RecipeError

BRINGS = {  # extra of pyproject.toml -> modules that it brings
    "vision": ("PIL", "skimage", "sklearn"),
    "clip": ("torch", "open_clip", "PIL"),
    "text": ("torch", "sentence_transformers"),
    "onnx": ("onnxruntime", "PIL"),
    "detect": ("onnxruntime", "torch", "transformers", "PIL"),
    "lm": ("torch", "transformers", "tokenizers", "accelerate"),
    "classify": ("sklearn",),
    "fasttext": ("fasttext",),
    "kenlm": ("kenlm", "sentencepiece"),
    "umap": ("umap",),
    "s3": ("s3fs",),
    "ray": ("prefect_ray", "ray"),
    "faiss": ("faiss",),
}
MEANT_FOR = {
    "vision": "pools of images, embed: classic, demo images",
    "clip": "embed: open_clip",
    "text": "embed: sentence_transformers",
    "onnx": "embed: onnx",
    "detect": "detect: onnx and open_vocabulary",
    "lm": "loss: causal_lm and train, classify: huggingface, compare --train",
    "classify": "classify: linear, importance_resampling on columns",
    "fasttext": "classify: fasttext",
    "kenlm": "loss: kenlm",
    "umap": "the report's map by UMAP",
    "s3": "s3:// addresses",
    "ray": "--engine ray",
    "faiss": "neighbours and clusters, on a GPU with faiss-gpu",
}


class MissingExtra(RecipeError):
    """What the recipe asks for needs packages that are not installed."""

    def __init__(self, what: str, extra: str) -> None:
        more = " (it is built with cmake)" if extra == "kenlm" else ""
        super().__init__(f"{what} needs the extra: {install_command(extra)}{more}")


def require_extra(what: str, extra: str, *modules: str) -> None:
    """Raises MissingExtra where one of the extra's modules, or of those named, can't be found; none is imported."""
    if missing(*(modules or BRINGS[extra])):
        raise MissingExtra(what, extra)


def missing(*modules: str) -> list[str]:
    """Those that can't be found; none is imported."""
    return [module for module in modules if find_spec(module) is None]


def install_command(extra: str) -> str:
    """What to type to have the extra in the environment that runs now, from where tamis itself came from."""
    return " ".join([_installer(), *map(shlex.quote, _from(extra))])


def _installer() -> str:
    """Pip of this environment, by its short name where the shell would find that one; where there is none, uv's."""
    if find_spec("pip") is None:
        return f"uv pip install --python {shlex.quote(sys.executable)}"
    first = next((place for place in os.get_exec_path() if os.path.exists(os.path.join(place, "pip"))), None)
    here = os.path.dirname(sys.executable)
    mine = first is not None and os.path.abspath(first) == here
    return "pip install" if mine else f"{shlex.quote(sys.executable)} -m pip install"


def _from(extra: str) -> list[str]:
    """What pip is given: tamis by name from an index, else the folder, file or repository that it was installed from; a
    clone that is worked in stays one, in the versions that it pins."""
    told = next((text for one in distributions(name="tamis") if (text := one.read_text("direct_url.json"))), None)
    if told is None:
        return [f"tamis[{extra}]"]
    origin = json.loads(told)
    url = origin["url"]
    if url.startswith("file://"):
        path = unquote(urlsplit(url).path)
        pinned = os.path.join(path, "constraints.txt")
        editable = origin.get("dir_info", {}).get("editable", False)
        versions = ["-c", pinned] if editable and os.path.isfile(pinned) else []
        return [*versions, *["-e"] * editable, f"{path}[{extra}]"]
    return [f"tamis[{extra}] @ {origin['vcs_info']['vcs'] + '+' if 'vcs_info' in origin else ''}{url}"]
