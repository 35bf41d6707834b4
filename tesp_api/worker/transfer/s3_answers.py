"""What S3 answers: its XML, read without any entities, and its errors."""

from __future__ import annotations

from datetime import datetime
from email.utils import mktime_tz, parsedate_tz
from http.client import HTTPException, HTTPResponse
from typing import Iterable, Sequence, Tuple
from urllib.parse import parse_qsl, urlsplit
from xml.parsers import expat

from ..urls import hide
from . import BUFFER_BYTES, Site
from .connection import Exchange
from .lending import Signed
from .retry import Passing, Refused
from .statements import asked_pause_s

FOREIGN = (HTTPException,)
ANSWER_MAX_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 16
SECRETS = ("x-amz-signature", "x-amz-credential", "x-amz-security-token", "policy")
PASSING_STATUSES = (307, 408, 425, 429)
LASTING_STATUSES = (501, 505)
PASSING_CODES = (
    "SlowDown",
    "InternalError",
    "ServiceUnavailable",
    "RequestTimeout",
    "RequestExpired",
    "ExpiredToken",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    "OperationAborted",
    "ConditionalRequestConflict",
    "BadDigest",
    "IncompleteBody",
)
MISSING_CODES = ("NoSuchKey", "NoSuchUpload")

Fields = Sequence[Tuple[str, str]]


class Missing(Refused):
    """There is no such key or upload, whereas the bucket is there."""


class Node:
    """An element of XML, without its attributes and namespace."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = ""
        self.children: list[Node] = []

    def all(self, name: str) -> list[Node]:
        return [child for child in self.children if child.name == name]

    def said(self, name: str) -> str:
        """The text of the first child of that name; "" without one."""
        return next((child.text for child in self.children if child.name == name), "")


def read_xml(data: bytes) -> Node:
    """The outermost element.

    Raises: ValueError for what is no XML, has a document type (and with it, perhaps, entities that grow), or
    is nested too deeply.
    """
    top = Node("")
    stack, texts = [top], [[""]]

    def start(name: str, attributes: dict[str, str]) -> None:
        if len(stack) > MAX_DEPTH:
            raise ValueError("the XML is nested too deeply")
        node = Node(name.rpartition(":")[2])
        stack[-1].children.append(node)
        stack.append(node)
        texts.append([])

    def end(name: str) -> None:
        stack.pop().text = "".join(texts.pop())

    def refuse(*_: object) -> None:
        raise ValueError("the XML has a document type")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = lambda text: texts[-1].append(text)
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise ValueError(f"this is no XML: {error}") from None
    return top.children[0]


def read_answer(response: HTTPResponse, site: Site, limit_bytes: int = ANSWER_MAX_BYTES) -> bytes:
    """The whole body. Raises: Passing if it ends early, Refused if it is too long."""
    data = b""
    while len(data) <= limit_bytes:
        site.cancellation.check()
        more = response.read(BUFFER_BYTES)
        if not more:
            break
        data += more
    if len(data) > limit_bytes:
        raise Refused(f"the answer has more than {limit_bytes} bytes")
    if response.length:
        raise Passing(f"the answer ended {response.length} bytes early")
    return data


def read_document(response: HTTPResponse, site: Site, wanted: str) -> Node:
    """The answer's XML, whose outermost element must be `wanted`.

    S3 may say 200 and then tell of an error. Raises: Passing, Refused.
    """
    try:
        document = read_xml(read_answer(response, site))
    except ValueError as error:
        raise Refused(f"{wanted} was expected, but {error}") from None
    if document.name == "Error":
        raise failure(response.status, document)
    if document.name != wanted:
        raise Refused(f"{wanted} was expected, and {document.name[:80]} came")
    return document


def require(exchange: Exchange, wanted: Iterable[int], site: Site, signature: Fields, what: str = "") -> None:
    """Raises: Passing, Refused for a status that is not wanted, with what S3 says of it.

    `signature` are the fields with which the request is signed. If they have expired, that passes, even if S3
    only says that access is denied: the next try is signed anew.
    """
    response = exchange.response
    if response.status in wanted:
        return
    try:
        document = read_xml(read_answer(response, site))
    except (ValueError, Passing, Refused):
        document = Node("")
    error = failure(response.status, document, f" {response.reason}".rstrip())
    text = hide(f"{what}{error}", _secrets_in(signature))
    if response.status == 403 and _has_expired(signature, response.headers.get("Date", "")):
        raise Passing(f"{text}: the signature has expired")
    if isinstance(error, Passing):
        raise Passing(text, asked_pause_s(response.headers))
    raise type(error)(text)


def failure(status: int, document: Node, reason: str = "") -> Passing | Refused:
    """The error that an answer tells of."""
    code, message = document.said("Code")[:100], document.said("Message")[:1000].strip()
    said = ": ".join(filter(None, (code, message, document.said("Endpoint")[:200])))
    text = f"{said} (status {status}{reason})" if said else f"status {status}{reason}"
    has_expired = status == 403 and "has expired" in message.lower()
    is_busy = status in PASSING_STATUSES or (status >= 500 and status not in LASTING_STATUSES)
    if code in PASSING_CODES or has_expired or is_busy:
        return Passing(text)
    return Missing(text) if code in MISSING_CODES else Refused(text)


def fields_of(signed: Signed) -> Fields:
    """Those with which a request is signed, and the others of its query."""
    return parse_qsl(urlsplit(signed.url).query)


def _secrets_in(signature: Fields) -> list[str]:
    """What a server might repeat, and nobody should read."""
    found = {name.lower(): value for name, value in signature if name.lower() in SECRETS}
    key_id = found.get("x-amz-credential", "").partition("/")[0]
    return [value for value in (*found.values(), key_id) if value]


def _has_expired(signature: Fields, date: str) -> bool:
    """By the server's clock."""
    fields = dict(signature)
    now = parsedate_tz(date)
    try:
        signed_at = datetime.strptime(fields["X-Amz-Date"] + "+0000", "%Y%m%dT%H%M%SZ%z").timestamp()
        return now is not None and mktime_tz(now) > signed_at + int(fields["X-Amz-Expires"])
    except (KeyError, ValueError, OverflowError):
        return False
