"""Promise: with --pool-of a recipe of today sees the pool that an earlier run saw, and nothing that came since."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from nights import Nights, chosen, texts

from tamis.pipeline.errors import RecipeError, RunError, RunTaken, SourceError
from tamis.pipeline.progress import hushed
from tamis.pipeline.starting import Outcome, run_recipe
from tamis.pipeline.store.garbage import collect
from tamis.pipeline.store.manifest import verify
from tamis.pipeline.store.old_runs import Old
from tamis.pipeline.store.runs import open_complete


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    made = Nights(tmp_path)
    made.comes("one", texts("a", 40))
    made.night()
    made.comes("two", texts("b", 40))
    made.night()
    return made


def over(nights: Nights, pool_of: str, name: str = "back", **changes: object) -> Outcome:
    with hushed():
        return run_recipe(nights.parsed(publish=None, **changes), nights.folder, nights.store, name, pool_of=pool_of)


def test_the_same_recipe_over_an_earlier_pool_chooses_the_same(nights: Nights) -> None:
    first = nights.store / "runs" / "nightly-0001"
    back = over(nights, "nightly-0001")
    assert chosen(back.folder) == chosen(first) and back.manifest["pool"]["samples"] == 40
    assert verify(open_complete(back.folder)) == [] and not over(nights, "nightly-0001").fresh
    other = over(nights, "nightly-0001", "other", steps=[{"random": {"budget": 30}}])
    assert other.selected == 30 and {key[0] for key, _ in chosen(other.folder)} == {"a"}


def test_it_stays_so_when_more_comes(nights: Nights) -> None:
    over(nights, "nightly-0001")
    nights.comes("three", texts("c", 5))
    assert not over(nights, "nightly-0001").fresh, "what comes is none of its business"
    ids = pq.read_table(nights.store / "runs" / "back" / "selection.parquet")["key"].to_pylist()
    assert {key[0] for key in ids} == {"a"}


def test_the_name_is_taken_by_another_pool(nights: Nights) -> None:
    over(nights, "nightly-0001")
    with pytest.raises(RunTaken, match="a run over the pool of nightly-0001"):
        over(nights, "nightly-0002")


def test_what_can_not_be_is_one_line(nights: Nights) -> None:
    with pytest.raises(RunError, match="no run of this store that has read its pool"):
        over(nights, "nightly-0009")
    with pytest.raises(RecipeError, match="reads another `pool`"):
        over(nights, "nightly-0001", pool=[{"format": "jsonl", "path": "pool/one.jsonl", "key": "id"}])
    nights.comes("one", texts("z", 3))
    for number in range(3):
        nights.comes(f"more{number}", texts(f"m{number}x", 4))
        nights.night()
    collect(nights.store, delete=True, old=Old(keep_runs=1))
    with pytest.raises(SourceError, match="of its shards are gone"):
        over(nights, "nightly-0001")
    assert not (nights.store / "runs" / "back").exists()
