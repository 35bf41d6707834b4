"""Users and tokens: kept whole, shared by all processes, and gone when they are removed."""

import asyncio
from datetime import timedelta

import pytest

from tesp_api.errors import AccountRefused, StoreUnavailable
from tesp_api.store.accounts import Accounts, ApiToken, User
from tesp_api.tes.times import now

MOMENT = now()


def user(name: str = "alice", **more: object) -> User:
    return User(name, MOMENT, **more)  # type: ignore[arg-type]


def token(name: str = "t1", owner: str = "alice", **more: object) -> ApiToken:
    return ApiToken(name, owner, b"\x00digest", ("read", "submit"), MOMENT, **more)  # type: ignore[arg-type]


async def test_a_user_is_found_as_it_was_added(accounts: Accounts, another: Accounts) -> None:
    alice = user(password_hash="$argon2id$x", groups=("lab-a", "/b.$c"), is_admin=True)
    await accounts.add_user(alice)
    await accounts.add_user(user("Alice"))
    assert await another.find_user("alice") == alice
    assert await another.find_user("ALICE") is None
    assert [one.name for one in await another.list_users()] == ["Alice", "alice"]


async def test_a_name_is_given_once(accounts: Accounts) -> None:
    await accounts.add_user(user(password_hash="first"))
    with pytest.raises(AccountRefused, match="alice"):
        await accounts.add_user(user(password_hash="second"))
    found = await accounts.find_user("alice")
    assert found is not None and found.password_hash == "first"


async def test_only_what_is_named_is_changed(accounts: Accounts, another: Accounts) -> None:
    await accounts.add_user(user(password_hash="old", groups=("lab",), is_admin=True))
    await accounts.add_token(token())
    await accounts.change_user("alice", password_hash="new")
    assert await another.find_user("alice") == user(password_hash="new", groups=("lab",), is_admin=True)
    await accounts.change_user("alice", groups=(), is_admin=False)
    await accounts.change_user("alice")
    assert await another.find_user("alice") == user(password_hash="new")
    await accounts.change_user("alice", password_hash="")
    assert await another.find_user("alice") == user()
    assert await another.find_token("t1") == (token(), user())


async def test_who_is_not_there_is_neither_changed_nor_removed(accounts: Accounts) -> None:
    for refused in (
        accounts.change_user("bob", is_admin=True),
        accounts.change_user("bob"),
        accounts.remove_user("bob"),
        accounts.remove_token("t9"),
        accounts.add_token(token(owner="bob")),
    ):
        with pytest.raises(AccountRefused):
            await refused
    assert await accounts.list_users() == [] and await accounts.list_tokens() == []


async def test_a_token_is_found_with_its_user(accounts: Accounts, another: Accounts) -> None:
    await accounts.add_user(user(groups=("lab",)))
    ends = token("t2", expires_at=MOMENT + timedelta(days=1), note="it's $mine")
    await accounts.add_token(token())
    await accounts.add_token(ends)
    assert await another.find_token("t2") == (ends, user(groups=("lab",)))
    assert await another.find_token("t3") is None
    assert await another.list_tokens() == [token(), ends]


async def test_what_is_revoked_is_gone_for_all(accounts: Accounts, another: Accounts) -> None:
    await accounts.add_user(user())
    await accounts.add_token(token("t1"))
    await accounts.add_token(token("t2"))
    await accounts.remove_token("t1")
    assert await another.find_token("t1") is None
    assert await another.find_token("t2") is not None


async def test_a_user_goes_with_all_tokens(accounts: Accounts, another: Accounts) -> None:
    await accounts.add_user(user())
    await accounts.add_user(user("bob"))
    await accounts.add_token(token("t1"))
    await accounts.add_token(token("t2", "bob"))
    await another.remove_user("alice")
    assert await accounts.find_user("alice") is None
    assert await accounts.find_token("t1") is None
    await accounts.add_user(user())  # another person of the same name
    assert await accounts.find_token("t1") is None
    assert [one.id for one in await accounts.list_tokens()] == ["t2"]


async def test_many_at_once(accounts: Accounts, another: Accounts) -> None:
    await accounts.add_user(user())
    both = (accounts, another)
    await asyncio.gather(*(both[number % 2].add_token(token(f"t{number}")) for number in range(20)))
    assert len(await accounts.list_tokens()) == 20
    added = await asyncio.gather(
        *(both[number % 2].add_user(user("bob")) for number in range(6)), return_exceptions=True
    )
    assert sum(outcome is None for outcome in added) == 1


async def test_what_is_not_open_is_unavailable(accounts: Accounts) -> None:
    await accounts.aclose()
    with pytest.raises(StoreUnavailable):
        await accounts.find_user("alice")
