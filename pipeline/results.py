"""What the doors for Python give back: a run to ask, rows of an answer, a text, a report, a comparison.

Nothing is read before it is asked for. All show themselves in a notebook."""

import html
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tamis.pipeline.errors import TamisError
from tamis.pipeline.recipe.extras import missing

if TYPE_CHECKING:
    import pyarrow as pa

    from tamis.pipeline.publish.changes import Changes
    from tamis.pipeline.store.runs import Run


class Told(str):
    """A text of several lines that shows itself as it is."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self)}</pre>"


class Rows:
    """Rows of an answer: an Arrow table, and what people make of one."""

    def __init__(self, table: "pa.Table") -> None:
        self.table = table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __getitem__(self, name: str) -> "pa.ChunkedArray":
        return self.table[name]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self.table.to_batches():
            yield from batch.to_pylist()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """For pyarrow, polars, DuckDB and whatever else reads Arrow's streams."""
        return self.table.__arrow_c_stream__(requested_schema)

    @property
    def num_rows(self) -> int:
        return len(self)

    @property
    def column_names(self) -> list[str]:
        names: list[str] = self.table.column_names
        return names

    def to_pylist(self) -> list[dict[str, Any]]:
        return list(self)

    def to_pandas(self) -> Any:
        """A data frame; needs pandas."""
        _needed("pandas")
        return self.table.to_pandas()

    def to_hf(self) -> Any:
        """A Hugging Face dataset; needs `datasets`."""
        _needed("datasets")
        import pyarrow as pa
        from datasets import Dataset

        return Dataset(pa.Table.from_batches(self.table.to_batches(), self.table.schema))

    def __repr__(self) -> str:
        from tamis.pipeline.store.query import as_table

        return as_table(self.table.slice(0, SHOWN)) + (f"\n({len(self):,} rows)" if len(self) > SHOWN else "")

    def _repr_html_(self) -> str:
        shown = self.table.slice(0, SHOWN).to_pylist()
        head = "".join(f"<th>{html.escape(name)}</th>" for name in self.column_names)
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(_short(value))}</td>" for value in row.values()) + "</tr>"
            for row in shown
        )
        return f"<table><tr>{head}</tr>{rows}</table><p>{len(self):,} rows</p>"


SHOWN = 20  # rows that a look shows
MOST_CHARS = 120


def _needed(package: str) -> None:
    if missing(package):
        raise TamisError(f"{package} is not installed: pip install {package}")


def _short(value: Any) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= MOST_CHARS else text[: MOST_CHARS - 1] + "…"


class Stage(NamedTuple):
    """One stage of a run's funnel: rows left, and what was lost there and why."""

    name: str
    rows: int
    lost: str


class Report:
    """A run's report, an HTML file that opens anywhere; a notebook shows it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"Report({str(self.path)!r})"

    def _repr_html_(self) -> str:
        page = html.escape(self.path.read_text(encoding="utf-8"), quote=True)
        return f'<iframe srcdoc="{page}" width="100%" height="640" style="border:0"></iframe>'


class Result:
    """A complete run. `fresh`: whether it was made by this call, rather than found."""

    def __init__(self, folder: Path, *, fresh: bool = False, out: Path | None = None) -> None:
        self.folder, self.fresh, self.out = folder, fresh, out

    @cached_property
    def _run(self) -> "Run":
        from tamis.pipeline.store.runs import open_complete

        return open_complete(self.folder, thinned_too=True)

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Provenance: what went in, what was asked, what came out."""
        from tamis.pipeline.files.atomic import read_json

        found: dict[str, Any] = read_json(self.folder / "manifest.json")
        return found

    @property
    def selected(self) -> int:
        """Samples in the selection."""
        return int(self.manifest["selected"])

    def selection(self) -> Rows:
        """The samples that were kept, best first."""
        from tamis.pipeline.emit.restored import restored_table

        return Rows(restored_table(self.folder / "selection.parquet"))

    def sql(self, query: str) -> Rows:
        """The answer to one SELECT over pool, rejects, ledger, selection and columns. Raises QueryError."""
        import pyarrow as pa

        from tamis.pipeline.store.query import ask

        return Rows(pa.Table.from_batches(list(ask(self._run, query))))

    def why(self, key: str) -> Told:
        """One sample's story, by key or id. Raises QueryError where there is no such sample."""
        from tamis.pipeline.explain.why import why

        return Told(why(self._run, key))

    @property
    def funnel(self) -> list[Stage]:
        """From source rows to the selection."""
        from tamis.pipeline.explain.show import funnel

        return [Stage(*stage) for stage in funnel(self.manifest)]

    @property
    def facts(self) -> dict[str, dict[str, Any]]:
        """What steps tell of their choices, by `NUMBER SELECTOR`."""
        return {f"{step['step']} {step['selector']}": step["facts"] for step in self.manifest["steps"]}

    @property
    def report(self) -> Report:
        return Report(self.folder / "report.html")

    @property
    def exports(self) -> dict[str, Path]:
        """The files that `emit` asked for, by name."""
        return {path.name: path for path in sorted((self.folder / "exports").glob("*"))}

    def verify(self) -> list[str]:
        """Everything that is not as the manifest says; nothing: all is well."""
        from tamis.pipeline.store.manifest import verify

        return verify(self._run)

    def __repr__(self) -> str:
        from tamis.pipeline.explain.show import summary

        return f"run {self.folder}\n{summary(self.manifest)}"

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"


class Difference:
    """What changed from one run to another; `came` and `went` are counts by why."""

    def __init__(self, found: "Changes") -> None:
        self._found = found

    @property
    def rows(self) -> Rows:
        """One for each sample that came in or went out: change, key, why, detail, step, reason, rank, weight."""
        return Rows(self._found.table)

    @property
    def came(self) -> dict[str, int]:
        return dict(self._found.why("in"))

    @property
    def went(self) -> dict[str, int]:
        return dict(self._found.why("out"))

    @property
    def stay(self) -> int:
        return self._found.stay

    @property
    def rank_correlation(self) -> float | None:
        """Of those that stay, Spearman's; None below two."""
        return self._found.rank_correlation

    def write(self, path: Path | str) -> Path:
        """The page, one HTML file that opens anywhere."""
        from tamis.pipeline.publish.told import page

        page(self._found, Path(path))
        return Path(path)

    def __repr__(self) -> str:
        from tamis.pipeline.publish.told import text

        return text(self._found)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"


class Comparison:
    """Several selections side by side; `figures` are plain values."""

    def __init__(self, figures: dict[str, Any]) -> None:
        self.figures = figures

    @property
    def table(self) -> Told:
        from tamis.pipeline.comparing.page import table

        return Told(table(self.figures))

    def write(self, path: Path | str) -> Path:
        """The page, one HTML file that opens anywhere."""
        from tamis.pipeline.comparing.page import write_comparison

        write_comparison(self.figures, Path(path))
        return Path(path)

    def __repr__(self) -> str:
        return str(self.table)

    def _repr_html_(self) -> str:
        return self.table._repr_html_()
