"""Do two checkouts decide the same? Ledger, selection and exports of many recipes, byte by byte.

    python bench/same_bytes.py OTHER_CHECKOUT [--python OTHER/.venv/bin/python] [--keep FOLDER]

The recipes are those of the conformance suite (every selector), of docs/ and recipes/ as far as their models and files
can be had here, and of the golden run. Each checkout runs all of them in one process of its own, on the same input. Then
this checkout opens the other's stores: the same recipe must be a run that is complete, `why`, `sql` and `verify` must
answer. Prints a line for each recipe that differs, and a count."""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent

RUN = """
import json, sys, traceback
from pathlib import Path
try:
    from tamis.pipeline.starting import run_recipe
    from tamis.pipeline.recipe.recipe import load_recipe
except ImportError:  # before the rooms
    from tamis.pipeline.run import run_recipe
    from tamis.pipeline.recipe import load_recipe
from tamis.pipeline.progress import hushed

folder, told = Path(sys.argv[1]), {}
for path in sorted(folder.glob("*.yaml")):
    try:
        with hushed():
            outcome = run_recipe(load_recipe(path), folder, folder / sys.argv[2] / path.stem, allow_code=True)
        told[path.stem] = [outcome.fresh, outcome.selected]
    except Exception as error:
        told[path.stem] = f"{type(error).__name__}: {error}"
print(json.dumps(told))
"""

OPEN = """
import json, sys
from pathlib import Path
import pyarrow.parquet as pq
from tamis.pipeline import open_run
from tamis.pipeline.starting import run_recipe
from tamis.pipeline.recipe.recipe import load_recipe
from tamis.pipeline.progress import hushed

folder, told = Path(sys.argv[1]), {}
for path in sorted(folder.glob("*.yaml")):
    store = folder / sys.argv[2] / path.stem
    try:
        run = open_run(store / "runs" / path.stem)
        damage = run.verify()
        rows = run.sql("select count(*) as n from ledger").to_pylist() if run.manifest["steps"] else []
        key = run.sql("select key from pool limit 1").to_pylist()[0]["key"]
        story = run.why(key)
        with hushed():
            again = run_recipe(load_recipe(path), folder, store, allow_code=True)
        told[path.stem] = "" if not damage and story and not again.fresh else f"damage {damage}, fresh {again.fresh}"
    except Exception as error:
        told[path.stem] = f"{type(error).__name__}: {error}"
print(json.dumps(told))
"""


def recipes(folder: Path) -> int:
    """Write input and recipes; returns how many."""
    import yaml

    sys.path.insert(0, str(HERE / "tests"))
    sys.path.insert(0, str(HERE / "tests" / "selectors"))
    from test_conformance import CASES, OWN, case_of

    from tamis.pipeline.conformance.bench import Bench
    from tamis.pipeline.conformance.pool import RECORDS, place, place_images

    place_images(place(folder, RECORDS), RECORDS)
    (folder / "own.py").write_text(OWN)
    bench, count = Bench(folder), 0
    for name in CASES:
        case = case_of(name)
        asked = {**bench.asked(case), "steps": case.step, "emit": ["parquet", "jsonl", "csv", "keys", "uids"]}
        if case.name in {"self_paced", "label_errors"}:
            asked = {**asked, "labels": "labels.csv", "emit": ["labels"]}
        (folder / f"{name.replace(' ', '_').replace(':', '_').replace('.', '_')}.yaml").write_text(
            yaml.safe_dump(asked, sort_keys=False)
        )
        count += 1
    return count + more_recipes(folder)


