"""The upkeep of the embedded store: the files of tasks and of accounts in one data folder.

It reads beside a running server, by SQLite's own locks. Each file is copied as it is at one moment, and put
back by one rename: whatever dies meanwhile, the name leads to the old file or to the new one. A mark keeps
servers from what is half restored.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from tesp_api.errors import StoreError, UpkeepRefused
from tesp_api.store import sqlite_accounts
from tesp_api.store.backup_file import BackupReader, BackupWriter
from tesp_api.store.file_swap import half_restored, keep_aside, mark_half_restored, new_file, sync_folder
from tesp_api.store.sqlite import DATABASE
from tesp_api.store.sqlite_errors import translated
from tesp_api.store.sqlite_schema import BUSY_TIMEOUT_S, MIGRATIONS, connect, migrate
from tesp_api.store.upkeep import Inspection, Upgrade, in_words, refuse_kind

KIND = "sqlite"
FILES = (sqlite_accounts.DATABASE, DATABASE)

_NEWEST = len(MIGRATIONS)
_CHUNK_BYTES = 1024**2
_FAULTS_MAX = 20
_RUNS_SINCE = 9


class SqliteUpkeep:
    """The `Upkeep` of the databases in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tasks = folder / DATABASE
        self._accounts = folder / sqlite_accounts.DATABASE

    async def inspect(self) -> Inspection:
        return await asyncio.to_thread(self._inspect)

    async def upgrade(self, *, keep_copy: bool) -> Upgrade:
        return await asyncio.to_thread(self._upgrade, keep_copy)

    async def back_up(
        self, file: BinaryIO, about: Mapping[str, Any], extras: Mapping[str, bytes], scratch: Path
    ) -> Mapping[str, int]:
        return await asyncio.to_thread(self._back_up, file, about, extras, scratch)

    async def restore(self, backup: BackupReader, *, force: bool, aside: Path) -> None:
        await asyncio.to_thread(self._restore, backup, force, aside)

    # --

    def _inspect(self) -> Inspection:
        place = str(self._tasks)
        if fault := half_restored(self._folder):
            return Inspection(place, None, _NEWEST, faults=[fault])
        if not self._tasks.exists():
            users, tokens, faults = self._inspect_accounts()
            return Inspection(place, None, _NEWEST, users=users, tokens=tokens, faults=faults)
        try:
            with _reading(self._tasks) as db:
                schema = _version(db)
                if not schema:
                    users, tokens, more = self._inspect_accounts()
                    fault = f"{self._tasks} has no schema: it was cut off, or is no database of tesp's"
                    return Inspection(place, None, _NEWEST, users=users, tokens=tokens, faults=[fault, *more])
                faults = [*_damages(db, self._tasks), *_missing(db, schema)]
                tasks, runs = _counts(db, schema)
        except sqlite3.Error as error:
            return Inspection(place, None, _NEWEST, faults=[f"{self._tasks}: {error}"])
        users, tokens, more = self._inspect_accounts()
        return Inspection(place, schema, _NEWEST, tasks, runs, users, tokens, [*faults, *more])

    def _inspect_accounts(self) -> tuple[int, int, list[str]]:
        if not self._accounts.exists():
            return 0, 0, []
        try:
            with _reading(self._accounts) as db:
                if (found := _version(db)) > sqlite_accounts.NEWEST:
                    return 0, 0, [f"{self._accounts} has schema {found}: a newer tesp made it"]
                users, tokens = _count(db, "users"), _count(db, "tokens")
                return users, tokens, list(_damages(db, self._accounts))
        except sqlite3.Error as error:
            return 0, 0, [f"{self._accounts}: {error}"]

    def _upgrade(self, keep_copy: bool) -> Upgrade:
        before = self._schema()
        kept: Path | None = None
        if before < _NEWEST and keep_copy:
            kept = self._tasks.with_name(f"{DATABASE}.schema-{before}.{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
            with _meaning_of_failures():
                _copy(self._tasks, kept)
        with _meaning_of_failures(), contextlib.closing(connect(self._tasks)) as db:
            migrate(db)
        return Upgrade(before, _NEWEST, kept)

    def _back_up(
        self, file: BinaryIO, about: Mapping[str, Any], extras: Mapping[str, bytes], scratch: Path
    ) -> Mapping[str, int]:
        if self._schema() > _NEWEST:
            raise UpkeepRefused(_made_by_newer(self._schema()))
        with _meaning_of_failures():
            copies = [
                _copy(self._folder / name, scratch / name) for name in FILES if (self._folder / name).exists()
            ]
            for copy in copies:
                _check_copy(copy, self._folder / copy.name)
            with _reading(scratch / DATABASE) as db:
                schema = _version(db)
                counts = {"tasks": _count(db, "tasks"), "runs": _count_runs(db, schema), "users": 0}
            if (scratch / sqlite_accounts.DATABASE).exists():
                with _reading(scratch / sqlite_accounts.DATABASE) as db:
                    counts["users"] = _count(db, "users")
        writer = BackupWriter(file, {**about, "store": KIND, "database": "", "schema": schema, "exact": True})
        for name, data in extras.items():
            writer.begin(name)
            writer.write(data)
        for copy in copies:
            writer.begin(copy.name)
            with copy.open("rb") as opened:
                while data := opened.read(_CHUNK_BYTES):
                    writer.write(data)
            copy.unlink()
        writer.finish(counts)
        return counts

    def _restore(self, backup: BackupReader, force: bool, aside: Path) -> None:
        refuse_kind(backup, KIND, _NEWEST)
        if not force and (there := self._what_is_there()):
            raise UpkeepRefused(
                f"{self._folder} has {there}: choose another folder with --data, or say --force, which moves "
                f"what is there to {aside}"
            )
        for name in FILES:
            if (link := self._folder / name).is_symlink():
                raise UpkeepRefused(f"{link} is a link: link the whole data folder, not a file in it")
        drafts = self._write_drafts(backup)
        try:
            with _meaning_of_failures():
                for name, draft in drafts.items():
                    _check_draft(draft, backup.header["schema"] if name == DATABASE else None)
            for name in FILES:
                _empty_its_log(self._folder / name)
            mark_half_restored(self._folder)
            for name in FILES:
                _put_in_place(self._folder / name, drafts.get(name), aside)
            sync_folder(self._folder)
        finally:
            for draft in drafts.values():
                draft.unlink(missing_ok=True)

    # --

    def _schema(self) -> int:
        """The version of the tasks' database.

        Raises:
            UpkeepRefused: there is none, or it is half restored.
        """
        if fault := half_restored(self._folder):
            raise UpkeepRefused(fault)
        with _meaning_of_failures():
            found = 0
            if self._tasks.exists():
                with _reading(self._tasks) as db:
                    found = _version(db)
        if not found:
            raise UpkeepRefused(f"there is no database in {self._folder} yet: the first start makes it")
        return found

    def _what_is_there(self) -> str:
        """What would be lost, in words; "" if there is nothing."""
        seen = self._inspect()
        if seen.faults or seen.standing == "newer":
            return "a database that is not whole, or newer than this tesp"
        counts = {"tasks": sum(seen.tasks.values()), "runs": sum(seen.runs.values()), "users": seen.users}
        return in_words({name: count for name, count in counts.items() if count})

    def _write_drafts(self, backup: BackupReader) -> dict[str, Path]:
        """The databases of the backup as files of other names, on the disk."""
        drafts: dict[str, Path] = {}
        with contextlib.ExitStack() as opened:
            files: dict[str, BinaryIO] = {}
            for part, data in backup.data():
                if part in FILES:
                    if part not in files:
                        drafts[part] = self._folder / f"{part}.restoring"
                        drafts[part].unlink(missing_ok=True)  # an earlier restore was killed
                        files[part] = opened.enter_context(new_file(drafts[part]))
                    files[part].write(data)
        if DATABASE not in drafts:
            raise UpkeepRefused(f"the backup has no {DATABASE}")
        return drafts


def _check_copy(copy: Path, original: Path) -> None:
    with _reading(copy) as db:
        if damages := list(_damages(db, original, "quick_check")):
            raise StoreError(f"{damages[0]}: `tesp db check` says more")


def _check_draft(draft: Path, schema: int | None) -> None:
    with _reading(draft) as db:
        if damages := list(_damages(db, draft)):
            raise StoreError(f"what is in the backup is damaged: {damages[0]}")
        if schema is not None and _version(db) != schema:
            raise StoreError(f"what is in the backup has schema {_version(db)}, not {schema} as it says")


def _empty_its_log(file: Path) -> None:
    """Have SQLite put into the file what it keeps beside it; what is damaged stays as it is.

    Raises:
        UpkeepRefused: another program reads it.
    """
    if not file.exists():
        return
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(file)) as db:
        (is_busy, *_) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if is_busy:
            raise UpkeepRefused(f"another program has {file} open: end it first")


