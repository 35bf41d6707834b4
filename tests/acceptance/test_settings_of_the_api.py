"""What the settings say of the API reaches the whole server: retention, a proxy's path, other origins."""

import contextlib
import http.client
import json
import select
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.acceptance.served import served

pytestmark = pytest.mark.services

SETTINGS = """
[default.retention]
finished_age_s = 1.5

[default.server]
root_path = "/lab"
cors_origins = ["https://portal.example.org"]
"""
TASK = {"executors": [{"image": "busybox", "command": ["true"]}], "tags": {"k": "v"}}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("settings")
    (folder / "settings.toml").write_text(SETTINGS)
    with served(folder, "--allow-bubblewrap") as address:
        yield address


def test_a_task_is_seen_at_its_end_and_purged_some_time_after(url: str) -> None:
    tasks = f"{url}/lab/ga4gh/tes/v1/tasks"
    task_id = httpx.post(tasks, json=TASK).json()["id"]
    seen = []
    deadline = time.monotonic() + 60
    while (answer := httpx.get(f"{tasks}/{task_id}")).status_code == 200:
        seen.append(answer.json()["state"])
        assert time.monotonic() < deadline, seen
        time.sleep(0.1)
    assert answer.status_code == 404
    assert seen[-1] in {"COMPLETE", "SYSTEM_ERROR"}, "it is shown until it is purged"
    assert httpx.get(tasks).json() == {"tasks": []}


def test_a_connection_outlives_the_pauses_of_clients(url: str) -> None:
    """Who asks every five seconds must not find it closed just then."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", "/healthz")
        assert connection.getresponse().read()
        assert select.select([connection.sock], [], [], 6)[0] == [], "the server has closed it"


def test_the_path_of_the_proxy_and_other_origins(url: str) -> None:
    origin = {"Origin": "https://portal.example.org"}
    answer = httpx.get(f"{url}/ga4gh/tes/v1/service-info", headers=origin)
    assert answer.headers["access-control-allow-origin"] == "https://portal.example.org"
    assert "/lab/tesp/v1/tasks:bulk" in answer.json()["description"]
    assert httpx.get(f"{url}/openapi.json").json()["servers"] == [{"url": "/lab"}]


def test_a_dry_run_names_the_destination(url: str) -> None:
    report = httpx.post(f"{url}/tesp/v1/tasks:validate", content=json.dumps(TASK)).json()
    assert report == {"valid": True, "faults": [], "warnings": [], "destination": "local"}
