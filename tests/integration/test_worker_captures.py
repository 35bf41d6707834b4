"""What is fetched from a stopped container: a file that is not there is not the same as a copy that fails."""

from pathlib import Path

import pytest

from tesp_api.worker.errors import SystemFailure
from tesp_api.worker.runtimes.base import Run
from tesp_api.worker.runtimes.docker import Docker
from tests.services.containers import require_docker

pytestmark = pytest.mark.services


def _run(name: str) -> Run:
    return Run(
        name=name,
        labels={},
        image="busybox:latest",
        command=("true",),
        workdir=None,
        env={},
        with_stdin=False,
        binds=(),
        network="none",
        cpus=None,
        memory_bytes=None,
    )


def test_a_copy_that_fails_is_an_error(tmp_path: Path) -> None:
    require_docker()
    runtime = Docker((), str(tmp_path))
    gone = _run("tesp-no-such-container")
    with pytest.raises(SystemFailure, match="Cannot copy"):
        runtime.capture(gone, "/out.txt", str(tmp_path / "out.txt"))
    with pytest.raises(SystemFailure):
        runtime.new_files(gone)