def more_recipes(folder: Path) -> int:
    """The golden run's, and those of docs and recipes whose models every machine has."""
    import yaml

    texts = {"format": "jsonl", "path": "pool.jsonl", "key": "id", "keep": ["part"]}
    images = {"format": "images", "path": "photos", "keep": ["part"]}
    target = [{"format": "jsonl", "path": "target.jsonl", "key": "id"}]
    found = {
        "golden": {"pool": [texts], "target": target, "steps": [{"exact_dedup": {}}, {"importance_resampling": {"budget": 20}}], "emit": ["parquet", "jsonl"]},
        "docs_images": {"pool": [images], "target": [{"format": "images", "path": "photos"}], "columns": {"look": {"embed": "classic"}}, "steps": [{"importance_resampling": {"features": "look", "budget": 20}}], "emit": ["parquet", "keys", "webdataset", "uids"]},
        "docs_objects": {"pool": [images], "columns": {"objects": {"detect": "file", "path": "boxes.parquet", "features": {"embed": "classic"}}}, "steps": [{"object_coverage": {"column": "objects", "budget": 20}}], "emit": ["keys", "label_studio", "coco"]},
        "docs_losses": {"pool": [texts], "target": target, "columns": {"nll_prior": {"loss": "train", "on": "pool", "tokens": 2000, "size": "tiny"}, "nll_target": {"loss": "train", "from": "nll_prior", "on": "target"}}, "steps": [{"loss_reduction": {"prior": "nll_prior", "conditional": "nll_target", "budget": 20}}]},
        "docs_active": {"pool": [images], "columns": {"look": {"embed": "classic"}}, "labels": "labels.csv", "steps": [{"active": {"column": "look", "budget": 10}}], "emit": ["keys", "label_studio"]},
        "docs_cleaning": {"pool": [texts], "evaluation": target, "columns": {"read": {"measure": "text"}}, "steps": [{"exact_dedup": {}}, {"near_dedup": {"keep": "longest"}}, {"text_quality": {"apply": ["gopher"], "column": "read"}}, {"decontaminate": {"ngram": 5, "least": 3}}, {"quota": {"by": "part", "shares": {"a": 2, "b": 1}, "budget": 9}}], "emit": ["splits", "hf"]},
        "recipes_clip_score": {"pool": [{**texts, "keep": ["part", "sure"]}], "steps": [{"clip_score": {"column": "sure", "fraction": 0.3, "ties": "include"}}], "emit": ["parquet", "uids"]},
        "recipes_basic": {"pool": [texts], "columns": {"caption": {"measure": "text"}}, "steps": [{"sql": {"where": "caption_split_words > 2 and caption_characters > 5"}}], "emit": ["parquet"]},
        "linear_on_ngrams": {"pool": [texts], "target": target, "columns": {"like": {"classify": "linear"}}, "steps": [{"threshold": {"column": "like", "budget": 20}}]},
    }  # fmt: skip
    for name, asked in found.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(asked, sort_keys=False))
    return len(found)


def results(store: Path) -> dict[str, bytes]:
    """Ledger, selection and exports of the one run."""
    runs = [path for path in (store / "runs").glob("*") if path.is_dir()]
    kept = [path for run in runs for part in ("ledger", "exports", "selection.parquet") for path in [run / part]]
    files = [
        file for path in kept for file in ([path] if path.is_file() else sorted(path.rglob("*"))) if file.is_file()
    ]
    return {str(file.relative_to(store)): file.read_bytes() for file in files}


def run(python: Path, code: str, folder: Path, side: str) -> dict[str, object]:
    done = subprocess.run([python, "-c", code, folder, side], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path)
    parser.add_argument("--python", type=Path)
    parser.add_argument("--keep", type=Path)
    asked = parser.parse_args()
    other = asked.python or asked.other / ".venv" / "bin" / "python"
    with tempfile.TemporaryDirectory() as made:
        folder = asked.keep or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        count = recipes(folder)
        told = {"other": run(other, RUN, folder, "other"), "here": run(Path(sys.executable), RUN, folder, "here")}
        differ = 0
        for name in sorted(told["here"]):
            if told["here"][name] != told["other"][name]:
                print(f"{name}: {told['other'][name]}  |  {told['here'][name]}")
                differ += 1
                continue
            one, two = results(folder / "other" / name), results(folder / "here" / name)
            files = sorted(file for file in {*one, *two} if one.get(file) != two.get(file))
            if files or not one:
                print(f"{name}: {len(files)} of {len(one)} files differ, such as {files[:2]}")
                differ += 1
        opened = run(Path(sys.executable), OPEN, folder, "other")
        for name, problem in sorted(opened.items()):
            if problem:
                print(f"{name}: a store of the other checkout: {problem}")
        wrong = sum(bool(problem) for problem in opened.values())
        print(
            f"{count} recipes: {count - differ} the same to the byte; of the other's stores {len(opened) - wrong} open and answer"
        )
        sys.exit(bool(differ or wrong))


if __name__ == "__main__":
    main()
