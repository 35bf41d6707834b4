"""The key of a step: what it computes, told in such a way that the same step always has the same key.

Left out is all that differs from one expansion to the next: random ids, and where this run keeps its files.
Inputs count by what they hold (`RunFiles.identity`), so that a run that resumes another finds its steps.
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

    def __init__(self, base: str, identity: Callable[[str], str]) -> None:
        self._base = base
        self._identity = identity
        self._seen: Counter[str] = Counter()

    def key(self, name: str, tool: Mapping[str, Any], parts: Mapping[str, Any], inputs: Iterable[Any]) -> str:
        """For a step `name` of a tool; `parts` are what its container is told, `inputs` its files."""
        told = [name, _RANDOM.sub("~", _as_json(tool)), parts, sorted(map(self._told_of, inputs))]
        digest = hashlib.sha256(_as_json(told).replace(self._base, "~/").encode()).hexdigest()[:_LENGTH]
        self._seen[digest] += 1
        return f"{digest}-{self._seen[digest] - 1}"

    def _told_of(self, item: Mapping[str, Any]) -> str:
        content = item["content"] if "content" in item else self._identity(item["url"])
        return _as_json([item["path"], item["type"], content])


def _as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
