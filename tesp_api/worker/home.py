"""The last news as one file of plain text, which Pulsar itself sends home where nothing else can fetch it."""

from __future__ import annotations

import base64
import itertools
import os
from typing import Iterator

from .job import JobDirectory, encode_json, replace_file

HOME_MAX_BYTES = 256 * 1024


def write_home(job: JobDirectory) -> None:
    """Write `home.json`: first how it ended, then the last chunks of all logs, as far as they fit.

    Files are in it whole or not at all. Raises: OSError.
    """
    files: dict[str, str] = {}
    room = HOME_MAX_BYTES - len(encode_json({"files": {}}))
    for name in (*_endings(job), *_last_chunks(job)):
        with open(os.path.join(job.metadata, name), "rb") as file:
            data = file.read(room)
        text = base64.b64encode(data).decode()
        needed = len(text) + len(name) + len('"": "", ')
        if needed <= room:
            room -= needed
            files[name] = text
    replace_file(job.home, encode_json({"files": files}))


def _endings(job: JobDirectory) -> Iterator[str]:
    for path in (job.heartbeat, job.result, job.events):
        if os.path.exists(path):
            yield os.path.basename(path)


def _last_chunks(job: JobDirectory) -> Iterator[str]:
    """Of each log the last chunk, then of each the one before it, and so on."""
    chunks: dict[str, list[str]] = {}
    for name in sorted(os.listdir(job.logs), reverse=True):
        chunks.setdefault(name.rpartition(".")[0], []).append(name)
    for row in itertools.zip_longest(*chunks.values()):
        yield from (f"logs/{name}" for name in row if name)
