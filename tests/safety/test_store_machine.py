"""A store, whatever is done to it and in whatever order, held against a plain model of what must be there.

Hypothesis makes up histories of a small store: runs of several recipes, sources that grow, change, go and come back,
takedowns, labels, `compact`, `gc`; and in the midst of any of them the process may die, between any two changes that it
makes to the store. tests/store_model.py says what must hold, tests/dying.py how a process dies. What such histories
have found stands below them, by name."""

import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
from dying import Death, changes_of, killed
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from store_model import (
    FLAWS,
    Known,
    Ledger,
    Row,
    Sample,
    Sources,
    Step,
    accounted,
    bytes_of,
    chosen_by,
    decided,
    exported,
    first_of_contents,
    ledger_of,
    pool_of,
    those,
)

from tamis.pipeline.doors import import_labels
from tamis.pipeline.errors import RunTaken, SourceError
from tamis.pipeline.files.atomic import read_json
from tamis.pipeline.progress import hushed
from tamis.pipeline.recipe.recipe import parse_recipe
from tamis.pipeline.starting import fill_columns, run_next, run_recipe
from tamis.pipeline.store.compact import compact
from tamis.pipeline.store.garbage import collect
from tamis.pipeline.store.manifest import verify
from tamis.pipeline.store.runs import open_complete
from tamis.pipeline.store.whereabouts import forget, where

CASES = int(os.environ.get("TAMIS_FAULT_CASES", "30"))  # histories of the long form

KEYS = [f"k{number:02d}" for number in range(14)]
TEXTS = [
    "short", "also short", "a text of several words", "a text of several other words", "the quick brown fox",
    "the quick brown fox jumps over the lazy dog", "pack my box with five dozen jugs", "sphinx of black quartz",
    "words and more words, and no end of words", "every text is in several files, under several names",
]  # fmt: skip
FILES = ("pool/a.jsonl", "pool/b.jsonl", "pool/c.jsonl", "tables/a.csv", "tables/b.csv")
TARGET = "target.jsonl"
POOL = [
    {"format": "jsonl", "path": "pool/*.jsonl", "key": "id", "text": "text", "keep": ["part"]},
    {"format": "csv", "path": "tables/*.csv", "key": "id", "text": "text", "keep": ["part"]},
]
DEDUP = Step({"exact_dedup": {}}, first_of_contents)
LONG = Step({"threshold": {"column": "n_bytes", "above": 10}}, those(lambda sample: len(sample.text) > 10))
WORDY = Step({"sql": {"where": "read > 3"}}, those(lambda sample: len(sample.text.split()) > 3))
GOOD = Step(
    {"sql": {"where": "labels = 'good'"}},
    lambda candidates, labels, _taken: {key for key in candidates if labels.get(key) == "good"},
)
LIKE = Step({"importance_resampling": {"features": "ngrams", "budget": 6}}, budget=6)


def some(budget: int) -> Step:
    return Step({"random": {"budget": budget}}, budget=budget)


class Recipe(NamedTuple):
    steps: list[Step]
    emit: list[str] = []  # noqa: RUF012  never changed
    more: dict[str, Any] = {}  # noqa: RUF012

    @property
    def aims(self) -> bool:
        """Whether it has a target."""
        return LIKE in self.steps

    @property
    def remembers(self) -> bool:
        """Whether it looks at what earlier runs of it chose."""
        return "against" in self.more


RECIPES = {
    "rules": Recipe([DEDUP, LONG, some(5)], ["jsonl"]),
    "words": Recipe([WORDY, DEDUP], ["keys"], {"columns": {"read": {"measure": "text"}}}),
    "like": Recipe([DEDUP, LIKE]),
    "measured": Recipe([LIKE], more={"hold_out": 0.3}),
    "kept": Recipe([DEDUP, some(4)], more={"against": "kept"}),
    "labeled": Recipe([GOOD, some(3)], more={"labels": "store/labels"}),
    "all": Recipe([], ["csv"]),
}
RUN, FILL, FEW = 160, 60, 12  # changes that a command makes to a store, about


