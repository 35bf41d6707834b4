"""Work orders: only what this server signed, whole and unchanged, is believed."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tesp_api.errors import WorkOrderRefused
from tesp_api.settings import Settings
from tesp_api.storage.server_key import ServerKey
from tesp_api.storage.work_orders import WorkOrders
from tesp_api.tes.ids import new_task_id

TASK = new_task_id()
OTHER = new_task_id()


def orders(secret: str = "0123456789" * 4) -> WorkOrders:
    return WorkOrders(
        ServerKey(Settings.model_validate({"secret_key": secret, "data_dir": Path("/nowhere")}))
    )


def test_a_token_says_whose_it_is() -> None:
    token = orders().token_for(TASK, 2)
    assert orders().read(token) == (TASK, 2)
    assert token == orders().token_for(TASK, 2)
    assert re.fullmatch(r"[A-Za-z0-9._-]+", token)


def test_tokens_differ_by_task_attempt_and_server() -> None:
    made = {orders().token_for(TASK, 1), orders().token_for(TASK, 2), orders().token_for(OTHER, 1)}
    assert len(made | {orders("another key, long enough for that").token_for(TASK, 1)}) == 4


def test_another_servers_token_is_refused() -> None:
    with pytest.raises(WorkOrderRefused) as caught:
        orders("another key, long enough for that").read(orders().token_for(TASK, 1))
    assert caught.value.claimed_task_id == TASK
    assert caught.value.http_status == 401


@pytest.mark.parametrize(
    "change",
    [
        lambda token: token.replace(TASK, OTHER),
        lambda token: token.replace(".1.", ".2."),
        lambda token: token.replace(".1.", ".01."),
        lambda token: token[:-1],
        lambda token: token + "A",
        lambda token: token + "\n",
        lambda token: token + "=",
        lambda token: token[:-1] + chr(ord(token[-1]) + 1),
        lambda token: " " + token,
        lambda token: token.rpartition(".")[0],
        lambda token: token.rpartition(".")[0] + ".",
        lambda token: "",
    ],
)
def test_a_changed_token_is_refused(change: "object") -> None:
    assert callable(change)
    forged = change(orders().token_for(TASK, 1))
    with pytest.raises(WorkOrderRefused) as caught:
        orders().read(forged)
    assert not forged or forged not in str(caught.value)


@given(st.text())
def test_no_text_is_believed(text: str) -> None:
    with pytest.raises(WorkOrderRefused):
        orders().read(text)