def _put_in_place(file: Path, draft: Path | None, aside: Path) -> None:
    """Rename the draft to `file`, whose old one is kept aside, with what SQLite has not put into it yet."""
    # Those beside it are left of a damaged one alone, and another database would be damaged by them.
    others = [file.with_name(file.name + suffix) for suffix in ("-wal", "-shm", "-journal")]
    for old in (file, *others):
        keep_aside(old, aside)
    for old in others:
        old.unlink(missing_ok=True)
    if draft is not None:
        draft.replace(file)
    else:
        file.unlink(missing_ok=True)


@contextlib.contextmanager
def _reading(file: Path) -> Iterator[sqlite3.Connection]:
    """A connection that makes no file and changes nothing, in one transaction."""
    uri = f"file:{quote(str(file.absolute()))}?mode=rw"
    with contextlib.closing(
        sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    ) as db:
        db.execute("PRAGMA query_only = ON")
        db.execute("BEGIN")
        yield db


@contextlib.contextmanager
def _meaning_of_failures() -> Iterator[None]:
    """SQLite's errors become the store's."""
    try:
        yield
    except sqlite3.Error as error:
        raise translated(error) from error


def _copy(source: Path, target: Path) -> Path:
    """Copy a database as it is at this moment, whoever writes to it."""
    with new_file(target), _reading(source) as db, contextlib.closing(sqlite3.connect(target)) as copy:
        db.backup(copy, pages=-1)  # in one step: what is written meanwhile does not begin it anew
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, that can be read without others beside it
    return target


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _damages(db: sqlite3.Connection, file: Path, check: str = "integrity_check") -> Iterator[str]:
    for (line,) in db.execute(f"PRAGMA {check}({_FAULTS_MAX})"):
        if line != "ok":
            yield f"{file} is damaged: {line}"
    for table, row_id, *_ in db.execute("PRAGMA foreign_key_check"):
        yield f"{file} is damaged: row {row_id} of {table} refers to one that is not there"


