"""The worker's archive: small, reproducible, startable by any Python from 3.9 on."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tesp_api.worker.run
from tesp_api.pulsar.worker_text import as_text
from tesp_api.runner.worker_archive import build_local_worker_archive, build_worker_archive

TEXT_LIMIT_BYTES = 150_000
"""Of the worker as text, in a message."""
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
    text = as_text(first)
    assert len(text) <= TEXT_LIMIT_BYTES
    assert text.isascii() and len(json.dumps(text)) < TEXT_LIMIT_BYTES * 1.01


def start(
    python: str, folder: Path, *options: str, worker: bytes | None = None, name: str = "tesp-worker.pyz"
) -> subprocess.CompletedProcess[bytes]:
    archive = folder / name
    archive.write_bytes(worker or build_worker_archive())
    job = folder / "job"
    job.mkdir()
    return subprocess.run(
        [python, "-I", "-S", *options, str(archive), str(job)], capture_output=True, check=False
    )


@pytest.mark.parametrize("python", pythons())
def test_as_text_it_unpacks_itself_and_runs(python: str, tmp_path: Path) -> None:
    done = start(python, tmp_path, worker=as_text(build_worker_archive()).encode(), name="tesp-worker.py")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert "task.json" in (tmp_path / "job" / "metadata" / "tesp" / "result.json").read_text()
    assert (tmp_path / "tesp-worker.pyz").read_bytes() == build_worker_archive()
    assert {path.name for path in tmp_path.iterdir()} == {"job", "tesp-worker.py", "tesp-worker.pyz"}


@given(st.binary(max_size=60))
def test_what_is_unpacked_is_what_was_packed(archive: bytes) -> None:
    unpacker, _, _ = as_text(archive).partition("archive = ")
    names: dict[str, Any] = {}
    exec(unpacker, names)  # noqa: S102 - what is tested
    assert bytes(names["worker"])[: len(archive)] == archive


@pytest.mark.parametrize("python", pythons())
def test_every_python_starts_it(python: str, tmp_path: Path) -> None:
    done = start(python, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    result = (tmp_path / "job" / "metadata" / "tesp" / "result.json").read_text()
    assert "SYSTEM_ERROR" in result and "task.json" in result  # there was none


def run_inside(python: str, first: str, archive: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the archive inside another program, after `first`; an exception and a module's place are shown."""
    script = f"""
import builtins, runpy, sys, traceback
sys.argv = {[str(archive), *arguments]!r}
{first}
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except Exception:
    traceback.print_exc()
print(sys.modules["tesp_worker.run"].__file__)
"""
    return subprocess.run([python, "-I", "-S", "-c", script], capture_output=True, check=False, text=True)


def test_this_python_compiles_nothing(tmp_path: Path) -> None:
    archive = tmp_path / "tesp-worker.pyz"
    archive.write_bytes(build_worker_archive())
    (tmp_path / "job").mkdir()
    first = """
def compile(source, file, *rest, original=compile, **options):
    assert not str(file).startswith("tesp_worker"), file
    return original(source, file, *rest, **options)
builtins.compile = compile
"""
    done = run_inside(sys.executable, first, archive, str(tmp_path / "job"))
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "job" / "metadata" / "tesp" / "result.json").exists()


def test_the_local_one_compiles_no_module(tmp_path: Path) -> None:
    archive = tmp_path / "tesp-worker.pyz"
    archive.write_bytes(build_local_worker_archive())
    script = """
import builtins, importlib, sys, zipimport
zipped, names = zipimport.zipimporter(sys.argv[1]), {"__name__": "loader"}
exec(zipped.get_code("__main__"), names)
modules = names["Modules"](sys.argv[1], zipped.get_data)
sys.meta_path.insert(0, modules)
def compile(source, file, *rest, original=compile, **options):
    assert not str(file).startswith("tesp_worker"), file
    return original(source, file, *rest, **options)
builtins.compile = compile
for file in modules._codes:
    if not file.endswith("__main__.py"):
        importlib.import_module(file.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
print(len(modules._codes))
"""
    command = [sys.executable, "-I", "-S", "-c", script, str(archive)]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 50


@pytest.mark.parametrize("python", pythons())
def test_the_local_one_runs_with_every_python(python: str, tmp_path: Path) -> None:
    done = start(python, tmp_path, worker=build_local_worker_archive())
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert "task.json" in (tmp_path / "job" / "metadata" / "tesp" / "result.json").read_text()


def test_it_starts_where_python_has_no_lzma(tmp_path: Path) -> None:
    archive = tmp_path / "tesp-worker.pyz"
    archive.write_bytes(build_worker_archive())
    (tmp_path / "job").mkdir()
    done = run_inside(sys.executable, "sys.modules['lzma'] = None", archive, str(tmp_path / "job"))
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "job" / "metadata" / "tesp" / "result.json").exists()


@pytest.mark.parametrize("python", pythons())
def test_tracebacks_show_lines_and_modules_their_place(python: str, tmp_path: Path) -> None:
    archive = tmp_path / "tesp-worker.pyz"
    archive.write_bytes(build_worker_archive())
    done = run_inside(python, "", archive)  # without its argument
    source = Path(tesp_api.worker.run.__file__).read_text().splitlines()
    number = next(index for index, line in enumerate(source, 1) if "JobDirectory(arguments[0])" in line)
    where = f'  File "tesp_worker/run.py", line {number}, in main\n    {source[number - 1].strip()}\n'
    assert where in done.stderr
    assert done.stdout == f"{archive}/tesp_worker/run.py\n"


def test_no_heavy_module_is_imported_at_the_start(tmp_path: Path) -> None:
    lines = start(sys.executable, tmp_path, "-v").stderr.decode().splitlines()
    imported = {line.split("'")[1] for line in lines if line.startswith("import '")}
    assert {"tesp_worker.run", "json"} <= imported
    assert not imported & {"http.client", "ssl", "logging", "inspect", "tarfile", "urllib.request", "asyncio"}
