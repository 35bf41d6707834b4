"""Secrets of every kind, used by real tasks, and looked for everywhere afterwards and meanwhile."""

import contextlib
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import bson
import httpx
import pytest
from pymongo import MongoClient

from tesp_api.settings import Settings
from tesp_api.storage.server_key import ServerKey
from tesp_api.storage.work_orders import WorkOrders
from tests.services.containers import require_docker
from tests.services.ftp_server import PASSWORD, USERINFO, FtpServer
from tests.services.locked_server import LockedServer, basic
from tests.services.mongod import Mongod
from tests.services.moto import Moto
from tests.services.pulsar_rest import StockPulsar
from tests.services.s3_servers import S3Place
from tests.services.secret_search import SecretSearch, Watch
from tests.services.tesp import ONLY_BUBBLEWRAP, ONLY_DOCKER, TespServer, free_port, poll

pytestmark = pytest.mark.services

SERVER_KEY = secrets.token_hex(16)
MARKER = f"seen-{secrets.token_hex(8)}"
"""No secret: it is in the task's name, command and environment, and must be found."""

URL_PASSWORD, OUTPUT_PASSWORD, WRONG = (f"{secrets.token_hex(8)}/?#@: %ü" for _ in range(3))
BASIC, BEARER, HEADER, SECRET_KEY = (f"{secrets.token_hex(8)}/+& %x" for _ in range(4))
ACCESS_KEY, SESSION = secrets.token_hex(8).upper(), secrets.token_hex(16)
BUCKET = "secrecy"
SECRETS = {
    "password in an http URL": URL_PASSWORD,
    "password in an output's URL": OUTPUT_PASSWORD,
    "password in an ftp URL": PASSWORD,
    "named password": BASIC,
    "named bearer token": BEARER,
    "named header": HEADER,
    "S3 access key": ACCESS_KEY,
    "S3 secret key": SECRET_KEY,
    "S3 session token": SESSION,
    "wrong password": WRONG,
}


@dataclass(frozen=True)
class Place:
    """A server, and the folders and databases in which it and its site leave things."""

    server: TespServer
    folders: dict[str, Path]
    mongod: Mongod | None = None
    job_folders: dict[str, Path] = field(default_factory=dict)


@pytest.fixture(scope="module")
def web() -> Iterator[LockedServer]:
    with LockedServer() as running:
        for name in ("url", "basic", "bearer", "header"):
            running.files[f"/{name}/file"] = f"by {name}\n".encode()
        running.locks |= {
            "/url": {"Authorization": basic("lab user", URL_PASSWORD)},
            "/out": {"Authorization": basic("lab user", OUTPUT_PASSWORD)},
            "/basic": {"Authorization": basic("lab", BASIC)},
            "/bearer": {"Authorization": f"Bearer {BEARER}"},
            "/header": {"X-Api-Key": HEADER},
        }
        yield running


@pytest.fixture(scope="module")
def ftp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FtpServer]:
    root = tmp_path_factory.mktemp("ftp")
    (root / "file").write_text("by ftp\n")
    with FtpServer(root) as running:
        yield running


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Place]:
    with Moto() as running:
        running.client().create_bucket(Bucket=BUCKET)
        running.client().put_object(Bucket=BUCKET, Key="file", Body=b"by s3\n")
        yield running


@pytest.fixture(scope="module", params=["embedded", "embedded-mongodb", "rest"])
def place(request: pytest.FixtureRequest, web: LockedServer, s3: S3Place) -> Iterator[Place]:
    credentials = {
        "lab": {"url_prefix": f"{web.url}/basic", "username": "lab", "password": BASIC},
        "token": {"url_prefix": f"{web.url}/bearer", "bearer_token": BEARER, "by_name_only": True},
        "key": {"url_prefix": f"{web.url}/header", "headers": {"X-Api-Key": HEADER}},
        "store": {
            "url_prefix": f"s3://{BUCKET}",
            "endpoint": s3.endpoint,
            "access_key_id": ACCESS_KEY,
            "secret_access_key": SECRET_KEY,
            "session_token": SESSION,
        },
    }
    settings = {
        "TESP_API_SECRET_KEY": SERVER_KEY,
        "TESP_API_LOG_LEVEL": "debug",
        "TESP_API_TRANSFERS__TRIES": "2",
        "TESP_API_CREDENTIALS": "@json " + json.dumps(credentials),
    }
    with contextlib.ExitStack() as stack:
        mongod, folders, jobs = None, {}, {}
        if request.param == "rest":
            require_docker()
            pulsar = stack.enter_context(StockPulsar())
            settings |= ONLY_DOCKER | _reached_by_tcp(pulsar)
            folders, jobs = {"Pulsar": pulsar.folder}, {"job directories": pulsar.staging}
        else:
            settings |= ONLY_BUBBLEWRAP
        if request.param == "embedded-mongodb":
            mongod = stack.enter_context(Mongod())
            settings["TESP_API_STORE__URL"] = mongod.url
        server = TespServer(settings)
        server.is_forked = False  # its environment would be another process's
        stack.enter_context(server)
        jobs = jobs or {"job directories": server.data / "pulsar" / "staging"}
        folders["data folder"] = server.data
        yield Place(server, folders, mongod, jobs)


