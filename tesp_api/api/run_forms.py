"""A request that starts a run, as a form with files or as JSON.

Form fields that some clients send as files (with a file name) are read all the same.
Source: WES 1.1, RunWorkflow.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, BinaryIO, NamedTuple

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from tesp_api.errors import Fault, InvalidRequest
from tesp_api.tes.json_body import BODY, read_json
from tesp_api.wes.requests import (
    MOST_ATTACHMENTS,
    OBJECTS,
    TEXTS,
    attachment_name,
    check_places,
    read_form_value,
)

_ATTACHMENTS = ("workflow_attachment", "workflow_attachment[]")
logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of what clients send wrong

_MOST_FIELDS = 1000
_MOST_PARAMS_BYTES = 64 * 1024**2
"""Of a field that is no file: it is kept in memory."""

_KNOWN = frozenset({*TEXTS, *OBJECTS})


class RunForm(NamedTuple):
    """The fields by name, and the attached files, open, by their paths."""

    fields: dict[str, Any]
    attachments: dict[str, BinaryIO]


@asynccontextmanager
async def run_form(request: Request, max_body_bytes: int) -> AsyncIterator[RunForm]:
    """What the request brings; its files are closed, and gone, afterwards.

    Raises:
        InvalidRequest: it cannot be read, or has a file name that leads elsewhere.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in ("multipart/form-data", "application/x-www-form-urlencoded"):
        yield RunForm(_json_fields(await request.body()), {})
        return
    form = request.form(
        max_files=MOST_ATTACHMENTS,
        max_fields=_MOST_FIELDS,
        max_part_size=min(max_body_bytes, _MOST_PARAMS_BYTES),
    )
    async with form as data:
        yield await _read(data)


def _json_fields(body: bytes) -> dict[str, Any]:
    if not body:
        raise InvalidRequest(
            [Fault(BODY, "is empty: send multipart/form-data, or JSON with the same fields")]
        )
    value = read_json(body)
    if not isinstance(value, dict):
        raise InvalidRequest([Fault(BODY, "must be a form, or a JSON object with the fields of RunRequest")])
    return {name: value[name] for name in value if name in _KNOWN}


async def _read(data: FormData) -> RunForm:
    fields: dict[str, Any] = {}
    files: dict[str, BinaryIO] = {}
    faults: list[Fault] = []
    for name, value in data.multi_items():
        try:
            if name in _ATTACHMENTS:
                if isinstance(value, UploadFile):
                    _attach(files, value)
                elif value:
                    raise InvalidRequest([Fault(name, "must be a file, with a filename")])
            elif name in _KNOWN:
                if name in fields:
                    raise InvalidRequest([Fault(name, "is there twice")])
                fields[name] = read_form_value(name, await _text(name, value))
        except InvalidRequest as error:
            faults += error.faults
    if faults:
        raise InvalidRequest(faults)
    check_places(files)
    return RunForm(fields, files)


def _attach(files: dict[str, BinaryIO], upload: UploadFile) -> None:
    if not upload.filename and not upload.size:  # how browsers send that no file was chosen
        return
    name = attachment_name(upload.filename or "")
    if name in files:
        raise InvalidRequest([Fault("workflow_attachment", f"the filename {name[:200]!r} is there twice")])
    files[name] = upload.file


async def _text(name: str, value: str | UploadFile) -> str:
    if isinstance(value, str):
        return value
    try:
        return (await value.read()).decode()
    except UnicodeDecodeError:
        raise InvalidRequest([Fault(name, "is not UTF-8")]) from None
