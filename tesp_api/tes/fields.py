"""The kinds of fields that a task has, each with the rules that it must keep to by itself.

A rule says what is wrong in words for the client. The rules between fields are in `placement.py`.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool
from pydantic_core import PydanticCustomError

from tesp_api.tes import paths, urls

_ARGUMENT_MAX_BYTES = 128 * 1024 - 1  # Source: Linux, MAX_ARG_STRLEN
_INT32_MAX = 2**31 - 1
_MOST_GB = 10**9


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
    if not image.isprintable() or any(map(str.isspace, image)):
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
    """One fault for the whole object, which names all that is wrong with it."""
    faults = []
    if wrong := [name for name in env if not name or "=" in name or not name.isprintable()]:
        faults.append("not the names of environment variables: " + _some(wrong))
    if long := [name for name, value in env.items() if _argument_fault(f"{name}={value}")]:
        faults.append(
            f"longer than Linux allows ({_ARGUMENT_MAX_BYTES} bytes), pass them as an input's content: "
            + _some(long)
        )
    if faults:
        raise refusal("; ".join(faults))
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
ContainerPath = Annotated[str, _following(paths.path_fault)]
StreamPath = Annotated[str, _following(paths.stream_fault)]
TargetUrl = Annotated[Text, _following(urls.url_fault)]
Image = Annotated[Text, _following(_image_fault)]
Argument = Annotated[Text, _following(_argument_fault)]
Command = Annotated[
    list[Argument], Field(fail_fast=True, json_schema_extra={"minItems": 1}), AfterValidator(_check_command)
]
Environment = Annotated[dict[str, str], _map_of_texts(None), AfterValidator(_check_env)]
Texts = Annotated[list[Text], Field(fail_fast=True)]
TextMap = Annotated[dict[str, str], _map_of_texts("")]
Type = Annotated[FileType, BeforeValidator(_file_if_null)]
Flag = Annotated[StrictBool, Field(json_schema_extra={"format": "boolean"})]  # Source: TES 1.1, tesResources
Gigabytes = Annotated[
    float,
    BeforeValidator(_check_size),
    Field(json_schema_extra={"format": "double", "minimum": 0, "maximum": _MOST_GB}),
]
Cores = Annotated[
    int,
    BeforeValidator(_check_cores),
    Field(json_schema_extra={"format": "int32", "minimum": 0, "maximum": _INT32_MAX}),
]
