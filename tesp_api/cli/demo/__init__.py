"""`tesp demo`: a server of its own, a real genome, a task of three executors, and what came of it."""

import shutil
import tempfile
import time
from pathlib import Path

from tesp_api.cli.exits import CommandFailed


def demo() -> None:
    """Run the genome of phage lambda through three executors, on a server made for it, step by step."""
    from tesp_api.cli.demo.report import say
    from tesp_api.cli.demo.run import run_demo
    from tesp_api.cli.demo.runtime import choose_runtime

    began = time.monotonic()
    runtime = choose_runtime()
    folder = Path(tempfile.mkdtemp(prefix="tesp-demo-"))
    try:
        run_demo(folder, runtime)
    finally:
        _remove(folder)
    say(f"\nThe server is stopped and its folder removed. All of it took {time.monotonic() - began:.1f} s.")


def _remove(folder: Path, within_s: float = 10.0) -> None:
    """Remove the folder, in which the job's last process may still be tidying up.

    Raises:
        CommandFailed: something is left of it.
    """
    deadline = time.monotonic() + within_s
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists() and time.monotonic() > deadline:
            raise CommandFailed(f"{folder} could not be removed")
        time.sleep(0.05)
