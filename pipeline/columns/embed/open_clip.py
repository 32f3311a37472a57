"""`embed: open_clip`: image and text towers of any open_clip model, with its own preprocessing and tokenizer.

Weights are a hub's by name (`laion2b_s34b_b79k`), a local file, or random ones asked for by name (`random`), never by
default. Checkpoints are read as weights alone: nothing is unpickled. Radford et al. 2021 (arXiv:2103.00020)."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.pipeline.columns.contract import Output
from tamis.pipeline.columns.embed.classes import CLASS_FIELDS, CLASS_VERSION, BestClasses, read_classes
from tamis.pipeline.columns.embed.embedder import WordEmbedder
from tamis.pipeline.columns.embed.vectors import TextVectors
from tamis.pipeline.columns.models.gate import check_clip, model_folder
from tamis.pipeline.columns.models.torch_models import Forward, Result, declare_operators, find_batch, weights_digest
from tamis.pipeline.decode.plans import PREPARE_VERSION, pixels_plan
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.files.atomic import digest_of_folder, digest_of_input, fingerprint
from tamis.pipeline.recipe.extras import MissingExtra

OPEN_CLIP_VERSION = 1  # raise when the same input would give other vectors
TEXT_BATCH = 64
LOCAL = "local-dir:"  # how open_clip calls a model in a folder


@dataclass(frozen=True, kw_only=True)
class OpenClip(WordEmbedder):
    """model          an architecture of open_clip
    pretrained     a tag, a file, or `random`
    precision      `auto` is fp16 on a GPU and fp32 elsewhere
    outputs        towers to run
    classes        a YAML file of prompts by class
    dims           keep the leading dimensions (for models trained so)
    scaled_decode  let the JPEG decoder shrink (faster, other pixels)
    batch          images at once, else found
    """

    kind: ClassVar[str] = "open_clip"
    extra: ClassVar[str] = "clip"

    model: str
    pretrained: str
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"
    outputs: list[Literal["image", "text"]] | None = None
    classes: str | None = None
    dims: int | None = None
    scaled_decode: bool = False
    batch: int | None = None

    def makes(self, images: bool) -> list[Output]:
        wanted = self.outputs or (["image", "text"] if images else ["text"])
        if self.classes and "image" not in wanted:
            raise ValueError("classes need the output `image`")
        made = [Output("image", way="images", vectors=True)] if "image" in wanted else []
        if "text" in wanted:
            made.append(Output("text", reads=("text",), vectors=True))
        return (
            [*made, Output("class", main=pa.string(), more=CLASS_FIELDS, reads=(".image",))] if self.classes else made
        )

    def fingerprinted(self, folder: Path) -> dict[str, Any]:
        given = {key: value for key, value in asdict(self).items() if key not in ("outputs", "batch", "classes")}
        file = folder / self.pretrained
        if file.is_file():
            given |= {"pretrained": "file", "digest": digest_of_input(file)}
        if self.model.startswith(LOCAL) and (local := Path(self.model.removeprefix(LOCAL))).is_dir():
            given |= {"model": "folder", "digests": digest_of_folder(local)}
        return {**given, "version": [OPEN_CLIP_VERSION, PREPARE_VERSION]}

    def made_of_output(self, output: str, folder: Path) -> dict[str, Any]:
        if output != "class":
            return {}
        return {"classes": fingerprint([CLASS_VERSION, read_classes(folder / str(self.classes))])}

    def load(self, place: Path) -> "ClipModel":
        return ClipModel(self, place)

    def reader(self, loaded: "ClipModel", output: str, folder: Path) -> Any:
        if output == "class":
            return BestClasses(loaded, read_classes(folder / str(self.classes)), self.dims)
        return loaded if output == "image" else TextVectors(loaded, self.dims)


class ClipModel:
    """Both towers of one model, loaded once a process."""

    def __init__(self, settings: OpenClip, folder: Path) -> None:
        self.settings = settings
        model, self.config, self.tokenizer = _load(settings.model, settings.pretrained, folder)
        self.dim = int(model.visual.output_dim)
        self.digest = weights_digest(model)
        self.image_tower = Forward(model, lambda module, x: module.encode_image(x), settings.precision)
        self.text_tower = Forward(
            self.image_tower.modules[0], lambda module, x: module.encode_text(x), settings.precision
        )
        self.cut = 0  # texts longer than the context so far

    @property
    def plan(self) -> dict[str, Any]:
        """What decoding workers do to each image."""
        config, size = self.config, self.config["size"]
        size = [size, size] if isinstance(size, int) else size
        shrinks = self.settings.scaled_decode
        return pixels_plan(size, config["resize_mode"], config["interpolation"], config["fill_color"], shrinks)

    @property
    def facts(self) -> dict[str, Any]:
        tower = self.image_tower
        prepared = {**self.plan, "mean": list(self.config["mean"]), "std": list(self.config["std"])}
        return {
            "dim": self.settings.dims or self.dim, "weights": self.digest, "precision": tower.precision,
            "devices": tower.devices, "preprocessing": prepared,
        }  # fmt: skip

    def images(self, array: npt.NDArray[np.uint8], batch: int) -> Result:
        return self.image_tower.pixels(array, batch, self.config["mean"], self.config["std"])

    def best_batch(self) -> int:
        blank = np.zeros((1, *self.plan["size"], 3), np.uint8)
        return find_batch(lambda size: self.images(np.repeat(blank, size, 0), size))

    def texts(self, texts: list[str]) -> npt.NDArray[np.float32]:
        """[texts, dim]; what is longer than the context is cut, and counted in `cut`."""
        context = self.tokenizer.context_length
        self.cut += sum(self._tokens(text) > context for text in texts)
        device = self.text_tower.devices[0]
        pieces = [self.tokenizer(texts[i : i + TEXT_BATCH]).to(device) for i in range(0, len(texts), TEXT_BATCH)]
        return self.text_tower.tokens(pieces)()

    def _tokens(self, text: str) -> int:
        """Tokens with the two that mark start and end."""
        if hasattr(self.tokenizer, "tokenizer"):  # a Hugging Face tokenizer inside
            return len(self.tokenizer.tokenizer(text)["input_ids"])
        return len(self.tokenizer.encode(text)) + 2


def _load(name: str, pretrained: str, folder: Path) -> tuple[Any, dict[str, Any], Any]:
    import torch

    open_clip = imported()
    file = folder / pretrained
    random = pretrained == "random"
    if name not in open_clip.list_models() and not name.startswith(("hf-hub:", LOCAL)):
        raise RecipeError(
            f"open_clip has no model {name!r}; python -c 'import open_clip; print(open_clip.list_models())'"
        )
    known = [tag for model, tag in open_clip.list_pretrained() if model == name]
    if not (random or file.is_file() or pretrained in known or ":" in name):
        raise RecipeError(
            f"open_clip {name}: no file and no weights {pretrained!r} "
            f"(known: {', '.join(known) or 'none'}; or `random`)"
        )
    torch.manual_seed(0)  # random weights are the same everywhere
    try:
        looked_at = _looked_at(open_clip, name)
        model = open_clip.create_model(
            looked_at, pretrained=None if random else str(file) if file.is_file() else pretrained, weights_only=True
        )
        tokenizer = open_clip.get_tokenizer(looked_at)
    except Exception as error:  # a broken folder shows in many ways
        problem = " ".join(str(error).split())[:200]
        raise RecipeError(f"open_clip {name} {pretrained}: weights can't be loaded ({problem})") from error
    return model, dict(model.visual.preprocess_cfg), tokenizer


def _looked_at(open_clip: Any, name: str) -> str:
    """The model's name, or its folder where its files come from outside. Raises ValueError."""
    place = name.partition(":")[2]
    if not place:  # of the library's own: it names parts of the hub's
        words = open_clip.get_model_config(name)["text_cfg"]
        for part in {words.get("hf_tokenizer_name"), words.get("hf_model_name")} - {None, ""}:
            model_folder(part, Path(), weights=False)
        return name
    folder = model_folder(str(Path(place).absolute()) if name.startswith(LOCAL) else place, Path())
    check_clip(open_clip.get_model_config(f"{LOCAL}{folder}"))
    return f"{LOCAL}{folder}"


def imported() -> Any:
    """open_clip, quietly; RecipeError with the command that installs it."""
    import logging
    import warnings

    logging.getLogger().setLevel(max(logging.getLogger().level, logging.ERROR))  # it warns of random weights
    try:
        declare_operators()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import open_clip
    except ImportError as error:
        raise MissingExtra("embed: open_clip", "clip") from error
    return open_clip
