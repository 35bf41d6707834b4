"""Tasks at sites whose workers have no network: this server moves their files."""

import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.servers import environment_of
from tests.services.file_server import FileServer
from tests.services.ftp_server import FtpServer
from tests.services.gated_http import GatedHttp
from tests.services.s3_servers import S3Place
from tests.services.tesp import TespServer, free_port, poll

pytestmark = [pytest.mark.sampled(1), pytest.mark.services]

KINDS = ("embedded-bubblewrap", "rest-docker")
SITE = "TESP_API_DESTINATIONS__LOCAL__"
CAP_BYTES = 200 * 1024**2
IMAGE = "busybox:latest"

WITHOUT_NETWORK = """#!/bin/sh
# the worker's Python, in a network of its own in which there is nothing
exec unshare --net -- {python} "$@"
"""


@pytest.fixture(scope="module")
def web() -> Iterator[GatedHttp]:
    with GatedHttp() as web:
        yield web


@pytest.fixture(scope="module", params=KINDS)
def environment(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """A site with a gateway, whose workers could not open a connection if they tried."""
    python = tmp_path_factory.mktemp("site") / "python-without-network"
    python.write_text(WITHOUT_NETWORK.format(python="/usr/bin/python3"))
    python.chmod(0o755)
    with environment_of(request.param) as settings:
        yield settings | {
            f"{SITE}STAGING": "gateway",
            f"{SITE}GATEWAY_MAX_BYTES": str(CAP_BYTES),
            f"{SITE}PYTHON": str(python),
            "TESP_API_TRANSFERS__PAUSE_S": "0.05",
        }


@pytest.fixture(scope="module")
def server(environment: dict[str, str]) -> Iterator[TespServer]:
    with TespServer(environment) as server:
        yield server


def _sh(script: str, **more: Any) -> dict[str, Any]:
    return {"image": IMAGE, "command": ["sh", "-c", script], **more}


def _history(server: TespServer, task_id: str) -> list[str]:
    history = server.client.get(f"/tesp/v1/tasks/{task_id}/history").json()["history"]
    return [entry["reason"] for entry in history]


def _system_logs(task: dict[str, Any]) -> str:
    return "\n".join(line for log in task["logs"] for line in log.get("system_logs", ()))


def _spooled(server: TespServer) -> list[str]:
    return [str(path) for path in (server.data / "gateway").rglob("*")]


def test_the_site_has_no_network(environment: dict[str, str], web: GatedHttp) -> None:
    """Without a gateway the same task cannot end well, so the other tests prove what they say."""
    web.files["/there"] = b"there"
    task = {"inputs": [{"url": f"{web.url}/there", "path": "/in"}], "executors": [_sh("true")]}
    with TespServer(environment | {f"{SITE}STAGING": "worker", "TESP_API_TRANSFERS__TRIES": "1"}) as server:
        ended = server.run(task)
    assert ended["state"] == "SYSTEM_ERROR"
    assert "unreachable" in _system_logs(ended)


def test_files_of_every_shape_go_both_ways(server: TespServer, web: GatedHttp, tmp_path: Path) -> None:
    odd = {"sub dir/ü #1%.txt": b"odd\n", "plain": b"\0\xff" * 1000, "none": b""}
    tree = tmp_path / "tree"
    for name, data in odd.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(data)
    (tree / "empty" / "er").mkdir(parents=True)
    (tmp_path / "sent").mkdir()
    web.files["/one?token=hush-query"] = b"one\n"
    with FtpServer(tmp_path) as ftp:
        task = server.run(
            {
                "inputs": [
                    {"content": "inline\n", "path": "/in/inline"},
                    {"url": f"{web.url}/one?token=hush-query", "path": "/in/one"},
                    {"url": ftp.url("tree"), "path": "/in/tree", "type": "DIRECTORY"},
                ],
                "outputs": [
                    {"url": ftp.url("sent/tree"), "path": "/out/tree", "type": "DIRECTORY"},
                    {"url": f"{web.url}/put/one?token=hush-out", "path": "/out/one"},
                    {"url": f"{web.url}/put/parts", "path": "/out/part*", "path_prefix": "/out"},
                ],
                "executors": [
                    _sh(
                        "set -e; cp -r /in/tree/. /out/tree; cat /in/inline /in/one > /out/one;"
                        "test -d /in/tree/empty/er; echo 1 > /out/part1; touch /out/part2"
                    )
                ],
            }
        )
    assert task["state"] == "COMPLETE", json.dumps(task, indent=1)
    sent = tmp_path / "sent" / "tree"
    found = {path.relative_to(sent).as_posix() for path in sent.rglob("*")}
    assert found == {*odd, "sub dir", "empty", "empty/er"}
    assert {name: (sent / name).read_bytes() for name in odd} == odd
    assert web.files["/put/one?token=hush-out"] == b"inline\none\n"
    assert (web.files["/put/parts/part1"], web.files["/put/parts/part2"]) == (b"1\n", b"")
    (log,) = task["logs"]
    outputs = {output["path"]: int(output["size_bytes"]) for output in log["outputs"]}
    assert outputs == {
        **{f"/out/tree/{name}": len(data) for name, data in odd.items()},
        "/out/one": 11,
        "/out/part1": 2,
        "/out/part2": 0,
    }
    moved = {entry["path"]: entry for entry in json.loads(log["metadata"]["inputs"])}
    assert moved["/in/one"]["sha256"] == hashlib.sha256(b"one\n").hexdigest()
    assert {*moved} == {"/in/inline", "/in/one", *(f"/in/tree/{name}" for name in odd)}
    checked = {entry["path"]: entry["sha256"] for entry in json.loads(log["metadata"]["outputs"])}
    assert checked["/out/one"] == hashlib.sha256(b"inline\none\n").hexdigest()
    told = "\n".join(_history(server, task["id"]))
    assert "the gateway has brought 4 files" in told and "the gateway has sent" in told
    assert "hush" not in json.dumps(log)
    assert _spooled(server) == []


def _rss_bytes(server: TespServer, name: str) -> int:
    assert server.process
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(f"{name}:"))


