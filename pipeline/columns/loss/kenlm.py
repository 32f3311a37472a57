"""`loss: kenlm`: perplexity by a user's KenLM file, as CCNet computes it (Wenzek et al. 2019, arXiv:1911.00359).

A text is normalised (lower case, accents off, digits to 0, punctuation to ASCII, control characters, line ends among
them, deleted), cut into SentencePiece pieces where a model of them is given, and scored as one line with both ends
marked: perplexity = 10^(-score / (pieces + 1)), rounded to a tenth. CCNet's cutoffs for English are 340 and 520. The
column is mean nats a piece, the end among them, so that it is a loss as the others are; NAME_perplexity is CCNet's."""

import math
import re
import unicodedata
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import pyarrow as pa

from tamis.pipeline.columns.contract import ColumnKind, Output, Told
from tamis.pipeline.columns.loss.causal_lm import LOSS
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.files.atomic import digest_of_input
from tamis.pipeline.recipe.extras import MissingExtra

KENLM_VERSION = 1  # raise when the same text would get another perplexity
FROM = "，。、„”“«»」「《》´∶：？！（）；–～’━〈〉【】％►"
TO = ',.,"""""""""\'::?!();-~\'-<>[]%-'
PUNCTUATION = str.maketrans({**dict(zip(FROM, TO, strict=True)), "—": " - ", "．": ". ", "…": "..."})
CONTROL = re.compile(f"[{''.join(map(chr, [*range(32), *range(127, 160)]))}]")
DIGIT = re.compile(r"\d")


@dataclass(frozen=True, kw_only=True)
class KenLM(ColumnKind):
    """model      an ARPA or binary file of KenLM
    pieces     a SentencePiece model (default: white space)
    normalise  CCNet's rules, or none
    """

    verb: ClassVar[str] = "loss"
    kind: ClassVar[str] = "kenlm"
    extra: ClassVar[str] = "kenlm"

    model: str
    pieces: str | None = None
    normalise: Literal["ccnet", "none"] = "ccnet"

    def makes(self, images: bool) -> list[Output]:
        more = (*LOSS, ("perplexity", pa.float64()))
        return [Output(main=pa.float32(), more=more, reads=("text",))]

    def fingerprinted(self, folder: Path) -> dict[str, Any]:
        files = [name for name in (self.model, self.pieces) if name is not None]
        for name in files:
            if not (folder / name).is_file():
                raise RecipeError(f"kenlm: no file {folder / name}")
        digests = [digest_of_input(folder / name) for name in files]
        return {**asdict(self), "digests": digests, "version": KENLM_VERSION}

    def load(self, place: Path) -> "KenLMModel":
        return KenLMModel(self, place)


class KenLMModel:
    def __init__(self, settings: KenLM, folder: Path) -> None:
        try:
            import kenlm
        except ImportError as error:
            raise MissingExtra("loss: kenlm", "kenlm") from error
        self.settings = settings
        try:
            self.model = kenlm.Model(str(folder / settings.model))
        except OSError as error:
            problem = " ".join(str(error).split())[:160]
            raise RecipeError(f"kenlm {settings.model}: can't be loaded ({problem})") from error
        self.pieces = None if settings.pieces is None else _pieces(folder / settings.pieces)
        self.facts: dict[str, Any] = {"order": self.model.order}

    def values(self, batch: pa.RecordBatch, told: Told) -> list[pa.Array]:
        """Mean nats a piece, pieces with the end, CCNet's perplexity; null for a text without pieces."""
        found = [self._of_text(text or "") for text in batch["text"].to_pylist()]
        losses, counts, perplexities = zip(*found, strict=True) if found else ((), (), ())
        return [pa.array(losses, pa.float32()), pa.array(counts, pa.int32()), pa.array(perplexities, pa.float64())]

    def _of_text(self, text: str) -> tuple[float | None, int, float | None]:
        line = ccnet_normalised(text) if self.settings.normalise == "ccnet" else " ".join(text.split())
        if self.pieces is not None:
            line = " ".join(self.pieces.encode(line, out_type=str))
        count = len(line.split())
        if count == 0:
            return None, 0, None
        mean = -self.model.score(line) / (count + 1)
        return mean * math.log(10), count + 1, round(10.0**mean, 1) if mean < 300 else math.inf


def ccnet_normalised(text: str) -> str:
    """The text as CCNet's language models expect it."""
    text = unicodedata.normalize("NFD", text.strip().lower())
    text = "".join(character for character in text if unicodedata.category(character) != "Mn")
    return CONTROL.sub("", DIGIT.sub("0", text).translate(PUNCTUATION))


def _pieces(path: Path) -> Any:
    try:
        import sentencepiece
    except ImportError as error:
        raise MissingExtra("loss: kenlm with `pieces`", "kenlm") from error
    try:
        return sentencepiece.SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError) as error:
        problem = " ".join(str(error).split())[:160]
        raise RecipeError(f"kenlm: {path} is no SentencePiece model ({problem})") from error
