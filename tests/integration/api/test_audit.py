"""Every request has a name, and the audit log says who did what: whole lines, and nothing secret."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tesp_api.api.application import build_api
from tesp_api.app import build_store
from tesp_api.audit_log import AuditLog
from tesp_api.bell import Bell
from tesp_api.settings import Settings
from tesp_api.store.base import TaskStore
from tests.integration.api.life import TES, connect, finish, start
from tests.integration.api.test_ownership import TASK, TESP, ByName, as_

SECRETS = ("open-sesame", "abracadabra", "hush-hush")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    server = {"cors_origins": ["https://portal.org"], "root_path": "/lab"}
    return Settings.model_validate({"data_dir": str(tmp_path), "server": server})


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[TaskStore]:
    opened = build_store(settings)
    await opened.open()
    yield opened
    await opened.aclose()


@pytest.fixture
async def client(store: TaskStore, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    app = build_api(
        store, Bell(), settings, {}, authenticators=[ByName()], next_destination=lambda *_: "local"
    )
    async with connect(app) as opened:
        yield opened


def lines(settings: Settings) -> list[dict[str, Any]]:
    file = settings.data_dir / "audit.log"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


async def test_who_did_what_is_written_down(client: httpx.AsyncClient, settings: Settings) -> None:
    created = await client.post(f"{TES}/tasks", json=TASK, headers=as_("alice") | {"X-Request-ID": "r-1"})
    task_id = created.json()["id"]
    await client.get(f"{TES}/tasks/{task_id}", headers=as_("alice"))
    await client.post(f"{TES}/tasks/{task_id}:cancel", headers=as_("carol"))
    await client.post(f"/v1/tasks/{task_id}:cancel", headers=as_("elsewhere"))
    await client.post(f"{TES}/tasks/{task_id}:cancel", headers=as_("bob"))
    await client.delete(f"{TESP}/tasks/{task_id}", headers=as_("alice, reading"))
    bulk = await client.post(f"{TESP}/tasks:bulk", json={"tasks": [TASK, {}, TASK]}, headers=as_("bob"))
    await client.get(f"{TES}/tasks", headers=as_("nobody"))
    said = [
        (line.get("who"), line["action"], line.get("task"), line["status"], line["outcome"])
        for line in lines(settings)
    ]
    assert said == [
        ("alice", "create a task", None, 200, "done"),
        ("carol", "cancel a task", task_id, 404, "refused"),
        ("https://idp.example.org#alice", "cancel a task", task_id, 404, "refused"),
        ("bob", "cancel a task", task_id, 200, "done"),
        ("alice", "delete a task", task_id, 403, "refused"),
        ("bob", "create tasks", None, 200, "done"),
        (None, "list tasks", None, 401, "refused"),
    ]
    first, *_, of_bulk, _ = lines(settings)
    assert (first["request"], first["tasks"], first["origin"]) == ("r-1", [task_id], "127.0.0.1")
    assert first["time"].endswith("+00:00")
    ids = [one["id"] for one in bulk.json()["tasks"] if "id" in one]
    assert (of_bulk["tasks"], of_bulk["tasks_count"]) == (ids, 2)
    assert (settings.data_dir / "audit.log").stat().st_mode & 0o077 == 0


async def test_nothing_secret_is_written(client: httpx.AsyncClient, settings: Settings) -> None:
    task = TASK | {
        "inputs": [{"url": "https://u:open-sesame@data.org/x", "path": "/x"}],
        "executors": [{"image": "a", "command": ["b"], "env": {"PASSWORD": "abracadabra"}}],
    }
    await client.post(f"{TES}/tasks?token=hush-hush", json=task, headers=as_("alice"))
    for header in ("Bearer hush-hush", "Basic " + base64.b64encode(b"alice:open-sesame").decode()):
        await client.post(f"{TES}/tasks", json=task, headers={"Authorization": header})
    written = (settings.data_dir / "audit.log").read_text()
    assert len(lines(settings)) == 3
    assert not [secret for secret in (*SECRETS, "Basic", "YWxpY2U6") if secret in written]


@pytest.mark.parametrize(
    "name", ["", " ", "a b", 'a"b', "x" * 65, "a\tb", "é", "-a", "a;b", "<script>", "${jndi:x}", "%0a"]
)
async def test_a_name_that_is_no_plain_one_is_replaced(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.get("/healthz", headers={b"X-Request-ID": name.encode()})
    given = answer.headers["x-request-id"]
    assert given != name and len(given) == 16


async def test_every_answer_has_a_name(client: httpx.AsyncClient, store: TaskStore) -> None:
    for path in ("/healthz", "/nothing", f"{TES}/tasks", "/docs", "/lab/healthz", "/" + "x" * 40_000):
        for headers in ({}, as_("alice")):
            answer = await client.get(path, headers=headers | {"X-Request-ID": "trace-7:a.b_c"})
            assert answer.headers["x-request-id"] == "trace-7:a.b_c", path
            assert len((await client.get(path, headers=headers)).headers["x-request-id"]) == 16
    both = [("X-Request-ID", "a"), ("X-Request-ID", "b")]
    assert len((await client.get("/healthz", headers=both)).headers["x-request-id"]) == 16
    asked = {"Origin": "https://portal.org", "Access-Control-Request-Method": "GET"}
    preflight = await client.options("/healthz", headers=asked | {"X-Request-ID": "p"})
    assert (preflight.status_code, preflight.headers["x-request-id"]) == (204, "p")


async def test_a_failure_has_a_name_too(
    client: httpx.AsyncClient, store: TaskStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise OSError("inside")

    monkeypatch.setattr(store, "create", fail)
    headers = as_("alice") | {"X-Request-ID": "r-9"}
    answer = await client.post(f"{TES}/tasks", json=TASK, headers=headers)
    assert (answer.status_code, answer.headers["x-request-id"]) == (500, "r-9")
    [line] = lines(settings)
    assert (line["request"], line["who"], line["status"], line["outcome"]) == ("r-9", "alice", 500, "failed")


async def test_the_name_is_in_the_logs_of_the_task(client: httpx.AsyncClient, store: TaskStore) -> None:
    headers = as_("alice") | {"X-Request-ID": "r-5"}
    task_id = (await client.post(f"{TES}/tasks", json=TASK, headers=headers)).json()["id"]
    bulk = await client.post(f"{TESP}/tasks:bulk", json={"tasks": [TASK]}, headers=headers)
    assert (await store.get(bulk.json()["tasks"][0]["id"])).warnings == ("created by request r-5",)
    await finish(store, await start(store, task_id), b"")
    full = await client.get(f"{TES}/tasks/{task_id}?view=FULL", headers=as_("alice"))
    assert full.json()["logs"][0]["system_logs"] == ["created by request r-5", "image pulled"]


async def test_reads_are_written_where_the_settings_say_so(
    store: TaskStore, settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "logs" / "audit.ndjson"
    audit = settings.audit.model_copy(update={"reads": True, "file": file})
    more = settings.model_copy(update={"audit": audit})
    async with connect(build_api(store, Bell(), more, {})) as client:
        await client.get(f"{TES}/tasks")
        await client.get(f"{TES}/tasks/x")
    first, second = (json.loads(line) for line in file.read_text().splitlines())
    assert (first["action"], first["who"]) == ("list tasks", "anybody")
    assert (second["action"], second["task"], second["status"]) == ("read a task", "x", 404)


def test_a_file_that_was_moved_away_is_begun_anew(settings: Settings) -> None:
    log, file = AuditLog(settings), settings.data_dir / "audit.log"
    log.write(n=1)
    file.rename(file.with_suffix(".1"))
    log.write(n=2)
    file.unlink()
    log.write(n=3, text="x\ny" * 1000, nothing=None)
    log.close()
    [line] = file.read_text().splitlines()
    assert (json.loads(line)["n"], "nothing" in line, len(line) < 600) == (3, False, True)
    assert json.loads(file.with_suffix(".1").read_text())["n"] == 1


def test_a_file_that_cannot_be_written_is_told_and_stops_nothing(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    (settings.data_dir / "audit.log").mkdir()
    log = AuditLog(settings)
    log.write(n=1)
    log.write(n=2)
    assert "cannot be written" in caplog.text


def test_it_can_be_turned_off(settings: Settings) -> None:
    off = settings.model_copy(update={"audit": settings.audit.model_copy(update={"enabled": False})})
    AuditLog(off).write(n=1)
    assert not (settings.data_dir / "audit.log").exists()
