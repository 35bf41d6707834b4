"""Webhooks as a receiver gets them: in order, signed, until they are taken; and who may not be told."""

import json
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tesp_api.cli.main import app as cli
from tests.acceptance.workflow_runs import scripted_server, step, submit, wait
from tests.services.secret_search import SecretSearch
from tests.services.tesp import TespServer, poll
from tests.services.webhook_receiver import Message, WebhookReceiver

pytestmark = pytest.mark.services

DOCUMENT = Path(__file__).parents[2] / "docs" / "webhooks.md"
PORTAL_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="
OWN_SECRET = "whsec_" + "C2FVsBQIhrscChlQIMV+b5sSYspob7oDC2FVsBQIhrs="
PORTAL = f"/portal/{secrets.token_hex(8)}"
LIFE = ["QUEUED", "INITIALIZING", "RUNNING", "COMPLETE"]
SCRIPT = {"executors": [{"image": "busybox:latest", "command": ["true"]}]}

Verified = Callable[..., Any]


@pytest.fixture(scope="module")
def verified() -> Verified:
    """The receiver's part, as the document has it."""
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - it is of our own document
    found: Verified = names["verified"]
    return found


@pytest.fixture(scope="module")
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as running:
        yield running


@pytest.fixture(scope="module")
def server(receiver: WebhookReceiver) -> Iterator[TespServer]:
    settings = {
        "PAUSE_S": "0.05",
        "PAUSE_MAX_S": "0.2",
        "TIMEOUT_S": "3",
        "SERVER_URL": "https://tesp.example.org",
        "RECEIVERS__PORTAL__URL": receiver.url + PORTAL,
        "RECEIVERS__PORTAL__SECRET": PORTAL_SECRET,
        "RECEIVERS__PORTAL__TAGS": '@json ["to=portal"]',
        "RECEIVERS__RUNS__URL": f"{receiver.url}/runs",
        "RECEIVERS__RUNS__SECRET": PORTAL_SECRET,
        "RECEIVERS__RUNS__OF": '@json ["runs"]',
    }
    with scripted_server({f"TESP_API_WEBHOOKS__{key}": value for key, value in settings.items()}) as running:
        yield running


@pytest.fixture
def own(receiver: WebhookReceiver) -> str:
    """A path of one test."""
    return f"/own/{secrets.token_hex(16)}"


def task(receiver: WebhookReceiver, path: str, **more: Any) -> dict[str, Any]:
    parameters = {"Webhook_URL": receiver.url + path, "WEBHOOK_SECRET": OWN_SECRET}
    return {**SCRIPT, "resources": {"backend_parameters": parameters}, **more}


def data_of(messages: list[Message]) -> list[dict[str, Any]]:
    return [json.loads(one.body)["data"] for one in messages]


def states(messages: list[Message]) -> list[str]:
    return [one["state"] for one in data_of(messages)]


def of_task(messages: list[Message], task_id: str) -> list[str]:
    return [one["state"] for one in data_of(messages) if one["id"] == task_id]


def wait_for(receiver: WebhookReceiver, path: str, count: int, server: TespServer) -> list[Message]:
    """What was taken, once it is so much."""
    poll(lambda: len(receiver.taken(path)) >= count, timeout_s=60, why=f"{path}\n{server.log[-3000:]}")
    return receiver.taken(path)


def deliveries(server: TespServer, task_id: str) -> list[dict[str, Any]]:
    answer = server.client.get(f"/tesp/v1/tasks/{task_id}/webhooks")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["webhooks"]
    return found


def test_states_come_in_order_and_signed(
    server: TespServer, receiver: WebhookReceiver, verified: Verified, own: str
) -> None:
    tags = {"to": "portal", "of": "ü"}
    task_id = server.create(task(receiver, own, name="told", tags=tags))
    messages = wait_for(receiver, own, 4, server)
    assert states(messages) == LIFE
    for one in messages:
        read = verified(one.headers, one.body, OWN_SECRET)
        assert (read["type"], read["data"]["id"]) == ("task.state", task_id)
        assert one.headers["webhook-id"] == read["data"]["event_id"]
        with pytest.raises(ValueError, match="not signed"):
            verified(one.headers, one.body + b" ", OWN_SECRET)
        with pytest.raises(ValueError, match="not signed"):
            verified(one.headers, one.body, PORTAL_SECRET)
    data = data_of(messages)
    assert [one.get("previous_state") for one in data] == [None, *LIFE[:3]]
    assert [one["attempt"] for one in data] == [0, 1, 1, 1]
    assert len({one["event_id"] for one in data}) == 4
    assert {one["link"] for one in data} == {f"https://tesp.example.org/ga4gh/tes/v1/tasks/{task_id}"}
    assert all((one["name"], one["tags"]) == ("told", tags) for one in data)
    times = [
        entry["time"] for entry in server.client.get(f"/tesp/v1/tasks/{task_id}/history").json()["history"]
    ]
    assert [one["time"] for one in data] == [times[0], *times[-3:]]
    poll(lambda: of_task(receiver.taken(PORTAL), task_id) == LIFE, timeout_s=30, why="portal waits")
    assert all(verified(one.headers, one.body, PORTAL_SECRET) for one in receiver.taken(PORTAL))
    poll(
        lambda: {one["fate"] for one in deliveries(server, task_id)} == {"delivered"},
        timeout_s=20,
        why="not noted as delivered",
    )
    assert {(one["to"], one["said"]) for one in deliveries(server, task_id)} == {
        (receiver.url, "status 204"),
        ("portal", "status 204"),
    }


