"""A `RunHost` on nothing but plain TES: for an engine's tests and for conformance, without WES."""

import asyncio
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import httpx

from tesp_api.errors import Fault, InvalidRequest
from tesp_api.settings import Settings
from tesp_api.storage.credentials import Credentials
from tesp_api.storage.s3_signing import S3Signer
from tesp_api.tes.states import State
from tesp_api.wes.engines.base import EngineRun, LogName, RunFiles, Step, StepEnd
from tesp_api.wes.files import StorageFiles

FINAL = {State.COMPLETE, State.EXECUTOR_ERROR, State.SYSTEM_ERROR, State.CANCELED, State.PREEMPTED}
POLL_S = 0.1


def engine_run(folder: Path, workflow: str, params: Mapping[str, Any], **changes: Any) -> EngineRun:
    """A run whose folders are in `folder`; what is in its `work/attachments` are the files of the request."""
    attachments, own, work = folder / "work" / "attachments", folder / "own", folder / "work"
    for one in (attachments, own):
        one.mkdir(parents=True, exist_ok=True)
    values: dict[str, Any] = {
        "id": folder.name,
        "workflow_type": "CWL",
        "workflow_type_version": "v1.2",
        "workflow_url": workflow,
        "workflow_params": params,
        "engine_parameters": {},
        "attachments": attachments,
        "work_dir": own,
        "work_url": work.as_uri() + "/",
    }
    return EngineRun(**{**values, **changes})


class PlainRunHost:
    """`async with PlainRunHost(url, run, settings) as host:`; steps with one key have one task."""

    def __init__(self, url: str, run: EngineRun, settings: Settings, *, owner: str = "") -> None:
        self._client = httpx.AsyncClient(base_url=url, timeout=60)
        self._run = run
        credentials = Credentials(settings.credentials)
        self._storage = StorageFiles(settings, credentials, S3Signer(), owner=owner, run=run)
        self.files: RunFiles = self._storage
        self.submitted: list[tuple[Step, str]] = []
        self.logs: dict[LogName, bytes] = {"stdout": b"", "stderr": b""}

    async def submit(self, step: Step) -> str:
        headers = {"Idempotency-Key": f"{self._run.id}-{step.key}"}
        answer = await self._client.post("/ga4gh/tes/v1/tasks", json=dict(step.document), headers=headers)
        if answer.status_code == 400:
            raise InvalidRequest([Fault("step", answer.text)])
        answer.raise_for_status()
        task_id = str(answer.json()["id"])
        self.submitted.append((step, task_id))
        return task_id

    async def known_keys(self) -> Collection[str]:
        return [step.key for step, _ in self.submitted]

    async def wait(self, task_id: str) -> StepEnd:
        path = f"/ga4gh/tes/v1/tasks/{task_id}"
        while (await self._client.get(path)).json()["state"] not in FINAL:  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)
        task = (await self._client.get(path, params={"view": "FULL"})).json()
        return StepEnd(task_id, State(task["state"]), (task.get("logs") or [{}])[-1])

    async def cancel(self, task_id: str, reason: str) -> None:
        await self._client.post(f"/ga4gh/tes/v1/tasks/{task_id}:cancel")

    async def log(self, name: LogName, data: bytes) -> None:
        self.logs[name] += data

    async def __aenter__(self) -> "PlainRunHost":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._storage.aclose()
        await self._client.aclose()
