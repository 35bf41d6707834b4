"""Workers of the embedded Pulsar's jobs, forked from a process that has imported them already.

A worker spends half of its time on the interpreter's start and on imports. `worker/nursery.py` is the other
side. Whatever goes wrong here, a worker is started as any other program.
"""

import array
import contextlib
import itertools
import json
import logging
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tesp_api.pulsar.local_job import write_atomically
from tesp_api.pulsar.processes import is_alive, read_stat

log = logging.getLogger(__name__)

PATIENCE_S = 10.0
LOOK_EVERY_S = 0.5
MESSAGE_BYTES = 4096
"""More than any answer has."""


class Forked:
    """A worker, in the shape of a `Popen`."""

    def __init__(self) -> None:
        self.pid = 0
        self.returncode: int | None = None
        self._news = threading.Condition()
        self.is_over = False

    def told(self, news: Mapping[str, Any] | None) -> None:
        """Note what the nursery says of it; None if that is gone."""
        with self._news:
            self.pid = (news or {}).get("pid", self.pid)
            self.returncode = (news or {}).get("code", self.returncode)
            self.is_over = news is None or self.returncode is not None
            self._news.notify_all()

    def was_born(self) -> bool:
        """Wait until it is where it belongs; False if it never came so far."""
        with self._news:
            self._news.wait_for(lambda: self.pid or self.is_over, PATIENCE_S)
            return bool(self.pid)

    def wait(self) -> int:
        """Its exit code once it has ended; -1 if nobody could say."""
        with self._news:
            self._news.wait_for(lambda: self.is_over)
        if self.returncode is None:
            stat = read_stat(self.pid)
            while stat is not None and is_alive(stat.process):
                time.sleep(LOOK_EVERY_S)
            self.returncode = -1
        return self.returncode


class Nursery:
    """Starts its process with the first worker, and anew when that is gone. Safe to use from many threads."""

    def __init__(self, folder: Path, python: str) -> None:
        self._folder = folder
        self._python = python
        self._door = threading.Lock()
        self._numbers = itertools.count()
        self._children: dict[int, Forked] = {}
        self._socket: socket.socket | None = None
        self._placed = b""
        self._placing = threading.Lock()

    def archive_file(self, archive: bytes) -> Path:
        """The archive as a file, which jobs link to: to write it for each costs more than to fork its worker.

        Raises:
            OSError: there is no room for it.
        """
        path = self._folder / "worker.pyz"
        with self._placing:
            if self._placed != archive or not path.exists():
                write_atomically(path, archive)  # what linked to the one before keeps it
                self._placed = archive
        return path

    def fork(self, archive: bytes, cwd: str, env: Mapping[str, str], out: int, err: int) -> Forked:
        """A worker for the job whose working directory is `cwd`.

        Raises:
            OSError: there is none, for this archive or at all.
        """
        child = Forked()
        number = next(self._numbers)
        wanted = json.dumps({"id": number, "cwd": cwd, "env": dict(env), "arguments": [".."]}).encode()
        with self._door:
            if self._socket is None:
                self._socket = self._start(archive, env)
            connection = self._socket
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [out, err]))]
            self._children[number] = child  # its answer may be here before the next line is through
            try:
                connection.sendmsg([wanted], rights, socket.MSG_DONTWAIT)
            except OSError:
                self._children.pop(number, None)
                raise
        if not child.was_born():
            if not child.is_over:  # it hangs: the next worker gets another nursery
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            raise OSError("the nursery has forked no worker")
        return child

    def close(self) -> None:
        """Let it end; its workers go on."""
        with self._door:
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def _start(self, archive: bytes, env: Mapping[str, str]) -> socket.socket:
        path = self.archive_file(archive)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = subprocess.Popen(
                [self._python, "-I", "-S", str(path), "--nursery", str(theirs.fileno())],
                cwd="/",
                env=env,  # /proc shows it of each worker: nothing of the server's is in it
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # no Ctrl-C of the server's terminal comes here
            )
        threading.Thread(target=self._listen, args=(ours, process), daemon=True, name="nursery").start()
        return ours

    def _listen(self, connection: socket.socket, process: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(OSError), connection:
            while said := connection.recv(MESSAGE_BYTES):
                news = json.loads(said)
                child = self._children.get(news["id"])
                if child is not None:
                    child.told(news)
                if "code" in news:
                    self._children.pop(news["id"], None)
        with self._door:
            self._socket = None
            orphans, self._children = self._children, {}
        for child in orphans.values():
            child.told(None)
        if process.wait() != 0:
            log.warning("the process of which workers are forked ended with code %s", process.returncode)
