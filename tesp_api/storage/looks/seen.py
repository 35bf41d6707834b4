"""What looks find."""

from typing import Literal, NamedTuple

from tesp_api.worker.errors import StagingError


class Seen(NamedTuple):
    """What is there; the size is None for directories, and where the server does not tell it."""

    kind: Literal["file", "directory"]
    size_bytes: int | None = None


DIRECTORY = Seen("directory")


class Missing(StagingError):
    """There is nothing."""
