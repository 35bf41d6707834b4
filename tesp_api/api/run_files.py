"""What TESP offers for runs beyond the standard, under `/tesp/v1`: logs, files, their archives, deletion."""

import asyncio
import mimetypes
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tesp_api.api.answers import json_answer
from tesp_api.api.auth.identity import Action, Identity, sender
from tesp_api.api.auth.visible_runs import VisibleRuns
from tesp_api.api.queries import reading
from tesp_api.api.runs import PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, base_of
from tesp_api.api.zip_stream import in_utf8, zipped
from tesp_api.errors import RunNotFound, TaskNotFound
from tesp_api.storage import work_places
from tesp_api.storage.work_files import why_elsewhere
from tesp_api.storage.work_files_local import Found
from tesp_api.store.run_states import RUN_FINAL
from tesp_api.store.runs import Run, RunLogName, StepRecord
from tesp_api.wes.archives import input_entries, output_entries
from tesp_api.wes.views import LOG_LIMIT_BYTES, WES, file_url, run_in, work_base_of
from tesp_api.wes.workflows import Workflows

_LOGS: dict[str, RunLogName] = {"stdout": "stdout", "stderr": "stderr"}
_OFFSET_MAX_BYTES = 2**53
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_NOT_A_PAGE = {"X-Content-Type-Options": "nosniff"}  # users' bytes: no browser may take them for a page


