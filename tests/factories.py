"""Things for tests, complete and valid, of which a test names only what it is about."""

from datetime import datetime
from typing import Any

from tesp_api.store.base import Task
from tesp_api.store.runs import Run
from tesp_api.tes.ids import new_task_id
from tesp_api.tes.states import State
from tesp_api.tes.times import now


def make_request(**changes: Any) -> dict[str, Any]:
    """A client's task document: one `echo` in a container."""
    request: dict[str, Any] = {
        "name": "hello",
        "executors": [{"image": "docker.io/library/alpine:3.20", "command": ["echo", "hello"]}],
    }
    return request | changes


def make_task(**changes: Any) -> Task:
    """A new task, ready for `TaskStore.create`.

    Fields of `Task` are taken as such; all others (`name`, `tags`, `executors`, ...) go into its request.
    """
    created_at: datetime = changes.pop("created_at", None) or now()
    return Task(
        id=changes.pop("id", None) or new_task_id(),
        owner=changes.pop("owner", ""),
        state=changes.pop("state", State.QUEUED),
        created_at=created_at,
        warnings=changes.pop("warnings", ()),
        sealed=changes.pop("sealed", ""),
        groups=changes.pop("groups", ()),
        request=changes.pop("request", None) or make_request(**changes),
    )


def make_run(**changes: Any) -> Run:
    """A new workflow run, ready for `RunStore.create`; fields of `Run` replace what is here."""
    run_id = changes.pop("id", None) or new_task_id()
    parts: dict[str, Any] = {
        "id": run_id,
        "owner": "alice",
        "state": State.QUEUED,
        "created_at": now(),
        "request": {
            "workflow_type": "SCRIPT",
            "workflow_type_version": "v1",
            "workflow_url": "script.json",
            "workflow_params": {"steps": 2},
            "tags": {"project": "demo"},
        },
        "engine": "script",
        "work_url": f"file:///work/{run_id}/",
    }
    return Run(**parts | changes)
