"""Small pictures for the report's contact sheets, inlined, so that the page opens anywhere."""

import base64
import io
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from tamis.pipeline.decode.locate import image_bytes, is_image
from tamis.pipeline.errors import Unusable

COLOURS = (
    "#e6194b",
    "#3cb44b",
    "#ffd319",
    "#4363d8",
    "#f58231",
    "#42d4f4",
    "#f032e6",
    "#bfef45",
)  # a class keeps its own
SIDE = 128  # pixels of the longer side; 3-5 KB each as JPEG


def with_thumbnails(
    rows: Sequence[Mapping[str, Any]], objects: Mapping[int, Sequence[Mapping[str, Any]]] | None = None
) -> list[dict[str, Any]]:
    """The rows with `thumbnail`, a data URI, or None where there is no image (any more); with the boxes of `objects`
    (by sample id) drawn into it."""
    drawn = objects or {}
    return [
        {**row, "thumbnail": _thumbnail(row, drawn.get(row.get("sample_id", 0), ())) if is_image(row) else None}
        for row in rows
    ]


def colour_of(name: str) -> str:
    """Of a class's boxes."""
    return COLOURS[zlib.crc32(name.encode()) % len(COLOURS)]


def _thumbnail(row: Mapping[str, Any], objects: Sequence[Mapping[str, Any]]) -> str | None:
    from PIL import ImageDraw

    from tamis.pipeline.decode.pixels import decode

    try:
        image, _, _ = decode(image_bytes(row), scaled_to=SIDE)
    except Unusable:
        return None
    image.thumbnail((SIDE, SIDE))
    scale = image.width / row["width"]
    for item in objects:
        box = [side * scale for side in item["box"]]
        ImageDraw.Draw(image).rectangle(box, outline=colour_of(item["class"]), width=2)
    held = io.BytesIO()
    image.save(held, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(held.getvalue()).decode()
