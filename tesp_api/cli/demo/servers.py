"""The two servers of the demo: TESP itself, as a process of its own, and the genome's on loopback."""

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tesp_api.cli.exits import CommandFailed

_START_WITHIN_S = 60
_STOP_WITHIN_S = 15


@contextmanager
def serve_files(folder: Path) -> Iterator[str]:
    """A static file server on a free loopback port; gives its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_QuietHandler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def run_server(settings_file: Path, log_file: Path) -> Iterator[str]:
    """`tesp serve` on a free port, with these settings and no others; gives its URL.

    Raises:
        CommandFailed: it did not start; the text ends with what it said.
    """
    ours = ("TESP_API_", "FASTAPI_PROFILE")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment["TESP_API_SETTINGS"] = str(settings_file)
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tesp_api.cli", "serve", "--port", "0"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        yield _url_said_by(process, log_file)
    finally:
        process.terminate()
        try:
            process.communicate(timeout=_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _url_said_by(process: subprocess.Popen[str], log_file: Path) -> str:
    """The URL in the server's first line; the thread keeps a silent server from holding us up."""
    lines: queue.Queue[str] = queue.Queue()
    stdout = process.stdout
    if stdout is None:
        raise CommandFailed("the server's output cannot be read")
    threading.Thread(target=lambda: lines.put(stdout.readline()), daemon=True).start()
    try:
        line = lines.get(timeout=_START_WITHIN_S)
    except queue.Empty:
        line = ""
    url = line.strip().rpartition(" ")[2]
    if not url.startswith("http://"):
        said = "\n".join(log_file.read_text(errors="replace").splitlines()[-20:])
        raise CommandFailed(f"the server did not start:\n{said}")
    return url
