"""Workflow runs on a server, for the command line."""

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

from tesp_api.cli.client import LogRead, TespClient, segment
from tesp_api.cli.event_stream import events
from tesp_api.cli.exits import CommandFailed

_WES = "/ga4gh/wes/v1"
_TESP = "/tesp/v1"
_UPLOAD_TIMEOUT_S = 600.0


class RunClient:
    """Talks about runs, through a `TespClient`, whose failures these are, too."""

    def __init__(self, client: TespClient) -> None:
        self._client = client

    def submit(self, fields: Mapping[str, str], attached: Mapping[str, Path]) -> str:
        """Start a run, once, and return its id.

        Raises:
            CommandFailed: a file cannot be read.
        """
        with ExitStack() as stack:
            opened = [(name, stack.enter_context(_opened(path))) for name, path in attached.items()]
            files: list[tuple[str, Any]] = [("workflow_attachment", one) for one in opened]
            # the fields as parts without file names, so that the form is multipart with no file, too
            parts = [*((name, (None, value)) for name, value in fields.items()), *files]
            answer = self._client.call(
                "POST", f"{_WES}/runs", files=parts, timeout=_UPLOAD_TIMEOUT_S, once=True
            )
        return str(answer.json()["run_id"])

    def get(self, run_id: str) -> dict[str, Any]:
        """All of the run."""
        return self._client.json("GET", f"{_WES}/runs/{segment(run_id)}")

    def state(self, run_id: str) -> str:
        """The run's state alone."""
        return str(self._client.json("GET", f"{_WES}/runs/{segment(run_id)}/status")["state"])

    def pages(self, page_size: int) -> Iterator[dict[str, Any]]:
        """The pages of the list of runs, asked for one by one as they are wanted."""
        return self._pages(f"{_WES}/runs", {"page_size": page_size})

    def tasks(self, run_id: str) -> list[dict[str, Any]]:
        """All steps of the run, the oldest first."""
        pages = self._pages(f"{_WES}/runs/{segment(run_id)}/tasks", {})
        return [task for page in pages for task in page["task_logs"]]

    def steps(self, run_id: str) -> tuple[str, list[dict[str, Any]]]:
        """The run's state, and its steps at a glance."""
        state, steps = "", list[dict[str, Any]]()
        for page in self._pages(f"{_TESP}/runs/{segment(run_id)}/steps", {"page_size": 2000}):
            state = state or page["state"]
            steps += page["steps"]
        return state, steps

    def cancel(self, run_id: str) -> None:
        """Ask for the run's cancellation; does nothing for one that has ended."""
        self._client.call("POST", f"{_WES}/runs/{segment(run_id)}/cancel")

    def delete(self, run_id: str) -> None:
        """Delete the run, which must have ended, with its tasks and files."""
        self._client.call("DELETE", f"{_TESP}/runs/{segment(run_id)}")

    def read_log(self, run_id: str, stream: str, offset: int) -> LogRead:
        """A part of what the run's engine said."""
        path = f"{_TESP}/runs/{segment(run_id)}/logs/{stream}"
        answer = self._client.call("GET", path, params={"offset": offset})
        headers = answer.headers
        return LogRead(int(headers["x-tesp-log-offset"]), answer.content, int(headers["x-tesp-log-total"]))

    def whole_log(self, run_id: str, stream: str) -> Iterator[bytes]:
        """All that the run's engine has said so far."""
        offset = 0
        while (part := self.read_log(run_id, stream, offset)).data:
            offset = part.next_offset
            yield part.data

    def follow_log(self, run_id: str, stream: str) -> Iterator[bytes]:
        """What the run's engine says, until the run has ended."""
        for event in events(self._client, f"{_TESP}/runs/{segment(run_id)}/events", {"logs": "base64"}):
            if event.name == "log" and event.data["stream"] == stream:
                yield base64.b64decode(event.data["base64"])

    def save_archive(self, run_id: str, what: str, file: Path) -> None:
        """Save all inputs or outputs as one zip archive."""
        self._client.save(f"{_TESP}/runs/{segment(run_id)}/{what}.zip", file)

    def save_file(self, url: str, file: Path) -> None:
        """Save one of the run's output files, by its URL."""
        self._client.save(url, file)

    def _pages(self, path: str, params: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        token: str | None = None
        while token != "":
            more = {"page_token": token} if token else {}
            page = self._client.json("GET", path, params={**params, **more})
            yield page
            token = page.get("next_page_token", "")


def form_fields(request: Mapping[str, Any]) -> dict[str, str]:
    """A request's fields as those of a form: objects as JSON texts, nothing that is absent."""
    present = {name: value for name, value in request.items() if value}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in present.items()}


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise CommandFailed(f"{path} cannot be read: {error.strerror}") from None
