"""Columns: something computed for each sample by one maker, stored once beside the pool and reused by every run.

A column's part holds the same rows in the same order as the pool's part of that name. Its folder bears the column's
name; when that is taken by other settings, the name and a fingerprint. Columns of images are made while the pool is
read, from the same decode; one that a later recipe adds is made from the pool's uris."""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.columns.detect.detectors import FIELDS as OBJECT_FIELDS
from tamis.pipeline.columns.detect.detectors import Detector, detector_of
from tamis.pipeline.columns.embed.towers import CLASS_FIELDS, EMBEDS_WORDS, Tower, outputs, towers
from tamis.pipeline.columns.fill_images import fill_part
from tamis.pipeline.columns.fill_objects import fill_objects
from tamis.pipeline.columns.filling import Filling
from tamis.pipeline.columns.judges import Judge, judge_of, verb_of
from tamis.pipeline.columns.labels import Labels, read_labels
from tamis.pipeline.decode.quality import MEASURES
from tamis.pipeline.errors import CodeNotAllowed, RecipeError
from tamis.pipeline.files.atomic import digest_file, digest_of_input, fingerprint, read_json, write_batches, write_json
from tamis.pipeline.labels.rounds import rounds
from tamis.pipeline.read.ingest import Part, Pool
from tamis.pipeline.read.names import NOTHING, Repeated, repeated_names
from tamis.pipeline.recipe.recipe import Recipe

BATCH_ROWS = 1024  # 1-3 MB of text: small enough to reuse warm memory, large enough for a compiled loop


@dataclass(frozen=True)
class Maker:
    """One column, or one output of it: what it reads, and a function from a batch to arrays, or a model's tower."""

    name: str  # `look`, or `clip.image` where a column has several outputs
    settings: dict[str, Any]  # JSON; equal settings, equal column
    reads: tuple[str, ...]
    schema: pa.Schema | None = None  # the values, main value first; a tower's are known when its model is loaded
    make: Callable[[pa.RecordBatch], list[pa.Array]] | None = None
    tower: Tower | None = None
    judge: Judge | None = None
    detector: Detector | None = None

    @property
    def fingerprint(self) -> str:
        return fingerprint({"name": self.name, **self.settings})

    @property
    def value(self) -> str:
        """The main value's name in the column's files."""
        return self.name.rpartition(".")[2]

    @property
    def more(self) -> tuple[str, ...]:
        """Fields beside the main value, which steps call NAME_FIELD."""
        if self.detector is not None:
            return OBJECT_FIELDS
        if self.tower is not None and self.tower.kind == "classes":
            return tuple(name for name, _ in CLASS_FIELDS)
        if self.tower is not None and self.tower.embedder == "image_quality":
            return MEASURES[1:]
        if self.name == "labels" and self.schema is not None:
            return tuple(self.schema.names[1:])
        return () if self.judge is None else tuple(self.judge.schema.names[1:])

    @property
    def joins_by_name(self) -> bool:
        """Whether what it gives a sample depends on which names the pool has more than once."""
        return self.detector is not None and self.detector.kind == "file"

    @property
    def of_target(self) -> bool:
        """Whether it is made of the target's samples, too: no step asks what a target's images hold, or what the user's
        own numbers of them are."""
        return self.detector is None and (self.judge is None or self.judge.verb != "join")

    @property
    def holds_vectors(self) -> bool:
        return self.tower is not None and self.tower.kind != "classes" and self.tower.embedder != "image_quality"

    @property
    def reads_images(self) -> bool:
        return self.tower is not None and self.tower.kind == "images"


def python_maker(name: str, reference: str, folder: Path) -> Maker:
    """A user's function: record batch of the pool's fields -> array of numbers, one a row."""
    function = load_object(reference, folder)

    def make(batch: pa.RecordBatch) -> list[pa.Array]:
        values = function(batch)
        array = values if isinstance(values, pa.Array) else pa.array(values)
        if len(array) != batch.num_rows:
            raise RecipeError(f"column {name}: {reference} gave {len(array)} values for {batch.num_rows} rows")
        return [array.cast(pa.float64())]

    return Maker(
        name=name,
        settings={"maker": "python", "function": reference, "digest": digest_file(code_file(reference, folder))},
        reads=(),  # all of them
        schema=pa.schema([(name, pa.float64())]),
        make=make,
    )


LABELS_VERSION = 2


