"""What the page of `tamis view` takes, by the browser's own clock, and what server and page hold.

    TAMIS_TEST_DATA=FOLDER python bench/view.py texts 1000000 [--folder DIR]
    TAMIS_TEST_DATA=FOLDER python bench/view.py photos 100000 [--folder DIR]

texts: the folder's text_pool and pieces of its texts, so many. photos: Caltech-101 and crops of it. Pool and run stay in
DIR and are not made again. Needs Chromium and the extra `test`. Prints one table: the median of ROUNDS and the worst."""

import argparse
import gzip
import io
import json
import random
import re
import statistics
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from shutil import which
from typing import Any

import yaml
from real_data import DATA

ROUNDS = 15
TAMIS = [sys.executable, "-m", "tamis.pipeline.cli.app"]
SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--enable-precise-memory-info"]
TEXTS: dict[str, Any] = {
    "pool": [{"format": "jsonl", "path": "pool/*.jsonl", "key": "id", "text": "text", "keep": ["domain", "license", "year"]}],
    "target": [{"format": "jsonl", "path": str(DATA / "text_pool" / "medical_qa.jsonl.gz"), "text": "text"}],
    "columns": {"read": {"measure": "text"}},
    "steps": [{"exact_dedup": {}}, {"text_quality": {"column": "read", "apply": ["gopher"]}}, {"importance_resampling": {"fraction": 0.4}}],
}  # fmt: skip
PHOTOS: dict[str, Any] = {
    "pool": [{"format": "images", "path": "photos", "keep": ["label"]}],
    "columns": {"seen": {"embed": "classic"}, "look": {"measure": "image"}},
    "steps": [{"exact_dedup": {}}, {"image_quality": {"column": "look", "least_side": 60}}, {"random": {"fraction": 0.3}}],
}  # fmt: skip


