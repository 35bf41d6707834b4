"""What each failure of MongoDB means to the store's callers: two tables, by class and by the server's code.

Source: https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml
"""

import re

import bson.errors
import pymongo.errors
from pymongo.errors import BulkWriteError, OperationFailure, PyMongoError

from tesp_api.errors import StoreError, StoreUnavailable

FOREIGN = (PyMongoError, bson.errors.BSONError)
"""What the driver raises."""

MEANINGS: dict[type[Exception], type[StoreError]] = {
    # Waiting helps: the server is away, busy, or another one takes over.
    pymongo.errors.ConnectionFailure: StoreUnavailable,
    pymongo.errors.AutoReconnect: StoreUnavailable,
    pymongo.errors.NetworkTimeout: StoreUnavailable,
    pymongo.errors.NotPrimaryError: StoreUnavailable,
    pymongo.errors.ServerSelectionTimeoutError: StoreUnavailable,
    pymongo.errors.WaitQueueTimeoutError: StoreUnavailable,
    pymongo.errors.ExecutionTimeout: StoreUnavailable,
    pymongo.errors.WTimeoutError: StoreUnavailable,
    pymongo.errors.WriteConcernError: StoreUnavailable,
    pymongo.errors.CursorNotFound: StoreUnavailable,
    pymongo.errors._OperationCancelled: StoreUnavailable,
    # Asking again will give the same answer. (Of an OperationFailure the code may say otherwise.)
    pymongo.errors.PyMongoError: StoreError,
    pymongo.errors.ProtocolError: StoreError,
    pymongo.errors.ConfigurationError: StoreError,
    pymongo.errors.InvalidURI: StoreError,
    pymongo.errors.OperationFailure: StoreError,
    pymongo.errors.WriteError: StoreError,
    pymongo.errors.DuplicateKeyError: StoreError,
    pymongo.errors.BulkWriteError: StoreError,
    pymongo.errors.ClientBulkWriteException: StoreError,
    pymongo.errors.InvalidOperation: StoreError,
    pymongo.errors.InvalidName: StoreError,
    pymongo.errors.CollectionInvalid: StoreError,
    pymongo.errors.DocumentTooLarge: StoreError,
    pymongo.errors.EncryptionError: StoreError,
    pymongo.errors.EncryptedCollectionError: StoreError,
    bson.errors.BSONError: StoreError,
    bson.errors.InvalidBSON: StoreError,
    bson.errors.InvalidStringData: StoreError,
    bson.errors.InvalidDocument: StoreError,
    bson.errors.InvalidId: StoreError,
}
"""By the driver's class; of a class that is not named, by the nearest one above it."""

PASSING_CODES: dict[int, str] = {
    6: "HostUnreachable",
    7: "HostNotFound",
    24: "LockTimeout",
    50: "MaxTimeMSExpired",
    64: "WriteConcernTimeout",
    89: "NetworkTimeout",
    91: "ShutdownInProgress",
    95: "NotPrimaryOrSecondary",
    100: "UnsatisfiableWriteConcern",
    112: "WriteConflict",
    133: "FailedToSatisfyReadPreference",
    134: "ReadConcernMajorityNotAvailableYet",
    175: "QueryPlanKilled",
    189: "PrimarySteppedDown",
    202: "NetworkInterfaceExceededTimeLimit",
    262: "ExceededTimeLimit",
    290: "TransactionExceededLifetimeLimitSeconds",
    317: "ConnectionPoolExpired",
    365: "TemporarilyUnavailable",
    384: "ConnectionError",
    9001: "SocketException",
    10107: "NotWritablePrimary",
    11600: "InterruptedAtShutdown",
    11601: "Interrupted",
    11602: "InterruptedDueToReplStateChange",
    13388: "StaleConfig",
    13435: "NotPrimaryNoSecondaryOk",
    13436: "NotPrimaryOrSecondary",
    14031: "OutOfDiskSpace",
}
"""The server's codes after which the same question may be answered later."""


def meaning(error: Exception) -> type[StoreError]:
    """Which of the store's errors a driver's error is."""
    if isinstance(error, OperationFailure) and error.code in PASSING_CODES:
        return StoreUnavailable
    if isinstance(error, BulkWriteError):
        failed = (error.details or {}).get("writeErrors", [])
        if any(one.get("code") in PASSING_CODES for one in failed):
            return StoreUnavailable
    return next((MEANINGS[kind] for kind in type(error).__mro__ if kind in MEANINGS), StoreError)


def translated(error: Exception) -> StoreError:
    """The store's error for one of the driver's.

    The driver's texts name hosts and ports, never credentials: those of a wrong URL, which may quote
    it, do not come here (`mongo_connection.connect`). What it says about its own state is cut off.
    """
    said = str(error)
    if isinstance(error, BulkWriteError):  # its text has whole documents, and with them hashes of passwords
        first = (error.details or {}).get("writeErrors", [{}])[:1]
        said = str(first[0].get("errmsg", "") if first else "").partition(" dup key")[0] or "a write failed"
    text = re.split(r",? \(configured timeouts|, Timeout: |, Topology Description", said)[0]
    return meaning(error)(f"MongoDB: {text} ({type(error).__name__})")
