"""Selections of texts judged by training: the same language model on each, judged on held-out texts of the target.

Models of one size from scratch, with byte pairs of the pool, or one that is given, trained further. A text's place in
the order hangs on seed and text alone, so two selections that share most texts learn them in much the same order, and
equal ones cost one training. Each loss is kept in STORE/compare, by what it depends on, so a stopped comparison goes on
where it was."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.choose.drawn import Drawn
from tamis.pipeline.columns.loss import trained
from tamis.pipeline.columns.loss.causal_lm import LossModel, check_tokenizer, imported, tokenizer_in
from tamis.pipeline.columns.models.gate import model_folder
from tamis.pipeline.comparing.measures import Judge
from tamis.pipeline.comparing.training import DOUBLINGS
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.files.atomic import digest_of_folder, fingerprint, read_json, write_record
from tamis.pipeline.progress import hushed
from tamis.pipeline.store.runs import Run

BATCH = 2  # windows at once: 14,000 tokens are 28 steps; of 8 at once, a few steps that hardly learn


class TextTrials:
    """`trained` asks it for losses after so many tokens of a selection, or of the pool ("")."""

    unit = "tokens"

    def __init__(
        self, runs: Mapping[str, list[Run]], model: str, held_out: list[str], others: list[str], among: Any
    ) -> None:
        """Of each selection its draws, which seeds take in turn; `others`: texts of the recipe's judge, if any;
        `among`: ids of what random is drawn from."""
        first = next(iter(runs.values()))[0]
        self.trainer = Trainer(first, model, held_out, others)
        self.judges = bool(others)
        self.texts = {name: [chosen_texts(run) for run in draws] for name, draws in runs.items()}
        if empty := [name for name, draws in self.texts.items() if not all(draws)]:
            raise RecipeError(f"--train: {empty[0]} holds no texts to train on; --train head learns classes")
        self.sizes = {name: min(map(self.trainer.count, draws)) for name, draws in self.texts.items()}
        most = max(len(some) for draws in self.texts.values() for some in draws)
        self.texts[""] = [_drawn(first, most * 2 ** (DOUBLINGS + 1), among)]
        self.sizes[""] = self.trainer.count(self.texts[""][0])

    def amount(self, of: str) -> int:
        return self.sizes[of]

    def loss(self, of: str, amount: int, seed: int) -> float:
        return self.trainer.losses(self._drawn(of, seed), amount, seed)["loss"]

    def judged(self, of: str, amount: int, seed: int) -> float:
        return self.trainer.losses(self._drawn(of, seed), amount, seed)["judge"]

    def _drawn(self, of: str, seed: int) -> list[str]:
        return self.texts[of][seed % len(self.texts[of])]


class Trainer:
    """Trains and judges models on texts of one pool: of a size, from scratch, or from a folder, further."""

    def __init__(self, run: Run, model: str, held_out: list[str], others: list[str] | None = None) -> None:
        self.held_out, self.others, self.folder = held_out, others or [], run.store / "compare"
        self.start = None if model in trained.SIZES else Path(model)
        self.size = model if self.start is None else "small"  # of a given model: its windows and rate
        made_of = [model, run.pool.fingerprint] if self.start is None else digest_of_folder(_folder(self.start))
        self.home = self.folder / f"tokenizer-{fingerprint(made_of)[:12]}"
        if not (self.home / "tokenizer").is_dir():
            self._settle_tokenizer(run)
        self.tokenizer = tokenizer_in(self.home / "tokenizer")
        marks = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id)
        self.mark = [next(mark for mark in marks if mark is not None)] if any(m is not None for m in marks) else []

    def _settle_tokenizer(self, run: Run) -> None:
        if self.start is None:
            sizes = trained.text_sizes(run.pool.parts, 0)
            trained.learn_tokenizer(self._settings(1, 0), run.pool.parts, sizes, self.home, None)
            return
        transformers = imported()
        try:
            place = model_folder(str(self.start), Path())
            tokenizer = transformers.AutoTokenizer.from_pretrained(place, trust_remote_code=False)
            vocabulary = transformers.AutoConfig.from_pretrained(place, trust_remote_code=False).vocab_size
        except Exception as error:  # a broken folder shows in many ways
            raise RecipeError(f"--train {self.start}: {' '.join(str(error).split())[:200]}") from error
        check_tokenizer(tokenizer, vocabulary, str(self.start))
        tokenizer.save_pretrained(self.home / "tokenizer")

    def _settings(self, tokens: int, seed: int) -> trained.TrainedLM:
        return trained.TrainedLM(on="pool", tokens=tokens, size=self.size, seed=seed, batch=BATCH)  # type: ignore[arg-type]  # checked there

    def tokens(self, texts: list[str]) -> npt.NDArray[np.uint32]:
        """Tokens of the texts, each behind the mark."""
        found = self.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        return np.array([i for ids in found for i in (*self.mark, *ids)], np.uint32)

    def count(self, texts: list[str]) -> int:
        """How many tokens the texts have, without holding them."""
        return sum(len(self.tokens(texts[first : first + 1000])) for first in range(0, len(texts), 1000))

    def loss(self, texts: list[str], tokens: int, seed: int) -> float:
        """Mean nats a token on the held-out texts, after one pass over the first `tokens` of these texts."""
        return self.losses(texts, tokens, seed)["loss"]

    def losses(self, texts: list[str], tokens: int, seed: int) -> dict[str, float]:
        """The same, and as `judge` on the other texts, where there are any."""
        order = shuffled(texts, seed)
        others = [fingerprint(self.others)] if self.others else []
        of = fingerprint(
            [self.size, BATCH, tokens, seed, fingerprint(order), fingerprint(self.held_out), self.home.name, *others]
        )
        known = self.folder / "losses" / f"{of}.json"
        if known.exists():
            return read_json(known)
        stream = self.tokens(order)[:tokens]
        final = self.folder / f".{of}.training"
        shutil.rmtree(final, ignore_errors=True)
        shutil.copytree(self.home / "tokenizer", final / "tokenizer")
        with hushed():
            trained.train_stream(self._settings(tokens, seed), stream, final, self.start)
        model = LossModel(final / "lm")
        found: dict[str, float] = {"tokens": len(stream)}
        for name, some in (("loss", self.held_out), ("judge", self.others)):
            if some:
                losses, counts = model.losses(model.tokens(some))
                found[name] = float((losses * counts).sum() / counts.sum())
        shutil.rmtree(final)
        write_record(known, found)
        return found


def shuffled(texts: list[str], seed: int) -> list[str]:
    """Drawn by text; what occurs twice comes again in a second pass, behind all that occur once."""
    times: dict[str, int] = {}
    places = []
    for text in texts:
        again = times[text] = times.get(text, -1) + 1
        places.append((again, fingerprint([seed, again, text]), text))
    return [text for _, _, text in sorted(places)]


def chosen_texts(run: Run) -> list[str]:
    """Each as often as its weight says."""
    table = pq.read_table(run.folder / "selection.parquet", columns=["text", "weight"])
    held = zip(table["text"].to_pylist(), table["weight"].to_pylist(), strict=True)
    return [text for text, weight in held if text for _ in range(round(weight))]


def _drawn(run: Run, most: int, among: Any) -> list[str]:
    """At most so many texts of those among these ids, drawn by chance: more than are ever trained on."""
    drawn = Drawn(most, "compare")
    for part in run.pool.parts:
        for batch in pq.ParquetFile(part.path).iter_batches(columns=["sample_id", "text"]):
            texts = np.array(batch["text"].to_pylist(), object)
            there = np.array([bool(text) for text in texts.tolist()], bool)
            there &= np.isin(batch["sample_id"].to_numpy(), among)
            drawn.add(batch["sample_id"].to_numpy()[there], texts[there])
    rows = drawn.rows()
    return rows[1].tolist() if rows else []


def texts_of(judge: Judge) -> list[str]:
    tables = [pq.read_table(part.path, columns=["sample_id", "text"]) for part in judge.parts]
    apart = [table.filter(pa.array(np.isin(table["sample_id"].to_numpy(), judge.held))) for table in tables]
    return [text for table in apart for text in table["text"].to_pylist() if text]


def held_out_texts(path: Path) -> list[str]:
    """Texts of a JSONL file; blank ones say nothing. Raises RecipeError."""
    try:
        with path.open(encoding="utf-8") as file:
            texts = [json.loads(line)["text"] for line in file if line.strip()]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecipeError(f"--held-out {path}: wanted JSON lines with a field `text` ({error})") from error
    texts = [text for text in texts if isinstance(text, str) and text.strip()]
    if not texts:
        raise RecipeError(f"--held-out {path}: holds no text")
    return texts


def check_model(model: str) -> None:
    """Raises RecipeError where nothing of that name can be trained."""
    if model not in trained.SIZES:
        _folder(Path(model))


def _folder(model: Path) -> Path:
    """Raises RecipeError."""
    if not (model / "config.json").is_file():
        sizes = ", ".join(trained.SIZES)
        raise RecipeError(f"--train {model}: wanted {sizes}, head, or a folder with a causal language model")
    return model
