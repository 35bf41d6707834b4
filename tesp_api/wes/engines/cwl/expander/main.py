"""The whole of an expansion: load the workflow, expand it step by step, say what came of it."""

from __future__ import annotations

import argparse
import functools
import io
import json
import logging
import socket
import traceback
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urldefrag

from cwltool import load_tool, process
from cwltool.context import LoadingContext, RuntimeContext
from cwltool.errors import UnsupportedRequirement, WorkflowException
from cwltool.loghandler import _logger as cwltool_log
from cwltool.main import init_job_order
from cwltool.process import Process
from cwltool.update import ORIGINAL_CWLVERSION
from cwltool.utils import get_listing, visit_directories, visit_files, visit_files_directories
from cwltool.workflow import default_make_tool
from schema_salad.exceptions import ValidationException
from schema_salad.ref_resolver import Loader, file_uri, uri_file_path
from schema_salad.sourceline import cmap

from .files import RunFiles, UrlFetcher, UrlFsAccess, encoded, is_url, plain
from .server import Server
from .staging import UrlPathMapper
from .steps import Expansion, TaskTool

OUTDIR = "/var/spool/cwl"
SCRATCH = "/tmp"  # noqa: S108 - inside the sandbox
_REQUIREMENTS = "https://w3id.org/cwl/cwl#requirements"
_OVERRIDES = "http://commonwl.org/cwltool#overrides"
_NOT_OURS = ("InplaceUpdateRequirement", "http://commonwl.org/cwltool#Secrets")
"""What tasks cannot do: their inputs are copies, and their documents are shown."""


def main(channel: int) -> None:
    """Expand what the server sends over this descriptor, and tell it how that ended."""
    for version in ("v1.0", "v1.2"):  # takes a while, and may be done before there is a run
        process.get_schema(version)
    server = Server(socket.socket(fileno=channel))
    handler = _ToServer(server)
    cwltool_log.handlers = [handler]
    logging.getLogger("salad").handlers = [handler]
    logging.getLogger("cwl_utils").handlers = [handler]
    try:
        outcome = Run(server).execute()
    except UnsupportedRequirement as error:
        outcome = _outcome("unsupported", str(error))
    except (WorkflowException, ValidationException) as error:
        outcome = _outcome("permanentFail", str(error))
    except Exception as error:
        server.log("stderr", traceback.format_exc())
        outcome = _outcome("broken", f"cwltool failed: {type(error).__name__}: {error}")
    server.end(outcome)


def _outcome(status: str, reason: str, outputs: Any = None) -> dict[str, Any]:
    return {"status": status, "reason": reason, "outputs": outputs or {}}


