"""why, sql, verify, report: the account of every decision, read-only and safe."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tamis.pipeline.errors import QueryError, RunError
from tamis.pipeline.explain.drops import _share
from tamis.pipeline.explain.report.charts import rate_svg, scale_of
from tamis.pipeline.explain.show import funnel, summary
from tamis.pipeline.explain.why import why
from tamis.pipeline.store.manifest import verify
from tamis.pipeline.store.query import ask, print_answer
from tamis.pipeline.store.runs import Run, open_complete, open_run
from tests_support import Runner, write_jsonl


@pytest.fixture
def done(run_in: Runner, workplace: Path) -> Run:
    with (workplace / "pool.jsonl").open("a") as out:
        out.write(
            '{"id": "twin", "part": "x", "text": "the same words"}\n{"id": "atwin", "part": "x", "text": "the same words"}\n'
        )
        out.write('{"id": "twin", "part": "x", "text": "other words"}\n{"id": "bad", "text": 7}\n')
    return open_complete(run_in(workplace).folder)


def selected(run: Run) -> list[dict[str, Any]]:
    return pq.read_table(run.folder / "selection.parquet").to_pylist()


def test_why_tells_the_story_of_a_kept_sample(done: Run) -> None:
    best = selected(done)[0]
    story = why(done, best["key"])
    assert "SELECTED" in story and "rank 1 of" in story and "pool.jsonl:" in story
    assert f"{best['sample_id']:016x}" in story
    assert why(done, f"{best['sample_id']:016x}") == story


def test_why_says_what_it_would_have_taken(done: Run) -> None:
    ledger = pq.read_table(done.folder / "ledger" / "step-01").to_pylist()
    first_out = next(row for row in ledger if row["rank"] == 101)
    last_in = next(row for row in ledger if row["rank"] == 100)
    story = why(done, f"{first_out['sample_id']:016x}")
    assert "NOT SELECTED" in story and f"it took a score of {last_in['score']:.6g}, rank 100" in story
    assert "against" in story and "n-grams" in story


def test_why_names_the_duplicate_that_was_kept(done: Run) -> None:
    story = why(done, "twin")
    assert "dropped, duplicate" in story and "decided by atwin" in story
    assert "key_conflict" in story, "the rejected row of the same key is told, too"


def test_why_shows_the_one_that_was_kept_and_what_the_rule_takes(run_in: Runner, workplace: Path) -> None:
    same = "the quick brown fox jumps over the lazy dog and then it rests in the warm sun for a while"
    texts = [same + " at noon", same + " at night", "another text of eight words or so here", "short"]
    write_jsonl(workplace / "pool.jsonl", [{"id": f"k{n}", "text": text, "n": n} for n, text in enumerate(texts)])
    steps = [{"near_dedup": {}}, {"sql": {"where": "n_bytes > 10"}}, {"threshold": {"column": "n", "below": 2}}]
    pool = [{"format": "jsonl", "path": "pool.jsonl", "key": "id", "keep": ["n"]}]
    run = open_complete(run_in(workplace, pool=pool, target=[], columns={}, steps=steps).folder)
    pair = why(run, "k1")
    assert "decided by k0" in pair and f"{same} at noon" in pair and "it took a Jaccard index below 0.72" in pair
    assert "it took n_bytes > 10" in why(run, "k3")
    out = why(run, "k2")
    assert "score 2" in out and "it took n below 2" in out, "the number and the line"
    assert "chosen (its rule keeps it)" in out and "rank" not in out, "a rule ranks nothing"


def test_why_knows_rejects_and_says_when_it_knows_nothing(done: Run) -> None:
    assert "wrong_type" in why(done, "bad")
    with pytest.raises(QueryError, match="no key, id, file or reject"):
        why(done, "nothing like it")


def answer(run: Run, query: str) -> list[dict[str, Any]]:
    return pa.Table.from_batches(list(ask(run, query))).to_pylist()


def test_sql_sees_pool_rejects_columns_ledger_and_selection(done: Run) -> None:
    counts = answer(
        done,
        "select (select count(*) from pool) p, (select count(*) from rejects) r, (select count(*) from ledger) l, (select count(*) from selection) s, (select count(*) from ngrams) n",
    )[0]
    assert (counts["s"], counts["r"], counts["n"]) == (100, 2, counts["p"])
    dropped = answer(done, "select count(*) n from ledger where reason = 'duplicate'")[0]["n"]
    assert dropped > 0
    assert counts["l"] == counts["p"] + (counts["p"] - dropped)


@pytest.mark.fault("SQL that tries to write, attach, install, unlock or read outside the store: refused")
@pytest.mark.parametrize(
    "query",
    [
        "select * from read_text('/etc/passwd')", "select * from '/etc/passwd'", "copy pool to '/tmp/tamis-evil.csv'",
        "select 1; select 2", "drop view pool", "attach '/tmp/x.db'", "set enable_external_access = true", "install httpfs",
        "insert into pool select * from pool", "", "selec 1", "select nothing from pool", "pragma version",
        "create table t as select 1", "select * from glob('/*')",
    ],
)  # fmt: skip
def test_sql_is_locked_to_one_select_on_the_store(done: Run, query: str) -> None:
    with pytest.raises(QueryError, match="sql: "):
        answer(done, query)


def test_a_where_that_leaves_its_place_is_refused(run_in: Runner, workplace: Path) -> None:
    for where in ("1=1); drop view pool; --", "part in (select content from read_text('/etc/passwd'))", "nofield = 1"):
        with pytest.raises(QueryError):
            run_in(workplace, steps=[{"random": {"budget": 1, "where": where}}])


@pytest.mark.parametrize("style", ["table", "csv", "json"])
def test_answers_print_in_three_styles_with_hex_ids(done: Run, style: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_answer(ask(done, "select sample_id, key, score from selection order by rank limit 2"), style)
    out = capsys.readouterr().out
    assert f"{selected(done)[0]['sample_id']:016x}" in out
    if style == "json":
        assert json.loads(out.splitlines()[0])["key"] == selected(done)[0]["key"]
    if style == "csv":
        assert out.startswith("sample_id,key,score\n") and out.count("\n") == 3 and "\\u" not in out


def test_verify_finds_every_kind_of_damage(done: Run) -> None:
    assert verify(done) == []
    for path in (
        done.folder / "selection.parquet", next((done.folder / "ledger").rglob("*.parquet")),
        done.folder / "report.html", done.folder / "exports" / "selection.jsonl", done.pool.parts[0].path,
    ):  # fmt: skip
        kept = path.read_bytes()
        path.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
        assert [line for line in verify(done) if str(path) in line]
        path.unlink()
        assert [line for line in verify(done) if "missing" in line]
        path.write_bytes(kept)
    write = pq.read_table(done.store / "pool" / "rejects.parquet")
    pq.write_table(write.slice(1), done.store / "pool" / "rejects.parquet")
    assert any("rejects" in line for line in verify(done))


def test_readers_say_when_a_run_is_missing_or_unfinished(done: Run, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such run"):
        open_run(tmp_path / "nowhere")
    (done.folder / "manifest.json").unlink()
    with pytest.raises(RunError, match="not complete"):
        open_complete(done.folder)


def test_the_report_escapes_what_it_shows_and_loads_nothing(run_in: Runner, workplace: Path) -> None:
    evil = '<script>alert("x")</script><img src=http://evil/> 9\u2028'
    write_jsonl(
        workplace / "pool.jsonl",
        [{"id": f"<b>{i}</b>", "part": f"<i>{i % 3}", "text": f"{evil} {i}"} for i in range(60)],
    )
    outcome = run_in(workplace, name="run", steps=[{"importance_resampling": {"budget": 20}}])
    page = (outcome.folder / "report.html").read_text()
    assert "<script" not in page and "<img" not in page and "<b>1<" not in page and "<i>0" not in page
    assert "&lt;script&gt;" in page
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert "src=http" not in page.replace("src=http://evil/&gt;", "") and 'href="http' not in page


def test_the_report_shows_funnel_rates_and_the_line(done: Run) -> None:
    page = (done.folder / "report.html").read_text()
    for words in ("Funnel", "Composition by part", "Just kept", "Just dropped", "KL reduction", "N-grams gained"):
        assert words in page
    assert page.count("<svg") >= 3


def text_of(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def test_the_report_shows_what_was_dropped_beside_what_stays(run_in: Runner, workplace: Path) -> None:
    words = "the of and to that have with some words of prose in it"
    far = [f"{words} number {n} is another one than all of the others here, {n * 7}" for n in range(30)]
    same = "a page of one form that repeats nearly word for word what was said in another place, on day"
    twins = [f"{same} {n}" for n in range(4)]
    short = [f"{words[:40]} {n}" for n in range(9)]
    texts = [*far, *twins, *short, *far[:3]]
    write_jsonl(workplace / "pool.jsonl", [{"id": f"k{n:02d}", "text": text} for n, text in enumerate(texts)])
    steps = [
        {"exact_dedup": {}}, {"near_dedup": {}}, {"text_quality": {"apply": ["gopher"], "limits": {"gopher_word_count": [12, None]}}},
        {"random": {"budget": 5}},
    ]  # fmt: skip
    pool = [{"format": "jsonl", "path": "pool.jsonl", "key": "id"}]
    run = open_complete(run_in(workplace, pool=pool, target=[], columns={}, steps=steps).folder)
    sections = (run.folder / "report.html").read_text().split("<section")
    of = {name: text_of(next(part for part in sections if f'id="{name}"' in part)) for name in (
        "funnel", "step-0", "step-1", "step-2", "step-3", "selection", "made",
    )}  # fmt: skip
    assert "dropped kept in its place" in of["step-0"] and far[0] in of["step-0"]
    assert of["step-1"].count("Jaccard 0.") == 3 + 1 and of["step-1"].count(same) == 6, "each beside the one kept"
    assert "it took words of at least 12" in of["step-2"] and "near the line" in of["step-2"]
    assert "Just kept" not in of["step-1"] + of["step-2"], "rules have no line to be just above"
    assert "Just kept" in of["step-3"] and "ranked beyond the budget" in of["step-3"]
    assert "near_dedup" in of["made"] and "pyarrow" in of["made"] and "peak MB" in of["made"]


def test_a_funnel_names_three_reasons_and_folds_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = {"chosen": 10, **{f"rule_{n}": 100 * n for n in range(1, 10)}}
    step = {"selector": "text_quality", "kept": 10, "reasons": reasons, "budget": None, "unit": "rows"}
    manifest = {"pool": {"rows": 4510, "samples": 4510, "rejects": {}}, "steps": [step], "recipe": {}}
    assert funnel(manifest)[2][2] == "-900 rule_9, -800 rule_8, -700 rule_7, -2,100 for 6 more reasons"
    for columns in (60, 80, 100, 200):
        monkeypatch.setenv("COLUMNS", str(columns))
        lines = summary(manifest).splitlines()
        assert max(map(len, lines)) <= columns
        told = " ".join(" ".join(lines).split())
        assert "-900 rule_9, -800 rule_8," in told and "-2,100 for 6 more reasons" in told


def test_rates_are_drawn_on_one_scale_that_no_small_group_stretches() -> None:
    assert scale_of([0.038, 0.07]) == 0.1 and scale_of([0.36]) == 0.5 and scale_of([0.9]) == 1.0 and scale_of([]) == 1.0
    small = rate_svg({"rate": 0.0, "low": 0.0, "high": 0.3, "fair": 0.05}, 0.1)
    large = rate_svg({"rate": 0.0, "low": 0.0, "high": 0.0001, "fair": 0.05}, 0.1)
    dot = re.compile(r'<circle class="dot( unsure)?" cx="([\d.]+)"')
    assert dot.findall(small) == [(" unsure", "6.0")] and dot.findall(large) == [("", "6.0")], "at zero, and hollow"
    assert 'x2="214.0"' in small, "an interval ends with the scale"


SIZES = {
    "two": [500, 500], "uneven": [10, 990], "eight": [125] * 8, "all different": [1] * 1000, "pairs": [2] * 500,
    "mixed": [1] * 500 + [2] * 100 + [50] * 6, "Zipf": [1000 // n + 1 for n in range(1, 200)],
}  # fmt: skip


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_a_choice_by_chance_goes_along_with_nothing(sizes: list[int], share: float) -> None:
    draw = np.random.default_rng(5)
    count = sum(sizes)
    kept = np.isin(np.arange(count), draw.choice(count, int(share * count), replace=False))
    parts = np.split(kept, np.cumsum(sizes)[:-1])
    assert _share([{"pool": size, "kept": int(part.sum())} for size, part in zip(sizes, parts, strict=True)]) == 0


def test_a_choice_by_the_field_is_found_and_is_at_most_all_there_is_to_know() -> None:
    half = [{"pool": 100, "kept": 100 * (n % 2)} for n in range(10)]
    assert 0.98 < _share(half) <= 1
    pairs = [{"pool": 2, "kept": 2 * (n % 2)} for n in range(500)]
    assert 0.4 < _share(pairs) < 0.6, "half of what pairs tell they tell by chance"
    billions = [{"pool": 10**9, "kept": 10**8}, {"pool": 10**9, "kept": 2 * 10**8}]
    assert 0.01 < _share(billions) < 0.05


def test_ids_are_asked_as_they_are_shown_and_measures_as_a_recipe_calls_them(run_in: Runner, workplace: Path) -> None:
    columns = {"read": {"measure": "text"}}
    run = open_complete(run_in(workplace, columns=columns, steps=[{"random": {"budget": 5}}]).folder)
    first = answer(run, "select key, sample_id from pool limit 1")[0]
    assert answer(run, f"select key from pool where sample_id = id('{first['sample_id']:016x}')") == [
        {"key": first["key"]}
    ]
    both = answer(run, "select read, read_letters, letters from read")
    assert both and all(row["read_letters"] == row["letters"] for row in both)
