"""schemathesis against the served OpenAPI document: a stranger who believes every word of it.

On a server without logins, and on one with users, tokens and passwords: a request is sent by one who may, by
one who may not see it, by one with wrong credentials, or by nobody. `make fuzz` does so for ten minutes.
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import given
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CheckFunction, not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tesp_api.api.auth.api_tokens import new_token
from tesp_api.api.auth.identity import Action
from tesp_api.api.auth.passwords import hash_password
from tesp_api.api.live.hub import LiveHub
from tesp_api.api.openapi import openapi_document
from tesp_api.settings import Settings
from tesp_api.store.accounts import Accounts, User
from tesp_api.tes.times import now
from tests.integration.api.fuzzing import ask_on, note
from tests.integration.api.hostile_requests import TASKS, task
from tests.integration.api.live import live_api

CHECKS: list[CheckFunction] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
OPERATIONS = [
    (method, path) for path, methods in openapi_document("0")["paths"].items() for method in methods
]
PASSWORD = "open sesame"
NOBODY: dict[str, str] = {}


@dataclass
class World:
    """A server with a task and a workflow run, and the headers with which requests are sent to it."""

    name: str
    url: str
    senders: dict[str, dict[str, str]]
    task_id: str = ""
    run_id: str = ""
    schema: Any = field(default=None, repr=False)

    def prepare(self, sender: str) -> None:
        """Make both: made-up ids lead nowhere; and read what the server says of itself."""
        made = httpx.post(
            f"{self.url}{TASKS}", json=task(name="known", tags={"k": "v"}), headers=self.senders[sender]
        )
        self.task_id = made.json()["id"]
        asked = {"workflow_type": "SCRIPT", "workflow_type_version": "v1", "workflow_url": "https://a.org/w"}
        run = httpx.post(f"{self.url}/ga4gh/wes/v1/runs", json=asked, headers=self.senders[sender])
        self.run_id = run.json()["run_id"]
        document = httpx.get(f"{self.url}/openapi.json").json()
        for methods in document["paths"].values():
            for operation in methods.values():
                del operation["responses"]["default"]  # which would allow every status
        self.schema = schemathesis.openapi.from_dict(document)


@pytest.fixture(scope="module", autouse=True)
def _streams_that_end() -> Iterator[None]:
    """A stream ends once it has told what is there, as when the server is being stopped."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LiveHub, "is_closing", True)
        yield


@pytest.fixture(scope="module")
def open_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with live_api(Settings.model_validate({"data_dir": str(tmp_path_factory.mktemp("fuzz"))})) as url:
        world = World("the API without logins", url, {"nobody": NOBODY})
        world.prepare("nobody")
        yield world


@pytest.fixture(scope="module")
def guarded_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    token, kept = new_token("alice", Action, None, "")
    reading, kept_reading = new_token("alice", [Action.READ], None, "")

    async def prepare(accounts: Accounts) -> None:
        for name in ("alice", "bob"):
            await accounts.add_user(User(name, now(), hash_password(PASSWORD)))
        await accounts.add_token(kept)
        await accounts.add_token(kept_reading)

    folder = tmp_path_factory.mktemp("fuzz")
    auth = {"modes": ["token", "basic"]}
    with live_api(Settings.model_validate({"data_dir": str(folder), "auth": auth}), prepare) as url:
        senders = {
            "alice": {"Authorization": f"Bearer {token}"},
            "alice, reading": {"Authorization": f"Bearer {reading}"},
            "bob": {"Authorization": "Basic " + base64.b64encode(f"bob:{PASSWORD}".encode()).decode()},
            "a forger": {"Authorization": f"Bearer {token[:-1]}{'1' if token[-1] == '0' else '0'}"},
            "nobody": NOBODY,
        }
        world = World("the API with logins", url, senders)
        world.prepare("alice")
        yield world


@pytest.fixture(params=["open", "guarded"])
def world(request: pytest.FixtureRequest) -> World:
    found: World = request.getfixturevalue(f"{request.param}_world")
    return found


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_answer_is_one_of_those_documented(
    world: World, method: str, path: str, mode: GenerationMode
) -> None:
    operation = world.schema[path][method.upper()]
    if mode is GenerationMode.NEGATIVE and not _can_be_wrong(operation):
        pytest.skip("takes nothing but a text in its path, and every text is one")

    @given(
        case=operation.as_strategy(generation_mode=mode),
        of_a_task=st.booleans(),
        sender=st.sampled_from(list(world.senders)),
    )
    def ask(case: Any, of_a_task: bool, sender: str) -> None:
        if of_a_task and "id" in case.path_parameters:
            case.path_parameters["id"] = world.run_id if "/runs/" in path else world.task_id
        case.headers = {
            name: value for name, value in (case.headers or {}).items() if name.lower() != "authorization"
        } | world.senders[sender]
        answer = case.call(base_url=world.url, timeout=30)
        note(f"{world.name}, by {sender}", answer.status_code)
        case.validate_response(answer, checks=CHECKS)
        if sender in ("a forger", "nobody") and len(world.senders) > 1 and not _is_public(path):
            assert answer.status_code in (401, 403, 413, 414, 431)

    ask_on(ask, 0.8 / (2 * 2 * len(OPERATIONS)))


def _can_be_wrong(operation: Any) -> bool:
    texts = {"id", "task", "path", "name"}
    return bool(operation.body) or any(one.name not in texts for one in operation.iter_parameters())


def _is_public(path: str) -> bool:
    return path.endswith(("/service-info", "/healthz", "/readyz"))
