"""One image from bytes to what the makers need: decoded whole, turned upright, made RGB, then resized or described.

Runs in decoding workers, with Pillow, numpy and scikit-image alone. A full decode is what tells whether an image is
usable: a truncated JPEG has a size and passes every cheaper check."""

import io
import math
import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from tamis.pipeline.decode.classic import describe
from tamis.pipeline.decode.perceptual_hash import hashed
from tamis.pipeline.decode.quality import measured
from tamis.pipeline.errors import Unusable

Pixels = npt.NDArray[np.uint8]
Image.init()
FORMATS: list[str] = [  # none that runs a program, as EPS does; all that this build of Pillow has
    name
    for name in ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
    if name in Image.OPEN
]
MAX_PIXELS = 100_000_000  # 300 MB as RGB; a decompression bomb is refused by its header, before it is unpacked
LONG = 4  # sides of 1 to 4: beyond that only the middle of an image is resized
ADDRESS = re.compile(r"<\S+ object at 0x[0-9a-f]+>")
FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}  # Pillow's numbers

warnings.simplefilter("ignore")  # Pillow warns of oddities in metadata that don't matter here


DESCRIBED = {"classic": describe, "image_quality": measured, "perceptual_hash": hashed}


def decode(data: bytes, scaled_to: int | None = None) -> tuple[Image.Image, int, int]:
    """An RGB image, first frame, upright, on white where it is transparent; and its width and height in pixels.

    `scaled_to`: let the JPEG decoder shrink by 2, 4 or 8 while both sides stay at twice this many pixels: faster, and
    slightly other pixels. Raises Unusable."""
    if not data:
        raise Unusable("undecodable", "the file is empty")
    Image.MAX_IMAGE_PIXELS = None  # checked here, with an error of our own
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise Unusable("too_many_pixels", f"{width} x {height}; more than {MAX_PIXELS:,} are not unpacked")
        if scaled_to:
            image.draft("RGB", (2 * scaled_to, 2 * scaled_to))
        image.load()
        turned = _upright(image)
    except Unusable:
        raise
    except UnidentifiedImageError as error:
        raise Unusable("undecodable", "no image, or of a kind that is not read") from error
    except Exception as error:  # decoders raise whatever they like on damaged input
        told = ADDRESS.sub("", f"{type(error).__name__}: {error}")  # the same words in every run
        raise Unusable("undecodable", told) from error
    if turned is not image and _swaps_sides(image):
        width, height = height, width
    return _rgb(turned), width, height


def _upright(image: Image.Image) -> Image.Image:
    try:
        if image.getexif().get(0x0112, 1) == 1:
            return image
        return ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001  damaged EXIF: the pixels are good, as they stand
        return image


def _swaps_sides(image: Image.Image) -> bool:
    return image.getexif().get(0x0112, 1) in (5, 6, 7, 8)


def _rgb(image: Image.Image) -> Image.Image:
    """8 bits a channel: 16-bit values are divided by 257, real ones stretched; transparent pixels show white."""
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):
        values = np.asarray(image)
        values = values // 257 if values.max(initial=0) > 255 else values
        return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        reals = np.nan_to_num(np.asarray(image), posinf=0, neginf=0)
        low, span = reals.min(), reals.max() - reals.min()
        return Image.fromarray(((reals - low) * (255 / span if span else 0)).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        above = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", above.size, "white"), above).convert("RGB")
    return image.convert("RGB")


def cropped(image: Image.Image, box: Sequence[float]) -> Image.Image:
    """The part inside [x1, y1, x2, y2], whole pixels, at least one."""
    left, top = (min(max(0, math.floor(low)), side - 1) for low, side in zip(box[:2], image.size, strict=True))
    right, bottom = (min(max(1, math.ceil(high)), side) for high, side in zip(box[2:], image.size, strict=True))
    return image.crop((left, top, max(right, left + 1), max(bottom, top + 1)))


def prepared(image: Image.Image, plan: dict[str, Any]) -> npt.NDArray[Any]:
    """What a plan leaves of an RGB image: pixels for a model, or numbers that need none."""
    if plan["kind"] == "pixels":
        return resized(image, **{name: plan[name] for name in ("size", "resize", "interpolation", "fill")})
    return DESCRIBED[plan["kind"]](image, plan)


def resized(image: Image.Image, size: list[int], resize: str, interpolation: str, fill: int) -> Pixels:
    """[height, width, 3]. `shortest`: the shorter side fits, the middle is kept; `longest`: the longer side fits, the
    rest is filled; `corner`: the same, in the top left corner; `squash`: both sides fit."""
    height, width = size
    resample = Image.Resampling(FILTERS[interpolation])
    if resize == "squash":
        return np.asarray(image.resize((width, height), resample))
    if resize in ("longest", "corner"):
        scale = min(width / image.width, height / image.height)
        inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        page = Image.new("RGB", (width, height), (fill, fill, fill))
        place = (0, 0) if resize == "corner" else ((width - inner[0]) // 2, (height - inner[1]) // 2)
        page.paste(image.resize(inner, resample), place)
        return np.asarray(page)
    side = min(width, height)  # as torchvision: the shorter side becomes `side`, the other is cut to a whole number
    short = min(image.size)
    full = [side if length == short else int(side * length / short) for length in image.size]
    if full[0] < width or full[1] < height:
        return resized(image, size, "longest", interpolation, fill)
    left, top = round((full[0] - width) / 2), round((full[1] - height) / 2)
    if max(full) <= LONG * side:
        whole = image.resize((full[0], full[1]), resample)
        return np.asarray(whole.crop((left, top, left + width, top + height)))
    # a strip of 1 x 10,000 would become 500 million pixels: only its middle is computed, a little otherwise rounded
    x, y = image.width / full[0], image.height / full[1]
    box = (left * x, top * y, min((left + width) * x, image.width), min((top + height) * y, image.height))
    return np.asarray(image.resize((width, height), resample, box=box))
