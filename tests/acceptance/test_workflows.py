"""Whole workflow runs on a real server, each step a real task; the engine is a scripted one."""

import io
import json
import random
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tesp_api.cli.main import app as cli
from tests.acceptance.workflow_runs import (
    SCRIPTED,
    TESP,
    get,
    scripted_server,
    state,
    step,
    steps,
    submit,
    tasks,
    wait,
)
from tests.services.pulsar_rest import StockPulsar
from tests.services.s3_servers import S3Place
from tests.services.tesp import TespServer, poll

pytestmark = pytest.mark.services

CHAIN = [
    step(
        "count",
        "wc -c < /in/data > /out/count",
        inputs={"/in/data": "attachments/d/data"},
        outputs={"/out/count": "a/count"},
    ),
    step(
        "double",
        "echo $(( $(cat /in/n) * 2 )) > /out/n; echo said >&2",
        after=["count"],
        inputs={"/in/n": "a/count"},
        outputs={"/out/n": "b/n"},
    ),
]


def check_chain(server: TespServer) -> str:
    """A run of two steps, the second of which reads what the first wrote, which read what was attached."""
    run_id = submit(server, CHAIN, {"result": "b/n"}, attached={"d/data": b"12345"})
    run = wait(server, run_id)
    assert run["state"] == "COMPLETE", (run, server.log[-3000:])
    assert server.client.get(run["outputs"]["result"]["location"]).text == "10\n"
    assert archived(server, run_id, "outputs").read("result/n") == b"10\n"
    assert archived(server, run_id, "inputs").read("attachments/d/data") == b"12345"
    count, double = run["task_logs"]
    assert [count["name"], double["name"]] == ["count", "double"]
    assert server.client.get(double["stderr"]).text == "said\n"
    assert server.client.get(run["run_log"]["stderr"]).text.endswith("double: COMPLETE\n")
    return run_id


def archived(server: TespServer, run_id: str, what: str) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(server.client.get(f"{TESP}/runs/{run_id}/{what}.zip").content))


def check_deletion(server: TespServer, run_id: str) -> None:
    """Nothing is left of a deleted run, be it while its tasks are still cleaned up."""
    location = get(server, run_id)["outputs"]["result"]["location"]
    assert server.client.delete(f"{TESP}/runs/{run_id}").status_code == 204
    assert server.client.get(location).status_code == 404
    poll(lambda: not tasks(server, run_id), timeout_s=30, why="the tasks are still there")


def test_a_run_with_files() -> None:
    with scripted_server() as server:
        run_id = check_chain(server)
        folder = server.data / "wes/work" / run_id
        inside = [{"url": f"file://{folder}/b/n", "path": "/x"}]
        task = {"executors": [{"image": "busybox", "command": ["true"]}], "inputs": inside}
        answer = server.client.post("/ga4gh/tes/v1/tasks", json=task)
        assert answer.status_code == 400
        assert "workflow runs" in answer.json()["msg"]
        check_deletion(server, run_id)
        poll(lambda: not folder.exists(), timeout_s=30, why="its files are still there")


def test_a_run_whose_files_are_in_s3(moto: S3Place) -> None:
    client = moto.client()
    client.create_bucket(Bucket="workflows")
    lab = {
        "url_prefix": "s3://workflows",
        "endpoint": moto.endpoint,
        "access_key_id": moto.access_key_id,
        "secret_access_key": moto.secret_access_key,
    }
    environment = {
        "TESP_API_CREDENTIALS": "@json " + json.dumps({"lab": lab}),
        "TESP_API_WES__WORK_URL": "s3://workflows/runs",
    }

    def keys(run_id: str) -> int:
        listed = client.list_objects_v2(Bucket="workflows", Prefix=f"runs/{run_id}/")
        return int(listed["KeyCount"])

    with scripted_server(environment) as server:
        run_id = check_chain(server)
        assert keys(run_id) == 4  # two that were attached, two that were made
        poll(
            lambda: not (server.data / "wes/runs" / run_id).exists(), timeout_s=10, why="its folder is there"
        )
        inside = [{"url": f"s3://workflows/runs/{run_id}/b/n", "path": "/x"}]
        task = {"executors": [{"image": "busybox", "command": ["true"]}], "inputs": inside}
        assert server.client.post("/ga4gh/tes/v1/tasks", json=task).status_code == 400
        check_deletion(server, run_id)
        poll(lambda: keys(run_id) == 0, timeout_s=30, why="its files are still there")


