"""The manifest: every file that an attempt has moved, with size and checksum.

A task's metadata holds that of a thousand files in each direction, since every view shows it. Of an attempt
with more, the whole manifest lies beside the task, as a log of one JSON object a line.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from tesp_api.store.base import Claim, TaskStore
from tesp_api.tes.moving_parameters import CHECKSUMS

DIRECTIONS = ("inputs", "outputs")
MOST_TOLD = 1000
"""Files of either direction in an attempt's metadata."""

MOST_BYTES = 64 * 1024**2
"""Of one attempt: some 250,000 files with names of ordinary length."""

LINE_MAX_BYTES = 64 * 1024
"""Longer than any that names can come to; readers rely on it."""

_CHUNK_BYTES = 256 * 1024


def as_metadata(result: Mapping[str, Any]) -> dict[str, str]:
    """What was moved, as JSON in strings, since items of the standard's `outputs` hold no checksums.

    Of very many files, the first are told, and how many there are besides.
    """
    told: dict[str, str] = {}
    for direction in DIRECTIONS:
        if files := result.get(direction, ()):
            told[direction] = json.dumps([_entry(file) for file in files[:MOST_TOLD]])
            if len(files) > MOST_TOLD:
                told[f"{direction}_left_out"] = str(len(files) - MOST_TOLD)
    return told


async def keep_manifest(store: TaskStore, claim: Claim, attempt: int, result: Mapping[str, Any]) -> list[str]:
    """Store what the metadata has no room for; returns what to say of files that are too many here too.

    May be repeated.

    Raises:
        ClaimLost, StoreUnavailable: as they come.
    """
    if all(len(result.get(direction, ())) <= MOST_TOLD for direction in DIRECTIONS):
        return []
    data, left_out = await asyncio.to_thread(_lines_of, result)
    for begin in range(0, len(data), _CHUNK_BYTES):
        await store.append_log(claim, attempt, 0, "files", begin, data[begin : begin + _CHUNK_BYTES])
    return [f"The manifest is full: {left_out} files are not in it"] if left_out else []


def _lines_of(result: Mapping[str, Any]) -> tuple[bytes, int]:
    """The manifest, and how many files it has no room for."""
    data, left_out = bytearray(), 0
    for direction in DIRECTIONS:
        for file in result.get(direction, ()):
            line = json.dumps({"direction": direction.removesuffix("s"), **_entry(file)}).encode() + b"\n"
            if len(line) <= LINE_MAX_BYTES and len(data) + len(line) <= MOST_BYTES:
                data += line
            else:
                left_out += 1
    return bytes(data), left_out


def _entry(file: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of a file: texts and a number, whatever the site says."""
    entry: dict[str, Any] = {
        key: str(file[key]).encode(errors="replace").decode() for key in ("url", "path") if key in file
    }
    entry["size_bytes"] = max(0, int(file["size_bytes"]))
    for name in ("sha256", *CHECKSUMS):
        if name in file:
            entry[name] = str(file[name]).encode(errors="replace").decode()
    return entry
