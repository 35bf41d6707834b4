"""The task as clients send it, as the standard defines it, and the views in which it is shown.

The models take what real clients send: a null counts as absent, unknown fields and those that the server
fills in (id, state, logs, creation_time) are ignored. Each field's own rules are here, so that pydantic
reports all of them at once; the rules between fields are in `placement.py`.
Source: TES 1.1, tesTask.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool
from pydantic_core import PydanticCustomError

from tesp_api.tes import paths, urls

SUPPORTED_BACKEND_PARAMETERS: tuple[str, ...] = ()
"""The keys of resources.backend_parameters that this server understands, in lower case."""

MOST_FILES = 10_000
"""Inputs, and outputs, that one task may have."""

_MOST_EXECUTORS = 1_000
_MOST_VOLUMES = 1_000
_ARGUMENT_MAX_BYTES = 128 * 1024 - 1  # Source: Linux, MAX_ARG_STRLEN
_INT32_MAX = 2**31 - 1
_MOST_GB = 10**9


class View(StrEnum):
    """How much of a task is shown. Source: TES 1.1, parameter `view`."""

    MINIMAL = "MINIMAL"
    BASIC = "BASIC"
    FULL = "FULL"


class FileType(StrEnum):
    """What an input or output is. Source: TES 1.1, tesFileType."""

    FILE = "FILE"
    DIRECTORY = "DIRECTORY"


def refusal(message: str) -> PydanticCustomError:
    """The error with which a validator says, in its own words, what is wrong."""
    return PydanticCustomError("tes", "{message}", {"message": message})


def _following(rule: Callable[[str], str | None]) -> AfterValidator:
    """A validator that refuses what `rule` finds fault with."""

    def check(value: str) -> str:
        if fault := rule(value):
            raise refusal(fault)
        return value

    return AfterValidator(check)


def _text_fault(text: str) -> str | None:
    return "contains a NUL character" if "\0" in text else None


def _image_fault(image: str) -> str | None:
    if not image:
        return "is empty: name a container image, such as alpine:3"
    if image.startswith("-"):
        return "must not begin with -"
    if any(sign.isspace() or not sign.isprintable() for sign in image):
        return "must not contain spaces or control characters: give the image's name alone"
    return None


def _argument_fault(argument: str) -> str | None:
    if len(argument) > _ARGUMENT_MAX_BYTES // 4 and len(argument.encode()) > _ARGUMENT_MAX_BYTES:
        return f"is longer than Linux allows ({_ARGUMENT_MAX_BYTES} bytes): pass it as an input's content"
    return None


def _check_command(command: list[str]) -> list[str]:
    if not command:
        raise refusal("is empty: give the program to run and its arguments")
    if not command[0]:
        raise refusal("names no program: its first item is empty")
    return command


def _check_env(env: dict[str, str]) -> dict[str, str]:
    for name, value in env.items():
        if not name or "=" in name or not name.isprintable():
            raise refusal(f"{name[:80]!r} cannot be the name of an environment variable")
        if _argument_fault(f"{name}={value}"):
            raise refusal(f"the value of {name[:80]!r} {_argument_fault(f'{name}={value}')}")
    return env


def _map_of_texts(of_null: str | None) -> BeforeValidator:
    """Take an object whose values are strings; a null value becomes `of_null`, or goes if that is None.

    One fault for the whole object, so that a hostile one cannot fill the memory with faults.
    """

    def check(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        texts = {key: of_null if item is None else item for key, item in value.items()}
        wrong = [key for key, item in texts.items() if not (item is None or isinstance(item, str))]
        if wrong:
            raise refusal("the values must be strings; these are not: " + _some(wrong))
        nul = [key for key, item in texts.items() if "\0" in key or "\0" in (item or "")]
        if nul:
            raise refusal("contains NUL characters at " + _some(nul))
        return {key: item for key, item in texts.items() if item is not None}

    return BeforeValidator(check)


def _some(keys: list[str]) -> str:
    named = ", ".join(repr(key[:80]) for key in keys[:5])
    return f"{named} and {len(keys) - 5} more" if len(keys) > 5 else named


def _check_size(value: Any) -> Any:
    _check_number(value, _MOST_GB)
    return value


def _check_cores(value: Any) -> Any:
    _check_number(value, _INT32_MAX)
    if value != int(value):
        raise refusal("must be a whole number of cores")
    return int(value)


def _check_number(value: Any, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refusal("must be a number")
    if not 0 <= value <= most:  # NaN fails this too
        raise refusal(f"must be between 0 and {most}")


def _file_if_null(value: Any) -> Any:
    return FileType.FILE if value is None else value


Text = Annotated[str, _following(_text_fault)]
Place = Annotated[str, _following(paths.place_fault)]
StreamPath = Annotated[str, _following(paths.stream_fault)]
Argument = Annotated[Text, _following(_argument_fault)]
Type = Annotated[FileType, BeforeValidator(_file_if_null)]
Gigabytes = Annotated[float, BeforeValidator(_check_size)]
Cores = Annotated[int, BeforeValidator(_check_cores)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Input(_Part):
    """A file or directory that is there before the first executor starts.

    `content` wins over `url` unless it is empty. An empty content without a url is an empty file.
    """

    name: Text | None = None
    description: Text | None = None
    url: Text | None = None
    path: Place
    type: Type = FileType.FILE
    content: Text | None = None
    streamable: StrictBool | None = None


class Output(_Part):
    """A file or directory (or, with wildcards, several) that is sent to `url` at the end."""

    name: Text | None = None
    description: Text | None = None
    url: Annotated[Text, _following(urls.url_fault)]
    path: Place
    path_prefix: Text | None = None
    type: Type = FileType.FILE


class Executor(_Part):
    """A command and the container in which it runs."""

    image: Annotated[Text, _following(_image_fault)]
    command: Annotated[list[Argument], Field(fail_fast=True), AfterValidator(_check_command)]
    workdir: Annotated[str, _following(paths.path_fault)] | None = None
    stdin: StreamPath | None = None
    stdout: StreamPath | None = None
    stderr: StreamPath | None = None
    env: Annotated[dict[str, str], _map_of_texts(None), AfterValidator(_check_env)] | None = None
    ignore_error: StrictBool | None = None


class Resources(_Part):
    """What the task asks for; 0 asks for nothing in particular (clients built on protobuf send it)."""

    cpu_cores: Cores | None = None
    preemptible: StrictBool | None = None
    ram_gb: Gigabytes | None = None
    disk_gb: Gigabytes | None = None
    zones: Annotated[list[Text], Field(fail_fast=True)] | None = None
    backend_parameters: Annotated[dict[str, str], _map_of_texts("")] | None = None
    backend_parameters_strict: StrictBool | None = None


def _check_executors(executors: list[Executor]) -> list[Executor]:
    if not executors:
        raise refusal("is empty: a task needs at least one executor")
    return executors


class TaskDocument(_Part):
    """A task as a client may create it."""

    name: Text | None = None
    description: Text | None = None
    inputs: Annotated[list[Input], Field(max_length=MOST_FILES)] | None = None
    outputs: Annotated[list[Output], Field(max_length=MOST_FILES)] | None = None
    resources: Resources | None = None
    executors: Annotated[list[Executor], Field(max_length=_MOST_EXECUTORS), AfterValidator(_check_executors)]
    volumes: Annotated[list[Place], Field(max_length=_MOST_VOLUMES)] | None = None
    tags: Annotated[dict[str, str], _map_of_texts("")] | None = None
