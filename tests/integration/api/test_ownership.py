"""Who sees and does what: every endpoint for every kind of sender, and what lists show to each."""

import io
import json
import zipfile
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import httpx
import pytest
from fastapi import FastAPI

from tesp_api.api.application import build_api
from tesp_api.api.auth.authenticator import Proof, Scheme, SignIn
from tesp_api.api.auth.identity import LOCAL, Action, Identity
from tesp_api.bell import Bell
from tesp_api.errors import NotAuthenticated
from tesp_api.settings import Settings
from tesp_api.store.base import TaskStore
from tesp_api.store.runs import RunEnd
from tesp_api.tes.states import State
from tesp_api.wes.views import WES
from tesp_api.wes.workflows import Workflows
from tests.fakes.workshop import workflows_over
from tests.integration.api.life import TES, V1, connect, create, finish, start

TESP = "/tesp/v1"
TASK = {"executors": [{"image": "alpine", "command": ["true"]}]}


def identity(name: str, *groups: str, scopes: str = "read submit cancel delete", **more: Any) -> Identity:
    return Identity(LOCAL, name, name, groups, scopes=frozenset(map(Action, scopes.split())), **more)


SENDERS = {
    "alice": identity("alice", "all", "lab"),
    "bob": identity("bob", "lab"),
    "carol": identity("carol", "other"),
    "dave": identity("dave"),
    "root": identity("root", is_admin=True),
    "elsewhere": Identity("https://idp.example.org", "alice", "alice"),
    "alice, reading": identity("alice", "lab", scopes="read"),
    "alice, submitting": identity("alice", "lab", scopes="submit"),
    "root, reading": identity("root", scopes="read", is_admin=True),
    "carol, reading": identity("carol", scopes="read"),
}
"""`alice`'s task is shared with `lab` and `all`."""


class ByName:
    """An `Authenticator` that takes everybody's word."""

    scheme: ClassVar[Scheme] = "bearer"

    def takes(self, credentials: str) -> bool:
        return True

    def claimed(self, credentials: str) -> str:
        return ""

    async def sign_ins(self) -> list[SignIn]:
        return []

    async def authenticate(self, credentials: str, *, place: str = "") -> Proof:
        if credentials not in SENDERS:
            raise NotAuthenticated("who?")
        return Proof(SENDERS[credentials])


