"""The settings: read by dynaconf, checked by pydantic, frozen from then on.

Sources, later ones winning: the defaults below; the `[default]` table of the settings file; the table
named by `FASTAPI_PROFILE`; environment variables `TESP_API_*`, with a double underscore between levels
(`TESP_API_SERVER__PORT=8081`). The file is `$TESP_API_SETTINGS`, else `./settings.toml` where there is
one; no file at all is fine. A key that does not exist, or a value that does not fit, stops the start.
"""

import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    Field,
    IPvAnyNetwork,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from tesp_api.errors import SettingsError
from tesp_api.settings_auth import AuditSettings, AuthSettings, IssuerSettings
from tesp_api.settings_base import Seconds
from tesp_api.settings_base import Table as _Table
from tesp_api.settings_limits import LimitSettings
from tesp_api.settings_monitoring import MetricsSettings, TracingSettings
from tesp_api.settings_sources import ENV_PREFIX, read_sources
from tesp_api.settings_wes import WesSettings
from tesp_api.submit_templates import check_templates

Runtime = Literal["docker", "podman", "apptainer", "singularity", "bubblewrap"]
Scheme = Literal["http", "https", "ftp", "ftps", "s3", "file"]
HostPattern = Annotated[str, Field(pattern=r"^[^/@\s]+$")]
Bytes = Annotated[int, Field(gt=0)]
Gigabytes = Annotated[float, Field(gt=0, le=1e9)]
ImagePattern = Annotated[str, Field(pattern=r"^[^\s]+$")]
Capability = Annotated[str, Field(pattern=r"^[A-Z_]{3,40}$")]
UrlPrefix = Annotated[str, Field(pattern=r"^(/|[A-Za-z][A-Za-z0-9+.-]*://)[^\s]*$")]
Origin = Annotated[str, Field(pattern=r"^(\*|https?://[^/\s?#@]+)$")]


class ServerSettings(_Table):
    """Where the API listens and what it accepts."""

    host: str = Field("127.0.0.1", description="another one needs auth.modes, or auth.open_to_network")
    port: int = Field(8080, ge=0, le=65535, description="0 takes any free port")
    max_body_bytes: Bytes = Field(8 * 1024**2, description="a larger request body is answered with 413")
    root_path: str = Field(
        "", pattern=r"^(/[\w.~-]+)*$", description="the path that a proxy puts before all of ours: /tes"
    )
    drain_s: Seconds = Field(
        5.0, description="told to stop, it takes no new tasks and lets open requests end for so long"
    )
    cors_origins: tuple[Origin, ...] = Field(
        (), description='web pages from these may use the API in a browser: https://portal.org, or "*"'
    )


class ServiceSettings(_Table):
    """What `service-info` says about this service."""

    id: str = Field("org.tesp.tes", description="the service's id, as a domain name from its end")
    name: str = Field("TESP", description="what people call it")
    description: str = Field("GA4GH TES on Pulsar", description="a line about it")
    organization_name: str = Field("TESP", description="who runs it")
    organization_url: str = Field(
        "https://github.com/ga4gh/task-execution-schemas", description="their web page"
    )
    environment: str = Field("prod", description="such as prod, test or dev")


