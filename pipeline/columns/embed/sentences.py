"""`embed: sentence_transformers`: a vector for each text, from a model by name or path.

Texts longer than the model's window are cut into windows whose vectors are averaged, weighted by their tokens, so that
no part of a document goes unread (`long: mean`), or cut (`long: cut`). Reimers and Gurevych 2019 (arXiv:1908.10084)."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from tamis.pipeline.columns.contract import Output
from tamis.pipeline.columns.embed.embedder import WordEmbedder
from tamis.pipeline.columns.embed.vectors import TextVectors
from tamis.pipeline.columns.models.gate import model_folder
from tamis.pipeline.columns.models.torch_models import declare_operators, devices, dtype_of, judged, precision_for
from tamis.pipeline.decode.passes import TooLarge
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.files.atomic import digest_of_folder
from tamis.pipeline.recipe.extras import MissingExtra

SENTENCES_VERSION = 1  # raise when the same text would give another vector
MOST_WINDOWS = 256  # of one text: 65,000 tokens; the rest of a book is cut, and counted


@dataclass(frozen=True, kw_only=True)
class SentenceTransformers(WordEmbedder):
    """model      a name on the hub or a folder
    long       what becomes of texts beyond the window
    precision  `auto` is fp16 on a GPU and fp32 elsewhere
    dims       keep the leading dimensions
    batch      windows at once
    share      of the pool's samples that get a vector, drawn by their ids; the target's get one all
    """

    kind: ClassVar[str] = "sentence_transformers"
    extra: ClassVar[str] = "text"

    model: str
    long: Literal["mean", "cut"] = "mean"
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"
    dims: int | None = None
    batch: int = 64
    share: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, found {self.share}")

    @property
    def made_of_share(self) -> float:
        return self.share

    def makes(self, images: bool) -> list[Output]:
        return [Output(reads=("text",), vectors=True)]

    def fingerprinted(self, folder: Path) -> dict[str, Any]:
        given = {key: value for key, value in asdict(self).items() if key not in ("batch", "share")}
        given |= {"share": self.share} if self.share < 1 else {}
        if (folder / self.model).is_dir():
            given |= {"model": "folder", "digests": digest_of_folder(folder / self.model)}
        return {**given, "version": SENTENCES_VERSION}

    def load(self, place: Path) -> "SentenceModel":
        return SentenceModel(self, place)

    def reader(self, loaded: "SentenceModel", output: str, folder: Path) -> TextVectors:
        return TextVectors(loaded, self.dims)


class SentenceModel:
    def __init__(self, settings: SentenceTransformers, folder: Path) -> None:
        self.settings = settings
        self.batch = settings.batch
        self.cut = 0  # texts of which something went unread
        self.device = devices()[0]
        self.precision = precision_for(settings.precision, self.device)
        self.model = _load(settings.model, folder, self.device)
        self.model.to(dtype_of(self.precision))
        self.dim = int(self.model.get_embedding_dimension())
        self.window = int(self.model.max_seq_length) - 2  # tokens, without the two that mark start and end

    @property
    def facts(self) -> dict[str, Any]:
        dim = self.settings.dims or self.dim
        return {"dim": dim, "precision": self.precision, "devices": [self.device], "window_tokens": self.window}

    def texts(self, texts: list[str]) -> npt.NDArray[np.float32]:
        """[texts, dim] float32."""
        windows, owners, sizes = [], [], []
        for row, text in enumerate(texts):
            for size, piece in self._windows(text):
                windows.append(piece)
                owners.append(row)
                sizes.append(size)
        made = self._encoded(windows)
        out = np.zeros((len(texts), self.dim), np.float32)
        np.add.at(out, owners, np.asarray(made, np.float32) * np.asarray(sizes, np.float32)[:, None])
        return out

    def _encoded(self, windows: list[str]) -> Any:
        """Vectors of the windows; where memory runs out, with half as many at once from here on."""
        while True:
            try:
                return self.model.encode(
                    windows, batch_size=self.batch, normalize_embeddings=True, show_progress_bar=False
                )
            except RuntimeError as error:
                if not isinstance(judged(error), TooLarge) or self.batch == 1:
                    raise
                self.batch //= 2

    def _windows(self, text: str) -> list[tuple[int, str]]:
        """(tokens, piece) of each window; pieces are slices of the text itself."""
        found = self.model.tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, truncation=False, verbose=False
        )
        places = found["offset_mapping"]
        if len(places) <= self.window or self.settings.long == "cut":
            self.cut += len(places) > self.window
            return [(max(1, len(places)), text)]
        self.cut += len(places) > MOST_WINDOWS * self.window
        cuts = range(0, min(len(places), MOST_WINDOWS * self.window), self.window)
        return [(len(some), text[some[0][0] : some[-1][1]]) for some in (places[i : i + self.window] for i in cuts)]


def _load(model: str, folder: Path, device: str) -> Any:
    try:
        declare_operators()
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingExtra("embed: sentence_transformers", "text") from error
    try:
        place = str(model_folder(model, folder))
        safe = {"use_safetensors": True}
        return SentenceTransformer(place, device=device, trust_remote_code=False, model_kwargs=safe)
    except Exception as error:  # a broken folder shows in many ways
        problem = " ".join(str(error).split())[:200]
        hint = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
        raise RecipeError(f"sentence_transformers {model}: can't be loaded{hint}: {problem}") from error
