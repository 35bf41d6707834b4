"""Streams: an executor's stdin, stdout and stderr, with a copy of the latter two in the logs."""

from __future__ import annotations

import os
import select
import subprocess
import time
from typing import Callable

from .attempt import Attempt
from .errors import SystemFailure
from .job import write_all
from .logs import LogStream
from .order import Executor
from .runtimes.base import Process

READ_BYTES = 64 * 1024
TAIL_BYTES = 8 * 1024
LOOK_EVERY_MS = 100
GRACE_S = 2.0  # for processes that outlive their executor and keep its pipes open
NULL = "/dev/null"


class Streams:
    """Opens what one executor reads and writes; use it as a context manager.

    Raises: SystemFailure naming a file that cannot be opened.
    """

    def __init__(self, attempt: Attempt, number: int, executor: Executor) -> None:
        site = attempt.order.site
        self._attempt = attempt
        self.stderr_tail = b""
        self.stdin = subprocess.DEVNULL
        self._open: list[int] = []
        self.stdout, self.stderr = (
            LogStream(
                attempt.job.logs,
                f"{number}.{name}",
                site.log_chunk_bytes,
                site.log_max_bytes,
                attempt.record.grew,
            )
            for name in ("stdout", "stderr")
        )
        try:
            if executor.stdin and executor.stdin != NULL:
                self.stdin = self._descriptor("stdin", executor.stdin, attempt.view.open_for_reading)
            self._out = self._copy("stdout", executor.stdout)
            same = executor.stderr == executor.stdout
            self._err = self._out if same else self._copy("stderr", executor.stderr)
        except BaseException:
            self.close()
            raise

    def _copy(self, name: str, path: str | None) -> int | None:
        """Where to copy a stream besides the logs; None if nowhere."""
        if path is None or path == NULL:
            return None
        attempt = self._attempt
        if path in attempt.plan.written_by_worker and not path.startswith("/dev/"):
            host = os.path.join(attempt.job.task, "streams", path.strip("/").replace("/", "\\"))
            os.makedirs(os.path.dirname(host), exist_ok=True)
            attempt.show_file(path, host)
        return self._descriptor(name, path, attempt.view.open_for_writing)

    def _descriptor(self, name: str, path: str, opening: Callable[[str], int]) -> int:
        try:
            try:
                descriptor = opening(path)
            except PermissionError:  # an earlier executor's user made it for itself
                self._attempt.runtime.reclaim(self._attempt.job.tree)
                descriptor = opening(path)
        except OSError as error:
            raise SystemFailure(f"Cannot open the executor's {name} file {path}: {error.strerror}") from error
        self._open.append(descriptor)
        return descriptor

    def pump(self, process: Process) -> int:
        """Copy until the process ends; returns its return code. Raises: Canceled, OSError."""
        assert process.stdout and process.stderr  # noqa: S101 - both were asked for
        targets = {
            process.stdout.fileno(): (self.stdout, self._out),
            process.stderr.fileno(): (self.stderr, self._err),
        }
        poll = select.poll()
        for source in targets:
            poll.register(source, select.POLLIN | select.POLLHUP)
        ended_at: float | None = None
        with process.stdout, process.stderr:
            while targets:
                for source, _ in poll.poll(LOOK_EVERY_MS):
                    data = os.read(source, READ_BYTES)
                    if data:
                        self._write(data, *targets[source])
                    else:
                        poll.unregister(source)
                        del targets[source]
                self._attempt.cancellation.check()
                if ended_at is None and process.poll() is not None:
                    ended_at = time.monotonic()
                if ended_at is not None and time.monotonic() - ended_at > GRACE_S:
                    break
            return self._wait(process)

    def _wait(self, process: Process) -> int:
        while True:
            try:
                return process.wait(timeout=LOOK_EVERY_MS / 1000)
            except subprocess.TimeoutExpired:
                self._attempt.cancellation.check()

    def _write(self, data: bytes, log: LogStream, copy: int | None) -> None:
        log.write(data)
        if copy is not None:
            write_all(copy, data)
        if log is self.stderr:
            self.stderr_tail = (self.stderr_tail + data)[-TAIL_BYTES:]

    def close(self) -> None:
        for descriptor in self._open:
            os.close(descriptor)
        self._open.clear()
        self.stdout.close()
        self.stderr.close()

    def __enter__(self) -> Streams:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
