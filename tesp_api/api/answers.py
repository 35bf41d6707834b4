"""Answers in JSON, without a detour through models: what is sent was valid when it was stored."""

from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json
from starlette.responses import Response


def json_answer(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`content`, which must be plain JSON values, as a response."""
    return Response(to_json(content), status, headers, media_type="application/json")


def json_bytes_answer(content: bytes) -> Response:
    """`content`, which is JSON already, as a response."""
    return Response(content, media_type="application/json")