def _missing(db: sqlite3.Connection, schema: int) -> Iterator[str]:
    """The tables, indexes and triggers that a database of that schema has, and this one has not."""
    names = "SELECT type, name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'"
    with contextlib.closing(sqlite3.connect(":memory:")) as model:
        for statements in MIGRATIONS[: schema if schema <= _NEWEST else 0]:
            for statement in statements:
                model.execute(statement)
        for kind, name in sorted({*model.execute(names)} - {*db.execute(names)}):
            yield f"the {kind} {name} is not there"


def _counts(db: sqlite3.Connection, schema: int) -> tuple[dict[str, int], dict[str, int]]:
    """Tasks and runs by state; of a newer schema, as far as they can be found."""
    tasks: dict[str, int] = {}
    runs: dict[str, int] = {}
    with contextlib.suppress(sqlite3.OperationalError):
        tasks |= db.execute("SELECT state, count(*) FROM tasks GROUP BY state")
        if schema >= _RUNS_SINCE:
            runs |= db.execute("SELECT state, count(*) FROM runs WHERE doomed = 0 GROUP BY state")
    return tasks, runs


def _count(db: sqlite3.Connection, table: str) -> int:
    return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def _count_runs(db: sqlite3.Connection, schema: int) -> int:
    return _count(db, "runs") if schema >= _RUNS_SINCE else 0


def _made_by_newer(schema: int) -> str:
    return f"the database has schema {schema}, but this tesp knows only up to {_NEWEST}: use the newer tesp"
