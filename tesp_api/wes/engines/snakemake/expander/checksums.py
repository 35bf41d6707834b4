"""Checksums that `ensure()` asks for, as the worker that sent a file has told them: no file is read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from snakemake.io import _IOFile, get_flag_value, is_flagged

from .workspace import Workspace

ALWAYS = "sha256"
"""What workers tell of every file; they compute others for tasks that ask."""

_KNOWN = (ALWAYS, "md5", "sha1")


def asked_of(outputs: Iterable[Any]) -> str:
    """The checksums that a task has to ask for, for `ensure()` of these outputs; "" for none."""
    flags = [get_flag_value(one, "ensure") for one in outputs if is_flagged(one, "ensure")]
    return ",".join(sorted({flag["checksum_algorithm"] for flag in flags} - {None, ALWAYS}))


def told_in(log: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Checksums by their algorithm, by the URL of the file, in a task's log."""
    files = json.loads((log.get("metadata") or {}).get("outputs") or "[]")
    return {one["url"]: {name: one[name] for name in _KNOWN if name in one} for one in files}


def install(workspace: Workspace) -> None:
    """Have Snakemake take what was told; it reads files of which nothing was."""
    read = _IOFile.checksum

    async def checksum(file: Any, threshold: Any = None, force: bool = False, algorithm: Any = None) -> Any:
        if force and isinstance(algorithm, str):
            place = workspace.place(str(file))
            if place is not None and algorithm in place.checksums:
                return f"{algorithm}:{place.checksums[algorithm]}"
        return await read(file, threshold, force, algorithm)

    _IOFile.checksum = checksum
