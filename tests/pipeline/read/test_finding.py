"""Which files of a path are read: patterns, suffixes, links, saved datasets, and what is told of the others."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tamis.pipeline.columns.embed.precomputed import Precomputed
from tamis.pipeline.errors import SourceError
from tamis.pipeline.files.patterns import fixed_folder, is_pattern, literally, pattern_below
from tamis.pipeline.read.ingest import ingest
from tamis.pipeline.read.pool import Pool
from tamis.pipeline.recipe.recipe import parse_recipe
from tests_support import Runner, write_jsonl


def pool_of(folder: Path, told: list[str] | None = None, **source: Any) -> Pool:
    recipe = parse_recipe({"name": "t", "pool": [source]}, folder)
    say = (lambda _: None) if told is None else told.append
    return ingest(folder / "store" / "pool", recipe.pool, strict=False, say=say)


def keys(pool: Pool) -> list[str]:
    return sorted(key for part in pool.parts for key in pq.read_table(part.path)["key"].to_pylist())


def rejected(pool: Pool) -> list[tuple[str, str]]:
    rows = pq.read_table(pool.folder / "rejects.parquet").to_pylist()
    return sorted((Path(row["source"]).name, row["reason"]) for row in rows)


def one_line(path: Path, key: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_jsonl(path, [{"id": key, "text": f"text {key}"}])


@pytest.mark.parametrize("name", ["exp[12]", "exp [v2]", "e*", "e?", "a=b", "100%", "%20", "it's", "{a,b}"])
def test_a_folders_name_is_its_name(tmp_path: Path, name: str, run_in: Runner) -> None:
    for other in ("exp1", "e1", "ee"):
        one_line(tmp_path / other / "p.jsonl", "other")
    here = tmp_path / name
    one_line(here / "p.jsonl", "mine")
    write_jsonl(here / "t.jsonl", [{"text": "text mine"}])
    source = {"format": "jsonl", "path": "*.jsonl", "key": "id"}
    pool = [{**source, "path": "p.json*"}]
    steps = [{"importance_resampling": {"budget": 1, "where": "key = 'mine'", "in_target": "mark"}}]
    target = [{"format": "jsonl", "path": "t.jsonl"}]
    run_in(tmp_path / "exp1", store="store", pool=[{**source, "path": "p.jsonl"}], target=[], steps=[])
    outcome = run_in(here, store="store", pool=pool, target=target, steps=steps, emit=["jsonl", "keys", "atlas"])
    assert (outcome.folder / "exports" / "selection.keys.txt").read_text() == "mine\n"


def test_a_store_below_a_folder_named_like_a_partition_keeps_its_own_values(run_in: Runner, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "p.jsonl", [{"id": str(n), "text": f"t {n}", "lang": "de"} for n in range(5)])
    pool = [{"format": "jsonl", "path": "p.jsonl", "key": "id", "keep": ["lang"]}]
    steps = [{"random": {"budget": 9, "where": "lang = 'de'"}}]
    for store in ("lang=fr/store", "sample_id=7/store", "plain"):
        assert run_in(tmp_path, store=store, pool=pool, target=[], steps=steps).selected == 5, store


def test_patterns_are_the_recipes_own(tmp_path: Path) -> None:
    place = tmp_path / "a[1]"
    (place / "below").mkdir(parents=True)
    pattern = pattern_below(place, "x/**/*.txt")
    assert is_pattern(pattern)
    assert fixed_folder(pattern) == str(place / "x")
    plain = pattern_below(place, "x.txt")
    assert not is_pattern(plain)
    assert literally(plain) == str(place / "x.txt")
    assert pattern_below(place / "below" / "..", "x.txt") == pattern_below(place, "below/../x.txt") == plain
    (tmp_path / "linked").symlink_to(place, target_is_directory=True)
    assert pattern_below(tmp_path / "linked", "x.txt") == plain
    assert pattern_below(tmp_path, "linked/x.txt") == str(tmp_path / "linked" / "x.txt"), "its own links keep names"


def test_one_recipe_by_two_paths_is_one(run_in: Runner, workplace: Path) -> None:
    (workplace / "below").mkdir()
    (workplace / "link").symlink_to(workplace, target_is_directory=True)
    assert run_in(workplace).fresh
    assert not run_in(workplace / "below" / "..").fresh
    assert not run_in(workplace / "link").fresh


@pytest.mark.parametrize("store", ["below/../store", "link/store", "link/below/../store"])
def test_a_store_may_be_named_through_links_and_dots(run_in: Runner, workplace: Path, store: str) -> None:
    (workplace / "below").mkdir()
    (workplace / "link").symlink_to(workplace, target_is_directory=True)
    outcome = run_in(workplace, store=store)
    assert outcome.folder == workplace / "store" / "runs" / "run"


def test_suffixes_in_capitals_are_suffixes(tmp_path: Path) -> None:
    for number, name in enumerate(("a.jsonl", "b.JSONL", "c.Jsonl.GZ")):
        one_line(tmp_path / "pool" / name.removesuffix(".GZ"), str(number))
    import gzip

    plain = tmp_path / "pool" / "c.Jsonl"
    (tmp_path / "pool" / "c.Jsonl.GZ").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    assert keys(pool_of(tmp_path, format="jsonl", path="pool", key="id")) == ["0", "1", "2"]


def test_what_is_not_read_is_told(tmp_path: Path) -> None:
    one_line(tmp_path / "pool" / "a.jsonl", "a")
    for name in ("b.parquet", "c.parquet", "README", "d.jsonl.part"):
        (tmp_path / "pool" / name).write_text("x")
    told: list[str] = []
    pool_of(tmp_path, told, format="jsonl", path="pool", key="id")
    assert told[0] == "not read beside the pool's own files: 2 .parquet, 1 README, 1 .part"


class TestLinks:
    """One rule for all formats and depths: followed inside of the root, else a reject."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        one_line(tmp_path / "pool" / "own" / "a.jsonl", "a")
        one_line(tmp_path / "elsewhere" / "deep" / "b.jsonl", "b")
        return tmp_path

    @pytest.mark.parametrize("path", ["pool", "pool/**/*.jsonl"])
    def test_a_folder_elsewhere_is_a_reject_or_followed_where_asked(self, place: Path, path: str) -> None:
        (place / "pool" / "out").symlink_to(place / "elsewhere", target_is_directory=True)
        pool = pool_of(place, format="jsonl", path=path, key="id")
        assert (keys(pool), rejected(pool)) == (["a"], [("out", "link")])
        pool = pool_of(place / "pool", format="jsonl", path=f"../{path}", key="id", follow_links=True)
        assert (keys(pool), rejected(pool)) == (["a", "b"], [])

    @pytest.mark.parametrize("path", ["pool", "pool/*/*.jsonl"])
    def test_files_are_judged_as_folders_are(self, place: Path, path: str) -> None:
        (place / "pool" / "own" / "b.jsonl").symlink_to(place / "elsewhere" / "deep" / "b.jsonl")
        (place / "pool" / "own" / "gone.jsonl").symlink_to(place / "nothing")
        pool = pool_of(place, format="jsonl", path=path, key="id")
        assert (keys(pool), rejected(pool)) == (["a"], [("b.jsonl", "link"), ("gone.jsonl", "link")])

    def test_a_circle_ends(self, place: Path) -> None:
        (place / "pool" / "own" / "up").symlink_to(place / "pool", target_is_directory=True)
        for path, store in (("pool", "one"), ("pool/**/*.jsonl", "two")):
            (place / store).mkdir()
            pool = pool_of(place / store, format="jsonl", path=f"../{path}", key="id", follow_links=True)
            assert (keys(pool), rejected(pool)) == (["a"], [("up", "link")])

    def test_inside_of_the_root_links_are_followed(self, place: Path) -> None:
        (place / "pool" / "texts").mkdir()
        (place / "pool" / "texts" / "x.txt").write_text("a text")
        (place / "pool" / "again").symlink_to(place / "pool" / "texts", target_is_directory=True)
        assert keys(pool_of(place, format="texts", path="pool")) == ["again/x", "texts/x"]

    def test_what_the_recipe_names_may_be_a_link(self, place: Path) -> None:
        (place / "named").symlink_to(place / "elsewhere", target_is_directory=True)
        assert keys(pool_of(place, format="jsonl", path="named", key="id")) == ["b"]

    def test_a_pipe_in_the_pool_waits_for_nobody(self, place: Path) -> None:
        os.mkfifo(place / "pool" / "p.jsonl")
        assert rejected(pool_of(place, format="jsonl", path="pool", key="id")) == [("p.jsonl", "not_a_file")]

    def test_a_folder_that_cannot_be_listed_is_an_error(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        real = os.scandir

        def closed(path: Any) -> Any:
            if str(path).endswith("own"):
                raise PermissionError(13, "Permission denied", path)
            return real(path)

        monkeypatch.setattr(os, "scandir", closed)
        with pytest.raises(SourceError, match=r"own: Permission denied"):
            pool_of(place, format="jsonl", path="pool", key="id")


class TestSavedDatasets:
    """As datasets.load_from_disk reads them."""

    @pytest.fixture
    def saved(self, tmp_path: Path) -> Path:
        datasets = pytest.importorskip("datasets")
        rows = [{"text": f"{split} text {n}", "label": n} for split in ("train", "test") for n in range(2)]
        features = datasets.Features(
            {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}
        )
        parts = {
            name: datasets.Dataset.from_list([row for row in rows if row["text"].startswith(name)], features=features)
            for name in ("train", "test")
        }
        datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "ds"))
        return tmp_path

    def test_only_the_files_that_it_lists(self, saved: Path) -> None:
        stale = saved / "ds" / "train" / "data-00001-of-00009.arrow"
        stale.write_bytes((saved / "ds" / "test" / "data-00000-of-00001.arrow").read_bytes())
        (saved / "ds" / "train" / "cache-1.arrow").write_bytes(stale.read_bytes())
        pool = pool_of(saved, format="hf", path="ds/train", keep=["label", "split"])
        rows = pq.read_table(pool.parts[0].path).select(["text", "label", "split"]).to_pylist()
        assert rows == [
            {"text": "train text 0", "label": "bad", "split": "train"},
            {"text": "train text 1", "label": "good", "split": "train"},
        ]

    def test_splits_are_named_or_refused(self, saved: Path) -> None:
        with pytest.raises(SourceError, match=r"several splits.*train, test.*`split: train`"):
            pool_of(saved, format="hf", path="ds")
        pool = pool_of(saved, format="hf", path="ds", split=["test", "train"], keep={"part": "split"})
        parts = pq.read_table(pool.parts[0].path)["part"].to_pylist()
        assert sorted(parts) == ["test", "test", "train", "train"]
        with pytest.raises(SourceError, match="no split 'dev'"):
            pool_of(saved / "ds", format="hf", path="../ds", split="dev")

    def test_what_it_lists_must_be_there_and_inside(self, saved: Path) -> None:
        state = saved / "ds" / "test" / "state.json"
        held = json.loads(state.read_text())
        for name, told in (("gone.arrow", "lists gone.arrow"), ("../train/data-00000-of-00001.arrow", "no file in it")):
            state.write_text(json.dumps({**held, "_data_files": [{"filename": name}]}))
            with pytest.raises(SourceError, match=told):
                pool_of(saved, format="hf", path="ds/test")


