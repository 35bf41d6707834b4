"""What keeps `tesp serve` from starting is one message, with an exit code and without a traceback."""

import os
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tesp_api.cli.main import app
from tesp_api.store.folder_lock import FolderLock


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("TESP_", "FASTAPI_PROFILE")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def serve(*options: str) -> Result:
    result = CliRunner().invoke(app, ["serve", *options])
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    return result


def test_wrong_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESP_API_SERVER__PROT", "1")
    result = serve()
    assert result.exit_code == 2
    assert "server.prot: there is no such setting" in result.stderr


@pytest.mark.parametrize("port", ["65536", "-1", "http"])
def test_a_port_that_is_none(port: str) -> None:
    assert serve("--port", port).exit_code == 2


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        result = serve("--port", str(port), "--data", str(tmp_path / "data"))
    assert result.exit_code == 1
    assert f"cannot listen on 127.0.0.1 port {port}" in result.stderr
    assert not (tmp_path / "data").exists()


def test_a_data_folder_in_use(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    lock.acquire()
    try:
        result = serve("--port", "0", "--data", str(tmp_path))
    finally:
        lock.release()
    assert result.exit_code == 1
    assert f"the data folder {tmp_path} is in use" in result.stderr


def test_a_host_that_is_not_ours() -> None:
    result = serve("--host", "192.0.2.1", "--port", "0")
    assert result.exit_code == 1
    assert "cannot listen on 192.0.2.1" in result.stderr
