"""Plans: what a decoding worker leaves of each image, as plain JSON. Pixels for a model, or numbers without one."""

from collections.abc import Sequence
from typing import Any

from tamis.pipeline.decode import classic, perceptual_hash, quality

PLAIN: dict[str, dict[str, Any]] = {  # of makers that need no model
    "classic": classic.PLAN,
    "image_quality": quality.PLAN,
    "perceptual_hash": perceptual_hash.PLAN,
}
PREPARE_VERSION = 1  # raise when the same bytes would give other pixels


def pixels_plan(
    size: Sequence[int], resize: str, interpolation: str, fill: int, scaled_decode: bool = False
) -> dict[str, Any]:
    """Pixels of [height, width]; `scaled_decode` lets the JPEG decoder shrink while both sides stay twice as large."""
    plan = {"kind": "pixels", "size": list(size), "resize": resize, "interpolation": interpolation, "fill": fill}
    return plan | ({"scaled_to": max(size)} if scaled_decode else {})


def shape_of(plan: dict[str, Any]) -> tuple[tuple[int, ...], str]:
    """Shape and type of what a plan leaves of each image."""
    if plan["kind"] == "pixels":
        height, width = plan["size"]
        return (height, width, 3), "uint8"
    if plan["kind"] == "image_quality":
        return (len(quality.MEASURES),), "float32"
    return ((perceptual_hash if plan["kind"] == "perceptual_hash" else classic).length(plan),), "float32"
