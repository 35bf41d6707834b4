"""The task as clients send it, as the standard defines it, and the views in which it is shown.

The models take what real clients send: a null counts as absent, unknown fields and those that the server
fills in (id, state, logs, creation_time) are ignored. Each field's own rules are in `fields.py`, so that
pydantic reports all faults at once; the rules between fields are in `placement.py`. The texts here are what
the OpenAPI document tells a client.
Source: TES 1.1, tesTask.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool

from tesp_api.tes.fields import (
    Command,
    ContainerPath,
    Cores,
    Environment,
    FileType,
    Flag,
    Gigabytes,
    Image,
    Place,
    StreamPath,
    TargetUrl,
    Text,
    TextMap,
    Texts,
    Type,
    refusal,
)

MOST_FILES = 10_000
"""Inputs, and outputs, that one task may have."""

_MOST_EXECUTORS = 1_000
_MOST_VOLUMES = 1_000
_MOST_TAGS = 1_000


class View(StrEnum):
    """How much of a task is shown. Source: TES 1.1, parameter `view`."""

    MINIMAL = "MINIMAL"
    BASIC = "BASIC"
    FULL = "FULL"


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Input(_Part):
    """A file or directory that is there before the first executor starts.

    `content` wins over `url` unless it is empty. An empty content without a url is an empty file.
    """

    name: Text | None = Field(None, description="For people; nothing depends on it.")
    description: Text | None = Field(None, description="For people; nothing depends on it.")
    url: Text | None = Field(
        None,
        description="Where to fetch it: `http://`, `https://`, `ftp://`, `ftps://`, `s3://` (keys letter by "
        "letter: nothing is percent-decoded), `file://` or an absolute path. The latter two are read at the "
        "compute site, and must lie in a folder that service-info lists as storage. A user and a password "
        "before the host are used, but neither kept in the task nor shown. Needed unless there is content.",
        examples=["https://example.org/genome.fa"],
    )
    path: Place = Field(
        description="Where the containers see it: absolute, without `..`, not in /proc, /sys or /dev. Two "
        "inputs cannot share a path.",
        examples=["/data/genome.fa"],
    )
    type: Type = Field(
        FileType.FILE,
        description="A DIRECTORY is fetched with all below it; by HTTP, as far as the server's index pages "
        "list it.",
    )
    content: Text | None = Field(
        None,
        description="The file itself, as text, written as UTF-8. Only the limit of the whole request's size "
        "applies. Not shown in the view BASIC.",
    )
    streamable: StrictBool | None = Field(
        None, description="Kept and shown, but inputs are always copied or mounted whole."
    )


class Output(_Part):
    """A file or directory (or, with wildcards, several) that is sent to `url` at the end.

    One that was not made ends the task SYSTEM_ERROR. After an executor's failure those that exist are sent.
    """

    name: Text | None = Field(None, description="For people; nothing depends on it.")
    description: Text | None = Field(None, description="For people; nothing depends on it.")
    url: TargetUrl = Field(
        description="Where to send it: `http://` and `https://` by PUT (by POST where PUT is refused), "
        "`ftp://`, `ftps://`, `s3://`, `file://` or an absolute path at the compute site, in a storage "
        "folder. For a DIRECTORY or with wildcards it is the directory to which relative paths are added. A "
        "user and a password before the host are used, but neither kept in the task nor shown.",
        examples=["file:///data/results/counts.txt"],
    )
    path: Place = Field(
        description="Where the executors leave it. The wildcards `*`, `?` and `[...]` may stand for parts of "
        "names: they match neither a slash nor a dot that begins a name. A directory that matches is sent "
        "whole. A pattern that nothing matches counts as an output that was not made.",
        examples=["/data/counts.txt"],
    )
    path_prefix: Text | None = Field(
        None,
        description="What to cut off the paths that the wildcards found before they are added to the url: a "
        "directory above the first wildcard. Needed with wildcards and ignored without.",
    )
    type: Type = Field(FileType.FILE, description="A DIRECTORY is sent file by file, links followed.")


class Executor(_Part):
    """A command and the container in which it runs."""

    image: Image = Field(
        description="The container image, as the site's runtime (docker, podman, apptainer, singularity) "
        "takes it; pulled if it is not there.",
        examples=["alpine:3"],
    )
    command: Command = Field(
        description="The program and its arguments. No shell is involved: for pipes give `sh -c ...`. An "
        "argument has at most 128 KiB.",
        examples=[["wc", "-l", "/data/genome.fa"]],
    )
    workdir: ContainerPath | None = Field(
        None, description="Absolute; made if it is missing. Without it, the image's own.", examples=["/data"]
    )
    stdin: StreamPath | None = Field(
        None, description="A file in the container to read from, or /dev/null, which is also the default."
    )
    stdout: StreamPath | None = Field(
        None, description="A file in the container to write to; the log has the text in any case."
    )
    stderr: StreamPath | None = Field(
        None, description="Like stdout. Both may name the same file, and then share it."
    )
    env: Environment | None = Field(
        None, description="Set in the container besides the image's own; a variable that is null is left out."
    )
    ignore_error: StrictBool | None = Field(
        None, description="Go on to the next executor even if this one's exit code is not 0."
    )


class Resources(_Part):
    """What the task asks for; 0 asks for nothing in particular (clients built on protobuf send it)."""

    cpu_cores: Cores | None = Field(
        None,
        description="Each container gets so many at most, and no more than the machine has.",
        examples=[2],
    )
    preemptible: Flag | None = Field(None, description="Kept and shown, without effect.")
    ram_gb: Gigabytes | None = Field(
        None, description="The limit of each container's memory, in units of 10^9 bytes.", examples=[1.5]
    )
    disk_gb: Gigabytes | None = Field(
        None, description="If less than that (times 10^9 bytes) is free, system_logs say so; the task runs."
    )
    zones: Texts | None = Field(None, description="Kept and shown, without effect.")
    backend_parameters: TextMap | None = Field(
        None,
        description="`credentials` names credentials of the server's settings that the task's URLs need, "
        "separated by commas. `checksums` (md5, sha1, sha512) are told of outputs besides their SHA-256. "
        "`copied_inputs`, a JSON list of paths, are copied even where the site would mount them. "
        "Keys that service-info does not list are left out, and system_logs say which. "
        "Upper and lower case are the same.",
    )
    backend_parameters_strict: Flag | None = Field(
        None,
        description="Refuse a task with unknown backend_parameters instead of leaving them out.",
        json_schema_extra={"default": False},
    )


def _check_executors(executors: list[Executor]) -> list[Executor]:
    if not executors:
        raise refusal("is empty: a task needs at least one executor")
    return executors


class TaskDocument(_Part):
    """A task as a client may create it."""

    name: Text | None = Field(None, description="For people; lists can be filtered by how it begins.")
    description: Text | None = Field(None, description="For people; nothing depends on it.")
    inputs: Annotated[list[Input], Field(max_length=MOST_FILES)] | None = Field(
        None, description="What is brought into the containers before the first executor starts."
    )
    outputs: Annotated[list[Output], Field(max_length=MOST_FILES)] | None = Field(
        None, description="What is sent away after the last executor."
    )
    resources: Resources | None = Field(None, description="Without it, nothing is limited.")
    executors: Annotated[
        list[Executor], Field(max_length=_MOST_EXECUTORS), AfterValidator(_check_executors)
    ] = Field(
        description="Run one after the other, each in a new container that sees the same inputs, outputs and "
        "volumes. The first that fails ends the task, unless its ignore_error is set.",
        json_schema_extra={"minItems": 1},
    )
    volumes: Annotated[list[Place], Field(max_length=_MOST_VOLUMES)] | None = Field(
        None,
        description="Directories, empty at first, that all executors share and that end with the task.",
        examples=[["/work"]],
    )
    tags: Annotated[TextMap, Field(max_length=_MOST_TAGS)] | None = Field(
        None, description="For finding the task in lists; a null value becomes an empty one."
    )