def test_the_memory_of_the_server_does_not_grow_with_the_files(server: TespServer, web: GatedHttp) -> None:
    web.files["/small"] = b"small"
    web.files["/large"] = os.urandom(1024**2) * 150

    def task(name: str) -> dict[str, Any]:
        return {
            "inputs": [{"url": f"{web.url}/{name}", "path": "/in/file"}],
            "outputs": [{"url": f"{web.url}/copy-of-{name}", "path": "/out/file"}],
            "executors": [_sh("cp /in/file /out/file")],
        }

    assert server.run(task("small"))["state"] == "COMPLETE"
    assert server.process
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")  # its peak is counted anew
    before = _rss_bytes(server, "VmRSS")
    assert server.run(task("large"), timeout_s=120)["state"] == "COMPLETE"
    grown = _rss_bytes(server, "VmHWM") - before
    is_whole = web.files.pop("/copy-of-large") == web.files.pop("/large")
    assert is_whole
    assert grown < 25 * 1024**2, f"grown by {grown} bytes"


@pytest.fixture(scope="module")
def small_server(environment: dict[str, str]) -> Iterator[TespServer]:
    """A server whose gateway moves little."""
    with TespServer(environment | {f"{SITE}GATEWAY_MAX_BYTES": "3000000"}) as server:
        yield server


@pytest.mark.parametrize("is_told", [True, False], ids=["told", "found-out"])
def test_inputs_beyond_the_cap_end_the_task(small_server: TespServer, is_told: bool) -> None:
    with FileServer() as files:
        files.is_chunked = not is_told
        files.files = {f"/{number}": b"x" * 2_000_000 for number in range(2)}
        inputs = [{"url": files.url + path, "path": f"/in{path}"} for path in files.files]
        task = small_server.run({"inputs": inputs, "executors": [_sh("true")]})
    assert (task["state"], task["logs"][0]["logs"]) == ("SYSTEM_ERROR", [])
    assert "destinations.local.gateway_max_bytes is 3000000" in _system_logs(task)
    assert _spooled(small_server) == []


def test_outputs_beyond_the_cap_end_the_task_before_one_is_sent(small_server: TespServer) -> None:
    with GatedHttp() as web:
        task = small_server.run(
            {
                "executors": [_sh("for i in 1 2; do head -c 2000000 /dev/zero > /out/$i; done")],
                "outputs": [{"url": f"{web.url}/out", "path": "/out", "type": "DIRECTORY"}],
            }
        )
        assert web.puts == []
    assert (task["state"], task["logs"][0]["outputs"]) == ("SYSTEM_ERROR", [])
    assert "destinations.local.gateway_max_bytes is 3000000" in _system_logs(task)


def test_an_output_server_that_refuses_ends_the_task(server: TespServer) -> None:
    with FileServer() as files:
        files.answers.extend([(503, {}), (403, {})])
        task = server.run(
            {
                "executors": [_sh("echo done > /out/file")],
                "outputs": [{"url": f"{files.url}/secret?key=hush", "path": "/out/file"}],
            }
        )
    assert task["state"] == "SYSTEM_ERROR"
    assert f"{files.url}/secret: PUT of file: status 403" in _system_logs(task)
    assert "tried 2 times" in _system_logs(task)
    assert "hush" not in json.dumps(task["logs"])


def test_outputs_are_sent_after_an_executor_failed(server: TespServer, web: GatedHttp) -> None:
    task = server.run(
        {
            "executors": [_sh("echo partial > /out/a; exit 7")],
            "outputs": [
                {"url": f"{web.url}/partial", "path": "/out/a"},
                {"url": f"http://127.0.0.1:{free_port()}/b", "path": "/out/a"},
            ],
        }
    )
    assert task["state"] == "EXECUTOR_ERROR"
    assert web.files["/partial"] == b"partial\n"
    assert "refused" in _system_logs(task), "what was not sent is told"


