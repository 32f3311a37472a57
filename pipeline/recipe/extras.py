"""Which packages of ours are extras, what they bring, and the command that installs what is missing."""

from importlib.util import find_spec

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
    "ray": ("prefect_ray", "ray"),
}


class MissingExtra(RecipeError):
    """What the recipe asks for needs packages that are not installed."""

    def __init__(self, what: str, extra: str) -> None:
        more = " (it is built with cmake)" if extra == "kenlm" else ""
        super().__init__(f"{what} needs the extra: pip install 'tamis[{extra}]'{more}")


def require_extra(what: str, extra: str, *modules: str) -> None:
    """Raises MissingExtra where one of the extra's modules, or of those named, can't be found; none is imported."""
    if any(find_spec(module) is None for module in modules or BRINGS[extra]):
        raise MissingExtra(what, extra)
