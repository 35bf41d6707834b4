"""Sending to S3 by a form that was signed beforehand: a POST policy."""

from __future__ import annotations

import secrets
from typing import Iterable, Iterator

from ..errors import StagingError
from ..urls import shown
from . import Moved, Site, Source
from .connection import Exchange
from .lending import Form
from .moving import Reading
from .retry import try_often
from .s3_answers import FOREIGN, require
from .s3_etags import check_etag


def send_form(source: Source, url: str, form: Form, site: Site) -> Moved:
    """Raises: StagingError, at once if it is too large; Canceled."""
    if source.size_bytes > form.max_bytes:
        raise StagingError(
            f"{shown(url)}: {source.name} has {source.size_bytes} bytes, and a site that cannot reach the "
            f"server may send {form.max_bytes} (max_upload_bytes of the credential, in the server's settings)"
        )
    return try_often(lambda: _post(source, form, site), url, site, FOREIGN)


def _post(source: Source, form: Form, site: Site) -> Moved:
    boundary = secrets.token_hex(16)
    head, tail = _frame(form, boundary)
    body = Reading(source, site, "md5")
    headers = {
        "Content-Type": f"multipart/form-data; boundary={boundary}",
        "Content-Length": str(len(head) + source.size_bytes + len(tail)),
    }
    framed = _framed(head, body, tail)
    with Exchange("POST", form.url, headers, site.patience.stall_s, framed, guard=site.guard) as exchange:
        require(exchange, (200, 201, 204), site, list(form.fields.items()), "POST: ")
        moved = body.finish()
        check_etag(exchange.response.headers, bytes.fromhex(body.digest("md5")))
    return moved


def _frame(form: Form, boundary: str) -> tuple[bytes, bytes]:
    """What comes before the file and after it. S3 wants the file last.

    The file's name stands for itself, in case that the key has the letters `${filename}`.
    """
    fields = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in form.fields.items()
    )
    file = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="${{filename}}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return (fields + file).encode(), f"\r\n--{boundary}--\r\n".encode()


def _framed(head: bytes, content: Iterable[bytes], tail: bytes) -> Iterator[bytes]:
    yield head
    yield from content
    yield tail
