"""`detect: open_vocabulary`: Grounding DINO or OWLv2 through transformers, asked for the recipe's classes by name.

Liu et al. 2023, arXiv:2303.05499; Minderer et al. 2023, arXiv:2306.09683. The confidence of a box for a class is the
largest over the class's own query or words, so that labels are never guessed from strings: two classes that share a
word stay apart. Long lists of classes are asked for in several passes, of which each box is of the surest class."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from tamis.pipeline.columns.detect.boxes import Found
from tamis.pipeline.columns.detect.objects import Detector, own_settings
from tamis.pipeline.columns.detect.onnx import MOST_BOXES, corners, suppress
from tamis.pipeline.columns.loss.causal_lm import imported
from tamis.pipeline.columns.models.gate import model_folder
from tamis.pipeline.columns.models.torch_models import (
    devices,
    dtype_of,
    find_batch,
    judged,
    precision_for,
    weights_digest,
)
from tamis.pipeline.decode.plans import PREPARE_VERSION, pixels_plan
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.files.atomic import digest_of_folder

OPEN_VOCABULARY_VERSION = 1  # raise when the same pixels would give other boxes
MOST_WORDS = 200  # tokens of one prompt; Grounding DINO reads 256
MOST_QUERIES = 100  # classes of one pass of OWLv2
SIDES = {"grounding-dino": 1066, "owlv2": 960}  # pixels; 800 x 1066 is Grounding DINO's own for 3:4
FILLS = {"owlv2": 128}  # grey, as it was trained


@dataclass(frozen=True, kw_only=True)
class OpenVocabulary(Detector):
    """model       a name on the hub or a folder
    classes     names, or a prompt for each
    confidence  the least, a number or by class
    overlap     of two boxes of a class that share more (IoU) the surer stays
    side        pixels of the longer side
    precision   `auto` is fp16 on a GPU and fp32 elsewhere
    batch       images at once
    features    an embedder, {embed: NAME, ...}, that describes each object's crop
    """

    kind: ClassVar[str] = "open_vocabulary"
    extra: ClassVar[str] = "detect"
    default: ClassVar[float] = 0.3  # of classes that `confidence` doesn't name

    model: str
    classes: list[str] | dict[str, str]
    confidence: float | dict[str, float] = 0.3
    overlap: float = 0.7
    side: int | None = None
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"
    batch: int | None = None
    features: Any = None

    def __post_init__(self) -> None:
        if not self.classes or any(not name.strip() for name in self.classes):
            raise ValueError("classes: name at least one, and none with an empty name")

    def fingerprinted(self, folder: Path) -> dict[str, Any]:
        given = own_settings(self)
        if (folder / self.model).is_dir():
            given |= {"model": "folder", "digests": digest_of_folder(folder / self.model)}
        return {**given, "version": [OPEN_VOCABULARY_VERSION, PREPARE_VERSION]}

    def classes_of(self, _folder: Path) -> list[str]:
        return list(self.classes)

    @property
    def prompts(self) -> dict[str, str]:
        return self.classes if isinstance(self.classes, dict) else {name: name for name in self.classes}

    @property
    def at_once(self) -> int | None:
        return self.batch

    def load(self, place: Path) -> "OpenVocabularyModel":
        return OpenVocabularyModel(self, place)


class OpenVocabularyModel:
    def __init__(self, settings: OpenVocabulary, folder: Path) -> None:
        transformers = imported()
        name = settings.model
        self.settings, self.device = settings, devices()[0]
        self.classes = list(settings.prompts)
        try:
            place = model_folder(name, folder)
            model = transformers.AutoModelForZeroShotObjectDetection.from_pretrained(
                place, use_safetensors=True, trust_remote_code=False, dtype="float32"
            )
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(place, trust_remote_code=False)
            processor = transformers.AutoImageProcessor.from_pretrained(place, trust_remote_code=False)
        except Exception as error:  # a broken folder shows in many ways
            offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
            problem = " ".join(str(error).split())[:200]
            raise RecipeError(f"{name}: no open-vocabulary detector can be loaded{offline}: {problem}") from error
        self.family = model.config.model_type
        if self.family not in SIDES:
            raise RecipeError(f"{name}: a model of type {self.family!r}; known: {', '.join(SIDES)}")
        self.mean, self.std = np.array(processor.image_mean, np.float32), np.array(processor.image_std, np.float32)
        self.side = settings.side or SIDES[self.family]
        precision = precision_for(settings.precision, self.device)
        self.facts = {"weights": weights_digest(model), "precision": precision, "side": self.side}
        self.type = dtype_of(precision)
        self.model = model.eval().to(self.type).to(self.device)
        self.passes = self._words() if self.family == "grounding-dino" else self._queries()

    @property
    def plan(self) -> dict[str, Any]:
        return pixels_plan([self.side, self.side], "corner", "bilinear", FILLS.get(self.family, 0))

    def best_batch(self) -> int:
        blank = np.zeros((1, self.side, self.side, 3), np.uint8)
        return find_batch(lambda size: self.start(np.repeat(blank, size, 0), size))  # type: ignore[arg-type,return-value]

    def start(self, array: npt.NDArray[np.uint8], batch: int) -> Callable[[], list[Found]]:
        """The call gives, of each prepared image, its boxes in the page's pixels."""
        made = [
            found for first in range(0, len(array), batch) for found in self._of_batch(array[first : first + batch])
        ]
        return lambda: made

    def _queries(self) -> list[tuple[dict[str, Any], list[int], None]]:
        """Of each pass of OWLv2 its tokens, and the classes of its queries."""
        names, places = list(self.settings.prompts.values()), range(len(self.classes))
        some = [list(places[first : first + MOST_QUERIES]) for first in range(0, len(names), MOST_QUERIES)]
        length = self.model.config.text_config.max_position_embeddings
        padded = {"padding": "max_length", "max_length": length, "truncation": True, "return_tensors": "pt"}
        return [(self.tokenizer([names[place] for place in mine], **padded), mine, None) for mine in some]

    def _words(self) -> list[tuple[dict[str, Any], list[int], Any]]:
        """Of each pass of Grounding DINO its tokens, its classes, and [classes, tokens] which words are whose."""
        groups: list[list[int]] = [[]]
        count = 0
        for place, prompt in enumerate(self.settings.prompts.values()):
            size = len(self.tokenizer(prompt, add_special_tokens=False)["input_ids"]) + 1
            if groups[-1] and count + size > MOST_WORDS:
                groups.append([])
                count = 0
            groups[-1].append(place)
            count += size
        passes = []
        prompts = [prompt.strip().lower().rstrip(".") for prompt in self.settings.prompts.values()]
        for group in groups:
            text, spans = "", []
            for place in group:
                spans.append((len(text), len(text) + len(prompts[place])))
                text += prompts[place] + ". "
            tokens = self.tokenizer(text.strip(), return_tensors="pt", return_offsets_mapping=True)
            offsets = tokens.pop("offset_mapping")[0].numpy()
            mine = [(offsets[:, 0] >= first) & (offsets[:, 1] <= end) & (offsets[:, 1] > 0) for first, end in spans]
            passes.append((tokens, group, np.stack(mine)))
        return passes

    def _of_batch(self, array: npt.NDArray[np.uint8]) -> list[Found]:
        import torch

        x = ((array.astype(np.float32) / 255 - self.mean) / self.std).transpose(0, 3, 1, 2)
        given = torch.from_numpy(np.ascontiguousarray(x)).to(self.device).to(self.type)
        boxes, sure, kinds = [], [], []
        try:
            with torch.inference_mode():
                for tokens, classes, words in self.passes:
                    out = self.model(pixel_values=given, **self._repeated(tokens, len(array)))
                    logits = out.logits.float().sigmoid().cpu().numpy()
                    scores = logits if words is None else by_class(logits, words)
                    best = scores.argmax(2)
                    boxes.append(out.pred_boxes.float().cpu().numpy() * self.side)
                    sure.append(np.take_along_axis(scores, best[:, :, None], 2)[:, :, 0])
                    kinds.append(np.array(classes)[best])
        except (RuntimeError, MemoryError) as error:
            raise judged(error) from error
        joined = [np.concatenate(some, 1) for some in (boxes, sure, kinds)]
        return [self._found(*rows) for rows in zip(*joined, strict=True)]

    def _repeated(self, tokens: Mapping[str, Any], images: int) -> dict[str, Any]:
        """OWLv2 takes its queries once an image, one below the other; so does Grounding DINO its one prompt."""
        return {name: values.repeat(images, 1).to(self.device) for name, values in tokens.items()}

    def _found(self, boxes: Any, sure: Any, kinds: Any) -> Found:
        wanted = self.settings.confidence
        least = np.array(
            [wanted.get(name, self.settings.default) if isinstance(wanted, dict) else wanted for name in self.classes]
        )
        rows = np.flatnonzero(sure >= least[kinds])
        placed = corners(boxes[rows]).astype(np.float64)
        keep = suppress(placed, sure[rows], kinds[rows], self.settings.overlap)[:MOST_BOXES]
        names = [self.classes[kind] for kind in kinds[rows][keep]]
        return Found(placed[keep], names, sure[rows][keep].astype(np.float64))


def by_class(logits: npt.NDArray[np.float32], words: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """[images, boxes, classes] the largest probability over each class's own words."""
    width = words.shape[1]
    return np.stack([logits[:, :, :width][:, :, mine].max(2, initial=0) for mine in words], 2)