class Kill(NamedTuple):
    """When a command dies, and whether it is given again at once."""

    at: int  # thousandth of its changes
    half: bool
    order: int  # of files in folders that are taken away
    goes_on: bool


class Ran(NamedTuple):
    """A complete run, and of what."""

    recipe: str
    times: dict[str, int]  # of the sources
    rounds: int  # of labels
    chosen: frozenset[str]
    content: dict[str, bytes]
    ledger: Ledger
    pool: dict[str, Sample]


KEY, TEXT = st.sampled_from(KEYS), st.sampled_from(TEXTS)


def row_of(key: str, part: str = "a", text: str | None = None, flaw: str = "") -> Row:
    """None: the key's usual text, so that most of those who meet in a pool are the same."""
    return Row(key, part, text or TEXTS[int(key[1:]) % len(TEXTS)], flaw)


GOOD_ROW = st.builds(row_of, KEY, st.sampled_from("ab"), st.none() | st.none() | TEXT, st.just(""))
FLAWED_ROW = st.builds(row_of, KEY, st.just("a"), st.none(), st.sampled_from(sorted(FLAWS)))
MORE_ROWS = st.lists(GOOD_ROW | GOOD_ROW | GOOD_ROW | FLAWED_ROW, max_size=5)
ROWS = st.builds(lambda first, more: [first, *more], GOOD_ROW, MORE_ROWS)
RECIPE = st.sampled_from(sorted(RECIPES))
WHEN, HALF, ORDER = st.integers(0, 999), st.booleans(), st.integers(0, 63)
KILL = st.none() | st.builds(Kill, WHEN, HALF, ORDER, st.booleans())
DEATH = st.builds(Kill, WHEN | st.integers(0, 200), HALF, ORDER, st.just(False))


