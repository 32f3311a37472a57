"""Families of near-copies in a target: texts, images, chains; and what is held out is whole ones."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tamis.pipeline.progress import hushed
from tamis.pipeline.read import families as of_families
from tamis.pipeline.read.families import Families, families
from tamis.pipeline.read.held_out import held_contents
from tamis.pipeline.read.ingest import ingest
from tamis.pipeline.read.pool import Pool
from tamis.pipeline.recipe.source import Source
from tamis.selectors.rows import contents_of, hashes_of
from tests_support import write_jsonl


def read(folder: Path, *sources: Source) -> Pool:
    with hushed():
        return ingest(folder / "target", list(sources), False, print, is_target=True)


def by_key(pool: Pool, known: Families) -> dict[str, int]:
    found: dict[str, int] = {}
    for part in pool.parts:
        for batch in pq.ParquetFile(part.path).iter_batches(columns=["key", "content_hash"]):
            found |= dict(zip(batch["key"].to_pylist(), known.of(contents_of(hashes_of(batch))).tolist(), strict=True))
    return found


def test_near_copies_of_texts_and_chains_of_them_are_one_family(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    words = [f"w{n}" for n in draw.permutation(400)]
    chain = {f"c{n}": " ".join([*words[6 * n : 6 * n + 80]]) for n in range(3)}  # neighbours share most shingles
    alone = {f"a{n}": " ".join(draw.permutation(words)[:80]) for n in range(5)}
    equal = {"e0": "two words", "e1": "two words", "s": "other words"}
    rows = [{"id": key, "text": text} for key, text in (chain | alone | equal).items()]
    pool = read(tmp_path, Source(format="jsonl", path=[str(write_jsonl(tmp_path / "t.jsonl", rows))], key="id"))
    family = by_key(pool, families(pool, 1))
    assert len({family[key] for key in chain}) == 1 and family["e0"] == family["e1"] != family["s"]
    assert len({family[key] for key in (*alone, "e0", "s", "c0")}) == 8
    assert families(pool, 0).contents.tolist() == [], "the evaluation's sources are not the target's"
    strange = np.array([7], np.uint64)
    assert families(pool, 1).of(strange).tolist() == [7] and families(pool, 0).of(strange).tolist() == [7]


def test_copies_of_an_image_are_one_family_and_a_grey_or_lost_one_stands_alone(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    folder = tmp_path / "photos"
    folder.mkdir()
    for n in range(4):
        small = draw.integers(0, 255, (6, 6, 3)).astype(np.uint8)
        image = Image.fromarray(small).resize((96, 96), Image.Resampling.BICUBIC)
        image.save(folder / f"p{n}.png")
        image.resize((80, 80)).save(folder / f"p{n}-copy.jpg", quality=70)
    Image.new("RGB", (50, 50), (90, 90, 90)).save(folder / "grey.png")
    pool = read(tmp_path, Source(format="images", path=[str(folder)]))
    (folder / "p3-copy.jpg").unlink()
    family = by_key(pool, families(pool, 1))
    assert all(family[f"p{n}"] == family[f"p{n}-copy"] for n in range(3))
    assert family["p3"] != family["p3-copy"], "it is gone"
    assert len(set(family.values())) == 6


def test_as_many_as_fit_are_compared_and_the_others_stand_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = " ".join(f"w{n}" for n in range(80))
    rows = [{"id": f"k{n}", "text": f"{text} end{n}"} for n in range(30)]
    pool = read(tmp_path, Source(format="jsonl", path=[str(write_jsonl(tmp_path / "t.jsonl", rows))], key="id"))
    assert len(set(by_key(pool, families(pool, 1)).values())) == 1
    monkeypatch.setattr(of_families, "MOST_TEXTS", 10)
    of_families._families.cache_clear()
    kept = next((tmp_path / "target" / ".families").iterdir())
    assert len(set(by_key(pool, families(pool, 1)).values())) == 1, "what stands is read"
    of_families._families.cache_clear()
    kept.write_bytes(b"damaged")
    assert len(set(by_key(pool, families(pool, 1)).values())) == 21
    of_families._families.cache_clear()


def test_what_is_held_out_is_whole_families_and_never_everything(tmp_path: Path) -> None:
    text = " ".join(f"w{n}" for n in range(80))
    draw = np.random.default_rng(2)
    rows = [{"id": f"k{n}", "text": f"{text} end{n}"} for n in range(12)]
    rows += [{"id": f"a{n}", "text": " ".join(f"v{m}" for m in draw.permutation(200)[:40])} for n in range(8)]
    pool = read(tmp_path, Source(format="jsonl", path=[str(write_jsonl(tmp_path / "t.jsonl", rows))], key="id"))
    known = families(pool, 1)
    for share, count in ((0.25, 5), (0.4, 8), (0.01, 1)):
        held = held_contents(pool, share, 1)
        assert len(held) == count
        assert len(set(known.of(held).tolist()) & set(known.of(np.setdiff1d(known.contents, held)).tolist())) == 0
    most = held_contents(pool, 0.95, 1)
    assert 12 <= len(most) < 20
    one = read(
        tmp_path / "one", Source(format="jsonl", path=[str(write_jsonl(tmp_path / "o.jsonl", rows[:12]))], key="id")
    )
    assert len(held_contents(one, 0.25, 1)) == 0, "one family is no two sides"