def test_only_the_states_that_were_asked_for(server: TespServer, receiver: WebhookReceiver, own: str) -> None:
    document = task(receiver, own)
    document["resources"]["backend_parameters"]["webhook_states"] = "running, complete"
    server.wait(server.create(document))
    assert states(wait_for(receiver, own, 2, server)) == ["RUNNING", "COMPLETE"]


def test_what_fails_is_tried_again_and_in_order(
    server: TespServer, receiver: WebhookReceiver, own: str
) -> None:
    receiver.answers[own] = [500, 204, 302, 503, 204]
    receiver.redirects_to = f"{receiver.url}/elsewhere"
    task_id = server.create(task(receiver, own))
    assert states(wait_for(receiver, own, 4, server)) == LIFE
    came = receiver.came(own)
    assert [one.status for one in came] == [500, 204, 302, 503, 204, 204, 204]
    ids = [one.headers["webhook-id"] for one in came]
    assert (ids[0], ids[2]) == (ids[1], ids[4])
    assert receiver.came("/elsewhere") == []
    poll(lambda: deliveries(server, task_id)[1]["fate"] == "delivered", timeout_s=20, why="fate")
    assert [one["tries"] for one in deliveries(server, task_id)] == [2, 3, 1, 1]


def given_up(server: TespServer) -> float:
    """How many the metrics count."""
    page = server.client.get("/metrics").text
    found = re.search(r'^tesp_webhook_tries_total{outcome="given_up"} (.+)$', page, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_one_that_is_gone_is_not_asked_again(server: TespServer, receiver: WebhookReceiver, own: str) -> None:
    receiver.answers[own] = [410]
    before = given_up(server)
    task_id = server.create(task(receiver, own))
    server.wait(task_id)
    poll(
        lambda: {one["fate"] for one in deliveries(server, task_id)} == {"given_up"},
        timeout_s=30,
        why="it is not given up",
    )
    assert len(receiver.came(own)) == 4
    assert {one["said"] for one in deliveries(server, task_id)} == {"status 410"}
    assert given_up(server) == before + 4


def test_one_that_hangs_delays_nobody_else(server: TespServer, receiver: WebhookReceiver, own: str) -> None:
    with WebhookReceiver() as slow:
        slow.hanging = {own}
        task_id = server.create(task(slow, own, tags={"to": "portal"}))
        assert server.wait(task_id)["state"] == "COMPLETE"
        poll(lambda: of_task(receiver.taken(PORTAL), task_id) == LIFE, timeout_s=30, why="portal waits")
        (first, *_) = [one for one in deliveries(server, task_id) if one["to"] == slow.url]
        assert first["fate"] == "waiting"
        poll(
            lambda: "no answer within 3 s" in str(deliveries(server, task_id)), timeout_s=20, why="no timeout"
        )
        slow.hanging.clear()
        poll(lambda: len({one.body for one in slow.came(own)}) == 4, timeout_s=30, why="not told later")


def test_nothing_is_lost_by_kill_9(
    server: TespServer, receiver: WebhookReceiver, verified: Verified, own: str
) -> None:
    away = WebhookReceiver()
    tasks = [server.create(task(away, own)) for _ in range(3)]
    for task_id in tasks:
        server.wait(task_id)
    server.kill()
    away.start()
    try:
        server.start()
        messages = wait_for(away, own, 12, server)
    finally:
        away.stop()
    for task_id in tasks:
        assert of_task(messages, task_id) == LIFE
    assert all(verified(one.headers, one.body, OWN_SECRET) for one in messages)


def test_runs_are_told_of(server: TespServer, receiver: WebhookReceiver, verified: Verified) -> None:
    run_id = submit(server, [step("a", "true")])
    wait(server, run_id)
    messages = wait_for(receiver, "/runs", 4, server)
    assert states(messages) == LIFE
    read = verified(messages[-1].headers, messages[-1].body, PORTAL_SECRET)
    assert (read["type"], read["data"]["id"], read["data"]["previous_state"]) == (
        *("run.state", run_id, "RUNNING"),
    )
    assert read["data"]["link"] == f"https://tesp.example.org/ga4gh/wes/v1/runs/{run_id}"


def test_nothing_secret_is_shown_or_stored(server: TespServer, receiver: WebhookReceiver, own: str) -> None:
    receiver.answers[own] = [500, 204]
    task_id = server.create(task(receiver, own, tags={"to": "portal"}))
    whole = server.wait(task_id)
    wait_for(receiver, own, 4, server)
    key = {"own secret": OWN_SECRET.removeprefix("whsec_"), "secret": PORTAL_SECRET.removeprefix("whsec_")}
    search = SecretSearch({**key, "own URL": own, "URL": PORTAL})
    tes, tesp = f"/ga4gh/tes/v1/tasks/{task_id}", f"/tesp/v1/tasks/{task_id}"
    views = [f"{tes}?view={view}" for view in ("MINIMAL", "BASIC", "FULL")]
    for path in (*views, f"/v1/tasks/{task_id}?view=FULL", tesp, f"{tesp}/webhooks", f"{tesp}/history"):
        answer = server.client.get(path)
        assert answer.status_code == 200, answer.text
        search.look(path, answer.content)
    assert "backend_parameters" not in whole["resources"]
    assert server.create({key: whole[key] for key in ("executors", "resources", "tags")})  # sent once more
    for path in ("/tesp/v1/webhooks", "/tesp/v1/tasks", "/ga4gh/tes/v1/tasks?view=FULL"):
        search.look(path, server.client.get(path).content)
    search.look_below("the data folder", server.data)
    search.look("the log", server.log.encode())
    assert search.found == set()
    assert f"its states are told to {receiver.url}, by webhook" in whole["logs"][0]["system_logs"]
    assert f"webhook to {receiver.url} failed, and is tried again: status 500" in server.log


def test_an_operator_can_look_and_try(
    server: TespServer, receiver: WebhookReceiver, verified: Verified
) -> None:
    found = server.client.get("/tesp/v1/webhooks").json()
    (portal, _) = found["receivers"]
    assert (portal["name"], portal["place"], portal["tags"]) == ("portal", receiver.url, ["to=portal"])
    at = ["--url", server.url]
    tried = CliRunner().invoke(cli, ["webhook", "test", "portal", *at])
    assert (tried.exit_code, tried.stdout) == (0, "portal has taken it: status 204\n")
    tests = [one for one in receiver.came(PORTAL) if b"webhook.test" in one.body]
    read = [verified(one.headers, one.body, PORTAL_SECRET)["data"] for one in tests]
    assert read == [{"receiver": "portal"}]
    listed = CliRunner().invoke(cli, ["webhook", "list", *at])
    assert "portal" in listed.stdout and receiver.url in listed.stdout
    receiver.answers[PORTAL] = [403]
    refused = CliRunner().invoke(cli, ["webhook", "test", "portal", "--json", *at])
    assert (refused.exit_code, json.loads(refused.stdout)["delivered"]) == (1, False)
    assert "portal has not taken it: status 403" in refused.stderr
    del receiver.answers[PORTAL]
    unknown = CliRunner().invoke(cli, ["webhook", "test", "nobody", *at])
    assert (unknown.exit_code, "webhooks.receivers.nobody" in unknown.stderr) == (1, True)


@pytest.mark.parametrize(
    ("parameters", "field", "said"),
    [
        ({"webhook_url": "ftp://a.org/"}, "webhook_url", "must begin with https://"),
        ({"webhook_url": "http://me:pw@a.org/x"}, "webhook_url", "give none"),
        ({"webhook_url": "http://[me:pw"}, "webhook_url", "none that can be used"),
        ({"webhook_url": "http://169.254.169.254/latest"}, "webhook_url", "metadata"),
        ({"webhook_url": "http://[::ffff:169.254.169.254]/"}, "webhook_url", "metadata"),
        ({"webhook_url": "https://a.org/", "webhook_secret": "whsec_c2hvcnQ="}, "webhook_secret", "whsec_"),
        ({"webhook_url": "https://a.org/", "webhook_secret": "hunter2hunter2"}, "webhook_secret", "base64"),
        ({"webhook_url": "https://a.org/", "webhook_states": "DONE"}, "webhook_states", "'DONE' is none of"),
        ({"webhook_states": "COMPLETE"}, "webhook_states", "needs webhook_url"),
        ({"webhook_secret": OWN_SECRET}, "webhook_secret", "needs webhook_url"),
    ],
)
def test_what_is_wrong_is_refused_by_its_field(
    server: TespServer, parameters: dict[str, str], field: str, said: str
) -> None:
    if "webhook_url" in parameters:
        parameters = {"webhook_secret": OWN_SECRET, **parameters}
    answer = server.client.post(
        "/ga4gh/tes/v1/tasks", json={**SCRIPT, "resources": {"backend_parameters": parameters}}
    )
    assert answer.status_code == 400
    (fault,) = answer.json()["faults"]
    assert fault["field"] == f"resources.backend_parameters.{field}"
    assert said in fault["message"]
    for secret in ("hunter2", "me:pw", "c2hvcnQ="):
        assert secret not in answer.text
