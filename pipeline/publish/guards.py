"""The guards of `publish:`: what is asked of a selection by itself, and against the one that was published last.

Each tells what was found and what was wanted, held or not. Where nothing is published yet there is nothing to differ
from, and only bounds are held against it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tamis.pipeline.choose.groups import MOST_GROUPS, composition
from tamis.pipeline.choose.history import new_and_known
from tamis.pipeline.columns.declared import Maker
from tamis.pipeline.columns.hashed import ngrams_maker
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.making import make_parts
from tamis.pipeline.progress import visible
from tamis.pipeline.publish.pairs import Ids, apart, chosen
from tamis.pipeline.read.pool import Pool
from tamis.pipeline.recipe.publish import Publish, Shares
from tamis.pipeline.store.runs import Run
from tamis.selectors.match.importance_facts import cross_entropy, divergence
from tamis.selectors.texts.ngrams import Ngrams, flat

Counts = npt.NDArray[np.int64]
NGRAMS = Ngrams(order=2, buckets=1 << 18)  # where no step says which


class Finding(NamedTuple):
    """One guard: what was found, what was wanted, and whether that holds."""

    guard: str
    told: str  # both, in words
    holds: bool


def findings(run: Run, publish: Publish, last: Run | None) -> Iterator[Finding]:
    """Of a complete run; `last` is published."""
    ids = chosen(run)
    yield from _rows(publish, len(ids))
    before = None if last is None else chosen(last)
    if publish.change is not None and before is not None and len(before):
        change = abs(len(ids) - len(before)) / len(before)
        told = f"{len(ids):,} samples after {len(before):,}, a change of {change:.0%}"
        yield Finding("change", f"{told}, wanted at most {publish.change:.0%}", change <= publish.change)
    yield from _inputs(run, publish, last)
    if last is not None and before is not None:
        if publish.overlap is not None and len(before):
            yield _overlap(publish.overlap, run, last, len(before))
        yield from _shares(run, publish.shares, ids, last, before)
        if publish.of_ngrams:
            yield from _ngrams(run, publish, ids, last, before)


def _rows(publish: Publish, rows: int) -> Iterator[Finding]:
    least, most = publish.bounds
    if least is not None:
        yield Finding("rows", f"{rows:,} samples, wanted at least {least:,}", rows >= least)
    if most is not None:
        yield Finding("rows", f"{rows:,} samples, wanted at most {most:,}", rows <= most)


def _inputs(run: Run, publish: Publish, last: Run | None) -> Iterator[Finding]:
    """What came since the last published run: of the first all of it."""
    if publish.new_rows is None and publish.rejects is None:
        return
    new: Pool = new_and_known(run, [] if last is None else [last.folder])[0]
    if publish.new_rows is not None:
        told = f"{new.rows:,} new samples, wanted at least {publish.new_rows:,}"
        yield Finding("new_rows", told, new.rows >= publish.new_rows)
    if publish.rejects is not None and new.source_rows:
        lost = sum(new.rejects.values())
        share = lost / new.source_rows
        told = f"{lost:,} of {new.source_rows:,} new rows are rejects ({share:.1%})"
        yield Finding("rejects", f"{told}, wanted at most {publish.rejects:.1%}", share <= publish.rejects)


def _overlap(wanted: float, run: Run, last: Run, rows: int) -> Finding:
    """A sample whose text or fields are others is not in it again; one that counts another number of times is."""
    went = apart(last, run)
    gone = pc.sum(pc.or_(pc.is_null(went["other_weight"]), went["changed"])).as_py() or 0
    share = 1 - gone / rows
    told = f"{share:.1%} of the last published {rows:,} are in it again, wanted at least {wanted:.1%}"
    return Finding("overlap", told, share >= wanted)


def _shares(run: Run, wanted: Sequence[Shares], ids: Ids, last: Run, before: Ids) -> Iterator[Finding]:
    """Of each field and bound the group that is farthest from where it was."""
    fields = list(dict.fromkeys(field for one in wanted for field in one.fields))
    if not fields:
        return
    now = composition(run, fields, ids)
    known = [field for field in fields if field == "source" or field in {*last.recipe.kept, *last.names}]
    then = composition(last, known, before)
    for field in fields:
        if field not in now or field in set(known) - set(then):
            raise RecipeError(f"publish.share: {field!r} has more than {MOST_GROUPS:,} values, which are no groups")
    for one in wanted:
        for field in filter(then.__contains__, one.fields):
            shares = {
                group: (then[field].get(group, 0) / max(1, len(before)), now[field].get(group, 0) / max(1, len(ids)))
                for group in {*now[field], *then[field]}
            }
            yield from _share(one, field, shares, then[field])


def _share(
    wanted: Shares, field: str, shares: dict[str, tuple[float, float]], rows: dict[str, int]
) -> Iterator[Finding]:
    name = f"share {field}"
    if wanted.within is not None and shares:
        group, (old, new) = max(shares.items(), key=lambda one: (abs(one[1][1] - one[1][0]), one[0]))
        told = f"of {visible(field)} {visible(group)!r} are {new:.1%} after {old:.1%}"
        yield Finding(name, f"{told}, wanted within {wanted.within:.1%}", abs(new - old) <= wanted.within)
    large = {group: share for group, share in shares.items() if rows.get(group, 0) > wanted.rows}
    if wanted.keep_at_least is not None and large:
        group, (old, new) = min(large.items(), key=lambda one: (one[1][1] / one[1][0], one[0]))
        told = f"of {visible(field)} {visible(group)!r} are {new:.1%} after {old:.1%}"
        told += f", {new / old:.0%} of its share, wanted at least {wanted.keep_at_least:.0%}"
        yield Finding(name, told, new >= wanted.keep_at_least * old)


def _ngrams(run: Run, publish: Publish, ids: Ids, last: Run, before: Ids) -> Iterator[Finding]:
    """Distances over hashed n-grams, of both runs by this one's settings."""
    ngrams = next((n for step in run.steps if (n := step.selector.inputs().ngrams) is not None), NGRAMS)
    now, then = _counts(run, ngrams, ids), _counts(last, ngrams, before)
    if publish.kl is not None:
        kl = divergence(now, then, now + then)  # the last one's smoothed by both
        told = "no n-grams to tell it by" if kl is None else f"{kl:.3f} nats"
        told = f"KL of its n-grams from the last published one's: {told}, wanted at most {publish.kl:.3f}"
        yield Finding("kl", told, kl is not None and kl <= publish.kl)
    if publish.target_nats is not None:
        target = _counts(run, ngrams, None)
        seen = (target > 0) | (now > 0) | (then > 0)
        new, old = (cross_entropy(target[seen], one[seen]) for one in (now, then))
        told = f"an n-gram of the target costs {new:.3f} nats after {old:.3f}"
        told += f", wanted at most {publish.target_nats:.3f} more"
        yield Finding("target_nats", told, new - old <= publish.target_nats)


def _counts(run: Run, ngrams: Ngrams, ids: Ids | None) -> Counts:
    """[buckets] of these samples of the pool; without any, of the target."""
    from tamis.selectors.loops.buckets import add_counts

    maker: Maker = ngrams_maker(ngrams)
    pool = run.pool if ids is not None else run.target
    assert pool is not None
    counts = np.zeros(ngrams.buckets, np.int64)
    for part in pool.parts:
        make_parts(run, [maker], part, of_target=ids is None)
        file = pq.ParquetFile(run.column(maker, ids is None) / part.name)
        for batch in file.iter_batches(batch_size=4096, use_threads=False):
            mine = batch if ids is None else batch.filter(pa.array(np.isin(batch["sample_id"].to_numpy(), ids)))
            add_counts(flat(mine, ngrams)[0], counts)
    return counts
