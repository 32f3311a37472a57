"""Columns that language models give: equal to the plain computation, trained once, resumed, shared, and never unpickled."""

import json
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tamis.pipeline.columns.loss import causal_lm, trained
from tamis.pipeline.columns.loss.causal_lm import LossModel, windows_of
from tamis.pipeline.columns.loss.kenlm import ccnet_normalised
from tamis.pipeline.decode.passes import TooLarge
from tamis.pipeline.errors import RecipeError, RunError
from tamis.pipeline.explain.why import why
from tamis.pipeline.files.atomic import read_json
from tamis.pipeline.store.query import ask
from tamis.pipeline.store.runs import open_complete
from tests_support import BASIC, Runner, result_bytes, write_jsonl

TRAINED = {
    "nll_prior": {"loss": "train", "on": "pool", "tokens": "12k", "size": "tiny"},
    "nll_target": {"loss": "train", "from": "nll_prior", "on": "target", "epochs": 1},
}
REDUCE = [{"loss_reduction": {"prior": "nll_prior", "conditional": "nll_target", "budget": 20}}]
TEXTS = ["", "one", "a short text of a few words", "the same again " * 30, "x" * 300, "é 中文 🙂 mixed"]


@pytest.fixture
def workplace(tmp_path: Path, doc_records: list[dict[str, str]]) -> Path:
    """A folder with pool.jsonl (500 docstrings) and target.jsonl (60 of nltk's tokenizers): every loss takes its time."""
    mine = [record for record in doc_records if record["part"] == "tokenize"]
    write_jsonl(tmp_path / "target.jsonl", mine[::2])
    write_jsonl(tmp_path / "pool.jsonl", [record for record in doc_records[::3] if record not in mine[::2]])
    return tmp_path


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny random models of three families with one byte tokenizer: llama, gpt2, gemma2 (which caps its logits)."""
    import torch
    from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
    from tokenizers import models as kinds

    transformers = causal_lm.imported()
    folder = tmp_path_factory.mktemp("models")
    tokenizer = Tokenizer(kinds.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=300, special_tokens=["<s>"], initial_alphabet=alphabet)
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="<s>", pad_token="<s>"
    )
    common = {"vocab_size": len(fast), "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    small = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 48,
    }
    torch.manual_seed(0)
    made = {
        "llama": transformers.LlamaForCausalLM(transformers.LlamaConfig(**common, **small)),
        "gpt2": transformers.GPT2LMHeadModel(
            transformers.GPT2Config(**common, n_embd=32, n_layer=2, n_head=2, n_positions=48)
        ),
        "gemma2": transformers.Gemma2ForCausalLM(
            transformers.Gemma2Config(
                **common, **small, num_key_value_heads=1, head_dim=16, final_logit_softcapping=0.05
            )
        ),
    }
    for name, model in made.items():
        model.save_pretrained(folder / name)
        fast.save_pretrained(folder / name)
    return folder


def plain(folder: Path, text: str, context: int, stride: int) -> tuple[float, int]:
    """One document, one window at a time, by the library's own forward and loss."""
    import torch

    transformers = causal_lm.imported()
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = [tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]
    losses: list[float] = []
    seen = 1
    for begin in range(0, len(ids), stride):
        end = min(begin + context, len(ids))
        window = torch.tensor([ids[begin:end]])
        with torch.no_grad():
            logits = model(window).logits[0].float()
        each = torch.nn.functional.cross_entropy(logits[:-1], window[0, 1:], reduction="none")
        losses += each[seen - begin - 1 :].tolist()
        seen = end
        if end == len(ids):
            break
    return float(np.mean(losses)) if losses else float("nan"), len(losses)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
@pytest.mark.parametrize("batch_tokens", [48, 4096])
def test_losses_are_those_of_one_document_at_a_time(models: Path, family: str, batch_tokens: int) -> None:
    model = LossModel(models / family, context=32, stride=20)
    model.batch_tokens = batch_tokens
    losses, counts = model.losses(model.tokens(TEXTS))
    for text, loss, count in zip(TEXTS, losses, counts, strict=True):
        wanted, tokens = plain(models / family, text, 32, 20)
        assert count == tokens
        assert (count == 0 and np.isnan(loss)) or abs(loss - wanted) < 1e-3 / 10
    assert (model.head.__name__ == "whole") == (family == "gemma2"), "a capped head is no plain product"


