"""The worker channel over each of the stores: who gets what, and what is said and logged of refusals."""

import base64
import json
import logging
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from tesp_api.api.channel import ChannelEndpoints, build_channel
from tesp_api.bell import Bell
from tesp_api.errors import StoreUnavailable
from tesp_api.pulsar.mailbox import MemoryMailbox
from tesp_api.settings import CredentialSettings, Settings
from tesp_api.storage.credentials import Credentials
from tesp_api.storage.logins import Logins
from tesp_api.storage.s3_signing import S3Signer
from tesp_api.storage.sealing import Sealer
from tesp_api.storage.server_key import ServerKey
from tesp_api.storage.work_orders import WorkOrders
from tesp_api.store.base import Changes, Claim, Job, TaskStore
from tesp_api.tes.states import State
from tests.factories import make_task
from tests.integration.api.life import claim, connect, start

NAMED = {
    "archive": {"url_prefix": "https://a.org/x/", "username": "ann", "password": "hush-hush"},
    "portal": {
        "url_prefix": "https://portal.org/",
        "bearer_token": "hush-bearer",
        "headers": {"X-Project": "hush-project"},
    },
    "others": {"url_prefix": "https://others.org/", "username": "bob", "password": "hush-others"},
    "bobs": {"url_prefix": "https://bobs.org/", "users": ["bob"], "username": "bob", "password": "hush-bob"},
    "lab": {"url_prefix": "s3://lab/", "access_key_id": "AKID", "secret_access_key": "hush-key"},
}
TASK: dict[str, Any] = {
    "inputs": [
        {"url": "https://a.org/x/file?download=1", "path": "/file"},
        {"url": "https://a.org/x/dir/", "path": "/dir", "type": "DIRECTORY"},
        {"url": "https://bobs.org/x", "path": "/bobs"},
        {"url": "https://others.org/unused", "path": "/content", "content": "wins"},
        {"url": "s3://lab/in", "path": "/in"},
    ],
    "outputs": [{"url": "https://portal.org/up", "path": "/out"}, {"url": "s3://lab/out", "path": "/s3"}],
}


class Worker:
    """A worker of one task, as far as the channel sees it."""

    def __init__(self, client: httpx.AsyncClient, token: str) -> None:
        self.client, self.token = client, token

    async def post(self, what: str, body: Any = None, token: str | None = None) -> httpx.Response:
        sent = self.token if token is None else token
        headers = {"Authorization": f"Bearer {sent}"}
        return await self.client.post(f"/channel/v1/{what}", json=body or {}, headers=headers)

    async def sign(self, operation: str, url: str, **parameters: str) -> httpx.Response:
        return await self.post(
            "sign", {"asks": [{"operation": operation, "url": url, "parameters": parameters}]}
        )


@pytest.fixture
def work_orders(settings: Settings) -> WorkOrders:
    return WorkOrders(ServerKey(settings))


@pytest.fixture
def keeper() -> MemoryMailbox:
    """For the reports from the destination "near"."""
    return MemoryMailbox()


@pytest.fixture
def rings() -> list[str]:
    """The tasks for which the bell was rung."""
    return []


@pytest.fixture
async def channel(
    store: TaskStore, settings: Settings, work_orders: WorkOrders, keeper: MemoryMailbox, rings: list[str]
) -> AsyncIterator[httpx.AsyncClient]:
    credentials = Credentials({name: CredentialSettings.model_validate(one) for name, one in NAMED.items()})
    logins = Logins(credentials, Sealer(ServerKey(settings)))
    bell = Bell()
    bell.listen(rings.append)
    keepers = {"near": keeper}
    app = build_channel(ChannelEndpoints(store, work_orders, credentials, logins, S3Signer(), bell, keepers))
    async with connect(app) as client:
        yield client


class Stage:
    """A running task with its worker."""

    def __init__(self, store: TaskStore, worker: Worker, task_id: str, held: Claim) -> None:
        self.store, self.worker, self.task_id, self.held = store, worker, task_id, held

    async def move(self, *states: State) -> None:
        for state in states:
            await self.store.transition(self.task_id, state, claim=self.held, reason="test")


@pytest.fixture
async def stage(store: TaskStore, channel: httpx.AsyncClient, work_orders: WorkOrders) -> Stage:
    task_id = await store.create(make_task(**TASK))
    held = await start(store, task_id)
    return Stage(store, Worker(channel, work_orders.token_for(task_id, 1)), task_id, held)


