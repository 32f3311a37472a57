"""The page itself, in a real browser: opened, filtered, dragged, marked; and what must not run in it does not."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tamis.pipeline.store.runs import open_complete
from tamis.pipeline.view.rows.seen import seen
from tamis.pipeline.view.serve import served
from tamis.pipeline.view.session import Session
from tests_support import OF_PHOTOS, Runner, write_jsonl

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine (Debian: apt-get install chromium)"
)
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (the extra `test`)")
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
HOSTILE = '<img src=x onerror="window.hit=1"><script>window.hit=1</script>\u202e\x07 "quotes" & </textarea>'


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield chromium
        chromium.close()


class Opened:
    """A page of a run, and what went wrong in it."""

    def __init__(self, page: Any, address: str) -> None:
        self.page, self.address, self.wrong = page, address, list[str]()
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("console", lambda told: self.wrong.append(told.text) if told.type == "error" else None)
        page.goto(address)
        page.wait_for_selector(".row .key")

    def said(self, pattern: str) -> None:
        self.until(lambda: re.search(pattern, self.page.inner_text("#said") + self.page.inner_text("#wrong")))

    def until(self, holds: Callable[[], Any]) -> None:
        """Playwright's own way to wait evaluates a text in the page, which that does not allow."""
        for _ in range(300):
            if holds():
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(self.page.inner_text("#said") + self.page.inner_text("#wrong"))

    def tried(self) -> str:
        return str(self.page.inner_text("#tried .big")).replace("\n", "")

    def counts(self) -> tuple[int, int]:
        numbers = re.findall(r"\d[\d,]*", self.page.inner_text("#counts"))
        return int(numbers[0].replace(",", "")), int(numbers[2].replace(",", ""))


@pytest.fixture
def opened(browser: Any) -> Iterator[Any]:
    with ExitStack() as stack:

        def start(*folders: Path, **how: Any) -> Opened:
            address = stack.enter_context(served(Session(seen(folders))))
            page = browser.new_page(**{"viewport": {"width": 1400, "height": 900}, **how})
            page.set_default_timeout(15_000)
            stack.callback(page.close)
            return Opened(page, address)

        yield start


def rows(folder: Path, name: str = "selection.parquet") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(folder / name).to_pylist()
    return found


def test_open_filter_open_a_sample_try_mark_export(opened: Any, run_in: Runner, workplace: Path) -> None:
    folder = run_in(workplace).folder
    run = open_complete(folder)
    view = opened(folder)
    page = view.page
    view.said(f"{run.pool.rows:,} of {run.pool.rows:,} samples, 100 of them kept")
    assert page.inner_text(".row .key >> nth=0") == rows(folder)[0]["key"]

    page.click('.value[data-word="below_cut"]')
    view.said(", 0 of them kept")
    assert view.counts()[0] == run.summary(1)["reasons"]["below_cut"]
    page.click("#list .row")
    page.wait_for_selector(".steps li.dropped")
    key = page.inner_text("#panel h3.key")
    assert "rank 101 of" in page.inner_text(".steps")
    page.click("text=Wrong drop")
    page.wait_for_selector(f'.row:has-text("{key}") .badge.marked')
    assert [one["key"] for one in json.loads((folder / "marks.json").read_text())["marks"].values()] == [key]

    page.click("#what-if")
    page.wait_for_selector("#tried .big")
    slider = page.locator("#panel input[type=range]")
    slider.focus()
    page.keyboard.press("Home")
    view.until(lambda: view.tried().startswith("0 would be selected"))
    page.fill("#panel input[type=number]", "50")
    view.until(lambda: view.tried().startswith("50 would be selected, −50"))
    assert "budget: 50" in page.inner_text("#tried pre")
    assert len(page.query_selector_all(".edge")) == 12

    page.keyboard.press("Escape")
    page.click("#marks")
    page.click("text=show only marked samples")
    view.said("^1 of")
    page.click("button:text('Table')")
    page.wait_for_selector("text=samples written to")
    assert key in (folder / "marks" / "marks.csv").read_text()
    with page.expect_download() as download:
        page.click("text=Save a copy")
    assert key in Path(download.value.path()).read_text()
    assert view.wrong == []


def test_these_ten_are_wrong_never_again(opened: Any, run_in: Runner, workplace: Path) -> None:
    folder = run_in(workplace).folder
    view = opened(folder)
    page = view.page
    first = [row["key"] for row in rows(folder)[:10]]
    page.click("#list .row input >> nth=0")
    page.click("#list .row input >> nth=9", modifiers=["Shift"])
    page.wait_for_selector("text=10 selected")
    page.click("#selected >> text=Mark as wrong")
    page.wait_for_selector("text=Marks (10)")
    page.click("#marks")
    page.click("text=Keys to forget")
    page.wait_for_selector("#panel pre")
    assert page.inner_text("#panel pre").startswith("tamis forget ")
    assert sorted((folder / "marks" / "forget.txt").read_text().splitlines()) == sorted(first)
    assert view.wrong == []


