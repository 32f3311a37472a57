"""`loss: image_text_lm`: a caption's mean loss given its image, by any image-text-to-text model of transformers.

As POINTS filters (Liu et al. 2024, arXiv:2409.04828): exp of it is their perplexity over the caption's tokens. The same
without the image stands beside it, and their ratio: below 1 the image helps to say the caption, near 1 the caption
speaks of nothing in it. The caption's own tokens are judged, behind the model's image tokens and `prompt`."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from tamis.pipeline.columns.contract import ColumnKind, Output, Told
from tamis.pipeline.columns.loss.causal_lm import CHARS_A_TOKEN, LOSS, LOSS_VERSION, check_tokenizer, imported
from tamis.pipeline.columns.models.gate import model_folder
from tamis.pipeline.columns.models.torch_models import devices, dtype_of, judged, weights_digest
from tamis.pipeline.decode.locate import PLACE, image_bytes, is_image
from tamis.pipeline.errors import RecipeError, Unusable
from tamis.pipeline.files.atomic import digest_of_folder


@dataclass(frozen=True, kw_only=True)
class ImageTextLM(ColumnKind):
    """model       a name on the hub or a folder
    prompt      what stands between image and caption
    max_tokens  of a caption that are read
    precision   `auto` is bf16 on a GPU and fp32 elsewhere
    """

    verb: ClassVar[str] = "loss"
    kind: ClassVar[str] = "image_text_lm"
    extra: ClassVar[str] = "lm"

    model: str
    prompt: str = "\n"
    max_tokens: int = 256
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens must be 1 or more, found {self.max_tokens}")

    def makes(self, images: bool) -> list[Output]:
        more = (*LOSS, ("without_image", pa.float32()), ("grounding", pa.float32()))
        return [Output(main=pa.float32(), more=more, reads=("text", "width", *PLACE))]

    def fingerprinted(self, folder: Path) -> dict[str, Any]:
        given = asdict(self)
        if (folder / self.model).is_dir():
            given |= {"model": "folder", "digests": digest_of_folder(folder / self.model)}
        return {**given, "version": LOSS_VERSION}

    def load(self, place: Path) -> "ImageTextModel":
        return ImageTextModel(self, place)


class ImageTextModel:
    def __init__(self, settings: ImageTextLM, folder: Path) -> None:
        transformers = imported()
        name = settings.model
        self.settings, self.device = settings, devices()[0]
        precision = settings.precision if settings.precision != "auto" else "bf16" if self.device != "cpu" else "fp32"
        try:
            place = model_folder(name, folder)
            model = transformers.AutoModelForImageTextToText.from_pretrained(
                place, use_safetensors=True, trust_remote_code=False, dtype="float32"
            )
            self.processor = transformers.AutoProcessor.from_pretrained(place, trust_remote_code=False)
        except Exception as error:  # a broken folder shows in many ways
            offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
            problem = " ".join(str(error).split())[:200]
            raise RecipeError(f"{name}: no image-text model can be loaded{offline}: {problem}") from error
        self.tokenizer = self.processor.tokenizer
        check_tokenizer(self.tokenizer, int(model.get_input_embeddings().weight.shape[0]), name)
        self.sign = getattr(self.processor, "image_token", None)
        if self.sign is None:
            raise RecipeError(f"{name}: its processor names no image token")
        self.type = dtype_of(precision)
        self.facts: dict[str, Any] = {"weights": weights_digest(model), "precision": precision}
        self.model = model.eval().to(self.type).to(self.device)

    def values(self, batch: pa.RecordBatch, told: Told) -> list[pa.Array]:
        """Loss given the image, tokens, loss without it, their ratio; null without image or caption."""
        rows = batch.to_pylist()
        losses = np.full((len(rows), 2), np.nan)
        counts = np.zeros(len(rows), np.int32)
        for number, row in enumerate(rows):
            if is_image(row) and (row["text"] or "").strip():
                image, caption = self._image(row, told), self._caption(row["text"], told)
                if image is not None and caption:
                    losses[number], counts[number] = self._judge(image, caption), len(caption)
        there = np.isfinite(losses).all(1)
        given, alone = losses[:, 0], losses[:, 1]
        ratio = np.divide(given, alone, out=np.full(len(rows), np.nan), where=there & (alone > 0))
        return [
            pa.array(given, pa.float32(), mask=~there),
            pa.array(np.where(there, counts, 0), pa.int32()),
            pa.array(alone, pa.float32(), mask=~there),
            pa.array(ratio, pa.float32(), mask=~np.isfinite(ratio)),
        ]

    def _image(self, row: dict[str, Any], told: Told) -> Any:
        from tamis.pipeline.decode.pixels import decode  # decoded once already by a worker, the same bytes

        try:
            return decode(image_bytes(row))[0].convert("RGB")
        except Unusable:
            told.counts["images_gone"] += 1
            return None

    def _caption(self, text: str, told: Told) -> list[int]:
        most = self.settings.max_tokens
        ids = self.tokenizer(text[: most * CHARS_A_TOKEN], add_special_tokens=False, verbose=False)["input_ids"]
        told.counts["texts_cut"] += len(ids) > most or len(text) > most * CHARS_A_TOKEN
        return list(ids[:most])

    def _judge(self, image: Any, caption: list[int]) -> tuple[float, float]:
        """Losses with and without the image."""
        given = self.processor(text=[f"{self.sign}{self.settings.prompt}"], images=[image], return_tensors="pt")
        marks = [mark for mark in (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id) if mark is not None]
        return self._loss(dict(given), caption), self._loss({"input_ids": [marks[:1] or [0]]}, caption)

    def _loss(self, prefix: dict[str, Any], caption: list[int]) -> float:
        """Mean nats of the caption's tokens behind a prefix."""
        import torch

        ids = torch.as_tensor(prefix["input_ids"])
        given = {}
        for name, value in prefix.items():
            extended = torch.as_tensor(value)
            if name == "input_ids":
                extended = torch.cat([ids, torch.tensor([caption])], 1)
            elif extended.shape == ids.shape:  # masks and types, one a token
                more = torch.full((1, len(caption)), int(name == "attention_mask"), dtype=extended.dtype)
                extended = torch.cat([extended, more], 1)
            given[name] = extended.to(self.device, self.type if extended.is_floating_point() else None)
        try:
            with torch.inference_mode():
                logits = self.model(**given, use_cache=False).logits[0, -len(caption) - 1 : -1].float()
                chosen = logits.gather(1, torch.tensor(caption, device=self.device)[:, None])[:, 0]
                return float((logits.logsumexp(1) - chosen).mean())
        except (RuntimeError, MemoryError) as error:
            raise judged(error) from error
