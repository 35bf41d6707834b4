"""The attempt: what every step of the worker needs."""

from __future__ import annotations

from typing import NamedTuple

from .cancellation import Cancellation
from .errors import SystemFailure
from .job import JobDirectory
from .mounts import Bind, MountPlan
from .order import Order
from .record import Record
from .result import Result
from .runtimes.base import Runtime
from .transfer import Site
from .view import View
from .watchdog import Watchdog


class Attempt(NamedTuple):
    """One task attempt with its tools; made once the runtime is chosen and the mounts are planned."""

    order: Order
    job: JobDirectory
    record: Record
    result: Result
    cancellation: Cancellation
    watchdog: Watchdog
    runtime: Runtime
    plan: MountPlan
    view: View
    transfers: Site

    def check_sources(self) -> None:
        """Raises: SystemFailure if an executor put a link in the place of what is mounted."""
        bind = self.view.led_astray()
        if bind is not None:
            raise SystemFailure(f"What is mounted at {bind.target} was replaced by a link at the site")

    def show_file(self, path: str, host_path: str) -> None:
        """Let later executors and the outputs see a file that lies in no mount."""
        if self.view.bind_of(path) is None:
            self.view.binds.append(Bind(path, host_path, is_file=True))
