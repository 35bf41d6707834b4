"""The protocol of a database's upkeep: to look at it, upgrade it, copy it, and put a copy back.

Unlike a store that is opened, none of it brings an older database to the present schema unasked. All methods
raise `StoreUnavailable` while the database does not answer, and may take as long as there is data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

from tesp_api.errors import UpkeepRefused
from tesp_api.store.backup_file import BackupReader

Standing = Literal["none", "older", "current", "newer"]


@dataclass(frozen=True, slots=True)
class Inspection:
    """What there is. `schema` is None where there is no database yet, or where what is there is none.

    `place` says where it is, and holds no secret. `faults` say why it is not whole, `notes` what else is
    good to know. `tasks` and `runs` are counts by state; those that have been deleted are not among them.
    """

    place: str
    schema: int | None
    newest: int
    tasks: Mapping[str, int] = field(default_factory=dict)
    runs: Mapping[str, int] = field(default_factory=dict)
    users: int = 0
    tokens: int = 0
    faults: Sequence[str] = ()
    notes: Sequence[str] = ()

    @property
    def standing(self) -> Standing:
        """Of the database against this program."""
        if self.schema is None:
            return "none"
        if self.schema == self.newest:
            return "current"
        return "older" if self.schema < self.newest else "newer"


@dataclass(frozen=True, slots=True)
class Upgrade:
    """From which schema to which; `kept` is a copy of the database as it was before, if one was made."""

    before: int
    after: int
    kept: Path | None = None


class Upkeep(Protocol):
    """The upkeep of one database, be there a server on it or not; callers hold the lock of its data folder
    for all that changes it."""

    async def inspect(self) -> Inspection:
        """Look at all of it, and change nothing. What is wrong with it is no error, but among the faults."""

    async def upgrade(self, *, keep_copy: bool) -> Upgrade:
        """Do what a server does at its start: bring it to the present schema. Does nothing if it is there.

        `keep_copy` has an embedded database copied beside itself first, if there is anything to do.

        Raises:
            UpkeepRefused: there is no database yet, or servers are at work on it.
            StoreError: a newer TESP made it, or it is damaged.
        """

    async def back_up(
        self, file: BinaryIO, about: Mapping[str, Any], extras: Mapping[str, bytes], scratch: Path
    ) -> Mapping[str, int]:
        """Write a backup of this moment, also while servers are at work; returns the counts.

        `about` goes into its header, and `extras` are small parts to be added. `scratch` is a folder of the
        caller's for what is made on the way, on the same file system as the file.

        Raises:
            UpkeepRefused: there is no database, it is newer than this program, or it is just being upgraded.
            StoreError: it is damaged.
        """

    async def restore(self, backup: BackupReader, *, force: bool, aside: Path) -> None:
        """Put a backup, which has been read once and found whole, in place of the database.

        What is there must be empty. With `force` it need not be: an embedded database is moved into the
        folder `aside`, one on a server is removed. One that is broken off while it changes
        something leaves a database that no server opens until it is restored again.

        Raises:
            UpkeepRefused: there is something, and no `force`; or servers are at work on it.
        """


def in_words(counts: Mapping[str, int]) -> str:
    """Counts of things that are named in the plural: `2 tasks, 1 run`."""
    return ", ".join(f"{count} {name[:-1] if count == 1 else name}" for name, count in counts.items())


def refuse_kind(backup: BackupReader, kind: str, newest: int) -> None:
    """Return if the backup can be put into a store of this kind, whose newest schema is known.

    Raises:
        UpkeepRefused: it cannot.
    """
    found, schema = backup.header.get("store"), backup.header.get("schema")
    if found != kind:
        raise UpkeepRefused(
            f"the backup is of {found}, but store.url names {kind}:"
            " it can be put into the same kind of store alone"
        )
    if not isinstance(schema, int) or schema > newest:
        raise UpkeepRefused(
            f"the backup has schema {schema}, but this tesp knows only up to {newest}: use the newer tesp"
        )
