"""Pictures for the page: always drawn anew as JPEG, so that no byte of a stored image reaches the browser."""

import io
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from tamis.pipeline.decode.locate import image_bytes
from tamis.pipeline.errors import Unusable
from tamis.pipeline.machine import cores

SIDES = (96, 192, 1024)  # pixels of the longer side that may be asked for
HELD_BYTES = 64 << 20


class Pictures:
    """JPEGs of stored images; the last HELD_BYTES of them are held."""

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._bytes = 0
        self._lock, self._turn = threading.Lock(), threading.Semaphore(cores())

    def of(self, sample: Mapping[str, Any], side: int) -> bytes:
        """Raises Unusable where the image is gone or can't be decoded any more."""
        asked = (sample["sample_id"], side)
        with self._lock:
            if asked in self._held:
                self._held.move_to_end(asked)
                return self._held[asked]
        with self._turn:
            made = _drawn(sample, side)
        with self._lock:
            if asked not in self._held:
                self._held[asked] = made
                self._bytes += len(made)
            while self._bytes > HELD_BYTES:
                self._bytes -= len(self._held.popitem(last=False)[1])
        return made


def _drawn(sample: Mapping[str, Any], side: int) -> bytes:
    try:
        from tamis.pipeline.decode.pixels import decode
    except ImportError as error:
        raise Unusable("undecodable", "pictures need the extra `vision`") from error
    image, _, _ = decode(image_bytes(sample), scaled_to=side)
    image.thumbnail((side, side))
    held = io.BytesIO()
    image.save(held, "JPEG", quality=82)
    return held.getvalue()
