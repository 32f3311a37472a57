"""Promise: no word of a pool, a file's name or a library steers a terminal, and JSON stays the same JSON; a CSV that
people open holds no live formula, and is read again as it was."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tamis.pipeline.files.sheets import for_sheets, from_sheets
from tamis.pipeline.labels.files import read_answers
from tamis.pipeline.progress import inert, say, show, visible
from tests_support import Runner, write_jsonl

EVIL = {
    "title": "\x1b]0;PWNED\x07", "colour": "\x1b[31m", "clear": "\x1b[2J\x1b[H", "clipboard": "\x1b]52;c;cm0gLXJm\x07",
    "link": "\x1b]8;;http://evil\x07x\x1b]8;;\x07", "C1": "\x9b31m", "C1 title": "\x9d0;PWNED\x9c", "delete": "\x7f\x7f", "back": "ok\b\bno",
    "return": "fine\rgone", "override": "\u202egnp.exe", "isolate": "\u2067a\u2069", "mark": "\u200fa", "line": "a\u2028b", "null": "a\0b",
    "form feed": "a\fb", "shift": "\x0e\x0f", "half": "a\ud800b", "tag": "a\U000e0041b", "annotation": "\ufff9a",
}  # fmt: skip


@pytest.mark.parametrize("name", EVIL)
def test_what_would_steer_is_shown(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    evil = f"before {EVIL[name]} after"
    for made in (inert(evil), visible(evil)):
        assert not set(made) & {char for char in evil if not char.isprintable() and char not in " \n\t\u200d"}
        assert made.startswith("before ") and made.endswith(" after")
        made.encode()
    say(evil)
    show(evil)
    out, err = capsys.readouterr()
    assert inert(evil) in out and inert(evil) in err
    text = json.dumps({"key": evil}, ensure_ascii=False)
    assert json.loads(inert(text)) == {"key": evil}, "JSON stays the same JSON"


def test_what_people_write_is_shown_as_it_is() -> None:
    for text in (
        "plain\ttext\nwith lines",
        "Ünïcödé 交通 🙂",
        "नमस्ते क्\u200dष",
        "می\u200cخواهم",
        "👩\u200d👩\u200d👧",
        "عربي",
    ):
        assert inert(text) == text


def test_no_verb_lets_them_through(run_in: Runner, tmp_path: Path) -> None:
    evil = "\x1b]0;PWNED\x07\x1b[31m\x9b2J\u202e\nFORGED: all is well"
    rows = [{"id": f"k{n}{evil}", "text": f"text {n % 3} {evil}", "lang": evil} for n in range(9)]
    write_jsonl(tmp_path / f"pool{evil[:5]}.jsonl", [*rows, {"id": "empty" + evil, "text": ""}])
    pool = [{"format": "jsonl", "path": "pool*.jsonl", "key": "id", "keep": ["lang"]}]
    run = run_in(tmp_path, pool=pool, target=[], steps=[{"exact_dedup": {}}, {"random": {"budget": 2}}], emit=[]).folder
    tamis, store = Path(sys.executable).with_name("tamis"), str(run.parent.parent)
    (tmp_path / "r.yaml").write_text(json.dumps({"pool": pool, "steps": [{"random": {"budget": 2}}]}))
    (tmp_path / "bad.yaml").write_text(json.dumps({"pool": pool, "steps": [{"random": {"budget": f"x{evil}"}}]}))
    (tmp_path / "answers.csv").write_text(f'key,label\n"{rows[0]["id"]}","a{evil}"\n"unknown{evil}",b\n')
    verbs = [
        ["why", str(run), rows[0]["id"]], ["why", str(run), "empty" + evil], ["why", str(run), f"absent{evil}"], ["where", store, rows[1]["id"]],
        ["forget", store, rows[2]["id"], f"absent{evil}"], ["sql", str(run), "select * from pool"], ["explain", str(run)], ["gc", store],
        ["sql", str(run), "select * from pool", "--format", "json"], ["sql", str(run), "select * from rejects", "--format", "csv"],
        ["sql", str(run), f"select {evil}"], ["run", "r.yaml", "--store", "other", "--local"], ["run", "bad.yaml", "--store", "third", "--local"],
        ["plan", "r.yaml"], ["init", "mine.yaml", "--pool", f"pool{evil[:5]}.jsonl"], ["label", "import", store, "answers.csv"],
        ["label", "status", store], ["verify", str(run)], [f"verb{evil}"], ["run", f"absent{evil}.yaml", "--store", "x"],
    ]  # fmt: skip
    for verb in verbs:
        given = [os.fsencode(word.replace("\0", "")) if "\ud800" in word else word for word in verb]
        ended = subprocess.run([tamis, *given], cwd=tmp_path, capture_output=True, text=True, check=False)
        told = ended.stdout + ended.stderr
        if not verb[0].startswith("verb"):  # there the words are the person's own, who typed them
            assert not set(told) & set("\x1b\x07\x9b\u202e"), (verb, told)
            typed = verb[0] == "sql" or verb[1].startswith("absent")
            assert typed or "\nFORGED" not in told, (verb, told)
        assert "Traceback" not in told, (verb, told)


CELLS = [
    "=1+1",
    "+1",
    "-1+2",
    "@sum(1)",
    "=cmd|' /C calc'!A0",
    "  =1",
    "\t=1",
    "\r=1",
    "'=1",
    "''+x",
    "'plain",
    "plain",
    "",
    "\uff1d1",
    "\u00a0=1",
]


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_is_no_formula_and_comes_back(cell: str) -> None:
    written = for_sheets(cell)
    assert not written.lstrip().startswith(("=", "+", "-", "@", "\uff1d"))
    assert from_sheets(written) == cell
    assert for_sheets(-5) == -5 and for_sheets(None) is None, "numbers are no texts"


def test_tasks_as_csv_are_inert_and_their_answers_come_home(run_in: Runner, tmp_path: Path) -> None:
    from tamis.pipeline.emit.tasks import export_tasks
    from tamis.pipeline.labels.rounds import import_answers
    from tamis.pipeline.store.runs import open_complete

    keys = [cell + str(n) for n, cell in enumerate(CELLS) if cell.strip()]
    write_jsonl(tmp_path / "pool.jsonl", [{"id": key, "text": f"{key} as a text"} for key in keys])
    pool = [{"format": "jsonl", "path": "pool.jsonl", "key": "id"}]
    run = run_in(tmp_path, pool=pool, target=[], steps=[{"random": {"fraction": 1.0}}], emit=[]).folder
    path = export_tasks(open_complete(run), "csv", tmp_path / "tasks.csv")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert not [c for row in rows for c in row.values() if c.lstrip().startswith(("=", "+", "-", "@"))]
    out = io.StringIO()
    writer = csv.DictWriter(out, ["key", "label"])
    writer.writeheader()
    writer.writerows({"key": row["key"], "label": "yes"} for row in rows)
    (tmp_path / "answers.csv").write_text(out.getvalue(), encoding="utf-8", newline="")
    found = import_answers(
        run.parent.parent, read_answers(tmp_path / "answers.csv", None), "answers.csv", None, lambda _: None
    )
    assert found.added == len(keys)
