"""The real test data: where it lies, unpacked once into the system's temporary folder."""

import os
import tarfile
import tempfile
from pathlib import Path

DATA = Path(os.environ.get("TAMIS_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def unpacked(name: str) -> Path:
    """A folder of the test data, or a tar of it as a folder."""
    if (DATA / name).is_dir():
        return DATA / name
    final = Path(tempfile.gettempdir()) / "tamis-bench" / name
    if not final.exists():
        beside = final.with_name(f".{name}")
        with tarfile.open(DATA / f"{name}.tar") as tar:
            tar.extractall(beside, filter="data")
        beside.rename(final)
    return final
