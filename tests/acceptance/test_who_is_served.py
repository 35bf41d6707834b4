"""A server without logins keeps to its own machine, however it is started; one with logins asks for them."""

import asyncio
import os
import socket
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from tesp_api.api.auth.api_tokens import new_token
from tesp_api.api.auth.identity import Action
from tesp_api.store.sqlite_accounts import SqliteAccounts
from tests.acceptance.served import BIN, served
from tests.services.tesp import ONLY_BUBBLEWRAP, TespServer, free_port, poll

TES = "/ga4gh/tes/v1"

pytestmark = pytest.mark.services


def environment(folder: Path, **more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TESP_", "FASTAPI_"))}
    return kept | {"TESP_API_DATA_DIR": str(folder / "data")} | more


def address_of_this_machine() -> str | None:
    """One that is not loopback, if there is any; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        found = str(probe.getsockname()[0])
    return None if found.startswith("127.") else found


def test_tesp_serve_refuses_the_network(tmp_path: Path) -> None:
    ended = subprocess.run(
        [BIN / "tesp", "serve", "--host", "0.0.0.0", "--port", str(free_port())],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert "auth.open_to_network" in ended.stderr
    assert not (tmp_path / "data").exists()


def test_under_uvicorn_the_network_is_answered_403(tmp_path: Path) -> None:
    outside = address_of_this_machine()
    with OpenServer(ONLY_BUBBLEWRAP) as server:
        assert httpx.get(f"{server.url}{TES}/tasks").status_code == 200
        if outside is not None:
            answer = httpx.get(f"http://{outside}:{server.port}{TES}/tasks", trust_env=False)
            assert answer.status_code == 403
            assert "auth.open_to_network" in answer.json()["msg"]
        assert "not started by `tesp serve`: slow clients" in server.log


def gone(what: Callable[[], bool]) -> None:
    poll(what, timeout_s=60, why="what was removed is still good")


class OpenServer(TespServer):
    """Started by uvicorn on all addresses."""

    def start(self, *, wait: bool = True) -> None:
        self.options = ["--host", "0.0.0.0"]
        super().start(wait=wait)


def test_users_and_tokens_log_in_while_the_server_runs(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text(
        "[default.auth]\nmodes = ['basic', 'token']\nrevoked_within_s = 0.2\n"
    )

    with served(tmp_path, "--allow-bubblewrap") as url, httpx.Client(base_url=url, timeout=60) as client:
        assert client.get(f"{TES}/tasks").status_code == 401
        added = subprocess.run(
            [BIN / "tesp", "user", "add", "alice", "--data", tmp_path / "data"],
            cwd=tmp_path,
            env=environment(tmp_path),
            input=b"open sesame\n",
            timeout=60,
            check=False,
        )
        assert added.returncode == 0
        token, kept = new_token("alice", Action, None, "")
        asyncio.run(of_another_process(tmp_path / "data", lambda accounts: accounts.add_token(kept)))
        bearer = {"Authorization": f"Bearer {token}"}
        assert client.get(f"{TES}/tasks", auth=("alice", "open sesame")).status_code == 200
        assert client.get(f"{TES}/tasks", headers=bearer).status_code == 200
        assert client.get(f"{TES}/tasks", auth=("alice", "sesame")).status_code == 401
        asyncio.run(of_another_process(tmp_path / "data", lambda accounts: accounts.remove_user("alice")))
        gone(lambda: client.get(f"{TES}/tasks", headers=bearer).status_code == 401)
        gone(lambda: client.get(f"{TES}/tasks", auth=("alice", "open sesame")).status_code == 401)


async def of_another_process(folder: Path, work: Callable[[SqliteAccounts], Awaitable[None]]) -> None:
    accounts = SqliteAccounts(folder)
    await accounts.open()
    await work(accounts)
    await accounts.aclose()
