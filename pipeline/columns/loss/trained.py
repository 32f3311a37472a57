"""`loss: train`: a small causal model trained here, on a slice of the pool, or further on the target.

Byte-pair encoding trained on the spot (`tokenizers`), Llama's architecture, AdamW with a cosine, by the Trainer of
transformers; bf16 where the machine has it. Two moves, each whole or absent: the slice as a file of tokens, and the
model; between them the Trainer's checkpoints, from which a killed training goes on. Everything is drawn by hashes of
seed and id, so the same pool gives the same slice."""

import json
import math
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.columns.contract import ColumnKind, Lessons, Output, Sources, Told
from tamis.pipeline.columns.loss.causal_lm import (
    LOSS,
    LOSS_VERSION,
    Losses,
    LossModel,
    check_windows,
    imported,
    load,
    tokenizer_in,
)
from tamis.pipeline.columns.models.torch_models import devices
from tamis.pipeline.columns.pieces import pieces
from tamis.pipeline.errors import RunFailed
from tamis.pipeline.files.atomic import atomic_path, read_json, write_record
from tamis.pipeline.machine import idle_cores
from tamis.pipeline.progress import Counter
from tamis.pipeline.read.pool import Part
from tamis.pipeline.recipe.extras import MissingExtra
from tamis.selectors.chance import uniform
from tamis.selectors.rows import hashes_of

TRAIN_VERSION = 1  # raise when the same slice would give another model
TOKENIZER_BYTES = 8 << 20  # of texts that byte pairs are learned from
SPARE = 1.05  # more bytes are drawn than the estimate says, so that the slice is full
MARK = "<s>"  # stands before each text
CHECKPOINT_FILES = ("model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json")
CHECKPOINTS = 10  # a training; a killed one repeats at most a tenth


class Shape(NamedTuple):
    """A model's size, and how such a one is trained."""

    vocabulary: int
    hidden: int
    layers: int
    heads: int
    context: int
    rate: float  # peak learning rate


SIZES = {  # parameters: 1.0, 6.8, 36 and 120 million
    "tiny": Shape(2048, 128, 4, 4, 256, 4e-3),
    "small": Shape(8192, 256, 6, 8, 512, 2e-3),
    "medium": Shape(16384, 512, 8, 8, 512, 1e-3),
    "base": Shape(32000, 768, 12, 12, 512, 1e-3),
}
INHERITED = ("size", "tokenizer", "max_tokens", "stride", "precision")  # of the column that a model goes on from
TEXTS = {"k": 10**3, "M": 10**6, "B": 10**9}


