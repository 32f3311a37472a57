"""The screens of docs/view.md, publish.md and operating.md, of real runs over what every machine has, in Chromium.

    python docs/screens.py [FOLDER [NAME...]]    # needs the extra `test`, and apt-get install chromium

Texts are the tutorial's pool of docstrings; photos are crops of scikit-learn's two photographs, as its tests have them;
pictures with objects are made of its digits, with their boxes."""

import base64
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
import yaml
from PIL import Image
from playwright.sync_api import sync_playwright
from sklearn.datasets import load_digits, load_sample_images

OUT = Path(__file__).parent / "view"
TAMIS = [sys.executable, "-m", "tamis.pipeline.cli.app"]
COLOURS = 200  # of a stored screen
TEXTS: dict[str, Any] = {
    "pool": [{"format": "jsonl", "path": "pool.jsonl", "key": "id", "text": "text", "keep": ["package", "license"]}],
    "target": [{"format": "jsonl", "path": "target.jsonl", "text": "text"}],
    "columns": {"read": {"measure": "text"}},
    "steps": [
        {"exact_dedup": {}}, {"near_dedup": {}}, {"text_quality": {"column": "read", "apply": ["gopher"]}},
        {"importance_resampling": {"budget": 2000}},
    ],
}  # fmt: skip
CHANCE = {**TEXTS, "target": [], "steps": [*TEXTS["steps"][:-1], {"random": {"budget": 2000}}]}
PHOTOS: dict[str, Any] = {
    "pool": [{"format": "images", "path": "photos", "keep": ["label"]}],
    "columns": {"look": {"embed": "classic"}, "sharp": {"measure": "image"}},
    "steps": [{"image_quality": {"column": "sharp", "sharpness": 150}}, {"random": {"budget": 250}}],
}
OBJECTS: dict[str, Any] = {
    "pool": [{"format": "images", "path": "pages"}],
    "columns": {"digits": {"detect": "file", "path": "boxes.json", "features": {"embed": "classic"}}},
    "steps": [{"object_coverage": {"column": "digits", "budget": 20}}],
}


NIGHTS: dict[str, Any] = {
    "name": "nightly",
    "pool": [{"format": "jsonl", "path": "new/*.jsonl", "key": "id", "text": "text", "keep": ["package"]}],
    "target": [{"format": "jsonl", "path": "target.jsonl", "text": "text"}],
    "steps": [{"exact_dedup": {}}, {"near_dedup": {}}, {"importance_resampling": {"budget": 800}}],
    "emit": ["jsonl"],
    "publish": {"rows": [500, 1000], "rejects": 0.05, "overlap": 0.3, "share": {"by": "package", "within": 0.3}},
}


def make_nights(folder: Path) -> None:
    """Three nights: one that is good, one of which a part came broken and that a person approved, and one more."""
    lines = (folder / "pool.jsonl").read_text().splitlines(keepends=True)
    (folder / "new").mkdir()
    (folder / "nightly.yaml").write_text(yaml.safe_dump(NIGHTS))
    nights = {"monday": lines[0::4], "tuesday": ["<html>502</html>\n"] * 400 + lines[1::4], "wednesday": lines[2::16]}
    for number, (name, some) in enumerate(nights.items(), 1):
        (folder / "new" / f"{name}.jsonl").write_text("".join(some))
        told = ["run", "nightly.yaml", "--store", "store-nightly", "--run", f"nightly-{number:04d}", "--local"]
        subprocess.run([*TAMIS, *told], cwd=folder, check=name != "tuesday")
        if name == "tuesday":
            run = "store-nightly/runs/nightly-0002"
            tamis(folder, "approve", run, "--why", "the broken lines are rejects, the rest is good", "--by", "ann")


