"""The order: task.json as typed values."""

from __future__ import annotations

import json
import posixpath
from typing import Any, NamedTuple

from .errors import SystemFailure


class Input(NamedTuple):
    """A file or directory to be there before the first executor; `content` wins over `url`."""

    path: str
    type: str
    url: str
    content: str | None


class Output(NamedTuple):
    """A file, directory or (with `path_prefix`) wildcard pattern to send to `url`."""

    path: str
    type: str
    url: str
    path_prefix: str | None

    @property
    def is_pattern(self) -> bool:
        return self.path_prefix is not None and any(sign in self.path for sign in "*?[")


class Executor(NamedTuple):
    image: str
    command: tuple[str, ...]
    workdir: str | None
    stdin: str | None
    stdout: str | None
    stderr: str | None
    env: dict[str, str]
    ignore_error: bool


class Resources(NamedTuple):
    cpu_cores: int | None = None
    ram_gb: float | None = None
    disk_gb: float | None = None
    checksums: tuple[str, ...] = ()
    """Names of `hashlib`: what to say of outputs besides their SHA-256."""
    copied_inputs: tuple[str, ...] = ()
    """Paths of inputs to copy, though their file root says to mount them."""


class FileRoot(NamedTuple):
    """A directory of the site that `file://` URLs may reach; `mount` is "copy", "ro" or "rw"."""

    path: str
    mount: str


class Patience(NamedTuple):
    """How long transfers wait for a silent server, how often they try again without getting further, ..."""

    stall_s: float = 60.0
    tries: int = 5
    pause_s: float = 0.5
    """Before the second try; doubled before each that follows."""
    at_once: int = 4
    """... and how many files are on their way at one time."""


class Confinement(NamedTuple):
    """How containers are held in check; see `ContainerSettings` of the API's settings."""

    pids_max: int | None = None
    capabilities: tuple[str, ...] | None = None
    """Those that are left; None leaves the choice to the runtime."""
    new_privileges: bool = True
    init: bool = False
    user: str = "image"
    """ "image", "auto" (`runtimes.identity`) or "UID:GID"."""


class Site(NamedTuple):
    """What the destination's settings say about the machine the worker runs on."""

    runtimes: tuple[str, ...] = ("docker", "podman", "apptainer", "singularity")
    runtime_args: dict[str, tuple[str, ...]] = {}  # noqa: RUF012
    network: str = "default"
    confinement: Confinement = Confinement()
    read_only_inputs: bool = False
    file_roots: tuple[FileRoot, ...] = ()
    log_max_bytes: int = 10 * 1024 * 1024
    log_chunk_bytes: int = 64 * 1024
    heartbeat_s: float = 10.0
    bell: str | None = None
    transfers: Patience = Patience()
    rules: dict[str, tuple[str, ...]] = {}  # noqa: RUF012
    """What `rules.Rules` has, by name."""
    staging: str = "worker"
    """ "gateway": the API moves what is not of this site."""
    home: bool = False
    """Whether to leave `home.json` at the end."""
    walltime_s: int | None = None
    """What the site's scheduler was told of how long the task may run."""

    @property
    def has_gateway(self) -> bool:
        return self.staging == "gateway"


class Reach(NamedTuple):
    """How to reach the API: where, whom to trust there instead of the usual authorities, and as whom."""

    url: str
    ca_pem: str | None
    token: str
    request_id: str = ""
    """The name of the request that created the task: the API's log has it with what it refuses."""


class Order(NamedTuple):
    task_id: str
    attempt: int
    job_id: str
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    executors: tuple[Executor, ...]
    volumes: tuple[str, ...]
    resources: Resources
    site: Site
    channel: Reach | None = None
    lent: dict[str, Any] | None = None
    """What the API has signed and listed beforehand, for a site without a channel."""
    report: Reach | None = None
    """Where to tell the news, if anywhere."""
    permits: Reach | None = None
    """Where to ask before the first executor, and before outputs are sent; None where none need be."""
    request_id: str = ""
    """The name of the request that created the task."""