async def test_logins_reach_no_further_than_the_task_says(stage: Stage) -> None:
    answer = await stage.worker.post("logins")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    by_prefix = {login.pop("url_prefix"): login for login in answer.json()["logins"]}
    assert list(by_prefix) == ["https://a.org/x/file", "https://a.org/x/dir", "https://portal.org/up"]
    assert by_prefix["https://a.org/x/dir"] == {
        "name": "archive",
        "username": "ann",
        "password": "hush-hush",
        "headers": {},
    }
    assert by_prefix["https://portal.org/up"]["headers"] == {
        "Authorization": "Bearer hush-bearer",
        "X-Project": "hush-project",
    }


async def test_requests_of_s3_are_signed_in_order(stage: Stage) -> None:
    asks = [
        {"operation": "get", "url": "s3://lab/in"},
        {
            "operation": "upload_part",
            "url": "s3://lab/out",
            "parameters": {"partNumber": "3", "uploadId": "u"},
        },
    ]
    answer = await stage.worker.post("sign", {"asks": asks})
    assert answer.status_code == 200, answer.text
    got, put = answer.json()["signed"]
    assert (got["method"], put["method"]) == ("GET", "PUT")
    assert "/lab/in?" in got["url"] and "X-Amz-Signature=" in got["url"]
    assert "partNumber=3" in put["url"]
    assert "hush" not in answer.text


@pytest.mark.parametrize(
    ("operation", "url"), [("put", "s3://lab/in"), ("get", "s3://lab/other"), ("get", "s3://else/x")]
)
async def test_what_is_not_declared_is_refused_and_logged(
    stage: Stage, operation: str, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await stage.worker.sign(operation, url)
    assert answer.status_code == 403
    assert list(answer.json()) == ["detail"] and url in answer.json()["detail"]
    assert stage.task_id in caplog.text and url in caplog.text and "127.0.0.1" in caplog.text
    assert stage.worker.token not in caplog.text


async def test_one_refusal_refuses_all(stage: Stage) -> None:
    asks = [{"operation": "get", "url": url} for url in ("s3://lab/in", "s3://lab/other")]
    answer = await stage.worker.post("sign", {"asks": asks})
    assert (answer.status_code, "signed" in answer.json()) == (403, False)


@pytest.mark.parametrize("what", ["logins", "sign"])
@pytest.mark.parametrize(
    "forge",
    [
        lambda token: "",
        lambda token: "x",
        lambda token: token[:-1],
        lambda token: token.replace(".1.", ".2."),
        lambda token: token.swapcase(),
    ],
)
async def test_forged_tokens_are_refused_and_logged(
    stage: Stage, what: str, forge: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    token = forge(stage.worker.token)
    answer = await stage.worker.post(what, token=token)
    assert answer.status_code == 401
    assert "refused with 401" in caplog.text and "127.0.0.1" in caplog.text
    assert len(token) < 20 or token not in caplog.text + answer.text
    assert stage.worker.token.rpartition(".")[2] not in caplog.text


async def test_without_a_token_nothing_is_said(channel: httpx.AsyncClient) -> None:
    for headers in ({}, {"Authorization": "Basic YTpi"}):
        answer = await channel.post("/channel/v1/logins", json={}, headers=headers)
        assert answer.status_code == 401


async def test_a_token_is_for_its_own_task(stage: Stage, work_orders: WorkOrders) -> None:
    other = await stage.store.create(make_task())
    held = await claim(stage.store, other)
    await stage.store.update(other, Changes(attempt=1, job=Job("local", f"{other}-1")), claim=held)
    stage.worker.token = work_orders.token_for(other, 1)
    assert (await stage.worker.post("logins")).json() == {"logins": []}
    assert (await stage.worker.sign("get", "s3://lab/in")).status_code == 403


async def test_a_worker_may_ask_before_its_start_is_known(
    store: TaskStore, channel: httpx.AsyncClient, work_orders: WorkOrders
) -> None:
    task_id = await store.create(make_task(**TASK))
    held = await claim(store, task_id)
    await store.update(task_id, Changes(attempt=1, job=Job("local", f"{task_id}-1")), claim=held)
    worker = Worker(channel, work_orders.token_for(task_id, 1))
    assert (await worker.post("logins")).status_code == 200


async def test_an_earlier_attempt_gets_nothing(stage: Stage, work_orders: WorkOrders) -> None:
    await stage.store.update(
        stage.task_id, Changes(attempt=2, job=Job("local", f"{stage.task_id}-2")), claim=stage.held
    )
    answer = await stage.worker.post("logins")
    assert answer.status_code == 410 and "attempt 2" in answer.json()["detail"]
    stage.worker.token = work_orders.token_for(stage.task_id, 2)
    assert (await stage.worker.post("logins")).status_code == 200
    stage.worker.token = work_orders.token_for(stage.task_id, 3)
    assert (await stage.worker.post("logins")).status_code == 410


async def test_after_the_end_nothing_is_lent(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    await stage.move(State.COMPLETE)
    for answer in (
        await stage.worker.post("logins"),
        await stage.worker.sign("get", "s3://lab/in"),
        await stage.worker.sign("abort_upload", "s3://lab/out", uploadId="u"),
    ):
        assert (answer.status_code, "COMPLETE" in answer.json()["detail"]) == (410, True)
    await stage.store.retire(stage.held)
    await stage.store.purge(datetime(2100, 1, 1, tzinfo=UTC), limit=10)
    assert (await stage.worker.post("logins")).status_code == 410
    assert stage.worker.token not in caplog.text


async def test_a_canceled_task_may_only_abort_its_uploads(stage: Stage) -> None:
    await stage.store.request_cancel(stage.task_id, "asked for")
    assert (await stage.worker.post("logins")).status_code == 410
    assert (await stage.worker.sign("put", "s3://lab/out")).status_code == 410
    aborted = await stage.worker.sign("abort_upload", "s3://lab/out", uploadId="u")
    assert aborted.status_code == 200, aborted.text
    assert aborted.json()["signed"][0]["method"] == "DELETE"
    assert (await stage.worker.sign("abort_upload", "s3://lab/else", uploadId="u")).status_code == 403
    await stage.move(State.CANCELED)
    assert (await stage.worker.sign("abort_upload", "s3://lab/out", uploadId="u")).status_code == 410


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"asks": []},
        {"asks": {}},
        {"asks": [1]},
        {"asks": [{"operation": "get"}]},
        {"asks": [{"operation": "delete", "url": "s3://lab/in"}]},
        {"asks": [{"operation": ["get"], "url": "s3://lab/in"}]},
        {"asks": [{"operation": "get", "url": "s3://lab/in", "parameters": []}]},
        {"asks": [{"operation": "get", "url": "s3://lab/in", "parameters": {"acl": ""}}]},
        {"asks": [{"operation": "put", "url": "s3://lab/out", "parameters": {"x-amz-copy-source": "y"}}]},
        {"asks": [{"operation": "upload_part", "url": "s3://lab/out", "parameters": {"partNumber": "1"}}]},
        {"asks": [{"operation": "list", "url": "s3://lab/in"}]},
        {"asks": [{"operation": "list", "url": "s3://lab/in", "parameters": {"prefix": 1}}]},
        {"asks": [{"operation": "get", "url": "s3://lab/in"}] * 501},
    ],
)
async def test_a_body_that_is_wrong_is_explained(stage: Stage, body: Any) -> None:
    headers = {"Authorization": f"Bearer {stage.worker.token}"}
    answer = await stage.worker.client.post(
        "/channel/v1/sign", content=json.dumps(body).encode(), headers=headers
    )
    assert answer.status_code == 400
    assert answer.json()["detail"]


