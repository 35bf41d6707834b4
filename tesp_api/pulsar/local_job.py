"""The directory of one job of a Pulsar on this machine: its files, and what its processes are doing.

Everything here blocks; call it from a thread.
"""

import contextlib
import errno
import io
import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from tesp_api.errors import PulsarRefused
from tesp_api.pulsar.base import JobOrder, JobState, JobStatus
from tesp_api.pulsar.job_files import (
    INPUTS,
    PIECE_BYTES,
    READ_MAX_BYTES,
    STARTED_FILE,
    TASK_FILE,
    TESP_FOLDER,
    TOOL_FILES,
    WORKER_FILE,
    check_file_name,
    check_input_name,
    check_job_id,
    last_words,
    within_limit,
)
from tesp_api.pulsar.processes import Process, is_alive, process_in, processes_in
from tesp_api.pulsar.regular_file import open_regular

# Pulsar's own files in a job directory
PID_FILE = "pid"
RETURN_CODE_FILE = "return_code"
STDERR_FILE = "job_stderr"
WORKING, METADATA = "working", "metadata"


class LocalJob:
    """One job below `staging`, which must be a resolved path. The directory need not exist."""

    def __init__(self, staging: Path, job_id: str) -> None:
        self.job_id = check_job_id(job_id)
        self.folder = staging / job_id
        self.tesp = self.folder / METADATA / TESP_FOLDER

    def make(self) -> None:
        """The directory, with what Pulsar and the command line expect in it; does nothing if it is there."""
        for name in (WORKING, METADATA):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    def place(self, order: JobOrder, worker: Path | None) -> None:
        """Put worker and order where the command line expects them; safe under a running worker.

        Where the worker is a file already, it gets another name.
        """
        path = self.folder / TOOL_FILES / WORKER_FILE
        if worker is None or not _has_linked(worker, path):
            write_atomically(path, order.worker)
        write_atomically(self.folder / TOOL_FILES / TASK_FILE, order.task_json)

    def read(self, name: str) -> bytes | None:
        """The file's content; None if there is none, or what is there is no regular file.

        Raises:
            PulsarRefused: it is larger than any that a worker writes.
        """
        file = self._opened(name)
        if file is None:
            return None
        with file:
            data = file.read(READ_MAX_BYTES + 1)
        return within_limit(name, data)

    def write(self, name: str, data: bytes) -> None:
        """Replace the file at once.

        Raises:
            PulsarRefused: there is no such job, or the name would leave its folder.
        """
        path = self.tesp / check_file_name(name)
        if not self.folder.is_dir():
            raise PulsarRefused(f"there is no job {self.job_id} to write {name} for")
        write_atomically(path, data)

    def place_input(self, name: str, source: Path) -> None:
        """Move a file into `inputs/`; it is copied from another file system.

        Raises:
            PulsarRefused: there is no such job, or the name is none of an input.
        """
        path = self.folder / INPUTS / check_input_name(name)
        if not self.folder.is_dir():
            raise PulsarRefused(f"there is no job {self.job_id} to place {name} for")
        path.parent.mkdir(exist_ok=True)
        try:
            source.replace(path)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            shutil.copyfile(source, path)

    def pour(self, name: str, sink: Callable[[bytes], None]) -> bool:
        """Give a file below `metadata/tesp/` to `sink` piece by piece; False if there is none."""
        file = self._opened(name)
        if file is None:
            return False
        with file:
            while piece := file.read(PIECE_BYTES):
                sink(piece)
        return True

    def _opened(self, name: str) -> io.BufferedReader | None:
        return open_regular(self.folder, f"metadata/{TESP_FOLDER}/{check_file_name(name)}")

    def has_started(self) -> bool:
        """Whether a worker has claimed the job, alive or not."""
        return (self.tesp / STARTED_FILE).exists()

    def worker(self) -> Process | None:
        """The process that the worker says it is, dead or alive; None if it did not start yet."""
        started = self.read(STARTED_FILE)
        if started is None:
            return None
        try:
            record = json.loads(started)
            return Process(int(record["pid"]), int(record["pid_started"]))
        except (ValueError, KeyError, TypeError):
            return None  # made, but not written yet

    def process(self) -> Process | None:
        """The job's live process: its worker, or what Pulsar started to become it."""
        worker = self.worker()
        if worker is not None:
            return worker if is_alive(worker) else None
        pid = self._pulsar_pid()
        # Pulsar recorded no start time; a process that works in this job's directory is this job's
        return process_in(self.folder, pid) if pid is not None else None

    def lost_process(self) -> Process | None:
        """A process of the job that Pulsar did not live to record; searches all of /proc."""
        return next(iter(processes_in(self.folder)), None)

    def status(self) -> JobStatus:
        if not self.folder.is_dir():
            return JobStatus(JobState.UNKNOWN, certain=True, detail="there is no such job directory")
        launched = self._was_launched()
        # looked for after that: a process that is gone now has not come since
        if self.process() is not None:
            return JobStatus(JobState.RUNNING, certain=True)
        if self.worker() is not None:
            return JobStatus(JobState.ENDED, certain=True)
        if self.has_started():
            return JobStatus(JobState.ENDED, certain=False, detail="the worker died as it started")
        if launched:
            return JobStatus(JobState.ENDED, certain=True, detail=self._last_words())
        if self.lost_process() is not None:
            return JobStatus(JobState.RUNNING, certain=True, detail="Pulsar died as it started this job")
        return JobStatus(JobState.PENDING, certain=False, detail="set up, not launched")

    def forget_launch(self) -> None:
        """Remove Pulsar's marks of a launch that came to nothing, before the next one."""
        for name in (PID_FILE, RETURN_CODE_FILE):
            (self.folder / name).unlink(missing_ok=True)

    def has_pulsar_pid(self) -> bool:
        """Whether Pulsar still holds the job for running; its monitor removes the file last of all."""
        return (self.folder / PID_FILE).exists()

    def remove(self) -> None:
        """Remove what can be removed of the directory, read-only folders included."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.folder.exists():
            _open_up(self.folder)
            shutil.rmtree(self.folder, ignore_errors=True)

    def _was_launched(self) -> bool:
        return self.has_pulsar_pid() or (self.folder / RETURN_CODE_FILE).exists()

    def _last_words(self) -> str:
        """What the shell said of a worker that it could not start: no such Python, say."""
        try:
            exit_code = (self.folder / RETURN_CODE_FILE).read_text().strip()
        except OSError:
            exit_code = "not known yet"
        said = b""
        with contextlib.suppress(OSError):
            said = (self.folder / METADATA / STDERR_FILE).read_bytes()
        return last_words(exit_code, said.decode(errors="replace"))

    def _pulsar_pid(self) -> int | None:
        try:
            return int(json.loads((self.folder / PID_FILE).read_text()))
        except (OSError, ValueError):
            return None


def write_atomically(path: Path, data: bytes) -> None:
    """Write beside the file, then rename: a reader sees the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        draft.write_bytes(data)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _has_linked(source: Path, path: Path) -> bool:
    """Give a file another name, unless something has that; False where this file system cannot do it."""
    path.parent.mkdir(exist_ok=True)
    try:
        os.link(source, path)
    except OSError:
        return False
    return True


def _open_up(folder: Path) -> None:
    """Take back the permissions that a container took away from folders below this one."""
    for parent, names, _ in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            if not path.is_symlink():
                with contextlib.suppress(OSError):
                    path.chmod(stat.S_IRWXU)