@dataclass(frozen=True, kw_only=True)
class TrainedLM(ColumnKind):
    """on          what it is trained on
    tokens      how many, as `2M` (default: all there are)
    size        of a model from scratch
    start       the column whose model is trained further (`from` in a recipe)
    epochs      passes over the tokens
    rate        peak learning rate
    batch       windows at once
    tokenizer   learned byte pairs, or bytes
    stride      tokens between the windows' beginnings
    max_tokens  of a text that are read (default: one window)
    precision   of the losses; `auto` is bf16 on a GPU and fp32 elsewhere
    context     tokens of a window
    """

    verb: ClassVar[str] = "loss"
    kind: ClassVar[str] = "train"
    extra: ClassVar[str] = "lm"
    renamed: ClassVar[dict[str, str]] = {"from": "start"}

    on: Literal["pool", "target"]
    tokens: int | str | None = None
    size: Literal["tiny", "small", "medium", "base"] = "tiny"
    start: str | None = None
    epochs: int = 1
    rate: float | None = None
    batch: int = 8
    tokenizer: Literal["bpe", "bytes"] = "bpe"
    stride: int | None = None
    max_tokens: int | None = None
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        check_windows(SIZES[self.size].context, self.stride, self.max_tokens or 1)
        if self.epochs < 1 or self.batch < 1 or (self.rate is not None and not self.rate > 0):
            raise ValueError("epochs and batch must be 1 or more, rate above 0")
        if self.wanted is not None and self.wanted < 1:
            raise ValueError(f"tokens: wanted 1 or more, found {self.tokens}")
        if self.on == "pool" and self.tokens is None:
            raise ValueError("tokens: how many of the pool's? For instance `tokens: 2M`")

    def makes(self, images: bool) -> list[Output]:
        more = (*LOSS, ("in_training_slice", pa.bool_()))
        return [Output(main=pa.float32(), more=more, reads=("text", "content_hash"))]

    @property
    def learns(self) -> tuple[Sources, ...]:
        return (self.on,)

    @property
    def follows(self) -> str | None:
        return self.start

    def inheriting(self, start: ColumnKind | None, given: set[str]) -> "TrainedLM":
        """What belongs to a model is the start's; how its losses are made too, unless the recipe says otherwise. Raises
        ValueError."""
        if not isinstance(start, TrainedLM):
            raise ValueError(f"from {self.start!r}: no column of that name is trained before it")  # noqa: TRY004
        for field in ("size", "tokenizer"):
            if field in given:
                raise ValueError(f"{field}: it has that of {self.start!r}, which it goes on from")
        taken = {field: value for field, value in vars(start).items() if field in INHERITED and field not in given}
        return replace(self, **taken)

    @property
    def wanted(self) -> int | None:
        """Tokens as a number. Raises ValueError."""
        if self.tokens is None or isinstance(self.tokens, int):
            return self.tokens
        try:
            return round(float(self.tokens[:-1]) * TEXTS[self.tokens[-1]])
        except (KeyError, ValueError, IndexError, OverflowError):
            raise ValueError(f"tokens: wanted a number, or such as 500k, 2M, 1B, found {self.tokens!r}") from None

    def fingerprinted(self, folder: Path) -> dict[str, Any]:
        return {**asdict(self), "version": [LOSS_VERSION, TRAIN_VERSION]}

    def learn(self, lessons: Lessons, final: Path) -> None:
        train(self, lessons.parts(self.on), final, None if self.start is None else lessons.learned_by(self.start))

    def load(self, place: Path) -> "TrainedLosses":
        return TrainedLosses(self, place)


class TrainedLosses(Losses):
    """Of a model that was trained here, in `learned`."""

    def __init__(self, settings: TrainedLM, learned: Path) -> None:
        self.trained = read_json(learned / "model.json")
        self.slice = np.load(learned / "slice.npy", allow_pickle=False)
        most = settings.max_tokens or SIZES[settings.size].context - 1  # one window, with its mark
        super().__init__(LossModel(learned / "lm", None, settings.stride, most, settings.precision))

    @property
    def facts(self) -> dict[str, Any]:
        return {**self.model.facts, "max_tokens": self.model.max_tokens, "trained": self.trained}

    def values(self, batch: pa.RecordBatch, told: Told) -> list[pa.Array]:
        """The same, and whether the model was trained on this content."""
        return [*super().values(batch, told), pa.array(np.isin(hashes_of(batch), self.slice))]


def train(settings: TrainedLM, parts: list[Part], final: Path, start: Path | None) -> None:
    """Make `final` with the model (lm/), the hashes of its slice and the curve of its loss; `start` is such a folder of
    the model that is trained further. Raises RunFailed where there is nothing to learn from."""
    if (final / "model.json").exists():
        _clean(final)
        return
    final.mkdir(parents=True, exist_ok=True)
    if not (final / "slice.json").exists():
        _write_slice(settings, parts, final, start)
    tokens = np.load(final / "tokens.npy", mmap_mode="r", allow_pickle=False)
    told = train_stream(settings, tokens, final, start and start / "lm")
    write_record(final / "model.json", {**read_json(final / "slice.json"), **told})
    _clean(final)


