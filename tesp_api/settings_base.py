"""What all tables of the settings have in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Seconds = Annotated[float, Field(gt=0)]


class Table(BaseModel):
    """A table of the settings: frozen, and without keys that nobody knows."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)
