"""A database that an earlier version made (`tests/data`), upgraded by `tesp db`, and shown by this server."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
import httpx
import pytest

from tests.acceptance.workflow_runs import scripted_server
from tests.integration.upkeep import Place
from tests.services.mongod import Mongod
from tests.services.tesp import TespServer

pytestmark = pytest.mark.services

DATA = Path(__file__).parents[1] / "data"
EARLIER = {"sqlite": (9, "sqlite-f23f20d.tar.gz"), "mongodb": (7, "mongodb-f23f20d.tar.gz")}
WHY_IT_ENDED = {
    "sqlite": "vanished without a result",
    "mongodb": "is in the embedded Pulsar of a server that has been away",  # of another data folder
}


@pytest.fixture(params=EARLIER)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def place(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    mongod: Mongod | None = request.getfixturevalue("mongod") if kind == "mongodb" else None
    made = Place(tmp_path / "data", mongod)
    yield made
    if mongod is not None:
        mongod.drop(made.database)


@pytest.fixture
def facts(kind: str, place: Place) -> dict[str, Any]:
    """What the earlier server showed at last, of what is in the place then."""
    place.folder.mkdir(mode=0o700)
    with tarfile.open(DATA / EARLIER[kind][1]) as archive:
        archive.extractall(place.folder, filter="data")
    if place.mongod is not None:
        with place.client() as client:
            for file in place.folder.glob("*.bson"):
                if documents := bson.decode_all(file.read_bytes()):
                    client[place.database][file.stem].insert_many(documents)
                file.unlink()
    said: dict[str, Any] = json.loads((place.folder / "facts.json").read_text())
    return said


def check_all(server: TespServer, facts: dict[str, Any], why_it_ended: str) -> None:
    """Users log in, and everything is shown as it was; what was live goes on, or ends with a reason."""
    tasks, run = facts["tasks"], facts["run"]
    assert server.client.get("/ga4gh/tes/v1/tasks").status_code == 401
    server.client.auth = ("alice", facts["password"])
    listed = server.client.get("/ga4gh/tes/v1/tasks", params={"tag_key": "project", "tag_value": "upgrade"})
    assert {task["id"] for task in listed.json()["tasks"]} == {task["id"] for task in tasks.values()}
    for name in ("complete", "failed", "canceled"):
        assert server.get(tasks[name]["id"]) == tasks[name]
    assert tasks["complete"]["logs"][0]["logs"][0]["stdout"] == "to stdout\n"
    shown = server.client.get(f"/ga4gh/wes/v1/runs/{run['id']}").json()
    assert (shown["state"], shown["request"]) == ("COMPLETE", run["request"])
    steps = server.client.get(f"/ga4gh/wes/v1/runs/{run['id']}/tasks").json()["task_logs"]
    assert [one["name"] for one in steps] == ["a"]
    lost = server.wait(tasks["running"]["id"])
    assert (lost["state"], lost["executors"]) == ("SYSTEM_ERROR", tasks["running"]["executors"])
    assert why_it_ended in "\n".join(lost["logs"][0]["system_logs"])
    queued = server.wait(tasks["queued"]["id"])
    assert queued["state"] == "COMPLETE" and queued["logs"][0]["logs"][0]["stdout"] == "at last\n"
    counts = server.client.get("/tesp/v1/counts").json()
    assert counts["states"]["COMPLETE"] == 3, counts  # one is the step of the run
    bearer = {"Authorization": f"Bearer {facts['token']}"}
    assert httpx.get(f"{server.url}/tesp/v1/me", headers=bearer).json()["name"] == "bob"


def test_an_earlier_database_is_upgraded(
    kind: str, place: Place, facts: dict[str, Any], tmp_path: Path
) -> None:
    version = EARLIER[kind][0]
    found = place.check()
    assert (found["schema"], found["standing"], found["usable"]) == (version, "older", True)
    assert found["tasks"] == {"COMPLETE": 2, "EXECUTOR_ERROR": 1, "CANCELED": 1, "RUNNING": 1, "QUEUED": 1}
    assert (found["runs"], found["users"], found["tokens"]) == ({"COMPLETE": 1}, 2, 1)
    said = place.done("upgrade")
    assert f"upgraded from schema {version} to {found['newest']}" in said
    upgraded = place.check()
    assert (upgraded["standing"], upgraded["faults"]) == ("current", [])
    assert (upgraded["tasks"], upgraded["runs"], upgraded["users"]) == (found["tasks"], found["runs"], 2)
    kept = list(place.folder.glob("*.schema-*"))
    assert len(kept) == (kind == "sqlite") and all(str(file) in said for file in kept)
    environment = {
        **place.environment,
        "TESP_API_AUTH__MODES": '@json ["basic", "token"]',
        "TESP_API_SCHEDULER__HEARTBEAT_S": "1",
    }
    with scripted_server(environment, data=place.folder) as server:
        check_all(server, facts, WHY_IT_ENDED[kind])
    if kept:  # the way back
        other = Place(tmp_path / "other", None)
        other.folder.mkdir()
        kept[0].rename(other.folder / "tesp.sqlite3")
        assert (other.check()["schema"], other.check()["tasks"]) == (version, found["tasks"])


def test_a_backup_of_an_earlier_database_can_be_restored(
    kind: str, place: Place, facts: dict[str, Any], tmp_path: Path
) -> None:
    assert facts["run"]
    before = place.check()
    place.done("backup", tmp_path / "backup")
    place.done("restore", tmp_path / "backup", "--force")
    assert place.check() == before
    place.done("upgrade", "--no-backup")
    assert not list(place.folder.glob("*.schema-*"))
    after = place.check()
    assert (after["standing"], after["tasks"], after["faults"]) == ("current", before["tasks"], [])
