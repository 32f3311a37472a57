"""A source of a recipe: files of one format, and which of their fields become what."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from tamis.pipeline.recipe.limits import Limits
from tamis.pipeline.recipe.model import Model
from tamis.pipeline.schemas import POOL

FORMATS = {
    "jsonl": "JSON lines: one object a line",
    "parquet": "Parquet tables; folders such as lang=fr are fields",
    "csv": "CSV, also tab-separated, with a header",
    "texts": "a folder of .txt and .md files, each a text",
    "hf": "a dataset saved by `save_to_disk`",
    "images": "a folder of image files",
    "webdataset": "tars of images with their captions and JSON beside them",
    "img2dataset": "what img2dataset downloaded: files, tars or Parquet, with its own failures listed",
}
Format = Literal["jsonl", "parquet", "csv", "texts", "hf", "images", "webdataset", "img2dataset"]
IMAGE_FORMATS = ("images", "webdataset", "img2dataset")  # each row an image; the other formats with `image: FIELD`
PLAIN_FIELD = re.compile(r"[\w][\w .\-]*")  # goes into SQL quoted, and into file headers
RESERVED = {  # names of the pool's own fields, of the selection's, of views, and of what DuckDB adds to a file's rows
    *POOL.names, "parent", "rank", "weight", "score", "n_tokens", "ngrams", "minhash",
    "minhash_buckets", "minhash_low", "filename", "file_row_number",
    "pool", "rejects", "all_rejects", "ledger", "selection", "costs",
    "spikes",
}  # fmt: skip


class Chunk(Model):
    """Cut each text into pieces; each piece is a sample `key#0`, `key#1`, ..., the whole text's key its `parent`.

    words  of a piece; a word is what white space parts, and each letter of a script without spaces
    """

    words: Annotated[int, Field(ge=1)]


class Source(Model):
    """Files of one format, and which of their fields become what.

    format  how the files are read
    path  file, folder, glob (`**` too), URL, or a list of them; `.gz`, `.zst`, `.bz2`, `.xz` are unpacked on the way
    key  field with the source's own key; else of images and files of text the path below the root without suffix, of
        other rows (and images whose bytes lie in a table) the content's hash
    text  field with the text
    image  field with an image's bytes or path; of webdataset the ending, such as left.jpg
    caption  fields or sidecars (`txt`) that hold captions, the main one first
    keep  fields to carry to the end: a list, or a map of the pool's name to the source's
    namespace  told apart from equal keys of other sources
    chunk  cut each text into pieces
    split  of a saved dataset with several: one, or a list of them
    follow_links  links, and paths in tables of images, that leave the pool's folder are read, too
    limits  how much one record may be; what passes is a reject
    """

    format: Format
    path: str | Annotated[list[str], Field(min_length=1)]
    key: str | None = None
    text: str = "text"
    image: str | None = None
    caption: str | list[str] | None = None
    keep: dict[str, str] = {}
    namespace: str = ""
    chunk: Chunk | None = None
    split: str | list[str] | None = None
    follow_links: bool = False
    limits: Limits = Limits()

    @field_validator("keep", mode="before")
    @classmethod
    def _names_to_map(cls, keep: Any) -> Any:
        if isinstance(keep, list) and all(isinstance(name, str) for name in keep):
            keep = {name: name for name in keep}
        if isinstance(keep, dict):
            for name in keep:
                if str(name).casefold() in RESERVED:
                    raise ValueError(
                        f"{name!r} is a name that tamis uses itself; keep it under another one, "
                        f"for instance {{source_{name}: {name}}}"
                    )
                if not PLAIN_FIELD.fullmatch(str(name)):
                    raise ValueError(f"{name!r}: a kept field's name has letters, digits, _ . - and spaces; rename it")
            if len({str(name).casefold() for name in keep}) < len(keep):
                raise ValueError("two kept fields differ only in upper and lower case; rename one")
        return keep

    @model_validator(mode="after")
    def _texts_have_no_fields(self) -> "Source":
        if self.format == "texts" and (self.key or self.keep or self.text != "text"):
            raise ValueError("format texts has no fields to name: the text is the file, the key its path")
        return self

    @model_validator(mode="after")
    def _images_have_no_text(self) -> "Source":
        if self.format in IMAGE_FORMATS and (self.key or (self.image and self.format != "webdataset")):
            raise ValueError(f"format {self.format} needs no image or key: the key is the path below the root")
        if self.reads_images and (self.text != "text" or self.chunk):
            raise ValueError("a source of images has captions: name their fields with `caption:`; `chunk` cuts texts")
        if self.split is not None and self.format != "hf":
            raise ValueError("split belongs to format hf, a dataset saved with its splits")
        if self.caption is not None and not self.reads_images:
            raise ValueError("caption belongs to images; a text's field is named with `text:`")
        if self.format == "texts" and self.image:
            raise ValueError("format texts has no fields; for images use format images, or a table with `image:`")
        return self

    @property
    def reads_images(self) -> bool:
        return self.format in IMAGE_FORMATS or self.image is not None

    @property
    def captions(self) -> list[str]:
        if self.caption is None:
            return []
        return [self.caption] if isinstance(self.caption, str) else list(self.caption)

    @property
    def paths(self) -> list[str]:
        return [self.path] if isinstance(self.path, str) else list(self.path)

    @property
    def splits(self) -> list[str]:
        if self.split is None:
            return []
        return [self.split] if isinstance(self.split, str) else list(self.split)
