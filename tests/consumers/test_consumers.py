"""Those who read what tamis writes find in it what went in; bench/consumers.py says who and what."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".consumers" / "tools" / "bin" / "python"


@pytest.mark.thorough
@pytest.mark.skipif(not TOOLS.exists(), reason="no consumers: `make consumers` makes their environment")
def test_each_consumer_finds_what_went_in(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "bench" / "consumers.py"), "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert done.stdout.count("\n| ") == 13, "one line each, and none is left out"
