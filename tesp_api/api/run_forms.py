"""A request that starts a run, as a form with files or as JSON.

Form fields that some clients send as files (with a file name) are read all the same.
Source: WES 1.1, RunWorkflow.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, BinaryIO, NamedTuple

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
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

_MULTIPART = "multipart/form-data"
_MOST_FIELDS = 1000
_MOST_FIELDS_BYTES = 16 * 1024**2
"""Of all that is no attachment, which is kept in memory; and of that which comes as files in spite of it."""

_KNOWN = frozenset({*TEXTS, *OBJECTS})


class RunForm(NamedTuple):
    """The fields by name, and the attached files, open, by their paths."""

    fields: dict[str, Any]
    attachments: dict[str, BinaryIO]


@asynccontextmanager
async def run_form(request: Request) -> AsyncIterator[RunForm]:
    """What the request brings; its files are closed, and gone, afterwards.

    Raises:
        InvalidRequest: it cannot be read, or has a file name that leads elsewhere.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in (_MULTIPART, "application/x-www-form-urlencoded"):
        yield RunForm(await asyncio.to_thread(_json_fields, await request.body()), {})
        return
    data = await (_multipart(request) if content_type == _MULTIPART else _urlencoded(request))
    try:
        yield await _read(data)
    finally:
        await data.close()


class _Parts(MultiPartParser):
    """Names the field with which there is too much to be kept in memory."""

    _fields_bytes = 0

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current_part.file is None:
            self._fields_bytes += end - start
            if self._fields_bytes > _MOST_FIELDS_BYTES:
                raise InvalidRequest([_too_large(self._current_part.field_name)])
        super().on_part_data(data, start, end)


async def _multipart(request: Request) -> FormData:
    parts = _Parts(
        request.headers,
        request.stream(),
        max_files=MOST_ATTACHMENTS,
        max_fields=_MOST_FIELDS,
        max_part_size=_MOST_FIELDS_BYTES,
    )
    try:
        return await parts.parse()
    except MultiPartException as error:
        raise HTTPException(400, error.message) from None


async def _urlencoded(request: Request) -> FormData:
    return await request.form(max_fields=_MOST_FIELDS, max_part_size=_MOST_FIELDS_BYTES)


def _too_large(name: str) -> Fault:
    said = f"is too large: all fields together may have {_MOST_FIELDS_BYTES} bytes; pass large data by URL, "
    return Fault(name[:80], said + "or attach it")


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
    left_bytes = _MOST_FIELDS_BYTES
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
                if isinstance(value, UploadFile) and (left_bytes := left_bytes - (value.size or 0)) < 0:
                    raise InvalidRequest([_too_large(name)])
                fields[name] = await asyncio.to_thread(read_form_value, name, await _text(name, value))
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