def labels_maker(path: Path) -> Maker:
    """What people have said of samples already, from the recipe's `labels`. Raises RecipeError."""
    if not path.is_file() and path.name != "labels":
        raise RecipeError(f"labels {path}: no such file; wanted a CSV of key and label, or STORE/labels")
    digest = (
        digest_of_input(path) if path.is_file() else fingerprint({p.name: digest_of_input(p) for p in rounds(path)})
    )

    def make(batch: pa.RecordBatch) -> list[pa.Array]:
        labels = _labels(path, digest)
        ids = batch["sample_id"].to_pylist()
        told = [labels.of(sample_id, key) for sample_id, key in zip(ids, batch["key"].to_pylist(), strict=True)]
        return [pa.array(told, pa.string()), pa.array([sample_id in labels.confirmed for sample_id in ids])]

    return Maker(
        name="labels",
        settings={"maker": "labels", "digest": digest, "version": LABELS_VERSION},
        reads=("key",),
        schema=pa.schema([("labels", pa.string()), ("confirmed", pa.bool_())]),
        make=make,
    )


@lru_cache(maxsize=2)
def _labels(path: Path, _digest: str) -> Labels:
    return read_labels(path)


def load_object(reference: str, folder: Path) -> Any:
    """`file.py:name` (relative to the recipe) or `package.module:name`. Runs that code: ask for --allow-code before."""
    place, _, name = reference.rpartition(":")
    try:
        if place.endswith(".py"):
            path = (folder / place).resolve()
            if not path.is_file():
                raise RecipeError(f"{reference}: no file {path}")
            module_name = f"tamis_user_{path.stem}_{digest_file(path)}"  # edited code is another module
            if module_name not in sys.modules:
                spec = importlib.util.spec_from_file_location(module_name, path)
                if spec is None or spec.loader is None:
                    raise RecipeError(f"{reference}: no file {path}")
                module = importlib.util.module_from_spec(spec)
                sys.modules[module_name] = module
                try:
                    spec.loader.exec_module(module)
                except BaseException:
                    del sys.modules[module_name]
                    raise
            return getattr(sys.modules[module_name], name)
        return getattr(importlib.import_module(place), name)
    except (ImportError, AttributeError, SyntaxError, ValueError) as error:
        raise RecipeError(f"{reference}: can't be loaded: {error}. Wanted FILE.py:NAME or MODULE:NAME.") from error


def code_file(reference: str, folder: Path) -> Path:
    """The Python file that holds what is referred to; helpers that it imports are not followed."""
    return Path(str(sys.modules[load_object(reference, folder).__module__].__file__))


def declared_makers(recipe: Recipe, folder: Path, allow_code: bool) -> list[Maker]:
    """Makers of the recipe's `columns:` and `labels:`. Raises RecipeError, CodeNotAllowed."""
    images = recipe.reads_images
    makers = [labels_maker(Path(recipe.labels))] if recipe.labels is not None else []
    for name, settings in recipe.columns.items():
        if makes_of_images(settings):
            makers += embed_makers(name, settings, folder, images)
        elif verb_of(settings):
            makers.append(judge_maker(name, settings, folder, makers))
        elif "detect" in settings:
            detector, made_of = detector_of(name, settings, folder, images)
            makers.append(Maker(name, {"maker": "detect", **made_of}, reads=(), detector=detector))
        elif set(settings) == {"python"} and isinstance(settings["python"], str):
            need_permission(settings["python"], allow_code)
            makers.append(python_maker(name, settings["python"], folder))
        else:
            raise RecipeError(
                f"columns.{name}: wanted {{embed: NAME, ...}}, {{loss: NAME, ...}}, {{classify: NAME, ...}}, "
                f"{{measure: text}}, {{measure: image}}, {{join: FILE, ...}}, {{topic: [WORD, ...], ...}}, "
                f"{{detect: NAME, ...}} or {{python: FILE.py:NAME}}, found {settings!r}"
            )
    return makers


INHERITED = ("size", "tokenizer", "max_tokens", "stride", "precision")  # of the column that a model goes on from


