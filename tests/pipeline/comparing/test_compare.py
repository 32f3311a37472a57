"""Comparisons: random beside them, shared passes equal plain sums, the same table again, and a page that is inert."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from planted import WORDS, planted

from tamis.pipeline.comparing.page import table, write_comparison
from tamis.pipeline.comparing.selections import comparison
from tamis.pipeline.comparing.training import interval, needs, oracle_share
from tamis.pipeline.emit.places import map_of
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.explain.drops import explain, explained
from tamis.pipeline.explain.probe import NEAR, SHOWN, asked, probe
from tamis.pipeline.read.held_out import held_contents, holds
from tamis.pipeline.read.pool import current_pool
from tamis.pipeline.store.listing import told as runs_told
from tamis.pipeline.store.runs import open_complete
from tests_support import Runner, write_jsonl


@pytest.fixture
def place(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)

    def text(kind: str) -> str:
        return planted(draw, kind, 60)

    rows = [{"id": f"{kind}{n:02d}", "part": kind, "text": text(kind)} for kind in WORDS for n in range(40)]
    rows.append({"id": "evil", "part": "<script>alert(1)</script>", "text": "x"})
    write_jsonl(tmp_path / "pool.jsonl", rows)
    targets = [{"id": f"t{n}", "text": text("sea")} for n in range(20)]
    write_jsonl(tmp_path / "target.jsonl", targets)
    kinds = [*[list(WORDS).index(row["part"]) if row["part"] in WORDS else 3 for row in rows], *[0] * 20]
    vectors = np.eye(8)[kinds] + draw.normal(size=(len(kinds), 8)) * 0.2
    np.savez(tmp_path / "vectors.npz", key=np.array([row["id"] for row in rows + targets]), vector=vectors)
    return tmp_path


MORE: dict[str, Any] = {
    "columns": {"v": {"embed": "precomputed", "path": "vectors.npz"}},
    "target": [{"format": "jsonl", "path": "target.jsonl", "key": "id"}],
    "emit": [],
}


def runs_of(run_in: Runner, place: Path) -> list[Path]:
    like = {"importance_resampling": {"budget": 20}}
    near = {"importance_resampling": {"features": "v", "budget": 20}}
    return [run_in(place, name=name, **MORE, steps=[step]).folder for name, step in (("like", like), ("near", near))]


def test_random_and_oracle_stand_beside_and_the_figures_are_plain_sums(run_in: Runner, place: Path) -> None:
    runs = runs_of(run_in, place)
    found = comparison(runs, None, None, "part=sea")
    names = [member["name"] for member in found["members"]]
    assert names == ["like", "near", "random", "oracle"] and found["equal"] and found["column"] == "v"
    by = {member["name"]: member for member in found["members"]}
    assert by["like"]["target_nats"] < by["random"]["target_nats"] and by["near"]["nearness"] > by["random"]["nearness"]
    chosen = {name: set(pq.read_table(Path(by[name]["run"]) / "selection.parquet")["sample_id"].to_pylist()) for name in names}  # fmt: skip
    for row, one in zip(found["overlap"], names, strict=True):
        assert row == [len(chosen[one] & chosen[other]) / len(chosen[one]) for other in names]
    composition = next(one for one in found["compositions"] if one["field"] == "part")
    sea = next(group for group in composition["groups"] if group["name"] == "sea")
    assert sea["by"][3] == {"selection": 20, "share": 1.0, "rate": 0.5, "low": sea["by"][3]["low"], "high": sea["by"][3]["high"]}  # fmt: skip
    held = np.load(place / "vectors.npz")
    unit = held["vector"] / np.linalg.norm(held["vector"], axis=1, keepdims=True)
    where = {key: number for number, key in enumerate(held["key"].tolist())}
    assert found["held_out"]["samples"] == 5 and "Judged by 5 of the target's 20 samples" in table(found)
    judged = open_complete(Path(by["near"]["judged"][0]))
    apart = {f"t{n}" for n in range(20)} - set(pq.read_table(judged.target.parts[0].path)["key"].to_pylist())
    keys = pq.read_table(judged.folder / "selection.parquet")["key"].to_pylist()
    close = unit[[where[key] for key in sorted(apart)]] @ unit[[where[key] for key in keys]].T
    assert len(apart) == 5 and by["near"]["nearness"] == pytest.approx(float(close.max(1).mean()), abs=2e-3)
    assert by["near"]["intervals"]["nearness"] is None and by["random"]["intervals"]["nearness"] > 0


def test_methods_stand_side_by_side_by_how_much_of_the_kind_they_find(run_in: Runner, place: Path) -> None:
    """Held-out samples, scored as if they lay in the pool; who picks samples together has none."""
    spread = {"k_center": {"column": "v", "budget": 20}}
    runs = [*runs_of(run_in, place), run_in(place, name="spread", **MORE, steps=[spread]).folder]
    filtered = [
        {"threshold": {"column": "read", "above": 30}},
        {"importance_resampling": {"budget": 20}},
    ]
    columns = {**MORE["columns"], "read": {"measure": "text"}}
    runs.append(run_in(place, name="two", **{**MORE, "columns": columns}, steps=filtered).folder)
    found = comparison(runs, None, None, None)
    by = {member["name"]: member for member in found["members"]}
    judged = open_complete(Path(by["like"]["judged"][0]))
    told = pq.read_table(judged.spikes(0))
    assert by["like"]["kind_found"] == np.mean(told["taken"].to_pylist()) and len(told) == 5
    assert min(by["like"]["kind_found"], by["two"]["kind_found"]) > by["random"]["kind_found"]
    assert "kind_found" not in by["spread"] and by["like"]["intervals"]["kind_found"] > 0.1
    line = next(row for row in table(found).splitlines() if row.startswith("spread"))
    assert "kind found" in table(found) and line.count("%") < next(row for row in table(found).splitlines() if row.startswith("like")).count("%")  # fmt: skip
    write_comparison(found, place / "page.html")
    page = (place / "page.html").read_text()
    assert "How much of the target&#39;s kind each finds" in page or "How much of the target's kind each finds" in page
    assert page.count("<polyline") == 4, "a line each for like, near, two and random"


def test_a_selection_with_repeats_stands_beside_as_many_random_ones(run_in: Runner, place: Path) -> None:
    """The held quarter is too small to tell a number by; the rest tells it."""
    draw = np.random.default_rng(7)
    words = [*WORDS["sea"].split(), "the", "of", "and"]
    write_jsonl(place / "more.jsonl", [{"id": f"m{n}", "text": " ".join(draw.choice(words, 60))} for n in range(40)])
    more = {**MORE, "columns": {}, "target": [{"format": "jsonl", "path": "more.jsonl", "key": "id"}]}
    step = {"importance_resampling": {"budget": {"tokens": 20_000, "max_epochs": 4}}}
    run = run_in(place, name="often", **more, steps=[step]).folder
    weights = pq.read_table(run / "selection.parquet")["weight"].to_numpy()
    found = {member["name"]: member for member in comparison([run], None, None, None)["members"]}
    assert weights.max() > 1 and found["random"]["chosen"] == min(weights.sum(), 121)
    judged = open_complete(Path(found["often"]["judged"][0])).summary(0)["facts"]["found"]
    assert judged["held_out"] and judged["spikes"] == 10 and "number" in judged


def test_the_same_again_is_the_same_and_another_method_changes_no_row(run_in: Runner, place: Path) -> None:
    runs = runs_of(run_in, place)
    first = comparison(runs[:1], None, "v", None)
    assert comparison(runs[:1], None, "v", None) == first
    both = comparison(runs, None, "v", None)
    shown = runs_told(open_complete(runs[0]).store).splitlines()
    own = [run.name for run in runs]
    assert sorted(line.split()[0] for line in shown[1:] if not line.startswith("And")) == sorted(own)
    assert shown[-1].endswith("of `tamis compare`: --all lists them.")
    assert len(runs_told(open_complete(runs[0]).store, every=True).splitlines()) > len(shown)
    alone = {member["name"]: member for member in first["members"]}
    assert all(alone[member["name"]] == member for member in both["members"] if member["name"] in alone)


def test_the_page_is_inert_and_the_table_says_who_serves_best(run_in: Runner, place: Path) -> None:
    found = comparison(runs_of(run_in, place), None, None, "part=sea")
    write_comparison(found, place / "page.html")
    page = (place / "page.html").read_text()
    assert "<script" not in page and "&lt;script&gt;alert(1)" in page and "http://" not in page
    assert "like" in page and "What they share" in page and page.count("best") > 3
    line = found["members"][0]["line"]
    assert [row["rank"] for row in line["kept"]] == [20, 19] and [row["rank"] for row in line["dropped"]] == [21, 22]
    assert line["dropped"][0]["key"] in page
    said = table(found)
    assert "By target nats" in said and said.count("\n") >= 7


def test_runs_of_other_pools_are_refused(run_in: Runner, place: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    runs = runs_of(run_in, place)
    other = run_in(place, name="other", store="elsewhere", **MORE, steps=[{"random": {"budget": 5}}]).folder
    with pytest.raises(RecipeError, match="another pool"):
        comparison([runs[0], other], None, None, None)
    with pytest.raises(RecipeError, match="wanted FIELD=VALUE"):
        comparison(runs, None, None, "nothing=x")
    with pytest.raises(RecipeError, match="none of the runs has it"):
        comparison(runs, None, "nope", None)


def test_baselines_are_made_by_compare_alone_and_of_the_same_pool(run_in: Runner, place: Path) -> None:
    few = {"random": {"budget": 20, "where": "part = 'law'"}}
    runs = [run_in(place, name=name, **MORE, steps=[few]).folder for name in ("random-a", "random-b")]
    found = comparison(runs, None, None, None)
    assert [member["name"] for member in found["members"]] == ["random-a", "random-b", "random"]
    (place / "target.jsonl").touch()
    assert comparison(runs, None, None, None) == found, "what stands is read, whatever its files' times"
    taken = run_in(place, name="random", **MORE, steps=[few]).folder
    with pytest.raises(RecipeError, match="that name is of a selection that compare adds"):
        comparison([taken], None, None, None)
    with pytest.raises(RecipeError, match=r"no sample has that value .there are: .*law"):
        comparison(runs, None, None, "part=lwa")
    with (place / "pool.jsonl").open("a") as file:
        file.write(json.dumps({"id": "new", "part": "sea", "text": "wave boat"}) + "\n")
    with pytest.raises(RecipeError, match="has changed since"):
        comparison(runs, None, None, "part=sea")


def test_a_run_without_steps_and_wrong_asks_are_one_line(run_in: Runner, place: Path) -> None:
    everything = run_in(place, name="everything", **MORE, steps=[]).folder
    found = comparison([everything], None, None, None)
    assert found["members"][0]["chosen"] == 121 and found["members"][0]["line"] == {"kept": [], "dropped": []}
    write_comparison(found, place / "page.html")
    for column in ("part", "nope"):
        with pytest.raises(RecipeError):
            comparison([everything], None, column, None)
    (place / "blank.jsonl").write_text('{"text": ""}\n{"text": null}\n')
    with pytest.raises(RecipeError, match="holds no text"):
        comparison([everything], None, None, None, False, "tiny", place / "blank.jsonl")
    with pytest.raises(RecipeError, match="--seeds 0"):
        comparison([everything], None, None, None, False, "tiny", None, 0)


def test_a_target_that_lies_in_the_pool_too_does_not_serve_itself(run_in: Runner, place: Path) -> None:
    draw = np.random.default_rng(5)
    rows = [{"id": f"p{n}", "text": " ".join(draw.choice(WORDS["sea"].split(), 9))} for n in range(60)]
    write_jsonl(place / "pool.jsonl", rows)
    write_jsonl(place / "target.jsonl", [{**row, "id": f"t{n}"} for n, row in enumerate(rows[:10])])
    keys = [*(row["id"] for row in rows), *(f"t{n}" for n in range(10))]
    noise = draw.normal(size=(60, 16))
    np.savez(place / "vectors.npz", key=np.array(keys), vector=np.concatenate([noise, noise[:10]]))
    more = {**MORE, "pool": [{"format": "jsonl", "path": "pool.jsonl", "key": "id"}]}
    run = run_in(place, name="all", **more, steps=[{"random": {"budget": 60}}]).folder
    assert comparison([run], None, "v", None)["members"][0]["nearness"] < 0.9


def test_what_random_needs_is_read_off_its_curve() -> None:
    curve = [(100, 7.0), (200, 6.5), (400, 6.0)]
    assert needs(7.2, curve) == ("<", 1.0) and needs(7.0, curve) == ("=", 1.0) and needs(5.0, curve) == (">", 4.0)
    assert needs(6.25, curve) == ("=", pytest.approx(2 * 2**0.5))
    assert oracle_share({"random": 7.0, "oracle": 6.0, "a": 6.25}, "a", "random") == 0.75
    assert oracle_share({"random": 6.0, "oracle": 6.5, "a": 6.25}, "a", "random") is None
    assert interval([1.0]) is None and interval([1.0, 1.0, 1.0]) == 0


@pytest.mark.thorough
def test_training_tells_them_apart_and_is_kept(run_in: Runner, place: Path) -> None:
    pytest.importorskip("accelerate")
    step = {"importance_resampling": {"budget": 40}}
    runs = [run_in(place, name="like", **MORE, steps=[step]).folder]
    found = comparison(runs, None, None, "part=sea", False, "tiny", None, 1)
    by = found["trained"]["by"]
    assert by["like"]["loss"] < by["random"]["loss"] and by["random"]["oracle_share"] == 0
    kept = {path.name: path.stat().st_mtime_ns for path in (place / "store" / "compare" / "losses").iterdir()}
    again = comparison(runs, None, None, "part=sea", False, "tiny", None, 1)
    assert again["trained"]["by"] == by
    assert kept == {path.name: path.stat().st_mtime_ns for path in (place / "store" / "compare" / "losses").iterdir()}


@pytest.mark.thorough
def test_a_given_model_is_trained_further_and_a_folder_without_one_refused(run_in: Runner, place: Path) -> None:
    pytest.importorskip("accelerate")
    columns = {**MORE["columns"], "nll": {"loss": "train", "on": "pool", "tokens": "3k", "size": "tiny"}}
    steps = [{"importance_resampling": {"budget": 20}}]
    run = run_in(place, name="like", **{**MORE, "columns": columns}, steps=steps).folder
    model = next((place / "store" / "models").glob("*/lm"))
    scratch = comparison([run], None, None, None, False, "tiny", None, 1)["trained"]["by"]
    further = comparison([run], None, None, None, False, str(model), None, 1)["trained"]["by"]
    assert further["random"]["loss"] < scratch["random"]["loss"], "it had learned from the pool before"
    with pytest.raises(RecipeError, match="wanted tiny, small, medium"):
        comparison([run], None, None, None, False, str(place), None, 1)


def test_a_head_on_vectors_judges_what_labels_are_spent_on(run_in: Runner, place: Path) -> None:
    even = {"quota": {"by": "part", "shares": {"sea": 1, "law": 1, "kitchen": 1}, "budget": 12}}
    skewed = {"quota": {"by": "part", "shares": {"sea": 10, "law": 1}, "budget": 12}}
    runs = [
        run_in(place, name=name, **MORE, steps=[step]).folder for name, step in (("even", even), ("skewed", skewed))
    ]
    trained = comparison(runs, None, "v", None, False, "head", None, 5, "part")["trained"]
    by = trained["by"]
    assert trained["unit"] == "labels" and trained["amount"] == 12 and 0 < trained["held_out"] <= 60
    assert by["even"]["loss"] < 0.3 < by["skewed"]["loss"], "of kitchens it knows nothing"
    assert len(by["even"]["losses"]) == 5 and by["even"]["interval"] == 0, "all that it holds, each time"
    assert [amount for amount, _ in trained["curve"]] == [12, 24, 48]
    assert comparison(runs, None, "v", None, False, "head", None, 5, "part")["trained"] == trained
    with pytest.raises(RecipeError, match="keeps no such field"):
        comparison(runs, None, "v", None, False, "head", None, 1, "nope")
    with pytest.raises(RecipeError, match="wanted --by FIELD"):
        comparison(runs, None, "v", None, False, "head", None, 1)


def test_explain_names_the_field_that_decided_and_none_where_chance_did(run_in: Runner, place: Path) -> None:
    by_part = run_in(place, name="quota", **MORE, steps=[{"quota": {"by": "part", "shares": {"sea": 1}, "budget": 30}}])
    found = explained(open_complete(by_part.folder))
    assert found[0]["field"] == "part" and found[0]["share"] > 0.5
    assert "law 100% dropped" in explain(open_complete(by_part.folder))
    chance = run_in(place, name="chance", **MORE, steps=[{"random": {"budget": 60}}])
    assert explained(open_complete(chance.folder))[0]["share"] < 0.05


def test_explain_gives_equal_values_one_range(run_in: Runner, place: Path) -> None:
    rows = [{"id": f"k{n}", "flag": int(n % 5 < 3), "same": 7, "text": f"text {n}"} for n in range(200)]
    write_jsonl(place / "numbers.jsonl", rows)
    pool = [{"format": "jsonl", "path": "numbers.jsonl", "key": "id", "keep": ["flag", "same"]}]
    steps = [{"random": {"budget": 50, "where": "flag = 1"}}, {"threshold": {"column": "flag", "above": 0.5}}]
    run = run_in(place, name="numbers", store="other", pool=pool, target=[], emit=[], steps=steps).folder
    found = {one["field"]: one for one in explained(open_complete(run))}
    assert [group["name"] for group in found["flag"]["groups"]] == ["0", "1"] and "same" not in found
    assert explained(open_complete(run)) == explained(open_complete(run))


def test_the_reports_map_shows_kept_and_dropped_where_they_lie(
    run_in: Runner, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)  # as where it is not installed
    near = open_complete(runs_of(run_in, place)[1])
    kept = np.sort(pq.read_table(near.folder / "selection.parquet")["sample_id"].to_numpy())
    found = map_of(near, kept)
    assert found is not None and (len(found["kept"]), len(found["dropped"])) == (20, 101) and found["column"] == "v"
    held = np.load(place / "vectors.npz")["vector"][:121].astype(np.float64)
    held /= np.linalg.norm(held, axis=1, keepdims=True)
    spread = np.linalg.svd(held - held.mean(0), compute_uv=False) ** 2
    assert found["share"] == pytest.approx(float(spread[:2].sum() / spread.sum()), abs=1e-3)
    middle = {side: np.mean(found[side], axis=0) for side in ("kept", "dropped")}
    assert np.abs(middle["kept"] - middle["dropped"]).max() > 0.3, "the chosen ones lie together"
    page = (near.folder / "report.html").read_text()
    assert 'class="map"' in page and page.count("h0") >= 121
    words = run_in(place, name="words", **{**MORE, "columns": {}}, steps=[{"random": {"budget": 5}}])
    assert map_of(open_complete(words.folder), kept) is None


def test_the_map_is_umaps_where_that_is_installed(run_in: Runner, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    near = open_complete(runs_of(run_in, place)[1])
    kept = np.sort(pq.read_table(near.folder / "selection.parquet")["sample_id"].to_numpy())

    class Fake:
        def __init__(self, **settings: Any) -> None:
            assert settings == {"metric": "cosine", "random_state": 0}

        def fit_transform(self, vectors: np.ndarray) -> np.ndarray:
            return vectors[:, :2] * 10  # whatever its range

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Fake))
    found = map_of(near, kept)
    assert found is not None and found["share"] is None and (len(found["kept"]), len(found["dropped"])) == (20, 101)
    places = np.array(found["kept"] + found["dropped"])
    assert places.min() == 0 and places.max() == 1


def test_probe_says_whether_a_column_is_worth_labels(run_in: Runner, place: Path) -> None:
    good = runs_of(run_in, place)[0]
    said = probe(open_complete(good), "v", "part", place / "probe.html")
    assert "carries these classes well" in said and "tells the target from the pool" in said
    page = (place / "probe.html").read_text()
    assert "<script" not in page and page.count('class="cell') == 2 * SHOWN * (NEAR + 1) and "Carries these" not in page
    assert "The column carries these classes well" in page
    by_class, by_target = asked(open_complete(good), "v", "part")
    assert {row.sample["class"] for row in by_class.rows} == set(WORDS) and len(by_target.rows) == SHOWN
    alike = [other["class"] == row.sample["class"] for row in by_class.rows for other in row.nearest]
    assert np.mean(alike) > 0.9
    first = by_class.rows[0]
    held = np.load(place / "vectors.npz")
    unit = held["vector"] / np.linalg.norm(held["vector"], axis=1, keepdims=True)
    where = {key: number for number, key in enumerate(held["key"].tolist())}
    mine = unit[[where[key] for key in where if key.startswith(tuple(WORDS))]] @ unit[where[first.sample["key"]]]
    told = [unit[where[other["key"]]] @ unit[where[first.sample["key"]]] for other in first.nearest]
    assert np.allclose(told, np.sort(mine)[-2 : -2 - NEAR : -1], atol=2e-3)
    held = np.load(place / "vectors.npz")
    np.savez(place / "noise.npz", key=held["key"], vector=np.random.default_rng(1).normal(size=held["vector"].shape))
    columns = {"v": {"embed": "precomputed", "path": "noise.npz"}}
    bad = run_in(place, name="noise", **{**MORE, "columns": columns}, steps=[{"random": {"budget": 5}}]).folder
    assert "does not carry these classes" in probe(open_complete(bad), "v", None)
    with pytest.raises(RecipeError, match=r"no column 'w' of vectors .there are: v."):
        probe(open_complete(bad), "w", None)


def test_the_verbs(run_in: Runner, place: Path) -> None:
    runs = runs_of(run_in, place)
    tamis = Path(sys.executable).with_name("tamis")

    def call(*arguments: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run([tamis, *arguments], cwd=place, capture_output=True, text=True, check=False)

    out = call("compare", *runs, "--oracle", "part=sea", "-o", "c.html")
    assert out.returncode == 0, out.stderr
    assert "random" in out.stdout and json.loads((place / "c.json").read_text())["pool"]["samples"] == 121
    assert "goes along" in call("explain", runs[0]).stdout
    assert "the column" in call("probe", runs[0], "v", "--by", "part").stdout
    wrong = call("compare", place / "nope")
    assert wrong.returncode == 2 and wrong.stderr.count("\n") < 4


def test_copies_of_the_target_are_no_merit_and_a_target_that_stands_twice_is_served_as_well(
    run_in: Runner, place: Path
) -> None:
    draw = np.random.default_rng(2)
    sea = [" ".join(draw.choice([*WORDS["sea"].split(), *(f"w{n}" for n in range(300))], 60)) for _ in range(90)]
    others = [" ".join(draw.choice([f"w{n}" for n in range(300)], 60)) for _ in range(300)]
    rows = [{"id": f"p{n}", "text": text} for n, text in enumerate([*sea, *others])]
    write_jsonl(place / "pool.jsonl", rows)
    targets = [{"id": f"t{n}", "text": text} for n, text in enumerate(sea[:30])]
    write_jsonl(place / "target.jsonl", targets)
    noise = draw.normal(size=(390, 16)) + np.repeat([[3.0], [0.0]], [90, 300], 0)
    vectors = np.concatenate([noise, noise[:30], noise[:30]])
    keys = [row["id"] for row in rows] + [f"t{n}" for n in range(60)]
    np.savez(place / "vectors.npz", key=np.array(keys), vector=vectors)
    more = {**MORE, "pool": [{"format": "jsonl", "path": "pool.jsonl", "key": "id"}]}
    names, found = ("mark", "exclude"), {}
    for twice in (False, True):
        if twice:
            write_jsonl(place / "target.jsonl", [*targets, *({"id": f"t{n + 30}", "text": text} for n, text in enumerate(sea[:30]))])  # fmt: skip
        runs = [run_in(place, name=f"{name}{twice}", **more, steps=[{"importance_resampling": {"budget": 40, "in_target": name}}]).folder for name in names]  # fmt: skip
        members = comparison(runs, None, "v", None)["members"]
        found[twice] = dict(zip(names, members, strict=False))
        for member in members[:2]:
            chosen = set(pq.read_table(Path(member["judged"][0]) / "selection.parquet")["text"].to_pylist())
            kept = open_complete(Path(member["judged"][0]))
            fitted = set(pq.read_table(kept.target.parts[0].path)["text"].to_pylist())
            assert len(fitted) == 22 and not chosen & (set(sea[:30]) - fitted), "held out of target and pool"
    assert abs(found[False]["mark"]["target_nats"] - found[False]["exclude"]["target_nats"]) < 0.1
    served = [found[twice]["mark"]["served"] for twice in (False, True)]
    assert served[0] == served[1] > 0


def test_random_is_of_what_the_steps_before_left_and_of_the_pool(run_in: Runner, place: Path) -> None:
    steps = [{"sql": {"where": "part <> 'kitchen'"}}, {"importance_resampling": {"budget": 20}}]
    found = comparison([run_in(place, name="a", **MORE, steps=steps).folder], None, None, None)
    by = {member["name"]: member for member in found["members"]}
    assert [*by] == ["a", "random", "random of pool"] and by["random"]["steps"] == ["sql", "random"]
    parts = {name: set(pq.read_table(Path(one["run"]) / "selection.parquet")["part"].to_pylist()) for name, one in by.items()}  # fmt: skip
    assert "kitchen" not in parts["random"] and "kitchen" in parts["random of pool"]
    assert len(by["random"]["judged"]) == 3 and by["random"]["intervals"]["target_nats"] > 0
    assert by["a"]["effective_sample_size"] == by["random"]["effective_sample_size"] == 20
    write_comparison(found, place / "page.html")
    assert "random of pool" in (place / "page.html").read_text()
    with pytest.raises(RecipeError, match="compare holds a part of the target out itself"):
        held = run_in(place, name="held", **MORE, steps=steps, hold_out=0.5)
        comparison([held.folder], None, None, None)
    reasons = held.manifest["steps"][0]["reasons"]
    assert "held_out" not in reasons, "nothing of the target lies in this pool"


def test_a_target_that_has_grown_is_divided_anew(run_in: Runner, place: Path) -> None:
    """Another part is held out then, of which the fits must not see a text."""
    more = {**MORE, "target": [{"format": "jsonl", "path": "target*.jsonl", "key": "id"}], "hold_out": 0.5}
    for number in range(3):
        texts = [{"id": f"g{number}-{n}", "text": f"wave boat {number} {n}"} for n in range(20)]
        write_jsonl(place / f"target{number}.jsonl", texts)
        run = open_complete(run_in(place, name=f"r{number}", **more, steps=[{"random": {"budget": 5}}]).folder)
        assert run.target is not None
        whole = current_pool(run.whole_target_folder, run.inputs["target"])
        held = held_contents(whole, 0.5, 1)
        fitted = [batch for part in run.target.parts for batch in pq.ParquetFile(part.path).iter_batches()]
        assert len(held) == 20 + 10 * number and not any(holds(batch, held).any() for batch in fitted)
        assert sum(batch.num_rows for batch in fitted) == 20 + 10 * number