def test_a_failed_run_is_resumed() -> None:
    with scripted_server() as server:
        broken = [CHAIN[0], CHAIN[1] | {"command": ["sh", "-c", "echo no; exit 7"]}]
        failed = wait(server, submit(server, broken, attached={"d/data": b"12345"}))
        assert failed["state"] == "EXECUTOR_ERROR"
        assert "step double ended EXECUTOR_ERROR" in failed["run_log"]["system_logs"][-1]
        assert [one["exit_code"] for one in failed["task_logs"]] == [0, 7]
        resume = {"resume": failed["run_id"]}
        run_id = submit(server, CHAIN, {"result": "b/n"}, attached={"d/data": b"?"}, parameters=resume)
        mended = wait(server, run_id)
        assert mended["state"] == "COMPLETE"
        assert server.client.get(mended["outputs"]["result"]["location"]).text == "10\n"
        assert [one.get("reused_from") for one in steps(server, run_id)] == [failed["run_id"], None]
        assert f"taken over from run {failed['run_id']}" in mended["task_logs"][0]["system_logs"]
        assert server.client.delete(f"{TESP}/runs/{failed['run_id']}").status_code == 409
        params = {"n": f"run://{run_id}/result"}
        use = [step("use", "cat /in/n", inputs={"/in/n": "$n"})]
        used = wait(server, submit(server, use, params=params))
        assert used["state"] == "COMPLETE"
        assert server.client.get(used["task_logs"][0]["stdout"]).text == "10\n"


def test_a_cancel_ends_everything_within_five_seconds() -> None:
    with scripted_server() as server:
        run_id = submit(server, [step("s", "sleep 300", scatter=6)])
        poll(lambda: len(steps(server, run_id)) == 6, timeout_s=30, why="the steps are not there")
        poll(
            lambda: any(one["state"] == "RUNNING" for one in steps(server, run_id)),
            timeout_s=30,
            why="no step runs",
        )
        began = time.monotonic()
        server.client.post(f"/ga4gh/wes/v1/runs/{run_id}/cancel")
        poll(lambda: state(server, run_id) == "CANCELED", timeout_s=20, why="it is not canceled")
        assert time.monotonic() - began < 5
        assert {one["state"] for one in steps(server, run_id)} == {"CANCELED"}


@pytest.mark.parametrize("seed", range(2))
def test_kill_9_at_any_time_repeats_no_step(seed: int) -> None:
    """Twelve steps, then one that needs them all; the server is killed again and again meanwhile."""
    chance = random.Random(seed)
    scatter = step("s", "sleep 0.4; echo % > /out/x", scatter=12, outputs={"/out/x": "s/%"})
    gather = step(
        "all",
        "cat /in/* > /out/all",
        after=["s"],
        inputs={f"/in/{n:02}": f"s/{n}" for n in range(12)},
        outputs={"/out/all": "all"},
    )
    with scripted_server({"TESP_API_SCHEDULER__LEASE_S": "5"}) as server:
        run_id = submit(server, [scatter, gather], {"all": "all"})
        for _ in range(5):
            time.sleep(chance.uniform(0.05, 1.5))
            server.kill()
            server.start()
        run = wait(server, run_id)
        assert run["state"] == "COMPLETE", (run["run_log"], server.log[-3000:])
        said = server.client.get(run["outputs"]["all"]["location"]).text
        assert said.split() == [str(number) for number in range(12)]
        made = tasks(server, run_id)
        assert sorted(task["name"] for task in made) == sorted(["all", *(f"s {n}" for n in range(12))])
        assert [len(task["logs"]) for task in made] == [1] * 13


