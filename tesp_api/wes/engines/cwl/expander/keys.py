"""The key of a step: what it computes, told in such a way that the same step always has the same key.

Left out is all that differs from one expansion to the next: random ids, and where this run keeps its files.
A file counts by its SHA-1 where that is known, so that a step is found again whose input was made anew.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

_RANDOM = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_LENGTH = 40


class StepKeys:
    """Gives keys; a step that comes up once more gets another one. `base` is where the run's files are."""

    def __init__(self, base: str, sha1: Callable[[str], str | None]) -> None:
        self._base = base
        self._sha1 = sha1
        self._seen: Counter[str] = Counter()

    def key(self, name: str, tool: Mapping[str, Any], parts: Mapping[str, Any], inputs: Iterable[Any]) -> str:
        """For a step `name` of a tool; `parts` are what its container is told, `inputs` its files."""
        told = [name, _RANDOM.sub("~", _as_json(tool)), parts, sorted(map(self._identity, inputs))]
        digest = hashlib.sha256(_as_json(told).replace(self._base, "~/").encode()).hexdigest()[:_LENGTH]
        self._seen[digest] += 1
        return f"{digest}-{self._seen[digest] - 1}"

    def _identity(self, item: Mapping[str, Any]) -> str:
        """An input by its place and its content, as far as that is known."""
        url = item.get("url", "")
        content = item.get("content", self._sha1(url) or url)
        return _as_json([item["path"], item["type"], content])


def _as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