class _ToServer(logging.Handler):
    """cwltool's own log as the run's stderr."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self._server = server
        self.errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = f"{record.levelname} {record.getMessage()}"
        self._server.log("stderr", text + "\n")


class Run:
    """One run: `server.order` says which."""

    def __init__(self, server: Server) -> None:
        order = server.order
        self._order = order
        self._server = server
        self._parameters: Mapping[str, str] = order["parameters"]
        self._files = RunFiles(server)
        self._work_url = _canonical(order["work_url"])
        self._base = f"{self._work_url}attachments/"
        self._expansion = Expansion(server, self._files, self._work_url, order["run_id"])
        self._fetcher = functools.partial(UrlFetcher, files=self._files)
        self._final: list[tuple[Any, str]] = []
        self._later: list[Callable[[], None]] = []
        for name in _NOT_OURS:
            if name in process.supportedProcessRequirements:
                process.supportedProcessRequirements.remove(name)

    def execute(self) -> dict[str, Any]:
        """How the run has ended. Raises: WorkflowException, ValidationException."""
        tool, order = self._load()
        context = self._context(order)
        self._drive(tool, order, context)
        outputs, status = self._final[0] if self._final else ({}, "permanentFail")
        if status in ("success", "skipped"):
            outputs = self._shown(outputs or {})
            self._server.log("stdout", json.dumps(outputs, indent=4, default=str) + "\n")
            return _outcome("success", "", outputs)
        if self._expansion.has_system_failure:
            status = "systemFail"
        reasons = self._expansion.failures or ["the workflow has failed; the run's stderr says why"]
        return _outcome(status, "\n".join(reasons[:20]))

    def _load(self) -> tuple[Process, Any]:
        loading = LoadingContext(
            {
                "fetcher_constructor": self._fetcher,
                "construct_tool_object": self._make_tool,
                "resolver": lambda _, uri: uri,
                "relax_path_checks": True,
                "eval_timeout": float(self._parameters["eval_timeout_s"]),
            }
        )
        url = self._order["workflow_url"]
        url = encoded(url) if is_url(url) else self._fetcher({}).urljoin(self._base, url)
        loader = Loader(load_tool.jobloaderctx.copy(), fetcher_constructor=self._fetcher)
        order, _ = loader.resolve_all(cmap(self._order["params"]), self._base, checklinks=False)
        loading, document, url = load_tool.fetch_document(url, loading)
        if _OVERRIDES in order:
            given = load_tool.resolve_overrides(order, self._base, urldefrag(url)[0])
            loading.overrides_list.extend(given)
            del order[_OVERRIDES]
        loading, url = load_tool.resolve_and_validate_document(loading, document, url)
        tool = load_tool.make_tool(url, loading)
        tool.visit(_check_runnable)
        for name in ("id", load_tool.jobloader_id_name, "cwl:tool", "$namespaces", "$schemas"):
            if name != "$namespaces":
                order.pop(name, None)
        for key, value in (loading.jobdefaults or {}).items():
            order.setdefault(key, value)
        initial = init_job_order(
            order,
            argparse.Namespace(),
            tool,
            loader,
            io.StringIO(),
            make_fs_access=functools.partial(UrlFsAccess, files=self._files),
            input_basedir=self._base,
        )
        _add_requirements(tool, initial)
        return tool, initial

    def _make_tool(self, document: Any, loading: LoadingContext) -> Process:
        if document.get("class") == "CommandLineTool":
            return TaskTool(document, loading, expansion=self._expansion)
        return default_make_tool(document, loading)

    def _context(self, order: Any) -> RuntimeContext:
        context = RuntimeContext(
            {
                "basedir": self._base,
                "outdir": SCRATCH,
                "tmpdir": SCRATCH,
                "stagedir": SCRATCH,
                "docker_outdir": OUTDIR,
                "default_container": self._parameters["default_image"],
                "compute_checksum": False,
                "on_error": self._parameters["on_error"],
                "eval_timeout": float(self._parameters["eval_timeout_s"]),
                "toplevel": True,
                "make_fs_access": functools.partial(UrlFsAccess, files=self._files),
                "path_mapper": functools.partial(UrlPathMapper, store_literal=self._expansion.store_literal),
            }
        )
        # cwltool would make directories for each step, in which nothing ever is.
        context.create_tmpdir = context.create_outdir = lambda: SCRATCH
        return context

    def _drive(self, tool: Process, order: Any, context: RuntimeContext) -> None:
        """Submit every step as soon as it can run; steps that run when one has failed are let to end."""
        for job in tool.job(order, self._note_end, context):
            if job is None:
                self._wait()
                continue
            if context.on_error == "continue" and getattr(job, "output_callback", None) is not None:
                job.output_callback = functools.partial(self._end_later, job.output_callback)
            job.run(context)
        while self._server.has_steps or self._later:
            self._wait()

    def _wait(self) -> None:
        """Until a step has ended. Raises: WorkflowException if none is running."""
        if self._server.has_steps:
            self._server.serve()
        elif self._later:
            self._later.pop(0)()
        else:
            raise WorkflowException("Workflow cannot make any more progress.")

    def _end_later(self, callback: Any, outputs: Any, status: str) -> None:
        """Tell of a failure when nothing else runs: after it cwltool begins nothing new, even if it could."""
        if status in ("success", "skipped"):
            callback(outputs, status)
        else:
            self._later.append(functools.partial(callback, outputs, status))

    def _note_end(self, outputs: Any, status: str) -> None:
        self._final.append((outputs, status))

    def _shown(self, outputs: Any) -> Any:
        """The outputs as the run shows them: every file by its URL, directories with what is in them."""
        access = UrlFsAccess(self._base, files=self._files)
        visit_directories(outputs, functools.partial(get_listing, access, recursive=True))
        visit_files(outputs, self._complete)
        visit_files_directories(outputs, _tidy)
        return outputs

    def _complete(self, file: dict[str, Any]) -> None:
        location = file.get("location", "")
        if "contents" in file and (not location or location.startswith("_:")):
            location = self._expansion.store_literal(file.get("basename") or "literal", file["contents"])
            file["location"] = location
            file["size"] = len(file["contents"].encode())
        if "checksum" not in file and (sha1 := self._files.sha1(location)):
            file["checksum"] = f"sha1${sha1}"
        if "size" not in file and (size := self._files.stat(location)[1]) is not None:
            file["size"] = size


def _canonical(url: str) -> str:
    """Percent-encoded just as cwltool does it, which compares."""
    if url.startswith("file://"):
        return f"{file_uri(uri_file_path(url)).rstrip('/')}/"
    return encoded(url)


def _check_runnable(tool: Any) -> None:
    if tool["class"] == "Operation":
        raise UnsupportedRequirement("Workflow has unrunnable abstract Operation")


def _add_requirements(tool: Process, order: Any) -> None:
    """Those of the inputs. Source: CWL v1.1, 'cwl:requirements'."""
    asked = order.get(_REQUIREMENTS) or (tool.metadata.get("cwl:defaults") or {}).get(_REQUIREMENTS)
    if asked is None:
        return
    if tool.metadata.get(ORIGINAL_CWLVERSION) == "v1.0":
        raise WorkflowException("`cwl:requirements` in the input object is not part of CWL v1.0")
    for one in asked:
        tool.requirements.append(one)


def _tidy(item: dict[str, Any]) -> None:
    for name in ("path", "dirname", "contents" if item["class"] == "File" else "", "nameroot", "nameext"):
        item.pop(name, None)
    if item.get("location", "").startswith("_:"):
        del item["location"]
    elif "location" in item:
        item["location"] = plain(item["location"])
