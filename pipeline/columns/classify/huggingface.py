"""`classify: huggingface`: the probability of a label, from a sequence classifier that the user gives.

It reads a text's first window, and the rest is counted as cut. A model with one output (a regression, such as an
educational score) gives that number as it is."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from tamis.pipeline.columns.contract import ColumnKind, Output, Told
from tamis.pipeline.columns.loss.causal_lm import CHARS_A_TOKEN, check_tokenizer, imported
from tamis.pipeline.columns.models.gate import model_folder
from tamis.pipeline.columns.models.torch_models import devices, dtype_of, weights_digest
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.files.atomic import digest_of_folder

CLASSIFY_VERSION = 1  # raise when the same text would get another probability
WINDOW = 512  # tokens of a sequence classifier, where it does not say less


@dataclass(frozen=True, kw_only=True)
class HuggingFace(ColumnKind):
    """model      a name on the hub or a folder with a sequence classifier
    label      whose probability, by name or number
    precision  `auto` is bf16 on a GPU and fp32 elsewhere
    """

    verb: ClassVar[str] = "classify"
    kind: ClassVar[str] = "huggingface"
    extra: ClassVar[str] = "lm"

    model: str
    label: str | int | None = None
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"

    def makes(self, images: bool) -> list[Output]:
        return [Output(main=pa.float32(), reads=("text",))]

    def fingerprinted(self, folder: Path) -> dict[str, Any]:
        given = asdict(self)
        if (folder / self.model).is_dir():
            given |= {"model": "folder", "digests": digest_of_folder(folder / self.model)}
        return {**given, "version": CLASSIFY_VERSION}

    def load(self, place: Path) -> "HuggingFaceModel":
        return HuggingFaceModel(self, place)


class HuggingFaceModel:
    def __init__(self, settings: HuggingFace, folder: Path) -> None:
        transformers = imported()
        name = settings.model
        self.device = devices()[0]
        precision = settings.precision if settings.precision != "auto" else "bf16" if self.device != "cpu" else "fp32"
        try:
            place = model_folder(name, folder)
            model = transformers.AutoModelForSequenceClassification.from_pretrained(
                place, use_safetensors=True, trust_remote_code=False, dtype="float32"
            )
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(place, trust_remote_code=False)
        except Exception as error:  # a broken folder shows in many ways
            offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
            problem = " ".join(str(error).split())[:200]
            raise RecipeError(f"{name}: no sequence classifier can be loaded{offline}: {problem}") from error
        check_tokenizer(self.tokenizer, int(model.get_input_embeddings().weight.shape[0]), name)
        if self.tokenizer.pad_token is None:
            raise RecipeError(f"{name}: its tokenizer has no padding token, which a classifier needs")
        model.config.pad_token_id = self.tokenizer.pad_token_id
        self.place = _label(model.config, settings.label, name)
        self.regression = model.config.num_labels == 1
        self.several = model.config.problem_type == "multi_label_classification"
        longest = getattr(model.config, "max_position_embeddings", WINDOW)
        self.window = int(min(WINDOW, longest, self.tokenizer.model_max_length))
        self.facts: dict[str, Any] = {"weights": weights_digest(model), "precision": precision, "window": self.window}
        self.model = model.eval().to(dtype_of(precision)).to(self.device)

    def values(self, batch: pa.RecordBatch, told: Told) -> list[pa.Array]:
        """The label's probability; null for a blank text."""
        import torch

        window = self.window
        most = window * CHARS_A_TOKEN
        texts = [(text or "").strip()[:most] for text in batch["text"].to_pylist()]
        found = self.tokenizer(texts, truncation=False, verbose=False)["input_ids"]
        told.counts["texts_cut"] += sum(len(ids) > window for ids in found)
        order = sorted((row for row, text in enumerate(texts) if text), key=lambda row: -len(found[row]))
        out = np.full(len(texts), np.nan, np.float32)
        for first in range(0, len(order), 32):
            rows = order[first : first + 32]
            given = self.tokenizer(
                [texts[row] for row in rows], truncation=True, max_length=window, padding=True, return_tensors="pt"
            ).to(self.device)
            with torch.inference_mode():
                logits = self.model(**given).logits.float()
            chances = logits if self.regression else logits.sigmoid() if self.several else logits.softmax(1)
            out[rows] = chances[:, self.place].cpu().numpy()
        return [pa.array(out, mask=np.array([not text for text in texts], bool))]


def _label(config: Any, asked: str | int | None, name: str) -> int:
    labels = {int(number): str(label) for number, label in config.id2label.items()}
    if config.num_labels == 1:
        return 0
    if isinstance(asked, int) and asked in labels:
        return asked
    for number, label in labels.items():
        if label == asked:
            return number
    raise RecipeError(f"{name}: label: wanted one of {', '.join(labels.values())}, found {asked!r}")
