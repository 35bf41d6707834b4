"""The endpoints of the WES standard, under `/ga4gh/wes/v1`.

Source: WES 1.1.
"""

import asyncio
import re
from collections.abc import Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tesp_api.api.answers import json_answer
from tesp_api.api.auth.identity import OPEN, Action, Identity, sender
from tesp_api.api.auth.permissions import require
from tesp_api.api.auth.visible_runs import VisibleRuns
from tesp_api.api.idempotency import once_key_of_run, read_key
from tesp_api.api.queries import reading
from tesp_api.api.request_id import note_run, request_id_of
from tesp_api.api.run_forms import run_form
from tesp_api.api.wes_service_info import wes_service_info
from tesp_api.errors import TaskNotFound
from tesp_api.settings import Settings
from tesp_api.store.base import Task
from tesp_api.store.runs import RunQuery, StepRecord
from tesp_api.wes.requests import read_run_request
from tesp_api.wes.views import WES, run_log, run_summary, task_log
from tesp_api.wes.workflows import Workflows

PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX = 256, 2047
SHOWN_STEPS = 100
"""So many steps are in a RunLog itself; all are at its task_logs_url."""

_READ_AT_ONCE = 16
_STEP_ID = re.compile(r"[0-9a-f-]{36}")


class RunEndpoints:
    """Starts, shows, lists and cancels runs."""

    def __init__(self, workflows: Workflows, settings: Settings) -> None:
        self._workflows = workflows
        self._runs = VisibleRuns(workflows.runs)
        self._settings = settings

    def routes(self, prefix: str = WES) -> list[Route]:
        """The endpoints as routes."""
        return [
            Route(f"{prefix}/service-info", self.get_service_info, methods=["GET"]),
            Route(f"{prefix}/runs", self.list_or_create, methods=["GET", "POST"]),
            Route(f"{prefix}/runs/{{id}}", self.get_run, methods=["GET"]),
            Route(f"{prefix}/runs/{{id}}/status", self.get_status, methods=["GET"]),
            Route(f"{prefix}/runs/{{id}}/cancel", self.cancel_run, methods=["POST"]),
            Route(f"{prefix}/runs/{{id}}/tasks", self.list_tasks, methods=["GET"]),
            Route(f"{prefix}/runs/{{id}}/tasks/{{task}}", self.get_task, methods=["GET"]),
        ]

    async def list_or_create(self, request: Request) -> Response:
        """GET lists, POST creates: one route, so that the answer to any other method names both."""
        return await (self.create_run(request) if request.method == "POST" else self.list_runs(request))

    async def get_service_info(self, request: Request) -> Response:
        """What the service is, which engines are installed, and how many runs are in which state."""
        engines = await self._workflows.creation.installed()
        counts = await self._workflows.runs.count_states()
        return json_answer(wes_service_info(self._settings, engines, counts, base_of(request)))

    async def create_run(self, request: Request) -> Response:
        """Store the run of the form, or of the JSON, in the body; once for each Idempotency-Key."""
        who = sender(request)
        require(who, Action.SUBMIT)
        key = read_key(request.headers)
        creation = self._workflows.creation
        installed = await creation.installed()
        async with run_form(request) as form:
            engines = {name: engine for name, (engine, _) in installed.items()}
            versions = {name: version for name, (_, version) in installed.items()}
            new = await asyncio.to_thread(
                read_run_request, form.fields, list(form.attachments), engines, versions
            )
            once = None
            if key is not None:
                once = await asyncio.to_thread(once_key_of_run, key, new.document, form.attachments)
            run_id = await creation.create(
                new,
                list(form.attachments.items()),
                owner=who.owner,
                groups=who.groups,
                once=once,
                find=lambda earlier: self._runs.get(who, earlier),
                request_id=request_id_of(request),
            )
        note_run(request, run_id)
        return json_answer({"run_id": run_id})

    async def list_runs(self, request: Request) -> Response:
        """One page of the runs, newest first."""
        with reading(request.query_params) as query:
            wanted = RunQuery(
                page_size=query.integer("page_size", PAGE_SIZE_DEFAULT, least=1, most=PAGE_SIZE_MAX),
                after=query.text("page_token") or None,
            )
        page = await self._runs.list_runs(sender(request), wanted)
        runs = [run_summary(run) for run in page.items]
        return json_answer({"runs": runs, "next_page_token": page.next_token or ""})

    async def get_run(self, request: Request) -> Response:
        """All of a run, with its first steps."""
        run = await self._runs.get(sender(request), request.path_params["id"])
        steps = await self._workflows.runs.list_steps(run.id, limit=SHOWN_STEPS)
        base = base_of(request)
        return json_answer(run_log(run, await self._task_logs(steps, base), base))

    async def get_status(self, request: Request) -> Response:
        """The run's state alone: reads no document."""
        run_id = request.path_params["id"]
        glance = await self._runs.require(sender(request), Action.READ, run_id)
        return json_answer({"run_id": run_id, "state": str(glance.state)})

    async def cancel_run(self, request: Request) -> Response:
        """Ask for the end of the run and of all its tasks; nothing happens to one that has ended."""
        who, run_id = sender(request), request.path_params["id"]
        await self._runs.require(who, Action.CANCEL, run_id)
        await self._workflows.runs.request_cancel(run_id, _canceled_by(who))
        self._workflows.bell.ring(run_id)
        return json_answer({"run_id": run_id})

    async def list_tasks(self, request: Request) -> Response:
        """One page of the run's steps, oldest first.

        The standard has no answer to a wrong page_size here, so it counts as none.
        """
        run_id = request.path_params["id"]
        await self._runs.require(sender(request), Action.READ, run_id)
        given = request.query_params.get("page_size", "")
        page_size = int(given) if given.isascii() and given.isdecimal() and len(given) < 10 else 0
        page_size = min(page_size, PAGE_SIZE_MAX) or PAGE_SIZE_DEFAULT
        after = request.query_params.get("page_token", "")
        if after and not _STEP_ID.fullmatch(after):
            raise HTTPException(404, "page_token is not a token of this server: there is no such page")
        steps = await self._workflows.runs.list_steps(run_id, after=after, limit=page_size + 1)
        shown = steps[:page_size]
        return json_answer(
            {
                "task_logs": await self._task_logs(shown, base_of(request)),
                "next_page_token": shown[-1].id if len(steps) > page_size else "",
            }
        )

    async def get_task(self, request: Request) -> Response:
        """One step of the run."""
        run_id, task_id = request.path_params["id"], request.path_params["task"]
        await self._runs.require(sender(request), Action.READ, run_id)
        step = await self._workflows.runs.find_step(run_id, task_id)
        if step is None:
            raise HTTPException(404, f"run {run_id} has no task {task_id[:80]!r}")
        [shown] = await self._task_logs([step], base_of(request))
        return json_answer(shown)

    async def _task_logs(self, steps: Sequence[StepRecord], base: str) -> list[dict[str, Any]]:
        shown: list[dict[str, Any]] = []
        for start in range(0, len(steps), _READ_AT_ONCE):
            some = steps[start : start + _READ_AT_ONCE]
            tasks = await asyncio.gather(*(self._find_task(step.task_id) for step in some))
            shown += [task_log(step, task, base) for step, task in zip(some, tasks, strict=True)]
        return shown

    async def _find_task(self, task_id: str) -> Task | None:
        try:
            return await self._workflows.tasks.get(task_id)
        except TaskNotFound:
            return None


def base_of(request: Request) -> str:
    """The URL of this server as the client calls it, without a slash at the end."""
    host = request.headers.get("host") or request.url.netloc
    return f"{request.url.scheme}://{host}{request.scope.get('root_path', '')}".rstrip("/")


def _canceled_by(who: Identity) -> str:
    return f"canceled by {'the client' if who == OPEN else who.name[:100] or who.owner}"
