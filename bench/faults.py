"""Let everything go wrong that can, and print what was promised and what was seen.

    python bench/faults.py --folder F [--kills 250] [--flips 10000] [--cases 300] [--only WORD]

Runs every test that is marked `fault`, at length: kills for each engine, flipped bits, cases of each fuzzer; those in
cells with a seed each. A cell that ended stands in F/cells.jsonl and is not run again, so the command goes on where it
was stopped; what failed is run again. Needs the extras `test` and `ray`; mounting needs root. A test that is skipped or
fails is in the table as such; exit 1 then."""

import argparse
import json
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from cells import add_cell, cells_in

ROOT = Path(__file__).resolve().parent.parent
CELL = {"KILLS": 50, "FLIPS": 1000}
LONG = {"test_killed_at_random_moments": "KILLS", "test_flipped_bits_are_found_or_harmless": "FLIPS"}


class Cell(NamedTuple):
    """A test, or a share of a long one: which of them, and how many."""

    node: str
    number: int = 0
    size: int = 0

    @property
    def name(self) -> str:
        return self.node.partition("::")[2].partition("[")[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=250, help="for each engine")
    parser.add_argument("--flips", type=int, default=10_000)
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--only", default="", help="a word of the tests' names")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    record = asked.folder / "cells.jsonl"
    done = {Cell(*told.pop("cell")): told for told in cells_in(record)}
    cells = list(cells_of(tests(asked.only), {"KILLS": asked.kills, "FLIPS": asked.flips}))
    for number, cell in enumerate(cells, 1):
        if not done.get(cell, {"fault": True})["fault"]:
            continue
        print(f"{number} of {len(cells)}: {cell.node} {cell.number or ''}", file=sys.stderr)
        done[cell] = ran(cell, asked.cases, asked.folder / "record.xml")
        add_cell(record, {"cell": cell, **done[cell]})
    told = [(cell, done[cell]) for cell in cells]
    print(*table(told), sep="\n")
    sys.exit(any(one["fault"] for _, one in told))


def tests(word: str) -> list[str]:
    plain = ["--collect-only", "-o", "addopts=--import-mode=importlib -q", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "-m", "fault", "-k", word, *plain]
    told = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [line for line in told.splitlines() if "::" in line]


def cells_of(nodes: list[str], sizes: dict[str, int]) -> Any:
    for node in nodes:
        of = LONG.get(Cell(node).name)
        most, left = CELL.get(of or "", 0), sizes.get(of or "", 0)
        if of is None:
            yield Cell(node)
        for number in range(-(-left // most) if most else 0):
            yield Cell(node, number + 1, min(most, left - number * most))


def ran(cell: Cell, cases: int, record: Path) -> dict[str, Any]:
    """One cell, in a process of its own."""
    env = {**os.environ, "TAMIS_FAULT_CASES": str(cases)}
    if of := LONG.get(cell.name):
        env |= {f"TAMIS_FAULT_{of}": str(cell.size), "TAMIS_FAULT_SEED": str(cell.number)}
    command = [sys.executable, "-m", "pytest", cell.node, f"--junit-xml={record}", "-o", "junit_family=xunit1"]
    began = time.monotonic()
    record.unlink(missing_ok=True)  # the last cell's
    ended = subprocess.run([*command, "-p", "no:cacheprovider"], cwd=ROOT, env=env, check=False, stdout=sys.stderr)
    if not record.exists():
        sys.exit(
            f"{cell.node}: pytest ended with {ended.returncode} and told nothing; the same command goes on from here"
        )
    case = next(ET.parse(record).iter("testcase"))
    told = {one.get("name"): one.get("value", "") for one in case.iter("property")}
    bad = [f"{kind}: {one.get('message') or ''}" for kind in ("skipped", "failure", "error") for one in case.iter(kind)]
    return {
        "promise": told.get("promise", cell.name),
        "seen": told.get("seen", "as promised"),
        "counts": json.loads(told.get("counts", "{}")),
        "fault": " ".join(" ".join(bad).split())[:200],
        "seconds": round(time.monotonic() - began, 1),
    }


def table(told: list[tuple[Cell, dict[str, Any]]]) -> Any:
    """A row for each promise, and for each case of it that saw something of its own."""
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for cell, one in told:
        which = (
            f" ({cell.node.partition('[')[2][:-1]})" if "[" in cell.node and (own_words(one) or one["fault"]) else ""
        )
        rows.setdefault((one["promise"] + which, one["fault"] and f"**{one['fault']}**"), []).append(one)
    yield "| promised | seen | s |\n|---|---|---:|"
    for (promise, fault), some in rows.items():
        counts = sum((Counter(one["counts"]) for one in some), Counter[str]())
        seen = fault or ", ".join(f"{number:,} {what}" for what, number in counts.items()) or some[0]["seen"]
        cases = f" ({len(some)} cases)" if len(some) > 1 and not counts else ""
        yield f"| {promise} | {seen}{cases} | {sum(one['seconds'] for one in some):.0f} |"


def own_words(one: dict[str, Any]) -> bool:
    return bool(one["counts"]) or one["seen"] != "as promised"


if __name__ == "__main__":
    main()
