"""What a dashboard shows of many tasks, and streams of all of them, of runs; when streams end."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, ClassVar

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Message

from tesp_api.api.application import build_api
from tesp_api.api.auth.authenticator import Proof, Scheme, SignIn
from tesp_api.api.auth.identity import LOCAL, OPEN, Action, Identity
from tesp_api.api.live import feed, streams
from tesp_api.api.live.response import LiveResponse, StreamPlaces
from tesp_api.app import build_store
from tesp_api.bell import Bell
from tesp_api.errors import NotAuthenticated
from tesp_api.settings import Settings
from tesp_api.settings_limits import LimitSettings
from tesp_api.store.base import TaskStore
from tesp_api.store.runs import StepRecord
from tesp_api.tes.ids import new_task_id
from tesp_api.tes.states import State
from tesp_api.tes.times import now, rfc3339
from tests.factories import make_run, make_task
from tests.fakes.workshop import workflows_over
from tests.integration.api.life import create, finish, start
from tests.integration.api.streaming import WAIT_S, Event, all_of, reading, served

ALL = "/tesp/v1/events"


class ByName:
    """An `Authenticator` that takes everybody's word, but for those who are `gone`."""

    scheme: ClassVar[Scheme] = "bearer"

    def __init__(self) -> None:
        self.gone: set[str] = set()

    def takes(self, credentials: str) -> bool:
        return True

    def claimed(self, credentials: str) -> str:
        return ""

    async def sign_ins(self) -> list[SignIn]:
        return []

    async def authenticate(self, credentials: str, *, place: str = "") -> Proof:
        name, *groups = credentials.split("+")
        if name in self.gone:
            raise NotAuthenticated("the token has been revoked")
        return Proof(Identity(LOCAL, name, name, tuple(groups), is_admin=name == "root"))


@pytest.fixture
def users() -> ByName:
    return ByName()


@pytest.fixture
def app(store: TaskStore, settings: Settings, users: ByName) -> FastAPI:
    auth = {"revoked_within_s": 0.1, "modes": ["token"]}
    more = Settings.model_validate(settings.model_dump() | {"auth": auth, "store": settings.store})
    return build_api(
        store,
        Bell(),
        more,
        {},
        authenticators=[users],
        workflows=workflows_over(store, settings),
        destinations=lambda: [
            {
                "name": "local",
                "kind": "embedded",
                "place": "in this process",
                "health": {"state": "failing", "reason": "hush"},
                "running": 1,
                "max_running": 4,
            }
        ],
    )


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with served(app) as opened:
        yield opened


