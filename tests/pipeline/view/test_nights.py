"""The nights of a store on the page: decisions with who and why, and what changed, in sums that add up."""

import shutil
from pathlib import Path

import pytest
from nights import Nights, texts

from tamis.pipeline.errors import QueryError
from tamis.pipeline.progress import hushed
from tamis.pipeline.publish.decide import approve
from tamis.pipeline.store.garbage import collect
from tamis.pipeline.store.old_runs import Old
from tamis.pipeline.view.rows.seen import seen
from tamis.pipeline.view.serve import served
from tamis.pipeline.view.session import Session


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    """Published, held, approved, and a third that is published by its guards."""
    made = Nights(tmp_path)
    made.comes("one", texts("a", 40))
    made.night()
    made.comes("two", texts("b", 40, "<b>b"))
    held = made.night(publish={"overlap": 0.95})
    with hushed():
        approve(held.folder, "the <b>new</b> part is meant", by="ann")
    made.comes("three", texts("c", 10))
    made.night()
    return made


def test_decisions_and_changes_of_a_store(nights: Nights) -> None:
    on = Session(seen([nights.store / "runs" / "nightly-0002"]))
    told = on.nights()
    assert [(one["run"][-1], one["verdict"], one["by"]) for one in told["decisions"]][:2] == [
        ("3", "published", "guards"),
        ("2", "published", "ann"),
    ]
    assert told["current"] == {"current": "nightly-0003"} and "tamis approve " in told["approve"]
    found = on.changed("nightly-0001", "nightly-0002")
    sums = {side: sum(one["samples"] for one in rows) for side, rows in found["sides"].items()}
    assert found["rows_before"] - sums["out"] + sums["in"] == found["rows_after"]
    assert all(one["keys"] for rows in found["sides"].values() for one in rows)
    with pytest.raises(QueryError, match="no run 'nope'"):
        on.changed("nope", "nightly-0002")
    with pytest.raises(QueryError, match=r"no run '\.\./\.\.'"):
        on.changed("nightly-0001", "../..")


def test_thinned_runs_are_told_of_and_not_offered(nights: Nights) -> None:
    with hushed():
        collect(nights.store, delete=True, old=Old(keep_runs=1))
    on = Session(seen([nights.store]))
    assert on.about()["runs"] == ["nightly-0002", "nightly-0003"]
    assert on.changed("nightly-0001", "nightly-0003")["rows_before"] == 20


@pytest.mark.skipif(
    not (shutil.which("chromium") or shutil.which("google-chrome")), reason="no Chromium on this machine"
)
def test_the_page_shows_them_and_runs_nothing_of_them(nights: Nights) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (the extra `test`)")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with playwright.sync_playwright() as started, served(Session(seen([nights.store]))) as address:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda told: wrong.append(told.text) if told.type == "error" else None)
        page.goto(address)
        page.wait_for_selector(".row .key")
        page.click("#nights")
        page.wait_for_selector("#panel .nights li")
        told = page.inner_text("#panel")
        assert "current.json names nightly-0003." in told and "by ann: the <b>new</b> part is meant" in told
        assert "does not hold" in page.inner_html("#panel")
        page.click("text=what changed since nightly-0002")
        page.wait_for_selector("text=nightly-0002 → nightly-0003")
        assert "Went out" in page.inner_text("#panel") and "<b>b" in page.inner_text("#panel")
        assert wrong == []
        browser.close()
