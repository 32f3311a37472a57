"""`loss: causal_lm`: mean negative log-likelihood a token, from any causal language model of transformers.

A text is its tokens behind one token that marks a beginning (the tokenizer's bos, else its eos, else none: then the
first token has no loss). Longer texts are read in windows of `context` tokens that begin `stride` tokens apart; each
token is judged once, in the first window that reaches it. No token marks the end. Texts beyond `max_tokens` are cut,
and counted. Rows are padded on the right without a mask: a causal model can't see there, so neither padding nor what
shares a batch changes a loss. Weights are read from safetensors alone: nothing is unpickled, no code of theirs runs."""

import copy
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.pipeline.columns.contract import ColumnKind, Fields, Output, Told
from tamis.pipeline.columns.models.gate import check_folder, model_folder
from tamis.pipeline.columns.models.torch_models import declare_operators, devices, dtype_of, judged, weights_digest
from tamis.pipeline.decode.passes import TooLarge
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.files.atomic import digest_of_folder
from tamis.pipeline.recipe.extras import MissingExtra

LOSS_VERSION = 1  # raise when the same text would get another loss
LONGEST_CONTEXT = 1024  # tokens, where neither recipe nor model says less
CHARS_A_TOKEN = 20  # a text is cut here before it is tokenized: no tokenizer's tokens are this long on average
LOGITS = 1 << 22  # numbers that a batch's logits may have on a processor: 16 MB, near its caches
LOGITS_ON_GPU = 1 << 28
LOSS: Fields = (("tokens", pa.int32()),)  # beside the loss
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class CausalLM(ColumnKind):
    """model       a name on the hub or a folder
    context     tokens of a window
    stride      between the windows' beginnings
    max_tokens  of a text that are read
    precision   `auto` is bf16 on a GPU and fp32 elsewhere
    """

    verb: ClassVar[str] = "loss"
    kind: ClassVar[str] = "causal_lm"
    extra: ClassVar[str] = "lm"

    model: str
    context: int | None = None
    stride: int | None = None
    max_tokens: int = 65_536
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"

    def __post_init__(self) -> None:
        check_windows(self.context, self.stride, self.max_tokens)

    def makes(self, images: bool) -> list[Output]:
        return [Output(main=pa.float32(), more=LOSS, reads=("text",))]

    def fingerprinted(self, folder: Path) -> dict[str, Any]:
        given = asdict(self)
        if (folder / self.model).is_dir():
            given |= {"model": "folder", "digests": digest_of_folder(folder / self.model)}
        elif self.model.startswith((".", "/", "~")) or self.model.count("/") > 1:
            raise RecipeError(f"causal_lm: no folder {folder / self.model}")
        return {**given, "version": LOSS_VERSION}

    def load(self, place: Path) -> "Losses":
        folder = place / self.model
        name = folder if folder.is_dir() else self.model
        return Losses(LossModel(name, self.context, self.stride, self.max_tokens, self.precision))


def check_windows(context: int | None, stride: int | None, max_tokens: int) -> None:
    """Raises ValueError."""
    if context is not None and context < 2:
        raise ValueError(f"context must be 2 tokens or more, found {context}")
    if stride is not None and not 1 <= stride <= (context or LONGEST_CONTEXT) - 1:
        raise ValueError(f"stride must be from 1 to context - 1, found {stride}")
    if max_tokens < 1:
        raise ValueError(f"max_tokens must be 1 or more, found {max_tokens}")


class Tokens(NamedTuple):
    """Texts as ids behind their marks, and how many of them were cut."""

    rows: list[Ids]
    cut: int


class Window(NamedTuple):
    """Part of a text: its ids, and from which of them on the losses are new."""

    row: int
    ids: Ids
    first: int


