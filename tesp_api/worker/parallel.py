"""A few jobs at once, given up on a cancel."""

from __future__ import annotations

import threading
from typing import Callable, Sequence

from .cancellation import Cancellation


class Background:
    """A call in a daemon thread; a call that hangs never keeps the worker alive."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self._error: BaseException | None = None
        self._ended = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            self._call()
        except BaseException as error:
            self._error = error
        finally:
            self._ended.set()

    def join(self, cancellation: Cancellation) -> None:
        """Wait for the call and raise what it raised. Raises: Canceled, leaving the call behind."""
        while not self._ended.wait(0.1):
            cancellation.check()
        if self._error is not None:
            raise self._error


def run_together(calls: Sequence[Callable[[], object]], cancellation: Cancellation, width: int = 4) -> None:
    """Make all calls, `width` at a time; after the first one that raises no further one is begun.

    Raises: what the first failing call raised; Canceled.
    """
    waiting = list(reversed(calls))
    failed = threading.Event()

    def work() -> None:
        while waiting and not failed.is_set():
            try:
                call = waiting.pop()
            except IndexError:
                return
            try:
                call()
            except BaseException:
                failed.set()
                raise

    threads = [Background(work) for _ in range(min(width, len(calls)))]
    for thread in threads:
        thread.join(cancellation)
