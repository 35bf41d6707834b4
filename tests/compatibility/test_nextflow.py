"""Nextflow with nf-ga4gh, which cannot run here: tasks and answers after its source.

Its source is nextflow-io/nf-ga4gh at 95f43e3, src/main/groovy/nextflow/ga4gh/tes/, in it
executor/TesTaskHandler.groovy unless more is said.
"""

from pathlib import Path

import httpx
import pytest

from tesp_api.store.base import TaskStore
from tests.compatibility.cited_requests import NEXTFLOW_COMMAND, nextflow_task
from tests.compatibility.conftest import Roots
from tests.compatibility.readers import NextflowTask
from tests.integration.api.life import V1, create, start
from tests.services.tesp import TespServer

CONTROL_FILES = {".command.out", ".command.err", ".command.log", ".exitcode"}
WRAPPER = """
cd /work
bash .command.sh > .command.out 2> .command.err
code=$?
cat .command.out .command.err
printf $code > .exitcode
exit $code
"""


def work_dir(folder: Path, script: str) -> Path:
    """A process's work folder as Nextflow leaves it before it submits the task."""
    folder.mkdir(parents=True)
    (folder / ".command.run").write_text(WRAPPER)
    (folder / ".command.sh").write_text(script)
    return folder


@pytest.mark.services
@pytest.mark.parametrize("root", ["mounted", "copied"])
def test_bare_paths_and_wildcards_bring_a_process_s_files_home(
    server: TespServer, roots: Roots, root: str
) -> None:
    """A local work folder goes into the URLs as a bare path, here also one with a space.

    Source: inItem (289-300); outItem (315-334): with * or ? the prefix is /work and the URL the work folder.
    """
    work = work_dir(
        getattr(roots, root) / "3a" / "bare", "echo a > a.txt; mkdir -p d; echo b > d/b; echo said"
    )
    wildcard = {"url": str(work), "path": "/work/*.txt", "path_prefix": "/work", "type": "FILE"}
    folder = {"url": f"{work}/d", "path": "/work/d", "type": "DIRECTORY"}
    sent = nextflow_task(str(work), NEXTFLOW_COMMAND, outputs=(wildcard, folder))
    task_id = server.client.post(f"{V1}/tasks", json=sent).json()["id"]
    assert server.wait(task_id)["state"] == "COMPLETE", server.get(task_id)
    assert (work / ".command.out").read_text() == (work / ".command.log").read_text() == "said\n"
    assert (work / ".exitcode").read_text() == "0"
    assert (work / "a.txt").read_text() == "a\n"
    assert (work / "d" / "b").read_text() == "b\n"
    NextflowTask(**server.client.get(f"{V1}/tasks/{task_id}?view=FULL").json())


@pytest.mark.services
def test_a_failed_process_sends_its_files_and_its_exit_code(server: TespServer, roots: Roots) -> None:
    """The exit status is the first executor's of the first log; what it printed comes from the work folder.

    Source: readExitStatus (143-166), checkIfCompleted (133-135).
    """
    work = work_dir(roots.mounted / "3b" / "failed", "echo before; echo why >&2; exit 3")
    sent = nextflow_task(str(work), NEXTFLOW_COMMAND)
    task_id = server.client.post(f"{V1}/tasks", json=sent).json()["id"]
    server.wait(task_id)
    read = NextflowTask(**server.client.get(f"{V1}/tasks/{task_id}?view=FULL").json())
    assert read.logs is not None
    assert (read.state, read.logs[0].logs[0].exit_code) == ("EXECUTOR_ERROR", 3)
    assert {file.name for file in work.iterdir()} >= CONTROL_FILES
    assert (work / ".command.err").read_text() == "why\n"
    assert (work / ".exitcode").read_text() == "3"


async def test_it_polls_without_a_view_and_sees_a_final_state_after_a_cancel(
    api: httpx.AsyncClient, store: TaskStore
) -> None:
    """Source: checkIfRunning and checkIfCompleted (107-141, view null); CANCELING is in none of its lists
    (60-62); client/api/TaskServiceApi.java (454): the path is `/v1/tasks/{id}`.
    """
    task_id = await create(api, V1)
    await start(store, task_id)
    assert (await api.get(f"{V1}/tasks/{task_id}")).json() == {"id": task_id, "state": "RUNNING"}
    assert (await api.post(f"{V1}/tasks/{task_id}:cancel")).status_code == 200
    assert (await api.get(f"{V1}/tasks/{task_id}")).json() == {"id": task_id, "state": "CANCELED"}
