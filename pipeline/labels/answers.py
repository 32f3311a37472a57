"""What a person said of one sample, as a labeling tool's file has it."""

from typing import NamedTuple

Corners = tuple[float, ...]  # x1, y1, x2, y2


class Boxes(NamedTuple):
    """What someone drew on an image; none at all is an answer, too."""

    corners: tuple[Corners, ...]  # xyxy in pixels of `size`
    names: tuple[str, ...]
    size: tuple[float, float] | None  # (width, height); (1, 1): shares; None: the image's own pixels

    @property
    def label(self) -> str:
        """Their one class; empty where there are several, or none."""
        return self.names[0] if len(set(self.names)) == 1 else ""


class Answer(NamedTuple):
    """One answer. A label that is empty: labeled, and not by one class."""

    key: str  # the sample's key, its id in 16 hex digits, or the address of its image
    label: str
    annotator: str | None = None
    labeled_at: str | None = None  # ISO 8601, as the tool said it
    cost: float | None = None  # in the unit that the team counts in; of Label Studio's lead time minutes
    boxes: Boxes | None = None  # None: nothing was drawn, nor said to be nothing
    unclear: str = ""  # why it has no one class, or is no answer at all
    left_out: bool = False  # it is listed as `unclear` says, and taken for no answer
