"""Small pictures for the report's contact sheets, inlined, so that the page opens anywhere."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

from tamis.pipeline.errors import Unusable
from tamis.pipeline.locate import image_bytes, is_image

SIDE = 128  # pixels of the longer side; 3-5 KB each as JPEG


def with_thumbnails(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows with `thumbnail`, a data URI, or None where there is no image (any more)."""
    return [{**row, "thumbnail": _thumbnail(row) if is_image(row) else None} for row in rows]


def _thumbnail(row: Mapping[str, Any]) -> str | None:
    from tamis.pipeline.images import decode

    try:
        image, _, _ = decode(image_bytes(row), scaled_to=SIDE)
    except Unusable:
        return None
    image.thumbnail((SIDE, SIDE))
    held = io.BytesIO()
    image.save(held, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(held.getvalue()).decode()
