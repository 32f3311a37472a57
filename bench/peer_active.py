"""One choice by another package, for bench/active_speed.py; prints seconds, peak MB and the picks as JSON.

    python -m venv peer && peer/bin/pip install apricot-select==0.6.1 scikit-activeml==1.0.1
    peer/bin/python bench/peer_active.py facility_location|k_center|typical VECTORS.npy PICKS

Data are loaded, and compiled loops compiled on a small input, before the clock starts."""

import json
import sys
import time

import numpy as np


def peak_mb() -> float:
    """Of this process; the resource module's figure would begin with that of the process it was forked from."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1e3


def facility_location(x: np.ndarray, picks: int) -> list[int]:
    from apricot import FacilityLocationSelection

    x = x / np.linalg.norm(x, axis=1, keepdims=True)  # its similarity is max d^2 - d^2: the same choice as by cosine
    return FacilityLocationSelection(picks, metric="euclidean", optimizer="lazy").fit(x).ranking.tolist()


def k_center(x: np.ndarray, picks: int) -> list[int]:
    from skactiveml.pool import CoreSet
    from skactiveml.utils import MISSING_LABEL

    y = np.full(len(x), MISSING_LABEL)
    y[0] = 0  # it wants one label to start from
    return CoreSet(random_state=0).query(x, y, batch_size=picks).tolist()


def typical(x: np.ndarray, picks: int) -> list[int]:
    from skactiveml.pool import TypiClust
    from skactiveml.utils import MISSING_LABEL

    return TypiClust(random_state=0, k=20).query(x, np.full(len(x), MISSING_LABEL), batch_size=picks).tolist()


def main() -> None:
    what, path, picks = sys.argv[1], sys.argv[2], int(sys.argv[3])
    x = np.load(path)
    method = {"facility_location": facility_location, "k_center": k_center, "typical": typical}[what]
    method(np.random.default_rng(0).normal(size=(200, 8)), 5)
    began = time.perf_counter()
    chosen = method(x, picks)
    seconds = time.perf_counter() - began
    peak = peak_mb()
    print(json.dumps({"seconds": seconds, "peak_mb": peak, "picks": chosen}))


main()