def _relay(web: GatedHttp, name: str) -> dict[str, Any]:
    """A task that copies an input to an output; its name tells where it is held."""
    web.files[f"/{name}/in"] = name.encode() * 1000
    return {
        "inputs": [{"url": f"{web.url}/{name}/in", "path": "/in/file"}],
        "outputs": [
            {"url": f"{web.url}/{name}/first", "path": "/out/first"},
            {"url": f"{web.url}/{name}/out", "path": "/out/file"},
        ],
        "executors": [_sh("echo ran; cp /in/file /out/file; echo first > /out/first")],
    }


HELD = {"/staging_in/in", "/staging_out/out"}


def test_kill_9_on_the_way_loses_nothing(environment: dict[str, str], tmp_path: Path) -> None:
    with ExitStack() as stack:
        web = stack.enter_context(GatedHttp())
        web.held = set(HELD)
        with TespServer(environment, data=tmp_path) as first:
            ids = [first.create(_relay(web, name)) for name in ("staging_in", "staging_out")]
            poll(lambda: web.waiting == HELD, timeout_s=60, why=f"the gateway does not move\n{first.log}")
            assert [first.get(task_id)["state"] for task_id in ids] == ["QUEUED", "RUNNING"]
            first.kill()
        assert list((tmp_path / "gateway").iterdir()), "it was killed with files in the spool"
        web.open_gate()
        with TespServer(environment, data=tmp_path) as second:
            tasks = [second.wait(task_id) for task_id in ids]
            poll(lambda: not _spooled(second), timeout_s=10, why="files stay in the spool")
    for name, task in zip(("staging_in", "staging_out"), tasks, strict=True):
        assert task["state"] == "COMPLETE", json.dumps(task, indent=1)
        assert [log["logs"][0]["stdout"] for log in task["logs"]] == ["ran\n"]
        assert web.files[f"/{name}/out"] == name.encode() * 1000
        assert len(task["logs"][0]["outputs"]) == 2


@pytest.mark.parametrize("name", ["staging_in", "staging_out"])
def test_a_cancel_on_the_way_ends_it_within_seconds(server: TespServer, name: str) -> None:
    with GatedHttp() as web:
        web.held = set(HELD)
        task_id = server.create(_relay(web, name))
        poll(lambda: web.waiting, timeout_s=60, why=f"the gateway does not move\n{server.log}")
        server.client.post(f"/ga4gh/tes/v1/tasks/{task_id}:cancel").raise_for_status()
        task = server.wait(task_id, timeout_s=5)
        assert task["state"] == "CANCELED"
        assert "gateway" in _history(server, task_id)[-1]
        poll(lambda: not _spooled(server), timeout_s=5, why="files stay in the spool")
        assert web.waiting, "the other server was not waited for"


def test_s3_with_the_keys_of_the_server(environment: dict[str, str], radosgw: S3Place) -> None:
    """A server that checks signatures: the gateway signs in its own process."""
    client, bucket = radosgw.client(), f"gateway-{uuid.uuid4()}"
    client.create_bucket(Bucket=bucket)
    odd = {"tree/a b/ü#1%.txt": b"odd\n", "tree/none": b"", "one": os.urandom(20 * 1024**2)}
    for key, data in odd.items():
        client.put_object(Bucket=bucket, Key=key, Body=data)
    credential = {
        "URL_PREFIX": f"s3://{bucket}",
        "ENDPOINT": radosgw.endpoint,
        "ACCESS_KEY_ID": radosgw.access_key_id,
        "SECRET_ACCESS_KEY": radosgw.secret_access_key,
    }
    settings = {f"TESP_API_CREDENTIALS__LAB__{name}": value for name, value in credential.items()}
    with TespServer(environment | settings) as server:
        task = server.run(
            {
                "inputs": [
                    {"url": f"s3://{bucket}/one", "path": "/in/one"},
                    {"url": f"s3://{bucket}/tree", "path": "/in/tree", "type": "DIRECTORY"},
                ],
                "outputs": [
                    {"url": f"s3://{bucket}/out/one", "path": "/out/one"},
                    {"url": f"s3://{bucket}/out/tree", "path": "/out/tree", "type": "DIRECTORY"},
                ],
                "executors": [_sh("cp /in/one /out/one; cp -r /in/tree/. /out/tree")],
            }
        )
    assert task["state"] == "COMPLETE", json.dumps(task, indent=1)
    for key, data in odd.items():
        is_same = client.get_object(Bucket=bucket, Key=f"out/{key}")["Body"].read() == data
        assert is_same, key
    assert radosgw.secret_access_key not in json.dumps(task)
