"""Cromwell, which cannot run here: tasks and answers after its source.

Its source is broadinstitute/cromwell at c805f3c, in it supportedBackends/tes/src/main/scala/cromwell/backend/
impl/tes/ unless more is said.
"""

import json
from pathlib import Path

import httpx
import pytest

from tesp_api.store.base import TaskStore
from tests.compatibility.cited_requests import cromwell_task
from tests.compatibility.conftest import Roots
from tests.compatibility.readers import CromwellTask
from tests.integration.api.life import TES, V1, create, finish, start
from tests.services.tesp import TespServer

# Like Cromwell's: `mkdir` may fail, since servers make the folders of outputs beforehand.
# Source: backend/src/main/scala/cromwell/backend/standard/StandardAsyncExecutionActor.scala (379-390).
SCRIPT = """
cd "$(dirname "$0")"
mkdir glob-1a2b
echo one > glob-1a2b/1.txt
ls glob-1a2b > glob-1a2b.list
echo greeting
echo {code} > rc
exit {code}
"""


def call_root(folder: Path, *, code: int = 0) -> Path:
    """A call's folder with the script that Cromwell writes before it submits the task."""
    (folder / "execution").mkdir(parents=True)
    (folder / "execution" / "script").write_text(SCRIPT.format(code=code))
    return folder


@pytest.mark.parametrize("prefix", [TES, V1])
async def test_null_tags_are_accepted_and_come_back_as_texts(api: httpx.AsyncClient, prefix: str) -> None:
    """A workflow without a parent has a null among its tags. Source: TesTask.scala, makeTags (313-321)."""
    task_id = await create(api, prefix, **cromwell_task("/shared/call"))
    shown = (await api.get(f"{prefix}/tasks/{task_id}?view=FULL")).json()
    assert shown["tags"] == {"workflow_id": "0f2c", "root_workflow_id": "0f2c", "parent_workflow_id": ""}
    CromwellTask(**shown)


async def test_unknown_backend_parameters_are_told_in_the_system_logs_and_not_kept(
    api: httpx.AsyncClient, store: TaskStore
) -> None:
    """It always sends internal_path_prefix. Source: TesTask.scala, makeResources (263-273)."""
    task_id = await create(api, **cromwell_task("/shared/call"))
    await finish(store, await start(store, task_id), b"")
    shown = (await api.get(f"{TES}/tasks/{task_id}?view=FULL")).json()
    assert "backend_parameters" not in shown["resources"]
    assert "internal_path_prefix" in shown["logs"][0]["system_logs"][1]


async def test_unknown_backend_parameters_are_refused_if_it_is_strict(api: httpx.AsyncClient) -> None:
    sent = cromwell_task("/shared/call")
    sent["resources"]["backend_parameters_strict"] = True
    answer = await api.post(f"{TES}/tasks", json=sent)
    assert answer.status_code == 400
    assert "internal_path_prefix" in answer.text


@pytest.mark.services
@pytest.mark.parametrize("code", [0, 4])
def test_the_script_is_an_input_and_an_output_and_the_outputs_come_after_a_failure(
    server: TespServer, roots: Roots, code: int
) -> None:
    """Output mode GRANULAR. The return code is read from the file `rc`, whatever the task's state.

    Source: TesTask.scala, commandScript and commandScriptOut (55-70), handleGlobFile (132-154: a slash at
    the end of a DIRECTORY).
    """
    root = call_root(roots.copied / f"granular-{code}", code=code)
    task = server.run(cromwell_task(str(root)))
    assert task["state"] == ("EXECUTOR_ERROR" if code else "COMPLETE"), task
    execution = root / "execution"
    assert (execution / "rc").read_text() == f"{code}\n"
    assert (execution / "stdout").read_text() == "greeting\n"
    assert (execution / "stderr").exists()
    assert (execution / "glob-1a2b" / "1.txt").read_text() == "one\n"
    assert (execution / "glob-1a2b.list").read_text() == "1.txt\n"


@pytest.mark.services
@pytest.mark.parametrize("root", ["mounted", "copied"])
def test_a_folder_and_what_lies_in_it_are_both_outputs(server: TespServer, roots: Roots, root: str) -> None:
    """Output mode ROOT. Source: TesTask.scala, outputs and cwdOutput (198-209)."""
    call = call_root(getattr(roots, root) / "whole")
    task = server.run(cromwell_task(str(call), whole_folder=True))
    assert task["state"] == "COMPLETE", task
    assert {"script", "rc", "stdout", "stderr", "glob-1a2b", "glob-1a2b.list"} <= {
        file.name for file in (call / "execution").iterdir()
    }
    read = CromwellTask(**task)
    assert read.logs is not None
    assert read.logs[0].outputs


async def test_it_polls_full_until_a_price_is_known_and_reads_it_in_each_state(
    api: httpx.AsyncClient, store: TaskStore
) -> None:
    """No price ever comes, so each of its polls is FULL; metadata must be an object of strings.

    Source: TesAsyncBackendJobExecutionActor.scala, queryStatusAndMaybeCostData (158-187), pollStatusAsync
    (382-392), fetchMinimalTesTask (438-439).
    """
    task_id = await create(api, **cromwell_task("/shared/call"))
    held = None
    for state in ("QUEUED", "RUNNING", "COMPLETE"):
        if state == "RUNNING":
            held = await start(store, task_id)
        elif held is not None:
            await finish(store, held, b"out")
        read = CromwellTask(**(await api.get(f"{TES}/tasks/{task_id}?view=FULL")).json())
        assert read.state == state
        minimal = (await api.get(f"{TES}/tasks/{task_id}?view=MINIMAL")).json()
        assert minimal == {"id": task_id, "state": state}


async def test_an_abort_is_answered_with_an_empty_json_object(api: httpx.AsyncClient) -> None:
    """Its unmarshaller wants JSON, and the object of no fields.

    Source: TesAsyncBackendJobExecutionActor.scala, tryAbort (353-358); TesResponseJsonFormatter.scala (39).
    """
    task_id = await create(api)
    answer = await api.post(f"{TES}/tasks/{task_id}:cancel")
    assert (answer.status_code, json.loads(answer.content)) == (200, {})
    assert answer.headers["content-type"].startswith("application/json")
