"""The key of a step: which job it is, and what that computes.

The first part is the rule, the wildcards and the attempt: by it the run finds its own steps again, even if a
Snakefile tells another command each time. The second is what the job does and what its inputs hold: a run
that resumes another takes a step over only if both are the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

_LENGTH = 32


class StepKeys:
    """Gives keys; `known` are those of the steps that earlier expansions of the run have submitted."""

    def __init__(self, known: Iterable[str]) -> None:
        self._known = {key.partition("-")[0]: key for key in known}

    def key(self, job: Any, does: Any) -> str:
        """For a job, told by what tells it from all others, and for what it does."""
        first = _digest(job)
        return self._known.pop(first, None) or self.fresh(job, does)

    def fresh(self, job: Any, does: Any) -> str:
        """The key that a step would have of which no expansion of this run knows."""
        return f"{_digest(job)}-{_digest(does)}"


def _digest(told: Any) -> str:
    data = json.dumps(told, sort_keys=True, default=str).encode()
    return hashlib.sha256(data).hexdigest()[:_LENGTH]
