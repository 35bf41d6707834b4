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

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from tesp_api.errors import SettingsError
from tesp_api.settings_sources import ENV_PREFIX, read_sources

Runtime = Literal["docker", "podman", "apptainer", "singularity", "bubblewrap"]
Seconds = Annotated[float, Field(gt=0)]
Bytes = Annotated[int, Field(gt=0)]
Origin = Annotated[str, Field(pattern=r"^(\*|https?://[^/\s?#@]+)$")]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


class ServerSettings(_Table):
    """Where the API listens and what it accepts."""

    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535, description="0 takes any free port")
    max_body_bytes: Bytes = Field(8 * 1024**2, description="a larger request body is answered with 413")
    root_path: str = Field(
        "", pattern=r"^(/[\w.~-]+)*$", description="the path that a proxy puts before all of ours: /tes"
    )
    cors_origins: tuple[Origin, ...] = Field(
        (), description='web pages from these may use the API in a browser: https://portal.org, or "*"'
    )


class ServiceSettings(_Table):
    """What `service-info` says about this service."""

    id: str = "org.tesp.tes"
    name: str = "TESP"
    description: str = "GA4GH TES on Pulsar"
    organization_name: str = "TESP"
    organization_url: str = "https://github.com/ga4gh/task-execution-schemas"
    environment: str = "prod"


class LogSettings(_Table):
    """How much of the executors' stdout and stderr is kept and shown."""

    tail_bytes: Bytes = Field(65536, description="the tail of each stream that FULL view shows")
    max_bytes: Bytes = Field(
        64 * 1024**2, description="kept of each stream: the first half and the last half of it"
    )
    chunk_bytes: int = Field(65536, ge=1024, description="the unit in which logs travel and are stored")


class SchedulerSettings(_Table):
    """How the runner claims tasks and watches their jobs."""

    lease_s: Seconds = Field(30.0, description="a runner that is silent so long loses its tasks to others")
    scan_s: Seconds = Field(1.0, description="the store is looked at so often even if nobody rings")
    poll_min_s: Seconds = Field(0.05, description="a job's files are looked at so often at first")
    poll_max_s: Seconds = Field(5.0, description="... and so often in the end, when nothing happens")
    heartbeat_s: Seconds = Field(5.0, description="the worker shows so often that it lives")
    lost_after_s: Seconds = Field(60.0, description="a worker silent so long is lost: SYSTEM_ERROR")
    cancel_grace_s: Seconds = Field(3.0, description="given to the worker before Pulsar kills the job")


class RetentionSettings(_Table):
    """How long tasks that have ended are kept."""

    finished_age_s: Seconds | None = Field(
        None, description="tasks that ended so long ago are deleted, with their logs; never, unless set"
    )


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


class DestinationSettings(_Table):
    """A Pulsar, and what its site allows."""

    kind: Literal["embedded", "rest"] = "embedded"
    url: str | None = Field(None, description="rest: where Pulsar answers")
    private_token: SecretStr | None = Field(None, description="rest: Pulsar's private_token")
    manager: str | None = Field(None, description="rest: a named manager instead of the default one")
    python: str | None = Field(None, description="the site's Python (>= 3.9); embedded: our own")
    max_running: int = Field(
        default_factory=lambda: max(4, os.cpu_count() or 1), ge=1, description="jobs at one time"
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
    network: Literal["default", "none", "host"] = "default"
    file_roots: tuple[FileRoot, ...] = ()

    @model_validator(mode="after")
    def _fits_kind(self) -> "DestinationSettings":
        if self.kind == "rest" and not self.url:
            raise ValueError('kind = "rest" needs a url')
        if self.kind == "rest" and not str(self.url).startswith(("http://", "https://")):
            raise ValueError("url must begin with http:// or https://")
        if self.kind == "embedded" and (self.url or self.private_token or self.manager):
            raise ValueError('url, private_token and manager belong to kind = "rest"')
        if "bubblewrap" in self.runtimes:
            raise ValueError('"bubblewrap" does not belong in runtimes: set allow_bubblewrap = true')
        if not self.runtimes_in_order:
            raise ValueError("runtimes is empty: name one, or set allow_bubblewrap = true")
        return self

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
        description="the embedded store and the embedded Pulsar live here; one server at a time",
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    server: ServerSettings = ServerSettings()
    store: StoreSettings = StoreSettings()
    service: ServiceSettings = ServiceSettings()
    logs: LogSettings = LogSettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    retention: RetentionSettings = RetentionSettings()
    destinations: dict[str, DestinationSettings] = Field(
        default_factory=lambda: {"local": DestinationSettings()}, min_length=1
    )

    @field_validator("data_dir")
    @classmethod
    def _resolved(cls, data_dir: Path) -> Path:
        return data_dir.expanduser().absolute()

    @model_validator(mode="after")
    def _one_embedded(self) -> "Settings":
        embedded = [name for name, one in self.destinations.items() if one.kind == "embedded"]
        if len(embedded) > 1:
            raise ValueError(f"destinations: only one can be embedded, not {', '.join(embedded)}")
        return self

    @property
    def has_embedded_pulsar(self) -> bool:
        """Whether a Pulsar runs in the server's own process, with its files in the data folder."""
        return any(site.kind == "embedded" for site in self.destinations.values())


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