def _clean(final: Path) -> None:
    shutil.rmtree(final / "checkpoints", ignore_errors=True)
    (final / "tokens.npy").unlink(missing_ok=True)


def _write_slice(settings: TrainedLM, parts: list[Part], final: Path, start: Path | None) -> None:
    """Tokens of the drawn texts, each behind the mark, and the contents that they are of."""
    sizes = text_sizes(parts, settings.seed)
    if not len(sizes):
        raise RunFailed(f"loss: train, on {settings.on}: not one text to learn from")
    tokenizer = learn_tokenizer(settings, parts, sizes, final, start)
    order = np.argsort(sizes["chance"], kind="stable")
    drawn, wanted = sizes, settings.wanted
    if wanted is not None:
        most = wanted * _bytes_a_token(tokenizer, parts, sizes) * SPARE
        enough = int(np.searchsorted(np.cumsum(sizes["bytes"][order]), most)) + 1
        drawn = sizes[order[:enough]]
    bits = np.uint16 if len(tokenizer) <= 1 << 16 else np.uint32
    raw = final / ".tokens.raw"
    counter = Counter("tokenize what is learned from", int(drawn["bytes"].sum()), "texts")
    ids, counts, hashes = [], [], []
    with raw.open("wb") as out:
        for batch in _texts(parts, np.sort(drawn["id"])):
            found = tokenizer(batch["text"].to_pylist(), add_special_tokens=False, verbose=False)["input_ids"]
            for mine in found:
                out.write(np.array([tokenizer.bos_token_id, *mine], bits).tobytes())
            counts += [len(mine) + 1 for mine in found]
            ids += batch["sample_id"].to_pylist()
            hashes += batch["content_hash"].to_pylist()
            counter.add(batch.num_rows, int(batch["n_bytes"].to_numpy().sum()))
    counter.end()
    taken = _within(np.array(counts, np.int64), np.array(ids, np.uint64), settings)
    stream, begin = np.memmap(raw, bits, "r"), np.concatenate([[0], np.cumsum(counts)])
    with atomic_path(final / "tokens.npy") as path:
        chosen = np.lib.format.open_memmap(path, mode="w+", dtype=bits, shape=(int(taken.sum()),))
        at = 0
        for row in np.flatnonzero(taken):
            chosen[at : at + taken[row]] = stream[begin[row] : begin[row] + taken[row]]
            at += int(taken[row])
        chosen.flush()
    raw.unlink()
    learned = np.unique(np.array([hashes[row] for row in np.flatnonzero(taken)], "S16"))
    if start is not None:  # what its beginning learned from, it has learned from
        learned = np.union1d(learned, np.load(start / "slice.npy", allow_pickle=False))
    with atomic_path(final / "slice.npy") as path, path.open("wb") as file:
        np.save(file, learned, allow_pickle=False)
    write_record(final / "slice.json", {"tokens": int(taken.sum()), "texts": int((taken > 0).sum())})


def _within(counts: npt.NDArray[np.int64], ids: npt.NDArray[np.uint64], settings: TrainedLM) -> npt.NDArray[np.int64]:
    """[texts] how many tokens of each are taken: texts by rising chance until the wanted number is full."""
    if settings.wanted is None:
        return counts
    order = np.argsort(uniform(ids, settings.seed, 0, "train"), kind="stable")
    before = np.concatenate([[0], np.cumsum(counts[order])[:-1]])
    taken = np.zeros_like(counts)
    taken[order] = np.clip(settings.wanted - before, 0, counts[order])
    return taken