def make_photos(folder: Path) -> None:
    samples = load_sample_images()
    for name, photo in zip(samples.filenames, samples.images, strict=True):
        place = folder / "photos" / Path(name).stem
        place.mkdir(parents=True)
        for number in range(324):
            top, left = 14 * (number // 18), 25 * (number % 18)
            Image.fromarray(photo[top : top + 180, left : left + 200]).save(place / f"{number:03d}.jpg", quality=90)


def make_objects(folder: Path) -> None:
    """Pages of five digits each, and a file with their boxes, as COCO has it."""
    digits, chance = load_digits(), np.random.default_rng(0)
    images, boxes = [], []
    (folder / "pages").mkdir()
    for page in range(80):
        sheet = Image.new("L", (320, 240), 255)
        for n in range(5):
            one = int(chance.integers(len(digits.images)))
            side = int(chance.integers(40, 90))
            x, y = 10 + 60 * n, int(chance.integers(10, 140))
            sheet.paste(Image.fromarray((255 - digits.images[one] * 15).astype("uint8")).resize((side, side)), (x, y))
            kind = int(digits.target[one]) + 1
            boxes.append({"id": len(boxes) + 1, "image_id": page, "category_id": kind, "bbox": [x, y, side, side]})
        sheet.save(folder / "pages" / f"{page:02d}.png")
        images.append({"id": page, "file_name": f"{page:02d}.png", "width": 320, "height": 240})
    kinds = [{"id": n + 1, "name": str(n)} for n in range(10)]
    held = {"images": images, "annotations": boxes, "categories": kinds}
    (folder / "boxes.json").write_text(json.dumps(held))


def tamis(folder: Path, *words: str) -> None:
    subprocess.run([*TAMIS, *words], cwd=folder, check=True)


def prepare(folder: Path) -> None:
    """Pools and runs, where they are not there yet."""
    if (folder / "store-nightly").exists():
        return
    tamis(folder, "demo", "--folder", ".", "--engine", "local")
    make_photos(folder)
    make_objects(folder)
    runs = {"texts": TEXTS, "chance": CHANCE, "photos": PHOTOS, "objects": OBJECTS}
    for name, recipe in runs.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
        store = "store-texts" if name == "chance" else f"store-{name}"
        tamis(folder, "run", f"{name}.yaml", "--store", store, "--local")
    make_nights(folder)


@contextmanager
def looking(folder: Path, browser: Any, *runs: str, **how: Any) -> Iterator[Any]:
    """The page of some runs, once its first samples are there."""
    stores = {"chance": "texts", "nightly-0003": "nightly"}
    places = [f"store-{stores.get(run, run)}/runs/{run}" for run in runs]
    with subprocess.Popen([*TAMIS, "view", *places], cwd=folder, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        page = browser.new_page(**{"viewport": {"width": 1280, "height": 800}, **how})
        page.goto(server.stdout.readline().strip())
        page.wait_for_selector(".row .key")
        yield page
        page.close()
        server.terminate()


def shot(page: Any, name: str) -> None:
    time.sleep(0.7)  # pictures and charts settle
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
        OUT / f"{name}.png", optimize=True
    )
    print(f"{name}.png  {(OUT / f'{name}.png').stat().st_size / 1e3:.0f} KB")


def why(page: Any) -> None:
    page.click('.value[data-word="near_duplicate"]')
    page.wait_for_selector(".chip")
    page.wait_for_timeout(300)
    page.click("#list .row >> nth=1")
    page.wait_for_selector(".beside")
    page.locator(".beside").first.scroll_into_view_if_needed()


def half(page: Any) -> None:
    page.click("#what-if")
    page.wait_for_selector("#tried .big")
    page.fill("#panel input[type=number]", "1000")


def rule(page: Any) -> None:
    page.click('.value[data-word="gopher_word_count"]')
    page.select_option('[aria-label="Order of values"]', "share")
    page.wait_for_timeout(300)
    page.locator('.chart[data-field="package"]').scroll_into_view_if_needed()


def line(page: Any) -> None:
    page.click("#what-if")
    page.wait_for_selector("#tried .big")
    page.select_option("[aria-label=Setting]", label="2 text_quality: gopher_word_count, least")
    page.wait_for_timeout(500)
    page.fill("#panel input[type=number]", "20")


def wrong(page: Any) -> None:
    page.click("#list .row input >> nth=0")
    page.click("#list .row input >> nth=9", modifiers=["Shift"])
    page.wait_for_selector("text=10 selected")
    page.click("#selected >> text=Mark as wrong")
    page.wait_for_selector("text=Marks (10)")
    page.click("#marks")
    page.click("text=Keys to forget")
    page.wait_for_selector("#panel pre")


def mapped(page: Any) -> None:
    page.click("#as-map")
    page.wait_for_selector("#map canvas[data-ms]")
    page.select_option('[aria-label="Colour by"]', "reason")
    page.click("#map >> text=Lasso")
    box = page.locator("#map canvas").bounding_box()
    corners = [(0.07, 0.3), (0.27, 0.2), (0.31, 0.5), (0.2, 0.62), (0.05, 0.6)]
    places = [(box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in corners]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=8)
    page.mouse.up()


def objects(page: Any) -> None:
    page.click("#list .row >> nth=1")
    page.wait_for_selector(".steps li")


def start(page: Any) -> None:
    page.wait_for_selector(".row .text")


def both(page: Any) -> None:
    page.click('.chart[data-field="runs"] .value >> nth=1')
    page.wait_for_selector(".chip")


def nights(page: Any) -> None:
    page.click("#nights")
    page.wait_for_selector("#panel .nights li")
    page.locator("#panel details").nth(2).evaluate("one => { one.open = true; }")


def changed(page: Any) -> None:
    nights(page)
    page.click("text=what changed since nightly-0001")
    page.wait_for_selector("text=Went out")


def prefect(folder: Path, browser: Any) -> None:
    """The page of `tamis serve`, at the flow run of a night that has something new."""
    lines = (folder / "pool.jsonl").read_text().splitlines(keepends=True)
    (folder / "new" / "thursday.jsonl").write_text("".join(lines[3::16]))
    env = {**os.environ, "PREFECT_HOME": str(folder / "prefect")}
    command = [*TAMIS, "serve", "nightly.yaml", "--store", "store-nightly", "--every", "1d", "--port", "4281"]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True, env=env) as server:
        assert server.stderr
        told = next(line for line in server.stderr if line.startswith("serving"))
        word = re.search(r"gives its word, (\S+);", told)[1]
        asked = urllib.request.Request("http://127.0.0.1:4281/api/flow_runs/filter", b"{}", method="POST")
        asked.add_header("content-type", "application/json")
        asked.add_header("Authorization", f"Basic {base64.b64encode(word.encode()).decode()}")
        run = json.load(urllib.request.urlopen(asked))[0]["id"]
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.add_init_script(f"localStorage.setItem('prefect-password', btoa({json.dumps(word)}))")
        page.goto(f"http://127.0.0.1:4281/runs/flow-run/{run}?tab=Artifacts")
        page.wait_for_timeout(5000)
        page.click("text=Artifacts")
        page.wait_for_timeout(1500)
        shot(page, "prefect")
        page.close()
        server.send_signal(signal.SIGTERM)


