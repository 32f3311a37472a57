"""`detect: file`: any detector's output, or boxes that people drew.

COCO (instances or results), YOLO, VOC, Parquet, or the rounds of `tamis label import`.

An image's boxes are found by its name: the path below the pool's root, with or without suffix; else by the only name
that one of the two ends with (`labels/train/1.txt` is of `images/train/1.jpg`); else by a basename that is unique in
the file and in the pool. Files are read once and held as arrays, 60 bytes an object."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from tamis.pipeline.columns.detect.boxes import SHARES, Found
from tamis.pipeline.columns.detect.objects import Detector, own_settings
from tamis.pipeline.columns.detect.rounds import round_rows, rounds
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.files.atomic import digest_of_input, fingerprint
from tamis.pipeline.files.plain_json import load_json
from tamis.pipeline.files.plain_xml import load_xml
from tamis.pipeline.files.plain_yaml import load_yaml
from tamis.pipeline.read.names import Repeated, one_ends_the_other, parts_of, stem_of
from tamis.pipeline.read.sources import IMAGE_SUFFIXES
from tamis.pipeline.read.walk import below

MOST_CLASSES = 100_000
CLASS_FILES = ("classes.txt", "data.yaml", "obj.names")
UNREADABLE = (
    OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError, pa.ArrowException,
)  # fmt: skip
DETECT_FILE_VERSION = 2  # raise when the same file would give other objects


@dataclass(frozen=True, kw_only=True)
class FileBoxes(Detector):
    """path        a .json of COCO, a .parquet, a folder of YOLO's .txt or VOC's .xml, or STORE/labels
    images      for COCO results, the instances file that lists images and categories
    classes     the only ones that are kept, for YOLO in their order (or a file of them)
    confidence  the least, one number or by class
    features    an embedder, {embed: NAME, ...}, that describes each object's crop
    unlisted    what an image without a record is, unknown, or background, without objects
    """

    kind: ClassVar[str] = "file"
    joins_by_name: ClassVar[bool] = True
    from_file: ClassVar[bool] = True
    default: ClassVar[float] = 0.0  # of classes that `confidence` doesn't name

    path: str
    images: str | None = None
    classes: list[str] | str | None = None
    confidence: float | dict[str, float] = 0.0
    features: Any = None
    unlisted: Literal["unknown", "background"] = "unknown"

    def fingerprinted(self, folder: Path) -> dict[str, Any]:
        place = folder / self.path
        if not place.exists() and place.name != "labels":
            raise RecipeError(f"detect: file: nothing at {place}")
        made_of = own_settings(self) | {"path": "folder" if place.is_dir() else "file", "version": DETECT_FILE_VERSION}
        if place.exists() and not (place.is_file() or place.is_dir()):
            raise RecipeError(f"detect: file: {place}: neither a file nor a folder")
        made_of["digest"] = digest_of_input(place) if place.is_file() else fingerprint(_digests(place))
        if place.is_dir() and (named := _class_file(place)) and not named.is_relative_to(place):
            made_of["named"] = digest_of_input(named)
        for name in ("images", "classes"):
            value = getattr(self, name)
            if isinstance(value, str):
                if not (folder / value).is_file():
                    raise RecipeError(f"detect: file: {name}: no file {folder / value}")
                made_of[name] = digest_of_input(folder / value)
        return made_of

    def classes_of(self, folder: Path) -> list[str] | None:
        """The classes that the recipe names; for YOLO, those that its folder names."""
        if isinstance(self.classes, str):
            return [name for name in read_class_names(folder / self.classes) if name]
        return self.classes

    def class_numbers(self, folder: Path) -> dict[str, int]:
        """The number in COCO of each class, where the file numbers them: COCO's own, YOLO's and one."""
        place = folder / self.path
        with suppress(RecipeError, OSError, ValueError, LookupError, TypeError, AttributeError):
            if place.is_dir():
                names = self.classes_of(folder) or read_class_names(_class_file(place) or place)
                return {name: number for number, name in enumerate(names, 1) if name}  # YOLO counts from 0, COCO from 1
            if place.suffix.lower() == ".json":
                held = load_json((folder / (self.images or self.path)).read_text(encoding="utf-8"))
                return {str(one["name"]): int(one["id"]) for one in held["categories"]}
        return {}

    def load(self, place: Path) -> "FileModel":
        return FileModel(self, place)


NO_OBJECTS = Found(np.zeros((0, 4)), [], np.zeros(0), SHARES)


class NumberedImage(Found):
    """Of COCO results alone, which know images by numbers: 12 is the image 000012."""


class FileModel:
    """All boxes of the file by image name; nothing of the image is read."""

    plan: dict[str, Any] | None = None

    def __init__(self, settings: FileBoxes, folder: Path) -> None:
        self.settings = settings
        self.names: list[str] = []  # of images, as the file has them
        self.found: list[Found] = []
        place = folder / settings.path
        for name, found in found_in(place, settings, folder):
            self.names.append(name)
            self.found.append(found)
        self.facts = {"images": len(self.names), "objects": sum(len(found.names) for found in self.found)}
        self._exact = _unique(self.names)
        self._stems = _unique([stem_of(name) for name in self.names])
        self._bases: dict[str, list[int]] = {}
        for at, name in enumerate(self.names):
            self._bases.setdefault(PurePosixPath(stem_of(name)).name, []).append(at)
        self._numbered = self.names != [] and all(isinstance(found, NumberedImage) for found in self.found)

    def of_keys(self, keys: Sequence[str], repeated: Repeated, lost: Counter[str]) -> list[Found | None]:
        """What the file says of each sample; None where it doesn't know it. `repeated`: names that more than one
        sample of the pool has."""
        return [self._of(key, repeated, lost) for key in keys]

    def _of(self, key: str, repeated: Repeated, lost: Counter[str]) -> Found | None:
        place = self._exact.get(key, self._stems.get(key))
        if place is None:
            place = self._like(key, repeated)
        elif key in repeated:
            place = -1
        if place is None:
            lost["images_not_in_file"] += 1
            return NO_OBJECTS if self.settings.unlisted == "background" else None
        if place < 0:
            lost["images_of_ambiguous_name"] += 1
            return None
        lost["images_in_file"] += 1
        return self.found[place]

    def _like(self, key: str, repeated: Repeated) -> int | None:
        """By how names end; -1 where several are meant, perhaps."""
        base = PurePosixPath(key).name
        some = self._bases.get(base.lstrip("0") if self._numbered and base.isdecimal() else base, [])
        mine = parts_of(key)
        ending = [place for place in some if one_ends_the_other(mine, parts_of(stem_of(self.names[place])))]
        if len(mine) > 1 and len(ending) == 1 and len(parts_of(stem_of(self.names[ending[0]]))) > 1:
            return -1 if key in repeated else ending[0]
        if not some:
            return None
        return some[0] if len(some) == 1 and not repeated.has_basename(base) else -1


def _unique(names: Sequence[str | None]) -> dict[str, int]:
    """Place by name; -1 where a name occurs more than once."""
    index: dict[str, int] = {}
    for place, name in enumerate(names):
        if name is not None:
            index[name] = -1 if name in index else place
    return index


def found_in(place: Path, settings: FileBoxes, folder: Path) -> Iterator[tuple[str, Found]]:
    try:
        if place.name == "labels" and (rounds(place) or not place.exists()):
            yield from _of_people(place)
        elif place.is_dir():
            numbered = settings.classes
            yield from _folder(place, read_class_names(folder / numbered) if isinstance(numbered, str) else numbered)
        elif place.suffix.lower() == ".parquet":
            yield from _parquet(place)
        elif place.suffix.lower() == ".json":
            yield from _coco(place, settings, folder)
        else:
            raise RecipeError(f"detect: file: {place}: wanted a .json (COCO), a .parquet or a folder (YOLO, VOC)")
    except RecipeError:
        raise
    except UNREADABLE as error:
        told = f"no field {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
        raise RecipeError(f"detect: file: {place}: can't be read ({told})") from error


def _folder(place: Path, classes: list[str] | None) -> Iterator[tuple[str, Found]]:
    xml = _files(place, ".xml")
    if xml:
        for path in xml:
            yield path.relative_to(place).as_posix(), _voc(path)
        return
    named = _class_file(place)
    names = classes or (read_class_names(named) if named else None)
    texts = [path for path in _files(place, ".txt") if path.name not in ("classes.txt", "notes.txt")]
    of_labels = [path for path in texts if "labels" in path.relative_to(place).parts[:-1]]
    texts = of_labels or [path for path in texts if not (path.parent == place and _lists_images(path))]
    if not texts:
        raise RecipeError(f"detect: file: {place}: neither .xml (VOC) nor .txt (YOLO) files in it")
    if names is None:
        raise RecipeError(f"detect: file: {place}: YOLO numbers its classes; add `classes: [first, second, ...]`")
    for path in texts:
        yield path.relative_to(place).as_posix(), _yolo(path, names)


def _class_file(place: Path) -> Path | None:
    """Where a folder of YOLO names its classes: in it, or beside it where it is one of labels alone."""
    for folder in (place, *([place.parent] if place.name == "labels" else [])):
        for name in CLASS_FILES:
            if (folder / name).is_file():
                return folder / name
        if len(some := sorted(folder.glob("*.yaml"))) == 1:
            return some[0]
    return None


def _lists_images(path: Path) -> bool:
    """CVAT and darknet put lists of images beside the folder of labels: train.txt."""
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline().strip().lower().endswith(IMAGE_SUFFIXES)


def _of_people(folder: Path) -> Iterator[tuple[str, Found]]:
    """What people drew, round after round: the last answer on an image counts; what is held out for measuring is not
    given."""
    drawn: dict[int, dict[str, Any]] = {}
    for rows in round_rows(folder):
        for row in rows:
            if row.get("boxes") is not None:
                drawn[row["sample_id"]] = row
    for row in drawn.values():
        if not row["held_out"]:
            boxes = np.array([one["box"] for one in row["boxes"]], np.float64).reshape(-1, 4)
            yield row["key"], Found(boxes, [one["class"] for one in row["boxes"]], np.ones(len(boxes)), SHARES)


def _files(place: Path, suffix: str) -> list[Path]:
    return [path for path in _all(place) if path.suffix.lower() == suffix]


def _digests(place: Path) -> dict[str, str]:
    some = _all(place) if place.is_dir() else []
    return {path.relative_to(place).as_posix(): digest_of_input(path) for path in some}


def _all(place: Path) -> list[Path]:
    """Files by the rule of pools: not hidden, and behind links inside of the folder. Raises RecipeError for others."""
    found = []
    for path, problem in below(place, follow=False):
        if problem and problem[0] == "link":
            raise RecipeError(f"detect: file: {path}: {problem[1].partition(';')[0]}; what lies there would go unseen")
        if problem is None:
            found.append(Path(path))
    return found


def _yolo(path: Path, names: list[str]) -> Found:
    """Lines `class x y width height [confidence]`, centre and sides as shares of the image."""
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
        if any(len(line) not in (5, 6) for line in lines):
            raise ValueError("a line has not 5 or 6 numbers")
        values = np.array([line[:5] for line in lines], np.float64).reshape(-1, 5)
        sure = np.array([float(line[5]) if len(line) > 5 else 1.0 for line in lines])
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error
    middle, half = values[:, 1:3], values[:, 3:5] / 2
    known = [(names[int(kind)] or None) if 0 <= kind < len(names) else None for kind in values[:, 0]]
    return Found(np.concatenate([middle - half, middle + half], 1), known, sure, SHARES)


def _voc(path: Path) -> Found:
    """VOC's format as today's tools write it: corners, the first pixel at 0 (VOC itself counts from 1)."""
    tree = load_xml(path)
    boxes, names = [], []
    try:
        size = [float(tree.findtext(f"size/{side}") or 0) for side in ("width", "height")]
        for item in tree.iter("object"):
            boxes.append([float(item.findtext(f"bndbox/{side}") or "nan") for side in ("xmin", "ymin", "xmax", "ymax")])
            names.append((item.findtext("name") or "").strip() or None)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error
    known = (size[0], size[1]) if min(size) > 0 else None
    return Found(np.array(boxes, np.float64).reshape(-1, 4), names, np.ones(len(boxes)), known)


def _parquet(path: Path) -> Iterator[tuple[str, Found]]:
    """A row an object: key (or file_name), x1, y1, x2, y2, class, and confidence if there is one."""
    table = pq.read_table(path)
    name = "key" if "key" in table.column_names else "file_name"
    if table[name].null_count:
        raise ValueError(f"{table[name].null_count:,} rows have no {name}")
    keys = table[name].cast(pa.string()).combine_chunks().dictionary_encode()
    corners = [table[side].cast(pa.float64()).to_numpy() for side in ("x1", "y1", "x2", "y2")]
    boxes, kinds = np.stack(corners, 1), np.array(table["class"].cast(pa.string()).to_pylist(), object)
    sure = (
        table["confidence"].cast(pa.float64()).to_numpy() if "confidence" in table.column_names else np.ones(len(table))
    )
    yield from _by_image(keys.dictionary.to_pylist(), keys.indices.to_numpy(), boxes, kinds, sure, {})


def _by_image(
    names: list[str], image: Any, boxes: Any, kinds: Any, sure: Any, sizes: dict[int, tuple[float, float]]
) -> Iterator[tuple[str, Found]]:
    order = np.argsort(image, kind="stable")
    ends = np.concatenate([[0], np.cumsum(np.bincount(image, minlength=len(names)))])
    for place, name in enumerate(names):
        mine = order[ends[place] : ends[place + 1]]
        yield name, Found(boxes[mine], kinds[mine].tolist(), sure[mine], sizes.get(place))


def _coco(path: Path, settings: FileBoxes, folder: Path) -> Iterator[tuple[str, Found]]:
    """Instances (a map with images, annotations, categories) or results (a list of boxes)."""
    held = load_json(path.read_text(encoding="utf-8-sig"))
    about, rows = held, held
    if isinstance(held, dict):
        rows = held["annotations"]
    elif settings.images:
        about = load_json((folder / settings.images).read_text(encoding="utf-8-sig"))
    else:
        about = {}
    images, categories = about.get("images"), about.get("categories", [])
    classes = {category["id"]: str(category["name"]) for category in categories}
    if not classes and not isinstance(held, dict):  # results alone: their numbers are the names
        classes = {row["category_id"]: str(row["category_id"]) for row in rows}
    names = {image["id"]: str(image["file_name"]) for image in images or []}
    for what, held_, listed in (("images", names, images or []), ("categories", classes, categories)):
        if listed and len(held_) < len(listed):
            raise ValueError(f"two of its {what} have one id")
    for row in rows if images is None else []:  # results alone: images are known by their numbers
        names.setdefault(row["image_id"], str(row["image_id"]))
    places = {one: place for place, one in enumerate(names)}
    known = [row for row in rows if row["image_id"] in places]
    if len(known) < len(rows):
        raise ValueError(f"{len(rows) - len(known):,} boxes are of images that it doesn't list")
    at = np.array([places[row["image_id"]] for row in rows], np.int64)
    if odd := next((row for row in rows if len(row["bbox"]) != 4), None):
        raise ValueError(f"a box of image {odd['image_id']} has {len(odd['bbox'])} numbers, wanted x, y, width, height")
    boxes = np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    kinds = np.array([classes.get(row["category_id"]) for row in rows], object)
    sure = np.array([float(row.get("score", 1.0)) for row in rows])
    sizes = {
        places[image["id"]]: (float(image["width"]), float(image["height"]))
        for image in images or []
        if image.get("width") and image.get("height")
    }
    for name, found in _by_image(list(names.values()), at, boxes, kinds, sure, sizes):
        yield (name, found) if images is not None else (name.lstrip("0"), NumberedImage(*found))


def read_class_names(path: Path) -> list[str]:
    """Names in their order: one a line, or `names` of a YOLO data.yaml; empty for numbers without one. Raises
    RecipeError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() not in (".yaml", ".yml"):
            return [line.strip() for line in text.rstrip().splitlines()]  # a blank line is a number without a name
        names = load_yaml(text)["names"]
        if isinstance(names, dict):
            numbered = {int(number): str(name) for number, name in names.items()}
            return [numbered.get(number, "") for number in range(min(max(numbered) + 1, MOST_CLASSES))]
        return list(map(str, names))
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError) as error:
        raise RecipeError(f"classes {path}: wanted one name a line, or `names:` in YAML ({error})") from error
