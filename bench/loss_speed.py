"""How near scoring losses comes to the bare forward pass of the same model on ready batches.

    python bench/loss_speed.py --rounds 5

Texts of the 15 real domains in mixed order; a Llama of the asked size with random weights and byte pairs learned from
them. `bare` is the model's own forward to logits on full windows that are ready in memory, the best of several batch
sizes; `tamis` cuts texts into tokens and windows, batches them, and gives each text its loss. Alternating. Prints one
table: tokens a second, of which tamis counts those that pass the model, overlaps and marks among them."""

import argparse
import random
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from real_text import documents
from tamis.pipeline.columns.loss.causal_lm import LossModel, imported, windows_of
from tamis.pipeline.columns.loss.trained import SIZES


def model_folder(size: str, texts: list[str], folder: Path) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    transformers, shape = imported(), SIZES[size]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=shape.vocabulary,
        special_tokens=["<s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>").save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=shape.hidden, intermediate_size=int(shape.hidden * 8 / 3 / 16) * 16,
        num_hidden_layers=shape.layers, num_attention_heads=shape.heads, max_position_embeddings=shape.context, tie_word_embeddings=True,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def bare(model: torch.nn.Module, windows: torch.Tensor, batch: int) -> float:
    began = time.monotonic()
    with torch.inference_mode():
        for ids in windows.split(batch):
            model(input_ids=ids, use_cache=False)  # type: ignore[operator]
    return windows.numel() / (time.monotonic() - began)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--sizes", nargs="+", default=["tiny", "small"])
    asked = options.parse_args()
    texts = [record["text"] for record in documents()]
    random.Random(0).shuffle(texts)
    print(
        "| model | bare forward | tamis, in windows | share | tamis, one window a text | share |\n|---|---:|---:|---:|---:|---:|"
    )
    for size in asked.sizes:
        some = texts[: 600 if size == "tiny" else 150]
        with tempfile.TemporaryDirectory() as place:
            folder = model_folder(size, texts[:3000], Path(place))
            whole, first = LossModel(folder), LossModel(folder, max_tokens=SIZES[size].context - 1)
            model = whole.models[0][0]
            ids = np.concatenate(whole.tokens(some).rows)
            context = whole.context
            ready = torch.from_numpy(ids[: len(ids) // context * context].reshape(-1, context))[
                : 160 if size == "tiny" else 32
            ]
            batch = max((4, 8, 16), key=lambda size_: bare(model, ready, size_))
            rows: list[list[float]] = []
            for _ in range(asked.rounds):
                found = [bare(model, ready, batch)]
                for one in (whole, first):
                    began = time.monotonic()
                    tokens = one.tokens(some)
                    one.losses(tokens)
                    seconds = time.monotonic() - began
                    passed = sum(
                        e - b for row in tokens.rows for b, e, _ in windows_of(len(row), one.context, one.stride)
                    )
                    found.append(passed / seconds)
                rows.append(found)
        middle = np.median(rows, axis=0)
        cells = f"{middle[0]:,.0f} | {middle[1]:,.0f} | {middle[1] / middle[0]:.0%} | {middle[2]:,.0f} | {middle[2] / middle[0]:.0%}"
        print(f"| {size} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