def test_words_conditions_charts_and_sorting(opened: Any, run_in: Runner, workplace: Path) -> None:
    folder = run_in(workplace, columns={"read": {"measure": "text"}}).folder
    view = opened(folder)
    page = view.page
    texts = [row["text"] for path in open_complete(folder).pool.parts for row in pq.read_table(path.path).to_pylist()]
    page.fill("#words", "grammar")
    wanted = sum("grammar" in text.lower() for text in texts)
    page.wait_for_selector('.chip:has-text("grammar")')
    assert view.counts()[0] >= wanted > 0
    page.fill("#condition", "n_bytes > 300")
    page.keyboard.press("Enter")
    page.wait_for_selector('.chip:has-text("n_bytes")')
    fewer = view.counts()[0]
    page.fill("#condition", "n_bytes >")
    page.keyboard.press("Enter")
    view.said("not an SQL expression")
    page.click(".chip:has-text('grammar')")
    page.fill("#condition", "")
    page.keyboard.press("Enter")
    view.said(f"^{len(texts):,} of")
    assert fewer < len(texts)

    page.select_option('[aria-label="Add a chart"]', "n_bytes")
    page.wait_for_selector('.chart[data-field="n_bytes"] svg rect')
    graph = page.locator('.chart[data-field="n_bytes"] svg')
    graph.scroll_into_view_if_needed()
    box = graph.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 30)
    page.mouse.down()
    for share in (0.4, 0.5, 0.6):
        page.mouse.move(box["x"] + box["width"] * share, box["y"] + 30)
    page.mouse.up()
    page.wait_for_selector('.chip:has-text("n_bytes")')
    view.until(lambda: view.counts()[0] < len(texts))
    page.wait_for_timeout(500)
    least = float(page.input_value('[aria-label="n_bytes from"]'))
    most = float(page.input_value('[aria-label="n_bytes to"]'))
    sizes = [len(text.encode()) for text in texts]
    assert view.counts()[0] == sum(least <= size <= most for size in sizes)
    page.select_option("#sort", "n_bytes")
    page.click("#direction")
    view.until(lambda: len(page.query_selector_all(".row .value")) > 5)
    page.wait_for_timeout(300)
    shown = page.evaluate(
        "[...document.querySelectorAll('.row')].map((r) => [Number(r.getAttribute('aria-posinset')), r.querySelector('.value')?.textContent])"
    )
    values = [int(value.replace(",", "")) for _, value in sorted(shown) if value]
    assert values == sorted(values, reverse=True)
    assert values[0] == max(size for size in sizes if size <= most)
    assert all("400" in told for told in view.wrong)  # of the condition that is none


def test_hostile_texts_names_and_fields_are_inert(opened: Any, run_in: Runner, tmp_path: Path) -> None:
    texts = [
        {"id": f"{HOSTILE}{n}", "text": f"{HOSTILE} {n}", "part": HOSTILE if n % 2 else "javascript:window.hit=1"}
        for n in range(20)
    ]
    write_jsonl(tmp_path / "pool.jsonl", texts)
    folder = run_in(tmp_path, target=[], steps=[{"random": {"budget": 5}}], emit=[]).folder
    view = opened(folder)
    page = view.page
    page.click("#list .row")
    page.wait_for_selector(".steps li")
    assert HOSTILE.split("\u202e", maxsplit=1)[0] in page.inner_text("#panel .whole")
    page.fill('[aria-label="Note"]', HOSTILE)
    page.keyboard.press("Tab")
    page.wait_for_selector(".badge.marked")
    page.click("#what-if")
    page.wait_for_selector("#tried .groups")
    page.click("#marks")
    page.click("button:text('Labels')")
    page.wait_for_selector("text=No sample has a label yet")
    page.click("button:text('Table')")
    page.wait_for_selector("text=samples written to")
    assert page.evaluate("window.hit") is None
    assert page.query_selector("#list img, #list script, #panel script, aside img") is None
    refused = page.evaluate(
        "(() => { try { document.body.innerHTML = '<b>x</b>'; return false; } catch { return true; } })()"
    )
    assert refused  # not even its own modules can make markup of a text
    inline = page.evaluate(
        "(() => { const s = document.createElement('script'); try { s.textContent = 'window.hit = 2'; document.head.append(s); } catch {} return window.hit; })()"
    )
    assert inline is None


