"""Has files fetched when they are opened, by whichever library does it. To be installed before all others."""

from __future__ import annotations

import builtins
import io
import os
from collections.abc import Callable
from typing import Any

_open = io.open


class Opening:
    """`fetch` is called with the path of each file that is opened to be read."""

    def __init__(self) -> None:
        self.fetch: Callable[[str], None] | None = None

    def install(self) -> None:
        """Take the place of the builtin `open`."""

        def open_fetched(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            if self.fetch is not None and isinstance(file, str | os.PathLike) and not set(mode) & set("wxa"):
                path = os.fspath(file)
                if isinstance(path, str):
                    self.fetch(path)
            return _open(file, mode, *arguments, **options)

        builtins.open = open_fetched
        io.open = open_fetched


opening = Opening()
