"""Promise: a page holds the words of samples as words. Whatever keys, texts, captions, file names, groups and classes are,
it has the very elements that it has with plain ones, and its policy lets nothing load or run."""

import html
import json
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tamis.pipeline.comparing.page import write_comparison
from tamis.pipeline.comparing.selections import comparison
from tamis.pipeline.explain.probe import probe
from tamis.pipeline.store.runs import open_complete
from tests_support import Runner, write_jsonl

PAYLOADS = [
    "<script>alert(1)</script>",
    '"><script>alert(1)</script>',
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "' onmouseover='alert(1)",
    '" style="background:url(http://evil)" x="',
    "</title></style><script>alert(1)</script>",
    "<!--<script>alert(1)</script>-->",
    "<a href=javascript:alert(1)>",
    "{{ 7 * 7 }}{% raw %}</td></table><iframe src=//evil>",
]
WORDS = ("wave", "salt", "boat", "harbour", "tide", "court", "judge", "appeal", "statute", "clause")
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


class Elements(HTMLParser):
    """Elements of a page with the names of their attributes, counted; addresses that it would load; its policy."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: Counter[tuple[str, ...]] = Counter()
        self.loads: list[str] = []
        self.policy: list[str | None] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self.found[tag, *sorted(told)] += 1
        self.loads += [str(told[name]) for name in ("src", "href") if name in told]
        if told.get("http-equiv") == "Content-Security-Policy":
            self.policy.append(told.get("content"))


def plain(evil: str) -> str:
    """A word that is as long."""
    return ("law" * 40)[: len(evil.encode()) - 1] + str(PAYLOADS.index(evil))


def texts(folder: Path, run_in: Runner, words: list[str]) -> list[Path]:
    """Pages of a run, of two compared, and of a column, of a pool in which keys, texts and a kept field have these."""
    folder.mkdir()
    draw = np.random.default_rng(0)
    rows = [
        {"id": f"{n:02d} {word}", "part": word, "text": f"{word} {' '.join(draw.choice(list(WORDS), 20))}"}
        for word in words
        for n in range(8)
    ]
    copies = [{**rows[n], "id": f"copy {rows[n]['id']}"} for n in range(0, len(rows), 8)]
    write_jsonl(folder / "pool.jsonl", [*rows, *copies, *({"id": word, "text": 5} for word in words)])
    targets = [{"id": f"t {word}", "text": word} for word in words]
    write_jsonl(folder / "target.jsonl", targets)
    keys = [row["id"] for row in (*rows, *copies, *targets)]
    kinds = [words.index(row["part"]) for row in (*rows, *copies)] + [0] * len(targets)
    vectors = np.eye(16)[kinds] + draw.normal(size=(len(keys), 16)) / 5
    np.savez(folder / "vectors.npz", key=np.array(keys), vector=vectors)
    asked: dict[str, Any] = {
        "pool": [{"format": "jsonl", "path": "pool.jsonl", "key": "id", "keep": ["part"]}],
        "columns": {"v": {"embed": "precomputed", "path": "vectors.npz"}},
        "target": [{"format": "jsonl", "path": "target.jsonl", "key": "id"}],
        "emit": [],
    }
    near = [{"exact_dedup": {}}, {"importance_resampling": {"features": "v", "budget": 40}}]
    runs = [
        run_in(folder, name=f"r{n}", steps=steps, **asked).folder
        for n, steps in enumerate([near, [{"random": {"budget": 40}}]])
    ]
    write_comparison(comparison(runs, None, None, None), folder / "compare.html")
    probe(open_complete(runs[0]), "v", "part", folder / "probe.html")
    return [runs[0] / "report.html", folder / "compare.html", folder / "probe.html"]


def images(folder: Path, run_in: Runner, words: list[str]) -> list[Path]:
    """The page of a run over images whose files, captions and classes are called so."""
    photos = folder / "photos"
    photos.mkdir(parents=True)
    names = [f"{n} {word.replace('/', '|')}.png" for n, word in enumerate(words)]
    for n, (name, word) in enumerate(zip(names, words, strict=True)):
        Image.new("RGB", (40 + n, 40), (n * 20, 80, 10)).save(photos / name)
        (photos / name).with_suffix(".txt").write_text(word)
    boxes = {
        "images": [{"id": n, "file_name": name} for n, name in enumerate(names)],
        "categories": [{"id": n, "name": word} for n, word in enumerate(words)],
        "annotations": [{"image_id": n, "category_id": n, "bbox": [0, 0, 20, 20]} for n in range(len(words))],
    }
    (folder / "boxes.json").write_text(json.dumps(boxes))
    columns = {"objects": {"detect": "file", "path": "boxes.json", "features": {"embed": "classic"}}}
    steps = [{"object_coverage": {"column": "objects", "budget": 6}}]
    pool = [{"format": "images", "path": "photos"}]
    return [run_in(folder, pool=pool, target=[], emit=[], steps=steps, columns=columns).folder / "report.html"]


@pytest.mark.parametrize("of", [texts, images])
def test_a_page_has_the_elements_that_it_has_with_plain_words(of: Any, run_in: Runner, tmp_path: Path) -> None:
    pages = of(tmp_path / "evil", run_in, PAYLOADS)
    wanted = of(tmp_path / "plain", run_in, [plain(evil) for evil in PAYLOADS])
    for page, twin in zip(pages, wanted, strict=True):
        found, like = Elements(page), Elements(twin)
        assert found.found.keys() == like.found.keys(), page.name
        drawn = {kind for kind in found.found if kind[0] in ("rect", "title")}  # bars, of other samples
        assert all(found.found[kind] == like.found[kind] for kind in found.found.keys() - drawn), page.name
        assert found.policy == [POLICY]
        assert all(one.startswith(("data:image/", "#")) for one in found.loads), found.loads
        shown = sum(html.escape(evil)[:16] in page.read_text() for evil in PAYLOADS)
        assert shown >= 5, "they are on the page, as words"