def as_(who: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {who}"}


def ids(events: list[Event]) -> list[tuple[str, str]]:
    return [(one.data["id"], one.data["state"]) for one in events if one.name == "task"]


async def test_everybody_hears_of_their_own_tasks(client: httpx.AsyncClient, store: TaskStore) -> None:
    old = make_task(owner="alice")
    await store.create(old)
    async with (
        reading(client, ALL, **as_("alice")) as alice,
        reading(client, ALL, **as_("bob+lab")) as bob,
        reading(client, ALL, **as_("root")) as root,
    ):
        await alice.until("counts", states={"QUEUED": 1})
        await bob.until("counts", states={})
        await root.until("counts", states={"QUEUED": 1})
        mine, shared = make_task(owner="alice"), make_task(owner="carol", groups=("lab",))
        await store.create(mine)
        assert ids(await alice.until("task", id=mine.id))[-1] == (mine.id, "QUEUED")
        await store.create(shared)
        [told] = [one for one in await bob.until("task") if one.name == "task"]
        assert told.data | {"at": ""} == {"id": shared.id, "state": "QUEUED", "attempt": 0, "at": ""}
        await store.request_cancel(old.id, "")
        assert ids(await alice.until("task", id=old.id, state="CANCELING"))[-1] == (old.id, "CANCELING")
        await alice.until("counts", states={"CANCELING": 1, "QUEUED": 1})
        await bob.until("counts", states={"QUEUED": 1})
        heard = ids(await root.until("task", id=old.id, state="CANCELING"))
        assert {mine.id, shared.id, old.id} == {task_id for task_id, _ in heard}
        await root.until("counts", states={"CANCELING": 1, "QUEUED": 2})


async def test_what_another_server_does_is_heard_of(
    client: httpx.AsyncClient, store: TaskStore, settings: Settings
) -> None:
    if settings.store.kind == "sqlite":
        pytest.skip("this store has one server")
    other = build_store(settings)
    await other.open()
    try:
        task = make_task(owner="alice")
        async with reading(client, ALL, **as_("alice")) as everything:
            await everything.until("counts")
            await other.create(task)
            await everything.until("task", id=task.id, state="QUEUED")
            async with reading(client, f"/tesp/v1/tasks/{task.id}/events", **as_("alice")) as one:
                held = await start(other, task.id)
                await one.until("state", state="RUNNING")
                await other.append_log(held, 1, 0, "stdout", 0, b"there")
                assert (await one.until("log"))[-1].data["text"] == "there"
                await everything.until("task", id=task.id, state="RUNNING")
                await finish(other, held, b"there")
                assert (await one.rest())[-1].name == "end"
    finally:
        await other.aclose()


async def test_who_is_too_slow_is_told_of_a_gap(
    client: httpx.AsyncClient, store: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = feed.Feed(store, lambda _: None)
    await kept.look()
    made = [make_task() for _ in range(3)]
    await asyncio.gather(*(store.create(task) for task in made))
    await kept.look()
    assert kept.after(0, OPEN).count(b"event: task") == 3
    kept._kept = type(kept._kept)(kept._kept, maxlen=2)
    kept._joined = {}
    assert kept.after(0, OPEN).startswith(feed.GAP)
    assert kept.after(0, OPEN).count(b"event: task") == 2
    assert kept.after(kept.end, OPEN) == b""


RUN_PATH = "/tesp/v1/runs/{}/events"


async def test_a_run_is_followed(client: httpx.AsyncClient, store: TaskStore, settings: Settings) -> None:
    runs = workflows_over(store, settings).runs
    run, task, late = make_run(owner="alice"), make_task(owner="alice"), make_task(owner="alice")
    await runs.create(run)
    [claimed] = await runs.claim("test", lease_s=60, new_limit=1)
    assert claimed.claim is not None
    await store.create(task)
    step = StepRecord(new_task_id(), run.id, "k", "first", task.id)
    await runs.put_step(step, claim=claimed.claim)
    async with reading(client, RUN_PATH.format(run.id), **as_("alice")) as reader:
        first, second = await reader.until("step")
        assert (first.name, first.data) == ("state", {"state": "QUEUED"})
        assert second.data == {"name": "first", "task_id": task.id, "state": "QUEUED"}
        await store.request_cancel(task.id, "")
        await reader.until("step", task_id=task.id, state="CANCELING")
        for state in (State.INITIALIZING, State.RUNNING):
            await runs.transition(run.id, state, claim=claimed.claim)
        await runs.append_log("stderr", "expanding žluť".encode(), claim=claimed.claim)
        log = (await reader.until("log"))[-1]
        assert log.data == {"stream": "stderr", "offset": 0, "length": 16, "text": "expanding žluť"}
        await store.create(late)
        reused = StepRecord(new_task_id(), run.id, "l", "second", late.id, "another")
        await runs.put_step(reused, claim=claimed.claim)
        await reader.until("step", task_id=late.id, reused_from="another")
        await runs.append_log("stderr", b"; done", claim=claimed.claim)
        await runs.transition(run.id, State.COMPLETE, claim=claimed.claim)
        rest = await reader.rest()
        assert (rest[-1].name, rest[-1].data) == ("end", {"state": "COMPLETE"})
        assert [one.data["text"] for one in rest if one.name == "log"] == ["; done"]
    again = await all_of(client, RUN_PATH.format(run.id), **as_("alice"), Last_Event_ID=log.place)
    assert [one.data["text"] for one in again if one.name == "log"] == ["; done"]
    assert len([one for one in again if one.name == "step"]) == 2


async def test_a_revoked_login_ends_its_streams(
    client: httpx.AsyncClient, store: TaskStore, users: ByName, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "RECHECK_S", 0.2)
    monkeypatch.setattr(streams, "KEEP_ALIVE_S", 0.2)
    task = make_task(owner="alice")
    await store.create(task)
    paths = [ALL, f"/tesp/v1/tasks/{task.id}/events"]
    async with (
        reading(client, paths[0], **as_("alice")) as everything,
        reading(client, paths[1], **as_("alice")) as one,
        reading(client, paths[1], **as_("root")) as other,
    ):
        await everything.until("counts")
        await one.until("state")
        users.gone.add("alice")
        assert [event.name for event in await one.rest()] == []
        assert "end" not in {event.name for event in await everything.rest()}
        await store.request_cancel(task.id, "")
        await other.until("state", state="CANCELING")


async def test_a_stream_says_that_it_lives(
    client: httpx.AsyncClient, store: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "KEEP_ALIVE_S", 0.1)
    task = make_task(owner="alice")
    await store.create(task)
    async with reading(client, f"/tesp/v1/tasks/{task.id}/events", **as_("alice")) as one:
        await one.until("state")
        await asyncio.sleep(0.5)
        await store.request_cancel(task.id, "")
        await one.until("state", state="CANCELING")
        assert one.comments >= 2


async def test_streams_end_when_the_server_is_told_to_stop(
    app: FastAPI, client: httpx.AsyncClient, store: TaskStore
) -> None:
    task = make_task(owner="alice")
    await store.create(task)
    async with (
        reading(client, ALL, **as_("alice")) as everything,
        reading(client, f"/tesp/v1/tasks/{task.id}/events", **as_("alice")) as one,
        client.stream(
            "GET", f"/tesp/v1/tasks/{task.id}/logs/0/stdout?follow=true", headers=as_("alice")
        ) as raw,
    ):
        waiting = asyncio.create_task(client.get(f"/tesp/v1/tasks/{task.id}?wait=60", headers=as_("alice")))
        await one.until("state")
        await everything.until("counts")
        app.state.drain.begin()
        assert await one.rest() == []
        assert {event.name for event in await everything.rest()} <= {"task", "counts"}
        assert [piece async for piece in raw.aiter_raw()] == []
        assert (await waiting).json()["state"] == "QUEUED"


async def test_a_user_has_so_many_streams_at_once(
    store: TaskStore, settings: Settings, users: ByName
) -> None:
    limits = {"user": {"streams_at_once": 2}, "all": {"streams_at_once": 3}}
    more = Settings.model_validate(
        settings.model_dump() | {"limits": limits, "store": settings.store, "auth": {"modes": ["token"]}}
    )
    app = build_api(store, Bell(), more, {}, authenticators=[users])
    async with served(app) as client:
        async with reading(client, ALL, **as_("alice")), reading(client, ALL, **as_("alice")):
            refused = await client.get(ALL, headers=as_("alice"))
            assert refused.status_code == 429
            assert refused.json()["limit"]["name"] == "limits.user.streams_at_once"
            assert int(refused.headers["retry-after"]) > 0
            async with reading(client, ALL, **as_("bob")):
                refused = await client.get(ALL, headers=as_("carol"))
                assert refused.json()["limit"]["name"] == "limits.all.streams_at_once"
        for _ in range(200):  # the places are free again as soon as the server has noticed
            async with client.stream("GET", ALL, headers=as_("carol")) as response:
                if response.status_code == 200:
                    return
            await asyncio.sleep(0.05)
        raise AssertionError("the places are not given back")


async def test_a_reader_who_does_not_read_keeps_the_source_waiting() -> None:
    given = 0

    async def source() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            given += 1
            yield b"x"

    stuck = asyncio.Event()
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)
        if len(sent) == 3:
            await stuck.wait()

    gone = asyncio.Event()

    async def receive() -> Message:
        await gone.wait()
        return {"type": "http.disconnect"}

    places = StreamPlaces(LimitSettings())
    response = LiveResponse(source, places, OPEN, media_type="text/plain", headers={})
    sending = asyncio.ensure_future(response({"type": "http", "method": "GET"}, receive, send))
    await asyncio.sleep(0.05)
    assert given == 2 and places._open.total() == 1
    gone.set()
    await asyncio.wait_for(sending, WAIT_S)
    assert places._open.total() == 0


# -- rows, counts, destinations, me


async def rows(client: httpx.AsyncClient, who: str, query: str = "") -> list[dict[str, Any]]:
    answer = await client.get(f"/tesp/v1/tasks?{query}", headers=as_(who))
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["tasks"]
    return found


async def test_rows_are_small_and_filtered(client: httpx.AsyncClient, store: TaskStore) -> None:
    client.headers.update(as_("alice"))
    first = await create(client, name="reads", tags={"p": "1"}, inputs=[{"path": "/i", "content": "x"}])
    second = await create(client, name="other", tags={"p": "2"})
    del client.headers["Authorization"]
    held = await start(store, first)
    await finish(store, held, b"")
    await store.create(make_task(owner="bob", name="his"))
    [newer, older] = await rows(client, "alice")
    assert set(newer) == {"id", "state", "owner", "attempt", "created_at", "name", "image", "tags"}
    assert (newer["id"], newer["state"], newer["owner"], newer["name"]) == (
        second,
        "QUEUED",
        "alice",
        "other",
    )
    assert older == newer | {
        "id": first,
        "state": "COMPLETE",
        "attempt": 1,
        "name": "reads",
        "tags": {"p": "1"},
        "created_at": older["created_at"],
        "ended_at": older["ended_at"],
        "destination": "local",
    }
    for query, found in (
        ("state=QUEUED", [second]),
        ("state=QUEUED&state=COMPLETE", [second, first]),
        ("name_prefix=rea", [first]),
        ("tag_key=p&tag_value=2", [second]),
        ("destination=local", [first]),
        ("destination=local&state=QUEUED", []),
        ("owner=alice", [second, first]),
        (f"created_after={rfc3339(now() + timedelta(hours=1))}", []),
        (f"created_before={rfc3339(now() + timedelta(hours=1))}", [second, first]),
        ("created_after=2020-01-01T00:00:00Z&created_before=2020-02-01T00:00:00Z", []),
    ):
        assert [row["id"] for row in await rows(client, "alice", query)] == found, query
    assert {row["owner"] for row in await rows(client, "root")} == {"alice", "bob"}
    assert {row["owner"] for row in await rows(client, "root", "owner=bob")} == {"bob"}
    refused = await client.get("/tesp/v1/tasks?owner=bob", headers=as_("alice"))
    assert refused.status_code == 403
    for wrong in ("state=SLEEPING", "created_after=yesterday", "page_size=2048", "page_token=x"):
        answer = await client.get(f"/tesp/v1/tasks?{wrong}", headers=as_("alice"))
        assert answer.status_code == 400, wrong


async def test_pages_of_rows(client: httpx.AsyncClient, store: TaskStore) -> None:
    tags = {"k": "x" * 3000, "long": "y"}
    made = [
        make_task(owner="alice", name=str(number), tags=tags, groups=("lab",) if number % 2 else ())
        for number in range(700)
    ]
    await asyncio.gather(*(store.create(task) for task in made))
    for who, expected in (("alice", made), ("bob+lab", made[1::2])):
        names: list[str] = []
        token: str | None = ""
        while token is not None:
            target = f"/tesp/v1/tasks?page_size=500&page_token={token}"
            page = (await client.get(target, headers=as_(who))).json()
            assert page["tasks"]
            names += [row["name"] for row in page["tasks"]]
            token = page.get("next_page_token")
        assert names == [task.request["name"] for task in reversed(expected)]


async def test_counts_are_of_what_one_sees(client: httpx.AsyncClient, store: TaskStore) -> None:
    for owner, groups in (("alice", ()), ("alice", ("lab",)), ("bob", ())):
        await store.create(make_task(owner=owner, groups=groups))
    for who, count in (("alice", 2), ("carol+lab", 1), ("root", 3), ("dave", 0)):
        answer = await client.get("/tesp/v1/counts", headers=as_(who))
        assert answer.json() == {"states": {"QUEUED": count} if count else {}}, who


async def test_why_a_destination_fails_is_for_admins(client: httpx.AsyncClient) -> None:
    [shown] = (await client.get("/tesp/v1/destinations", headers=as_("root"))).json()["destinations"]
    assert shown["health"] == {"state": "failing", "reason": "hush"} and shown["place"]
    answer = await client.get("/tesp/v1/destinations", headers=as_("alice"))
    [shown] = answer.json()["destinations"]
    assert shown["health"] == {"state": "failing"} and "place" not in shown
    assert "hush" not in answer.text


async def test_one_is_told_who_one_is(client: httpx.AsyncClient) -> None:
    told = (await client.get("/tesp/v1/me", headers=as_("alice+b+a"))).json()
    assert told == {
        "subject": "alice",
        "issuer": "local",
        "owner": "alice",
        "name": "alice",
        "groups": ["a", "b"],
        "is_admin": False,
        "ways": ["token"],
        "scopes": sorted(Action),
    }


async def test_without_logins_one_is_anybody(store: TaskStore, settings: Settings) -> None:
    async with served(build_api(store, Bell(), settings, {})) as client:
        told = (await client.get("/tesp/v1/me")).json()
    assert (told["subject"], told["is_admin"], told["ways"]) == ("anybody", True, [])