def test_another_page_gets_nothing(opened: Any, browser: Any, run_in: Runner, workplace: Path) -> None:
    view = opened(run_in(workplace).folder)
    address, token = view.address.split("/#token=")
    other = browser.new_page()
    with served(Session(seen([workplace / "store" / "runs" / "run"]))) as elsewhere:
        other.goto(elsewhere)
        ask = "async ([url, headers]) => { try { return (await fetch(url, {headers})).status } catch (e) { return String(e) } }"
        for headers in ({}, {"x-tamis-token": token}):
            assert "Failed" in str(other.evaluate(ask, [f"{address}/api/about", headers]))
        framed = "(url) => new Promise((done) => { const f = document.createElement('iframe'); f.src = url; f.onload = () => { try { done(f.contentDocument?.body?.textContent ?? null) } catch { done(null) } }; document.body.append(f); setTimeout(() => done(null), 1500) })"
        assert not other.evaluate(framed, address)
    other.goto(address)
    other.wait_for_selector("#wrong:has-text('token')")
    assert other.query_selector(".row") is None
    other.close()


def test_pictures_the_map_and_keys(opened: Any, run_in: Runner, photos: Path) -> None:
    steps = [{"exact_dedup": {}}, {"random": {"budget": 40}}]
    folder = run_in(photos.parent, **{**OF_PHOTOS, "steps": steps}).folder
    view = opened(folder)
    page = view.page
    view.until(
        lambda: (
            page.evaluate("[...document.querySelectorAll('.row.grid img')].filter((i) => i.naturalWidth).length") > 8
        )
    )
    page.focus("#list")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_selector("#panel figure img")
    assert page.inner_text("#panel h3.key") == rows(folder)[1]["key"]
    page.click("text=next →")
    view.until(lambda: page.inner_text("#panel h3.key") == rows(folder)[2]["key"])
    page.keyboard.press("Escape")
    assert page.is_hidden("#panel")
    page.keyboard.press("p")
    page.wait_for_selector("#map canvas[data-ms]")
    page.select_option('[aria-label="Colour by"]', "label")
    page.wait_for_selector('#map .legend:has-text("china")')
    page.click("#map >> text=Lasso")
    box = page.locator("#map canvas").bounding_box()
    corners = [(0.02, 0.02), (0.5, 0.02), (0.5, 0.98), (0.02, 0.98)]
    page.mouse.move(box["x"] + box["width"] * corners[0][0], box["y"] + box["height"] * corners[0][1])
    page.mouse.down()
    for x, y in corners[1:]:
        page.mouse.move(box["x"] + box["width"] * x, box["y"] + box["height"] * y)
    page.mouse.up()
    page.wait_for_selector('.chip:has-text("lasso")')
    view.said("of 112 samples")
    assert 0 < view.counts()[0] < 112
    assert view.wrong == []


def test_runs_side_by_side(opened: Any, run_in: Runner, workplace: Path) -> None:
    one = run_in(workplace, "one").folder
    two = run_in(workplace, "two", steps=[{"random": {"budget": 100}}], target=[]).folder
    view = opened(one, two)
    page = view.page
    both = {row["key"] for row in rows(one)} & {row["key"] for row in rows(two)}
    page.click('.chart[data-field="runs"] .value[data-word="both"]')
    page.wait_for_selector(".chip")
    assert view.counts()[0] == len(both)
    page.click("#list .row")
    page.wait_for_selector("#panel :text('two: kept')")
    assert page.inner_text('[data-field="runs"] .values').count("only") == 2
    page.select_option("#runs", "two")
    view.said("100 of them kept by two")
    assert page.is_hidden("#panel")
    page.wait_for_selector('.chart[data-field="runs"]')
    assert view.wrong == []


def test_two_pages_look_at_two_runs_and_each_marks_its_own(
    opened: Any, browser: Any, run_in: Runner, workplace: Path
) -> None:
    one = run_in(workplace, "one").folder
    two = run_in(workplace, "two", steps=[{"random": {"budget": 60}}], target=[]).folder
    view = opened(one)
    other = Opened(browser.new_page(), view.address)
    other.page.select_option("#runs", "two")
    other.said("60 of them kept")
    view.page.focus("#list")
    view.page.keyboard.press("m")
    view.page.wait_for_selector("text=Marks (1)")
    assert (one / "marks.json").exists()
    assert not (two / "marks.json").exists()
    other.page.focus("#list")
    other.page.keyboard.press("m")
    other.page.wait_for_selector(".badge.marked")
    assert (two / "marks.json").exists()
    other.page.reload()
    other.said("60 of them kept")
    other.page.close()


def test_an_address_leads_back_to_what_was_asked(opened: Any, run_in: Runner, workplace: Path) -> None:
    view = opened(run_in(workplace).folder)
    page = view.page
    page.click('.value[data-word="below_cut"]')
    page.fill("#words", 'parser "the same"')
    page.keyboard.press("Enter")
    page.wait_for_selector('.chip:has-text("parser")')
    page.select_option("#sort", "n_bytes")
    page.wait_for_selector(".row .value")
    before = view.counts()
    page.reload()
    page.wait_for_selector('.chip:has-text("parser")')
    view.until(lambda: view.counts() == before)
    assert page.input_value("#sort") == "n_bytes"
    assert view.wrong == []