async def test_a_body_has_a_limit_however_it_comes(stage: Stage) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 100_000

    headers = {"Authorization": f"Bearer {stage.worker.token}"}
    bodies: tuple[Any, ...] = (b" " * (1024**2 + 1), pieces())
    for content in bodies:
        answer = await stage.worker.client.post("/channel/v1/sign", content=content, headers=headers)
        assert answer.status_code == 413
        assert answer.json()["detail"]


async def test_a_store_that_is_away_is_asked_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def away(task_id: str) -> None:
        raise StoreUnavailable("mongodb://inside.example.org is away")

    monkeypatch.setattr(stage.store, "get", away)
    answer = await stage.worker.post("logins")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "inside.example.org" not in answer.text and "inside.example.org" in caplog.text


async def test_an_unforeseen_error_tells_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(task_id: str) -> None:
        raise RuntimeError("hush-inside")

    monkeypatch.setattr(stage.store, "get", broken)
    answer = await stage.worker.post("logins")
    assert answer.status_code == 500
    assert list(answer.json()) == ["detail"] and "hush" not in answer.text


async def test_nothing_else_is_there(stage: Stage) -> None:
    for method, path, status in (
        ("GET", "/channel/v1/logins", 405),
        ("GET", "/ga4gh/tes/v1/tasks", 404),
        ("GET", "/", 404),
    ):
        answer = await stage.worker.client.request(method, path)
        assert answer.status_code == status and list(answer.json()) == ["detail"]


