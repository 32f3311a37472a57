"""`tamis demo`: a real curation on input that every machine has, in a folder to look at and play with.

text: the pool is the docstrings of the packages that tamis needs, the target some of one's. images: scanned digits, the
target some of one kind. Can the selection find the rest of them?"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tamis.pipeline.demo.digits import DIGIT, TARGET_IMAGES, make_digits
from tamis.pipeline.demo.docstrings import write_docstrings
from tamis.pipeline.errors import RunError
from tamis.pipeline.explain.show import command, paths, shortest, summary
from tamis.pipeline.files.atomic import atomic_path
from tamis.pipeline.progress import say
from tamis.pipeline.read.identity import sample_id
from tamis.pipeline.recipe.expressions import quoted
from tamis.pipeline.recipe.recipe import load_recipe
from tamis.pipeline.starting import Outcome, run_recipe
from tamis.pipeline.store.database import rows
from tamis.pipeline.store.query import views
from tamis.pipeline.store.runs import open_complete

PACKAGE = "numpy"  # installed wherever tamis is, and with a style of its own
TARGET_TEXTS = 200
RECIPE = """\
# The recipe of `tamis demo`: find docstrings like those of {package} among those of all that tamis needs.
name: demo
seed: 0
pool:
  - {{format: jsonl, path: pool.jsonl, key: id, text: text, keep: [package, module, license]}}
target:
  - {{format: jsonl, path: target.jsonl, key: id, text: text}}
steps:
  - exact_dedup: {{}}
  - importance_resampling: {{features: ngrams, budget: {budget}}}
emit: [parquet, jsonl]
"""


@dataclass(frozen=True)
class Demo:
    make: Callable[[Path], None]  # data and recipe.yaml
    field: str  # of the pool, that says whether the selection found the right ones
    value: str
    question: list[str]


def demos() -> dict[str, Demo]:
    return {
        "text": Demo(
            _make_data, "package", PACKAGE,
            [f"Which docstrings of what tamis is installed with read like {PACKAGE}'s?",
             f"{TARGET_TEXTS} of {PACKAGE}'s are the target; the others are hidden in the pool."],
        ),
        "images": Demo(
            make_digits, "label", DIGIT,
            [f"Which of these scanned digits look like a {DIGIT}?",
             f"{TARGET_IMAGES} of them are the target; the others are hidden in the pool."],
        ),
    }  # fmt: skip


def demo(folder: Path, engine: Callable[[Path], Path] | None, what: str = "text") -> Outcome:
    """Make the demo's data and recipe in `folder` unless they are there, run it, and print what came of it."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen, recipe_path = demos()[what], folder / "recipe.yaml"
    if not recipe_path.exists():
        chosen.make(folder)
    outcome = run_recipe(load_recipe(recipe_path), folder, folder / "store", engine=engine)
    print(_story(outcome, recipe_path, chosen))
    return outcome


def _make_data(folder: Path) -> None:
    say("pool: docstrings of the packages that tamis is installed with, read with ast, nothing imported")
    everything = folder / ".docstrings.jsonl"
    write_docstrings(everything)
    with everything.open(encoding="utf-8") as file:
        lines = list(file)
    records = [(line, json.loads(line)) for line in lines]
    mine = sorted((sample_id("demo", r["id"]), line) for line, r in records if r["package"] == PACKAGE)
    if len(mine) < 2 * TARGET_TEXTS:
        raise RunError(f"demo: {PACKAGE} has only {len(mine)} docstrings here; is it installed as source files?")
    target = {line for _, line in mine[:TARGET_TEXTS]}  # a hash decides, so that the demo is the same every time
    with atomic_path(folder / "target.jsonl", sealed=False) as path:
        path.write_text("".join(line for line in lines if line in target), encoding="utf-8")
    with atomic_path(folder / "pool.jsonl", sealed=False) as path:
        path.write_text("".join(line for line in lines if line not in target), encoding="utf-8")
    everything.unlink()
    with atomic_path(folder / "recipe.yaml", sealed=False) as path:
        path.write_text(RECIPE.format(package=PACKAGE, budget=len(mine) - TARGET_TEXTS), encoding="utf-8")


def _story(outcome: Outcome, recipe: Path, told: Demo) -> str:
    run = open_complete(outcome.folder)
    with views(run) as con:
        share = rows(con, SHARES.replace("$field", quoted(told.field)), {"value": told.value})[0]
        examples = rows(con, EXAMPLES, {"step": len(run.recipe.steps) - 1})
    lines = ["", *told.question, "", summary(outcome.manifest), ""]
    lines.append(f"  share of {told.value}:  pool {share['pool']:.1%}  →  selection {share['selection']:.1%}")
    for title, kept in (("Kept, best first", True), ("Dropped, nearest to the line", False)):
        lines += ["", f"{title}:"]
        lines += [_example(row) for row in examples if row["kept"] is kept]
    lines += ["", "Written:", f"  {'recipe':<10} {shortest(recipe)}", paths(outcome.folder)]
    some = next((row["key"] for row in examples if not row["kept"]), None)
    if some:
        lines += ["", f"Ask for any decision:  {command()} why {shortest(outcome.folder)} '{some}'"]
        lines += [f"Look at all of them:   {command()} view {shortest(outcome.folder)} --open"]
    return "\n".join(lines)


def _example(row: dict[str, Any]) -> str:
    text = " ".join((row["text"] or "").split())
    head = f"  {row['rank']:>6,}  {row['score']:+.3f}  {row['reason']:<10} {row['key']}"
    if not text:
        return head
    return f"{head}\n          {text[:100]}{'…' if len(text) > 100 else ''}"


SHARES = """
select
    (select avg(($field = $value)::int) from pool) as pool,
    (select avg(($field = $value)::int) from selection) as selection
"""
EXAMPLES = """
(select l.rank, l.score, l.reason, l.kept, p.key, p.text from ledger l join pool p using (sample_id)
 where l.step = $step and l.kept order by l.rank limit 5)
union all
(select l.rank, l.score, l.reason, l.kept, p.key, p.text from ledger l join pool p using (sample_id)
 where l.step = $step and not l.kept order by l.rank limit 5)
order by rank
"""
