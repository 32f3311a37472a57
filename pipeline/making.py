"""Making a run's columns, turn by turn: a turn's columns are made of the pool and of columns of earlier turns.

Models that a turn's columns learn are learned before it. Rows and images of a shard are each read once for all columns
of a turn; what stands already is passed over."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from tamis.pipeline.choose.batches import side_by_side
from tamis.pipeline.columns.contract import Sources
from tamis.pipeline.columns.declared import Maker, by_name, waves
from tamis.pipeline.columns.fill_images import fill_images
from tamis.pipeline.columns.fill_objects import fill_objects
from tamis.pipeline.columns.fill_rows import ToFill, fill_rows
from tamis.pipeline.columns.filling import Filling
from tamis.pipeline.columns.parts import stands
from tamis.pipeline.errors import RunFailed
from tamis.pipeline.parallel import at_model
from tamis.pipeline.progress import say
from tamis.pipeline.read.names import NOTHING, repeated_names
from tamis.pipeline.read.pool import Part
from tamis.pipeline.store.runs import Run, open_run
from tamis.selectors.contract import Inputs

NAMED = 3  # columns of a turn, in its stage's name


def turns(run: Run) -> list[list[Maker]]:
    """The run's columns in the order in which they can be made."""
    return waves(run.makers)


def stage_name(makers: list[Maker]) -> str:
    names = list(dict.fromkeys(maker.name for maker in makers))
    return f"columns {', '.join(names[:NAMED])}" + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def unmade(run: Run, makers: list[Maker]) -> int:
    """Rows of the shards for which one of these is still to be made."""
    return sum(part.rows for part in run.pool.parts if not all(stands(run.column(m), part) for m in makers))


def made_in_the_decode(run: Run, of_target: bool) -> list[Filling]:
    """The columns that one decode can serve together with the shards themselves."""
    return [Filling(maker, run.column(maker, of_target)) for maker in run.asked if maker.output.way == "images"]


def learn(folder: Path, name: str) -> None:
    """Learn the model of a column, unless it stands."""
    run = open_run(folder)
    maker = next(maker for maker in run.makers if maker.name == name)
    maker.kind.learn(RunLessons(run, maker), run.learned(maker))


def make_columns(folder: Path, turn: int, names: list[str]) -> None:
    """Make the named parts of a turn's columns; with the first also the target's."""
    run = open_run(folder)
    makers = turns(run)[turn]
    for name in names:
        make_parts(run, makers, run.part(name), of_target=False)
    if run.pool.parts[0].name in names:
        for one in filter(None, (run, run.held)):
            for part in one.beside.parts if one.beside else ():
                make_parts(one, [maker for maker in makers if maker.of_target], part, of_target=True)


def make_parts(run: Run, makers: list[Maker], part: Part, *, of_target: bool) -> None:
    """Write a shard's parts of some columns whole, unless they are there and of this very shard."""
    missing = [maker for maker in makers if not stands(run.column(maker, of_target), part)]
    by_way: dict[str, list[Maker]] = {"images": [], "objects": [], "rows": []}
    for maker in missing:
        by_way[maker.output.way].append(maker)
    light = [maker for maker in by_way["rows"] if not maker.kind.heavy]  # these wait for no model
    if by_way["images"]:
        fill_images([Filling(maker, run.column(maker, of_target)) for maker in by_way["images"]], part, say)
    for maker in by_way["objects"]:
        repeated = repeated_names(run.pool) if maker.kind.joins_by_name else NOTHING
        fill_objects(maker, run.column(maker, of_target), part, repeated, say)
    for some in (light, [maker for maker in by_way["rows"] if maker.kind.heavy]):
        if some:
            columns = [
                ToFill(
                    maker,
                    run.column(maker, of_target),
                    run.learned(maker),
                    1.0 if of_target else maker.kind.made_of_share,
                )
                for maker in some
            ]
            reads = tuple(dict.fromkeys(field for maker in some for field in maker.reads))
            # a target without numbers is no loss: few columns are for it; one without vectors is
            told = say if not of_target or any(maker.output.vectors for maker in some) else _hush
            fill_rows(columns, part, side_by_side(run, part, Inputs(fields=reads), of_target), told)


def _hush(_line: str) -> None:
    pass


class RunLessons:
    """What there is in a run for a column to learn from."""

    def __init__(self, run: Run, maker: Maker) -> None:
        self._run, self._maker = run, maker

    def parts(self, of: Sources) -> list[Part]:
        """Raises RunFailed."""
        pool = self._run.pool if of == "pool" else self._run.target
        if pool is None:
            raise RunFailed(f"columns.{self._maker.name}: there is no {of}")
        return pool.parts

    def batches(self, of: Sources) -> Iterator[pa.RecordBatch]:
        """Rows with all that the column reads. Raises RunFailed."""
        of_target = of == "target"
        taught = () if of_target else self._maker.kind.taught_by
        return _streamed(self._run, self.parts(of), self._inputs(taught), of_target=of_target)

    def targets(self) -> list[Iterator[pa.RecordBatch]]:
        parts = self.parts("target")
        return [
            _streamed(self._run, [part for part in parts if part.origin == origin], self._inputs(), of_target=True)
            for origin in range(len(self._run.recipe.target))
        ]

    def _inputs(self, more: tuple[str, ...] = ()) -> Inputs:
        return Inputs(fields=tuple(dict.fromkeys([*self._maker.reads, *more])))

    def words(self, column: str, words: list[str]) -> pa.Array:
        with at_model:
            return by_name(self._run.declared)[column].maker.words(words)

    def learned_by(self, column: str) -> Path:
        return self._run.learned(by_name(self._run.declared)[column].maker)


def _streamed(run: Run, parts: list[Part], inputs: Inputs, *, of_target: bool) -> Iterator[pa.RecordBatch]:
    for part in parts:
        yield from side_by_side(run, part, inputs, of_target)