def _reached_by_tcp(pulsar: StockPulsar) -> dict[str, str]:
    port = str(free_port())
    return {
        "TESP_API_CHANNEL__PORT": port,
        "TESP_API_CHANNEL__URL": f"http://127.0.0.1:{port}",
        "TESP_API_DESTINATIONS__LOCAL__KIND": "rest",
        "TESP_API_DESTINATIONS__LOCAL__URL": pulsar.url,
        "TESP_API_DESTINATIONS__LOCAL__PRIVATE_TOKEN": pulsar.private_token,
    }


def _task(web: LockedServer, ftp: FtpServer, password: str = URL_PASSWORD) -> dict[str, Any]:
    user = "lab%20user"
    host = web.url.removeprefix("http://")
    ftp_user = USERINFO if password == URL_PASSWORD else f"{user}:{quote(password, safe='')}"
    urls = {
        "url": f"http://{user}:{quote(password, safe='')}@{host}/url/file",
        "ftp": ftp.url("file", ftp_user),
        "basic": f"{web.url}/basic/file",
        "bearer": f"{web.url}/bearer/file",
        "header": f"{web.url}/header/file",
        "s3": f"s3://{BUCKET}/file",
    }
    script = f"echo {MARKER} > /dev/null; cat /in/*; cp -r /in /out; sleep 1"
    return {
        "name": MARKER,
        "inputs": [{"url": url, "path": f"/in/{name}"} for name, url in urls.items()],
        "outputs": [
            {
                "url": f"http://{user}:{quote(OUTPUT_PASSWORD, safe='')}@{host}/out/{MARKER}",
                "path": "/out",
                "type": "DIRECTORY",
            },
            {"url": f"s3://{BUCKET}/{MARKER}", "path": "/out", "type": "DIRECTORY"},
        ],
        "volumes": ["/out"],
        "executors": [{"image": "busybox:latest", "command": ["sh", "-c", script], "env": {"SEEN": MARKER}}],
        "resources": {"backend_parameters": {"credentials": "token"}},
    }


def _answers(server: TespServer, task: dict[str, Any]) -> Iterator[bytes]:
    """What is said of this task, and of tasks like it: every view, every list, every other endpoint."""
    refused = task | {"volumes": ["nowhere"]}
    requests = [
        ("POST", "/tesp/v1/tasks:validate", task),
        ("POST", "/tesp/v1/tasks:validate", refused),
        ("POST", "/ga4gh/tes/v1/tasks", refused),
        ("POST", "/tesp/v1/tasks:bulk", {"tasks": [refused]}),
        ("GET", "/ga4gh/tes/v1/service-info", None),
    ]
    for prefix in ("/ga4gh/tes/v1", "/v1"):
        requests += [("GET", f"{prefix}/tasks?view={view}", None) for view in ("MINIMAL", "BASIC", "FULL")]
    for method, path, body in requests:
        answer = server.client.request(method, path, json=body)
        yield str(answer.headers).encode() + answer.content


def _answers_about(server: TespServer, task_id: str) -> Iterator[bytes]:
    paths = [
        path for path, item in server.client.get("/openapi.json").json()["paths"].items() if "get" in item
    ]
    for path in paths:
        if "/tasks/{id}" in path:
            path = path.format(id=task_id, executor=0, stream="stdout")
            for view in ("MINIMAL", "BASIC", "FULL"):
                answer = server.client.get(path, params={"view": view} if path.endswith(task_id) else {})
                yield str(answer.headers).encode() + answer.content


