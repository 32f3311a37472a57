"""Inputs of every format, by number: sound files that are then damaged, and odd values in sound files.

Input 17 of a format is the same bytes on every machine. Half of a batch is a sound file after a chain of flips, cuts,
insertions and splices; the other half is made of values that Hypothesis drew, a third of them damaged, too."""

import bz2
import csv
import gzip
import io
import json
import lzma
import random
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from tamis.pipeline.files.bytes_in import zstd

Files = dict[str, bytes]  # by path below the pool's folder

BATCH = 50  # inputs whose values are drawn together
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": lambda raw: gzip.compress(raw, mtime=0), "bz2": bz2.compress, "xz": lzma.compress,
    "zst": zstd.compress,
}  # fmt: skip
INSERTED = (
    b"\0", b"\0" * 600, b'"', b"'", b"\n", b"\r", b"\r\n\r\n", b",", b"\t", b"{", b"[" * 5000, b"]", b"}", b"\\", b"\\ud800",
    b"1" * 400, b"-0", b"1e999", b"-1E+400", b"9223372036854775808", b"NaN", b"Infinity", b"null", b"true", b"\xef\xbb\xbf",
    b"\xff\xfe", b"\xed\xa0\x80", b"\xc3", b"\xf4\x90\x80\x80", b"\xe2\x80\xa8", b"\x7f\xff\xff\xff", b"\xff" * 8,
    b"\x80" + b"\0" * 7, b"../", b"<!DOCTYPE a>", b"&#0;", b"0001-01-01", b"10000-01-01T00:00:00Z",
)  # fmt: skip


# Values.
TEXTS = st.text(st.characters(exclude_categories=()), max_size=20) | st.sampled_from(
    [
        "",
        " ",
        "\u2028",
        "a,b",
        '"',
        "\0",
        "00501",
        "1e5",
        "nan",
        "2024-02-30",
        "9999-12-31T23:59:59.999999Z",
        "x" * 3000,
    ]
)
NUMBERS = (
    st.integers() | st.integers(-(10**400), 10**400) | st.floats() | st.sampled_from([2**63, 2**64, -(2**63), 0.0])
)
LEAVES = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES = st.recursive(
    LEAVES, lambda some: st.lists(some, max_size=3) | st.dictionaries(TEXTS, some, max_size=3), max_leaves=6
)
FIELDS = ("year", "odd", "tags")
RECORDS = st.lists(
    VALUES
    | st.fixed_dictionaries(
        {}, optional={"id": TEXTS | st.integers() | VALUES, "text": TEXTS | VALUES, **dict.fromkeys(FIELDS, VALUES)}
    )
    | st.builds(
        lambda number, text, odd: {"id": number, "text": f"t {text}", "odd": odd}, st.integers(0, 99), TEXTS, VALUES
    ),
    max_size=8,
)
CELLS = TEXTS | NUMBERS.map(str) | st.sampled_from(['"', '""', '"a', 'a"', '"a"b', "\r", '"a\nb"', "\ufeff"])
ROWS = st.lists(st.lists(CELLS, min_size=3, max_size=5), max_size=8)


