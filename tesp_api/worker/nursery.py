"""The nursery: a process that has imported the worker, of which workers are forked. For jobs of one machine.

It is spoken to over a socket that keeps messages apart. Each message, of JSON, asks for a worker, and has the
job's stdout and stderr with it:

    {"id": 1, "cwd": "/jobs/x/working", "env": {...}, "arguments": [".."]}
    -> {"id": 1, "pid": 123}      (said by the worker itself, once it is where it belongs)
    -> {"id": 1, "code": 0}       (once it has ended; alone, if it never came so far)

It ends with its server. Workers do not, and it leaves no thread, descriptor or signal handler to them.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import select
import signal
import socket
import sys
import traceback
from typing import Any, Sequence

from . import run
from .runtimes import bubblewrap, docker, docker_container

MESSAGE_BYTES = 1 << 20
IMPORTED_FIRST = (bubblewrap, docker, docker_container)
"""What most workers of a laptop or a server need besides `run`."""


def main(descriptor: int) -> int:
    """Fork a worker for each message, until the server is gone.

    All sources are read first: at the archive's place there may be another one when a worker asks for one.
    """
    server = socket.socket(fileno=descriptor)
    poll = select.poll()
    poll.register(server, select.POLLIN)
    asked: dict[int, tuple[int, int]] = {}
    run.__loader__.get_source(run.__name__)  # type: ignore[union-attr]
    limits = raise_limit()
    gc.freeze()  # or the collector would touch, and thereby copy, each page in each worker
    while True:
        for ready, _ in poll.poll():
            if ready in asked:
                number, pid = asked.pop(ready)
                poll.unregister(ready)
                os.close(ready)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                server.send(json.dumps({"id": number, "code": code}).encode())
                continue
            message, descriptors, _, _ = socket.recv_fds(server, MESSAGE_BYTES, 2)
            if not message:
                return 0
            wanted = json.loads(message)
            try:
                pid = os.fork()
                if pid == 0:
                    _become_worker(wanted, descriptors, server, limits)
                watch = os.pidfd_open(pid)
            except OSError:  # too many of something: the server starts a worker itself, or looks at this one
                server.send(json.dumps({"id": wanted["id"], "code": -1}).encode())
                continue
            finally:
                for one in descriptors:
                    os.close(one)
            asked[watch] = (wanted["id"], pid)
            poll.register(watch, select.POLLIN)


def raise_limit() -> tuple[int, int]:
    """Let it have as many descriptors as it may, one for each worker; returns what a worker is to have."""
    given = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (given[1], given[1]))
    return given


def _become_worker(
    wanted: dict[str, Any], descriptors: Sequence[int], server: socket.socket, limits: tuple[int, int]
) -> None:
    code = 1
    try:
        os.setpgid(0, 0)
        os.chdir(wanted["cwd"])
        os.dup2(descriptors[0], 1)
        os.dup2(descriptors[1], 2)
        os.environ.clear()
        os.environ.update(wanted["env"])
        server.send(json.dumps({"id": wanted["id"], "pid": os.getpid()}).encode())
        server.detach()
        os.closerange(3, max(map(int, os.listdir("/proc/self/fd"))) + 1)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        code = run.main(wanted["arguments"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