def test_the_command_line(tmp_path: Path) -> None:
    script = {"steps": [CHAIN[0] | {"inputs": {"/in/data": "$reads"}}], "outputs": {"count": "a/count"}}
    (tmp_path / "w.json").write_text(json.dumps(script))
    (tmp_path / "reads.fa").write_text("ACGT")
    (tmp_path / "params.yml").write_text("reads: {class: File, path: reads.fa}\n")
    with scripted_server() as server:

        def tesp(*words: str, exit_code: int = 0) -> str:
            result = CliRunner().invoke(cli, ["run", *words], env={"TESP_URL": server.url})
            assert result.exit_code == exit_code, result.output
            return result.stdout

        said = tesp(
            *("submit", str(tmp_path / "w.json"), str(tmp_path / "params.yml"), "--wait"),
            *("--type", "script", "--type-version", "v1", "--tag", "project=demo"),
        )
        run_id, _, outputs = said.partition("\n")
        assert json.loads(outputs)["count"]["class"] == "File"
        assert run_id in tesp("list")
        assert json.loads(tesp("list", "--json"))["runs"][0]["tags"] == {"project": "demo"}
        assert "count  COMPLETE" in tesp("get", run_id)
        assert json.loads(tesp("tasks", run_id, "--json"))["task_logs"][0]["name"] == "count"
        assert "count" in tesp("tasks", run_id)
        assert tesp("logs", run_id, "--follow").endswith("count: COMPLETE\n")
        saved = tesp("outputs", run_id, "--to", str(tmp_path / "got")).strip()
        assert Path(saved).read_text() == "4\n"
        tesp("outputs", run_id, "--zip", str(tmp_path / "i.zip"), "--inputs")
        with zipfile.ZipFile(tmp_path / "i.zip") as archive:
            assert archive.read("attachments/inputs/0/reads.fa") == b"ACGT"
        failing = {"steps": [step("no", "exit 3")]}
        (tmp_path / "w.json").write_text(json.dumps(failing))
        tesp("submit", str(tmp_path / "w.json"), "--type", "script", "--wait", exit_code=10)
        (tmp_path / "w.json").write_text(json.dumps({"steps": [step("long", "sleep 300")]}))
        late = ("submit", str(tmp_path / "w.json"), "--type", "script", "--wait", "--timeout", "1")
        long_id = tesp(*late, exit_code=4).split()[0]
        tesp("cancel", long_id)
        tesp("wait", long_id, exit_code=12)
        tesp("delete", long_id)
        tesp("get", long_id, exit_code=1)


def test_a_pulsar_elsewhere_needs_to_reach_the_files(tmp_path: Path) -> None:
    """By REST, with a folder that both see; it is killed in the middle of a run, and comes back."""
    (tmp_path / "shared").mkdir()
    with StockPulsar() as pulsar:
        site: dict[str, Any] = {
            "kind": "rest",
            "url": pulsar.url,
            "private_token": pulsar.private_token,
            "runtimes": [],
            "allow_bubblewrap": True,
        }

        def environment(**more: Any) -> dict[str, str]:
            return {
                "TESP_API_DESTINATIONS": "@json " + json.dumps({"site": site | more}),
                "TESP_API_WES__WORK_URL": str(tmp_path / "shared/runs"),
                "TESP_API_SCHEDULER__POLL_MAX_S": "1",
            }

        with TespServer(environment(), app=SCRIPTED) as server:
            fields = {
                "workflow_type": "script",
                "workflow_type_version": "v1",
                "workflow_url": "https://a.org",
            }
            refused = server.client.post("/ga4gh/wes/v1/runs", json=fields)
            assert refused.status_code == 400
            assert "site: it does not reach the folder of workflow runs" in refused.json()["msg"]
        roots = [{"path": str(tmp_path / "shared"), "mount": "ro"}]
        with TespServer(environment(file_roots=roots), app=SCRIPTED) as server:
            check_deletion(server, check_chain(server))
            slow = [step("s", "sleep 2; echo % > /out/x", scatter=3, outputs={"/out/x": "s/%"})]
            run_id = submit(server, slow, {"last": "s/2"})
            poll(
                lambda: any(one["state"] == "RUNNING" for one in steps(server, run_id)),
                timeout_s=60,
                why="no step runs",
            )
            pulsar.restart()
            run = wait(server, run_id, timeout_s=120)
            assert run["state"] == "COMPLETE", (run["run_log"], server.log[-3000:])
            assert server.client.get(run["outputs"]["last"]["location"]).text == "2\n"
            assert [len(task["logs"]) for task in tasks(server, run_id)] == [1] * 3
