"""What can end a task attempt early.

WorkerError
├── SystemFailure     the site, the staging or the order is at fault: SYSTEM_ERROR
│   ├── StagingError  an input could not be fetched or an output not sent
│   │   ├── StorageAway   ... since a server did not answer, however often it was asked
│   │   └── SourceChanged ... since it changed meanwhile
│   ├── Unusable      a container runtime cannot be used here; the next one is tried
│   ├── BadOrder      task.json cannot be read
│   ├── EndedBySite   the site's scheduler, or its owner, ended the job
│   │   └── OutOfTime ... since the job's time was over
│   ├── ServerAway    the API could not be asked whether to begin
│   └── NotPermitted  the API said no: the attempt is over, or another worker's
└── Canceled          the API asked for the end: CANCELED

`cause` is what result.json says of it to programs.
"""

from __future__ import annotations


class WorkerError(Exception):
    """Ends the attempt; its text is the reason that the user reads."""


class SystemFailure(WorkerError):
    """Something other than the user's program failed."""

    cause = "other"


class StagingError(SystemFailure):
    """A file could not be moved between its URL and the site."""

    cause = "staging"


class StorageAway(StagingError):
    """A server did not answer, or broke off, until the last try."""

    cause = "storage_away"


class SourceChanged(StagingError):
    """A file was written to while it was sent."""


class Unusable(SystemFailure):
    """A container runtime is missing or does not answer."""

    cause = "runtime"


class DaemonAway(Unusable):
    """A runtime is there, and its daemon is not: it may be restarted just now."""


class BadOrder(SystemFailure):
    """There is no order that could be followed."""

    cause = "order"


class EndedBySite(SystemFailure):
    """A signal told the worker to end."""

    cause = "ended_by_site"


class OutOfTime(EndedBySite):
    """... because it ran for longer than the site, or the task, allows."""

    cause = "time_limit"


class ServerAway(SystemFailure):
    """Nobody could say whether the attempt may begin; so it has not."""

    cause = "never_started"


class NotPermitted(SystemFailure):
    """This worker is not, or no longer, the one that counts."""

    cause = "not_permitted"


class Canceled(WorkerError):
    """The file `cancel` appeared in the job directory."""