def text_sizes(parts: list[Part], seed: int) -> npt.NDArray[Any]:
    """Of each sample with a text: its id, its bytes, and its chance in (0, 1)."""
    found = []
    for part in parts:
        table = pq.read_table(part.path, columns=["sample_id", "text"])
        lengths = pa.compute.binary_length(table["text"]).fill_null(0).to_numpy()
        ids = table["sample_id"].to_numpy()
        some = np.zeros(int((lengths > 0).sum()), [("id", "u8"), ("bytes", "i8"), ("chance", "f8")])
        some["id"], some["bytes"] = ids[lengths > 0], lengths[lengths > 0]
        some["chance"] = uniform(some["id"], seed, 0, "train")
        found.append(some)
    return np.concatenate(found) if found else np.zeros(0, [("id", "u8"), ("bytes", "i8"), ("chance", "f8")])


def _texts(parts: Iterable[Part], ids: npt.NDArray[np.uint64]) -> Iterator[pa.RecordBatch]:
    """Text, content hash and size of the samples with these ids (sorted), in the pool's order."""
    for part in parts:
        file = pq.ParquetFile(part.path)
        for batch in file.iter_batches(
            256, columns=["sample_id", "text", "content_hash", "n_bytes"], use_threads=False
        ):
            mine = batch["sample_id"].to_numpy()
            drawn = ids[np.minimum(np.searchsorted(ids, mine), len(ids) - 1)] == mine
            if drawn.any():
                yield from pieces(batch.filter(pa.array(drawn)))


def _sample_texts(parts: list[Part], sizes: npt.NDArray[Any], most: int) -> Iterator[list[str]]:
    """Texts of about `most` bytes, drawn by chance."""
    order = np.argsort(sizes["chance"], kind="stable")
    enough = int(np.searchsorted(np.cumsum(sizes["bytes"][order]), most)) + 1
    for batch in _texts(parts, np.sort(sizes["id"][order[:enough]])):
        yield [text[:100_000] for text in batch["text"].to_pylist()]


def learn_tokenizer(
    settings: TrainedLM, parts: list[Part], sizes: npt.NDArray[Any], final: Path, start: Path | None
) -> Any:
    """The start's tokenizer, or one made here; left in lm/ beside the model to come."""
    transformers = imported()
    if start is not None:
        tokenizer = tokenizer_in(start / "lm")
    else:
        tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_object=_byte_pairs(settings, parts, sizes), bos_token=MARK, eos_token=MARK
        )
    tokenizer.save_pretrained(final / "tokenizer")
    return tokenizer


