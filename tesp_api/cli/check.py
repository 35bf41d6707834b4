"""What a check of `tesp doctor` says."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: what was `found`, and how to `mend` it if that is needed."""

    name: str
    level: Level
    found: str
    mend: str = ""