async def test_no_secret_is_logged(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="tesp_api")
    await stage.worker.post("logins")
    await stage.worker.sign("get", "s3://lab/in")
    await stage.worker.sign("get", "s3://lab/other")
    for secret in ("hush", stage.worker.token):
        assert secret not in caplog.text


@pytest.mark.parametrize("operation", ["upload_part", "list_parts", "complete_upload", "abort_upload"])
async def test_an_upload_without_an_id_is_none(stage: Stage, operation: str) -> None:
    more = {"partNumber": "1"} if operation == "upload_part" else {}
    answer = await stage.worker.sign(operation, "s3://lab/out", uploadId="", **more)
    assert answer.status_code == 400, "some servers delete the object itself"
    assert "uploadId" in answer.json()["detail"]


async def test_a_parameter_of_no_unicode_is_refused(stage: Stage) -> None:
    ask = {"operation": "abort_upload", "url": "s3://lab/out", "parameters": {"uploadId": "\ud800"}}
    headers = {"Authorization": f"Bearer {stage.worker.token}"}
    body = json.dumps({"asks": [ask]}).encode()  # as an escape, which is legal JSON
    answer = await stage.worker.client.post("/channel/v1/sign", content=body, headers=headers)
    assert answer.status_code == 400 and "Unicode" in answer.json()["detail"]


# reports


def part(name: str, offset: int, data: bytes) -> dict[str, Any]:
    return {"name": name, "offset": offset, "size_bytes": len(data), "data": base64.b64encode(data).decode()}


async def kept(stage: Stage, name: str) -> bytes | None:
    job = (await stage.store.get(stage.task_id)).job
    assert job is not None
    return await stage.store.read_report(job.job_id, name)


async def test_a_report_is_kept_part_by_part(stage: Stage) -> None:
    log, beat = "logs/0.stdout.000000", "heartbeat"
    for files in (
        [part(log, 0, b"one "), part(beat, 0, b"{1}")],
        [part(log, 4, b"two"), part(beat, 0, b"{2}")],
        [part(log, 4, b"two"), part(beat, 0, b"{2}")],  # the answer to the first try was lost
    ):
        answer = await stage.worker.post("report", {"files": files})
        assert (answer.status_code, answer.json()) == (200, {"cancel": False, "again": []})
    assert (await kept(stage, log), await kept(stage, beat)) == (b"one two", b"{2}")


async def test_what_the_server_has_lost_is_asked_for_again(stage: Stage) -> None:
    answer = await stage.worker.post("report", {"files": [part("events.ndjson", 10, b"more")]})
    assert answer.json()["again"] == ["events.ndjson"]
    assert await kept(stage, "events.ndjson") is None


async def test_reports_of_some_destinations_are_kept_elsewhere(stage: Stage, keeper: MemoryMailbox) -> None:
    job_id = f"{stage.task_id}-1"
    await stage.store.update(stage.task_id, Changes(job=Job("near", job_id)), claim=stage.held)
    for offset, data in ((0, b"one "), (4, b"two")):
        answer = await stage.worker.post("report", {"files": [part("events.ndjson", offset, data)]})
        assert answer.json()["again"] == []
    assert await keeper.get(job_id, "events.ndjson") == b"one two"
    assert await stage.store.read_report(job_id, "events.ndjson") is None


async def test_a_file_whose_next_parts_went_to_another_server_is_kept_no_longer(
    stage: Stage, keeper: MemoryMailbox
) -> None:
    """What is here would be taken for all of it."""
    await stage.worker.post("report", {"files": [part("events.ndjson", 0, b"one ")]})
    answer = await stage.worker.post("report", {"files": [part("events.ndjson", 8, b"three")]})
    assert answer.json()["again"] == ["events.ndjson"]
    assert await kept(stage, "events.ndjson") is None
    job_id = f"{stage.task_id}-1"
    await stage.store.update(stage.task_id, Changes(job=Job("near", job_id)), claim=stage.held)
    await stage.worker.post("report", {"files": [part("events.ndjson", 0, b"one ")]})
    answer = await stage.worker.post("report", {"files": [part("events.ndjson", 8, b"three")]})
    assert answer.json()["again"] == ["events.ndjson"]
    assert await keeper.get(job_id, "events.ndjson") is None


