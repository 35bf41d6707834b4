"""A container that is started over the daemon's HTTP interface, in the shape of a program's process.

`docker run` does the same and takes 70 ms of a processor for it, which is a fifth of what a container takes.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import threading
from typing import IO, Any, Mapping

from ..job import write_all
from .base import MEMORY_MIN_BYTES, Run, mount_option
from .docker_engine import Engine, read_all

FIELD = re.compile(r'"((?:[^"]|"")*)"|([^,]+)')
PIECE_BYTES = 64 * 1024
FAILED, NOT_EXECUTABLE, NOT_FOUND = 125, 126, 127
"""Exit codes of `docker run` where no program of the container gave one."""
MISSING = re.compile("executable file not found|no such file or directory", re.IGNORECASE)
FORBIDDEN = re.compile("permission denied|is a directory", re.IGNORECASE)
UPGRADE = "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n"


class Container:
    """What `Popen` of `docker run` would be: all is done in a thread, so that a cancel is seen meanwhile."""

    pid = None
    """There is no process on this side of the daemon."""

    def __init__(self, engine: Engine, name: str, order: Mapping[str, Any], stdin: int) -> None:
        self._engine = engine
        self._name = name
        self._order = order
        self._has_stdin = stdin != subprocess.DEVNULL
        self._stdin = os.dup(stdin) if self._has_stdin else stdin
        self.fault = ""
        """Why its exit code is not its program's."""
        self._open: list[socket.socket] = []
        self._is_killed = False
        self._ended = threading.Event()
        self.returncode: int | None = None
        (out, self._out), (err, self._err) = os.pipe(), os.pipe()
        self.stdout: IO[bytes] | None = os.fdopen(out, "rb", 0)
        self.stderr: IO[bytes] | None = os.fdopen(err, "rb", 0)
        threading.Thread(target=self._run, daemon=True).start()

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired(self._name, timeout or 0)
        return self.returncode or 0

    def kill(self) -> None:
        """Let it go, although the daemon may not answer; it is not started any more."""
        self._is_killed = True
        self._end(FAILED)

    def _end(self, code: int) -> None:
        if self.returncode is None:
            self.returncode = code
        self._ended.set()

    def _run(self) -> None:
        code = FAILED
        try:
            code = self._attend()
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            self._say(str(error))
        finally:
            os.close(self._out)
            os.close(self._err)
            for connection in self._open:
                with connection, contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)  # wakes who still feeds it
            self._end(code)

    def _attend(self) -> int:
        """From its creation to its exit code. Raises: OSError, ValueError."""
        place = f"/containers/{self._name}"
        status, answer = self._engine.ask("POST", f"/containers/create?name={self._name}", self._order, None)
        if status != 201:
            return self._fail(answer)
        wanted = f"stream=1&stdout=1&stderr=1&stdin={int(self._has_stdin)}"
        streams = self._begin(f"POST {place}/attach?{wanted} HTTP/1.1", UPGRADE)
        with streams.makefile("rb", PIECE_BYTES) as frames:
            head = read_head(frames)
            if not head.startswith(b"HTTP/1.1 101"):
                return self._fail(frames.read(PIECE_BYTES))
            if self._is_killed:
                return FAILED
            status, answer = self._engine.ask("POST", f"{place}/start", None, None)
            if status != 204:
                return self._fail(answer)
            waiting = self._begin(f"POST {place}/wait HTTP/1.0")
            if self._has_stdin:
                threading.Thread(target=self._feed, args=(streams,), daemon=True).start()
            while head := read_frame(frames):
                self._copy(frames, self._out if head[0] == 1 else self._err, int.from_bytes(head[4:], "big"))
        head, answer = read_all(waiting)
        if head[9:12] != b"200" or not answer.strip():
            return self._fail(answer.strip() or b"it closed the connection")
        ended = json.loads(answer)
        self.fault = self.fault or (ended.get("Error") or {}).get("Message") or ""
        if self.fault:
            self._say(self.fault)
            return FAILED
        return int(ended["StatusCode"])

    def _fail(self, answer: bytes) -> int:
        """The exit code of `docker run` for what the daemon refuses, whose reason is written to stderr."""
        try:
            reason = str(json.loads(answer)["message"])
        except (ValueError, LookupError, TypeError):
            reason = answer.decode("utf-8", "replace")
        self._say(f"Error response from daemon: {reason}")
        if MISSING.search(reason):
            return NOT_FOUND
        return NOT_EXECUTABLE if FORBIDDEN.search(reason) else FAILED

    def _say(self, reason: str) -> None:
        with contextlib.suppress(OSError):
            write_all(self._err, f"docker: {reason}\n".encode("utf-8", "replace"))

    def _begin(self, request: str, heads: str = "") -> socket.socket:
        """Ask for what is answered as long as the container runs."""
        connection = self._engine.send(request, heads)
        self._open.append(connection)
        return connection

    def _copy(self, frames: Any, descriptor: int, size_bytes: int) -> None:
        while size_bytes > 0:
            piece = frames.read(min(size_bytes, PIECE_BYTES))
            if not piece:
                raise OSError("the daemon's stream broke off")
            write_all(descriptor, piece)
            size_bytes -= len(piece)

    def _feed(self, streams: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the container has ended, or wants no more
            try:
                while piece := self._read():
                    streams.sendall(piece)
            finally:
                os.close(self._stdin)
                streams.shutdown(socket.SHUT_WR)

    def _read(self) -> bytes:
        try:
            return os.read(self._stdin, PIECE_BYTES)
        except OSError as error:
            self.fault = f"cannot read what is given to its stdin: {error.strerror}"
            return b""


def read_head(stream: Any) -> bytes:
    """Up to the empty line, and with it what follows is left. Raises: OSError if it ends before."""
    lines: list[bytes] = []
    while not lines or lines[-1] != b"\r\n":
        lines.append(stream.readline())
        if not lines[-1]:
            raise OSError("the daemon closed the connection")
    return b"".join(lines)


def read_frame(stream: Any) -> bytes:
    """The head of the next piece of output; empty at the end, at which the connection may be reset."""
    with contextlib.suppress(ConnectionResetError):
        return bytes(stream.read(8))
    return b""


def order_of(run: Run, user: str | None, with_init: bool, mounts: Mapping[str, str]) -> dict[str, Any]:
    """What the daemon is told to make of a run; `mounts` as for `docker.run_arguments`."""
    rules = run.confinement
    host: dict[str, Any] = {
        "LogConfig": {"Type": "none"},
        "RestartPolicy": {"Name": "no"},
        "NetworkMode": run.network,
        "SecurityOpt": [] if rules.new_privileges else ["no-new-privileges"],
        "Mounts": [mount_of(mounts.get(bind.target) or mount_option(bind)) for bind in run.binds],
    }
    if rules.init and with_init:
        host["Init"] = True
    if rules.pids_max is not None:
        host["PidsLimit"] = rules.pids_max
    if rules.capabilities is not None:
        host |= {"CapDrop": ["ALL"], "CapAdd": list(rules.capabilities)}
    if run.cpus:
        host["NanoCpus"] = round(run.cpus * 1e9)
    if run.memory_bytes:
        host["Memory"] = host["MemorySwap"] = max(run.memory_bytes, MEMORY_MIN_BYTES)
    return {
        "Image": run.image,
        "Cmd": list(run.command),
        "Env": [f"{name}={value}" for name, value in sorted(run.env.items())],
        "Labels": run.labels,
        "User": user or "",
        "WorkingDir": run.workdir or "",
        "AttachStdout": True,
        "AttachStderr": True,
        **dict.fromkeys(("AttachStdin", "OpenStdin", "StdinOnce"), run.with_stdin),
        "HostConfig": host,
    }


def mount_of(option: str) -> dict[str, Any]:
    """The value of a `--mount` as the daemon is told it."""
    fields = [quoted.replace('""', '"') or plain for quoted, plain in FIELD.findall(option)]
    volume: dict[str, Any] = {"Labels": {}, "DriverConfig": {"Options": {}}}
    mount: dict[str, Any] = {}
    for name, _, value in (field.partition("=") for field in fields):
        key, _, rest = value.partition("=")
        if name in ("type", "source", "target"):
            mount[name.title()] = value
        elif name == "readonly":
            mount["ReadOnly"] = True
        elif name == "volume-nocopy":
            volume["NoCopy"] = True
        elif name == "volume-subpath":
            volume["Subpath"] = value
        elif name == "volume-driver":
            volume["DriverConfig"]["Name"] = value
        elif name == "volume-label":
            volume["Labels"][key] = rest
        else:
            volume["DriverConfig"]["Options"][key] = rest
    return mount if mount["Type"] == "bind" else {**mount, "VolumeOptions": volume}
