"""Tasks with inputs and outputs in S3, as a user runs them: on a server that checks every signature."""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.services.pulsar_rest import StockPulsar
from tests.services.s3_servers import S3Place
from tests.services.tesp import ONLY_BUBBLEWRAP, TespServer

pytestmark = [pytest.mark.sampled(1), pytest.mark.services]

BUCKET = "acceptance"
CONTENT = os.urandom(40 * 2**20)
NAMES = ["with space", "a#b", "50%25", "ümläut", "plus+"]


@pytest.fixture(scope="module")
def client(radosgw: S3Place) -> Any:
    """A client beside the server, with its own bucket full of inputs."""
    client = radosgw.client()
    client.create_bucket(Bucket=BUCKET)
    client.put_object(Bucket=BUCKET, Key="in/large #1", Body=CONTENT)
    for name in NAMES:
        client.put_object(Bucket=BUCKET, Key=f"tree/sub/{name}", Body=name.encode())
    client.put_object(Bucket=BUCKET, Key="tree/empty/", Body=b"")
    return client


def settings(place: S3Place) -> dict[str, str]:
    lab = {
        "url_prefix": f"s3://{BUCKET}",
        "endpoint": place.endpoint,
        "access_key_id": place.access_key_id,
        "secret_access_key": place.secret_access_key,
        "max_upload_bytes": 64 * 2**20,
    }
    return {"TESP_API_CREDENTIALS": "@json " + json.dumps({"lab": lab})}


@pytest.fixture(scope="module", params=["asking", "not asking"])
def way(request: pytest.FixtureRequest) -> str:
    """How workers get signatures: they ask for them, or find them in their order."""
    return str(request.param)


@pytest.fixture(scope="module")
def server(way: str, radosgw: S3Place) -> Iterator[TespServer]:
    if way == "asking":
        with TespServer(settings(radosgw) | ONLY_BUBBLEWRAP) as running:
            yield running
        return
    with StockPulsar() as pulsar:
        site = {
            "kind": "rest",
            "url": pulsar.url,
            "private_token": pulsar.private_token,
            "runtimes": [],
            "allow_bubblewrap": True,
        }
        with TespServer(
            settings(radosgw) | {"TESP_API_DESTINATIONS": "@json " + json.dumps({"site": site})}
        ) as running:
            yield running


def url(key: str) -> str:
    return f"s3://{BUCKET}/{key}"


def keys(client: Any, prefix: str) -> set[str]:
    listed = client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", ())
    return {item["Key"][len(prefix) :] for item in listed}


def shell(script: str) -> list[dict[str, Any]]:
    return [{"image": "busybox:latest", "command": ["sh", "-c", script]}]


def test_files_directories_and_patterns_both_ways(server: TespServer, client: Any) -> None:
    task = server.run(
        {
            "inputs": [
                {"path": "/in/large", "url": url("in/large #1")},
                {"path": "/in/tree", "url": url("tree"), "type": "DIRECTORY"},
            ],
            "outputs": [
                {"path": "/out/large", "url": url("out/large")},
                {"path": "/out/tree", "url": url("out/tree"), "type": "DIRECTORY"},
                {"path": "/out/*.txt", "path_prefix": "/out", "url": url("out/texts")},
            ],
            "executors": shell("mkdir -p /out; cp -r /in/* /out; echo 1 > '/out/1 #.txt'; ls /in/tree"),
        },
        timeout_s=120,
    )
    assert task["state"] == "COMPLETE", task["logs"][0]["system_logs"]
    assert client.get_object(Bucket=BUCKET, Key="out/large")["Body"].read() == CONTENT
    assert keys(client, "out/tree/") == {*(f"sub/{name}" for name in NAMES), "empty/"}
    assert keys(client, "out/texts/") == {"1 #.txt"}
    for name in NAMES:
        assert client.get_object(Bucket=BUCKET, Key=f"out/tree/sub/{name}")["Body"].read() == name.encode()
    outputs = {output["url"]: output["size_bytes"] for output in task["logs"][0]["outputs"]}
    assert outputs[url("out/large")] == str(len(CONTENT))
    assert url("out/tree/sub/a#b") in outputs


def test_a_missing_input_ends_it_with_the_servers_words(server: TespServer, client: Any) -> None:
    task = server.run({"inputs": [{"path": "/in/x", "url": url("none")}], "executors": shell("true")})
    assert task["state"] == "SYSTEM_ERROR"
    said = task["logs"][0]["system_logs"][-1]
    assert f"{url('none')}: NoSuchKey" in said
    assert "X-Amz" not in said


def test_a_prefix_is_no_file_and_a_worker_that_can_ask_says_what_it_is(
    server: TespServer, way: str, client: Any
) -> None:
    task = server.run({"inputs": [{"path": "/in/x", "url": url("tree")}], "executors": shell("true")})
    assert task["state"] == "SYSTEM_ERROR"
    said = task["logs"][0]["system_logs"][-1]
    assert ("its type must be DIRECTORY" if way == "asking" else "NoSuchKey") in said


def test_what_no_credential_covers_is_refused_at_once(server: TespServer, client: Any) -> None:
    bad = {"inputs": [{"path": "/in/x", "url": "s3://elsewhere/x"}], "executors": shell("true")}
    answer = server.client.post("/ga4gh/tes/v1/tasks", json=bad)
    assert answer.status_code == 400
    assert "inputs[0].url" in answer.text


def test_service_info_names_the_place(server: TespServer, client: Any) -> None:
    assert f"s3://{BUCKET}" in server.client.get("/ga4gh/tes/v1/service-info").json()["storage"]