def test_keys_alone_search_open_mark_and_go_back(opened: Any, run_in: Runner, workplace: Path) -> None:
    folder = run_in(workplace).folder
    view = opened(folder)
    page = view.page
    page.keyboard.press("/")
    page.keyboard.type("the")
    page.keyboard.press("Enter")
    page.wait_for_selector(".chip")
    page.wait_for_timeout(300)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector(".steps li")
    assert page.query_selector("#panel mark") is not None
    key = page.inner_text("#panel h3.key")
    page.keyboard.press("m")
    page.wait_for_selector("#panel .badge.marked")
    assert key in (folder / "marks.json").read_text()
    page.keyboard.press("m")
    view.until(lambda: page.query_selector("#panel .badge.marked") is None)
    page.keyboard.press("w")
    page.wait_for_selector("#tried .big")
    page.click(".edge >> nth=0")
    page.wait_for_selector(".steps li")
    page.click("text=← What if")
    page.wait_for_selector("#tried .big")
    page.keyboard.press("Escape")
    assert page.is_hidden("#panel")
    assert view.wrong == []


def test_a_server_that_has_ended_is_said(opened: Any, run_in: Runner, workplace: Path, browser: Any) -> None:
    with served(Session(seen([run_in(workplace).folder]))) as address:
        view = Opened(browser.new_page(), address)
    view.page.click('.value[data-word="below_cut"]')
    view.said("has ended")
    view.page.close()


@pytest.mark.parametrize(("width", "height", "scale"), [(390, 844, 3), (720, 450, 2)])  # a phone; a screen at 200%
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_a_page_at_twice_the_size(
    width: int, height: int, scale: int, scheme: str, opened: Any, run_in: Runner, workplace: Path
) -> None:
    view = opened(
        run_in(workplace).folder,
        viewport={"width": width, "height": height},
        device_scale_factor=scale,
        color_scheme=scheme,
    )
    page = view.page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.click("#show-charts")
    page.wait_for_selector("aside .value")
    page.click('.value[data-word="below_cut"]')
    view.said(", 0 of them kept")
    page.click("#hide-charts")
    page.click("#list .row")
    page.wait_for_selector(".steps li")
    assert page.evaluate("document.querySelector('#panel').scrollWidth") <= width
    page.click("#panel .close")
    assert view.wrong == []


CONTRAST = """() => {
  const lit = (c) => { const v = c / 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4 };
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => 0.2126 * lit(r) + 0.7152 * lit(g) + 0.0722 * lit(b);
  const behind = (node) => { for (let n = node; n; n = n.parentElement) { const c = parse(getComputedStyle(n).backgroundColor); if ((c[3] ?? 1) > 0.9) return c } return parse(getComputedStyle(document.documentElement).backgroundColor) };
  const low = [];
  for (const node of document.querySelectorAll('body *')) {
    const own = [...node.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    const box = node.getBoundingClientRect();
    if (!own || !box.width || node.matches(':disabled, option, noscript') || node.closest('[hidden], svg') || box.top < 0 || node.matches('.skip')) continue;
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(behind(node))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) low.push(`${node.tagName}.${node.className} ${ratio.toFixed(2)} ${node.textContent.slice(0, 30)}`);
  }
  return low;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_the_contrast_of_aa(scheme: str, opened: Any, run_in: Runner, workplace: Path) -> None:
    view = opened(run_in(workplace).folder, color_scheme=scheme)
    page = view.page
    page.click('.value[data-word="below_cut"]')
    page.click("#list .row")
    page.wait_for_selector(".steps li")
    page.click("text=Wrong drop")
    page.wait_for_selector(".badge.marked")
    assert page.evaluate(CONTRAST) == []
    for button in ("#what-if", "#marks", "#help"):
        page.click(button)
        page.wait_for_timeout(300)
        assert page.evaluate(CONTRAST) == [], button


def test_everything_that_can_be_used_has_a_name(opened: Any, run_in: Runner, workplace: Path) -> None:
    page = opened(run_in(workplace).folder).page
    nameless = page.evaluate(
        "[...document.querySelectorAll('button, input, select, canvas, [role=listbox]')].filter((n) => !(n.getAttribute('aria-label') || n.textContent.trim() || n.closest('label'))).map((n) => n.outerHTML.slice(0, 80))"
    )
    assert nameless == []


def test_nothing_in_the_page_makes_markup_of_a_text() -> None:
    folder = Path(__file__).resolve().parents[3] / "pipeline" / "view" / "page"
    for path in folder.glob("*.js"):
        text = path.read_text()
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|setTimeout\(['\"]", text
        ), path
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", ""), path
