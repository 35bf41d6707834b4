"""Pulsar's own part of the embedded transport: an in-process PulsarApp, and its records on disk.

Everything here blocks; call it from a thread.
"""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tesp_api.errors import PulsarUnavailable
from tesp_api.pulsar.base import JobOrder
from tesp_api.pulsar.job_files import JOB_ID, check_job_id, worker_command
from tesp_api.pulsar.local_job import LocalJob
from tesp_api.pulsar.nursery import Nursery
from tesp_api.pulsar.plain_path import plain_path
from tesp_api.pulsar.processes import kill_tree, wait_for_end
from tesp_api.pulsar.quick_launch import launch_quickly
from tesp_api.pulsar.spared_imports import spared_imports

MANAGER = "_default_"
RECORDS = ("active-jobs", "preprocessing-jobs", "postprocessing-jobs")
LOCKED_FILES = (".state", "status")  # Pulsar keeps a lock in memory for each, for ever
KILL_TIMEOUT_S = 2.0
END_TIMEOUT_S = 2.0
END_POLL_S = 0.002

# What a container runtime or a download may need and Pulsar would strip from the job's environment
PASSED_ON = (
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_TLS_VERIFY",
    "DOCKER_CERT_PATH",
    "CONTAINER_HOST",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)


@dataclass(slots=True)
class _JobLock:
    """A job's lock and how many hold it or wait for it; it goes with the last of them."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    users: int = 0


class LocalPulsar:
    """A PulsarApp with its staging and its records below `folder`. Safe to use from many threads.

    `take_over` is called with the directory of a job that cannot be removed, before that is tried again.
    `is_ours` says which archives are workers of this version, which can be forked.
    """

    def __init__(
        self,
        folder: Path,
        python: str,
        take_over: Callable[[Path], None] = lambda _: None,
        is_ours: Callable[[bytes], bool] = lambda _: False,
    ) -> None:
        self._take_over = take_over
        self._taking_over = threading.Lock()
        self._is_ours = is_ours
        self._nursery = Nursery(folder.resolve() / "nursery", python)
        self._folder = folder.resolve()
        self._staging = self._folder / "staging"
        self._command = worker_command(python)
        self._locks: dict[str, _JobLock] = {}  # of the jobs with which something is being done
        self._door = threading.Lock()
        self._monitored: set[str] = set()  # jobs whose process this very process started
        self._app: Any = None

    def start(self) -> None:
        """Import Pulsar, which takes half a second, and start it.

        Nothing is written outside the folder, and no signal handler or log handler is touched.
        """
        self._staging.mkdir(parents=True, exist_ok=True)
        self._staging.chmod(0o700)  # Pulsar makes everything below it readable by all
        for noisy in ("pulsar", "galaxy"):
            if logging.getLogger(noisy).level == logging.NOTSET:
                logging.getLogger(noisy).setLevel(logging.WARNING)
        with spared_imports():
            from galaxy import job_metrics
            from pulsar.core import PulsarApp

        metrics: Any = job_metrics
        plain = plain_path(self._folder)
        self._app = PulsarApp(
            config_dir=str(plain),
            staging_directory=str(plain / "staging"),
            persistence_directory=str(plain / "persistence"),
            tool_dependency_dir="none",
            conda_auto_init=False,
            conda_auto_install=False,
            job_metrics=metrics.JobMetrics(conf_dict={}),
            managers={MANAGER: {"type": "unqueued"}},
        )

    def stop(self) -> None:
        """Let Pulsar go; its jobs run on."""
        self._nursery.close()
        if self._app is not None:
            self._app.shutdown()
            self._app = None

    def check(self) -> None:
        """Raises `PulsarUnavailable` if no job could be set up now."""
        if self._app is None or not os.access(self._staging, os.W_OK | os.X_OK):
            raise PulsarUnavailable(f"cannot write into {self._staging}")

    def job(self, job_id: str) -> LocalJob:
        return LocalJob(self._staging, job_id)

    def jobs(self) -> list[str]:
        """The ids of all jobs that have a directory."""
        return sorted(entry.name for entry in self._staging.iterdir() if JOB_ID.fullmatch(entry.name))

    def set_up(self, job_id: str) -> None:
        """Make the job's directory, if there is none yet."""
        job = self.job(job_id)
        with self._alone(job_id):
            if not job.folder.is_dir():
                self._manager()
                job.make()

    def launch(self, order: JobOrder) -> None:
        """Start the job unless it has a process or its worker has started already."""
        job = self.job(order.job_id)
        with self._alone(order.job_id):
            if job.folder.is_dir() and (job.has_started() or job.process() or job.lost_process()):
                return
            manager = self._manager()
            is_ours = self._is_ours(order.worker)
            job.make()
            job.place(order, self._nursery.archive_file(order.worker) if is_ours else None)
            job.forget_launch()
            self._monitored.add(order.job_id)
            fork = partial(self._nursery.fork, order.worker) if is_ours else None
            launch_quickly(manager, order.job_id, self._command, passed_on_environment(), fork)

    def cancel(self, job_id: str) -> None:
        """Kill the job's process and its descendants; a watchdog that detached itself goes on."""
        job = self.job(job_id)
        with self._alone(job_id):
            process = job.process()
            if process is None and not job.has_started():
                process = job.lost_process()
            if process is not None:
                kill_tree(process)
                wait_for_end(process, KILL_TIMEOUT_S)

    def clean(self, job_id: str) -> None:
        """Remove the job's directory and every record of it.

        Raises:
            PulsarUnavailable: something of the directory is still there, or the job still runs.
        """
        job = self.job(job_id)
        with self._alone(job_id):
            self._await_end(job)
            job.remove()
            if job.folder.exists() and self._taking_over.acquire(
                blocking=False
            ):  # it may hang: one at a time
                try:
                    self._take_over(job.folder)
                finally:
                    self._taking_over.release()
                job.remove()
            for record in RECORDS:
                (self._folder / "persistence" / f"{MANAGER}-{record}" / job_id).unlink(missing_ok=True)
            if job.folder.exists():
                raise PulsarUnavailable(f"{job.folder} could not be removed completely")
        self._forget(job_id)

    def _manager(self) -> Any:
        if self._app is None:
            raise PulsarUnavailable("the embedded Pulsar is not open")
        return self._app.managers[MANAGER]._proxied_manager

    @contextlib.contextmanager
    def _alone(self, job_id: str) -> Iterator[None]:
        """One launch, cancel or clean of a job at a time, even if the caller was cancelled meanwhile.

        No job ever waits for another one's.
        """
        with self._door:
            job = self._locks.setdefault(check_job_id(job_id), _JobLock())
            job.users += 1
        try:
            with job.lock:
                yield
        finally:
            with self._door:
                job.users -= 1
                if not job.users:
                    del self._locks[job_id]

    def _await_end(self, job: LocalJob) -> None:
        """Let a worker that has left its result exit, and Pulsar's monitor thread write its last file."""
        deadline = time.monotonic() + END_TIMEOUT_S
        while (process := job.process()) is not None or (
            job.job_id in self._monitored and job.has_pulsar_pid()
        ):
            if time.monotonic() > deadline:
                break
            time.sleep(END_POLL_S)
        if process is not None:
            raise PulsarUnavailable(f"job {job.job_id} still runs (process {process.pid})")

    def _forget(self, job_id: str) -> None:
        self._monitored.discard(job_id)
        if self._app is not None:
            manager = self._manager()
            for name in LOCKED_FILES:
                manager.lock_manager.free_lock(manager.job_directory(job_id)._job_file(name))


def passed_on_environment() -> dict[str, str]:
    """What jobs get of our own environment."""
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ}
