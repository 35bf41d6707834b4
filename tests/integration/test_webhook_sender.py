"""Where messages may go: what tasks name is held to the rules of transfers, at each connection anew."""

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tesp_api.settings import Settings
from tesp_api.webhooks.answer import Answer
from tesp_api.webhooks.sender import Sender
from tests.services.webhook_receiver import WebhookReceiver

_real_lookup = socket.getaddrinfo


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as running:
        yield running


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that were looked up; `rebound.test` leads to loopback, and nobody else knows that."""
    names: list[str] = []

    def lookup(host: Any, *args: Any, **kwargs: Any) -> Any:
        names.append(str(host))
        return _real_lookup("127.0.0.1" if host == "rebound.test" else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    return names


@asynccontextmanager
async def sender(**tables: Any) -> AsyncIterator[Sender]:
    made = Sender(Settings.model_validate({"webhooks": {"timeout_s": 5}, **tables}))
    await made.open()
    try:
        yield made
    finally:
        await made.aclose()


async def send(made: Sender, url: str, *, is_guarded: bool = True) -> Answer:
    return await made.send(url, {"webhook-id": "1"}, b"{}", is_guarded=is_guarded)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1", "0x7f000001", "2130706433", "localhost", "rebound.test"]
)
async def test_no_spelling_of_a_local_address_is_connected_to(
    receiver: WebhookReceiver, looked_up: list[str], host: str
) -> None:
    async with sender() as made:
        answer = await send(made, f"http://{host}:{receiver.port}/x")
    assert not answer.is_taken
    assert answer.said.startswith("refused: ")
    assert "transfers.local_networks does not hold it" in answer.said
    assert receiver.messages == []


async def test_what_the_rules_allow_is_connected_to(receiver: WebhookReceiver, looked_up: list[str]) -> None:
    async with sender(transfers={"local_networks": ["127.0.0.0/8"]}) as made:
        assert await send(made, f"http://rebound.test:{receiver.port}/x") == Answer(True, "status 204")
        assert (await send(made, f"http://127.0.0.1:{receiver.port}/x")).is_taken
    assert [one.headers["host"] for one in receiver.messages] == [
        f"{host}:{receiver.port}" for host in ("rebound.test", "127.0.0.1")
    ]


async def test_a_name_is_looked_up_once_for_each_connection(
    receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = ["127.0.0.1", "127.0.0.2"]

    def lookup(host: Any, *args: Any, **kwargs: Any) -> Any:
        return _real_lookup(answers.pop(0), *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    async with sender(transfers={"local_networks": ["127.0.0.1/32"]}) as made:
        assert (await send(made, f"http://changes.test:{receiver.port}/x")).is_taken
    assert answers == ["127.0.0.2"]


async def test_names_and_schemes_that_are_denied(receiver: WebhookReceiver, looked_up: list[str]) -> None:
    local = {"local_networks": ["127.0.0.0/8"]}
    async with sender(transfers={**local, "deny_hosts": ["*.test"], "deny_schemes": ["https"]}) as made:
        named = await send(made, f"http://rebound.test:{receiver.port}/x")
        secure = await send(made, f"https://127.0.0.1:{receiver.port}/x")
    assert (named.said, secure.said) == (
        "refused: the host 'rebound.test' is refused by transfers.deny_hosts (*.test)",
        "refused: the scheme 'https' is refused by transfers.deny_schemes (https)",
    )
    assert receiver.messages == []


async def test_what_s3_is_trusted_with_is_not_for_tasks(receiver: WebhookReceiver) -> None:
    bucket = {"url_prefix": "s3://lab/", "endpoint": receiver.url}
    async with sender(credentials={"lab": bucket}) as made:
        assert "refused" in (await send(made, f"{receiver.url}/x")).said


async def test_the_operator_may_name_any_place(receiver: WebhookReceiver) -> None:
    async with sender() as made:
        assert (await send(made, f"{receiver.url}/x", is_guarded=False)).is_taken


async def test_redirects_are_not_followed(receiver: WebhookReceiver) -> None:
    receiver.answers["/x"] = [302]
    receiver.redirects_to = f"{receiver.url}/inside"
    async with sender(transfers={"local_networks": ["127.0.0.0/8"]}) as made:
        assert await send(made, f"{receiver.url}/x") == Answer(False, "status 302")
    assert [one.path for one in receiver.messages] == ["/x"]


async def test_proxies_are_not_asked(receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", receiver.url)
    async with sender() as made:
        answer = await send(made, "http://nobody.invalid/x")
    assert (answer.said, receiver.messages) == ("its name cannot be resolved", [])


async def test_what_fails_is_told_without_the_url(receiver: WebhookReceiver) -> None:
    receiver.stop()
    async with sender(transfers={"local_networks": ["127.0.0.0/8"]}) as made:
        for url in (f"{receiver.url}/secret", f"https://127.0.0.1:{receiver.port}/secret", "http:///secret"):
            answer = await send(made, url)
            assert not answer.is_taken
            assert answer.said and "secret" not in answer.said
