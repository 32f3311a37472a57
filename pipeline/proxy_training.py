"""What selections are worth, by training: the same small model on each, from scratch, judged on held-out target texts.

Equal tokens, one tokenizer for all (byte pairs of the pool). A text's place in the order hangs on seed and text alone,
so two selections that share most texts learn them in much the same order, and equal ones cost one training. Each loss
is kept in STORE/compare, by what it depends on, so a stopped comparison goes on where it was. Random is trained on 2,
4, 8 times as many tokens, too (by one seed), to say how many of them reach a method's loss."""

import itertools
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from tamis.pipeline import train_lm
from tamis.pipeline.atomic import fingerprint, read_json, write_json
from tamis.pipeline.causal_lm import LossModel, imported
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.progress import Counter, hushed
from tamis.pipeline.store import Run

DOUBLINGS = 3  # of random's tokens
BATCH = 2  # windows at once: 14,000 tokens are 28 steps; of 8 at once, a few steps that hardly learn


class Trainer:
    """Trains and judges models of one size on texts of one pool."""

    def __init__(self, run: Run, size: str, held_out: list[str]) -> None:
        self.run, self.size, self.held_out = run, size, held_out
        self.settings = train_lm.TrainedLM(on="pool", tokens=1, size=size)  # type: ignore[arg-type]  # checked there
        self.folder = run.store / "compare"
        self.home = self.folder / f"tokenizer-{fingerprint([size, run.pool.fingerprint])[:12]}"
        sizes = train_lm.text_sizes(run.pool.parts, 0)
        if not (self.home / "tokenizer").is_dir():
            train_lm.learn_tokenizer(self.settings, run.pool.parts, sizes, self.home, None)
        self.tokenizer = imported().AutoTokenizer.from_pretrained(self.home / "tokenizer")

    def tokens(self, texts: list[str]) -> npt.NDArray[np.uint32]:
        """Tokens of the texts, each behind the mark."""
        found = self.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        return np.array([i for ids in found for i in (self.tokenizer.bos_token_id, *ids)], np.uint32)

    def loss(self, texts: list[str], tokens: int, seed: int) -> float:
        """Mean nats a token on the held-out texts, after one pass over the first `tokens` of these texts."""
        order = shuffled(texts, seed)
        stream = self.tokens(order)[:tokens]
        of = fingerprint(
            [self.size, BATCH, tokens, seed, fingerprint(order), fingerprint(self.held_out), self.home.name]
        )
        known = self.folder / "losses" / f"{of}.json"
        if known.exists():
            return float(read_json(known)["loss"])
        final = self.folder / f".{of}.training"
        shutil.rmtree(final, ignore_errors=True)
        shutil.copytree(self.home / "tokenizer", final / "tokenizer")
        settings = train_lm.TrainedLM(on="pool", tokens=tokens, size=self.size, seed=seed, batch=BATCH)  # type: ignore[arg-type]
        with hushed():
            train_lm.train_stream(settings, stream, final, None)
        model = LossModel(final / "lm")
        losses, counts = model.losses(model.tokens(self.held_out))
        loss = float((losses * counts).sum() / counts.sum())
        shutil.rmtree(final)
        write_json(known, {"loss": loss, "tokens": len(stream)})
        return loss


