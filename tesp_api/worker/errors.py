"""What can end a task attempt early.

WorkerError
├── SystemFailure     the site, the staging or the order is at fault: SYSTEM_ERROR
│   ├── StagingError  an input could not be fetched or an output not sent
│   └── Unusable      a container runtime cannot be used here; the next one is tried
└── Canceled          the API asked for the end: CANCELED
"""

from __future__ import annotations


class WorkerError(Exception):
    """Ends the attempt; its text is the reason that the user reads."""


class SystemFailure(WorkerError):
    """Something other than the user's program failed."""


class StagingError(SystemFailure):
    """A file could not be moved between its URL and the site."""


class Unusable(SystemFailure):
    """A container runtime is missing or does not answer."""


class Canceled(WorkerError):
    """The file `cancel` appeared in the job directory."""
