"""The worker channel between real servers and workers: over its socket, and over TLS from stock Pulsar."""

import contextlib
import http.client
import json
import os
import ssl
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tesp_api.worker.plain_http import UnixConnection
from tests.acceptance.served import BIN
from tests.services.authority import Authority
from tests.services.containers import require_docker
from tests.services.locked_server import LockedServer, basic
from tests.services.mongod import Mongod
from tests.services.pulsar_rest import StockPulsar
from tests.services.tesp import ONLY_BUBBLEWRAP, ONLY_DOCKER, TespServer, free_port, poll

pytestmark = [pytest.mark.sampled(1), pytest.mark.services]

PASSWORD = "hush-hush-hush"


@dataclass
class Place:
    """What a server needs to run at a site, and where its jobs and their gate are."""

    settings: dict[str, str]
    data: Path
    staging: Path
    gate: Path
    web: LockedServer
    channel_url: str
    ca: Path | None = None

    def server(self) -> TespServer:
        """A server on the place's data; a later one takes over from the one before."""
        return TespServer(self.settings, data=self.data)

    def task(self, **more: Any) -> dict[str, Any]:
        """A task that sends a file with a password, once the gate is open."""
        script = "while [ ! -e /gate/open ]; do sleep 0.1; done; echo done > /out"
        return {
            "inputs": [{"url": f"file://{self.gate}", "path": "/gate", "type": "DIRECTORY"}],
            "outputs": [{"url": f"{self.web.url}/locked/out", "path": "/out"}],
            "executors": [{"image": "busybox:latest", "command": ["sh", "-c", script]}],
        } | more

    def order(self, task_id: str) -> dict[str, Any]:
        """The task.json of a job that is there."""
        return dict(json.loads((self.staging / f"{task_id}-1" / "tool_files" / "task.json").read_text()))

    def events(self, task_id: str) -> str:
        """What its worker has said so far."""
        file = self.staging / f"{task_id}-1" / "metadata" / "tesp" / "events.ndjson"
        return file.read_text() if file.exists() else ""

    def ask(self, token: str, what: str = "logins") -> tuple[int, dict[str, Any]]:
        """A request over the channel, as a worker makes it."""
        connection: Any
        if self.channel_url.startswith("unix:"):
            connection = UnixConnection(self.channel_url.removeprefix("unix:"))
        else:
            host = self.channel_url.removeprefix("https://")
            trust = ssl.create_default_context(cafile=str(self.ca))
            connection = http.client.HTTPSConnection(host, context=trust, timeout=30)
        with contextlib.closing(connection):
            connection.request("POST", f"/channel/v1/{what}", b"{}", {"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())


@pytest.fixture
def web() -> Iterator[LockedServer]:
    with LockedServer() as running:
        running.files |= {"/locked/in": b"by password\n", "/open/in": b"for all\n"}
        running.locks["/locked"] = {"Authorization": basic("ann", PASSWORD)}
        yield running


@pytest.fixture(params=["embedded", "rest"])
def place(request: pytest.FixtureRequest, tmp_path: Path, web: LockedServer) -> Iterator[Place]:
    gate, data = tmp_path / "gate", tmp_path / ("d" * 100) / "data"
    gate.mkdir(mode=0o777)
    lab = {"url_prefix": f"{web.url}/locked/", "username": "ann", "password": PASSWORD}
    settings = {
        "TESP_API_CREDENTIALS": "@json " + json.dumps({"lab": lab}),
        "TESP_API_DESTINATIONS__LOCAL__FILE_ROOTS": "@json "
        + json.dumps([{"path": str(gate), "mount": "rw"}]),
    }
    if request.param == "embedded":
        url = f"unix:{data}/channel.sock"
        yield Place(settings | ONLY_BUBBLEWRAP, data, data / "pulsar" / "staging", gate, web, url)
        return
    require_docker()
    authority, port = Authority(tmp_path / "authority"), free_port()
    settings |= ONLY_DOCKER | {
        "TESP_API_CHANNEL__PORT": str(port),
        "TESP_API_CHANNEL__URL": (url := f"https://127.0.0.1:{port}"),
        "TESP_API_CHANNEL__CERTIFICATE": str(authority.certificate),
        "TESP_API_CHANNEL__PRIVATE_KEY": str(authority.private_key),
        "TESP_API_DESTINATIONS__LOCAL__CHANNEL_CA": str(authority.ca),
        "TESP_API_DESTINATIONS__LOCAL__KIND": "rest",
    }
    with StockPulsar() as pulsar:
        settings["TESP_API_DESTINATIONS__LOCAL__URL"] = pulsar.url
        settings["TESP_API_DESTINATIONS__LOCAL__PRIVATE_TOKEN"] = pulsar.private_token
        yield Place(settings, data, pulsar.staging, gate, web, url, authority.ca)


def cat(url: str) -> dict[str, Any]:
    return {
        "inputs": [{"url": url, "path": "/in"}],
        "executors": [{"image": "busybox:latest", "command": ["cat", "/in"]}],
    }


def test_a_login_of_the_settings_opens_what_is_locked(place: Place, web: LockedServer) -> None:
    with place.server() as server:
        task = server.run(cat(f"{web.url}/locked/in"))
        assert (task["state"], task["logs"][0]["logs"][0]["stdout"]) == ("COMPLETE", "by password\n")
        assert PASSWORD not in json.dumps(task) + server.log
    del place.settings["TESP_API_CREDENTIALS"]
    with place.server() as server:
        task = server.run(cat(f"{web.url}/locked/in"))
        assert task["state"] == "SYSTEM_ERROR"
        said = task["logs"][0]["system_logs"][-1]
        assert f"{web.url}/locked/in" in said and "401" in said and "no credential" in said


def test_a_server_that_is_restarted_is_waited_for(place: Place) -> None:
    with place.server() as first:
        task_id = first.create(place.task())
        first.wait(task_id, states={"RUNNING"})
        first.kill()
    (place.gate / "open").touch()
    poll(
        lambda: "Waiting for the server" in place.events(task_id),
        timeout_s=30,
        why="the worker does not wait",
    )
    assert (place.staging / f"{task_id}-1").exists()
    with place.server() as second:
        task = second.wait(task_id)
    assert task["state"] == "COMPLETE", task["logs"]
    assert place.web.files["/locked/out"] == b"done\n"
    assert any("Waiting for the server" in line for line in task["logs"][0]["system_logs"])


def test_a_token_is_good_for_its_attempt_while_that_lives(place: Place) -> None:
    with place.server() as server:
        task_id, other_id = server.create(place.task()), server.create(place.task())
        for one in (task_id, other_id):
            server.wait(one, states={"RUNNING"})
        token, other = (place.order(one)["channel"]["token"] for one in (task_id, other_id))
        assert place.ask(token)[1]["logins"][0]["password"] == PASSWORD
        other_signature = other.rpartition(".")[2]
        forged = [token.rpartition(".")[0] + f".{other_signature}", token.replace(".1.", ".2."), token[:-3]]
        assert [place.ask(one)[0] for one in forged] == [401, 401, 401]
        server.client.post(f"/ga4gh/tes/v1/tasks/{other_id}:cancel")
        assert place.ask(other)[0] == 410
        (place.gate / "open").touch()
        assert server.wait(task_id)["state"] == "COMPLETE"
        assert place.ask(token)[0] == 410
        assert server.log.count("refused with 401") == 3
        ours = [line for line in server.log.splitlines() if "of request unknown" in line]  # not the workers'
        assert sum("refused with 410" in line for line in ours) == 2
        assert task_id in server.log
        assert not [one for one in (token, other, *forged, PASSWORD) if one in server.log]


def test_no_token_goes_with_a_task_that_needs_none(place: Place, web: LockedServer) -> None:
    outputs = [{"url": f"{web.url}/open/out", "path": "/out"}]
    with place.server() as server:
        task_id = server.create(place.task(outputs=outputs))
        server.wait(task_id, states={"RUNNING"})
        order = place.order(task_id)
        assert (order["channel"], order["lent"]) == (None, None)
        (place.gate / "open").touch()
        assert server.wait(task_id)["state"] == "COMPLETE"


def test_further_servers_on_one_database_need_the_same_key(mongod: Mongod) -> None:
    settings = ONLY_BUBBLEWRAP | {"TESP_API_STORE__URL": mongod.url, "TESP_API_STORE__DATABASE": "keys"}
    try:
        with TespServer(settings) as server:
            assert f"the key of this server is in {server.data}/secret.key" in server.log
        with TespServer(settings | {"TESP_API_SECRET_KEY": "0123456789" * 4}) as server:
            assert "secret_key is not set" not in server.log
            assert not (server.data / "secret.key").exists()
    finally:
        mongod.drop("keys")


def test_doctor_knows_a_channel_that_runs(place: Place) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TESP_")}
    environment = inherited | place.settings | {"TESP_API_DATA_DIR": str(place.data)}
    with place.server() as server:
        done = subprocess.run(
            [BIN / "tesp", "doctor", "--json"], env=environment, cwd=server.folder, capture_output=True
        )
    checks = json.loads(done.stdout)["checks"]
    found = {check["name"]: check for check in checks if "channel" in check["name"]}
    certificate = found.pop("certificate of the channel", None)
    assert {check["level"] for check in found.values()} == {"ok"}, found
    if place.ca is not None:
        assert "a running server answers" in found["worker channel"]["found"]
        assert certificate and (certificate["level"], certificate["mend"]) == ("warn", "renew it")  # 1 hour


def test_others_of_the_machine_reach_nothing(place: Place) -> None:
    with place.server() as server:
        task_id = server.create(place.task())
        server.wait(task_id, states={"RUNNING"})
        job = place.staging / f"{task_id}-1"
        assert stat.S_IMODE(job.stat().st_mode) == 0o700
        assert stat.S_IMODE((place.data / "secret.key").stat().st_mode) == 0o600
        (place.gate / "open").touch()
        server.wait(task_id)
        poll(lambda: not job.exists(), timeout_s=30, why="the job directory with its token stays")
