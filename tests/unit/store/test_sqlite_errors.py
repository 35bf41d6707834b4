import inspect
import sqlite3

import pytest

from tesp_api.errors import StoreError, StoreUnavailable
from tesp_api.store.sqlite_errors import MEANINGS, translated


def error_with(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("it broke")
    error.sqlite_errorcode, error.sqlite_errorname = code, "SQLITE_NAME"
    return error


def test_the_table_knows_every_result_code() -> None:
    # Source: https://www.sqlite.org/rescode.html: the primary codes of errors are 1 to 28, without gaps.
    assert set(MEANINGS) == set(range(1, 29))


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (sqlite3.SQLITE_BUSY, StoreUnavailable),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, StoreUnavailable),
        (sqlite3.SQLITE_LOCKED, StoreUnavailable),
        (sqlite3.SQLITE_FULL, StoreUnavailable),
        (sqlite3.SQLITE_IOERR_FSYNC, StoreUnavailable),
        (sqlite3.SQLITE_CANTOPEN_ISDIR, StoreUnavailable),
        (sqlite3.SQLITE_CORRUPT, StoreError),
        (sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, StoreError),
        (200, StoreError),
    ],
)
def test_extended_codes_mean_what_their_primary_code_means(code: int, meaning: type[StoreError]) -> None:
    error = translated(error_with(code))
    assert type(error) is meaning
    assert "it broke" in str(error)
    assert "SQLITE_NAME" in str(error)


@pytest.mark.parametrize(
    "kind", [one for _, one in inspect.getmembers(sqlite3, inspect.isclass) if issubclass(one, sqlite3.Error)]
)
def test_every_error_of_the_module_is_translated(kind: type[sqlite3.Error]) -> None:
    assert isinstance(translated(kind("no code")), StoreError)


def test_other_errors_stay_what_they_are() -> None:
    error = ValueError("ours")
    assert translated(error) is error
