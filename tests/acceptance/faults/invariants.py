"""What must hold of every accepted task, whatever has died meanwhile: the same rules for all scenarios.

It reaches exactly one terminal state, in bounded time and through allowed transitions; its executors ran
exactly once in each attempt that is recorded, and in no other; if it is COMPLETE its outputs are byte-exact
and its logs whole; nothing of it is left at the site.
"""

import time
from collections import Counter
from itertools import pairwise
from typing import Any

import httpx

from tesp_api.tes.states import FINAL, TRANSITIONS, State
from tests.acceptance.faults.courses import EXECUTORS, FIRST_STDOUT, SECOND_STDOUT, Tracked, runs_file
from tests.acceptance.faults.site import (
    containers_of_jobs,
    left_of_jobs,
    processes_of_jobs,
    secrets_below,
)
from tests.acceptance.faults.worlds import PASSWORD, World

_POLL_S = 0.05


def check_world(world: World, within_s: float) -> tuple[list[str], list[str]]:
    """Wait for the world's tasks to end and be cleaned up, and say everything that is wrong with them.

    Their histories come with that, if anything is.

    They are deleted from the server then, and the world forgets them.
    """
    deadline = time.monotonic() + within_s
    faults: list[str] = []
    for task in world.tasks:
        ended = _await_end(world, task, deadline)
        if isinstance(ended, str):
            faults.append(ended)
        else:
            faults += _about(task, [*_faults_of(world, task, ended)])
    faults += _left_at_the_site(world, deadline)
    context = histories(world) if faults else []
    for task in world.tasks:
        faults += _about(task, _retire(world, task, deadline))
    world.tasks.clear()
    return faults, context


def histories(world: World) -> list[str]:
    """The lives of the world's tasks, for whoever looks for a reason."""
    return [line for task in world.tasks for line in _about(task, world.history_of(task))]


def _about(task: Tracked, faults: list[str]) -> list[str]:
    return [f"{task.name} ({task.course}, {task.id}): {fault}" for fault in faults]


# -- its end


def _await_end(world: World, task: Tracked, deadline: float) -> dict[str, Any] | str:
    """The task as it is shown once it has ended; or what is wrong."""
    while not world.has_ended(task):
        if time.monotonic() > deadline:
            return f"{task.name} ({task.course}, {task.id}) does not end; it is {world.state_of(task)}"
        time.sleep(_POLL_S)
    return world.server.get(task.id)


def _faults_of(world: World, task: Tracked, ended: dict[str, Any]) -> list[str]:
    history = world.server.client.get(f"/tesp/v1/tasks/{task.id}/history").json()["history"]
    faults = [*faults_of_history([entry["state"] for entry in history], ended["state"])]
    if ended["state"] not in task.ends:
        told = [line for log in ended.get("logs", []) for line in log.get("system_logs", [])]
        faults.append(f"it ended {ended['state']}, not {' or '.join(sorted(task.ends))}: {told}")
    recorded = [log["metadata"]["job_id"] for log in ended.get("logs", []) if "job_id" in log["metadata"]]
    faults += faults_of_runs(_runs_of(world, task), recorded, ended["state"])
    if ended["state"] == "COMPLETE":
        faults += _faults_of_files(world, task, ended)
    return faults


def faults_of_history(states: list[str], shown: str) -> list[str]:
    """What is wrong with the states that a task was in, one after the other, and with the one it shows."""
    if not states or states[0] != State.QUEUED:
        return [f"its history does not begin QUEUED: {states}"]
    faults = [
        f"it went from {before} to {after}: {states}"
        for before, after in pairwise(states)
        if after != before and after not in TRANSITIONS[State(before)]
    ]
    ends = [state for state in states if state in FINAL]
    if ends != [shown] or states[-1] != shown:
        faults.append(f"it is {shown}, and has ended {len(ends)} times: {states}")
    return faults


# -- what ran


def _runs_of(world: World, task: Tracked) -> list[str]:
    """What the task's executors themselves have noted."""
    file = runs_file(world.shared, task.name)
    return file.read_text().splitlines() if file.exists() else []


def faults_of_runs(noted: list[str], recorded: list[str], state: str) -> list[str]:
    """Compare the lines `JOB EXECUTOR` that executors have left with the jobs of the recorded attempts."""
    runs = Counter(noted)
    faults = [f"ran {count} times: job and executor {run}" for run, count in runs.items() if count != 1]
    faults += [f"ran in an unrecorded attempt: {run}" for run in runs if run.split()[0] not in recorded]
    if len(recorded) != len(set(recorded)):
        faults.append(f"attempts share a job: {recorded}")
    if state in ("COMPLETE", "EXECUTOR_ERROR"):
        last = {f"{recorded[-1]} {executor}" for executor in range(EXECUTORS)} if recorded else set()
        if not last or not last <= runs.keys():
            faults.append(f"not all executors of its last attempt ran: {noted}")
    return faults


# -- what it left for its user


def _faults_of_files(world: World, task: Tracked, ended: dict[str, Any]) -> list[str]:
    faults = []
    if world.web.files.get(f"/{task.name}/out") != task.data:
        faults.append("its output is not byte-exact")
    last = ended["logs"][-1]
    sizes = [output["size_bytes"] for output in last.get("outputs", [])]
    if sizes != [str(len(task.data))]:
        faults.append(f"its log names outputs of {sizes} bytes, not of {len(task.data)}")
    if [log["exit_code"] for log in last["logs"]] != [0] * EXECUTORS:
        faults.append(f"its executors' exit codes are {[log['exit_code'] for log in last['logs']]}")
    for executor, wanted in enumerate((FIRST_STDOUT, SECOND_STDOUT)):
        where = f"/tesp/v1/tasks/{task.id}/logs/{executor}/stdout"
        if (got := world.server.client.get(where).text) != wanted:
            faults.append(f"executor {executor}'s stdout has {len(got)} characters, not {len(wanted)}")
    return faults


# -- what is left


def _left_at_the_site(world: World, deadline: float) -> list[str]:
    """Wait until nothing of the tasks is at the site, and say what is."""
    ids = {task.id for task in world.tasks}
    if not ids:
        return []
    while faults := _seen_at_the_site(world, ids):
        if time.monotonic() > deadline:
            break
        time.sleep(_POLL_S)
    secrets = {f"the user's data of {task.name}": task.marker for task in world.tasks}
    folders = [world.staging, *(server.data / "gateway" for server in world.servers)]
    return faults + secrets_below(folders, secrets | {"a password": PASSWORD})


def _seen_at_the_site(world: World, ids: set[str]) -> list[str]:
    faults = [f"the job's directory {name} is still there" for name in left_of_jobs(world.staging, ids)]
    faults += [f"a process is still there: {process}" for process in processes_of_jobs(world.staging, ids)]
    if world.kind.runtime == "docker":
        faults += [f"a container is still there: {container}" for container in containers_of_jobs(ids)]
    return faults


def _retire(world: World, task: Tracked, deadline: float) -> list[str]:
    """Delete the task, which is refused while anything is left to do for it."""
    while True:
        try:
            answer = world.server.client.delete(f"/tesp/v1/tasks/{task.id}")
        except httpx.TransportError as error:
            return [f"the server does not answer: {error!r}"]
        if answer.status_code in (200, 204):
            return []
        if time.monotonic() > deadline:
            return [f"it is not retired: {answer.status_code} {answer.text[:200]}"]
        time.sleep(_POLL_S)