@st.composite
def arrays(draw: Any, rows: int, kind: pa.DataType | None = None) -> pa.Array:
    """A column of any type, by its bytes: so also what Python would not make, such as far dates and bad UTF-8."""
    simple = [
        pa.int8(), pa.uint8(), pa.int16(), pa.int32(), pa.int64(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(),
        pa.bool_(), pa.string(), pa.large_string(), pa.binary(), pa.large_binary(), pa.binary(3), pa.date32(), pa.date64(),
        pa.timestamp("s"), pa.timestamp("ms", "UTC"), pa.timestamp("us", "Europe/Paris"), pa.timestamp("ns"),
        pa.time32("s"), pa.time64("ns"), pa.duration("ms"), pa.decimal128(20, 3), pa.null(), pa.string_view(),
    ]  # fmt: skip
    shape = (
        draw(st.sampled_from(["simple"] * 5 + ["dictionary", "list", "fixed", "struct", "map"]))
        if kind is None
        else "simple"
    )
    nulls = np.array(draw(st.lists(st.booleans(), min_size=rows, max_size=rows)), bool)
    if shape in ("list", "map"):
        ends = np.sort(np.array(draw(st.lists(st.integers(0, 4), min_size=rows, max_size=rows)), np.int32))
        offsets = pa.array(np.concatenate([[0], ends]).astype(np.int32))
        inner = draw(arrays(4))
        if shape == "map":
            return pa.MapArray.from_arrays(offsets, draw(arrays(4, pa.string())).fill_null("k"), inner)
        return pa.ListArray.from_arrays(offsets, inner)
    if shape == "fixed":
        return pa.FixedSizeListArray.from_arrays(draw(arrays(2 * rows)), 2)
    if shape == "struct":
        names = draw(
            st.lists(st.sampled_from(["a", "A", "b", "", "bytes", "path"]), min_size=1, max_size=3, unique=True)
        )
        return pa.StructArray.from_arrays([draw(arrays(rows)) for _ in names], names)
    if shape == "dictionary":
        held = draw(arrays(3, draw(st.sampled_from([pa.string(), pa.int64(), pa.binary()]))))
        places = pa.array(draw(st.lists(st.integers(0, 2), min_size=rows, max_size=rows)), pa.int8(), mask=nulls)
        return pa.DictionaryArray.from_arrays(places, held)
    kind = kind or draw(st.sampled_from(simple))
    if pa.types.is_null(kind):
        return pa.nulls(rows)
    if kind in (pa.string(), pa.large_string(), pa.binary(), pa.large_binary(), pa.string_view()):
        odd = st.binary(max_size=6) | TEXTS.map(lambda text: text.encode("utf-8", "replace"))
        raw = pa.array(draw(st.lists(odd, min_size=rows, max_size=rows)), pa.binary(), mask=nulls)
        if kind == pa.string_view():
            return pa.array(["v"] * rows, kind)
        return (
            raw
            if kind == pa.binary()
            else raw.cast(pa.large_binary()).view(kind)
            if "large" in str(kind)
            else raw.view(kind)
        )
    if kind == pa.bool_():
        return pa.array(nulls)
    size = kind.byte_width
    few = draw(st.booleans())
    each = (
        st.integers(0, 9).map(lambda one: one.to_bytes(size, "little"))
        if few
        else st.binary(min_size=size, max_size=size)
    )
    if pa.types.is_decimal(kind):
        each = st.integers(-999, 999).map(lambda one: one.to_bytes(16, "little", signed=True))
    raw = b"".join(draw(st.lists(each, min_size=rows, max_size=rows)))
    mask = pa.py_buffer(np.packbits(~nulls, bitorder="little").tobytes() or b"\0")
    return pa.Array.from_buffers(kind, rows, [mask, pa.py_buffer(raw + b"\0" * 8)])


@st.composite
def tables(draw: Any, names: tuple[str, ...] = ("id", "text", *FIELDS), texts: bool = True) -> pa.Table:
    rows = draw(st.integers(0, 6))
    sound = draw(st.booleans()) and texts  # texts and keys as they should be: what is odd is kept
    columns = {}
    for name in names:
        kind = pa.string() if sound and name in ("id", "text") else None
        columns[name] = (
            pa.array([f"{name} {row}" for row in range(rows)])
            if kind and draw(st.booleans())
            else draw(arrays(rows, kind))
        )
    return pa.table(list(columns.values()), names=list(columns))


@cache
def drawn(format_: str, batch: int) -> list[Any]:
    """The values of a batch: of the same batch the same ones."""
    found: list[Any] = []

    @seed(f"{format_} {batch}".encode())
    @settings(max_examples=BATCH, database=None, deadline=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(STRUCTURED[format_.partition(".")[0]])
    def collect(value: Any) -> None:
        found.append(value)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        collect()
    return found


# Values as files.
def as_lines(records: list[Any], chance: random.Random) -> bytes:
    end = chance.choice(["\n", "\n", "\r\n", "\n\n"])
    lines = [json.dumps(record, ensure_ascii=chance.random() < 0.5) for record in records]
    if chance.random() < 0.1:
        return json.dumps(records).encode()
    return "".join(line + end for line in lines).encode("utf-8", chance.choice(["surrogatepass", "replace"]))


def as_csv(header: list[str], rows: list[list[str]], chance: random.Random, delimiter: str = ",") -> bytes:
    out = io.StringIO(newline="")
    if chance.random() < 0.5:
        quoting = chance.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
        end = chance.choice(["\n", "\r\n", "\r"])
        writer = csv.writer(out, quoting=quoting, lineterminator=end, delimiter=delimiter)
        writer.writerows([header, *(row[: len(header)] for row in rows if len(row) >= len(header))])
    else:
        out.write("".join(delimiter.join(row) + "\n" for row in [header, *rows]))
    return out.getvalue().encode("utf-8", "surrogatepass")


def as_parquet(table: pa.Table, chance: random.Random) -> bytes:
    out = io.BytesIO()
    packed = chance.choice(["none", "snappy", "zstd", "gzip"])
    try:
        pq.write_table(table, out, compression=packed, row_group_size=chance.choice([2, 100]),
                       use_dictionary=chance.random() < 0.5, data_page_version=chance.choice(["1.0", "2.0"]))  # fmt: skip
    except (pa.ArrowException, OverflowError, ValueError):  # a type that Parquet has not: one file the fewer
        return as_parquet(table.select([0, 1]) if table.num_columns > 2 else pa.table({"text": ["a"]}), chance)
    return out.getvalue()


def as_arrow(table: pa.Table, chance: random.Random) -> bytes:
    out = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=chance.choice([None, None, "zstd", "lz4"]))
    new = chance.choice([pa.ipc.new_stream, pa.ipc.new_stream, pa.ipc.new_file])
    with new(out, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=3)
    return out.getvalue()


def saved(table: pa.Table, chance: random.Random) -> Files:
    names = {"year": {"_type": "ClassLabel", "names": ["a", "b"]}} if chance.random() < 0.3 else {}
    state = {"_data_files": [{"filename": "data.arrow"}], "_split": "train", "_indices_data_files": None}
    return {
        "data.arrow": as_arrow(table, chance),
        "state.json": json.dumps(state).encode(), "dataset_info.json": json.dumps({"features": names}).encode(),
    }  # fmt: skip


def as_tar(members: Files, kind: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as tar:
        for name, held in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(held)
            tar.addfile(info, io.BytesIO(held))
    return out.getvalue()


def as_zip(members: Files) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, held in members.items():
            packed.writestr(zipfile.ZipInfo(name), held)
    return out.getvalue()


@cache
def picture(kind: str, side: int = 24) -> bytes:
    held = np.random.default_rng(side).integers(0, 255, (side, side, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(held).save(out, kind)
    return out.getvalue()


def pictures(chance: random.Random) -> Files:
    kinds = {"a.jpg": "JPEG", "b.png": "PNG", "c.webp": "WEBP", "d/e.gif": "GIF", "f.bmp": "BMP", "g.tif": "TIFF"}
    some = chance.sample(sorted(kinds), 2)
    members = {name: picture(kinds[name], chance.randrange(16, 40)) for name in some}
    members[some[0].rpartition(".")[0] + ".txt"] = b"a caption"
    members[some[0].rpartition(".")[0] + ".json"] = b'{"year": 1999, "caption": "one more"}'
    return members


# Sound files.
def people(chance: random.Random) -> list[dict[str, Any]]:
    """Samples that no other input has."""
    mine = chance.randrange(10**9)
    return [{"id": f"{mine}-{row}", "text": f'text {mine} {row}, na\u00efve \u2014 "quoted"', "year": 1990 + row, "odd": row / 4,
             "tags": ["x"] * (row % 3)} for row in range(12)]  # fmt: skip


STUDIO = [
    {"id": row, "data": {"key": f"k{row}", "sample_id": f"{row:016x}"}, "annotations": [
        {"id": row, "completed_by": {"id": 1, "email": "a@b"}, "lead_time": 9.5, "created_at": "2025-01-02T03:04:05Z", "was_cancelled": False,
         "result": [{"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": ["cat"]}},
                    {"from_name": "box", "value": {"x": 1.0, "y": 2.0, "width": 30, "height": 4, "rotation": 0, "rectanglelabels": ["b"]}}][: 1 + row % 2]}]}
    for row in range(4)
]  # fmt: skip
COCO = {
    "images": [{"id": row, "file_name": f"{row}.jpg", "width": 60, "height": 40} for row in range(4)],
    "annotations": [{"id": row, "image_id": row, "category_id": 1, "bbox": [1, 2, 3, 4.5]} for row in range(3)],
    "categories": [{"id": 1, "name": "cat"}],
}
CVAT = b"""<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><image id="0" name="a.jpg" width="60" height="40"><box label="cat" xtl="1.0" ytl="2" xbr="9" ybr="9.5" rotation="0"/>
</image><image id="1" name="b.jpg" width="60" height="40"><tag label="dog"></tag></image><image id="2" name="c.jpg"><polygon points="1,2;3,4"/></image>
</annotations>"""
YOLO = {
    "labels/a.txt": b"0 0.5 0.5 0.2 0.2\n",
    "labels/b.txt": b"",
    "classes.txt": b"cat\ndog\n",
    "data.yaml": b"names: [cat, dog]\n",
}


def table_of(value: Any, chance: random.Random) -> pa.Table:
    return pa.Table.from_pylist(people(chance)) if value is None else value


def pairs(value: Any, chance: random.Random) -> Files:
    """img2dataset's shard: a table and a tar."""
    mine = chance.randrange(10**9)
    table = pa.table({"key": [f"{mine}{row}" for row in range(3)], "status": ["success", "success", "failed_to_download"],
                      "caption": ["a", "b", None], "error_message": [None, None, "404"], "year": [1, 2, 3]})  # fmt: skip
    if value is not None:
        table = value
    tar = as_tar({f"{mine}0.jpg": picture("JPEG"), f"{mine}1.png": picture("PNG"), f"{mine}3.jpg": picture("JPEG", 33)})
    return {"p.parquet": as_parquet(table, chance), **({"p.tar": tar} if chance.random() < 0.8 else {})}


def with_images(value: Any, chance: random.Random) -> Files:
    """A table that holds images; of drawn ones every other one, at least."""
    if value is not None and chance.random() < 0.5:
        return {"p.parquet": as_parquet(value, chance)}
    rows = 4 if value is None else value.num_rows
    held = [{"bytes": picture("PNG", chance.randrange(16, 60)), "path": None} for _ in range(rows)]
    images = pa.array(
        held[1:] + [{"bytes": None, "path": "no.jpg"}][:rows], pa.struct({"bytes": pa.binary(), "path": pa.string()})
    )
    if value is not None:
        return {"p.parquet": as_parquet(value.set_column(value.column_names.index("image"), "image", images), chance)}
    keys = [str(chance.random()) for _ in range(rows)]
    return {
        "p.parquet": as_parquet(pa.table({"id": keys, "image": images, "caption": keys, "year": range(rows)}), chance)
    }


def tarred(value: Any, chance: random.Random) -> Files:
    members = pictures(chance)
    for name, text in value or ():
        members[name] = (
            picture("PNG") if name.endswith((".png", ".jpg")) else json.dumps(text).encode("utf-8", "replace")
        )
    kind = chance.choice([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
    mine = chance.randrange(10**9)
    names = {name: f"{mine}/{name}".encode("utf-8", "replace").decode().replace("\0", "") for name in members}
    return {"p.tar": as_tar({names[name]: held for name, held in members.items()}, kind)}


def lines_of(value: Any, chance: random.Random) -> Files:
    return {"p.jsonl": as_lines(people(chance) if value is None else value, chance)}


def rows_of(value: Any, chance: random.Random, delimiter: str = ",") -> bytes:
    rows = (
        [[one["id"], one["text"], str(one["year"]), str(one["odd"])] for one in people(chance)]
        if value is None
        else value
    )
    return as_csv(["id", "text", "year", "odd"], rows, chance, delimiter)


def answers_of(value: Any, chance: random.Random) -> Files:
    if value is None:
        rows = [["k1", "cat", "ann", "2025-01-02", "1.5"], ["k2", "dog", "bob", "", ""]]
        return {"p.csv": as_csv(["key", "label", "annotator", "labeled_at", "cost"], rows, chance)}
    header = chance.choice(
        [["key", "label", "cost"], ["sample_id", "key", "label"], ["annotation_id", "key", "label", "lead_time"]]
    )
    return {"p.csv": as_csv(header, value, chance)}


def swapped(held: Any, value: Any, chance: random.Random) -> Any:
    """One place of a document with another value."""
    if isinstance(held, list) and held and chance.random() < 0.9:
        place = chance.randrange(len(held))
        return [swapped(one, value, chance) if number == place else one for number, one in enumerate(held)]
    if isinstance(held, dict) and held and chance.random() < 0.9:
        name = chance.choice(sorted(held))
        return {key: swapped(one, value, chance) if key == name else one for key, one in held.items()}
    return value


def document(sound: Any) -> Callable[[Any, random.Random], Files]:
    def made(value: Any, chance: random.Random) -> Files:
        held = sound
        for one in value or ():
            held = swapped(held, one, chance)
        return {"p.json": json.dumps(held).encode()}

    return made


def cvat_of(value: Any, chance: random.Random) -> Files:
    text = CVAT.decode()
    for one in value or ():
        told = json.dumps(one).replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
        text = text.replace(chance.choice(['"1.0"', '"60"', '"9.5"', '"cat"', '"dog"', '"a.jpg"']), f'"{told}"', 1)
    return {"p.xml": text.encode("utf-8", "replace")}


def yolo_of(value: Any, chance: random.Random) -> Files:
    held = dict(YOLO)
    for one in value or ():
        told = one if isinstance(one, str) else json.dumps(one)
        held[chance.choice(sorted(held))] += chance.choice(["", " ", "\n0 0.1 "]).encode() + told.encode(
            "utf-8", "replace"
        )
    return {"p.zip": as_zip(held)}


def join_of(kind: str) -> Callable[[Any, random.Random], Files]:
    def made(value: Any, chance: random.Random) -> Files:
        if kind == "csv":
            rows = [[f"k{row}", str(row / 2)] for row in range(9)] if value is None else value
            return {"p.csv": as_csv(["key", "value"], rows, chance)}
        if kind == "parquet":
            table = (
                pa.table({"key": [f"k{row}" for row in range(9)], "value": list(range(9))}) if value is None else value
            )
            return {"p.parquet": as_parquet(table, chance)}
        rows = [{"key": f"k{row}", "value": row} for row in range(9)]
        some = [{"key": one, "value": two} for one, two in value or ()]
        return {"p.jsonl": as_lines([*rows, *some], chance)}

    return made


PLACED = st.lists(VALUES, min_size=1, max_size=3)
MADE: dict[str, Callable[[Any, random.Random], Files]] = {
    "jsonl": lines_of,
    **{f"jsonl.{kind}": lines_of for kind in PACKERS},
    "csv": lambda value, chance: {"p.csv": rows_of(value, chance)},
    "tsv": lambda value, chance: {"p.tsv": rows_of(value, chance, "\t")},
    "texts": lambda value, _: {"p.txt": "a text, na\u00efve".encode() if value is None else value},
    "parquet": lambda value, chance: {"p.parquet": as_parquet(table_of(value, chance), chance)},
    "hf": lambda value, chance: saved(table_of(value, chance), chance),
    "webdataset": tarred, "img2dataset": pairs, "images": lambda _, chance: pictures(chance), "table_of_images": with_images,
    "labels_csv": answers_of, "labels_studio": document(STUDIO), "labels_coco": document(COCO), "labels_cvat": cvat_of,
    "labels_zip": yolo_of, "join_jsonl": join_of("jsonl"), "join_csv": join_of("csv"), "join_parquet": join_of("parquet"),
}  # fmt: skip
STRUCTURED: dict[str, st.SearchStrategy[Any]] = {
    "jsonl": RECORDS, "csv": ROWS, "tsv": ROWS, "texts": st.binary(max_size=40) | TEXTS.map(lambda text: text.encode("utf-16-le", "surrogatepass")),
    "parquet": tables(), "hf": tables(), "images": st.none(),
    "webdataset": st.lists(st.tuples(TEXTS.map(lambda text: text + ".png") | st.sampled_from(["a.cls", "b.json", "x/../y.jpg", "a.left.jpg", "b.txt"]), VALUES), max_size=3),
    "img2dataset": tables(("key", "status", "caption", "year"), texts=False), "table_of_images": tables(("id", "image", "caption", "year")),
    "labels_csv": ROWS, "labels_studio": PLACED, "labels_coco": PLACED, "labels_cvat": PLACED, "labels_zip": PLACED,
    "join_jsonl": st.lists(st.tuples(VALUES, VALUES), max_size=2), "join_csv": st.lists(st.lists(CELLS, min_size=2, max_size=2), max_size=5),
    "join_parquet": tables(("key", "value"), texts=False),
}  # fmt: skip
FORMATS = list(MADE)


def damaged(held: bytes, chance: random.Random) -> bytes:
    """After a chain of flips, cuts, insertions and splices."""
    for _ in range(chance.choice([1, 1, 2, 3, 8])):
        place = chance.randrange(len(held) + 1)
        end = min(len(held), place + chance.choice([1, 2, 8, 100, 5000]))
        kind = chance.choice(["flip", "flip", "bytes", "cut", "end", "insert", "insert", "repeat", "splice", "number"])
        if kind == "flip" and held:
            place = chance.randrange(len(held))
            held = held[:place] + bytes([held[place] ^ (1 << chance.randrange(8))]) + held[place + 1 :]
        elif kind == "bytes":
            held = held[:place] + chance.randbytes(end - place) + held[end:]
        elif kind == "cut":
            held = held[:place] + held[end:]
        elif kind == "end":
            held = held[:place]
        elif kind == "insert":
            held = held[:place] + chance.choice(INSERTED) + held[place:]
        elif kind == "number":  # a length, an offset or a count that is out of all bounds
            told = chance.choice(
                [b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\xff\xff\xff\xff", b"\0\0\0\x01", b"\x01\0\0\0"]
            )
            held = held[:place] + told + held[place + 4 :]
        elif kind == "repeat":
            held = held[:end] + held[place:end] * chance.choice([1, 3, 40]) + held[end:]
        elif kind == "splice":
            other = next(iter(MADE[chance.choice(FORMATS)](None, chance).values()))
            held = held[:place] + other[chance.randrange(len(other)) :]
    return held


def generated(format_: str, number: int) -> Files:
    """The files of one input."""
    chance = random.Random(f"{format_} {number}")
    batch, place = divmod(number, BATCH)
    structured = place % 2 == 1
    some = drawn(format_, batch) if structured else [None]
    files = MADE[format_](some[place % len(some)], chance)
    inside = chance.random() < 0.3  # of a packed file: what is in it, or the packed bytes
    packed = format_.partition(".")[2]
    if packed and inside:
        files = {name: damaged(held, chance) for name, held in files.items()}
    if packed:
        files = {f"{name}.{packed}": PACKERS[packed](held) for name, held in files.items()}
    if (not structured or chance.random() < 0.3) and not (packed and inside):
        name = "data.arrow" if "data.arrow" in files and chance.random() < 0.8 else chance.choice(sorted(files))
        files[name] = damaged(files[name], chance)
    return files