async def test_a_sign_of_life_rings_for_nobody(stage: Stage, rings: list[str]) -> None:
    def beat(number: int, **news: Any) -> list[Any]:
        says = {"beat": number, "events_bytes": 10, "logs": {}, "ended": False} | news
        return [part("heartbeat", 0, json.dumps(says).encode())]

    reports = {
        "the first": beat(1),
        "alive": beat(2),
        "an event": [part("events.ndjson", 0, b"{}"), *beat(3)],
        "alive again": beat(4),
        "a log": beat(5, logs={"0.stdout": 3}),
        "the end": beat(6, logs={"0.stdout": 3}, ended=True),
        "nothing": [],
    }
    heard = []
    for name, files in reports.items():
        rings.clear()
        await stage.worker.post("report", {"files": files})
        heard += [name] * len(rings)
    assert heard == ["the first", "an event", "a log", "the end", "nothing"]


async def test_a_cancel_reaches_the_worker_with_its_next_report(stage: Stage) -> None:
    assert (await stage.worker.post("report", {})).json()["cancel"] is False
    await stage.store.request_cancel(stage.task_id, "test")
    assert (await stage.worker.post("report", {})).json()["cancel"] is True


@pytest.mark.parametrize(
    "files",
    [
        {},
        [1],
        [{}],
        [part("../started", 0, b"")],
        [part("started", 0, b"")],
        [part("pulsar-last-status", 0, b"{}")],
        [part("heartbeat", -1, b"")],
        [part("heartbeat", 10**9, b"")],
        [part("heartbeat", 0, b"") | {"data": "*"}],
        [part("heartbeat", 0, b"") | {"offset": "0"}],
        [part("heartbeat", 0, b"{}"), part("heartbeat", 0, b"") | {"offset": 1.5}],
        [part("heartbeat", 0, b"{}"), part("heartbeat", 0, b"") | {"offset": True}],
        [part("heartbeat", 0, b"") | {"offset": None}],
    ],
)
async def test_what_no_worker_reports_is_refused(stage: Stage, files: Any) -> None:
    answer = await stage.worker.post("report", {"files": files})
    assert answer.status_code == 400, answer.text


async def test_nobody_hears_of_a_task_that_has_ended(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    await stage.move(State.COMPLETE)
    answer = await stage.worker.post("report", {"files": [part("heartbeat", 0, b"{}")]})
    assert answer.status_code == 410
    assert await kept(stage, "heartbeat") is None
    assert not caplog.records
    assert (await stage.worker.post("report", {}, token="forged")).status_code == 401


ONE, TWO = "0" * 16, "1" * 16


async def permit(stage: Stage, worker: str, step: str) -> tuple[int, dict[str, Any]]:
    answer = await stage.worker.post("permit", {"worker": worker, "step": step})
    return answer.status_code, answer.json()


async def test_one_worker_is_let_to_start_and_to_send(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    for step in ("start", "start", "commit", "commit"):
        assert await permit(stage, ONE, step) == (200, {"cancel": False})
    for step in ("start", "commit"):
        status, answer = await permit(stage, TWO, step)
        assert (status, "another worker has begun attempt 1" in answer["detail"]) == (410, True)
    assert caplog.text.count("/channel/v1/permit refused with 410") == 2
    await stage.store.request_cancel(stage.task_id, "stop")
    assert await permit(stage, ONE, "commit") == (200, {"cancel": True})


async def test_an_attempt_that_is_over_permits_nothing(stage: Stage, work_orders: WorkOrders) -> None:
    job = Job("local", f"{stage.task_id}-2")
    await stage.store.update(stage.task_id, Changes(attempt=2, job=job), claim=stage.held)
    assert (await permit(stage, ONE, "start"))[0] == 410
    stage.worker.token = work_orders.token_for(stage.task_id, 2)
    assert (await permit(stage, ONE, "start"))[0] == 200
    await stage.move(State.SYSTEM_ERROR)
    assert (await permit(stage, ONE, "commit"))[0] == 410
    stage.worker.token = work_orders.token_for("no-such", 1)
    status, answer = await permit(stage, ONE, "start")
    assert (status, "does not exist" in answer["detail"]) == (410, True)
    stage.worker.token = "forged.1.x"
    assert (await permit(stage, ONE, "start"))[0] == 401


@pytest.mark.parametrize(
    "body",
    [{"worker": ONE}, {"worker": ONE, "step": "stop"}, {"step": "start"}, {"worker": 1, "step": "start"}],
)
async def test_a_question_that_is_none_is_told_so(stage: Stage, body: dict[str, Any]) -> None:
    assert (await stage.worker.post("permit", body)).status_code == 400
