"""The job directory: where each file of the contract lies, and how files are written there."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
from typing import Any

RESERVE_BYTES = 64 * 1024


class JobDirectory:
    """Pulsar's directory for this job; see the package's docstring for the files."""

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        self.order = os.path.join(self.path, "tool_files", "task.json")
        self.task = os.path.join(self.path, "task")
        self.tree = os.path.join(self.task, "fs")
        self.metadata = os.path.join(self.path, "metadata", "tesp")
        self.logs = os.path.join(self.metadata, "logs")
        self.cancel = os.path.join(self.metadata, "cancel")
        self.started = os.path.join(self.metadata, "started")
        self.heartbeat = os.path.join(self.metadata, "heartbeat")
        self.events = os.path.join(self.metadata, "events.ndjson")
        self.result = os.path.join(self.metadata, "result.json")
        self.reserve = os.path.join(self.metadata, "reserve")
        self.home = os.path.join(self.metadata, "home.json")
        self.inputs = os.path.join(self.path, "inputs")
        self.brought = os.path.join(self.metadata, "inputs.json")
        self.out = os.path.join(self.metadata, "out")

    def close_to_others(self) -> None:
        """Let no other user of the site in: Pulsar writes its files readable to all."""
        os.chmod(self.path, 0o700)
        os.makedirs(self.logs, exist_ok=True)

    def claim(self, who: dict[str, Any]) -> bool:
        """Make `started`, and keep room for the result; False if another worker made it first.

        Raises: OSError where there is no room; then nothing has begun, and another attempt may.
        """
        try:
            descriptor = os.open(self.started, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            return False
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(encode_json(who).decode())
            replace_file(self.reserve, bytes(RESERVE_BYTES))
        except OSError:
            os.unlink(self.started)
            raise
        return True

    def use_reserve(self) -> None:
        """Make the room that was kept free: the disk may be full by now."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.reserve)


def now() -> str:
    """The time in UTC as RFC 3339 with microseconds."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="microseconds")


def replace_file(path: str, data: bytes, durable: bool = False) -> None:
    """Write a file that readers see whole or not at all; `durable` survives a power cut."""
    temporary = f"{path}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        write_all(descriptor, data)
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(temporary, path)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it: os.write may stop halfway on a full disk or a pipe."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def make_directories(path: str) -> None:
    """Make a directory and its missing parents, writable to whatever user a container runs as.

    The job directory's own mode (0700) keeps other users of the site out.
    """
    if os.path.isdir(path):
        return
    make_directories(os.path.dirname(path))
    try:
        os.mkdir(path)
    except FileExistsError:
        return
    os.chmod(path, 0o777)  # noqa: S103 - above it is the job's directory, which is its owner's alone


def encode_json(document: Any) -> bytes:
    """ASCII JSON in one line; a byte of a file name that is no UTF-8 becomes a question mark.

    As a lone surrogate it would break whoever stores the text.
    """
    text = json.dumps(document)
    if "\\udc" in text:
        clean = json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")
        text = json.dumps(json.loads(clean))
    return text.encode()
