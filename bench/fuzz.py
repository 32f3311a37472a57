"""Generated inputs of every format, by the thousand: does each end in samples and rejects that add up, or in one line?

    python bench/fuzz.py --folder fuzz-work --inputs 10000 --format jsonl

Inputs are those of tests/generated_inputs.py: input 17 of a format is the same on every machine. Without --format all of
them. What is known stands in --folder/fuzz.jsonl, a line for 50 inputs, so a stopped run goes on where it was; the files
of an input with a fault stay there, too. Prints what became of the inputs, and each fault; --again reads those with a
fault once more."""

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from cells import add_cell, cells_in
from generated_inputs import BATCH, FORMATS
from generated_runs import Reader

Line = dict[str, Any]


def read_batch(reader: Reader, format_: str, first: int, last: int) -> Line:
    found = list(reader.findings(format_, first, last))
    rejects: Counter[str] = Counter()
    for one in found:
        rejects.update(one.rejects)
    return {
        "format": format_, "first": first, "inputs": sum(one.inputs for one in found),
        "samples": sum(one.samples for one in found), "rejects": dict(rejects),
        "refused": sum(one.refused is not None for one in found), "peak": max(one.peak for one in found),
        "faults": [one.fault for one in found if one.fault],
    }  # fmt: skip


def told(format_: str, lines: list[Line]) -> str:
    rejects: Counter[str] = Counter()
    for line in lines:
        rejects.update(line["rejects"])
    sums = {name: sum(line[name] for line in lines) for name in ("inputs", "samples", "refused")}
    why = ", ".join(f"{count:,} {reason}" for reason, count in rejects.most_common()) or "none"
    peak = max((line["peak"] for line in lines), default=0) / 1e6
    bad = sum(len(line["faults"]) for line in lines)
    return f"| {format_} | {sums['inputs']:,} | {sums['samples']:,} | {why} | {sums['refused']:,} | {peak:,.0f} | {bad:,} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--format", choices=FORMATS, action="append")
    parser.add_argument("--again", action="store_true")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    kept = asked.folder / "fuzz.jsonl"
    lines = cells_in(kept)
    known = {(line["format"], line["first"]): line for line in lines if not (asked.again and line["faults"])}
    print("| format | inputs | samples | rejects | refused | peak MB | faults |\n|---|---:|---:|---|---:|---:|---:|")
    faults: list[str] = []
    with Reader(asked.folder / "inputs") as reader:
        for format_ in asked.format or FORMATS:
            mine = []
            for first in range(0, asked.inputs, BATCH):
                if (format_, first) not in known:
                    known[format_, first] = read_batch(reader, format_, first, first + BATCH)
                    add_cell(kept, known[format_, first])
                mine.append(known[format_, first])
            print(told(format_, mine), flush=True)
            faults += [fault for line in mine for fault in line["faults"]]
    print(*faults, sep="\n\n")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