def _byte_pairs(settings: TrainedLM, parts: list[Part], sizes: npt.NDArray[Any]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    most = SIZES[settings.size].vocabulary if settings.tokenizer == "bpe" else len(alphabet) + 1
    trainer = trainers.BpeTrainer(
        vocab_size=most, special_tokens=[MARK], initial_alphabet=sorted(alphabet), show_progress=False
    )
    tokenizer.train_from_iterator(_sample_texts(parts, sizes, TOKENIZER_BYTES), trainer)
    return tokenizer


def _bytes_a_token(tokenizer: Any, parts: list[Part], sizes: npt.NDArray[Any]) -> float:
    size = tokens = 0
    for texts in _sample_texts(parts, sizes, TOKENIZER_BYTES // 8):
        size += sum(len(text.encode()) for text in texts)
        tokens += sum(len(ids) + 1 for ids in tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"])
    return size / max(1, tokens)


class _Blocks:
    """The slice as windows of the model's context; what is left at the end is too short for one."""

    def __init__(self, tokens: npt.NDArray[Any], context: int) -> None:
        self.count = max(1, len(tokens) // context)
        self.context = min(context, len(tokens))
        self.tokens = tokens

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> dict[str, Any]:
        import torch

        block = self.tokens[number * self.context : (number + 1) * self.context].astype(np.int64)
        return {"input_ids": torch.from_numpy(block), "labels": torch.from_numpy(block)}


def train_stream(settings: TrainedLM, tokens: npt.NDArray[Any], final: Path, start: Path | None) -> dict[str, Any]:
    """Train on the tokens, from scratch or from the model in `start`, with `final`/tokenizer, into `final`/lm."""
    if len(tokens) < 2:
        raise RunFailed(f"loss: train, on {settings.on}: {len(tokens)} tokens are nothing to learn from")
    transformers = imported()
    import torch

    torch.set_num_threads(idle_cores())  # a shared machine's others are not waited for; the sums are the same
    try:
        import accelerate  # noqa: F401  the Trainer's
    except ImportError as error:
        raise MissingExtra("loss: train", "lm") from error
    model = _model(settings, final, start)
    blocks = _Blocks(tokens, min(SIZES[settings.size].context, model.config.max_position_embeddings))
    steps = math.ceil(len(blocks) / settings.batch) * settings.epochs
    rate = settings.rate or SIZES[settings.size].rate / (2 if start else 1)
    arguments = transformers.TrainingArguments(
        output_dir=str(final / "checkpoints"),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch,
        learning_rate=rate,
        adam_beta2=0.95,
        weight_decay=0.1,
        max_grad_norm=1.0,
        optim="adamw_torch_fused",
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": 0.1},
        warmup_steps=max(1, steps // 20),
        bf16=_has_bf16(),
        seed=settings.seed,
        data_seed=settings.seed,
        logging_steps=max(1, steps // 100),
        save_steps=max(1, steps // CHECKPOINTS),
        save_total_limit=1,
        report_to=[],
        disable_tqdm=True,
        use_cpu=devices() == ["cpu"],
        dataloader_pin_memory=False,
    )
    counter = Counter(f"train on {settings.on}", steps * settings.batch * blocks.context, "tokens")
    trainer = transformers.Trainer(
        model=model,
        args=arguments,
        train_dataset=blocks,
        callbacks=[_callback(counter, settings.batch * blocks.context)],
    )
    trainer.remove_callback(transformers.trainer_callback.PrinterCallback)
    trainer.train(resume_from_checkpoint=_checkpoint(final / "checkpoints"))
    counter.end()
    beside = final / ".lm.writing"
    shutil.rmtree(beside, ignore_errors=True)
    model.to("cpu").save_pretrained(beside, safe_serialization=True)
    shutil.copytree(final / "tokenizer", beside, dirs_exist_ok=True)
    shutil.rmtree(final / "lm", ignore_errors=True)
    beside.rename(final / "lm")
    curve = [
        [entry["step"] * settings.batch * blocks.context, round(entry["loss"], 4)]
        for entry in trainer.state.log_history
        if "loss" in entry
    ]
    return {"curve": curve, "parameters": sum(p.numel() for p in model.parameters()), "steps": steps, "rate": rate}


def _model(settings: TrainedLM, final: Path, start: Path | None) -> Any:
    if start is not None:
        return load(str(start))[0]
    transformers = imported()
    shape = SIZES[settings.size]
    tokenizer = tokenizer_in(final / "tokenizer")
    transformers.set_seed(settings.seed)
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=shape.hidden,
            intermediate_size=int(shape.hidden * 8 / 3 / 16) * 16,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            max_position_embeddings=shape.context,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def _checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that is whole; its state is written last."""
    whole = [path for path in folder.glob("checkpoint-*") if all((path / name).exists() for name in CHECKPOINT_FILES)]
    whole = [path for path in whole if _is_json(path / "trainer_state.json")]
    return str(max(whole, key=lambda path: int(path.name.split("-")[1]))) if whole else None


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True


def _has_bf16() -> bool:
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001  no public name asks for hardware alone


def _callback(counter: Counter, tokens: int) -> Any:
    from transformers import TrainerCallback

    class Progress(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
        def on_step_end(self, *_: Any, **__: Any) -> None:
            counter.add(tokens)

        def on_log(self, *_: Any, logs: dict[str, Any] | None = None, **__: Any) -> None:
            if logs and "loss" in logs:
                counter.add(0, 0, note=f"loss {logs['loss']:.3f}")

    return Progress()
