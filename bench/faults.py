"""Let everything go wrong that can, and print what was promised and what was seen.

    python bench/faults.py [--kills 100] [--flips 10000] [--cases 300] [--only WORD]

Runs every test that is marked `fault`, at length: kills for each engine, flipped bits, cases of each fuzzer. Needs the
extras `test` and `ray`; mounting needs root. A test that is skipped or fails is in the table as such; exit 1 then."""

import argparse
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--flips", type=int, default=10_000)
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    sizes = {"KILLS": asked.kills, "FLIPS": asked.flips, "CASES": asked.cases}
    env = {**os.environ, **{f"TAMIS_FAULT_{name}": str(value) for name, value in sizes.items()}}
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "record.xml"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-m",
            "fault",
            "-k",
            asked.only,
            f"--junit-xml={record}",
            "-o",
            "junit_family=xunit1",
            "-p",
            "no:cacheprovider",
        ]
        ended = subprocess.run(command, cwd=ROOT, env=env, check=False, stdout=sys.stderr)
        cases = list(ET.parse(record).iter("testcase"))
    rows: dict[tuple[str, str], list[float]] = {}
    for case in cases:
        told = {one.get("name"): one.get("value", "") for one in case.iter("property")}
        seen = told.get("seen", "as promised")
        for kind in ("skipped", "failure", "error"):
            for one in case.iter(kind):
                seen = f"**{kind}**: {' '.join((one.get('message') or '').split())[:200]}"
        name = case.get("name", "")
        which = f" ({name[name.index('[') + 1 : -1]})" if "[" in name and seen != "as promised" else ""
        rows.setdefault((told.get("promise", name) + which, seen), []).append(float(case.get("time", 0)))
    print("| promised | seen | s |\n|---|---|---:|")
    for (promise, seen), seconds in rows.items():
        cases_ = f" ({len(seconds)} cases)" if len(seconds) > 1 else ""
        print(f"| {promise} | {seen}{cases_} | {sum(seconds):.0f} |")
    sys.exit(ended.returncode)


if __name__ == "__main__":
    main()
