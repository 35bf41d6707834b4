"""The worker's archive: small, reproducible, startable by any Python from 3.9 on."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tesp_api.runner.worker_archive import build_worker_archive

SIZE_LIMIT_BYTES = 150 * 1024
PYENV = Path.home() / ".pyenv" / "versions"


def pythons() -> list[str]:
    """This Python, the system's, and what pyenv has from 3.9 on."""
    others = [str(path) for path in sorted(PYENV.glob("3.*/bin/python3"))]
    supported = [path for path in others if int(Path(path).parts[-3].split(".")[1]) >= 9]
    system = shutil.which("python3", path="/usr/bin")
    return [sys.executable, *([system] if system else []), *supported]


def test_it_is_small_and_reproducible() -> None:
    first = build_worker_archive()
    build_worker_archive.cache_clear()
    assert build_worker_archive() == first
    assert len(first) < SIZE_LIMIT_BYTES


def start(python: str, folder: Path, *options: str) -> subprocess.CompletedProcess[bytes]:
    archive = folder / "tesp-worker.pyz"
    archive.write_bytes(build_worker_archive())
    job = folder / "job"
    job.mkdir()
    return subprocess.run(
        [python, "-I", "-S", *options, str(archive), str(job)], capture_output=True, check=False
    )


@pytest.mark.parametrize("python", pythons())
def test_every_python_starts_it(python: str, tmp_path: Path) -> None:
    done = start(python, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    result = (tmp_path / "job" / "metadata" / "tesp" / "result.json").read_text()
    assert "SYSTEM_ERROR" in result and "task.json" in result  # there was none


def test_this_python_compiles_nothing(tmp_path: Path) -> None:
    archive = tmp_path / "tesp-worker.pyz"
    archive.write_bytes(build_worker_archive())
    script = (
        f"import sys; sys.path.insert(0, {str(archive)!r}); import tesp_worker.run as m; print(m.__file__)"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, check=True)
    assert done.stdout.decode().strip().endswith("tesp_worker/run.pyc")


def test_no_heavy_module_is_imported_at_the_start(tmp_path: Path) -> None:
    lines = start(sys.executable, tmp_path, "-v").stderr.decode().splitlines()
    imported = {line.split("'")[1] for line in lines if line.startswith("import '")}
    assert {"tesp_worker.run", "json"} <= imported
    assert not imported & {"http.client", "ssl", "logging", "inspect", "tarfile", "urllib.request", "asyncio"}