# Endpoint by endpoint: what it answers to one who may, and who may do it.
READERS = {"alice", "bob", "root", "alice, reading", "root, reading"}
CHANGERS = {"alice", "bob", "root"}
NO_SCOPE_TO_READ = {"alice, submitting"}
NO_SCOPE_TO_CHANGE = {"alice, reading", "alice, submitting", "root, reading", "carol, reading"}
OF_A_TASK: dict[str, tuple[str, str, int, set[str], set[str]]] = {
    **{
        f"get {prefix} {view}": (
            *("GET", f"{prefix}/tasks/{{id}}?view={view}"),
            *(200, READERS, NO_SCOPE_TO_READ),
        )
        for prefix in (TES, V1)
        for view in ("MINIMAL", "BASIC", "FULL")
    },
    **{
        f"cancel {prefix}": ("POST", f"{prefix}/tasks/{{id}}:cancel", 200, CHANGERS, NO_SCOPE_TO_CHANGE)
        for prefix in (TES, V1)
    },
    "head": ("HEAD", f"{TES}/tasks/{{id}}", 200, READERS, NO_SCOPE_TO_READ),
    "delete": ("DELETE", f"{TESP}/tasks/{{id}}", 409, CHANGERS, NO_SCOPE_TO_CHANGE),  # it has not ended
    "log": ("GET", f"{TESP}/tasks/{{id}}/logs/0/stdout", 200, READERS, NO_SCOPE_TO_READ),
    "no such log": ("GET", f"{TESP}/tasks/{{id}}/logs/7/stdout", 404, READERS, NO_SCOPE_TO_READ),
    "events": ("GET", f"{TESP}/tasks/{{id}}/events", 200, READERS, NO_SCOPE_TO_READ),
    "files": ("GET", f"{TESP}/tasks/{{id}}/files", 200, READERS, NO_SCOPE_TO_READ),
    "stream": ("GET", f"{TESP}/tasks/{{id}}/events?stream", 200, READERS, NO_SCOPE_TO_READ),
    "followed log": ("GET", f"{TESP}/tasks/{{id}}/logs/0/stdout?follow=true", 200, READERS, NO_SCOPE_TO_READ),
    "row": ("GET", f"{TESP}/tasks/{{id}}", 200, READERS, NO_SCOPE_TO_READ),
    "wait": ("GET", f"{TESP}/tasks/{{id}}?wait=60&state_not=RUNNING", 200, READERS, NO_SCOPE_TO_READ),
    "history": ("GET", f"{TESP}/tasks/{{id}}/history", 200, READERS, NO_SCOPE_TO_READ),
}
OF_A_RUN: dict[str, tuple[str, str, int, set[str], set[str]]] = {
    "get": ("GET", f"{WES}/runs/{{id}}", 200, READERS, NO_SCOPE_TO_READ),
    "head": ("HEAD", f"{WES}/runs/{{id}}", 200, READERS, NO_SCOPE_TO_READ),
    "status": ("GET", f"{WES}/runs/{{id}}/status", 200, READERS, NO_SCOPE_TO_READ),
    "cancel": ("POST", f"{WES}/runs/{{id}}/cancel", 200, CHANGERS, NO_SCOPE_TO_CHANGE),
    "tasks": ("GET", f"{WES}/runs/{{id}}/tasks", 200, READERS, NO_SCOPE_TO_READ),
    "task": ("GET", f"{WES}/runs/{{id}}/tasks/{{task}}", 404, READERS, NO_SCOPE_TO_READ),
    "steps": ("GET", f"{TESP}/runs/{{id}}/steps", 200, READERS, NO_SCOPE_TO_READ),
    "log": ("GET", f"{TESP}/runs/{{id}}/logs/{{stream}}", 200, READERS, NO_SCOPE_TO_READ),
    "stream": ("GET", f"{TESP}/runs/{{id}}/events", 200, READERS, NO_SCOPE_TO_READ),
    "file": ("GET", f"{TESP}/runs/{{id}}/files/{{path}}", 404, READERS, NO_SCOPE_TO_READ),
    "inputs": ("GET", f"{TESP}/runs/{{id}}/inputs.zip", 200, READERS, NO_SCOPE_TO_READ),
    "outputs": ("GET", f"{TESP}/runs/{{id}}/outputs.zip", 200, READERS, NO_SCOPE_TO_READ),
    "delete": ("DELETE", f"{TESP}/runs/{{id}}", 409, CHANGERS, NO_SCOPE_TO_CHANGE),  # it has not ended
}
RUN = {"workflow_type": "SCRIPT", "workflow_type_version": "v1", "workflow_url": "https://a.org/w"}
NO_SCOPE_TO_SUBMIT = {"alice, reading", "root, reading", "carol, reading"}
OF_NO_TASK: dict[str, tuple[str, str, Any, set[str]]] = {
    "list": ("GET", f"{TES}/tasks", None, NO_SCOPE_TO_READ),
    "list 1.0": ("GET", f"{V1}/tasks?view=FULL", None, NO_SCOPE_TO_READ),
    "list nothing": ("GET", f"{TES}/tasks?state=PAUSED", None, NO_SCOPE_TO_READ),
    "create": ("POST", f"{TES}/tasks", TASK, NO_SCOPE_TO_SUBMIT),
    "create 1.0": ("POST", f"{V1}/tasks", TASK, NO_SCOPE_TO_SUBMIT),
    "bulk": ("POST", f"{TESP}/tasks:bulk", {"tasks": [TASK]}, NO_SCOPE_TO_SUBMIT),
    "validate": ("POST", f"{TESP}/tasks:validate", TASK, NO_SCOPE_TO_SUBMIT),
    "list runs": ("GET", f"{WES}/runs", None, NO_SCOPE_TO_READ),
    "run": ("POST", f"{WES}/runs", RUN, NO_SCOPE_TO_SUBMIT),
    "limits": ("GET", f"{TESP}/limits", None, NO_SCOPE_TO_READ),
    "rows": ("GET", f"{TESP}/tasks", None, NO_SCOPE_TO_READ),
    "counts": ("GET", f"{TESP}/counts", None, NO_SCOPE_TO_READ),
    "destinations": ("GET", f"{TESP}/destinations", None, NO_SCOPE_TO_READ),
    "stream of all": ("GET", f"{TESP}/events", None, NO_SCOPE_TO_READ),
    "me": ("GET", f"{TESP}/me", None, set()),
}


OF_OWNERS_AND_ADMINS = {
    ("get", f"{TESP}/tasks/{{id}}/webhooks"),
    ("get", f"{TESP}/webhooks"),
    ("post", f"{TESP}/webhooks/{{name}}/test"),
}
"""Groups have no part in these: test_webhooks.py."""
STREAMS = {"stream", "followed log", "stream of all"}