def test_folders_of_partitions_are_fields(tmp_path: Path) -> None:
    for year, lang in ((2023, "de"), (2024, "a%20b"), (2024, "__HIVE_DEFAULT_PARTITION__")):
        place = tmp_path / "pool" / f"year={year}" / f"lang={lang}"
        place.mkdir(parents=True)
        pq.write_table(pa.table({"text": [f"{year} {lang}"]}), place / "part.parquet")
    pool = pool_of(tmp_path, format="parquet", path="pool", keep=["year", "lang"])
    rows = [row for part in pool.parts for row in pq.read_table(part.path).select(["year", "lang"]).to_pylist()]
    key = lambda row: (row["year"], row["lang"] or "")  # noqa: E731
    wanted = [{"year": 2023, "lang": "de"}, {"year": 2024, "lang": None}, {"year": 2024, "lang": "a b"}]
    assert sorted(rows, key=key) == wanted
    theirs = pq.read_table(tmp_path / "pool").select(["year", "lang"])
    assert sorted(theirs.cast(pa.schema([("year", pa.int64()), ("lang", pa.string())])).to_pylist(), key=key) == wanted


def test_files_of_vectors_are_found_beside_the_recipe_alone(tmp_path: Path) -> None:
    for place in ("e[1]", "e1"):
        (tmp_path / place).mkdir()
        np.savez(tmp_path / place / "v[2].npz", key=np.array(["a"]), vector=np.eye(1, 4))
    for path in ("*.npz", "v[2].npz"):
        assert Precomputed(path=path).files(tmp_path / "e[1]") == [tmp_path / "e[1]" / "v[2].npz"]
