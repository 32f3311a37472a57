"""How much one record of a source may be, and how much a run may spend at once.

What passes the first is a reject, and its neighbours are read on. Nobody's pool is trusted: a few kilobytes may unpack
to gigabytes, and one line may have no end."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

UNITS = {"k": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def _bytes(value: Any) -> Any:
    """64M as a number."""
    if not isinstance(value, str) or value.isdecimal():
        return value
    if value[-1:] in UNITS and value[:-1].isdecimal():
        return int(value[:-1]) * UNITS[value[-1]]
    raise ValueError(f"wanted bytes, as a number or with {', '.join(UNITS)} behind it, such as 64M; found {value!r}")


Size = Annotated[int, BeforeValidator(_bytes), Field(ge=1 << 10, le=1 << 34)]


class Limits(BaseModel):
    """Bytes, as numbers or texts such as 64M.

    record  of a line, a text, a value of a table
    page  of what of a table can only be unpacked at once
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    record: Size = 64 << 20
    page: Size = 512 << 20


class RunLimits(BaseModel):
    """What a run may spend at once. Where one is met it ends behind the last whole shard, and the same command, or the
    next night, goes on there.

    seconds  of time
    bytes  that it writes: a number, or text such as 20G
    cost  by the recipe's `prices`
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    bytes: Annotated[int, BeforeValidator(_bytes), Field(gt=0)] | None = None
    cost: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
