"""Several users on one server: one's long queue holds up nobody else, and limits outlive a kill."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tesp_api.api.auth.api_tokens import new_token
from tesp_api.api.auth.identity import Action
from tesp_api.store.accounts import User
from tesp_api.store.mongo_accounts import MongoAccounts
from tesp_api.store.sqlite_accounts import SqliteAccounts
from tesp_api.tes.times import now
from tests.services.mongod import Mongod
from tests.services.tesp import ONLY_BUBBLEWRAP, TespServer, poll

pytestmark = pytest.mark.services

TES = "/ga4gh/tes/v1"
QUICK = {"executors": [{"image": "busybox", "command": ["true"]}]}
QUEUE = 300
PLACES = 2
SETTINGS = ONLY_BUBBLEWRAP | {
    "TESP_API_AUTH__MODES": '@json ["token"]',
    "TESP_API_DESTINATIONS__LOCAL__MAX_RUNNING": str(PLACES),
    "TESP_API_SCHEDULER__WAITING_MAX": "50",
    "TESP_API_LIMITS__USER__STORED_TASKS": str(QUEUE),
}
DATABASE = "users_take_turns"


class Users:
    """A server, and who logs in there."""

    def __init__(self, server: TespServer, tokens: dict[str, str]) -> None:
        self.server, self._tokens = server, tokens

    def ask(self, who: str, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._tokens[who]}"}
        return self.server.client.request(method, path, headers=headers, **more)

    def use(self, who: str) -> dict[str, int]:
        used: dict[str, int] = self.ask(who, "GET", "/tesp/v1/limits").json()["user"]["used"]
        return used

    def count(self, who: str, state: str) -> int:
        answer = self.ask(who, "GET", f"{TES}/tasks?state={state}&page_size=2000").json()
        return len(answer["tasks"])


async def _add_users(accounts: SqliteAccounts | MongoAccounts) -> dict[str, str]:
    await accounts.open()
    tokens = {}
    for name in ("alice", "bob"):
        await accounts.add_user(User(name, now()))
        tokens[name], kept = new_token(name, Action, None, "")
        await accounts.add_token(kept)
    await accounts.aclose()
    return tokens


@pytest.fixture(params=["sqlite", "mongodb"])
def users(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Users]:
    settings, accounts = dict(SETTINGS), SqliteAccounts(tmp_path)
    if request.param == "mongodb":
        mongod: Mongod = request.getfixturevalue("mongod")
        request.addfinalizer(lambda: mongod.drop(DATABASE))
        settings |= {"TESP_API_STORE__URL": mongod.url, "TESP_API_STORE__DATABASE": DATABASE}
        tokens = asyncio.run(_add_users(MongoAccounts(mongod.url, database=DATABASE)))
    else:
        tokens = asyncio.run(_add_users(accounts))
    with TespServer(settings, data=tmp_path) as server:
        yield Users(server, tokens)


def test_one_task_of_a_user_passes_anothers_hundreds(users: Users) -> None:
    answer = users.ask("alice", "POST", "/tesp/v1/tasks:bulk", json={"tasks": [QUICK] * QUEUE})
    assert all("id" in one for one in answer.json()["tasks"])
    full = users.ask("alice", "POST", f"{TES}/tasks", json=QUICK)
    assert (full.status_code, full.json()["limit"]["used"]) == (429, QUEUE)

    task_id = users.ask("bob", "POST", f"{TES}/tasks", json=QUICK).json()["id"]
    state = ""
    while state != "COMPLETE":
        state = users.ask("bob", "GET", f"{TES}/tasks/{task_id}").json()["state"]
        ended = users.count("alice", "COMPLETE")
        assert ended < QUEUE / 2, "alice's queue is half through, and bob's one task is not"
        assert state in ("QUEUED", "INITIALIZING", "RUNNING", "COMPLETE")

    poll(lambda: users.count("alice", "COMPLETE") > 3, timeout_s=60, why="nothing of alice's queue runs")
    users.server.kill()
    users.server.start()
    assert users.use("alice")["stored_tasks"] == QUEUE
    assert 0 < users.use("alice")["live_tasks"] < QUEUE
    assert (users.use("bob")["live_tasks"], users.use("bob")["stored_tasks"]) == (0, 1)
    assert users.ask("alice", "POST", f"{TES}/tasks", json=QUICK).status_code == 429
    assert users.ask("bob", "POST", f"{TES}/tasks", json=QUICK).status_code == 200
    for one in users.ask("alice", "GET", f"{TES}/tasks?state=QUEUED&page_size=2000").json()["tasks"]:
        users.ask("alice", "POST", f"{TES}/tasks/{one['id']}:cancel")
