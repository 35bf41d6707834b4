"""The accounts that keep the contract. A new one is one line in ACCOUNTS."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tesp_api.store.accounts import Accounts
from tesp_api.store.mongo_accounts import MongoAccounts
from tesp_api.store.sqlite_accounts import SqliteAccounts
from tests.services.mongod import Mongod


def _mongo(request: pytest.FixtureRequest, folder: Path) -> Accounts:
    running: Mongod = request.getfixturevalue("mongod")
    request.addfinalizer(lambda: running.take_back(folder))
    return MongoAccounts(running.url, database=running.lend(folder))


ACCOUNTS: dict[str, Callable[[pytest.FixtureRequest, Path], Accounts]] = {
    "sqlite": lambda _, folder: SqliteAccounts(folder / "data"),
    "mongodb": _mongo,
}


@pytest.fixture(params=["sqlite", pytest.param("mongodb", marks=pytest.mark.services)])
def handle(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Accounts]:
    """Makes objects upon the same data: each a process that opens them."""
    return lambda: ACCOUNTS[request.param](request, tmp_path)


@pytest.fixture
async def accounts(handle: Callable[[], Accounts]) -> AsyncIterator[Accounts]:
    opened = handle()
    await opened.open()
    yield opened
    await opened.aclose()


@pytest.fixture
async def another(handle: Callable[[], Accounts], accounts: Accounts) -> AsyncIterator[Accounts]:
    """The same accounts, opened by another process at the same time."""
    opened = handle()
    await opened.open()
    yield opened
    await opened.aclose()