def make_texts(folder: Path, rows: int) -> None:
    """Whole texts first, then pieces of 20 to 120 words of them, in four files."""
    chance, texts = random.Random(0), []
    for path in sorted((DATA / "text_pool").glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            texts += [(row.get("domain"), row["text"].split(), row.get("license")) for row in map(json.loads, lines)]
    (folder / "pool").mkdir(parents=True)
    for file in range(4):
        with (folder / "pool" / f"{file}.jsonl").open("w", encoding="utf-8") as out:
            for n in range(file * rows // 4, (file + 1) * rows // 4):
                domain, words, license_ = texts[n % len(texts)]
                first = chance.randrange(max(1, len(words) - 30)) if n >= len(texts) else 0
                some = words[first : first + (chance.randrange(20, 120) if n >= len(texts) else 200)]
                row = {"id": f"d{n}", "text": " ".join(some), "domain": domain, "license": license_}
                out.write(json.dumps({**row, "year": 1990 + chance.randrange(35)}) + "\n")


def make_photos(folder: Path, rows: int) -> None:
    """The photos, then crops of them, brighter or darker."""
    with tarfile.open(DATA / "img_caltech101_112px.tar") as tar:
        files = [(one.name, tar.extractfile(one).read()) for one in tar if one.isfile() and one.name.endswith(".jpg")]  # type: ignore[union-attr]
    with ProcessPoolExecutor() as workers:
        todo = ((n // len(files), *files[n % len(files)], folder) for n in range(rows))
        list(workers.map(make_photo, todo, chunksize=200))


def make_photo(given: tuple[int, str, bytes, Path]) -> None:
    from PIL import Image, ImageEnhance

    copy, name, data, folder = given
    final = folder / "photos" / Path(name).parent.name / f"{copy:02d}-{Path(name).name}"
    final.parent.mkdir(parents=True, exist_ok=True)
    if not copy:
        final.write_bytes(data)
        return
    chance = random.Random(f"{copy} {name}")
    image = Image.open(io.BytesIO(data)).convert("RGB")
    edge = [chance.randrange(12) for _ in range(4)]
    image = image.crop((edge[0], edge[1], image.width - edge[2], image.height - edge[3]))
    ImageEnhance.Brightness(image).enhance(0.7 + 0.6 * chance.random()).save(final, quality=85)


def prepared(what: str, rows: int, folder: Path) -> Path:
    """The run's folder."""
    run = folder / "store" / "runs" / what
    if not (run / "manifest.json").exists():
        if not (folder / ("pool" if what == "texts" else "photos")).exists():
            (make_texts if what == "texts" else make_photos)(folder, rows)
        (folder / f"{what}.yaml").write_text(yaml.safe_dump(TEXTS if what == "texts" else PHOTOS))
        subprocess.run([*TAMIS, "run", f"{what}.yaml", "--store", "store", "--local"], cwd=folder, check=True)
    return run


class Browsed:
    """A page, and how long it takes until it shows what was asked for."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def until_filled(self, act: str) -> float:
        """Milliseconds from a change until every row in sight has its text, or its picture."""
        return float(self.page.evaluate(FILLED, act))

    def until_answered(self, act: str) -> float:
        return float(self.page.evaluate(ANSWERED, act))


ANSWERED = """async (act) => {
  const said = document.querySelector('#counts'); const before = said.dataset.asked ?? '0';
  const began = performance.now(); (0, window.acts[act])();
  while ((said.dataset.asked ?? '0') === before) await new Promise((r) => setTimeout(r, 1));
  return performance.now() - began;
}"""
FILLED = """async (act) => {
  const began = performance.now(); (0, window.acts[act])();
  await new Promise((r) => requestAnimationFrame(r));
  const rows = () => [...document.querySelectorAll('.row')];
  while (!rows().length || rows().some((row) => !row.querySelector('.key') || [...row.querySelectorAll('img')].some((i) => !i.complete))) await new Promise((r) => setTimeout(r, 1));
  return performance.now() - began;
}"""
ACTS = """() => {
const WORDS = ['cell', 'water', 'court', 'train', 'music', 'price', 'river', 'paper', 'light', 'night', 'green', 'story', 'horse', 'table', 'glass', 'stone'];
window.acts = {
  reason() { document.querySelectorAll('.chart[data-field="reason"] .value')[0].click() },
  sort() { const s = document.querySelector('#sort'); s.value = s.value === 'n_bytes' ? 'rank' : 'n_bytes'; s.dispatchEvent(new Event('change')) },
  down() { document.querySelector('#direction').click() },
  words() { const w = document.querySelector('#words'); w.value = WORDS[(window.at = (window.at ?? 0) + 1) % WORDS.length]; w.dispatchEvent(new Event('change')) },
  nowords() { const w = document.querySelector('#words'); w.value = ''; w.dispatchEvent(new Event('change')) },
  condition() { const w = document.querySelector('#condition'); w.value = `n_bytes > ${300 + Math.round(Math.random() * 200)}`; w.dispatchEvent(new Event('change')) },
  nocondition() { const w = document.querySelector('#condition'); w.value = ''; w.dispatchEvent(new Event('change')) },
  scroll() { const l = document.querySelector('#list'); l.scrollTop = Math.random() * (l.scrollHeight - l.clientHeight) },
  drag() { const i = document.querySelector('[aria-label="n_bytes from"]'); i.value = 100 + Math.round(Math.random() * 300); i.dispatchEvent(new Event('change')) },
  nodrag() { const i = document.querySelector('[aria-label="n_bytes from"]'); i.value = ''; i.dispatchEvent(new Event('change')) },
  whatif() { const r = document.querySelector('#panel input[type=range]'); r.value = Math.round(Math.random() * 1000); r.dispatchEvent(new Event('input')) },
} }"""
TRIED = """async () => {
  const told = document.querySelector('#tried'); const before = told.dataset.asked ?? '0';
  const began = performance.now(); window.acts.whatif();
  while ((told.dataset.asked ?? '0') === before) await new Promise((r) => setTimeout(r, 1));
  return performance.now() - began;
}"""


def measured(page: Any) -> Iterator[tuple[str, Callable[[], float]]]:
    seen = Browsed(page)

    def cleared(act: str, back: str) -> Callable[[], float]:
        def once() -> float:
            took = seen.until_answered(act)
            if back:
                seen.until_answered(back)
            return took

        return once

    yield "a filter by reason, on or off", lambda: seen.until_answered("reason")
    page.select_option('[aria-label="Add a chart"]', "n_bytes")
    page.wait_for_selector('[aria-label="n_bytes from"]')
    yield "a drag over a histogram, each step", cleared("drag", "")
    seen.until_answered("nodrag")
    yield "words, searched in every text", cleared("words", "nowords")
    yield "a condition in SQL", cleared("condition", "nocondition")
    seen.until_answered("sort")
    seen.until_answered("sort")
    yield "sort by another field", lambda: seen.until_answered("sort")
    yield "scroll to anywhere, until all is there", lambda: seen.until_filled("scroll")
    page.click("#what-if")
    page.wait_for_selector("#tried .big")
    yield "what if: a drag of the budget, each step", lambda: float(page.evaluate(TRIED))


def resident(pid: int, what: str) -> float:
    """MB that a process holds: RssAnon its own, RssFile of mapped files."""
    (held,) = re.findall(rf"{what}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(held) / 1000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["texts", "photos"])
    parser.add_argument("rows", type=int)
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    from playwright.sync_api import sync_playwright

    folder = (asked.folder or Path("build") / f"view-{asked.what}-{asked.rows}").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    run = prepared(asked.what, asked.rows, folder)
    began = time.monotonic()
    server = subprocess.Popen([*TAMIS, "view", str(run)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout
        address = server.stdout.readline().strip()
        started = time.monotonic() - began
        print(f"| {asked.rows:,} {asked.what} | median | worst |\n|---|---:|---:|")
        print(f"| start, until the page can be opened | {started:,.1f} s | |")
        with sync_playwright() as browsers:
            chromium = browsers.chromium.launch(executable_path=which("chromium"), args=SWITCHES)
            page = chromium.new_page(viewport={"width": 1400, "height": 900})
            first = []
            for _ in range(ROUNDS):
                page.goto("about:blank")
                page.goto(address)
                page.wait_for_selector(".row .key")
                first.append(
                    page.evaluate(
                        "[performance.getEntriesByType('paint').at(-1).startTime, Number(document.querySelector('#counts').dataset.at)]"
                    )
                )
            for name, place in (("first paint", 0), ("the first samples and all charts", 1)):
                shown(name, [one[place] for one in first])
            page.evaluate(ACTS)
            for name, once in measured(page):
                shown(name, [once() for _ in range(ROUNDS)])
            if page.is_visible("#as-map"):
                page.click("#as-map")
                page.wait_for_timeout(6000)
                shown("the map, drawn", [float(page.get_attribute("#map canvas", "data-ms"))])
            heap = page.evaluate("performance.memory.usedJSHeapSize") / 1e6
            for name, held in (
                ("memory of the server", resident(server.pid, "RssAnon")),
                ("and of files that it maps", resident(server.pid, "RssFile")),
                ("memory of the page's objects", heap),
            ):
                print(f"| {name} | {held:,.0f} MB | |")
            chromium.close()
    finally:
        server.terminate()


def shown(name: str, times: list[float]) -> None:
    print(f"| {name} | {statistics.median(times):,.0f} ms | {max(times):,.0f} ms |", flush=True)


if __name__ == "__main__":
    main()