def test_every_token_is_judged_once_whatever_the_windows() -> None:
    for length in (0, 1, 2, 5, 8, 9, 30):
        for context, stride in ((8, 1), (8, 5), (8, 7)):
            judged = [at for begin, end, first in windows_of(length, context, stride) for at in range(first, end)]
            assert judged == list(range(1, length))
            assert all(
                end - begin <= context and first > begin for begin, end, first in windows_of(length, context, stride)
            )


@pytest.mark.fault("A language model runs out of memory: half the batch, the same losses")
def test_memory_that_runs_out_halves_the_batch_and_changes_no_loss(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = LossModel(models / "llama")
    wanted, _ = model.losses(model.tokens(TEXTS))
    real = LossModel._of_batch

    def short(self: LossModel, batch: Any, *rest: Any) -> Any:
        if len(batch) > 1:
            raise TooLarge("out of memory")
        return real(self, batch, *rest)

    monkeypatch.setattr(LossModel, "_of_batch", short)
    found, _ = model.losses(model.tokens(TEXTS))
    assert np.allclose(found, wanted, atol=1e-5, equal_nan=True) and model.batch_tokens < 4096


def test_a_document_of_two_million_characters_is_cut_counted_and_judged(
    run_in: Runner, models: Path, tmp_path: Path
) -> None:
    write_jsonl(tmp_path / "pool.jsonl", [{"id": "long", "text": "word " * 400_000}, {"id": "short", "text": "word"}])
    columns = {"nll": {"loss": "causal_lm", "model": str(models / "llama"), "max_tokens": 2000}}
    steps = [{"perplexity": {"column": "nll", "keep": "low", "budget": {"tokens": 2001}}}]
    outcome = run_in(
        tmp_path, target=[], columns=columns, steps=steps, emit=[], pool=[{**BASIC["pool"][0], "keep": []}]
    )
    found = {
        row["key"]: row
        for batch in ask(open_complete(outcome.folder), "select p.key, n.* from pool p join nll n using (sample_id)")
        for row in batch.to_pylist()
    }
    assert found["long"]["tokens"] == 2000 and outcome.selected >= 1
    record = read_json(tmp_path / "store" / "columns" / "nll" / "column.json")
    assert record["texts_cut"] == {"part-00000.parquet": 1} and record["used"]["begins_with"] == 0


def test_the_two_lines_of_the_issue_run_and_say_why(run_in: Runner, workplace: Path) -> None:
    outcome = run_in(workplace, columns=TRAINED, steps=REDUCE)
    run = open_complete(outcome.folder)
    assert outcome.selected == 20
    table = pa.Table.from_batches(
        ask(run, "select l.score, l.kept, a.nll_prior, b.nll_target, a.tokens, a.in_training_slice from ledger l "
                 "join nll_prior a using (sample_id) join nll_target b using (sample_id)")
    ).to_pydict()  # fmt: skip
    reduction = np.array(table["nll_prior"], np.float64) - np.array(table["nll_target"], np.float64)
    assert np.array_equal(reduction, np.array(table["score"], np.float64))
    assert set(np.flatnonzero(table["kept"])) == set(np.argsort(-reduction, kind="stable")[:20])
    assert 0 < sum(table["in_training_slice"]) < len(table["kept"])
    prior = next(run.learned(maker) for maker in run.declared if maker.name == "nll_prior")
    told = read_json(prior / "model.json")
    assert told["tokens"] == 12_000 and told["curve"][0][1] > told["curve"][-1][1]
    assert not (prior / "checkpoints").exists() and (prior / "lm" / "model.safetensors").exists()
    kept = next(iter(ask(run, "select key from selection limit 1"))).to_pylist()[0]["key"]
    assert "loss " in why(run, kept)
    report = (outcome.folder / "report.html").read_text()
    assert "nll_prior" in report and 'class="curve"' in report
    for name, step in (
        ("low", {"column": "nll_prior", "keep": "low", "fraction": 0.2}),
        ("two", {"column": "nll_prior", "keep": "low", "budget": 200}),
        ("unseen", {"column": "nll_prior", "keep": "low", "band": [0, 1], "exclude_training": True}),
    ):
        again = run_in(workplace, name=name, columns=TRAINED, steps=[{"perplexity": step}], emit=[])
        total = again.manifest["pool"]["samples"]
        wanted = {"low": int(total * 0.2), "two": 200, "unseen": total - sum(table["in_training_slice"])}[name]
        assert again.selected == wanted
    before = len(list((workplace / "store" / "models").glob("*/lm")))
    both = [
        {"importance_resampling": {"features": "ngrams", "budget": 300}},
        *REDUCE,
        {"threshold": {"column": "nll_prior", "above": 0}},
    ]
    assert run_in(workplace, name="both", columns=TRAINED, steps=both, emit=[]).selected == 20
    nothing = [{"loss_reduction": {"prior": "nll_prior", "conditional": "nll_target", "budget": 0}}]
    assert run_in(workplace, name="nothing", columns=TRAINED, steps=nothing, emit=[]).selected == 0
    scoped = [
        {
            "perplexity": {
                "column": "nll_prior",
                "keep": "high",
                "budget": 5,
                "where": "nll_prior_tokens > 20 and not nll_prior_in_training_slice",
            }
        }
    ]
    assert run_in(workplace, name="scoped", columns=TRAINED, steps=scoped, emit=[]).selected >= 5
    assert len(list((workplace / "store" / "models").glob("*/lm"))) == before == 2, "trained once"


@pytest.mark.thorough
def test_both_losses_of_a_shard_are_made_in_one_pass(
    run_in: Runner, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    real = LossModel.tokens
    monkeypatch.setattr(LossModel, "tokens", lambda self, texts: calls.append(len(texts)) or real(self, texts))
    outcome = run_in(workplace, columns=TRAINED, steps=REDUCE, emit=[])
    rows = outcome.manifest["pool"]["samples"] + outcome.manifest["target"]["samples"]
    assert sum(calls) == rows, "each text tokenized once for two models"


@pytest.mark.thorough
def test_a_killed_training_goes_on_from_its_checkpoint_to_the_same_model(run_in: Runner, workplace: Path) -> None:
    wanted = run_in(workplace, store="whole", columns=TRAINED, steps=REDUCE, emit=[])
    recipe = workplace / "killed.yaml"
    recipe.write_text(json.dumps({"name": "run", **BASIC, "columns": TRAINED, "steps": REDUCE, "emit": []}))
    command = [
        sys.executable,
        "-m",
        "tamis.pipeline.cli.app",
        "run",
        str(recipe),
        "--store",
        str(workplace / "cut"),
        "--set",
        "engine=local",
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 90
    while not list((workplace / "cut" / "models").glob("*/checkpoints/checkpoint-*/trainer_state.json")):
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list((workplace / "cut" / "models").glob("*/model.json"))
    again = run_in(workplace, store="cut", columns=TRAINED, steps=REDUCE, emit=[])
    assert result_bytes(again.folder) == result_bytes(wanted.folder)


def test_what_is_left_of_a_training_killed_at_its_very_end_is_cleared(tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / "checkpoint-10").mkdir(parents=True)
    (tmp_path / "tokens.npy").write_bytes(b"left")
    (tmp_path / "model.json").write_text("{}")
    trained.train(trained.TrainedLM(on="target"), [], tmp_path, None)
    assert [path.name for path in tmp_path.iterdir()] == ["model.json"]


def test_the_slice_is_drawn_by_chance_and_exactly_as_long_as_asked() -> None:
    ids = np.arange(1000, dtype=np.uint64)
    counts = np.full(1000, 10)
    taken = trained._within(counts, ids, trained.TrainedLM(on="pool", tokens=1005))
    assert taken.sum() == 1005
    assert sorted(set(taken.tolist())) == [0, 5, 10], "all of some texts, a piece of one"
    assert (np.flatnonzero(taken) >= 500).sum() > 30, "the pool's end has its share"
    shuffled = np.random.default_rng(0).permutation(1000)
    again = trained._within(counts, ids[shuffled], trained.TrainedLM(on="pool", tokens=1005))
    assert (again == taken[shuffled]).all()


def test_judging_leaves_the_callers_threads_as_they_were() -> None:
    import torch

    before = torch.get_num_threads()
    with causal_lm.one_thread_each(2, "cpu") as pool:
        assert list(pool.map(lambda _: torch.get_num_threads(), range(2))) == [1, 1]
    assert torch.get_num_threads() == before


@pytest.mark.thorough
def test_a_model_that_goes_on_has_the_size_and_tokens_of_its_start(run_in: Runner, workplace: Path) -> None:
    small = {"loss": "train", "on": "pool", "tokens": "3k", "size": "tiny", "tokenizer": "bytes"}
    columns = {"first": small, "second": {"loss": "train", "from": "first", "on": "target"}}
    steps = [{"loss_reduction": {"prior": "first", "conditional": "second", "budget": 5}}]
    outcome = run_in(workplace, columns=columns, steps=steps, emit=[])
    found = sorted(outcome.folder.parent.parent.glob("models/*/lm/config.json"))
    made = [read_json(path) for path in found]
    assert len(made) == 2
    assert len({(config["vocab_size"], config["hidden_size"]) for config in made}) == 1
    with pytest.raises(RecipeError, match="has that of 'first'"):
        run_in(workplace, name="other", columns={**columns, "second": {**columns["second"], "size": "small"}})


def test_a_checkpoint_that_was_cut_short_is_passed_over(tmp_path: Path) -> None:
    for step, state in ((10, "{}"), (20, '{"half'), (30, None)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        for name in ("model.safetensors", "optimizer.pt", "scheduler.pt"):
            (tmp_path / f"checkpoint-{step}" / name).write_bytes(b"")
        if state is not None:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    assert trained._checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")
    assert trained._checkpoint(tmp_path / "none") is None


def test_models_that_are_missing_poisoned_or_do_not_fit_are_one_clear_error(
    run_in: Runner, models: Path, workplace: Path
) -> None:
    class Poison:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (workplace / "poisoned",)

    shutil.copytree(models / "llama", workplace / "pickle")
    (workplace / "pickle" / "model.safetensors").unlink()
    (workplace / "pickle" / "pytorch_model.bin").write_bytes(pickle.dumps(Poison()))
    shutil.copytree(models / "llama", workplace / "cut")
    (workplace / "cut" / "model.safetensors").write_bytes((models / "llama" / "model.safetensors").read_bytes()[:500])
    shutil.copytree(models / "llama", workplace / "other")
    words = json.loads((workplace / "other" / "tokenizer.json").read_text())
    words["model"]["vocab"] |= {f"extra{number}": len(words["model"]["vocab"]) + number for number in range(50)}
    (workplace / "other" / "tokenizer.json").write_text(json.dumps(words))
    for name, message in (
        ("./missing", "no folder"),
        ("pickle", "no causal language model can be loaded"),
        ("cut", "no causal language model can be loaded"),
        ("other", "don't belong together"),
    ):
        with pytest.raises(RecipeError, match=message):
            run_in(
                workplace,
                columns={"nll": {"loss": "causal_lm", "model": name}},
                steps=[{"perplexity": {"column": "nll", "keep": "low", "budget": 5}}],
            )
    assert not (workplace / "poisoned").exists()


@pytest.mark.thorough
def test_models_with_other_tokens_are_not_compared(run_in: Runner, models: Path, workplace: Path) -> None:
    columns = {"a": {"loss": "causal_lm", "model": str(models / "llama")}, "b": TRAINED["nll_prior"]}
    with pytest.raises(RecipeError, match="cut texts into other tokens"):
        run_in(workplace, columns=columns, steps=[{"loss_reduction": {"prior": "a", "conditional": "b", "budget": 5}}])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": {"loss": "train", "from": "b", "on": "target"}}, "no column of that name is trained before it"),
        (
            {"a": {**TRAINED["nll_prior"]}, "b": {**TRAINED["nll_target"], "from": "a_tokens"}},
            "no column of that name is trained",
        ),
        (
            {"a": {**TRAINED["nll_prior"]}, "b": {**TRAINED["nll_target"], "from": "a", "size": "small"}},
            "it has that of 'a'",
        ),
        ({"a": {**TRAINED["nll_prior"]}, "b": {"classify": "linear", "features": "a"}}, "holds no vectors"),
        ({"tokens": {**TRAINED["nll_prior"]}}, "a field of that name beside its value"),
        (
            {"a": {**TRAINED["nll_prior"]}, "a_tokens": {"embed": "precomputed", "path": "pool.jsonl"}},
            "precomputed|another's name",
        ),
        ({"a": {**TRAINED["nll_prior"], "stride": 300}}, "stride must be"),
        ({"a": {"loss": "train", "on": "pool"}}, "tokens: how many"),
        ({"a": {"loss": "train", "on": "pool", "tokens": "2 million"}}, "wanted a number, or such as 500k"),
        ({"a": {"loss": "train", "on": "poool", "tokens": 5}}, "on: "),
        ({"a": {"loss": "causal"}}, "no loss 'causal'; known: causal_lm"),
        ({"a": {"loss": "causal_lm", "model": "m", "contxt": 5}}, "did you mean 'context'"),
        ({"a": {"loss": "causal_lm", "model": "m", "context": 16, "stride": 16}}, "stride must be"),
        ({"a": {"classify": "fasttext", "model": "gone.bin", "label": "x"}}, "no file"),
    ],
)
def test_wrong_columns_are_refused_before_anything_starts(
    run_in: Runner, workplace: Path, columns: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        run_in(workplace, columns=columns)
    assert not (workplace / "store" / "pool").exists()


def test_a_target_that_is_needed_is_asked_for(run_in: Runner, workplace: Path) -> None:
    with pytest.raises(RecipeError, match="add `target:`"):
        run_in(workplace, columns=TRAINED, target=[], steps=[{"random": {"budget": 1}}])


def test_losses_made_elsewhere_are_joined_by_key_and_nan_is_never_chosen(run_in: Runner, workplace: Path) -> None:
    keys = [json.loads(line)["id"] for line in (workplace / "pool.jsonl").read_text().splitlines()]
    values = np.arange(len(keys), dtype=np.float64)
    values[:3] = np.nan
    pq.write_table(pa.table({"uid": keys[::-1], "nll": values[::-1]}), workplace / "losses.parquet")
    columns = {"nll": {"loss": "precomputed", "path": "losses.parquet", "key": "uid", "value": "nll"}}
    steps = [{"perplexity": {"column": "nll", "keep": "low", "budget": 4}}]
    outcome = run_in(workplace, columns=columns, target=[], steps=steps, emit=[])
    assert pq.read_table(outcome.folder / "selection.parquet")["key"].to_pylist() == keys[3:7]
    reasons = {
        row["reason"]: row["n"]
        for b in ask(open_complete(outcome.folder), "select reason, count(*) n from ledger group by all")
        for row in b.to_pylist()
    }
    assert reasons["not_scorable"] == 3
    pq.write_table(pa.table({"uid": keys, "nll": values}), workplace / "losses.parquet")
    with pytest.raises(RunError, match="other files under column 'nll'"):
        run_in(workplace, columns=columns, target=[], steps=steps, emit=[])


def test_a_linear_classifier_tells_the_target_from_the_pool_out_of_sample(run_in: Runner, workplace: Path) -> None:
    columns = {"alike": {"classify": "linear", "train": "target_vs_pool"}}
    steps = [{"threshold": {"column": "alike", "above": 0.5}}]
    outcome = run_in(workplace, columns=columns, steps=steps, emit=[])
    run = open_complete(outcome.folder)
    rows = [
        row
        for b in ask(
            run, "select part, alike, kept from ledger join pool using (sample_id) join alike using (sample_id)"
        )
        for row in b.to_pylist()
    ]
    mine = [row["alike"] for row in rows if row["part"] == "tokenize"]
    others = [row["alike"] for row in rows if row["part"] != "tokenize"]
    assert all(row["kept"] == (row["alike"] > 0.5) for row in rows)
    assert np.mean(mine) > np.mean(others) + 0.2


def test_ccnets_normalisation_and_perplexity(run_in: Runner, tmp_path: Path) -> None:
    assert ccnet_normalised("  Café №12\tEND\u2014ok\u2026 World\nSecond １") == "cafe №00end - ok... worldsecond 0"
    kenlm = pytest.importorskip("kenlm", reason="kenlm is built from source")
    arpa = "\\data\\\nngram 1=5\nngram 2=3\n\n\\1-grams:\n-1.0\t<unk>\n-99\t<s>\t-0.3\n-0.8\t</s>\n-0.7\ta\t-0.2\n-0.9\tb\t-0.1\n\n\\2-grams:\n-0.4\t<s> a\n-0.5\ta b\n-0.6\tb </s>\n\n\\end\\\n"
    (tmp_path / "lm.arpa").write_text(arpa)
    write_jsonl(
        tmp_path / "pool.jsonl",
        [{"id": "ab", "text": "A b"}, {"id": "unknown", "text": "zzz"}, {"id": "blank", "text": "\u0301"}],
    )
    columns = {"kn": {"loss": "kenlm", "model": "lm.arpa"}}
    steps = [{"perplexity": {"column": "kn_perplexity", "keep": "low", "cutoffs": [4.0, 5.0]}}]
    outcome = run_in(
        tmp_path, columns=columns, target=[], steps=steps, emit=[], pool=[{**BASIC["pool"][0], "keep": []}]
    )
    rows = {
        row["key"]: row
        for b in ask(open_complete(outcome.folder), "select * from pool join kn using (sample_id)")
        for row in b.to_pylist()
    }
    hand = 0.4 + 0.5 + 0.6  # <s> a, a b, b </s>
    assert abs(rows["ab"]["kn"] - hand / 3 * np.log(10)) < 1e-4 and rows["ab"]["perplexity"] == round(
        10 ** (hand / 3), 1
    )
    assert rows["ab"]["perplexity"] == round(kenlm.Model(str(tmp_path / "lm.arpa")).perplexity("a b"), 1)
    assert rows["unknown"]["tokens"] == 2 and rows["blank"]["kn"] is None
    assert pq.read_table(outcome.folder / "selection.parquet")["key"].to_pylist() == ["ab"]


def test_a_fasttext_model_gives_its_labels_probability(run_in: Runner, tmp_path: Path) -> None:
    fasttext = pytest.importorskip("fasttext", reason="fasttext-predict is not installed")
    from tests_support import ROOT

    model = ROOT.parent / "shared" / "data" / "models" / "lid.176.ftz"
    if not model.exists():
        pytest.skip("no fastText model at hand")
    texts = {
        "en": "This is a sentence in English, and another.",
        "de": "Das ist ein Satz auf Deutsch.",
        "blank": " \n ",
        "spaces": "Il\u00a0en\u00a0est  a\u2003sentence\tof two\nlines.",
    }
    write_jsonl(
        tmp_path / "pool.jsonl",
        [{"id": key, "text": text + ("x" if key == "blank" else "")} for key, text in texts.items()],
    )
    columns = {"english": {"classify": "fasttext", "model": str(model), "label": "en"}}
    steps = [{"threshold": {"column": "english", "above": 0.5}}]
    outcome = run_in(
        tmp_path, columns=columns, target=[], steps=steps, emit=[], pool=[{**BASIC["pool"][0], "keep": []}]
    )
    rows = {
        row["key"]: row
        for b in ask(open_complete(outcome.folder), "select * from pool join english using (sample_id)")
        for row in b.to_pylist()
    }
    labels, chances = fasttext.load_model(str(model)).predict(texts["en"], k=1)
    assert (
        rows["en"]["best"] == "en" == labels[0].removeprefix("__label__")
        and abs(rows["en"]["english"] - min(1, chances[0])) < 1e-4
    )
    assert rows["de"]["best"] == "de" and outcome.selected == sum((row["english"] or 0) > 0.5 for row in rows.values())
    found = fasttext.load_model(str(model)).predict(texts["spaces"].replace("\n", " "), k=-1, threshold=-1.0)
    as_it_stands = dict(zip(*found, strict=True))["__label__en"]
    assert rows["spaces"]["english"] == pytest.approx(as_it_stands, abs=1e-4), "only line breaks are replaced"
    (tmp_path / "bad.bin").write_bytes(b"no model")
    with pytest.raises(RecipeError, match="no model of fastText"):
        run_in(tmp_path, name="bad", columns={"x": {**columns["english"], "model": "bad.bin"}}, target=[], steps=[])


def test_a_sequence_classifier_gives_its_labels_probability(run_in: Runner, models: Path, tmp_path: Path) -> None:
    import torch

    transformers = causal_lm.imported()
    tokenizer = transformers.AutoTokenizer.from_pretrained(models / "llama")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=48, id2label={0: "bad", 1: "good"}, label2id={"bad": 0, "good": 1},
    )  # fmt: skip
    model = transformers.BertForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    texts = {f"t{number}": text for number, text in enumerate(TEXTS) if text}
    write_jsonl(tmp_path / "pool.jsonl", [{"id": key, "text": text} for key, text in texts.items()])
    columns = {"quality": {"classify": "huggingface", "model": "model", "label": "good"}}
    asked = {"columns": columns, "target": [], "emit": [], "pool": [{**BASIC["pool"][0], "keep": []}]}
    best = [{"threshold": {"column": "quality", "budget": 2}}]
    outcome = run_in(tmp_path, steps=best, **asked)
    rows = {
        row["key"]: row["quality"]
        for b in ask(open_complete(outcome.folder), "select * from pool join quality using (sample_id)")
        for row in b.to_pylist()
    }
    for key, text in texts.items():
        with torch.no_grad():
            given = tokenizer(text.strip(), truncation=True, max_length=48, return_tensors="pt")
            wanted = model(input_ids=given["input_ids"], attention_mask=given["attention_mask"]).logits.softmax(1)[0, 1]
        assert abs(rows[key] - float(wanted)) < 1e-5
    assert outcome.selected == 2
    with pytest.raises(RecipeError, match="wanted one of bad, good"):
        run_in(
            tmp_path,
            name="no",
            steps=best,
            **{**asked, "columns": {"quality": {**columns["quality"], "label": "best"}}},
        )


def test_captions_are_judged_with_their_image_and_without(
    run_in: Runner, models: Path, photos: Path, tmp_path: Path
) -> None:
    import torch
    from PIL import Image

    transformers = causal_lm.imported()
    tokenizer = transformers.AutoTokenizer.from_pretrained(models / "llama")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    vision = transformers.CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=16
    )
    text = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
        bos_token_id=0,
        eos_token_id=0,
    )
    torch.manual_seed(0)
    model = transformers.LlavaForConditionalGeneration(
        transformers.LlavaConfig(
            vision_config=vision,
            text_config=text,
            image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
            vision_feature_layer=-1,
        )
    ).eval()
    images = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    processor = transformers.LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    model.save_pretrained(tmp_path / "vlm")
    processor.save_pretrained(tmp_path / "vlm")
    for number in range(3):
        (photos / "china" / f"{number:02d}.txt").write_text("a temple " * (number + 1))
    columns = {"seen": {"loss": "image_text_lm", "model": "vlm"}}
    pool = [{"format": "images", "path": "photos/china"}]
    steps = [{"perplexity": {"column": "seen", "keep": "low", "fraction": 0.2}}]
    outcome = run_in(tmp_path, pool=pool, target=[], columns=columns, steps=steps, emit=[])
    rows = {
        row["key"]: row
        for b in ask(open_complete(outcome.folder), "select * from pool join seen using (sample_id)")
        for row in b.to_pylist()
    }
    caption = tokenizer("a temple " * 3, add_special_tokens=False)["input_ids"]
    given = processor(
        text=["<image>\n"], images=[Image.open(photos / "china" / "02.jpg").convert("RGB")], return_tensors="pt"
    )
    whole = torch.cat([given["input_ids"], torch.tensor([caption])], 1)
    labels = torch.cat([torch.full_like(given["input_ids"], -100), torch.tensor([caption])], 1)
    with torch.no_grad():
        wanted = model(
            input_ids=whole, attention_mask=torch.ones_like(whole), pixel_values=given["pixel_values"], labels=labels
        ).loss
    mine = rows["02"]
    assert abs(mine["seen"] - float(wanted)) < 1e-4 and mine["tokens"] == len(caption)
    assert abs(mine["grounding"] - mine["seen"] / mine["without_image"]) < 1e-5
    assert rows["05"]["seen"] is None and rows["05"]["tokens"] == 0