def judge_maker(name: str, settings: dict[str, Any], folder: Path, before: list[Maker]) -> Maker:
    """The maker of a column that a model gives texts. What it learns from is added when that is read (`bound`)."""
    judge = judge_of(name, settings, folder)
    if judge.start is not None:
        start = next((maker for maker in before if maker.name == judge.start), None)
        if start is None or start.judge is None or start.settings.get("loss") != "train":
            raise RecipeError(f"columns.{name}: from {judge.start!r}: no column of that name is trained before it")
        for field in ("size", "tokenizer"):
            if field in settings:
                raise RecipeError(f"columns.{name}: {field}: it has that of {judge.start!r}, which it goes on from")
        taken = {field: getattr(start.judge.settings, field) for field in INHERITED if field not in settings}
        judge = replace(judge, settings=replace(judge.settings, **taken))
    try:
        made_of = {"maker": judge.verb, judge.verb: judge.kind, **judge.settings.fingerprinted(folder)}
    except ValueError as error:
        raise RecipeError(f"columns.{name} ({judge.kind}): {error}") from error
    return Maker(name, made_of, judge.reads, schema=judge.schema, judge=judge)


def bound(makers: list[Maker], pool: Pool, target: str | None) -> list[Maker]:
    """The makers with what their models learn from among their settings: fingerprints of pool and target, and of the
    columns that they go on from; and with the pool's repeated names, where they join by names."""
    done: dict[str, Maker] = {}
    for maker in makers:
        if maker.joins_by_name and (names := repeated_names(pool).fingerprint):
            done[maker.name] = replace(maker, settings={**maker.settings, "repeated_names": names})
            continue
        if maker.judge is None or not maker.judge.learns:
            done[maker.name] = maker
            continue
        what: dict[str, Any] = {"pool": pool.fingerprint, "target": target}
        learned_from = {"asked": maker.fingerprint, **{name: what[name] for name in maker.judge.learns}}
        learned_from |= {
            column: by_name(list(done.values()))[column].maker.fingerprint for column in maker.judge.columns
        }
        done[maker.name] = replace(maker, settings={**maker.settings, "learned_from": learned_from})
    return list(done.values())


def check_judges(makers: list[Maker], kept: set[str], has_target: bool) -> None:
    """What such columns need of the rest of the recipe. Raises RecipeError."""
    names = [name.casefold() for name in kept] + [maker.name.partition(".")[0].casefold() for maker in makers]
    for maker in makers:
        for field in maker.more:
            if f"{maker.name}_{field}".casefold() in names:
                raise RecipeError(
                    f"columns.{maker.name}: its field {maker.name}_{field} has another's name; rename one"
                )
    known: list[Maker] = []
    for maker in makers:
        judge = maker.judge
        if judge is not None:
            if "target" in judge.learns and not has_target:
                raise RecipeError(f"columns.{maker.name}: learns from the target: add `target:` to the recipe")
            for column in judge.columns:
                if column not in by_name(known):
                    raise RecipeError(f"columns.{maker.name}: no column {column!r} before it")
            for column in getattr(judge.settings, "columns", ()):
                tower = by_name(known)[column].maker.tower
                if tower is None or tower.kind == "classes":
                    raise RecipeError(f"columns.{maker.name}: features: {column!r} holds no vectors")
                if judge.verb == "topic" and tower.embedder not in EMBEDS_WORDS:
                    told = f"{tower.embedder} embeds no words; {' and '.join(EMBEDS_WORDS)} do"
                    raise RecipeError(f"columns.{maker.name}: features: {column!r}: {told}")
        known.append(maker)


@dataclass(frozen=True)
class Field:
    """One field of a column's files."""

    maker: Maker
    field: str


def by_name(makers: list[Maker]) -> dict[str, Field]:
    """Fields by the names that steps use: `look`, `clip.image`, `nll_tokens`; `clip` alone is its first output."""
    named: dict[str, Field] = {}
    for maker in makers:
        named[maker.name] = Field(maker, maker.value)
        named.setdefault(maker.name.partition(".")[0], Field(maker, maker.value))
        named |= {f"{maker.name}_{name}": Field(maker, name) for name in maker.more}
    return named


def vectors_of(makers: list[Maker], name: str) -> Maker:
    """The maker of the column of vectors of that name. Raises RecipeError."""
    found = by_name(makers).get(name)
    if found is None or not found.maker.holds_vectors or found.field != found.maker.value:
        known = [maker.name for maker in makers if maker.holds_vectors]
        raise RecipeError(f"no column {name!r} of vectors (there are: {', '.join(known) or 'none'})")
    return found.maker


