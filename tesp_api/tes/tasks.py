"""The task as clients send it, as the standard defines it, and the views in which it is shown."""

from enum import StrEnum


class View(StrEnum):
    """How much of a task is shown. Source: TES 1.1, parameter `view`."""

    MINIMAL = "MINIMAL"
    BASIC = "BASIC"
    FULL = "FULL"