class LossModel:
    """A causal model and its tokenizer, on every device there is."""

    def __init__(
        self,
        folder: str | Path,
        context: int | None = None,
        stride: int | None = None,
        max_tokens: int = 65_536,
        precision: str = "auto",
    ) -> None:
        self.places = devices()
        on_gpu = self.places[0] != "cpu"
        self.precision = precision if precision != "auto" else "bf16" if on_gpu else "fp32"
        model, self.tokenizer = load(str(folder))
        self.digest = weights_digest(model)
        model = model.eval().to(dtype_of(self.precision))
        self.vocabulary = int(model.get_input_embeddings().weight.shape[0])
        check_tokenizer(self.tokenizer, self.vocabulary, str(folder))
        longest = _longest(model.config)
        if context is not None and context > longest:
            raise RecipeError(f"{folder}: context {context} is more than the model's {longest} tokens")
        self.context = context or min(longest, LONGEST_CONTEXT)
        self.stride = stride or self.context - max(1, self.context // 4)
        if self.stride >= self.context:
            raise RecipeError(f"{folder}: stride {self.stride} must be less than the context, {self.context}")
        self.max_tokens = max_tokens
        self.mark = next((i for i in (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id) if i is not None), None)
        self.tokenizer_digest = hashlib.blake2b(
            self.tokenizer.backend_tokenizer.to_str().encode(), digest_size=16
        ).hexdigest()
        self.head = head_of(model)
        self.batch_tokens = max(self.context, (LOGITS_ON_GPU if on_gpu else LOGITS) // self.vocabulary)
        self.models = [
            (model.to(place) if i == 0 else copy.deepcopy(model).to(place), place)
            for i, place in enumerate(self.places)
        ]

    @property
    def facts(self) -> dict[str, Any]:
        return {
            "weights": self.digest,
            "tokenizer": self.tokenizer_digest,
            "precision": self.precision,
            "context": self.context,
            "stride": self.stride,
            "begins_with": self.mark,
            "devices": self.places,
        }

    @property
    def cuts_like(self) -> tuple[Any, ...]:
        """What tokens depend on: models that agree in it can share them."""
        return self.tokenizer_digest, self.mark, self.max_tokens

    def tokens(self, texts: Sequence[str]) -> Tokens:
        most = self.max_tokens
        shown = [text[: most * CHARS_A_TOKEN] for text in texts]
        found = self.tokenizer(shown, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
        mark = [] if self.mark is None else [self.mark]
        rows = [np.array(mark + ids[:most], np.int64) for ids in found]
        cut = sum(len(i) > most or len(s) < len(t) for i, s, t in zip(found, shown, texts, strict=True))
        return Tokens(rows, cut)

    def losses(self, tokens: Tokens) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int32]]:
        """[texts] mean nats a token, NaN where there is none; [texts] tokens that have a loss."""
        while True:
            try:
                return self._losses(tokens)
            except TooLarge:
                if self.batch_tokens < 2:  # each window is alone by now
                    raise RecipeError(
                        f"out of memory with one window of {self.context} tokens: choose a smaller `context`"
                    ) from None
                self.batch_tokens //= 2

    def _losses(self, tokens: Tokens) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int32]]:
        windows = [
            Window(row, ids[begin:end], first - begin)
            for row, ids in enumerate(tokens.rows)
            for begin, end, first in windows_of(len(ids), self.context, self.stride)
        ]
        windows.sort(key=lambda window: -len(window.ids))
        sums, counts = np.zeros(len(tokens.rows)), np.zeros(len(tokens.rows), np.int32)
        for batch, found in self._through_models(list(self._batches(windows))):
            ends = np.cumsum([len(window.ids) - window.first for window in batch])
            for window, mine in zip(batch, np.split(found, ends[:-1]), strict=True):
                sums[window.row] += mine.sum(dtype=np.float64)
                counts[window.row] += len(mine)
        return np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0), counts

    def _batches(self, windows: list[Window]) -> Iterator[list[Window]]:
        first = 0
        while first < len(windows):
            size = max(1, self.batch_tokens // len(windows[first].ids))
            yield windows[first : first + size]
            first += size

    def _through_models(self, batches: list[list[Window]]) -> Iterator[tuple[list[Window], npt.NDArray[np.float32]]]:
        """Losses of each batch; on a processor a batch for each core at once, which beats all cores on one."""
        free: SimpleQueue[tuple[Any, str]] = SimpleQueue()
        workers = workers_of(self.models)
        for worker in workers:
            free.put(worker)

        def work(batch: list[Window]) -> npt.NDArray[np.float32]:
            model, place = free.get()
            try:
                return self._of_batch(batch, model, place)
            finally:
                free.put((model, place))

        with one_thread_each(len(workers), self.places[0]) as pool:
            yield from zip(batches, pool.map(work, batches), strict=True)

    def _of_batch(self, batch: list[Window], model: Any, place: str) -> npt.NDArray[np.float32]:
        """[tokens of the batch that are judged, window after window] nats."""
        import torch

        length = max(len(window.ids) for window in batch)
        ids = np.zeros((len(batch), length), np.int64)
        for row, window in enumerate(batch):
            ids[row, : len(window.ids)] = window.ids
        rows = np.repeat(np.arange(len(batch)), [len(window.ids) - window.first for window in batch])
        columns = np.concatenate([np.arange(window.first, len(window.ids)) for window in batch])
        try:
            with torch.inference_mode():
                given = torch.from_numpy(ids).to(place)
                r, c = torch.from_numpy(rows).to(place), torch.from_numpy(columns).to(place)
                logits = self.head(model, given, r, c - 1).float()
                chosen = logits.gather(1, given[r, c][:, None])[:, 0]
                return np.asarray((logits.logsumexp(1) - chosen).cpu().numpy(), np.float32)
        except (RuntimeError, MemoryError) as error:
            raise judged(error) from error


class Losses:
    """A causal model's losses as a column."""

    def __init__(self, model: LossModel) -> None:
        self.model = model

    @property
    def facts(self) -> dict[str, Any]:
        return self.model.facts

    def values(self, batch: pa.RecordBatch, told: Told) -> list[pa.Array]:
        """Mean nats a token, null where there is none, and numbers of tokens."""
        if self.model.cuts_like not in told.shared:
            told.shared[self.model.cuts_like] = self.model.tokens([text or "" for text in batch["text"].to_pylist()])
        tokens = told.shared[self.model.cuts_like]
        told.counts["texts_cut"] += tokens.cut
        losses, counts = self.model.losses(tokens)
        return [pa.array(losses, pa.float32(), mask=counts == 0), pa.array(counts, pa.int32())]


def windows_of(length: int, context: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """(begin, end, first judged) over the ids of a text, its mark among them: each id but the first is judged once."""
    if length < 2:
        return
    begin, judged_to = 0, 1
    while True:
        end = min(begin + context, length)
        yield begin, end, judged_to
        if end == length:
            return
        judged_to = end
        begin += stride


Head = Callable[[Any, Any, Any, Any], Any]


def head_of(model: Any) -> Head:
    """(model, ids, rows, columns) -> logits at those places. Only they go through the head, where the model proves on a
    sample that its head is a plain product; else all do."""
    import torch

    def whole(model: Any, ids: Any, rows: Any, columns: Any) -> Any:
        return model(input_ids=ids, use_cache=False).logits[rows, columns]

    def apart(model: Any, ids: Any, rows: Any, columns: Any) -> Any:
        hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        return model.get_output_embeddings()(hidden[rows, columns])

    with torch.inference_mode():
        ids = torch.arange(2, 10)[None, :] % model.get_input_embeddings().weight.shape[0]
        places = torch.zeros(8, dtype=torch.int64), torch.arange(8)
        try:
            same = torch.allclose(apart(model, ids, *places), whole(model, ids, *places), rtol=1e-4, atol=1e-5)
        except (AttributeError, TypeError, RuntimeError):
            same = False
    return apart if same else whole


def workers_of(models: list[tuple[Any, str]]) -> list[tuple[Any, str]]:
    from tamis.pipeline.machine import cores

    return models * cores() if models[0][1] == "cpu" else models


@contextmanager
def one_thread_each(workers: int, place: str) -> Iterator[ThreadPoolExecutor]:
    """A pool whose threads compute on one core each, where they compute on the processor."""
    import torch

    def settle() -> None:
        if place == "cpu":
            torch.set_num_threads(1)

    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(workers, initializer=settle, thread_name_prefix="tamis-lm") as pool:
            yield pool
    finally:
        torch.set_num_threads(before)  # what a thread sets is also what threads to come begin with


def check_tokenizer(tokenizer: Any, vocabulary: int, folder: str) -> None:
    """Raises RecipeError where the tokenizer has ids that the model doesn't know."""
    if len(tokenizer) > vocabulary:
        raise RecipeError(
            f"{folder}: its tokenizer has {len(tokenizer):,} tokens, the model knows {vocabulary:,}: they don't belong "
            "together"
        )


def _longest(config: Any) -> int:
    """Tokens of context that the model was made for."""
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    for name in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"):
        if isinstance(getattr(text, name, None), int) and getattr(text, name) > 0:
            return int(getattr(text, name))
    return LONGEST_CONTEXT


def load(folder: str) -> tuple[Any, Any]:
    """Model and tokenizer. Raises RecipeError."""
    transformers = imported()
    offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
    try:
        place = model_folder(folder, Path())
        model = transformers.AutoModelForCausalLM.from_pretrained(
            place, use_safetensors=True, trust_remote_code=False, dtype="float32"
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(place, trust_remote_code=False, use_fast=True)
    except Exception as error:  # a broken folder shows in many ways
        problem = " ".join(str(error).split())[:200]
        raise RecipeError(
            f"{folder}: no causal language model can be loaded{offline}: {problem}. Wanted: config.json, "
            "model.safetensors, tokenizer.json"
        ) from error
    if not getattr(tokenizer, "is_fast", False):
        raise RecipeError(f"{folder}: its tokenizer has no tokenizer.json; save it as a fast tokenizer first")
    return model, tokenizer


def tokenizer_in(folder: Path) -> Any:
    """The tokenizer of a model that lies in a store, looked at like any other: the store may be someone else's. Raises
    RecipeError."""
    try:
        check_folder(folder)
        return imported().AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise RecipeError(f"{folder}: {' '.join(str(error).split())[:200]}") from error


def imported() -> Any:
    """transformers, quietly; RecipeError with the command that installs it."""
    try:
        declare_operators()
        import transformers
    except ImportError as error:
        raise MissingExtra("a language model", "lm") from error
    told: Any = transformers.utils.logging
    told.set_verbosity_error()
    told.disable_progress_bar()
    return transformers