@pytest.fixture
def app(store: TaskStore, settings: Settings) -> FastAPI:
    return build_api(
        store,
        Bell(),
        settings,
        {},
        authenticators=[ByName()],
        next_destination=lambda *_: "local",
        workflows=workflows_over(store, settings),
    )


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with connect(app) as opened:
        yield opened


def headers_for(sender: str, endpoint: str, app: FastAPI) -> dict[str, str]:
    """Those of a request; streams end at once, since the server is told to stop."""
    if endpoint in STREAMS:
        app.state.drain.begin()
        return as_(sender) | {"Accept": "text/event-stream"}
    return as_(sender)


def as_(sender: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {sender}"}


async def create_as(client: httpx.AsyncClient, sender: str, **parts: Any) -> str:
    client.headers.update(as_(sender))
    try:
        return await create(client, **parts)
    finally:
        del client.headers["Authorization"]


@pytest.mark.parametrize("endpoint", OF_A_TASK)
async def test_who_may_do_what_with_a_task(client: httpx.AsyncClient, app: FastAPI, endpoint: str) -> None:
    method, path, done, may, without_scope = OF_A_TASK[endpoint]
    task_id = await create_as(client, "alice")
    for sender in SENDERS:
        expected = done if sender in may else 403 if sender in without_scope else 404
        headers = headers_for(sender, endpoint, app)
        answer = await client.request(method, path.format(id=task_id), headers=headers)
        assert answer.status_code == expected, f"{sender}: {answer.text}"
        if expected == 404 and sender not in may and method != "HEAD":  # as for a task that there is not
            of_nothing = path.replace("{id}", "no-such-task")
            missing = await client.request(method, of_nothing, headers=headers)
            assert answer.text.replace(task_id, "no-such-task") == missing.text
    for headers in ({}, as_("nobody")):
        answer = await client.request(method, path.format(id=task_id), headers=headers)
        assert answer.status_code == 401


@pytest.mark.parametrize("endpoint", OF_A_RUN)
async def test_who_may_do_what_with_a_run(client: httpx.AsyncClient, app: FastAPI, endpoint: str) -> None:
    method, path, done, may, without_scope = OF_A_RUN[endpoint]
    path = path.replace("{task}", "t").replace("{stream}", "stderr").replace("{path}", "a/b")
    run_id = (await client.post(f"{WES}/runs", json=RUN, headers=as_("alice"))).json()["run_id"]
    for sender in SENDERS:
        expected = done if sender in may else 403 if sender in without_scope else 404
        headers = headers_for(sender, endpoint, app)
        answer = await client.request(method, path.format(id=run_id), headers=headers)
        assert answer.status_code == expected, f"{sender}: {answer.text}"
        if expected == 404 and sender not in may and method != "HEAD":  # as for a run that there is not
            of_nothing = path.replace("{id}", "no-such-run")
            missing = await client.request(method, of_nothing, headers=headers)
            assert answer.text.replace(run_id, "no-such-run") == missing.text
    for headers in ({}, as_("nobody")):
        answer = await client.request(method, path.format(id=run_id), headers=headers)
        assert answer.status_code == 401


async def run_with_a_file(client: httpx.AsyncClient, settings: Settings, sender: str) -> str:
    run_id = str((await client.post(f"{WES}/runs", json=RUN, headers=as_(sender))).json()["run_id"])
    folder = settings.data_dir / "wes/work" / run_id
    folder.mkdir(parents=True)
    (folder / "x").write_text(f"of {sender}")
    return run_id


async def test_an_archive_has_what_its_reader_may_see(
    client: httpx.AsyncClient, workflows: Workflows, settings: Settings
) -> None:
    of_carol, of_bob, of_alice = [
        await run_with_a_file(client, settings, sender) for sender in ("carol", "bob", "alice")
    ]
    base = f"file://{settings.data_dir}/wes/work/"
    files = {
        "own": f"{base}{of_alice}/x",
        "shared": f"{base}{of_bob}/x",
        "foreign": f"{base}{of_carol}/x",
        "around": f"{base}{of_alice}/../{of_carol}/x",
        "encoded": f"{base}{of_alice}/%2e%2e/{of_carol}/x",
        "all": base,
    }
    outputs: dict[str, Any] = {name: {"class": "File", "location": url} for name, url in files.items()}
    outputs["text"] = f"{base}{of_alice}/x"
    outputs["record"] = {"location": f"{base}{of_carol}/x"}
    claims = {run.id: run.claim for run in await workflows.runs.claim("test", lease_s=60, new_limit=9)}
    claim = claims[of_alice]
    assert claim is not None
    for state in (State.INITIALIZING, State.RUNNING):
        await workflows.runs.transition(of_alice, state, claim=claim)
    await workflows.runs.transition(of_alice, State.COMPLETE, claim=claim, end=RunEnd(outputs, 0))
    for sender, names in {
        "alice": ["outputs.json", "own/x", "shared/x"],
        "root": ["outputs.json", "own/x", "shared/x", "foreign/x", "around/x", "encoded/x"],
    }.items():
        answer = await client.get(f"{TESP}/runs/{of_alice}/outputs.zip", headers=as_(sender))
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            assert archive.namelist() == names, sender
            assert archive.read("own/x") == b"of alice"


@pytest.mark.parametrize("endpoint", OF_NO_TASK)
async def test_who_may_list_and_create(client: httpx.AsyncClient, app: FastAPI, endpoint: str) -> None:
    method, path, body, without_scope = OF_NO_TASK[endpoint]
    for sender in SENDERS:
        headers = headers_for(sender, endpoint, app)
        answer = await client.request(method, path, json=body, headers=headers)
        assert answer.status_code == (403 if sender in without_scope else 200), f"{sender}: {answer.text}"
        if answer.status_code == 403:
            assert "scope" in answer.json()["msg"]
    for headers in ({}, as_("nobody")):
        assert (await client.request(method, path, json=body, headers=headers)).status_code == 401


async def test_no_endpoint_was_forgotten(client: httpx.AsyncClient) -> None:
    documented = (await client.get("/openapi.json")).json()["paths"]
    known = {(method.lower(), path.partition("?")[0]) for method, path, *_ in OF_A_TASK.values()}
    known |= {(method.lower(), path.partition("?")[0]) for method, path, *_ in OF_NO_TASK.values()}
    known |= {(method.lower(), path) for method, path, *_ in OF_A_RUN.values()} | OF_OWNERS_AND_ADMINS
    known = {(method, path.replace("logs/0/stdout", "logs/{executor}/{stream}")) for method, path in known}
    public = ("service-info", "healthz", "readyz", "metrics")
    for path, methods in documented.items():
        for method in methods:
            assert (method, path) in known or path.endswith(public), f"{method} {path}"


async def test_what_others_try_changes_nothing(client: httpx.AsyncClient, store: TaskStore) -> None:
    task_id = await create_as(client, "alice")
    held = await start(store, task_id)
    await client.post(f"{TES}/tasks/{task_id}:cancel", headers=as_("carol"))
    assert await store.get_state(task_id) == "RUNNING"
    await finish(store, held, b"out")
    await store.retire(held)
    assert (await client.delete(f"{TESP}/tasks/{task_id}", headers=as_("carol"))).status_code == 404
    assert (await client.get(f"{TES}/tasks/{task_id}", headers=as_("alice"))).status_code == 200
    assert (await client.delete(f"{TESP}/tasks/{task_id}", headers=as_("bob"))).status_code == 204
    assert (await client.get(f"{TES}/tasks/{task_id}", headers=as_("alice"))).status_code == 404


async def test_a_cancel_names_who_asked(client: httpx.AsyncClient) -> None:
    task_id = await create_as(client, "alice")
    await client.post(f"{TES}/tasks/{task_id}:cancel", headers=as_("bob"))
    history = (await client.get(f"{TESP}/tasks/{task_id}/history", headers=as_("alice"))).json()["history"]
    assert history[-1]["reason"] == "canceled by bob"


SEEN = {
    "alice": {"alice", "bob"},
    "bob": {"alice", "bob"},
    "carol": {"carol"},
    "dave": {"dave"},
    "root": {"alice", "bob", "carol", "dave", "elsewhere"},
    "elsewhere": {"elsewhere"},
    "alice, reading": {"alice", "bob"},
}


@pytest.mark.parametrize(
    "query",
    [
        "",
        "view=BASIC&",
        "view=FULL&",
        "tag_key=k&tag_value=1&",
        "state=QUEUED&",
        "name_prefix=of&view=BASIC&",
    ],
)
async def test_lists_show_ones_own_and_those_of_ones_groups(client: httpx.AsyncClient, query: str) -> None:
    made: dict[str, str] = {}
    for number in range(15):
        sender = ("alice", "bob", "carol", "dave", "elsewhere")[number % 5]
        made[await create_as(client, sender, name=f"of {sender}", tags={"k": str(number % 2)})] = sender
    wanted = [task_id for task_id in reversed(made) if "tag" not in query or list(made).index(task_id) % 2]
    for sender, owners in SEEN.items():
        shown: list[str] = []
        token = ""
        while True:
            path = f"{TES}/tasks?{query}page_size=2&page_token={token}"
            page = (await client.get(path, headers=as_(sender))).json()
            assert len(page["tasks"]) <= 2
            shown += [task["id"] for task in page["tasks"]]
            token = page.get("next_page_token", "")
            if not token:
                break
        assert shown == [task_id for task_id in wanted if made[task_id] in owners], sender


async def test_runs_of_ones_own_and_of_ones_groups_are_listed(client: httpx.AsyncClient) -> None:
    made: dict[str, str] = {}
    for number in range(15):
        sender = ("alice", "bob", "carol", "dave", "elsewhere")[number % 5]
        run = await client.post(f"{WES}/runs", json=RUN, headers=as_(sender))
        made[run.json()["run_id"]] = sender
    for sender, owners in SEEN.items():
        shown: list[str] = []
        token = "first"
        while token:
            path = f"{WES}/runs?page_size=2&page_token={token.removeprefix('first')}"
            page = (await client.get(path, headers=as_(sender))).json()
            assert len(page["runs"]) <= 2
            shown += [run["run_id"] for run in page["runs"]]
            token = page["next_page_token"]
        assert shown == [run_id for run_id in reversed(made) if made[run_id] in owners], sender


async def test_a_key_is_of_its_owner(client: httpx.AsyncClient) -> None:
    ids: dict[str, str] = {}
    for sender in ("alice", "bob", "elsewhere", "alice"):
        headers = as_(sender) | {"Idempotency-Key": "k"}
        answer = await client.post(f"{TES}/tasks", json=TASK | {"name": sender}, headers=headers)
        assert answer.status_code == 200, answer.text
        assert ids.setdefault(sender, answer.json()["id"]) == answer.json()["id"]
        bulk = await client.post(f"{TESP}/tasks:bulk", json={"tasks": [TASK]}, headers=headers)
        [one] = bulk.json()["tasks"]
        assert ids.setdefault(f"{sender} in bulk", one["id"]) == one["id"]
        run = await client.post(f"{WES}/runs", json=RUN | {"tags": {"of": sender}}, headers=headers)
        assert run.status_code == 200, run.text
        assert ids.setdefault(f"run of {sender}", run.json()["run_id"]) == run.json()["run_id"]
    assert len(set(ids.values())) == 9


async def test_a_credential_for_some_users_is_for_no_others(store: TaskStore, settings: Settings) -> None:
    table = {"url_prefix": "https://data.org/", "users": ["alice"], "username": "u", "password": "hush"}
    more = Settings.model_validate(
        {"data_dir": settings.data_dir, "credentials": {"lab": table | {"by_name_only": True}}}
    )
    asks = TASK | {"resources": {"backend_parameters": {"credentials": "lab"}}}
    async with connect(build_api(store, Bell(), more, {}, authenticators=[ByName()])) as client:
        for sender, valid in (("alice", True), ("bob", False), ("elsewhere", False)):
            answer = await client.post(f"{TESP}/tasks:validate", json=asks, headers=as_(sender))
            assert answer.json()["valid"] is valid, answer.text
            created = await client.post(f"{TES}/tasks", json=asks, headers=as_(sender))
            assert created.status_code == (200 if valid else 400)


async def test_admins_of_the_settings_see_all(store: TaskStore, settings: Settings) -> None:
    auth = {"admins": ["dave", "https://idp.example.org#alice"]}
    more = Settings.model_validate({"data_dir": settings.data_dir, "auth": auth})
    async with connect(build_api(store, Bell(), more, {}, authenticators=[ByName()])) as client:
        task_id = await create_as(client, "bob")
        for sender, status in (("dave", 200), ("elsewhere", 200), ("alice", 200), ("carol", 404)):
            assert (await client.get(f"{TES}/tasks/{task_id}", headers=as_(sender))).status_code == status


async def test_what_is_shown_of_a_task_tells_nothing_of_groups(client: httpx.AsyncClient) -> None:
    task_id = await create_as(client, "alice", tags={"k": "v"})
    shown = (await client.get(f"{TES}/tasks/{task_id}?view=FULL", headers=as_("alice"))).json()
    assert shown["tags"] == {"k": "v"}
    assert "lab" not in json.dumps(shown)
