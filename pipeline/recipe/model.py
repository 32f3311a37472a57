"""What all of a recipe's models are: frozen, strict, and refusing keys that they don't know."""

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
