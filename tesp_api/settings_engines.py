"""Settings of workflow engines: how they are held in check, and what is their own."""

from pydantic import Field

from tesp_api.settings_base import Seconds, Table


class SandboxSettings(Table):
    """How the process that expands a run is held in check: it evaluates what users wrote."""

    allow_unconfined: bool = Field(
        False,
        description="without bubblewrap, expand runs nevertheless: with an empty environment, limits and, "
        "where the server is root, as a user of its own, but with the network and files that all may read",
    )
    memory_gb: float = Field(2.0, ge=0.25, description="of one run's expansion")
    cpu_s: Seconds = Field(3600.0, description="seconds of processor time of each process of it")
    processes_max: int = Field(
        256,
        ge=16,
        description="processes and threads of it, where control groups are, the server is root, or Linux is "
        "5.14 or newer",
    )


class CwlSettings(Table):
    """Of the engine cwl."""

    spare: bool = Field(
        True, description="keep a process ready, so that a run begins at once; it takes some 60 MB of memory"
    )
    default_image: str = Field(
        "debian:stable-slim", pattern=r"^[^\s-]\S*$", description="of tools that name none"
    )


class SnakemakeSettings(Table):
    """Of the engine snakemake."""

    spare: bool = Field(
        True, description="keep a process ready, so that a run begins at once; it takes some 90 MB of memory"
    )
    default_image: str = Field(
        "debian:stable-slim", pattern=r"^[^\s-]\S*$", description="of rules that name none"
    )
    snakemake_image: str = Field(
        "",
        pattern=r"^([^\s-]\S*)?$",
        description="of rules with `run:`, such as snakemake/snakemake:v9.27.1; they are refused, unless set",
    )
