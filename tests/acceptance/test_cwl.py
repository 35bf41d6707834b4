"""CWL over WES on a real server: each step a real task, its files in the run's storage."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.acceptance.workflow_runs import WES, cancel_within_5_s, get, steps, tasks, wait
from tests.services.cwl_engine import engines_folder
from tests.services.s3_servers import S3Place
from tests.services.tesp import ONLY_BUBBLEWRAP, TespServer, poll

pytestmark = pytest.mark.services

SAY = {
    "class": "CommandLineTool",
    "cwlVersion": "v1.2",
    "requirements": {"InlineJavascriptRequirement": {}},
    "inputs": {
        "word": "string",
        "script": {"type": "File", "default": {"class": "File", "location": "say.sh"}},
    },
    "outputs": {"said": {"type": "File", "outputBinding": {"glob": "*.said"}}},
    "arguments": ["sh", "$(inputs.script.path)", "$(inputs.word)", '$("said by " + inputs.word)'],
}
GATHER = {
    "class": "CommandLineTool",
    "cwlVersion": "v1.2",
    "inputs": {"files": {"type": "File[]", "inputBinding": {}}},
    "outputs": {"all": {"type": "Directory", "outputBinding": {"glob": "all"}}, "log": "stdout"},
    "baseCommand": ["sh", "-c", 'mkdir all all/empty; cat "$@" | tee all/text', "--"],
    "stdout": "log.txt",
}
FLOW = {
    "class": "Workflow",
    "cwlVersion": "v1.2",
    "requirements": {"ScatterFeatureRequirement": {}},
    "inputs": {"words": "string[]"},
    "outputs": {
        "all": {"type": "Directory", "outputSource": "gather/all"},
        "log": {"type": "File", "outputSource": "gather/log"},
    },
    "steps": {
        "say": {"run": "say.cwl", "scatter": "word", "in": {"word": "words"}, "out": ["said"]},
        "gather": {"run": "gather.cwl", "in": {"files": "say/said"}, "out": ["all", "log"]},
    },
}
DOCUMENTS: dict[str, Any] = {
    "flow.cwl": FLOW,
    "say.cwl": SAY,
    "gather.cwl": GATHER,
    "say.sh": 'echo "$2" > "$1.said"\n',
}


def cwl_server(environment: Mapping[str, str] | None = None) -> TespServer:
    engines = {"TESP_API_WES__ENGINES_DIR": str(engines_folder())}
    return TespServer({**ONLY_BUBBLEWRAP, **engines, **(environment or {})})


def submit(
    server: TespServer,
    documents: Mapping[str, Any],
    params: Mapping[str, Any],
    parameters: Mapping[str, str] | None = None,
) -> str:
    """Start a run of `flow.cwl`."""
    fields = {
        "workflow_type": "CWL",
        "workflow_type_version": "v1.2",
        "workflow_url": "flow.cwl",
        "workflow_params": json.dumps(params),
        "workflow_engine_parameters": json.dumps(dict(parameters or {})),
    }
    files = [
        ("workflow_attachment", (name, text if isinstance(text, str) else json.dumps(text)))
        for name, text in documents.items()
    ]
    answer = server.client.post(f"{WES}/runs", data=fields, files=files)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["run_id"])


def check_outputs(server: TespServer, run: Mapping[str, Any], words: list[str]) -> None:
    assert run["state"] == "COMPLETE", (run, server.log[-3000:])
    text = "".join(f"said by {word}\n" for word in words)
    outputs = run["outputs"]
    assert server.client.get(outputs["log"]["location"]).text == text
    listing = {item["basename"]: item for item in outputs["all"]["listing"]}
    assert listing["empty"]["listing"] == []
    assert server.client.get(listing["text"]["location"]).text == text
    assert listing["text"]["size"] == len(text)
    assert listing["text"]["checksum"] == outputs["log"]["checksum"]


def test_a_run() -> None:
    with cwl_server() as server:
        run = wait(server, submit(server, DOCUMENTS, {"words": ["a", "b c", "d"]}))
        check_outputs(server, run, ["a", "b c", "d"])
        assert sorted(task["name"] for task in tasks(server, run["run_id"])) == [
            "gather",
            "say",
            "say_2",
            "say_3",
        ]
        assert "[workflow ] start" in server.client.get(run["run_log"]["stderr"]).text


def test_a_run_whose_files_are_in_s3(moto: S3Place) -> None:
    moto.client().create_bucket(Bucket="cwl-runs")
    lab = {
        "url_prefix": "s3://cwl-runs",
        "endpoint": moto.endpoint,
        "access_key_id": moto.access_key_id,
        "secret_access_key": moto.secret_access_key,
    }
    environment = {
        "TESP_API_CREDENTIALS": "@json " + json.dumps({"lab": lab}),
        "TESP_API_WES__WORK_URL": "s3://cwl-runs/runs",
    }
    with cwl_server(environment) as server:
        run = wait(server, submit(server, DOCUMENTS, {"words": ["a", "b #?%20"]}))
        check_outputs(server, run, ["a", "b #?%20"])


def test_a_failed_run_is_resumed() -> None:
    """What has finished is taken over; a step whose script was mended runs anew, and so does what follows."""
    flow = json.loads(json.dumps(FLOW))
    flow["steps"]["gather"]["run"] = "broken.cwl"
    broken = GATHER | {"baseCommand": ["sh", "-c", "echo no good >&2; exit 7", "--"]}
    with cwl_server() as server:
        documents = DOCUMENTS | {"flow.cwl": flow, "broken.cwl": broken}
        failed = wait(server, submit(server, documents, {"words": ["a", "b"]}))
        assert failed["state"] == "EXECUTOR_ERROR"
        reason = failed["run_log"]["system_logs"][-1]
        assert "step gather (task " in reason and "exit code 7" in reason and "no good" in reason
        resume = {"resume": failed["run_id"]}
        mended = wait(server, submit(server, DOCUMENTS, {"words": ["a", "b"]}, resume))
        check_outputs(server, mended, ["a", "b"])
        reused = [one.get("reused_from") for one in steps(server, mended["run_id"])]
        assert reused == [failed["run_id"], failed["run_id"], None]
        changed = DOCUMENTS | {"say.sh": 'echo "$2" > "$1.said"; true\n'}
        anew = wait(server, submit(server, changed, {"words": ["a", "b"]}, {"resume": mended["run_id"]}))
        check_outputs(server, anew, ["a", "b"])
        assert [bool(one.get("reused_from")) for one in steps(server, anew["run_id"])] == [False, False, True]


def test_a_cancel_reaches_the_expander_and_every_task_within_5_s() -> None:
    documents = DOCUMENTS | {"say.sh": "sleep 600\n"}
    with cwl_server({"TESP_API_WES__CWL__SPARE": "false"}) as server:
        run_id = submit(server, documents, {"words": ["a", "b", "c"]})
        running = lambda: [one["state"] for one in tasks(server, run_id)] == ["RUNNING"] * 3  # noqa: E731
        poll(running, timeout_s=60, why="the steps do not start")
        cancel_within_5_s(server, run_id, "cwl")


def test_what_a_workflow_may_not_read() -> None:
    flow = {
        "class": "CommandLineTool",
        "cwlVersion": "v1.2",
        "inputs": {"file": {"type": "File", "loadContents": True}},
        "outputs": {},
        "arguments": ["echo", "$(inputs.file.contents)"],
    }
    with cwl_server() as server:
        for url in ("file:///etc/hostname", f"file://{server.data}/secret.key"):
            params = {"file": {"class": "File", "location": url}}
            run = wait(server, submit(server, {"flow.cwl": flow}, params))
            assert run["state"] == "EXECUTOR_ERROR"
            assert "lies outside the directories" in run["run_log"]["system_logs"][-1]
            assert not tasks(server, run["run_id"])
            assert get(server, run["run_id"])["outputs"] == {}
