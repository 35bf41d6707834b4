import inspect

import bson.errors
import pymongo.errors
import pytest
from pymongo.errors import OperationFailure

from tesp_api.errors import StoreError, StoreUnavailable
from tesp_api.store.mongo_errors import FOREIGN, MEANINGS, PASSING_CODES, translated


def foreign_classes() -> set[type[Exception]]:
    """Every error that the driver's two modules define."""
    return {
        kind
        for module in (pymongo.errors, bson.errors)
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, FOREIGN)
    }


def test_the_table_names_every_error_of_the_driver_and_no_other() -> None:
    assert set(MEANINGS) == foreign_classes()


@pytest.mark.parametrize("kind", sorted(foreign_classes(), key=str))
def test_every_failure_to_reach_the_server_passes(kind: type[Exception]) -> None:
    passing = issubclass(kind, pymongo.errors.ConnectionFailure)
    timeout = kind in (
        pymongo.errors.ExecutionTimeout,
        pymongo.errors.WTimeoutError,
        pymongo.errors.WriteConcernError,
        pymongo.errors.CursorNotFound,
    )
    assert MEANINGS[kind] is (StoreUnavailable if passing or timeout else StoreError)


@pytest.mark.parametrize("code", PASSING_CODES)
def test_a_code_that_passes_makes_any_failure_pass(code: int) -> None:
    error = translated(OperationFailure("it broke", code))
    assert type(error) is StoreUnavailable
    assert "it broke" in str(error)


@pytest.mark.parametrize("code", [11000, 10334, 13, 18, 85, None])
def test_other_codes_do_not_pass(code: int | None) -> None:
    assert type(translated(OperationFailure("it broke", code))) is StoreError


def test_what_the_driver_says_about_itself_is_cut_off() -> None:
    refused = "db:27017: [Errno 111] Connection refused (configured timeouts: connectTimeoutMS: 2000.0ms)"
    error = pymongo.errors.ServerSelectionTimeoutError(
        f"{refused}, Timeout: 3.0s, Topology Description: <...>"
    )
    expected = "MongoDB: db:27017: [Errno 111] Connection refused (ServerSelectionTimeoutError)"
    assert str(translated(error)) == expected


def test_an_unknown_kind_of_error_means_what_its_parent_means() -> None:
    class Newer(pymongo.errors.AutoReconnect):
        """Of a later version of the driver."""

    assert type(translated(Newer("away"))) is StoreUnavailable
