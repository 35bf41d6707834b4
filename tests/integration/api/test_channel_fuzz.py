"""Made-up requests to the worker channel, by who has a work order, a forged one, or none."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tesp_api.api.channel import ChannelEndpoints, build_channel
from tesp_api.api.channel_listener import QuietConfig
from tesp_api.app import build_store
from tesp_api.bell import Bell
from tesp_api.settings import Settings
from tesp_api.storage.credentials import Credentials
from tesp_api.storage.logins import Logins
from tesp_api.storage.s3_grants import PARAMETERS
from tesp_api.storage.s3_signing import S3Signer
from tesp_api.storage.sealing import Sealer
from tesp_api.storage.server_key import ServerKey
from tesp_api.storage.work_orders import WorkOrders
from tests.factories import make_task
from tests.integration.api.fuzzing import ask_on, note
from tests.integration.api.life import start
from tests.integration.api.live import serving

CREDENTIALS = {
    "lab": {"url_prefix": "s3://lab/", "access_key_id": "AKID", "secret_access_key": "hush"},
    "archive": {"url_prefix": "https://a.org/", "username": "ann", "password": "hush"},
}
TASK: dict[str, Any] = {
    "inputs": [
        {"url": "s3://lab/in", "path": "/in"},
        {"url": "s3://lab/dir/", "path": "/dir", "type": "DIRECTORY"},
        {"url": "https://a.org/x", "path": "/x"},
    ],
    "outputs": [{"url": "s3://lab/out", "path": "/out"}],
}
ENDPOINTS = ("logins", "sign", "permit", "report", "nothing")


class Channel(NamedTuple):
    """Where it is, and the tokens with which it is asked."""

    url: str
    tokens: dict[str, str]


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Channel]:
    settings = Settings.model_validate(
        {"data_dir": str(tmp_path_factory.mktemp("fuzz")), "credentials": CREDENTIALS}
    )
    store, key = build_store(settings), ServerKey(settings)
    orders, credentials = WorkOrders(key), Credentials(settings.credentials)
    logins = Logins(credentials, Sealer(key))
    app = build_channel(ChannelEndpoints(store, orders, credentials, logins, S3Signer(), Bell()))
    task = make_task(**TASK)
    good = orders.token_for(task.id, 1)
    tokens = {
        "a worker": good,
        "one of an attempt that was not": orders.token_for(task.id, 2),
        "a forger": good[:-1] + ("A" if good[-1] != "A" else "B"),
        "nobody": "",
    }

    @asynccontextmanager
    async def opened() -> AsyncIterator[None]:
        await store.open()
        await store.create(task)
        await start(store, task.id)
        yield
        await store.aclose()

    with asyncio.Runner() as runner:
        context = opened()
        runner.run(context.__aenter__())
        # The store's threads serve any loop.
        with serving(QuietConfig(app, host="127.0.0.1", port=0)) as url:
            yield Channel(url, tokens)
        runner.run(context.__aexit__(None, None, None))


texts = st.text(max_size=40) | st.sampled_from(
    [
        "s3://lab/in",
        "s3://lab/dir/a",
        "s3://lab/../x",
        "s3:///",
        "s3://lab/\ud800",
        "heartbeat",
        "result.json",
    ]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
asks = st.fixed_dictionaries(
    {"operation": st.sampled_from([*PARAMETERS]) | anything, "url": texts | anything},
    optional={
        "parameters": anything
        | st.dictionaries(
            st.sampled_from(["prefix", "uploadId", "partNumber", "list-type", "delimiter"]), texts, max_size=4
        )
    },
)
parts = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["heartbeat", "events.ndjson", "result.json", "logs/0.stdout.000000"])
        | anything,
        "offset": st.integers(-1, 20) | anything,
        "data": st.binary(max_size=60).map(lambda data: base64.b64encode(data).decode()) | anything,
    }
)
bodies = anything | st.fixed_dictionaries(
    {},
    optional={
        "asks": st.lists(asks, max_size=4) | anything,
        "files": st.lists(parts, max_size=4) | anything,
        "worker": st.from_regex("[0-9a-f]{8,64}", fullmatch=True) | anything,
        "step": st.sampled_from(["start", "commit"]) | anything,
    },
)
raw = bodies.map(lambda body: json.dumps(body).encode()) | st.binary(max_size=80)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_no_request_makes_the_channel_fail(channel: Channel, endpoint: str) -> None:
    with httpx.Client(base_url=channel.url, timeout=30) as client:

        @given(body=raw, sender=st.sampled_from(list(channel.tokens)))
        def ask(body: bytes, sender: str) -> None:
            token = channel.tokens[sender]
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            answer = client.post(f"/channel/v1/{endpoint}", content=body, headers=headers)
            note(f"the worker channel, by {sender}", answer.status_code)
            if answer.status_code >= 400 and endpoint != "nothing":
                assert answer.json()["detail"]
            if sender != "a worker":
                assert answer.status_code in (401, 404, 410, 400)
                assert b"hush" not in answer.content

        ask_on(ask, 0.2 / len(ENDPOINTS))


def test_the_task_is_as_it_was(channel: Channel, tmp_path: Path) -> None:
    """After all that, a worker that asks for what is its own gets it."""
    headers = {"Authorization": f"Bearer {channel.tokens['a worker']}"}
    answer = httpx.post(f"{channel.url}/channel/v1/logins", json={}, headers=headers)
    assert answer.status_code == 200 and answer.json()["logins"]