class RunFileEndpoints:
    """A run's own logs, its steps at a glance, its files one by one or as an archive, and its deletion."""

    def __init__(self, workflows: Workflows) -> None:
        self._workflows = workflows
        self._runs = VisibleRuns(workflows.runs)

    def routes(self, prefix: str) -> list[Route]:
        """The endpoints as routes."""
        return [
            Route(f"{prefix}/runs/{{id}}", self.delete_run, methods=["DELETE"]),
            Route(f"{prefix}/runs/{{id}}/steps", self.list_steps, methods=["GET"]),
            Route(f"{prefix}/runs/{{id}}/logs/{{stream}}", self.read_log, methods=["GET"]),
            Route(f"{prefix}/runs/{{id}}/files/{{path:path}}", self.read_file, methods=["GET"]),
            Route(f"{prefix}/runs/{{id}}/inputs.zip", self.read_inputs, methods=["GET"]),
            Route(f"{prefix}/runs/{{id}}/outputs.zip", self.read_outputs, methods=["GET"]),
        ]

    async def delete_run(self, request: Request) -> Response:
        """Forget a run that has ended, with its tasks and all its files.

        Raises:
            RunNotOver: it has not ended.
            RunInUse: another run needs its files.
        """
        run_id = request.path_params["id"]
        await self._runs.require(sender(request), Action.DELETE, run_id)
        await self._workflows.runs.doom(run_id)
        self._workflows.bell.ring(run_id)
        return Response(status_code=204)

    async def list_steps(self, request: Request) -> Response:
        """The run's state and one page of its steps with theirs, oldest first: cheap enough to ask often."""
        run_id = request.path_params["id"]
        glance = await self._runs.require(sender(request), Action.READ, run_id)
        with reading(request.query_params) as query:
            limit = query.integer("page_size", PAGE_SIZE_DEFAULT, least=1, most=PAGE_SIZE_MAX)
            after = query.text("page_token")
        steps = await self._workflows.runs.list_steps(run_id, after=after, limit=limit + 1)
        shown = steps[:limit]
        answer: dict[str, Any] = {
            "state": str(glance.state),
            "steps": await asyncio.gather(*(self._step(step) for step in shown)),
        }
        return json_answer(answer | ({"next_page_token": shown[-1].id} if len(steps) > limit else {}))

    async def _step(self, step: StepRecord) -> dict[str, str]:
        shown = {"name": step.name, "task_id": step.task_id}
        shown |= {"reused_from": step.reused_from} if step.reused_from else {}
        try:
            state = (await self._workflows.tasks.glance(step.task_id)).state
        except TaskNotFound:
            return shown | {"state": "UNKNOWN"}
        return shown | {"state": str(state)}

    async def read_log(self, request: Request) -> Response:
        """Raw bytes of what the run's engine said. A reader goes on at offset + length while `live`."""
        # The state is read before the log: all of it is stored before the run ends.
        run = await self._runs.get(sender(request), request.path_params["id"])
        name = _LOGS.get(request.path_params["stream"])
        if name is None:
            raise HTTPException(404, "there is no such stream: choose stdout or stderr")
        with reading(request.query_params) as query:
            offset = query.integer("offset", 0, least=0, most=_OFFSET_MAX_BYTES)
            limit = query.integer("limit", LOG_LIMIT_BYTES, least=1, most=LOG_LIMIT_BYTES)
        part = await self._workflows.runs.read_log(run.id, name, offset=offset, limit=limit)
        headers = {
            "X-Tesp-Log-Offset": str(part.offset),
            "X-Tesp-Log-Total": str(await self._workflows.runs.log_size(run.id, name)),
            "X-Tesp-Log-Live": "false" if run.state in RUN_FINAL else "true",
            **_NOT_A_PAGE,
        }
        return Response(part.data, headers=headers, media_type="text/plain; charset=utf-8")

    async def read_file(self, request: Request) -> Response:
        """A file in the run's folder, or a part of it; of a directory, what is in it, as JSON."""
        run = await self._with_files(sender(request), request.path_params["id"])
        path = request.path_params["path"]
        parts = path.rstrip("/").split("/")
        if not all(part not in ("", ".", "..") and "\0" not in part for part in parts):
            raise _no_such_file(run, path)
        url = work_places.file_url(run.work_url, "/".join(parts))
        try:
            found = await self._workflows.files.stat(url, owner=run.owner)
            if found.kind == "directory":
                return await self._listing(run, url, base_of(request))
            return self._file(request, run, found)
        except FileNotFoundError:
            raise _no_such_file(run, path) from None

    async def read_inputs(self, request: Request) -> Response:
        """The request, its params, and its attachments, as one zip archive."""
        run = await self._with_files(sender(request), request.path_params["id"])
        try:
            attached = await self._workflows.files.walk(
                f"{run.work_url}{work_places.ATTACHMENTS}", owner=run.owner
            )
        except FileNotFoundError:
            attached = []
        return self._archive(run, "inputs", input_entries(run, attached))

    async def read_outputs(self, request: Request) -> Response:
        """All files among the outputs, and the outputs themselves, as one zip archive."""
        who = sender(request)
        run = await self._with_files(who, request.path_params["id"])

        async def walk(url: str) -> list[Found]:
            await self._require_seen(who, run, url)
            return await self._workflows.files.walk(url, owner=run.owner)

        return self._archive(run, "outputs", await output_entries(run, walk))

    async def _with_files(self, who: Identity, run_id: str) -> Run:
        """The run, if its files are where this server looks for them."""
        run = await self._runs.get(who, run_id)
        if reason := why_elsewhere(self._workflows.files.base_url, run.id, run.work_url):
            raise HTTPException(404, reason)
        return run

    async def _require_seen(self, who: Identity, run: Run, url: str) -> None:
        """Raises: FileNotFoundError unless it lies in this run's folder, or in that of one that they see."""
        holder = run
        if not work_places.is_below(url, run.work_url):
            try:
                holder = await self._runs.get(who, run_in(url, work_base_of(run)))
            except RunNotFound:
                raise FileNotFoundError(url) from None
        if not work_places.is_below(url, holder.work_url):
            raise FileNotFoundError(url)

    async def _listing(self, run: Run, url: str, base: str) -> Response:
        found = await self._workflows.files.walk(url, owner=run.owner)
        files = [
            {
                "path": in_utf8(one.name),
                "url": file_url(one.url, base, work_base_of(run)),
                "size_bytes": str(one.size_bytes),
            }
            for one in found
        ]
        return json_answer({"files": files})

    def _file(self, request: Request, run: Run, found: Found) -> Response:
        size_bytes = found.size_bytes
        first, last, is_part = 0, size_bytes - 1, False
        asked = _RANGE.fullmatch(request.headers.get("range", ""))
        if asked and (asked[1] or asked[2]):
            first = int(asked[1]) if asked[1] else max(0, size_bytes - int(asked[2]))
            last = min(int(asked[2]), last) if asked[1] and asked[2] else last
            if first > last:
                unfit = {"Content-Range": f"bytes */{size_bytes}"}
                raise HTTPException(416, f"the file has {size_bytes} bytes", unfit)
            is_part = True
        headers = {
            "Content-Length": str(last - first + 1),
            "Accept-Ranges": "bytes",
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(found.url.rpartition('/')[2])}",
            **_NOT_A_PAGE,
        }
        if is_part:
            headers["Content-Range"] = f"bytes {first}-{last}/{size_bytes}"
        data = self._workflows.files.read(found.url, owner=run.owner, offset=first, length=last - first + 1)
        kind = mimetypes.guess_type(found.url)[0] or "application/octet-stream"
        return StreamingResponse(data, 206 if is_part else 200, headers, media_type=kind)

    def _archive(self, run: Run, what: str, entries: list[tuple[str, Found | bytes]]) -> Response:
        def read(found: Found) -> AsyncIterator[bytes]:
            return self._workflows.files.read(found.url, owner=run.owner, offset=0, length=found.size_bytes)

        headers = {"Content-Disposition": f'attachment; filename="{run.id}-{what}.zip"', **_NOT_A_PAGE}
        return StreamingResponse(zipped(entries, read), 200, headers, media_type="application/zip")


def _no_such_file(run: Run, path: str) -> HTTPException:
    return HTTPException(404, f"run {run.id} has no file {path[:200]!r} (see {WES}/runs/{run.id})")
