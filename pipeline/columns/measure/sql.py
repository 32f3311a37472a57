"""`sql: EXPR`: a number or a text for each row, by an expression over the pool's fields and columns made before.

Checked as `where` is: one expression, no subqueries, nothing that answers otherwise each time. The database sees the
rows that are given to it, and no file. Made again when the expression or a column that it reads changes."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from tamis.pipeline.columns.contract import ColumnKind, NoModel, Output, Told
from tamis.pipeline.errors import QueryError, RecipeError
from tamis.pipeline.recipe.expressions import check_expression, names_in, problem_of
from tamis.selectors.hints import did_you_mean

SQL_VERSION = 1  # raise when the same rows would get other values


@dataclass(frozen=True, kw_only=True)
class SqlColumn(ColumnKind):
    """expression  over the fields of a row, as in `where`
    reads       fields and columns that it names (found in the expression; not for a recipe to give)
    """

    verb: ClassVar[str] = "sql"
    kind: ClassVar[str] = "expression"
    heavy: ClassVar[bool] = False
    of_target: ClassVar[bool] = False  # steps ask it of what they choose from
    told_if_empty: ClassVar[bool] = False

    expression: str
    reads: tuple[str, ...] = field(default=(), init=False)  # found in the expression

    def __post_init__(self) -> None:
        check_expression("sql", self.expression)

    def knowing(self, names: Iterable[str]) -> "SqlColumn":
        """With the names that the expression reads; SQL does not tell upper from lower case. Raises ValueError."""
        known = {name.casefold(): name for name in names}
        reads: list[str] = []
        unknown: list[str] = []
        for name in names_in(self.expression):
            whole, first = name.casefold(), name.casefold().partition(".")[0]
            found = known.get(whole, known.get(first))
            (unknown if found is None else reads).append(found or name)
        if unknown:
            raise ValueError(
                f"no field or column {unknown[0]!r}{did_you_mean(unknown[0], known)} "
                f"(there are: {', '.join(sorted(known.values()))})"
            )
        if twice := {name.partition(".")[0] for name in reads if "." in name} & {*reads}:
            raise ValueError(f"{min(twice)} and an output of it can't be read together; name both outputs")
        found_all = SqlColumn(expression=self.expression)
        object.__setattr__(found_all, "reads", tuple(dict.fromkeys(reads)))
        return found_all

    def makes(self, images: bool) -> list[Output]:
        return [Output(reads=self.reads)]

    def fingerprinted(self, folder: Path) -> dict[str, Any]:
        return {**asdict(self), "reads": list(self.reads), "version": SQL_VERSION}

    def load(self, place: Path) -> "SqlModel":
        return SqlModel(self.expression)


class SqlModel(NoModel):
    """The expression, asked of batches on a connection that can reach nothing else."""

    def __init__(self, expression: str) -> None:
        import duckdb

        self.expression = expression
        self.con = duckdb.connect(config={"threads": 1, "enable_external_access": False, "lock_configuration": True})

    def values(self, batch: pa.RecordBatch, told: Told) -> list[pa.Array]:
        """Raises QueryError, RecipeError."""
        import duckdb

        con = self.con.cursor()
        try:
            con.register("pool", _as_seen(batch))
            found = con.sql(f"select ({self.expression}\n) as value from pool").to_arrow_table()["value"]
        except duckdb.Error as error:
            raise QueryError(f"sql {self.expression!r}: {problem_of(error)}") from error
        finally:
            con.close()
        if len(found) != batch.num_rows:
            raise QueryError(f"sql {self.expression!r}: gave {len(found)} values for {batch.num_rows} rows")
        return [_plain(found.combine_chunks(), self.expression)]


def _as_seen(batch: pa.RecordBatch) -> pa.Table:
    """Outputs of a column as a struct, so that `clip.class` reads as in the recipe; halves, which the database does not
    know, as floats."""
    plain: dict[str, pa.Array] = {}
    packed: dict[str, dict[str, pa.Array]] = {}
    for name in batch.schema.names:
        plain[name] = batch[name].cast(_wider(batch[name].type))
        column, dot, output = name.partition(".")
        if dot and column:
            packed.setdefault(column, {})[output] = plain[name]
    structs = {name: pa.StructArray.from_arrays(list(some.values()), list(some)) for name, some in packed.items()}
    return pa.table({**structs, **plain})


def _wider(kind: pa.DataType) -> pa.DataType:
    """The type with floats in place of halves, however deep they lie."""
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_wider(kind.value_type), kind.list_size)
    if pa.types.is_list(kind):
        return pa.list_(_wider(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(one.name, _wider(one.type)) for one in kind])
    return kind


def _plain(values: pa.Array, expression: str) -> pa.Array:
    """A number or a text; decimals and floats as float64."""
    kind = values.type
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return values.cast(pa.float64())
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_string(kind):
        return values
    raise RecipeError(f"sql {expression!r}: gives {kind}, wanted a number or a text; cast it, as in `(...)::varchar`")
