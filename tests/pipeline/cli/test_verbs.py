"""The verbs as people find them: in families, with examples that work, and those that tell of tamis itself."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from cyclopts import App

from tamis.pipeline.cli import health
from tamis.pipeline.cli.app import app
from tamis.pipeline.cli.families import told_by
from tamis.pipeline.cli.health import examined
from tamis.pipeline.cli.recipe_schema import schema
from tamis.pipeline.columns.catalog import KINDS
from tamis.pipeline.columns.reference import described as columns_described
from tamis.pipeline.columns.reference import kinds, settings_of_kind
from tamis.pipeline.doors import pick, plan
from tamis.pipeline.errors import QueryError, RecipeError
from tamis.selectors.reference import described, settings_of, steps
from tests_support import Runner

ROOT = Path(__file__).parents[3]


def verbs(of: App, above: tuple[str, ...] = ()) -> list[tuple[str, Any]]:
    found = []
    for name in of:
        if not name.startswith("-"):
            inner = of[name]
            mine = [(" ".join((*above, name)), inner.default_command)]
            found += verbs(inner, (*above, name)) if inner.default_command is None else mine
    return found


@pytest.mark.parametrize(("name", "verb"), verbs(app))
def test_every_verb_has_examples_that_parse(name: str, verb: Any) -> None:
    examples = [line.strip() for line in told_by(verb.__doc__).splitlines()[1:]]
    assert examples, "help shows none"
    for example in examples:
        words = shlex.split(example.partition(" > ")[0])
        assert " ".join(words).startswith(f"tamis {name}")
        command, _, _ = app.parse_args(words[1:], exit_on_error=False, print_error=False)
        assert command is verb


def test_families_stand_in_the_order_in_which_people_meet_them(capsys: pytest.CaptureFixture[str]) -> None:
    app(["--help"])
    told = capsys.readouterr().out
    places = [
        told.index(word) for word in ("─ Choose ─", "pick", "run ", "─ Look ─", "─ Label ─", "─ Store ─", "─ Operate ─")
    ]
    assert places == sorted(places)
    assert "Optional[" not in told


def test_tab_completes_the_verbs() -> None:
    script = app.generate_completion(shell="bash")
    assert "recipe-schema" in script and "--like" in script
    subprocess.run(["bash", "-n", "/dev/stdin"], input=script, text=True, check=True)


# ---------------------------------------------------------------- what a recipe may say


@pytest.mark.parametrize(("name", "kind"), steps().items())
def test_every_setting_of_a_step_has_a_meaning(name: str, kind: type) -> None:
    assert [one.name for one in settings_of(kind) if not one.meaning] == []
    assert name.partition(" ")[0] in described(name)


@pytest.mark.parametrize(("name", "kind"), kinds().items())
def test_every_setting_of_a_column_has_a_meaning(name: str, kind: Any) -> None:
    assert [one.name for one in settings_of_kind(kind) if not one.meaning] == []
    assert name in columns_described(name)


def test_lists_name_all_and_another_name_finds_the_nearest() -> None:
    assert all(name in described() for name in steps())
    assert len(columns_described().splitlines()) == len(KINDS) + 2
    with pytest.raises(ValueError, match="did you mean 'near_dedup'"):
        described("neardedup")
    with pytest.raises(RecipeError, match=r"did you mean 'embed\.onnx'"):
        columns_described("embed.onx")


RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_schema_takes_the_recipes_of_the_docs(path: Path) -> None:
    jsonschema.validate(yaml.safe_load(path.read_text()), schema())


POOL = {"pool": [{"format": "jsonl", "path": "pool.jsonl"}]}


@pytest.mark.parametrize(
    ("wrong", "more"),
    [
        ("a word that no recipe has", {"stps": []}),
        ("a step that is none", {"steps": [{"randm": {"budget": 3}}]}),
        ("a setting that a step lacks", {"steps": [{"random": {"budgt": 3}}]}),
        ("a setting that it needs", {"steps": [{"quota": {"by": "domain", "budget": 10}}]}),
        ("a word for a number", {"steps": [{"near_dedup": {"bands": "many"}}]}),
        ("a choice that is none", {"steps": [{"near_dedup": {"tokens": "letters"}}]}),
        ("a column that is none", {"columns": {"c": {"embed": "clip"}}}),
        ("a column without its model", {"columns": {"c": {"embed": "onnx"}}}),
        ("an output that is none", {"emit": ["excel"]}),
    ],
)
def test_the_schema_refuses(wrong: str, more: dict[str, Any]) -> None:
    jsonschema.validate(POOL, schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**POOL, **more}, schema())


# ---------------------------------------------------------------- wrong words


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"set": {"steps.0.randm.budget": 3}}, "step 0 is 'random', not 'randm'"),
        ({"set": {"steps.1.near_dedup.keep": "longst"}}, "no field or column 'longst', did you mean 'longest'?"),
        ({"set": {"steps.1.near_dedup.kep": "first"}}, "unknown setting 'kep', did you mean 'keep'?"),
    ],
)
def test_a_wrong_word_finds_the_nearest(workplace: Path, given: dict[str, Any], told: str) -> None:
    recipe = {
        "pool": [{"format": "jsonl", "path": "pool.jsonl"}],
        "steps": [{"random": {"budget": 5}}, {"near_dedup": {}}],
    }
    (workplace / "r.yaml").write_text(yaml.safe_dump(recipe))
    with pytest.raises(RecipeError, match=re.escape(told)):
        plan(workplace / "r.yaml", **given)


def test_pick_wants_one_sample_or_more(workplace: Path) -> None:
    with pytest.raises(RecipeError, match="1 or more"):
        pick(workplace / "pool.jsonl", workplace / "pool.jsonl", n=0)


# ---------------------------------------------------------------- runs, report, doctor


def test_runs_tells_what_ended_and_what_did_not(
    run_in: Runner, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_in(workplace, name="first")
    run_in(workplace, name="second", steps=[{"random": {"budget": 7}}])
    run_in(workplace, name="third")
    (workplace / "store" / "runs" / "third" / "manifest.json").unlink()
    app(["runs", str(workplace / "store")])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["first", "second", "third"]
    assert " 7 " in lines[2] and "random" in lines[2]
    assert "not ended" in lines[3] and lines[4].startswith("What has not ended")


def test_report_opens_the_page(run_in: Runner, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or len(opened) == 1)
    folder = run_in(workplace, name="first").folder
    app(["report", str(folder), "--open"])
    told = capsys.readouterr()
    assert opened == [(folder / "report.html").as_uri()] and "report.html" in told.out and not told.err
    app(["report", str(folder), "--open"])
    assert "no browser" in capsys.readouterr().err


def test_doctor_tells_what_works_what_lacks_and_what_is_broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "torn.py").write_text("raise RuntimeError('torn \x1b[2Jin two')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(health, "BRINGS", {"vision": ("PIL",), "clip": ("torn",), "umap": ("nothing_of_that_name",)})
    found, broken = examined(tmp_path)
    lines = {line.split()[0]: line for line in found.splitlines()}
    assert "works" in lines["core"] and "works" in lines["vision"]
    assert "BROKEN" in lines["clip"] and "torn \\u001b[2Jin two" in lines["clip"]
    assert "not here" in lines["umap"] and "pip install" in lines["umap"]
    assert broken and found.splitlines()[-1] == "broken: clip"
    assert "GB free" in lines["disk"] and "processors" in lines["machine"]


def test_what_is_installed_for_the_tests_works() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "tamis.pipeline.cli.app", "doctor"], capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stdout
    assert told.stdout.splitlines()[-1] == "All that is installed works."


def test_recipe_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    app(["recipe-schema"])
    assert json.loads(capsys.readouterr().out)["title"] == "tamis recipe"


@pytest.mark.parametrize(
    ("where", "told"),
    [("prt = 'a'", "no field or column 'prt', did you mean 'part'?"), ("nothing.like > 3", "'nothing.like'")],
)
def test_a_field_of_where_that_is_not_there_is_told_before_anything_starts(
    workplace: Path, where: str, told: str
) -> None:
    recipe = {
        "pool": [{"format": "jsonl", "path": "pool.jsonl", "key": "id", "keep": ["part"]}],
        "columns": {"read": {"measure": "text"}},
        "steps": [{"random": {"budget": 5, "where": where}}],
    }
    with pytest.raises(QueryError, match=re.escape(told)):
        parsed = workplace / "r.yaml"
        parsed.write_text(yaml.safe_dump(recipe))
        plan(parsed)
    for fine in ("PART = 'a'", "read > 3 and read_letters > 0.1", "n_bytes > 10 and list_contains([1, 2], 1)"):
        plan(workplace / "r.yaml", set={"steps.0.random.where": fine})
