"""What each failure of SQLite means to the store's callers: one table.

Source: https://www.sqlite.org/rescode.html
"""

import sqlite3

from tesp_api.errors import StoreError, StoreUnavailable

_PRIMARY_CODE = 0xFF

MEANINGS: dict[int, type[StoreError]] = {
    # Waiting, freeing space or mending the disk helps; the statement itself was right.
    sqlite3.SQLITE_BUSY: StoreUnavailable,
    sqlite3.SQLITE_LOCKED: StoreUnavailable,
    sqlite3.SQLITE_FULL: StoreUnavailable,
    sqlite3.SQLITE_IOERR: StoreUnavailable,
    sqlite3.SQLITE_CANTOPEN: StoreUnavailable,
    sqlite3.SQLITE_NOMEM: StoreUnavailable,
    sqlite3.SQLITE_PROTOCOL: StoreUnavailable,
    sqlite3.SQLITE_INTERRUPT: StoreUnavailable,
    sqlite3.SQLITE_READONLY: StoreUnavailable,
    # Asking again will give the same answer.
    sqlite3.SQLITE_ERROR: StoreError,
    sqlite3.SQLITE_INTERNAL: StoreError,
    sqlite3.SQLITE_PERM: StoreError,
    sqlite3.SQLITE_ABORT: StoreError,
    sqlite3.SQLITE_CORRUPT: StoreError,
    sqlite3.SQLITE_NOTFOUND: StoreError,
    sqlite3.SQLITE_EMPTY: StoreError,
    sqlite3.SQLITE_SCHEMA: StoreError,
    sqlite3.SQLITE_TOOBIG: StoreError,
    sqlite3.SQLITE_CONSTRAINT: StoreError,
    sqlite3.SQLITE_MISMATCH: StoreError,
    sqlite3.SQLITE_MISUSE: StoreError,
    sqlite3.SQLITE_NOLFS: StoreError,
    sqlite3.SQLITE_AUTH: StoreError,
    sqlite3.SQLITE_FORMAT: StoreError,
    sqlite3.SQLITE_RANGE: StoreError,
    sqlite3.SQLITE_NOTADB: StoreError,
    sqlite3.SQLITE_NOTICE: StoreError,
    sqlite3.SQLITE_WARNING: StoreError,
}
"""By SQLite's primary result code; extended codes mean what their primary code means."""


def translated(error: BaseException) -> BaseException:
    """The store's error for one of SQLite's; every other error is returned as it is.

    Errors of the `sqlite3` module itself carry no code (a closed connection): StoreError.
    """
    if not isinstance(error, sqlite3.Error):
        return error
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    meaning = MEANINGS.get(code & _PRIMARY_CODE, StoreError)
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return meaning(f"the database failed: {error} ({name})")
