"""`tesp serve` as a process of its own, as a user starts it."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

BIN = Path(sys.executable).parent


@contextlib.contextmanager
def served(folder: Path, *options: str) -> Iterator[str]:
    """A server on a free port with its data in `folder`; gives its URL. It must end well, too."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("TESP_", "FASTAPI_PROFILE"))
    }
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [BIN / "tesp", "serve", "--port", "0", "--data", folder / "data", *options],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdout
    try:
        first_line = process.stdout.readline().strip()
        assert first_line.startswith("TESP listens on http://"), (folder / "server.log").read_text()
        yield first_line.rpartition(" ")[2]
    finally:
        process.terminate()
        output, _ = process.communicate(timeout=30)
    assert (process.returncode, output.splitlines()[-1]) == (0, "stopped")
