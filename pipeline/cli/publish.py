"""`tamis path`, `diff`, `approve`, `hold`: what consumers read, what changed in it, and who says so.

Heavy imports wait inside the verbs, so that --help answers at once."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from tamis.pipeline.progress import show

Why = Annotated[str, Parameter(name="--why")]


def path(store: Path, export: str | None = None, *, to: str = "current") -> None:
    """Print where the published run of a STORE lies, or one of its exports: for scripts that train on it.

    Parameters
    ----------
    store
        the store
    export
        name of one of the run's exports, such as selection.jsonl; or `removed` or `added`: what changed since the run
        that was published before
    to
        the switch, where the recipe's `publish` names another than current

    Examples
    --------
    tamis path my-store
    tamis path my-store selection.parquet
    tamis path s3://bucket/my-store removed
    """
    from tamis.pipeline.store.current import published_place

    show(published_place(store, export, to))


def diff(
    before: Path,
    after: Path,
    *,
    format: Literal["text", "csv", "json"] = "text",
    sql: str | None = None,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
) -> None:
    """Tell what changed between two runs of a store: who came in, who went out, why each, and what it is made of now.

    Parameters
    ----------
    before
        the earlier run's folder, STORE/runs/NAME
    after
        the later one's
    format
        text sums it up; csv and json have a row for each sample
    sql
        a SELECT over the view `diff` instead: change, key, why, detail, step, reason, rank, weight
    out
        a page, as well

    Examples
    --------
    tamis diff my-store/runs/monday my-store/runs/tuesday
    tamis diff my-store/runs/monday my-store/runs/tuesday -o diff.html
    tamis diff my-store/runs/monday my-store/runs/tuesday --sql "select why, count(*) from diff group by all"
    """
    from tamis.pipeline.publish.changes import changes
    from tamis.pipeline.publish.told import page, rows, text
    from tamis.pipeline.store.query import print_answer
    from tamis.pipeline.store.runs import open_complete

    later = open_complete(after, thinned_too=True)
    found = changes(open_complete(before, thinned_too=True), later)
    if sql is None and format == "text":
        show(text(found))
    else:
        print_answer(rows(found, later.store, sql), "table" if format == "text" else format)
    if out is not None:
        page(found, out)
        show(out, sys.stderr)


def approve(run: Path, *, why: Why, by: str | None = None, to: str | None = None) -> None:
    """Publish a run, whatever its guards said: STORE/current.json names it, and who said so and why is on record.

    Parameters
    ----------
    run
        the run's folder, STORE/runs/NAME; one that was published before may be so again
    why
        in a few words
    by
        who (default: this user and machine)
    to
        the switch (default: on which the run was decided last, else its recipe's)

    Examples
    --------
    tamis approve my-store/runs/nightly-0012 --why "the new source is meant"
    """
    from tamis.pipeline.publish.decide import approve as publish

    show(publish(run, why, by, to))


def hold(run: Path, *, why: Why, by: str | None = None, to: str | None = None) -> None:
    """Keep a run from consumers. Where it is published, the one before it is again.

    Parameters
    ----------
    run
        the run's folder, STORE/runs/NAME
    why
        in a few words
    by
        who (default: this user and machine)
    to
        the switch (default: on which the run was decided last, else its recipe's)

    Examples
    --------
    tamis hold my-store/runs/nightly-0012 --why "half of it is boilerplate"
    """
    from tamis.pipeline.publish.decide import hold as keep

    show(keep(run, why, by, to))