class StoreMachine(RuleBasedStateMachine):
    """One history of a store."""

    def __init__(self, folder: Path, seen: Counter[str]) -> None:
        super().__init__()
        self.seen = seen
        self.folder = folder / f"history-{seen['histories']:05d}"
        self.folder.mkdir()
        self.store = self.folder / "store"
        self.sources, self.target = Sources(self.folder), Sources(self.folder)
        self.runs: dict[str, Ran] = {}
        self.begun: dict[str, str] = {}  # recipes of runs that were killed, by name
        self.forgotten: set[str] = set()
        self.labels: dict[str, str] = {}
        self.rounds = self.numbers = 0
        seen["histories"] += 1

    def teardown(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    # ------------------------------------------------------------ what people do beside the store

    @initialize(jsonl=ROWS, csv=ROWS, like=ROWS)
    def begin(self, jsonl: list[Row], csv: list[Row], like: list[Row]) -> None:
        self.sources.write("pool/a.jsonl", jsonl)
        self.sources.write("tables/a.csv", csv)
        self.retarget(like)

    @rule(name=st.sampled_from(FILES), rows=ROWS)
    def write(self, name: str, rows: list[Row]) -> None:
        self.sources.write(name, rows)

    @rule(name=st.sampled_from(FILES), rows=ROWS)
    def append(self, name: str, rows: list[Row]) -> None:
        self.sources.write(name, [*self.sources.rows.get(name, []), *rows])

    @precondition(lambda self: self.sources.rows)
    @rule(data=st.data())
    def remove(self, data: Any) -> None:
        self.sources.remove(data.draw(st.sampled_from(sorted(self.sources.rows))))

    @precondition(lambda self: self.sources.before)
    @rule(data=st.data())
    def bring_back(self, data: Any) -> None:
        """A file as it was, with its time: moved back, or from a copy."""
        self.sources.write(*data.draw(st.sampled_from(self.sources.before)))

    @rule(data=st.data())
    def touch(self, data: Any) -> None:
        name = data.draw(st.sampled_from(sorted({*self.sources.rows, TARGET})))
        (self.target if name == TARGET else self.sources).touch(name)

    @rule(rows=ROWS)
    def retarget(self, rows: list[Row]) -> None:
        self.target.write(TARGET, [row._replace(flaw="") for row in rows])

    @precondition(lambda self: self.runs or self.begun)
    @rule(data=st.data())
    def drop(self, data: Any) -> None:
        """Folders of runs are their user's to delete."""
        for name in data.draw(st.sets(st.sampled_from(sorted({*self.runs, *self.begun})), min_size=1)):
            self.leave(name)

    def leave(self, name: str) -> None:
        shutil.rmtree(self.store / "runs" / name)
        self.runs.pop(name, None)
        self.begun.pop(name, None)

    # ------------------------------------------------------------ runs

    def asked(self, recipe: str) -> Any:
        told = RECIPES[recipe]
        target = [{"format": "jsonl", "path": TARGET, "text": "text"}] if told.aims else []
        steps = [step.recipe for step in told.steps]
        whole = {"name": recipe, "pool": POOL, "target": target, "steps": steps, "emit": told.emit, **told.more}
        return parse_recipe(whole, self.folder)

    def command(self, recipe: str, name: str, store: Path | None = None) -> Callable[[], Any]:
        return lambda: run_recipe(self.asked(recipe), self.folder, store or self.store, name)

    @property
    def readable(self) -> bool:
        """Whether each of the recipes' globs finds a file."""
        return bool(self.sources.of(".jsonl") and self.sources.of(".csv"))

    @rule(recipe=RECIPE, kill=KILL, anew=st.booleans())
    def run(self, recipe: str, kill: Kill | None = None, anew: bool = False) -> None:
        """Under a name that is new; `anew`: in a fresh store the same samples meet the same decisions."""
        self.numbers += 1
        name = f"run-{self.numbers}"
        self.carried(recipe, name, kill)
        if anew and name in self.runs and not RECIPES[recipe].remembers:
            self.held_against_a_fresh_store(name)

    @precondition(lambda self: self.begun)
    @rule(kill=KILL, data=st.data())
    def go_on(self, kill: Kill | None, data: Any) -> None:
        """A run that was killed, whatever came in between; or another recipe under its name."""
        name = data.draw(st.sampled_from(sorted(self.begun)))
        self.carried(data.draw(st.just(self.begun[name]) | RECIPE), name, kill)

    @rule(deaths=st.lists(st.tuples(RECIPE, DEATH, st.booleans()), min_size=2, max_size=4), rows=ROWS)
    def die_often(self, deaths: list[tuple[str, Kill, bool]], rows: list[Row]) -> None:
        """One name, several recipes, while a file comes and goes; the last one runs to its end."""
        self.numbers += 1
        name, guest = f"run-{self.numbers}", f"pool/{self.numbers}.jsonl"
        for recipe, kill, changes in deaths:
            if changes and guest in self.sources.rows:
                self.sources.remove(guest)
            elif changes:
                known = [one for one in self.sources.before if one[0] == guest]
                self.sources.write(*(known or [(guest, rows)])[0])
            self.carried(recipe, name, kill)
            if name in self.runs:  # it came to its end before it could die
                return
        self.carried(deaths[-1][0], name, None)

    @rule(recipe=RECIPE, kill=KILL)
    def serve(self, recipe: str, kill: Kill | None) -> None:
        """As `tamis serve` does it: the last one again where it did not end or nothing has changed, else a new one."""
        names = [name for name in {*self.runs, *self.begun} if name.startswith(f"{recipe}-")]
        last = max((int(name[-4:]) for name in names), default=1)
        name = f"{recipe}-{last:04d}"
        if name in self.runs and self.stands(name):
            kill = None
        elif name in self.runs:
            name = f"{recipe}-{last + 1:04d}"
        self.carried(recipe, name, kill, lambda: run_next(self.asked(recipe), self.folder, self.store))

    def carried(self, recipe: str, name: str, kill: Kill | None, command: Callable[[], Any] | None = None) -> None:
        """Carry a run out, as far as it comes, and look at what came of it."""
        command = command or self.command(recipe, name)
        if not self.readable:
            self.refused(command, SourceError)
            return
        self.done(command, kill, RUN)
        self.begun.pop(name, None)
        folder = self.store / "runs" / name
        if (folder / "manifest.json").exists():
            self.runs[name] = self.runs.get(name) or self.checked(recipe, folder)
        else:
            assert kill, "it said that it is complete"
            if folder.exists():
                self.begun[name] = recipe

    def refused(self, command: Callable[[], Any], error: type[Exception]) -> None:
        """A command that is refused changes nothing."""
        before = bytes_of(self.store)
        with pytest.raises(error):
            quiet(command)()
        assert bytes_of(self.store) == before

    def checked(self, recipe: str, folder: Path) -> Ran:
        """A run that is complete, held against the model."""
        told = RECIPES[recipe]
        pool = pool_of(folder)
        accounted(folder, pool, self.sources)
        earlier = [run.chosen for run in self.runs.values() if run.recipe == recipe and told.remembers]
        target = frozenset(row.text for row in self.target.rows[TARGET])
        known = Known(frozenset(self.forgotten), frozenset().union(*earlier), self.labels, target)
        ledger = decided(folder, told.steps, pool, known)
        exported(folder, told.emit)
        chosen = frozenset(row["key"] for row in chosen_by(folder))
        assert not chosen & self.forgotten
        return Ran(recipe, self.times(recipe), self.rounds, chosen, kept_bytes(folder), ledger, pool)

    def times(self, recipe: str) -> dict[str, int]:
        """Of the files that it reads."""
        return {**self.sources.times, **(self.target.times if RECIPES[recipe].aims else {})}

    def stands(self, name: str) -> bool:
        """Whether a complete run still answers for its recipe."""
        ran = self.runs[name]
        labeled = "labels" in RECIPES[ran.recipe].more and ran.rounds != self.rounds
        return ran.times == self.times(ran.recipe) and not labeled and not ran.chosen & self.forgotten

    def held_against_a_fresh_store(self, name: str) -> None:
        ran, fresh = self.runs[name], self.folder / "fresh"
        fresh.mkdir()
        if self.forgotten:
            shutil.copy(self.store / "forgotten.parquet", fresh)
        quiet(self.command(ran.recipe, name, fresh))()
        folder = fresh / "runs" / name
        pool = pool_of(folder)
        assert pool.keys() == ran.pool.keys()
        if all(sample.text == ran.pool[key].text for key, sample in pool.items()):  # else another of a key came first
            assert ledger_of(folder, pool) == ran.ledger
            self.seen["held against a fresh store"] += 1
        shutil.rmtree(fresh)

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def again(self, data: Any) -> None:
        """The same command: it changes nothing, or says what has changed since."""
        name = data.draw(st.sampled_from(sorted(self.runs)))
        command = self.command(self.runs[name].recipe, name)
        if not self.readable or not self.stands(name):
            self.refused(command, RunTaken if self.readable else SourceError)
            return
        before = bytes_of(self.store)
        with hushed():
            assert not command().fresh
        assert bytes_of(self.store) == before

    @precondition(lambda self: self.runs and self.readable)
    @rule(data=st.data())
    def another(self, data: Any) -> None:
        """Another recipe under the name of a complete run."""
        name = data.draw(st.sampled_from(sorted(self.runs)))
        recipe = data.draw(RECIPE.filter(lambda one: one != self.runs[name].recipe))
        self.refused(self.command(recipe, name), RunTaken)

    @precondition(lambda self: self.readable)
    @rule(recipe=RECIPE, kill=KILL)
    def fill(self, recipe: str, kill: Kill | None) -> None:
        """Read what is new and make columns; choose nothing."""
        self.done(lambda: fill_columns(self.asked(recipe), self.folder, self.store, allow_code=False), kill, FILL)

    # ------------------------------------------------------------ the rest of the verbs

    @property
    def filled(self) -> bool:
        return (self.store / "runs").is_dir() and any((self.store / "pool").glob("part-*.parquet"))

    @precondition(lambda self: self.filled)
    @rule(keys=st.lists(KEY, min_size=1, max_size=2, unique=True), kill=KILL)
    def forget(self, keys: list[str], kill: Kill | None = None) -> None:
        self.done(lambda: forget(self.store, keys), kill)
        path = self.store / "forgotten.parquet"
        found = pq.read_table(path)["key"].to_pylist() if path.exists() else []
        assert len(found) == len(set(found))
        before, self.forgotten = self.forgotten, set(found)
        assert self.forgotten == before | set(keys) or (kill and self.forgotten == before)

    @precondition(lambda self: self.filled)
    @rule(
        answers=st.dictionaries(KEY, st.sampled_from(["good", "bad"]), min_size=1, max_size=4),
        replace=st.booleans(), kill=KILL,
    )  # fmt: skip
    def label(self, answers: dict[str, str], replace: bool = False, kill: Kill | None = None) -> None:
        """A round is there whole or not at all: what is new, or settles what was said before."""
        self.numbers += 1
        file = self.folder / f"answers-{self.numbers}.csv"
        lines = [f"{key},{label},2026-01-01" for key, label in answers.items()]
        file.write_text("\n".join(["key,label,labeled_at", *lines]) + "\n")
        shards = (self.store / "pool").glob("part-*.parquet")
        there = {key for path in shards for key in pq.read_table(path, columns=["key"])["key"].to_pylist()}
        new = {key: label for key, label in answers.items() if key in there and (replace or key not in self.labels)}
        self.done(lambda: import_labels(self.store, file, replace=replace), kill)
        paths = sorted((self.store / "labels").glob("round-*.parquet"))
        rounds = [pq.read_table(path).to_pylist() for path in paths]
        if new and (not kill or len(rounds) > self.rounds):
            self.rounds += 1
            self.labels |= new
            assert sorted((row["key"], row["label"]) for row in rounds[-1]) == sorted(new.items())
        assert len(rounds) == self.rounds
        assert {row["key"]: row["label"] for told in rounds for row in told} == self.labels

    @precondition(lambda self: self.filled)
    @rule(kill=KILL)
    def compact(self, kill: Kill | None = None) -> None:
        self.done(lambda: compact(self.store), kill)

    @precondition(lambda self: self.filled)
    @rule(kill=KILL)
    def gc(self, kill: Kill | None = None) -> None:
        """What is left is needed by someone, once every run has ended."""
        self.done(lambda: collect(self.store, delete=True), kill)
        folders = {path.parent for path in (self.store / "runs").glob("*/request.json")}
        if kill and not kill.goes_on:
            return
        assert not list(self.store.rglob(".*.writing"))
        if all((folder / "manifest.json").exists() for folder in folders):
            with hushed():
                assert "everything is needed" in collect(self.store, delete=True)
            left = {path.name for path in (self.store / "pool").glob("part-*.parquet")}
            assert left <= needed(self.store), "shards that no run needs"

    @precondition(lambda self: self.runs)
    @rule(key=KEY)
    def ask(self, key: str) -> None:
        """`where` knows which runs chose a sample."""
        runs = {name: ran for name, ran in self.runs.items() if key in ran.pool}
        if runs:
            told = where(self.store, key)
            selected = {line.split()[1][:-1] for line in told.splitlines() if ": SELECTED" in line}
            assert selected == {name for name, ran in runs.items() if key in ran.chosen}
            assert ("forgotten:" in told) == (key in self.forgotten)

    # ------------------------------------------------------------ carrying out, and dying

    def done(self, command: Callable[[], Any], kill: Kill | None, changes: int = FEW) -> None:
        """Carry a command out. With a kill: in a child that dies, after `changes` at most; where it goes on, the same
        again then, after which the store must be as if it had never died."""
        command = quiet(command)
        if kill is None:
            command()
            return
        whole = self.folder / "whole"
        if kill.goes_on:
            before = self.folder / "before"
            if self.store.exists():
                shutil.copytree(self.store, before)
            changes = changes_of(command, self.store)
            shutil.move(self.store, whole)
            if before.exists():
                shutil.move(before, self.store)
        self.seen["kills"] += killed(command, self.store, Death(1 + kill.at * changes // 1000, kill.half, kill.order))
        for path in self.store.rglob("part-*.parquet"):
            pq.read_metadata(path)
        for path in self.store.rglob("*.json"):
            read_json(path)
        if kill.goes_on:
            command()
            ours, theirs = lasting(self.store), lasting(whole)
            assert ours.keys() == theirs.keys(), sorted(ours.keys() ^ theirs.keys())
            assert not [name for name, content in theirs.items() if ours[name] != content]
            shutil.rmtree(whole)

    @invariant()
    def earlier_runs_stand(self) -> None:
        """Whatever came since: their bytes are theirs, and all that they need is there."""
        self.seen["steps"] += 1
        for name, ran in self.runs.items():
            folder = self.store / "runs" / name
            assert kept_bytes(folder) == ran.content, name
            assert verify(open_complete(folder)) == [], name


def quiet(command: Callable[[], Any]) -> Callable[[], Any]:
    def run() -> None:
        with hushed():
            command()

    return run


def kept_bytes(run: Path) -> dict[str, bytes]:
    """A complete run's files, without what a kill right behind its manifest leaves, and `gc` may take."""
    return {
        name: content
        for name, content in bytes_of(run).items()
        if not name.startswith((".work", "costs.jsonl")) and not name.endswith(".writing")
    }


def lasting(store: Path) -> dict[str, bytes]:
    """A store's files, without those that tell of times and costs; a list of removals is called by what it lists."""
    told = ("costs.", "manifest.json", "report.html", "forgotten.parquet", ".lock", ".sealed")
    return {
        re.sub(r"^removals/\d+T\d+Z-", "removals/", name): content
        for name, content in bytes_of(store).items()
        if not name.rpartition("/")[2].startswith(told)
        and "/.work/" not in name
        and not name.startswith(".tmp/")
        and not name.endswith(".writing")
    }


def needed(store: Path) -> set[str]:
    """Shards of what runs saw, of what their rejects lean on, and merged ones, which runs to come will read."""
    records = [read_json(path) for path in (store / "pool" / ".groups").glob("[0-9]*.json")]
    seen = {group for path in (store / "runs").glob("*/inputs.json") for group in read_json(path)["pool"]}
    seen |= {other for record in records if record["group"] in seen for other in record["leans_on"]}
    wanted = [record for record in records if record["group"] in seen or "replaces" in record]
    return {part["name"] for record in wanted for part in record["parts"]}


def histories(folder: Path, examples: int, steps: int) -> Counter[str]:
    """Live through so many; returns what was seen."""
    seen: Counter[str] = Counter()
    asked = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, database=None, derandomize=True,
        print_blob=True, suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    run_state_machine_as_test(lambda: StoreMachine(folder, seen), settings=asked)
    return seen


def test_some_histories(tmp_path: Path) -> None:
    assert histories(tmp_path, examples=8, steps=15)["kills"]


@pytest.mark.fault(
    "Any history of a store (runs, sources that change, takedowns, labels, compact, gc), with kills between any two "
    "writes: every sample is accounted for, and earlier runs stand"
)
def test_many_histories(tmp_path: Path, record_property: Callable[[str, Any], None]) -> None:
    seen = histories(tmp_path, examples=CASES, steps=30)
    record_property("seen", f"{seen['steps']:,} steps in {seen['histories']:,} histories, {seen['kills']:,} kills")


# ---------------------------------------------------------------- what they found


@pytest.fixture
def history(tmp_path: Path) -> StoreMachine:
    found = StoreMachine(tmp_path, Counter())
    found.begin(rows_of("k00", "k02", "k03", "k04"), rows_of("k10", "k11"), rows_of("k01"))
    return found


def rows_of(*keys: str) -> list[Row]:
    return [row_of(key) for key in keys]


def deaths(history: StoreMachine, command: Callable[[], Any], points: Iterable[int], order: int = 3) -> Iterator[int]:
    """Each time the store is as it was, and the command has died in it."""
    saved = shutil.copytree(history.store, history.folder / "saved")
    for at in points:
        shutil.rmtree(history.store)
        shutil.copytree(saved, history.store)
        killed(quiet(command), history.store, Death(at, order=order))
        yield at


def test_a_file_that_was_moved_away_and_back_is_in_the_pool_once(history: StoreMachine) -> None:
    """Its group was true again, and so was the group of the other files, which were read without it."""
    history.sources.write("pool/b.jsonl", rows_of("k05", "k00"))
    history.run("all")
    history.sources.remove("pool/b.jsonl")
    history.run("all")
    history.sources.write(*history.sources.before[-1])
    history.run("all")


def test_a_file_comes_back_whose_keys_another_one_has_since(history: StoreMachine) -> None:
    history.run("all")
    history.sources.remove("pool/a.jsonl")
    history.sources.write("pool/b.jsonl", rows_of("k00", "k02"))
    history.run("all")
    history.compact()
    history.sources.write(*history.sources.before[0])
    history.run("rules")
    history.compact()
    history.run("words")


def test_what_was_merged_with_a_file_that_went_does_not_come_back_with_it(history: StoreMachine) -> None:
    for name in ("b", "c"):
        history.sources.write(f"pool/{name}.jsonl", rows_of(f"k0{len(name) + 5}", "k00"))
        history.run("all")
    history.sources.remove("pool/b.jsonl")
    history.run("all")
    history.compact()
    history.sources.write(*history.sources.before[-1])
    history.run("all")


def test_another_recipe_starts_over_and_dies_while_it_clears_the_folder(history: StoreMachine) -> None:
    """The request of the first one could go before its inputs and scores, which then were the second one's."""
    killed(history.command("rules", "x"), history.store, Death(110))
    second = history.command("words", "x")
    for _ in deaths(history, second, range(8, 26, 3)):
        history.carried("words", "x", None)
        del history.runs["x"]


def test_a_run_dies_while_it_clears_what_it_decided_over_other_files(history: StoreMachine) -> None:
    """When the files were again what they had been, its half of a ledger was taken for whole."""
    command = history.command("rules", "x")
    killed(command, history.store, Death(110))
    history.sources.write("pool/b.jsonl", rows_of("k05"))
    for _ in deaths(history, command, range(8, 26, 3)):
        history.sources.remove("pool/b.jsonl")
        history.carried("rules", "x", None)
        del history.runs["x"]
        history.sources.write(*history.sources.before[-1])


def test_gc_dies_while_it_takes_columns_and_targets_away(history: StoreMachine) -> None:
    """A column's record could go before its parts, which then were taken for those of other labels; and of a target the
    shards before the records."""
    history.run("labeled")
    history.run("like")
    history.label({"k00": "good", "k02": "bad"})
    history.run("rules")
    for name in ("run-1", "run-2"):
        history.leave(name)
    for _ in deaths(history, lambda: collect(history.store, delete=True), range(2, 20, 3)):
        for recipe in ("labeled", "like"):
            history.carried(recipe, recipe, None)
            del history.runs[recipe]


def test_gc_takes_the_shards_of_a_run_that_died_before_they_counted(history: StoreMachine) -> None:
    """No record lists them, and no run would write them again."""
    history.run("all")
    history.sources.write("pool/b.jsonl", rows_of("k05"))
    for _ in deaths(history, history.command("rules", "x"), range(10, 30, 2)):
        shutil.rmtree(history.store / "runs" / "x", ignore_errors=True)
        history.gc()
