"""XML as labeling tools write it, and no more: UTF-8, and no declarations, whose entities could be expanded."""

import xml.etree.ElementTree as ET
from pathlib import Path

MOST_BYTES = 256 << 20


def load_xml(path: Path) -> ET.Element:
    """The top element. Raises ValueError where it is anything else."""
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path.name}: more than {MOST_BYTES >> 20} MB")
    try:
        text = path.read_bytes().decode("utf-8-sig")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise ValueError("it has declarations of its own")
        return ET.fromstring(text)  # noqa: S314  entities are refused above
    except (ValueError, ET.ParseError, RecursionError) as error:
        raise ValueError(f"{path.name}: {error}") from error
