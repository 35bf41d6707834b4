"""What `tesp` does when its request may have arrived and no answer comes: it sends it again, once for all."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.factories import make_request
from tests.unit.cli.conftest import LiveApi, Tesp


class LosingProxy:
    """Passes requests on, and closes the first `losses` connections instead of passing the answer back."""

    def __init__(self, port: int, losses: int) -> None:
        self._to = port
        self._losses = losses
        self.lost = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(20)

    def _accept(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            with client, socket.create_connection(("127.0.0.1", self._to)) as server:
                self._pass_on(client, server)

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        sending = threading.Thread(target=_copy, args=(client, server), daemon=True)
        sending.start()
        while answer := server.recv(65536):
            if self.lost < self._losses:
                self.lost += 1
                client.shutdown(socket.SHUT_RDWR)
                break
            client.sendall(answer)
        sending.join(20)


def _copy(source: socket.socket, to: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            to.sendall(data)
        to.shutdown(socket.SHUT_WR)
    except OSError:
        return


@pytest.fixture
def proxy(api: LiveApi) -> Iterator[LosingProxy]:
    losing = LosingProxy(httpx.URL(api.url).port or 0, losses=2)
    yield losing
    losing.close()


def test_a_task_is_created_once(api: LiveApi, proxy: LosingProxy) -> None:
    made = Tesp(proxy.url)("task", "create", "-", input=json.dumps(make_request()))
    assert (made.exit_code, proxy.lost) == (0, 2), made.output
    listed = json.loads(Tesp(api.url)("task", "list", "--json").stdout)["tasks"]
    assert [task["id"] for task in listed] == [made.stdout.strip()]


def test_a_run_is_submitted_once_with_its_files(api: LiveApi, proxy: LosingProxy, tmp_path: Path) -> None:
    (tmp_path / "w.json").write_text("{}" + " " * 300_000)
    words = ("run", "submit", str(tmp_path / "w.json"), "--type", "script")
    made = Tesp(proxy.url)(*words)
    assert (made.exit_code, proxy.lost) == (0, 2), made.output
    run_id = made.stdout.strip()
    assert [run["run_id"] for run in json.loads(Tesp(api.url)("run", "list", "--json").stdout)["runs"]] == [
        run_id
    ]
    assert (tmp_path / "data/wes/work" / run_id / "attachments/w.json").stat().st_size == 300_002
    assert Tesp(proxy.url)(*words).stdout.strip() != run_id


def test_where_no_server_is_nothing_is_waited_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    refused = Tesp(f"http://127.0.0.1:{port}")("task", "create", "-", input=json.dumps(make_request()))
    assert refused.exit_code == 3
    assert "no server answers" in refused.stderr
