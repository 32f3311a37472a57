"""Where samples lie on a map: two directions of a column of vectors, found as the report finds them; and which lie
inside a line that is drawn round some."""

from typing import Any

import numpy as np
import numpy.typing as npt

from tamis.pipeline.emit.places import axes_of, placed
from tamis.pipeline.errors import TamisError
from tamis.pipeline.parallel import ordered_map
from tamis.pipeline.view.rows.frame import Frame, Mask
from tamis.selectors.chance import uniform

MOST_POINTS = 1_000_000  # that a page draws; of more those with the smallest hashes
Points = npt.NDArray[np.float32]


class Places:
    """Of one frame; [rows, 2], NaN where a sample has no vector."""

    def __init__(self, frame: Frame) -> None:
        self.column, self.share, self.reason = "", 0.0, ""
        self.points: Points = np.full((frame.rows, 2), np.nan, np.float32)
        run = frame.seen.run
        if run is None:
            self.reason = "a map is drawn of a run"
            return
        try:
            axes = axes_of(run, np.sort(frame.ids[~frame.dropped]))
            if axes is None:
                self.reason = "the run has no column of vectors; `embed:` in `columns` makes one"
                return
            self.column, self.share = axes.column, axes.share
            self.points = np.concatenate(list(ordered_map(lambda part: placed(run, part, axes), frame.seen.parts)))
        except TamisError as error:  # it takes code of the user's to know the columns, which is not run here
            self.reason = str(error)
        some = np.flatnonzero(np.isfinite(self.points[:, 0]))
        if len(some) > MOST_POINTS:
            some = np.sort(some[np.argsort(uniform(frame.ids[some], 0, 0, "map"), kind="stable")[:MOST_POINTS]])
        self.drawn = some.astype(np.int32)

    drawn: npt.NDArray[np.int32] = np.zeros(0, np.int32)

    def told(self) -> dict[str, Any]:
        return {"column": self.column, "share": self.share, "reason": self.reason, "points": len(self.drawn)}

    def inside(self, line: list[tuple[float, float]]) -> Mask:
        """[rows] inside a closed line, by the even-odd rule."""
        corners = np.asarray(line, np.float64)
        x, y = self.points[:, 0], self.points[:, 1]
        with np.errstate(invalid="ignore"):
            near = (x >= corners[:, 0].min()) & (x <= corners[:, 0].max())
            near &= (y >= corners[:, 1].min()) & (y <= corners[:, 1].max())
        rows = np.flatnonzero(near)
        px, py = x[rows].astype(np.float64), y[rows].astype(np.float64)
        odd = np.zeros(len(rows), bool)
        for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            if y1 != y2:
                crosses = (y1 > py) != (y2 > py)
                odd ^= crosses & (px < (x2 - x1) * (py - y1) / (y2 - y1) + x1)
        mask = np.zeros(len(x), bool)
        mask[rows[odd]] = True
        return mask
