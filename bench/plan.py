"""What `tamis plan` says of a run's time where no run has been, against how long the run takes.

    TAMIS_TEST_DATA=FOLDER python bench/plan.py

Ten recipes over the folder's text_pool, each in a store of its own. Prints one table; a machine that does something
else besides gives other figures."""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from real_data import DATA

POOL = {
    "format": "jsonl", "path": str(DATA / "text_pool" / "*.jsonl.gz"), "key": "id", "text": "text",
    "keep": ["domain", "license"],
}  # fmt: skip
KIND = {"format": "jsonl", "path": str(DATA / "text_pool" / "medical_qa.jsonl.gz"), "text": "text"}
RECIPES: dict[str, dict[str, Any]] = {
    "exact_dedup, random": {"steps": [{"exact_dedup": {}}, {"random": {"budget": 5000}}]},
    "near_dedup": {"steps": [{"near_dedup": {}}], "emit": ["jsonl"]},
    "text_quality": {
        "columns": {"read": {"measure": "text"}},
        "steps": [{"text_quality": {"column": "read", "apply": ["gopher", "gopher_repetition"]}}],
    },
    "decontaminate": {"evaluation": [KIND], "steps": [{"decontaminate": {}}]},
    "importance_resampling": {"target": [KIND], "steps": [{"importance_resampling": {"budget": 5000}}]},
    "the published form": {
        "target": [KIND], "steps": [{"importance_resampling": {"budget": 5000, "form": "published"}}],
    },
    "classify: linear": {
        "target": [KIND], "columns": {"taste": {"classify": "linear"}},
        "steps": [{"threshold": {"column": "taste", "above": 0.5}}],
    },
    "quota": {"steps": [{"quota": {"by": "domain", "shares": {"law_dc": 1, "medical_qa": 1}, "budget": 4000}}]},
    "sql": {"steps": [{"sql": {"where": "n_bytes > 500 and domain <> 'law_dc'"}}]},
    "chunks of 128 words": {
        "pool": [{**POOL, "chunk": {"words": 128}}], "steps": [{"exact_dedup": {}}, {"random": {"fraction": 0.1}}],
    },
}  # fmt: skip


def tamis(folder: Path, *words: str) -> str:
    command = [sys.executable, "-m", "tamis.pipeline.cli.app", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def main() -> None:
    print("| recipe | said, s | took, s | ratio | plan took, s |\n|---|---:|---:|---:|---:|")
    for name, recipe in RECIPES.items():
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            (folder / "r.yaml").write_text(yaml.safe_dump({"pool": [POOL], **recipe}))
            began = time.monotonic()
            said = re.search(r"^time +about ([\d,]+) s", tamis(folder, "plan", "r.yaml"), re.MULTILINE)
            planned = time.monotonic()
            tamis(folder, "run", "r.yaml", "--store", "store", "--local")
            took = time.monotonic() - planned
        about = said and float(said[1].replace(",", ""))
        ratio = f"{about / took:.2f}" if about else ""
        print(
            f"| {name} | {said[1] if said else 'unknown'} | {took:.1f} | {ratio} | {planned - began:.1f} |", flush=True
        )


if __name__ == "__main__":
    main()