def column_names(recipe: Recipe, folder: Path) -> set[str]:
    """What steps may call the recipe's columns; runs no code and opens no file."""
    images = recipe.reads_images
    names = {*recipe.columns, *(["labels", "labels_confirmed"] if recipe.labels is not None else [])}
    for name, settings in recipe.columns.items():
        if settings.get("measure") == "image":
            names |= {f"{name}_{field}" for field in MEASURES[1:]}
        elif "embed" in settings:
            named = [tower for tower in outputs(name, settings, folder, images) if tower.output]
            names |= {f"{name}.{tower.output}" for tower in named}
            if any(tower.kind == "classes" for tower in named):
                names |= {f"{name}.class_{field}" for field, _ in CLASS_FIELDS}
        elif verb_of(settings):
            names |= {f"{name}_{field}" for field in judge_of(name, settings, folder).schema.names[1:]}
        elif "detect" in settings:
            names |= {f"{name}_{field}" for field in OBJECT_FIELDS}
    return names


def makes_of_images(settings: dict[str, Any]) -> bool:
    """Whether a column is an embedder's, or of the measures that come with the same decode."""
    return "embed" in settings or settings.get("measure") == "image"


def embed_makers(name: str, settings: dict[str, Any], folder: Path, images: bool) -> list[Maker]:
    """One maker for each output of an embedder."""
    named, made_of = towers(name, settings, folder, images)
    classes = made_of.pop("classes", None)
    return [
        Maker(
            name=f"{name}.{tower.output}" if tower.output else name,
            settings={"maker": "embed", **made_of, **({"classes": classes} if tower.kind == "classes" else {})},
            reads=tower.reads,
            tower=tower,
        )
        for tower in named
    ]


def need_permission(reference: str, allow_code: bool) -> None:
    if not allow_code:
        raise CodeNotAllowed(f"the recipe runs {reference}; read that code, then add --allow-code")


def column_folder(base: Path, maker: Maker) -> Path:
    """Where this maker's column lies, made and described if it is new."""
    column, _, output = maker.name.partition(".")
    for name in (column, f"{column}-{maker.fingerprint[:8]}"):
        folder = base / name / output
        record = folder / "column.json"
        if not record.exists():
            write_json(record, {"column": maker.name, "fingerprint": maker.fingerprint, **maker.settings})
        if read_json(record)["fingerprint"] == maker.fingerprint:
            return folder
    raise RecipeError(f"column {maker.name}: two settings with one fingerprint; rename the column")


def filling(maker: Maker, folder: Path) -> Filling:
    """What fills a tower's column."""
    assert maker.tower is not None
    return Filling(maker.tower, folder, maker.name)


def image_output(maker: Maker) -> Maker:
    """Of a column whose classes are asked for: the maker of the image vectors that they are told from."""
    settings = {name: value for name, value in maker.settings.items() if name != "classes"}
    return replace(maker, name=f"{maker.name.partition('.')[0]}.image", settings=settings)


def stands(folder: Path, part: Part) -> bool:
    """Whether a column's part is there, and of this very shard."""
    final = folder / part.name
    return final.exists() and (pq.read_schema(final).metadata or {}).get(b"pool_part") == part.digest.encode()


def make_part(maker: Maker, base: Path, part: Part, say: Callable[[str], None], repeated: Repeated = NOTHING) -> None:
    """Write one part of a column below `base`, unless it is there and of this very shard.

    `repeated` are the names that more than one sample of the pool has."""
    folder = column_folder(base, maker)
    final = folder / part.name
    if stands(folder, part):
        return
    if maker.tower is not None:
        images = column_folder(base, image_output(maker)) if maker.tower.kind == "classes" else folder
        fill_part(filling(maker, folder), part, images, say)
        return
    if maker.detector is not None:
        fill_objects(maker.detector, folder, maker.name, part, repeated, say)
        return
    assert maker.make is not None
    assert maker.schema is not None
    make = maker.make
    reads = ["sample_id", *maker.reads] if maker.reads else None
    made_of = {b"pool_part": part.digest.encode()}
    schema = pa.schema([pa.field("sample_id", pa.uint64()), *maker.schema], metadata=made_of)
    batches = pq.ParquetFile(part.path).iter_batches(batch_size=BATCH_ROWS, columns=reads, use_threads=False)
    made = (pa.record_batch([batch["sample_id"], *make(batch)], schema.names) for batch in batches)
    # no compression or statistics: hashed buckets have nothing to gain by them, and time to lose
    write_batches(final, schema, made, compression="none", write_statistics=False)
