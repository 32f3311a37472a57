"""A corpus of hostile, damaged and odd inputs of images, made from nothing, and what must come of each.

`python tests/hostile_images.py FOLDER` writes it and lists the cases. Every case lies in a folder of its own name, its
keys begin with that name, and among its bad inputs stand two good images, so that a case says three things: how many
samples, which rejects by reason, and that nothing else was lost. What is written here is what a careful user expects;
where the code gives something else, the code is to be mended."""

import gzip
import io
import json
import os
import struct
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

UNREADABLE = Path("/proc/self/mem")  # a regular file that root, too, can't read from its start


@dataclass(frozen=True)
class Case:
    name: str
    source: dict[str, Any]  # as in a recipe, with absolute paths
    samples: int  # the good neighbours among them
    rejects: dict[str, int] = field(default_factory=dict)  # reason -> rows
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)  # key -> (width, height) as displayed
    texts: dict[str, str | None] = field(default_factory=dict)  # key -> first caption
    keys: frozenset[str] = frozenset()  # of samples, that must be among them
    lost: frozenset[str] = frozenset()  # keys of rejects, that must be among them
    details: tuple[str, ...] = ()  # words that must stand in a reject's detail


def photo(seed: int, width: int = 64, height: int = 48, mode: str = "RGB") -> Image.Image:
    """A smooth picture of its own for each seed: noise of 4 x 4 blown up, so that JPEG keeps most of it."""
    noise = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def packed(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


GOOD = (packed(photo(1)), packed(photo(2)))  # the neighbours of every bad input


def png(width: int, height: int, rows: bytes, bits: int = 8, colour: int = 0, extra: bytes = b"") -> bytes:
    """A PNG by hand, so that its header may lie."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def patched(data: bytes, place: int, new: bytes) -> bytes:
    return data[:place] + new + data[place + len(new) :]


def with_exif(image: Image.Image, orientation: int, kind: str = "JPEG") -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return packed(image, kind, exif=exif)


def _jpeg_of_size(width: int, height: int) -> bytes:
    """A real JPEG whose frame header claims another size."""
    return patched(GOOD[0], GOOD[0].index(b"\xff\xc0") + 5, struct.pack(">HH", height, width))


def _tiff_that_loops() -> bytes:
    """The directory names itself as the next one; a reader of all pages never ends."""
    data = packed(photo(3), "TIFF")
    (first,) = struct.unpack("<I", data[4:8])
    (entries,) = struct.unpack("<H", data[first : first + 2])
    return patched(data, first + 2 + 12 * entries, struct.pack("<I", first))


def _frames(count: int) -> dict[str, Any]:
    return {"save_all": True, "append_images": [photo(20 + number) for number in range(count)], "duration": 50}


def _grey16() -> Image.Image:
    return Image.fromarray((np.arange(48 * 64).reshape(48, 64) * 21).astype(np.uint16))


def _floats(*bad: float) -> Image.Image:
    values = np.linspace(-3, 7, 48 * 64, dtype=np.float32).reshape(48, 64)
    values[0, : len(bad)] = bad
    return Image.fromarray(values)


def _transparent_palette() -> bytes:
    return packed(photo(4).quantize(16), "PNG", transparency=3)


def odd_images() -> dict[str, tuple[str, bytes, str | None, tuple[int, int] | None]]:
    """Case -> (file name, bytes, reason of its reject or None for a sample, its size where it is worth a claim)."""
    jpeg, whole, web = packed(photo(3)), packed(photo(3), "PNG"), packed(photo(3), "WEBP")
    data = whole.index(b"IDAT")
    exif_at = with_exif(photo(5), 6).index(b"Exif\0\0") + 6
    side, middle = 64, (64, 48)
    return {
        "jpeg_cut": ("x.jpg", jpeg[: len(jpeg) // 2], "undecodable", None),
        "jpeg_cut_by_a_little": ("x.jpg", jpeg[:-20], "undecodable", None),
        "png_cut": ("x.png", whole[: len(whole) // 2], "undecodable", None),
        "webp_cut": ("x.webp", web[: len(web) // 2], "undecodable", None),
        "gif_cut": ("x.gif", packed(photo(3), "GIF")[:900], "undecodable", None),
        "zero_bytes": ("x.jpg", b"", "undecodable", None),
        "text_named_jpg": ("x.jpg", b"no picture, but a sentence\n", "undecodable", None),
        "html_named_jpg": ("x.jpg", b"<!doctype html><html><body>404 Not Found</body></html>", "undecodable", None),
        "png_named_jpg": ("x.jpg", whole, None, middle),
        "suffix_in_capitals": ("x.JPEG", jpeg, None, middle),
        "jpeg_without_suffix": ("picture", jpeg, "no_image", None),
        "rgba": ("x.png", packed(photo(3, mode="RGBA"), "PNG"), None, middle),
        "grey_with_alpha": ("x.png", packed(photo(3, mode="LA"), "PNG"), None, middle),
        "palette_with_transparency": ("x.png", _transparent_palette(), None, middle),
        "cmyk_jpeg": ("x.jpg", packed(photo(3, mode="CMYK")), None, middle),
        "grey_16_bit_png": ("x.png", packed(_grey16(), "PNG"), None, middle),
        "grey_16_bit_tiff": ("x.tif", packed(_grey16(), "TIFF"), None, middle),
        "whole_numbers_32_bit_tiff": ("x.tif", packed(photo(3, mode="I"), "TIFF"), None, middle),
        "real_numbers_tiff": ("x.tiff", packed(_floats(), "TIFF"), None, middle),
        "real_numbers_tiff_with_nan": ("x.tiff", packed(_floats(np.nan, np.inf, -np.inf), "TIFF"), None, middle),
        "one_bit": ("x.png", packed(photo(3, mode="1"), "PNG"), None, middle),
        "animated_gif": ("x.gif", packed(photo(6), "GIF", **_frames(3)), None, middle),
        "animated_webp": ("x.webp", packed(photo(7), "WEBP", **_frames(3)), None, middle),
        "exif_turned": ("x.jpg", with_exif(photo(5), 6), None, (48, 64)),
        "exif_turned_webp": ("x.webp", with_exif(photo(5), 8, "WEBP"), None, (48, 64)),
        "tiff_turned": ("x.tif", packed(photo(5), "TIFF", tiffinfo={274: 6}), None, (48, 64)),
        "exif_damaged": ("x.jpg", patched(with_exif(photo(5), 6), exif_at, b"\xff" * 20), None, middle),
        "exif_of_no_known_turn": ("x.jpg", with_exif(photo(5), 99), None, middle),
        "multi_picture_jpeg": ("x.jpg", packed(photo(8), "MPO", **_frames(2)), None, middle),
        # no checksum in a JPEG: the picture has other pixels there, and nobody can tell
        "jpeg_damaged_inside": ("x.jpg", patched(jpeg, len(jpeg) * 3 // 4, b"\x55" * 8), None, middle),
        "png_bad_crc_of_header": ("x.png", patched(whole, 29, b"\0\0\0\0"), "undecodable", None),
        "png_damaged_inside": ("x.png", patched(whole, data + 40, b"\xff" * 64), "undecodable", None),
        "bomb_in_the_header": ("x.png", png(60_000, 60_000, b"\0" * 99), "too_many_pixels", None),
        "bomb_in_truth": ("x.png", png(10_001, 10_001, b"\0" * (1252 * 10_001), bits=1), "too_many_pixels", None),
        "bomb_jpeg": ("x.jpg", _jpeg_of_size(65_000, 65_000), "too_many_pixels", None),
        "bomb_ppm": ("x.ppm", b"P6 999999999 999999999 255\n", "too_many_pixels", None),
        "bomb_in_a_text_chunk": (
            "x.png", png(2, 2, b"\0ab\0cd", extra=chunk(b"zTXt", b"a\0\0" + zlib.compress(b"x" * 4_000_000))), "undecodable", None,
        ),
        "one_pixel": ("x.png", packed(photo(9, 1, 1), "PNG"), None, (1, 1)),
        "a_column_of_pixels": ("x.png", packed(photo(9, 1, 10_000), "PNG"), None, (1, 10_000)),
        "a_row_of_pixels": ("x.png", packed(photo(9, 10_000, 1), "PNG"), None, (10_000, 1)),
        "no_pixels_at_all": ("x.png", png(0, 5, b"\0" * 5), "undecodable", None),
        "jpeg_of_no_height": ("x.jpg", _jpeg_of_size(side, 0), "undecodable", None),
        "eps_named_png": ("x.png", packed(photo(3), "EPS"), "undecodable", None),  # would start Ghostscript
        "svg_named_png": ("x.png", b'<svg xmlns="http://www.w3.org/2000/svg"><rect/></svg>', "undecodable", None),
        "bmp_absurd_header": ("x.bmp", patched(packed(photo(3), "BMP"), 14, b"\xff" * 4), "undecodable", None),
        "bmp_absurd_offset": ("x.bmp", patched(packed(photo(3), "BMP"), 10, b"\xff\xff\xff\x7f"), "undecodable", None),
        "gif_without_frames": ("x.gif", b"GIF89a" + struct.pack("<HHBBB", 9, 9, 0, 0, 0) + b";", "undecodable", None),
        "tiff_directory_loops": ("x.tif", _tiff_that_loops(), None, middle),
        "name_with_spaces": ("a b  c.jpg", jpeg, None, None),
        "name_with_newline": ("a\nb.jpg", jpeg, None, None),
        "name_with_line_separator": ("a\u2028b.jpg", jpeg, None, None),
        "name_with_emoji": ("\U0001f600\u200d\U0001f525.jpg", jpeg, None, None),
        "name_right_to_left": ("\u202egpj.\u05d0\u05d1.jpg", jpeg, None, None),
        "name_of_wildcards": ("[a-z]*?.jpg", jpeg, None, None),
        "name_like_a_place_in_a_tar": ("a.tar#b.jpg", jpeg, None, None),
        "name_as_long_as_may_be": ("n" * 251 + ".jpg", jpeg, None, None),
        "name_not_utf8": (os.fsdecode(b"caf\xe9.jpg"), jpeg, "invalid_utf8", None),
    }  # fmt: skip


class Corpus:
    """Writes cases below a root; each method adds one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cases: list[Case] = []

    def add(
        self, name: str, samples: int, rejects: dict[str, int] | None = None, *, source: dict[str, Any], **claims: Any
    ) -> None:
        for claim in ("keys", "lost"):
            claims[claim] = frozenset(f"{name}/{key}" for key in claims.get(claim, ()))
        for claim in ("sizes", "texts"):
            claims[claim] = {f"{name}/{key}": value for key, value in claims.get(claim, {}).items()}
        path = str(self.root / name / source["path"]) if "path" in source else str(self.root / name)
        self.cases.append(Case(name, {**source, "path": path}, samples, rejects or {}, **claims))

    def folder(
        self, name: str, files: Mapping[str, bytes], samples: int, rejects: dict[str, int] | None = None,
        settings: dict[str, Any] | None = None, more: Callable[[Path], None] | None = None, **claims: Any,
    ) -> None:  # fmt: skip
        """A folder of images; a good one comes before the given files and one behind them."""
        place = self.root / name / name
        for file, data in {"a_good.jpg": GOOD[0], **files, "z_good.jpg": GOOD[1]}.items():
            path = place / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        if more:
            more(place)
        self.add(name, samples + 2, rejects, source={"format": "images", **(settings or {})}, **claims)

    def tar(
        self, name: str, members: Iterable[tuple[str, bytes] | tarfile.TarInfo], samples: int,
        rejects: dict[str, int] | None = None, kind: int = tarfile.USTAR_FORMAT,
        damage: Callable[[bytes], bytes] = lambda raw: raw, settings: dict[str, Any] | None = None, **claims: Any,
    ) -> None:  # fmt: skip
        """A tar between whose first and last member, both good, stand the given ones; then damaged as a whole."""
        given = [(f"{name}/a_good.jpg", GOOD[0]), *members, (f"{name}/z_good.jpg", GOOD[1])]
        self.file(name, "00000.tar", damage(tar_of(given, kind)))
        self.add(name, samples, rejects, source={"format": "webdataset", **(settings or {})}, **claims)

    def file(self, name: str, file: str, data: bytes) -> Path:
        path = self.root / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def manifest(
        self, name: str, records: Iterable[dict[str, Any]], samples: int, rejects: dict[str, int] | None = None, **claims: Any
    ) -> None:  # fmt: skip
        """JSON lines that name images beside them, or don't; first and last a good one, ids from the case's name."""
        self.file(name, "good1.jpg", GOOD[0])
        self.file(name, "good2.jpg", GOOD[1])
        lines = [{"id": "a", "file": "good1.jpg"}, *records, {"id": "z", "file": "good2.jpg"}]
        lines = [{**line, "id": f"{name}/{line['id']}"} if line.get("id") else line for line in lines]
        self.file(name, "manifest.jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode())
        source = {"format": "jsonl", "path": "manifest.jsonl", "image": "file", "key": "id", "caption": "said"}
        self.add(name, samples + 2, rejects, source=source, **claims)

    def parquet(
        self, name: str, images: list[Any], kind: pa.DataType, samples: int, rejects: dict[str, int] | None = None,
        ids: pa.Array | None = None, **claims: Any,
    ) -> None:  # fmt: skip
        ids = pa.array([f"{name}/{number}" for number in range(len(images))]) if ids is None else ids
        self.file(name, "beside.jpg", GOOD[1])
        pq.write_table(pa.table({"id": ids, "image": pa.array(images, kind)}), self.root / name / "t.parquet")
        source = {"format": "parquet", "path": "t.parquet", "image": "image", "key": "id"}
        self.add(name, samples, rejects, source=source, **claims)

    def downloaded(
        self, name: str, rows: list[tuple[str | None, str, str | None]], members: list[tuple[str, bytes]] | None,
        samples: int, rejects: dict[str, int] | None = None, damage: Callable[[bytes], bytes] = lambda raw: raw, **claims: Any,
    ) -> None:  # fmt: skip
        """A shard of img2dataset: rows of (key, status, message), and the members of its tar, if it has one."""
        table = {
            "key": pa.array([row[0] for row in rows], pa.string()), "status": [row[1] for row in rows],
            "error_message": pa.array([row[2] for row in rows], pa.string()), "caption": [f"of {row[0]}" for row in rows],
        }  # fmt: skip
        self.root.joinpath(name).mkdir()
        pq.write_table(pa.table(table), self.root / name / "00000.parquet")
        if members is not None:
            self.file(name, "00000.tar", damage(tar_of(members)))
        self.add(name, samples, rejects, source={"format": "img2dataset"}, **claims)


def tar_of(members: Iterable[tuple[str, bytes] | tarfile.TarInfo], kind: int = tarfile.USTAR_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return out.getvalue()


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def header_of(raw: bytes, name: str) -> int:
    """Where the header of a member begins."""
    return raw.index(name.encode() + b"\0")


def with_size(raw: bytes, place: int, size: bytes) -> bytes:
    """Another size in the header at this place, and a checksum that says that all is well."""
    head = bytearray(raw[place : place + 512])
    head[124:136] = size
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return patched(raw, place, bytes(head))


def folders(corpus: Corpus) -> None:
    for name, (file, data, reason, size) in odd_images().items():
        sizes = {Path(file).stem: size} if size else {}
        corpus.folder(name, {file: data}, 0 if reason else 1, {reason: 1} if reason else {}, sizes=sizes)
    jpeg, whole = packed(photo(10)), packed(photo(10), "PNG")
    corpus.folder(
        "hidden_files",
        {".h.jpg": jpeg, "._x.jpg": b"\0\5\x16\7", "x.jpg": jpeg, ".trash/y.jpg": jpeg, "Thumbs.db": b"?"},
        1, {"no_image": 1},
    )  # fmt: skip
    corpus.folder("same_stem_other_suffix", {"x.jpg": jpeg, "x.png": whole}, 1, {"key_conflict": 1}, keys=["x"])
    corpus.folder("same_stem_same_bytes", {"x.jpg": jpeg, "x.jpeg": jpeg}, 1, {"exact_duplicate": 1}, keys=["x"])
    corpus.folder("same_image_under_two_keys", {"x.jpg": jpeg, "y.jpg": jpeg}, 2, keys=["x", "y"])
    corpus.folder(
        "rejects_keep_their_dotted_keys", {"v1.5.jpg": b"bad", "v1.6.notes": b"no image"}, 0,
        {"undecodable": 1, "no_image": 1}, lost=["v1.5", "v1.6"],
    )  # fmt: skip
    corpus.folder("a_folder_named_like_an_image", {"x.jpg/y.jpg": jpeg}, 1, keys=["x.jpg/y"])
    corpus.folder("a_file_that_is_no_image", {"notes.md": b"# notes", "x.jpg.part": jpeg}, 0, {"no_image": 2})

    def links(place: Path) -> None:
        (place / "loop").symlink_to(place, target_is_directory=True)  # in a circle
        (place / "x.jpg").symlink_to(corpus.root / "hidden_files" / "hidden_files" / "x.jpg")

    corpus.folder("links", {}, 0, {"link": 2}, more=links)
    # what is listed as an image and can't be opened is lost, and must be said to be
    corpus.folder("a_link_to_nothing", {}, 0, {"link": 1}, more=lambda at: (at / "x.jpg").symlink_to("gone.jpg"))
    corpus.folder("a_link_to_itself", {}, 0, {"link": 1}, more=lambda at: (at / "x.jpg").symlink_to("x.jpg"))
    corpus.folder("a_fifo_named_like_an_image", {}, 0, {"not_a_file": 1}, more=lambda at: os.mkfifo(at / "x.jpg"))
    corpus.folder(
        "a_fifo_for_a_caption", {"x.jpg": jpeg}, 0, {"not_a_file": 1}, more=lambda at: os.mkfifo(at / "x.txt")
    )
    if UNREADABLE.exists():
        corpus.folder(
            "an_image_behind_a_link_out", {}, 0, {"link": 1}, more=lambda at: (at / "x.jpg").symlink_to(UNREADABLE)
        )
        corpus.folder(
            "a_caption_behind_a_link_out", {"x.jpg": jpeg}, 0, {"link": 1},
            more=lambda at: (at / "x.txt").symlink_to(UNREADABLE),
        )  # fmt: skip


HUGE = b"x" * (17 << 20)  # more than any caption; read into memory by no reader
NESTED = b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"  # deeper than Python's parser goes


def sidecars(corpus: Corpus) -> None:
    jpeg = packed(photo(11))
    texts: dict[str, tuple[bytes, str | None]] = {
        "caption_plain": (b"a cat\n", "a cat\n"), "caption_empty": (b"", None), "caption_blank": (b" \n\t ", None),
        "caption_huge": (HUGE, None), "caption_with_mark": (b"\xef\xbb\xbfa dog", "a dog"),
    }  # fmt: skip
    for name, (data, text) in texts.items():
        corpus.folder(name, {"x.jpg": jpeg, "x.txt": data}, 1, texts={"x": text})
    corpus.folder("caption_not_utf8", {"x.jpg": jpeg, "x.txt": b"caf\xe9"}, 0, {"invalid_utf8": 1}, lost=["x"])
    corpus.folder("caption_without_image", {"x.txt": b"a cat"}, 0, {"no_image": 1}, lost=["x"])
    corpus.folder("json_broken_and_not_needed", {"x.jpg": jpeg, "x.json": b"{no"}, 1)
    corpus.folder("json_is_a_list_and_not_needed", {"x.jpg": jpeg, "x.json": b"[1]"}, 1)

    fields = {"keep": ["year"], "caption": ["said", "txt"]}

    def needed(name: str, data: bytes, samples: int, rejects: dict[str, int] | None = None, **claims: Any) -> None:
        corpus.folder(name, {"x.jpg": jpeg, "x.json": data}, samples, rejects, settings=fields, **claims)

    needed("json_good", b'{"year": 1999, "said": ["", "one", "two", 3]}', 1, texts={"x": "one"})
    needed("json_broken", b"{no", 0, {"bad_json": 1}, lost=["x"])
    needed("json_empty", b"", 0, {"bad_json": 1})
    needed("json_is_a_list", b'[{"year": 1}]', 0, {"bad_json": 1})
    needed("json_not_utf8", b'{"said": "caf\xe9"}', 0, {"invalid_utf8": 1})
    needed("json_nested_without_end", NESTED, 0, {"bad_json": 1})
    needed("json_half_a_character_in_a_caption", b'{"said": "half \\ud83d"}', 0, {"invalid_utf8": 1})
    needed("json_other_type", b'{"year": "no number"}', 1)  # kept fields that differ meet as text
    needed("json_number_beyond_64_bits", b'{"year": 100000000000000000000000}', 1)
    corpus.folder(
        "json_field_named_caption", {"x.jpg": jpeg, "x.json": b'{"caption": "a cat"}'}, 1,
        settings={"caption": "caption"}, texts={"x": "a cat"},
    )  # fmt: skip


def tars(corpus: Corpus) -> None:
    jpeg = packed(photo(12))

    def x(name: str, suffix: str = "jpg") -> tuple[str, bytes]:
        return f"{name}/x.{suffix}", jpeg

    for name, member in (
        ("tar_climbs_out", "../x.jpg"), ("tar_climbs_out_later", "a/../../x.jpg"), ("tar_absolute_name", "/etc/x.jpg"),
    ):  # fmt: skip
        corpus.tar(name, [(member, jpeg)], 2, {"unsafe_path": 1})
    for name, kind, link in (
        ("tar_symlink", tarfile.SYMTYPE, "/etc/passwd"), ("tar_hard_link", tarfile.LNKTYPE, "tar_hard_link/a_good.jpg"),
        ("tar_device", tarfile.CHRTYPE, ""), ("tar_fifo", tarfile.FIFOTYPE, ""),
    ):  # fmt: skip
        corpus.tar(name, [special(f"{name}/x.jpg", kind, link)], 2, {"not_a_file": 1}, lost=["x"])
    corpus.tar(
        "tar_folders", [special("tar_folders/sub", tarfile.DIRTYPE), ("tar_folders/sub/x.jpg", jpeg)], 3, keys=["sub/x"]
    )
    corpus.tar("two_tars_joined", [], 2, {"trailing_data": 1}, damage=lambda raw: raw + raw)
    corpus.tar("tar_dot_slash", [("./tar_dot_slash/x.jpg", jpeg)], 3, keys=["x"])
    corpus.tar(
        "tar_hidden", [("tar_hidden/._x.jpg", b"\0\5\x16\7"), ("tar_hidden/.trash/y.jpg", jpeg)], 2
    )  # as in a folder
    long = "l" * 180
    corpus.tar("tar_long_name_gnu", [(f"tar_long_name_gnu/{long}.jpg", jpeg)], 3, kind=tarfile.GNU_FORMAT, keys=[long])
    corpus.tar("tar_long_name_pax", [(f"tar_long_name_pax/{long}.jpg", jpeg)], 3, kind=tarfile.PAX_FORMAT, keys=[long])
    corpus.tar(
        "tar_name_not_utf8", [(os.fsdecode(b"tar_name_not_utf8/caf\xe9.jpg"), jpeg)], 2, {"invalid_utf8": 1},
        kind=tarfile.GNU_FORMAT,
    )  # fmt: skip
    corpus.tar("tar_bad_image", [("tar_bad_image/x.jpg", jpeg[:300])], 2, {"undecodable": 1}, lost=["x"])
    corpus.tar("tar_member_twice", [x("tar_member_twice"), x("tar_member_twice")], 3, {"exact_duplicate": 1})
    corpus.tar("tar_caption_huge", [x("tar_caption_huge"), ("tar_caption_huge/x.txt", HUGE)], 3, texts={"x": None})
    corpus.tar("tar_caption_alone", [("tar_caption_alone/x.txt", b"a cat")], 2, {"no_image": 1}, lost=["x"])
    _damaged_tars(corpus, x, long)
    for name in ("tars_same_names", "tars_with_a_gap"):
        other = 0 if name == "tars_same_names" else 2
        first, second = ([(f"{name}/{number * bool(other)}.jpg", GOOD[number])] for number in range(2))
        corpus.file(name, "00000.tar", tar_of(first))
        corpus.file(name, f"0000{other or 1}.tar", tar_of(second))
        corpus.add(name, 2 if other else 1, {} if other else {"key_conflict": 1}, source={"format": "webdataset"})
    for number, name in enumerate(("tar_in_a_namespace", "tar_in_another_namespace")):
        corpus.file(name, "00000.tar", tar_of([("same/name.jpg", GOOD[number])]))
        corpus.add(name, 1, source={"format": "webdataset", "namespace": name})


def _damaged_tars(corpus: Corpus, x: Callable[[str], tuple[str, bytes]], long: str) -> None:
    """One reject for each place where a tar is cut or damaged: what came before is there, what follows is unknown."""
    for name, size in (("tar_negative_size", b"-0000001000\0"), ("tar_negative_size_binary", b"\xff" * 10 + b"\xfe\0")):
        corpus.tar(
            name, [x(name)], 1, {"truncated": 1},
            damage=lambda raw, name=name, size=size: with_size(raw, header_of(raw, f"{name}/x.jpg"), size),
        )  # fmt: skip
    for name, size in (
        ("tar_pax_header_of_gigabytes", b"77777777777\0"), ("tar_pax_header_beyond_memory", b"\x80\0\0\0\x3f" + b"\xff" * 7),
    ):  # fmt: skip
        corpus.tar(
            name, [(f"{name}/{long}.jpg", GOOD[0])], 1, {"truncated": 1}, kind=tarfile.PAX_FORMAT,
            damage=lambda raw, size=size: with_size(raw, raw.index(b"././@PaxHeader"), size),
        )  # fmt: skip
    name = "tar_pax_size_of_exabytes"
    member = tarfile.TarInfo(f"{name}/x.jpg")
    member.pax_headers = {"size": "9" * 18}
    corpus.tar(name, [member], 1, {"truncated": 1}, kind=tarfile.PAX_FORMAT)
    cuts = {  # bytes behind the header of the last member, which is cut; one of them cuts before the next
        "tar_cut_in_a_member": 512 + 400, "tar_cut_near_a_members_end": 512 + len(GOOD[1]) - 10, "tar_cut_in_a_header": 100,
    }  # fmt: skip
    for name, behind in cuts.items():
        corpus.tar(
            name, [], 1, {"truncated": 1},
            damage=lambda raw, name=name, behind=behind: raw[: header_of(raw, f"{name}/z_good.jpg") + behind],
        )  # fmt: skip
    garbage = np.random.default_rng(5).integers(0, 256, 4096, np.uint8).tobytes()
    for name, kind, inside in (
        ("tar_garbage_for_a_header", tarfile.USTAR_FORMAT, []),
        ("tar_with_long_names_garbage_for_a_header", tarfile.GNU_FORMAT, [long]),
        ("tar_zeros_and_then_more", tarfile.USTAR_FORMAT, []),
    ):
        fill = b"\0" * 4096 if "zeros" in name else garbage
        corpus.tar(
            name, [*[(f"{name}/{other}.jpg", GOOD[0]) for other in inside], x(name), (f"{name}/y.jpg", GOOD[1])],
            1 + len(inside), {"truncated": 1}, kind=kind,
            damage=lambda raw, name=name, fill=fill: patched(raw, header_of(raw, f"{name}/x.jpg"), fill[:512]),
        )  # fmt: skip
    one = tar_of([("one.jpg", GOOD[0])])
    for name, raw in (
        ("tar_garbage_only", garbage), ("tar_short_garbage", garbage[:100]), ("tar_gzipped", gzip.compress(one)),
        ("tar_of_no_bytes", b""),  # an empty tar has 1,024 bytes at least: this one was never written to its end
    ):  # fmt: skip
        corpus.file(name, "00000.tar", raw)
        corpus.add(name, 0, {"unreadable_file": 1}, source={"format": "webdataset"})
    corpus.file("tar_empty", "00000.tar", tar_of([]))
    corpus.add("tar_empty", 0, source={"format": "webdataset"})


def manifests(corpus: Corpus) -> None:
    one = corpus.manifest
    one("path_missing", [{"id": "x", "file": "gone.jpg"}], 0, {"missing_image": 1}, lost=["x"])
    outside = str(corpus.root / "path_missing" / "good1.jpg")
    for name, path in (("path_absolute", outside), ("path_outside", "../path_missing/good1.jpg")):
        one(name, [{"id": "x", "file": path}], 0, {"link": 1}, lost=["x"], details=("follow_links",))
    one(
        "path_is_an_address",
        [{"id": "x", "file": "https://example.org/x.jpg"}],
        0,
        {"missing_image": 1},
        details=("download",),
    )
    one("path_null", [{"id": "x", "file": None}], 0, {"missing_field": 1}, lost=["x"])
    one("path_absent_or_blank", [{"id": "x"}, {"id": "y", "file": " "}], 0, {"missing_field": 2})
    one("path_is_a_number", [{"id": "x", "file": 7}], 0, {"missing_field": 1})
    one("path_is_a_folder", [{"id": "x", "file": "."}], 0, {"not_a_file": 1})
    one("path_with_a_zero_byte", [{"id": "x", "file": "a\0b.jpg"}], 0, {"missing_image": 1})
    one("path_of_half_a_character", [{"id": "x", "file": "\ud83d.jpg"}], 0, {"invalid_utf8": 1})
    one("key_missing", [{"file": "good1.jpg"}, {"id": None, "file": "good1.jpg"}], 0, {"missing_field": 2})
    one("key_of_half_a_character", [{"id": "\ud83d", "file": "good1.jpg"}], 0, {"invalid_utf8": 1})
    one(
        "said_half_a_character",
        [{"id": "x", "file": "good1.jpg", "said": "\ud83d"}],
        0,
        {"invalid_utf8": 1},
        lost=["x"],
    )
    one("said_a_number", [{"id": "x", "file": "good1.jpg", "said": 3}], 1, texts={"x": None})
    one("one_file_twice", [{"id": "x", "file": "good1.jpg"}], 1, keys=["a", "x"])
    name = "csv_rows"
    corpus.file(name, "x.jpg", GOOD[0])
    rows = f"id,file\n{name}/1,x.jpg\n{name}/2,\n{name}/3,x.jpg,more\n{name}/4,gone.jpg\n{name}/5,x.jpg\n"
    corpus.file(name, "m.csv", rows.encode())
    table = {"format": "csv", "path": "m.csv*", "image": "file", "key": "id"}
    corpus.add(name, 2, {"missing_field": 1, "bad_row": 1, "missing_image": 1}, source=table)
    name = "csv_broken_header"
    corpus.file(name, "m.csv", f'"id"x,file\n{name}/1,x.jpg\n'.encode())
    corpus.add(name, 0, {"unreadable_file": 1}, source=table)
    for name, kind, file in (
        ("csv_packed_and_cut", "csv", "m.csv.gz"),
        ("jsonl_packed_and_cut", "jsonl", "m.jsonl.gz"),
    ):
        corpus.file(name, "x.jpg", GOOD[0])
        lines = [
            f'{{"id": "{name}/{i}", "file": "x.jpg"}}\n' if kind == "jsonl" else f"{name}/{i},x.jpg\n" for i in range(2)
        ]
        whole = gzip.compress(("id,file\n" * (kind == "csv") + "".join(lines)).encode())
        corpus.file(name, file, whole[:-8])  # all lines are there, the checksum behind them is not
        corpus.add(name, 2, {"truncated": 1}, source={**table, "format": kind, "path": f"m.{kind}*"})


STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])  # as Hugging Face stores images


def tables(corpus: Corpus) -> None:
    one = corpus.parquet
    one(
        "bytes_null_empty_or_garbage",
        [GOOD[0], None, b"", b"garbage", GOOD[1]],
        pa.binary(),
        2,
        {"missing_field": 1, "undecodable": 2},
    )
    one("bytes_in_large_type", [GOOD[0], GOOD[1]], pa.large_binary(), 2)
    one(
        "struct_of_bytes_and_path",
        [{"bytes": GOOD[0], "path": "gone.jpg"}, None, {"bytes": None, "path": None}],
        STRUCT,
        1,
        {"missing_field": 2},
    )
    one(
        "struct_with_path_only",
        [{"bytes": None, "path": "beside.jpg"}, {"bytes": None, "path": "gone.jpg"}],
        STRUCT,
        1,
        {"missing_image": 1},
    )
    one("image_is_a_list_of_numbers", [[1, 2]], pa.list_(pa.uint8()), 0, {"missing_field": 1})
    raw = pa.array([b"key_not_utf8/0", b"key_not_utf8/\xff", b"key_not_utf8/2"], pa.binary())
    ids = pa.Array.from_buffers(pa.string(), 3, raw.buffers())  # Parquet stores what it is given
    one("key_not_utf8", [GOOD[0], GOOD[0], GOOD[1]], pa.binary(), 2, {"invalid_utf8": 1}, ids=ids)
    settings = {"format": "parquet", "image": "image", "key": "id"}
    corpus.file("parquet_garbage", "t.parquet", b"PAR1 this is none PAR1")
    corpus.add("parquet_garbage", 0, {"unreadable_file": 1}, source={**settings, "path": "t.parquet"})
    corpus.file("parquet_cut", "t.parquet", (corpus.root / "bytes_in_large_type" / "t.parquet").read_bytes()[:-50])
    corpus.add("parquet_cut", 0, {"unreadable_file": 1}, source={**settings, "path": "t.parquet"})
    corpus.file("parquet_without_the_field", "x", b"")
    pq.write_table(
        pa.table({"id": ["1", "2"], "picture": [GOOD[0]] * 2}), corpus.root / "parquet_without_the_field" / "t.parquet"
    )
    corpus.add(
        "parquet_without_the_field", 0, {"missing_field": 1}, source={**settings, "path": "t.parquet"}
    )  # as for texts
    name = "bytes_and_paths_without_keys"  # a path names its row, whatever its neighbours hold
    corpus.file(name, f"{name}/beside.jpg", GOOD[1])
    images = [
        {"bytes": GOOD[0], "path": None},
        {"bytes": None, "path": f"{name}/beside.jpg"},
        {"bytes": GOOD[0], "path": None},
    ]
    pq.write_table(pa.table({"image": pa.array(images, STRUCT)}), corpus.root / name / "t.parquet")
    corpus.add(
        name,
        2,
        {"exact_duplicate": 1},
        source={"format": "parquet", "path": "t.parquet", "image": "image"},
        keys=["beside"],
    )
    name = "kept_dates_and_texts"
    for number, when in enumerate((date(1999, 1, 2), "long ago")):
        corpus.file(name, "x", b"")
        table = pa.table({"id": [f"{name}/{number}"], "image": [GOOD[number]], "when": [when]})
        pq.write_table(table, corpus.root / name / f"{number}.parquet")
    corpus.add(name, 2, source={**settings, "path": "*.parquet", "keep": ["when"]})
    name = "saved_dataset"
    corpus.file(name, "dataset_info.json", b"{}")
    corpus.file(name, "state.json", b'{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}')
    corpus.file(name, "beside.jpg", GOOD[1])
    images = [
        {"bytes": GOOD[0], "path": None}, {"bytes": b"garbage", "path": "beside.jpg"}, None, {"bytes": None, "path": "beside.jpg"},
    ]  # fmt: skip
    table = pa.table({"id": [f"{name}/{i}" for i in range(4)], "image": pa.array(images, STRUCT)})
    with (
        pa.OSFile(str(corpus.root / name / "data-00000-of-00001.arrow"), "wb") as out,
        pa.ipc.new_stream(out, table.schema) as stream,
    ):
        stream.write_table(table)
    corpus.add(name, 2, {"undecodable": 1, "missing_field": 1}, source={**settings, "format": "hf"})


def downloads(corpus: Corpus) -> None:
    jpeg, done = packed(photo(13)), "success"

    def k(name: str, *numbers: int) -> list[tuple[str, bytes]]:
        return [(f"{name}_{number}.jpg", GOOD[0] if number else jpeg) for number in numbers]

    name = "downloads"
    rows = [
        (f"{name}_0", done, None), (f"{name}_1", "failed_to_download", "HTTP Error 404: Not Found"), (f"{name}_2", done, None),
        (f"{name}_3", "failed_to_resize", "image decoding error"), (f"{name}_4", done, None),
    ]  # fmt: skip
    members = [*k(name, 0), (f"{name}_0.txt", b"a"), (f"{name}_0.json", b"{}"), *k(name, 4, 9)]
    details = ("HTTP Error 404", "image decoding error")
    corpus.downloaded(name, rows, members, 3, {"download_failed": 2, "missing_image": 1}, details=details)
    name = "download_with_a_bad_image"
    rows = [(f"{name}_{number}", done, None) for number in range(3)]
    corpus.downloaded(name, rows, [*k(name, 0), (f"{name}_1.jpg", jpeg[:200]), *k(name, 2)], 2, {"undecodable": 1})
    name = "download_without_its_tar"
    corpus.downloaded(
        name,
        [(f"{name}_0", done, None), (f"{name}_1", "failed_to_download", None)],
        None,
        0,
        {"missing_image": 1, "download_failed": 1},
    )
    name = "download_without_its_table"
    corpus.file(name, "00000.tar", tar_of(k(name, 0, 1)))
    corpus.add(name, 2, source={"format": "img2dataset"})
    name = "download_whose_table_is_garbage"  # the tar's images are there, with their own captions
    corpus.file(name, "00000.tar", tar_of(k(name, 0, 1)))
    corpus.file(name, "00000.parquet", b"PAR1 garbage")
    corpus.add(name, 2, {"unreadable_file": 1}, source={"format": "img2dataset"})
    name = "download_whose_tar_is_cut"  # each row of the table is a sample or one reject
    rows = [(f"{name}_{number}", done, None) for number in range(3)]
    corpus.downloaded(
        name, rows, k(name, 0, 1, 2), 1, {"missing_image": 2},
        damage=lambda raw: raw[: header_of(raw, "download_whose_tar_is_cut_1.jpg") + 900],
    )  # fmt: skip
    name = "download_whose_tar_is_garbage"
    corpus.downloaded(name, [(f"{name}_0", done, None)], [], 0, {"missing_image": 1}, damage=lambda _: b"garbage" * 200)
    name = "download_with_hostile_keys"  # a key is a name, no pattern and no path
    keys = [f"{name}_0", "/etc/passwd", "a**b", "../download_with_a_folder/00000/x", "", None, "[", "a\0b"]
    rows = [(key, done, None) for key in keys]
    corpus.downloaded(name, rows, k(name, 0), 1, {"missing_image": 7})
    name = "download_with_a_folder"
    corpus.file(name, "00000/x.jpg", jpeg)
    corpus.file(name, f"00000/{name}_1.jpg", GOOD[1])
    pq.write_table(
        pa.table({"key": [f"{name}_1", f"{name}_2"], "status": [done, done]}), corpus.root / name / "00000.parquet"
    )
    corpus.add(name, 2, {"missing_image": 1}, source={"format": "img2dataset"})


def make_corpus(root: Path) -> list[Case]:
    """Write everything below an empty or absent folder, and say what must come of it."""
    root = Path(root).absolute()
    root.mkdir(parents=True, exist_ok=True)
    corpus = Corpus(root)
    for part in (folders, sidecars, tars, manifests, tables, downloads):
        part(corpus)
    names = [case.name for case in corpus.cases]
    assert len(set(names)) == len(names)
    return corpus.cases


if __name__ == "__main__":
    for case in make_corpus(Path(sys.argv[1])):
        print(f"{case.name:<45} {case.samples:>2} samples  {case.rejects or ''}")
