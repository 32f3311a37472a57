"""Rounds of labels as they lie in a store, below STORE/labels: a Parquet file each, written by `tamis label import`."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tamis.pipeline.files.sealed import sound


def rounds(folder: Path) -> list[Path]:
    return sorted(folder.glob("round-*.parquet"))


def round_rows(folder: Path) -> list[list[dict[str, Any]]]:
    """The rows of each round. Raises DamageFound."""
    return [pq.read_table(sound(path)).to_pylist() for path in rounds(folder)]