def trained(
    runs: dict[str, Run], held_out: list[str], size: str, seeds: int, baseline: str = "random"
) -> dict[str, Any]:
    """Of each selection its losses by seed; of random also the curve over more tokens, and so of each how many times as
    many random tokens reach its loss, and the oracle share. Raises RecipeError where a selection has no texts."""
    texts = {name: _chosen_texts(run) for name, run in runs.items()}
    first = next(iter(runs.values()))
    trainer = Trainer(first, size, held_out)
    if not all(texts.values()):
        raise RecipeError(f"--train: {next(n for n, some in texts.items() if not some)} holds no texts to train on")
    budget = min(len(trainer.tokens(some)) for some in texts.values())
    whole = [text for part in first.pool.parts for text in _texts(part.path)]
    most = len(trainer.tokens(whole))
    steps = [budget * 2**k for k in range(1, DOUBLINGS + 1) if budget * 2**k <= most]
    counter = Counter("train", len(texts) * seeds + len(steps), "models")
    losses: dict[str, list[float]] = {}
    for name, some in texts.items():
        losses[name] = [_counted(counter, trainer.loss(some, budget, seed)) for seed in range(seeds)]
    curve = [(budget, float(np.mean(losses[baseline])))] if baseline in losses else []
    if curve:
        curve += [(tokens, _counted(counter, trainer.loss(whole, tokens, 0))) for tokens in steps]
    counter.end()
    mean = {name: float(np.mean(found)) for name, found in losses.items()}
    return {
        "size": size, "tokens": budget, "seeds": seeds, "held_out": len(held_out), "curve": curve,
        "by": {
            name: {
                "losses": found, "loss": mean[name], "interval": interval(found),
                "random_needs": needs(mean[name], curve), "oracle_share": oracle_share(mean, name, baseline),
            }
            for name, found in losses.items()
        },
    }  # fmt: skip


def shuffled(texts: list[str], seed: int) -> list[str]:
    """Drawn by text; what occurs twice comes again in a second pass, behind all that occur once."""
    times: dict[str, int] = {}
    places = []
    for text in texts:
        again = times[text] = times.get(text, -1) + 1
        places.append((again, fingerprint([seed, again, text]), text))
    return [text for _, _, text in sorted(places)]


def _counted(counter: Counter, loss: float) -> float:
    counter.add(1)
    return loss


def _chosen_texts(run: Run) -> list[str]:
    """Each as often as its weight says."""
    table = pq.read_table(run.folder / "selection.parquet", columns=["text", "weight"])
    held = zip(table["text"].to_pylist(), table["weight"].to_pylist(), strict=True)
    return [text for text, weight in held if text for _ in range(round(weight))]


def _texts(path: Path) -> list[str]:
    return [text for text in pq.read_table(path, columns=["text"])["text"].to_pylist() if text]


def held_out_texts(path: Path) -> list[str]:
    """Texts of a JSONL file. Raises RecipeError."""
    try:
        with path.open(encoding="utf-8") as file:
            return [str(json.loads(line)["text"]) for line in file if line.strip()]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecipeError(f"--held-out {path}: wanted JSON lines with a field `text` ({error})") from error


def interval(values: list[float]) -> float | None:
    """Half the width of the 95% interval of a mean, by Student's t; None for one value."""
    if len(values) < 2:
        return None
    t = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
    return float(t.get(len(values) - 1, 1.96) * np.std(values, ddof=1) / math.sqrt(len(values)))


def needs(loss: float, curve: list[tuple[int, float]]) -> tuple[str, float] | None:
    """How many times the budget random needs for this loss, log-linear between the curve's points: ("=", times), or
    ("<" or ">", the times at the curve's end) beyond it."""
    if not curve:
        return None
    budget = curve[0][0]
    if loss >= curve[0][1]:
        return ("<", 1.0) if loss > curve[0][1] else ("=", 1.0)
    for (few, high), (many, low) in itertools.pairwise(curve):
        if high >= loss >= low:
            share = (high - loss) / (high - low) if high > low else 0.0
            return "=", float(np.exp(np.log(few) + share * np.log(many / few)) / budget)
    return ">", curve[-1][0] / budget


def oracle_share(mean: dict[str, float], name: str, baseline: str) -> float | None:
    """(random - method) / (random - oracle); None where the oracle is no better than random."""
    if baseline not in mean or "oracle" not in mean or mean[baseline] <= mean["oracle"]:
        return None
    return (mean[baseline] - mean[name]) / (mean[baseline] - mean["oracle"])