def diff_page(folder: Path, browser: Any) -> None:
    runs = [f"store-nightly/runs/nightly-000{n}" for n in (1, 2)]
    tamis(folder, "diff", *runs, "-o", "diff.html")
    page = browser.new_page(viewport={"width": 1000, "height": 760})
    page.goto((folder / "diff.html").as_uri())
    shot(page, "diff")
    page.close()


OTHERS: dict[str, Callable[[Path, Any], None]] = {"diff": diff_page, "prefect": prefect}
SCREENS: dict[str, tuple[list[str], Callable[[Any], None], dict[str, Any]]] = {
    "why": (["texts"], why, {}),
    "half": (["texts"], half, {}),
    "rule": (["texts"], rule, {}),
    "line": (["texts"], line, {}),
    "wrong": (["photos"], wrong, {}),
    "map": (["photos"], mapped, {"color_scheme": "dark"}),
    "objects": (["objects"], objects, {}),
    "runs": (["texts", "chance"], both, {}),
    "nights": (["nightly-0003"], nights, {}),
    "changed": (["nightly-0003"], changed, {}),
    "phone": (["texts"], start, {"viewport": {"width": 390, "height": 780}}),
}


def main() -> None:
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as browsers:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary).resolve()
        folder.mkdir(exist_ok=True)
        prepare(folder)
        browser = browsers.chromium.launch(executable_path=which("chromium"), args=["--no-sandbox", "--disable-gpu"])
        asked = sys.argv[2:] or [*SCREENS, *OTHERS]
        for name in filter(asked.__contains__, OTHERS):
            OTHERS[name](folder, browser)
        for name, (runs, act, how) in SCREENS.items():
            if name not in asked:
                continue
            with looking(folder, browser, *runs, **how) as page:
                act(page)
                shot(page, name)
        browser.close()


if __name__ == "__main__":
    main()