class LogSettings(_Table):
    """How much of the executors' stdout and stderr is kept and shown."""

    tail_bytes: Bytes = Field(65536, description="the tail of each stream that FULL view shows")
    max_bytes: Bytes = Field(
        64 * 1024**2, description="kept of each stream: the first half and the last half of it"
    )
    attempt_max_bytes: Bytes = Field(
        256 * 1024**2,
        description="kept of all streams of one attempt, in equal shares; 128 KiB each at least",
    )
    chunk_bytes: int = Field(65536, ge=1024, description="the unit in which logs travel and are stored")

    def of_task(self, executors: int) -> "LogSettings":
        """The same with `max_bytes` as they are for each stream of a task with so many executors.

        A share is never so small that the tail, and as much of the beginning, would not fit.
        """
        share = max(self.attempt_max_bytes // max(1, 2 * executors), 2 * max(self.tail_bytes, 65536))
        return self if share >= self.max_bytes else self.model_copy(update={"max_bytes": share})


class SchedulerSettings(_Table):
    """How the runner claims tasks and watches their jobs."""

    lease_s: Seconds = Field(30.0, description="a runner that is silent so long loses its tasks to others")
    scan_s: Seconds = Field(1.0, description="the store is looked at so often even if nobody rings")
    poll_min_s: Seconds = Field(0.05, description="a job's files are looked at so often at first")
    poll_max_s: Seconds = Field(30.0, description="... and so often in the end, when nothing happens")
    heartbeat_s: Seconds = Field(5.0, description="the worker shows so often that it lives")
    lost_after_s: Seconds = Field(60.0, description="a worker silent so long is lost: SYSTEM_ERROR")
    cancel_grace_s: Seconds = Field(3.0, description="given to the worker before Pulsar kills the job")
    embedded_away_s: Seconds = Field(
        600.0, description="mongodb: for so long a server's jobs in its embedded Pulsar wait for its return"
    )
    default_cores: int = Field(1, ge=1, description="counted for a task that names no cpu_cores")
    default_ram_gb: Gigabytes = Field(2.0, description="counted for a task that names no ram_gb")
    waiting_max: int = Field(
        1000,
        ge=1,
        description="so many tasks are held while they wait; of users who have few, as many again, and one "
        "of each user in any case",
    )
    overtakes_max: int = Field(
        50, ge=0, description="so many tasks pass one whose turn it is; then a destination is kept for it"
    )


Attempts = Annotated[int, Field(ge=1, le=100)]


class RetrySettings(_Table):
    """How often a task is tried, by what ended its attempts; 1 is once.

    A new attempt runs executors again only for the causes in `run_again`, and after the preemption of a task
    that allows it. In all other cases it must be certain that no executor had begun.
    """

    max_attempts: Attempts = Field(
        5, description="of one task, for all causes; it may ask for fewer (backend parameter max_attempts)"
    )
    never_started: Attempts = Field(3, description="the worker never began, or no server let it")
    storage_away: Attempts = Field(2, description="a server of files did not answer, often as it was asked")
    staging: Attempts = Field(1, description="a file could not be moved for another reason: it is not there")
    preempted: Attempts = Field(5, description="the site ended the job")
    lost: Attempts = Field(2, description="the worker vanished; only with run_again, or before its permit")
    executor: Attempts = Field(2, description="an executor failed; only with run_again")
    run_again: tuple[Literal["storage_away", "staging", "preempted", "lost", "executor"], ...] = Field(
        (), description="causes after which executors that had begun may run once more"
    )
    pause_s: Seconds = Field(1.0, description="before the second attempt; doubled before each one after it")
    pause_max_s: Seconds = Field(300.0, description="no pause is longer")


class DeadlineSettings(_Table):
    """How long a task may be in a state; without limit, unless set. A task may ask for less."""

    queued_s: Seconds | None = Field(None, description="QUEUED, be it for want of room or between attempts")
    initializing_s: Seconds | None = Field(None, description="INITIALIZING, while its inputs are fetched")
    running_s: Seconds | None = Field(None, description="RUNNING, until its last output is sent")


class RetentionSettings(_Table):
    """How long tasks that have ended are kept."""

    finished_age_s: Seconds | None = Field(
        None, description="tasks that ended so long ago are deleted, with their logs; never, unless set"
    )


class ChannelSettings(_Table):
    """How workers reach this server: a listener of its own, apart from the API.

    Workers of an embedded Pulsar use a socket in the data folder, and need none of this.
    """

    host: str = Field("127.0.0.1", description="the address on which it listens")
    port: int | None = Field(None, ge=1, le=65535, description="listens there; nowhere, unless set")
    url: str | None = Field(
        None, description="what sites call it: https://tesp.example.org:8443; a destination may differ"
    )
    certificate: Path | None = Field(None, description="PEM; with it the listener speaks TLS")
    private_key: Path | None = Field(None, description="PEM; left out if the certificate's file has it")

    @model_validator(mode="after")
    def _fits(self) -> "ChannelSettings":
        _check_web_url("url", self.url)
        if self.url and self.port is None:
            raise ValueError("url needs a port: nothing would listen there")
        if self.private_key and not self.certificate:
            raise ValueError("private_key needs a certificate")
        return self


class TransferSettings(_Table):
    """How workers move files, and from and to where they may.

    A name is refused that `deny_*` holds, or that is not among `allow_*` where that is set. Names are
    checked when a task is created, addresses when the worker connects to them, redirects included.
    """

    stall_s: Seconds = Field(60.0, description="a server that is silent so long has failed")
    tries: int = Field(5, ge=1, le=100, description="so often without getting any further")
    pause_s: Seconds = Field(0.5, description="before the second try; doubled before each one after it")
    at_once: int = Field(4, ge=1, le=64, description="files on their way at one time, for each task")
    allow_schemes: tuple[Scheme, ...] = Field((), description="http, https, ftp, ftps, s3, file")
    deny_schemes: tuple[Scheme, ...] = Field((), description="those that are refused, whatever is allowed")
    allow_hosts: tuple[HostPattern, ...] = Field((), description='names, with wildcards: "*.example.org"')
    deny_hosts: tuple[HostPattern, ...] = Field((), description="names that are refused; with wildcards")
    allow_buckets: tuple[str, ...] = Field((), description="of s3:// URLs; with wildcards")
    deny_buckets: tuple[str, ...] = Field((), description="of s3:// URLs, refused; with wildcards")
    allow_networks: tuple[IPvAnyNetwork, ...] = Field((), description='such as "192.0.2.0/24"')
    deny_networks: tuple[IPvAnyNetwork, ...] = Field((), description="addresses that are refused")
    local_networks: tuple[IPvAnyNetwork, ...] = Field(
        (),
        description="of loopback, link-local and cloud metadata addresses, which are denied, these are not",
    )


class CredentialSettings(_Table):
    """A named secret, for the URLs that begin with `url_prefix`: of S3, or of HTTP and FTP."""

    url_prefix: str = Field(description="s3://lab/, https://data.example.org/private/")
    users: tuple[str, ...] | None = Field(None, description="whose tasks may use it; everybody's, unless set")
    by_name_only: bool = Field(
        False, description="only for tasks that name it in the backend parameter `credentials`"
    )
    username: str | None = Field(None, description="http, ftp")
    password: SecretStr | None = Field(None, description="http, ftp")
    bearer_token: SecretStr | None = Field(None, description="http: sent as Authorization: Bearer")
    headers: dict[str, SecretStr] = Field(default_factory=dict, description="http: sent as they are")
    endpoint: str | None = Field(None, description="s3: https://s3.example.org; Amazon's, unless set")
    region: str = Field("us-east-1", description="s3")
    access_key_id: SecretStr | None = Field(None, description="s3; without it requests are not signed")
    secret_access_key: SecretStr | None = Field(None, description="s3")
    session_token: SecretStr | None = Field(None, description="s3")
    path_style: bool = Field(True, description="s3: ENDPOINT/BUCKET/KEY rather than BUCKET.ENDPOINT/KEY")
    max_upload_bytes: Bytes = Field(
        5 * 1024**3, description="s3: of one output of a site that cannot reach the channel"
    )

    @model_validator(mode="after")
    def _fits_kind(self) -> "CredentialSettings":
        scheme = self.url_prefix.partition("://")[0]
        if scheme not in ("http", "https", "ftp", "ftps", "s3") or not self.url_prefix.startswith(
            f"{scheme}://"
        ):
            raise ValueError("url_prefix must begin with http://, https://, ftp://, ftps:// or s3://")
        of_s3 = {"endpoint", "region", "access_key_id", "secret_access_key", "session_token", "path_style"}
        of_s3 |= {"max_upload_bytes"}
        of_http = {"bearer_token", "headers"}
        of_login = {"username", "password"}
        foreign = self.model_fields_set & (
            of_login | of_http if scheme == "s3" else of_s3 if "http" in scheme else of_s3 | of_http
        )
        if foreign:
            raise ValueError(f"{', '.join(sorted(foreign))}: not for {scheme}:// URLs")
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key belong together")
        if self.password is not None and self.username is None:
            raise ValueError("password needs a username")
        if self.bearer_token is not None and self.username is not None:
            raise ValueError("username and bearer_token exclude each other")
        _check_web_url("endpoint", self.endpoint)
        self._check_sendable()
        return self

    def _check_sendable(self) -> None:
        """What protocols cannot send would fail later, in a worker, and might be shown there."""
        for name, secret in (("username", self.username), ("password", _revealed(self.password))):
            if re.search(r"[\x00-\x1f\x7f]", secret or ""):
                raise ValueError(f"{name} must not have control characters")
        if ":" in (self.username or "") and self.url_prefix.startswith("http"):
            raise ValueError("username must not have a colon, which HTTP cannot send")
        headers = {name: _revealed(value) for name, value in self.headers.items()}
        for name, value in {"Authorization": _revealed(self.bearer_token), **headers}.items():
            if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
                raise ValueError(f"headers: {name[:80]!r} cannot be the name of a header")
            if not re.fullmatch(r"[!-~]([ -~]*[!-~])?", value or "-"):
                raise ValueError(f"bearer_token and headers must be visible ASCII: {name[:80]}")

    @property
    def kind(self) -> Literal["s3", "login"]:
        """Which protocols it is for."""
        return "s3" if self.url_prefix.startswith("s3://") else "login"


def _revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _check_web_url(name: str, url: str | None) -> None:
    if url is not None and not re.match(r"https?://[^/?#@\s]+(/[^?#@\s]*)?$", url):
        raise ValueError(f"{name} must be http:// or https:// with a host, and without user, ? and #")


_BROKER_URL = r"amqps?://([^@/?#\s]*@)?([\w.-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?(/[^#\s]*)?"


def _least(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _megabytes(size_gb: float | None) -> int | None:
    return None if size_gb is None else int(round(size_gb * 1000, 6))


class FileRoot(_Table):
    """A folder that tasks may name with `file://` URLs or bare absolute paths."""

    path: Path
    mount: Literal["copy", "ro", "rw"] = Field(
        "copy", description="copy files in and out; or bind-mount them read-only or read-write"
    )

    @field_validator("path")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        path = path.expanduser()
        if not path.is_absolute():
            raise ValueError("must be an absolute path")
        return path


class ContainerSettings(_Table):
    """How a destination's containers are held in check. Bubblewrap never grants any privilege."""

    allow_images: tuple[ImagePattern, ...] = Field(
        (),
        description='tasks with other images go elsewhere, or are refused: "quay.io/biocontainers/*"; '
        "unless set, all names of registries are taken, and neither files of the site nor other URLs",
    )
    pids_max: int = Field(
        4096, ge=0, description="processes and threads of a container at one time; 0: without limit"
    )
    capabilities: tuple[Capability, ...] | Literal["default"] = Field(
        ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID"),
        description='that root has in a container; "default": those that the runtime gives',
    )
    allow_new_privileges: bool = Field(False, description="whether programs may gain any, by sudo say")
    init: bool = Field(True, description="a small init is process 1, where docker or podman have one")
    user: str = Field(
        "auto",
        pattern=r"^(auto|image|\d{1,10}:\d{1,10})$",
        description='docker, podman: who runs the programs: "image": its user; or "UID:GID"; "auto": '
        "the image's, but the worker's where a task may write into a shared folder (`file_roots`)",
    )
    read_only_inputs: bool = Field(False, description="whether tasks are kept from changing their inputs")


class DestinationSettings(_Table):
    """A Pulsar, and what its site allows."""

    kind: Literal["embedded", "rest", "amqp"] = Field(
        "embedded", description="how its Pulsar is reached: in this process, by its REST API, by a broker"
    )
    url: SecretStr | None = Field(
        None, description="rest: where Pulsar answers; amqp: its message broker, amqps://user:password@host/"
    )
    private_token: SecretStr | None = Field(None, description="rest: Pulsar's private_token")
    broker_ca: Path | None = Field(None, description="amqp: PEM, the authority of the broker's certificate")
    manager: str | None = Field(None, description="a named manager of Pulsar instead of the default one")
    python: str | None = Field(None, description="the site's Python (>= 3.9); embedded: our own")
    max_running: int = Field(
        default_factory=lambda: max(4, os.cpu_count() or 1),
        ge=1,
        description="jobs at one time; the number of processors, at least 4, unless set",
    )
    max_cores: int | None = Field(None, ge=1, description="of all jobs at one time; unlimited, unless set")
    max_ram_gb: Gigabytes | None = Field(None, description="of all jobs at one time")
    task_max_cores: int | None = Field(None, ge=1, description="of one task")
    task_max_ram_gb: Gigabytes | None = Field(None, description="of one task")
    task_max_disk_gb: Gigabytes | None = Field(None, description="of one task")
    zones: tuple[str, ...] = Field((), description="where it is, for tasks that ask for zones")
    preemptible: bool = Field(False, description="its jobs may be preempted: only for tasks that allow it")
    near: tuple[UrlPrefix, ...] = Field((), description='URLs, or folders, that it is near to: "s3://lab/"')
    weight: float = Field(1.0, description="of two that are as near, the one with more of it is preferred")
    scheduler: Literal["slurm-drmaa", "condor"] | None = Field(
        None, description="what is behind Pulsar's manager: is told what each task needs"
    )
    submit_params: dict[str, str] = Field(
        default_factory=dict, description="what Pulsar is told in place of what `scheduler` stands for"
    )
    runtimes: tuple[Runtime, ...] = Field(
        ("docker", "podman", "apptainer", "singularity"), description="the first that works is used"
    )
    allow_bubblewrap: bool = Field(
        False, description="without a container engine run the host's programs in a bubblewrap sandbox"
    )
    runtime_args: dict[Runtime, tuple[str, ...]] = Field(
        default_factory=dict, description="added to every run of a container"
    )
    network: Literal["default", "none", "bridge", "host"] = Field(
        "default",
        description="of containers; default: the runtime's own: with apptainer the host's, with bubblewrap "
        "none, with the others a private one with a way out",
    )
    containers: ContainerSettings = ContainerSettings()
    file_roots: tuple[FileRoot, ...] = Field(
        (), description="folders of the site that tasks may name, each with its mount: copy, ro or rw"
    )
    connections: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="rest: requests at one time; 4, and more of them with more than 400 `max_running`",
    )
    channel_url: str | None = Field(
        None,
        description="what this site calls the channel, if not channel.url; amqp: it reaches none, unless set",
    )
    channel_ca: Path | None = Field(None, description="PEM: the authority of the channel's certificate")
    staging: Literal["worker", "gateway"] = Field(
        "worker", description="who moves files; gateway: this server does, for nodes without a network"
    )
    gateway_max_bytes: Bytes = Field(
        10 * 1024**3, description="gateway: of one task's inputs, and of its outputs"
    )

    @model_validator(mode="after")
    def _fits_kind(self) -> "DestinationSettings":
        _check_web_url("channel_url", self.channel_url)
        self._check_url()
        if self.kind == "embedded" and self.manager:
            raise ValueError('manager does not belong to kind = "embedded"')
        if self.kind != "rest" and self.private_token:
            raise ValueError('private_token belongs to kind = "rest"')
        if self.kind != "rest" and self.connections:
            raise ValueError('connections belongs to kind = "rest"')
        if self.kind != "amqp" and self.broker_ca:
            raise ValueError('broker_ca belongs to kind = "amqp"')
        if self.kind == "amqp" and self.staging == "gateway":
            raise ValueError('staging = "gateway" is not for kind = "amqp": files do not go through a broker')
        if self.kind == "embedded" and (self.scheduler or self.submit_params):
            raise ValueError('scheduler and submit_params are not for kind = "embedded"')
        check_templates(self.submit_params)
        if "bubblewrap" in self.runtimes:
            raise ValueError('"bubblewrap" does not belong in runtimes: set allow_bubblewrap = true')
        if self.network == "bridge" and self.allow_bubblewrap:
            raise ValueError('network = "bridge" is not for bubblewrap, which has "none" or "host"')
        if not self.runtimes_in_order:
            raise ValueError("runtimes is empty: name one, or set allow_bubblewrap = true")
        return self

    def _check_url(self) -> None:
        """It may hold a password, so no message shows it."""
        url = _revealed(self.url)
        if self.kind == "embedded":
            if url:
                raise ValueError('url does not belong to kind = "embedded"')
        elif not url:
            raise ValueError(f'kind = "{self.kind}" needs a url')
        elif self.kind == "rest" and not url.startswith(("http://", "https://")):
            raise ValueError("url must begin with http:// or https://")
        elif self.kind == "amqp" and not re.fullmatch(_BROKER_URL, url):
            raise ValueError("url must be amqp:// or amqps:// with a host; in user and password, %40 is @")

    @property
    def place(self) -> str:
        """Where its Pulsar is, for people: without user and password."""
        if self.url is None:
            return "in this process"
        parts = urlsplit(self.url.get_secret_value())
        host = parts.netloc.rpartition("@")[2]
        if self.kind == "amqp":
            return f"behind the broker at {host}"
        return f"at {parts.scheme}://{host}{parts.path}"

    @property
    def rest_connections(self) -> int:
        """A stock Pulsar has four threads: more requests would only wait there. But 10,000 jobs need more."""
        return self.connections or min(64, max(4, self.max_running // 100))

    @property
    def max_ram_mb(self) -> int | None:
        """Of all jobs at one time."""
        return _megabytes(self.max_ram_gb)

    @property
    def most_cores(self) -> int | None:
        """That one task can have."""
        return _least(self.task_max_cores, self.max_cores)

    @property
    def most_ram_mb(self) -> int | None:
        """That one task can have."""
        return _least(_megabytes(self.task_max_ram_gb), self.max_ram_mb)

    @property
    def most_disk_mb(self) -> int | None:
        """That one task can have."""
        return _megabytes(self.task_max_disk_gb)

    @property
    def runtimes_in_order(self) -> tuple[str, ...]:
        """What the worker tries, bubblewrap last and only where it is allowed."""
        return self.runtimes + (("bubblewrap",) if self.allow_bubblewrap else ())

    @property
    def site_python(self) -> str:
        """The Python that runs the worker."""
        return self.python or (sys.executable if self.kind == "embedded" else "python3")


class StoreSettings(_Table):
    """Where tasks are kept: in the data folder, or in a MongoDB, which several servers may share."""

    url: SecretStr = Field(
        SecretStr("sqlite:"), description="sqlite: (in the data folder), or mongodb://user:password@host:port"
    )
    database: str = Field("tesp", description="mongodb: the name of the database")

    @field_validator("url")
    @classmethod
    def _known(cls, url: SecretStr) -> SecretStr:
        text = url.get_secret_value()
        if text != "sqlite:" and not text.startswith(("mongodb://", "mongodb+srv://")):
            raise ValueError('must be "sqlite:" or begin with mongodb:// or mongodb+srv://')
        return url

    @field_validator("database")
    @classmethod
    def _is_name(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,63}", name):
            raise ValueError("must be 1 to 63 letters, digits, hyphens and underscores")
        return name

    @property
    def kind(self) -> Literal["sqlite", "mongodb"]:
        """Which store it is."""
        return "sqlite" if self.url.get_secret_value() == "sqlite:" else "mongodb"

    def __str__(self) -> str:
        return "SQLite, in the data folder" if self.kind == "sqlite" else f"MongoDB, database {self.database}"


class Settings(_Table):
    """Everything that can be set. Field descriptions are the reference."""

    data_dir: Path = Field(
        default_factory=lambda: (
            Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser() / "tesp"
        ),
        description="the embedded store and the embedded Pulsar live here; one server at a time; "
        "~/.local/share/tesp, unless set",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="of the server's log")
    log_format: Literal["text", "json"] = Field("text", description="json: each line of the log is an object")
    secret_key: SecretStr | None = Field(
        None,
        description="seals tasks' secrets and signs work orders: 32 characters or more, the same for all "
        "servers on one database; made in the data folder, unless set",
    )
    server: ServerSettings = ServerSettings()
    auth: AuthSettings = AuthSettings()
    issuers: dict[str, IssuerSettings] = Field(default_factory=dict)
    audit: AuditSettings = AuditSettings()
    metrics: MetricsSettings = MetricsSettings()
    tracing: TracingSettings = TracingSettings()
    limits: LimitSettings = LimitSettings()
    store: StoreSettings = StoreSettings()
    service: ServiceSettings = ServiceSettings()
    logs: LogSettings = LogSettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    retries: RetrySettings = RetrySettings()
    deadlines: DeadlineSettings = DeadlineSettings()
    retention: RetentionSettings = RetentionSettings()
    channel: ChannelSettings = ChannelSettings()
    transfers: TransferSettings = TransferSettings()
    wes: WesSettings = WesSettings()
    credentials: dict[str, CredentialSettings] = Field(default_factory=dict)
    destinations: dict[str, DestinationSettings] = Field(
        default_factory=lambda: {"local": DestinationSettings()}, min_length=1
    )

    @field_validator("data_dir")
    @classmethod
    def _resolved(cls, data_dir: Path) -> Path:
        return data_dir.expanduser().absolute()

    @field_validator("secret_key")
    @classmethod
    def _long_enough(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and len(key.get_secret_value()) < 32:
            raise ValueError("must have 32 characters or more; `openssl rand -hex 32` makes one")
        return key

    @field_validator("credentials")
    @classmethod
    def _can_be_listed(cls, named: dict[str, CredentialSettings]) -> dict[str, CredentialSettings]:
        for name in named:
            if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name):
                raise ValueError(f"{name[:80]!r} must be 1 to 64 letters, digits, dots, hyphens, underscores")
        return named

    @model_validator(mode="after")
    def _one_embedded(self) -> "Settings":
        embedded = [name for name, one in self.destinations.items() if one.kind == "embedded"]
        if len(embedded) > 1:
            raise ValueError(f"destinations: only one can be embedded, not {', '.join(embedded)}")
        return self

    @model_validator(mode="after")
    def _somebody_can_log_in(self) -> "Settings":
        if "oidc" in self.auth.modes and not self.issuers:
            raise ValueError('auth.modes has "oidc", which needs a table [default.issuers.NAME]')
        urls = [issuer.url for issuer in self.issuers.values()]
        if len(set(urls)) < len(urls):
            raise ValueError("issuers: two of them have the same url")
        return self

    @model_validator(mode="after")
    def _channel_is_called(self) -> "Settings":
        called = self.channel.url or any(site.channel_url for site in self.destinations.values())
        if self.channel.port is not None and not called:
            raise ValueError("channel.port needs channel.url, by which workers are told where it is")
        return self

    @property
    def has_embedded_pulsar(self) -> bool:
        """Whether a Pulsar runs in the server's own process, with its files in the data folder."""
        return any(site.kind == "embedded" for site in self.destinations.values())

    @property
    def has_gateway(self) -> bool:
        """Whether this server moves files for a destination, by way of a spool in the data folder."""
        return any(site.staging == "gateway" for site in self.destinations.values())


def load_settings(**overrides: Any) -> Settings:
    """Read and check the settings; `overrides` (nested dicts, as from a command line) win over all sources.

    Raises:
        SettingsError: names every key that is unknown or has a wrong value, or the profile or file that
            does not exist.
    """
    values, file = read_sources(overrides)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(_explain(error, file)) from None


def _explain(error: ValidationError, file: Path | None) -> str:
    lines = [f"the settings are wrong (file: {file or 'none'}, environment: {ENV_PREFIX}_*):"]
    for fault in error.errors(include_url=False, include_input=False):
        key = ".".join(str(part) for part in fault["loc"]) or "settings"
        if fault["type"] == "extra_forbidden":
            lines.append(f"  {key}: there is no such setting")
        else:
            lines.append(f"  {key}: {fault['msg'].removeprefix('Value error, ')}")
    return "\n".join(lines)