def _look_everywhere(search: SecretSearch, place: Place, task: dict[str, Any], task_id: str) -> None:
    for where, folder in (place.folders | place.job_folders).items():
        search.look_below(where, folder)
    search.look("server log", place.server.log.encode())
    for answer in (*_answers(place.server, task), *_answers_about(place.server, task_id)):
        search.look("answers", answer)
    if place.mongod:
        with MongoClient[dict[str, Any]](place.mongod.url) as client:
            for name in client.list_database_names():
                for collection in client[name].list_collection_names():
                    for document in client[name][collection].find():
                        search.look("MongoDB", bson.encode(document))


def _is_retired(place: Place, task_id: str) -> bool:
    """Whether its job has been removed, which is the last thing before."""
    staging = next(iter(place.job_folders.values()))
    return not any(task_id in one.name for one in staging.iterdir())


def _run(place: Place, task: dict[str, Any]) -> tuple[dict[str, Any], SecretSearch, SecretSearch]:
    """The task at its end, what was found of secrets, and what of the marker."""
    server = place.server
    assert server.process is not None
    found, control = SecretSearch(SECRETS), SecretSearch({"marker": MARKER})
    with Watch((found, control), place.job_folders, {server.process.pid}):
        created = server.client.post("/ga4gh/tes/v1/tasks", json=task)
        found.look("answers", created.content)
        task_id = created.json()["id"]
        ended = server.wait(task_id)
        poll(lambda: _is_retired(place, task_id), timeout_s=20, why="the job was not removed")
    _look_everywhere(found, place, task, task_id)
    _look_everywhere(control, place, task, task_id)
    return ended, found, control


def test_no_secret_is_to_be_found(place: Place, web: LockedServer, ftp: FtpServer, s3: S3Place) -> None:
    task, found, control = _run(place, _task(web, ftp))
    logs = "\n".join(task["logs"][0].get("system_logs", []))
    assert task["state"] == "COMPLETE", logs
    assert task["logs"][0]["logs"][0]["stdout"] == "by basic\nby bearer\nby ftp\nby header\nby s3\nby url\n"
    assert web.files[f"/out/{MARKER}/in/ftp"] == b"by ftp\n"
    assert s3.client().get_object(Bucket=BUCKET, Key=f"{MARKER}/in/s3")["Body"].read() == b"by s3\n"
    assert found.found == set()
    seen = {where for _, where in control.found}
    assert seen >= {
        "cmdline",
        "environ",
        "job directories",
        "answers",
        "MongoDB" if place.mongod else "data folder",
    }
    orders = SecretSearch({"work order": _token(task["id"])})
    _look_everywhere(orders, place, _task(web, ftp), task["id"])
    assert orders.found == set()


def test_no_failure_shows_a_secret(place: Place, web: LockedServer, ftp: FtpServer) -> None:
    """Servers repeat what they refuse; each input is refused in turn."""
    wrong = _task(web, ftp, WRONG)["inputs"][:2]
    missing = {"url": f"s3://{BUCKET}/missing", "path": "/in"}
    its_own = "with the login that its URL came with"
    for item, expected in ((wrong[0], its_own), (wrong[1], its_own), (missing, f"s3://{BUCKET}/missing: ")):
        task, found, _ = _run(place, _task(web, ftp) | {"inputs": [item], "outputs": []})
        said = "\n".join(task["logs"][0]["system_logs"])
        assert task["state"] == "SYSTEM_ERROR" and expected in said
        assert found.found == set() and "@" not in said


def test_a_work_order_is_there_while_the_attempt_lives(
    place: Place, web: LockedServer, ftp: FtpServer
) -> None:
    """What `test_no_secret_is_to_be_found` looks for can be found; and it is of no use to anybody later."""
    server, task = place.server, _task(web, ftp)
    staging = next(iter(place.job_folders.values()))
    task_id = server.create(task)
    order = SecretSearch({"work order": _token(task_id)})

    def is_there() -> bool:
        order.look_below("job directories", staging)
        return bool(order.found)

    poll(is_there, timeout_s=30, why="the work order was never seen")
    assert server.wait(task_id)["state"] == "COMPLETE"
    if "TESP_API_CHANNEL__URL" in server.environment:
        url = f"{server.environment['TESP_API_CHANNEL__URL']}/channel/v1/logins"
        answer = httpx.post(url, json={}, headers={"Authorization": f"Bearer {_token(task_id)}"})
        assert answer.status_code == 410 and "logins" not in answer.json()


def _token(task_id: str) -> str:
    key = ServerKey(Settings.model_validate({"secret_key": SERVER_KEY}))
    return WorkOrders(key).token_for(task_id, 1)