def parse_order(document: dict[str, Any]) -> Order:
    """Turn the document of task.json into an `Order`.

    Raises: SystemFailure for another version or a path that is not absolute. All else was checked
    by the API, which writes this file.
    """
    if document.get("version") != 1:
        raise SystemFailure(f"task.json has version {document.get('version')!r}; this worker reads version 1")
    return Order(
        task_id=str(document["task_id"]),
        attempt=int(document["attempt"]),
        job_id=str(document["job_id"]),
        inputs=tuple(_parse_input(item) for item in document.get("inputs") or ()),
        outputs=tuple(_parse_output(item) for item in document.get("outputs") or ()),
        executors=tuple(_parse_executor(item) for item in document["executors"]),
        volumes=tuple(absolute_path(item) for item in document.get("volumes") or ()),
        resources=_parse_resources(document.get("resources") or {}),
        site=_parse_site(document.get("site") or {}),
        channel=_parse_reach(document, "channel"),
        lent=document.get("lent"),
        report=_parse_reach(document, "report"),
        permits=_parse_reach(document, "permits"),
        request_id=str(document.get("request_id") or ""),
    )


def _parse_reach(document: dict[str, Any], name: str) -> Reach | None:
    found = document.get(name)
    return Reach(**found, request_id=str(document.get("request_id") or "")) if found else None


def absolute_path(path: str) -> str:
    """Normalize a container path; a trailing slash goes.

    Raises: SystemFailure if it is not absolute.
    """
    if not path.startswith("/") or "\0" in path:
        raise SystemFailure(f"The container path {path!r} is not absolute")
    return "/" + posixpath.normpath(path).lstrip("/")


def _parse_input(item: dict[str, Any]) -> Input:
    return Input(
        path=absolute_path(item["path"]),
        type=item.get("type") or "FILE",
        url=item.get("url") or "",
        content=item.get("content"),
    )


def _parse_output(item: dict[str, Any]) -> Output:
    return Output(
        path=absolute_path(item["path"]),
        type=item.get("type") or "FILE",
        url=item["url"],
        path_prefix=item.get("path_prefix"),
    )


def _parse_executor(item: dict[str, Any]) -> Executor:
    def path(key: str) -> str | None:
        return absolute_path(item[key]) if item.get(key) else None

    return Executor(
        image=item["image"],
        command=tuple(item["command"]),
        workdir=path("workdir"),
        stdin=path("stdin"),
        stdout=path("stdout"),
        stderr=path("stderr"),
        env=dict(item.get("env") or {}),
        ignore_error=bool(item.get("ignore_error")),
    )


def _parse_resources(item: dict[str, Any]) -> Resources:
    given = {name.lower(): value for name, value in (item.get("backend_parameters") or {}).items()}
    return Resources(
        cpu_cores=item.get("cpu_cores"),
        ram_gb=item.get("ram_gb"),
        disk_gb=item.get("disk_gb"),
        checksums=tuple(filter(None, (name.strip() for name in given.get("checksums", "").split(",")))),
        copied_inputs=tuple(absolute_path(path) for path in json.loads(given.get("copied_inputs") or "[]")),
    )


def _parse_site(item: dict[str, Any]) -> Site:
    default = Site()
    return Site(
        runtimes=tuple(item.get("runtimes") or default.runtimes),
        runtime_args={name: tuple(args) for name, args in (item.get("runtime_args") or {}).items()},
        network=item.get("network") or default.network,
        confinement=_parse_confinement(item.get("confinement") or {}),
        read_only_inputs=bool(item.get("read_only_inputs")),
        file_roots=tuple(FileRoot(root["path"], root["mount"]) for root in item.get("file_roots") or ()),
        log_max_bytes=int(item.get("log_max_bytes") or default.log_max_bytes),
        log_chunk_bytes=int(item.get("log_chunk_bytes") or default.log_chunk_bytes),
        heartbeat_s=float(item.get("heartbeat_s") or default.heartbeat_s),
        bell=item.get("bell"),
        transfers=Patience(**(item.get("transfers") or {})),
        rules={name: tuple(values) for name, values in (item.get("rules") or {}).items()},
        staging=item.get("staging") or default.staging,
        home=bool(item.get("home")),
        walltime_s=item.get("walltime_s"),
    )


def _parse_confinement(item: dict[str, Any]) -> Confinement:
    found = Confinement(**item)
    kept = found.capabilities
    return found if kept is None else found._replace(capabilities=tuple(kept))
