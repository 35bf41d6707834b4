"""What every way to log in keeps to: who has the credentials is known, everybody else is refused."""

import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from tesp_api.api.auth.api_tokens import TokenAuthenticator, new_token
from tesp_api.api.auth.authenticator import Authenticator
from tesp_api.api.auth.basic import BasicAuthenticator
from tesp_api.api.auth.identity import EVERYTHING, LOCAL, Action
from tesp_api.api.auth.passwords import hash_password
from tesp_api.errors import NotAuthenticated
from tesp_api.settings_limits import LoginLimits
from tesp_api.store.accounts import Accounts, User
from tesp_api.store.sqlite_accounts import SqliteAccounts
from tesp_api.tes.times import now

pytestmark = pytest.mark.usefixtures("cheap_passwords")

PASSWORD = "open sesame: ŽŽ"


def basic(name: str, password: str) -> str:
    return base64.b64encode(f"{name}:{password}".encode()).decode()


@dataclass(frozen=True)
class Way:
    """A way to log in, upon accounts in which `alice` is."""

    authenticator: Authenticator
    right: str
    wrong: tuple[str, ...]
    withdraw: Callable[[], Awaitable[None]]
    """Makes what is right wrong, behind the authenticator's back."""


async def by_password(accounts: Accounts) -> Way:
    right = basic("alice", PASSWORD)
    wrong = (
        *(basic("alice", "open sesame"), basic("bob", PASSWORD), basic("alice", ""), basic("", "")),
        *(basic("", PASSWORD), basic("robot", ""), basic("alice\0", PASSWORD), basic("ALICE", PASSWORD)),
        *(right + "!", right[:-3], "", "=", "žž", base64.b64encode(b"alice").decode()),
        *(base64.b64encode(b"alice:\xff\xfe").decode(), basic("alice", "x" * 100_000)),
    )
    return Way(BasicAuthenticator(accounts, LoginLimits()), right, wrong, lambda: _new_password(accounts))


async def _new_password(accounts: Accounts) -> None:
    await accounts.change_user("alice", password_hash=hash_password("another one"))


async def by_token(accounts: Accounts) -> Way:
    right, kept = new_token("alice", Action, now() + timedelta(hours=1), "")
    over, kept_over = new_token("alice", Action, now() - timedelta(seconds=1), "")
    stranger, _ = new_token("alice", Action, None, "")
    await accounts.add_token(kept)
    await accounts.add_token(kept_over)
    secret = right.rpartition("_")[2]
    wrong = (
        *(over, stranger, f"tesp_{kept.id}_{'0' * 64}", f"tesp_{kept_over.id}_{secret}", "tesp_"),
        *(right.upper(), right[:-1], right + "0", right + "\n", f"tesp_{kept.id}_{kept.digest.hex()}"),
        *(f"tesp_ _{secret}", "tesp_" + "_" * 100_000, "tesp_žž_ž"),
    )
    return Way(TokenAuthenticator(accounts), right, wrong, lambda: accounts.remove_token(kept.id))


WAYS = {"password": by_password, "token": by_token}


@pytest.fixture
async def accounts(tmp_path: Path, cheap_passwords: None) -> AsyncIterator[Accounts]:
    opened = SqliteAccounts(tmp_path)
    await opened.open()
    await opened.add_user(User("alice", now(), hash_password(PASSWORD), ("lab", "all")))
    await opened.add_user(User("robot", now()))
    yield opened
    await opened.aclose()


@pytest.fixture(params=WAYS)
async def way(request: pytest.FixtureRequest, accounts: Accounts) -> Way:
    return await WAYS[request.param](accounts)


async def test_who_has_the_credentials_is_known(way: Way) -> None:
    assert way.authenticator.takes(way.right)
    identity = (await way.authenticator.authenticate(way.right)).identity
    assert (identity.issuer, identity.subject, identity.owner) == (LOCAL, "alice", "alice")
    assert identity.groups == ("all", "lab")
    assert not identity.is_admin
    assert identity.scopes == EVERYTHING


async def test_everybody_else_is_refused(way: Way) -> None:
    for wrong in way.wrong:
        with pytest.raises(NotAuthenticated) as refused:
            await way.authenticator.authenticate(wrong)
        assert PASSWORD not in str(refused.value) and "alice" not in str(refused.value)


async def test_what_was_withdrawn_is_refused(way: Way) -> None:
    await way.authenticator.authenticate(way.right)
    await way.withdraw()
    with pytest.raises(NotAuthenticated):
        await way.authenticator.authenticate(way.right)


async def test_a_removed_user_is_refused(way: Way, accounts: Accounts) -> None:
    await way.authenticator.authenticate(way.right)
    await accounts.remove_user("alice")
    with pytest.raises(NotAuthenticated):
        await way.authenticator.authenticate(way.right)


async def test_what_was_changed_of_a_user_counts_from_then_on(way: Way, accounts: Accounts) -> None:
    await way.authenticator.authenticate(way.right)
    await accounts.change_user("alice", groups=("new",), is_admin=True)
    identity = (await way.authenticator.authenticate(way.right)).identity
    assert (identity.groups, identity.is_admin) == (("new",), True)


async def test_a_token_is_good_for_its_scopes_and_names_its_end(accounts: Accounts) -> None:
    ends_at = now() + timedelta(minutes=5)
    text, kept = new_token("alice", [Action.SUBMIT, Action.READ], ends_at, "")
    await accounts.add_token(kept)
    proof = await TokenAuthenticator(accounts).authenticate(text)
    assert proof.identity.scopes == {Action.READ, Action.SUBMIT}
    assert proof.ends_at == kept.expires_at
    assert text.rpartition("_")[2].encode() not in kept.digest


async def test_whoever_somebody_claims_to_be_is_said_without_a_look(way: Way) -> None:
    """By what can be guessed at: the same for right and wrong secrets, and nothing of them."""
    mine = way.authenticator.claimed(way.right)
    assert mine
    assert PASSWORD not in mine and way.right not in mine
    for wrong in way.wrong:
        claimed = way.authenticator.claimed(wrong)
        assert len(claimed) < 100
        with pytest.raises(NotAuthenticated):
            await way.authenticator.authenticate(wrong, place="192.0.2.1")
    assert mine in {way.authenticator.claimed(wrong) for wrong in way.wrong}


async def test_a_token_that_has_ended_is_no_guess(accounts: Accounts) -> None:
    over, kept = new_token("alice", Action, now() - timedelta(seconds=1), "")
    await accounts.add_token(kept)
    with pytest.raises(NotAuthenticated) as refused:
        await TokenAuthenticator(accounts).authenticate(over)
    assert not refused.value.is_guess
    with pytest.raises(NotAuthenticated) as refused:
        await TokenAuthenticator(accounts).authenticate(over[:-1] + ("0" if over[-1] != "0" else "1"))
    assert refused.value.is_guess
