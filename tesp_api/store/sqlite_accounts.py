"""Users and tokens in a SQLite file of their own, beside that of the tasks.

The tasks' file belongs to one server; this one is opened by the command line too, while the server runs, so
it is locked by SQLite alone. It is asked seldom: each call runs in one thread, in a transaction; a thread of
its own, so that nobody waits for it behind what is slow.
"""

import asyncio
import json
import os
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from tesp_api.errors import AccountRefused, StoreError, StoreUnavailable
from tesp_api.store.accounts import ApiToken, User
from tesp_api.store.sqlite_errors import translated
from tesp_api.store.sqlite_rows import from_micros, to_micros
from tesp_api.store.sqlite_schema import connect

DATABASE = "accounts.sqlite3"

T = TypeVar("T")

NEWEST = 1
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS users (
        name TEXT PRIMARY KEY,
        created_at INTEGER NOT NULL,
        password_hash TEXT NOT NULL,
        groups_json TEXT NOT NULL,
        is_admin INTEGER NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS tokens (
        id TEXT PRIMARY KEY,
        user TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
        digest BLOB NOT NULL,
        scopes_json TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        expires_at INTEGER,
        note TEXT NOT NULL
    ) WITHOUT ROWID""",
)
_USER = "name, created_at, password_hash, groups_json, is_admin"
_TOKEN = "id, user, digest, scopes_json, created_at, expires_at, note"  # noqa: S105 - names of columns


class SqliteAccounts:
    """The `Accounts` in `folder`, which is created, for its owner alone, if there is none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._connection: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite-accounts")

    async def open(self) -> None:
        """See `Accounts.open`.

        Raises:
            StoreError: the folder cannot be used, or a newer TESP made the file.
        """
        await asyncio.get_running_loop().run_in_executor(self._thread, self._open)

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        await asyncio.to_thread(self._thread.shutdown)
        if connection is not None:
            connection.close()

    async def add_user(self, user: User) -> None:
        groups = json.dumps(list(user.groups))
        row = (user.name, to_micros(user.created_at), user.password_hash, groups, user.is_admin)

        def add(db: sqlite3.Connection) -> None:
            if not _changed(db, "INSERT OR IGNORE INTO users VALUES (?, ?, ?, ?, ?)", row):
                raise AccountRefused(f"there is a user {user.name!r} already")

        await self._run(add, writes=True)

    async def find_user(self, name: str) -> User | None:
        return await self._run(lambda db: _find_user(db, name))

    async def list_users(self) -> list[User]:
        select = f"SELECT {_USER} FROM users ORDER BY name"
        return await self._run(lambda db: [_user(row) for row in db.execute(select)])

    async def change_user(
        self,
        name: str,
        *,
        password_hash: str | None = None,
        groups: Sequence[str] | None = None,
        is_admin: bool | None = None,
    ) -> None:
        sql = (
            "UPDATE users SET password_hash = coalesce(?, password_hash),"
            " groups_json = coalesce(?, groups_json), is_admin = coalesce(?, is_admin) WHERE name = ?"
        )
        row = (password_hash, None if groups is None else json.dumps(list(groups)), is_admin, name)

        def change(db: sqlite3.Connection) -> None:
            if not _changed(db, sql, row):
                raise _no_user(name)

        await self._run(change, writes=True)

    async def remove_user(self, name: str) -> None:
        def remove(db: sqlite3.Connection) -> None:
            if not _changed(db, "DELETE FROM users WHERE name = ?", (name,)):
                raise _no_user(name)

        await self._run(remove, writes=True)

    async def add_token(self, token: ApiToken) -> None:
        ends = None if token.expires_at is None else to_micros(token.expires_at)
        scopes = json.dumps(list(token.scopes))
        row = (token.id, token.user, token.digest, scopes, to_micros(token.created_at), ends, token.note)

        def add(db: sqlite3.Connection) -> None:
            if _find_user(db, token.user) is None:
                raise _no_user(token.user)
            db.execute("INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?, ?)", row)

        await self._run(add, writes=True)

    async def find_token(self, token_id: str) -> tuple[ApiToken, User] | None:
        def find(db: sqlite3.Connection) -> tuple[ApiToken, User] | None:
            select = f"SELECT {_TOKEN} FROM tokens WHERE id = ?"
            row = db.execute(select, (token_id,)).fetchone()
            if row is None:
                return None
            token = _token(row)
            user = _find_user(db, token.user)
            return None if user is None else (token, user)

        return await self._run(find)

    async def list_tokens(self) -> list[ApiToken]:
        select = f"SELECT {_TOKEN} FROM tokens ORDER BY created_at, id"
        return await self._run(lambda db: [_token(row) for row in db.execute(select)])

    async def remove_token(self, token_id: str) -> None:
        def remove(db: sqlite3.Connection) -> None:
            if not _changed(db, "DELETE FROM tokens WHERE id = ?", (token_id,)):
                raise AccountRefused(f"there is no token {token_id!r}")

        await self._run(remove, writes=True)

    def _open(self) -> None:
        file = self._folder / DATABASE
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _make_for_owner_of(self._folder, file)
            self._connection = connect(file)
            self._connection.execute("PRAGMA foreign_keys = ON")
            _prepare(self._connection)
        except OSError as error:
            raise StoreError(f"the data folder {self._folder} cannot be used: {error}") from error
        except sqlite3.Error as error:
            raise translated(error) from error

    async def _run(self, work: Callable[[sqlite3.Connection], T], *, writes: bool = False) -> T:
        connection = self._connection
        if connection is None:
            raise StoreUnavailable("the store is not open")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, _in_transaction, connection, work, writes)


def _in_transaction(
    connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T], writes: bool
) -> T:
    try:
        # Who reads first and writes then is not waited for, should another have written between.
        connection.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
        done = work(connection)
        connection.execute("COMMIT")
        return done
    except sqlite3.Error as error:
        raise translated(error) from error
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _make_for_owner_of(folder: Path, file: Path) -> None:
    """Make the file, for its owner alone; who adds users as root must not lock the server out."""
    if file.exists():
        return
    os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    owner = folder.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.chown(file, owner.st_uid, owner.st_gid)


def _prepare(connection: sqlite3.Connection) -> None:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > NEWEST:
        raise StoreError(f"{DATABASE} has schema {version}, but this tesp knows only up to {NEWEST}")
    if version < NEWEST:
        connection.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {NEWEST}")
        connection.execute("COMMIT")


def _changed(db: sqlite3.Connection, sql: str, row: tuple[Any, ...]) -> bool:
    return db.execute(sql, row).rowcount > 0


def _find_user(db: sqlite3.Connection, name: str) -> User | None:
    row = db.execute(f"SELECT {_USER} FROM users WHERE name = ?", (name,)).fetchone()
    return None if row is None else _user(row)


def _user(row: tuple[Any, ...]) -> User:
    name, created_at, password_hash, groups, is_admin = row
    return User(name, from_micros(created_at), password_hash, tuple(json.loads(groups)), bool(is_admin))


def _token(row: tuple[Any, ...]) -> ApiToken:
    token_id, user, digest, scopes, created_at, expires_at, note = row
    ends = None if expires_at is None else from_micros(expires_at)
    return ApiToken(
        token_id, user, digest, tuple(json.loads(scopes)), from_micros(created_at), ends, str(note)
    )


def _no_user(name: str) -> AccountRefused:
    return AccountRefused(f"there is no user {name!r}")
