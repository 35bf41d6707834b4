"""The client: where to connect, how long to wait, how safe a write must be before it counts."""

from typing import Any

from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from tesp_api.errors import StoreError
from tesp_api.store.mongo_documents import Document

OPERATION_TIMEOUT_S = 4.0
"""For each operation, its retry by the driver included; the server stops working on it by then, too."""

_TIMEOUTS_MS = {
    "timeoutMS": round(OPERATION_TIMEOUT_S * 1000),
    "serverSelectionTimeoutMS": 3000,
    "connectTimeoutMS": 2000,
    "heartbeatFrequencyMS": 2000,
}
"""What the URL may set otherwise."""

_SAFETY: dict[str, Any] = {
    "w": "majority",
    "journal": True,
    "readConcernLevel": "majority",
    "readPreference": "primary",
    "retryReads": True,
}
"""What the URL may not: a write that was acknowledged survives, and everybody reads it from then on."""


async def connect(url: str) -> AsyncMongoClient[Document]:
    """A client that repeats a write where its answer is lost, if MongoDB can tell that it is the same.

    A server that stands alone cannot. PyMongo knows that, but 4.20 forgets it when a connection breaks off
    while it is made, and then sends what such a server refuses (IllegalOperation): so it must be told.

    Raises:
        PyMongoError: MongoDB does not answer.
        StoreError: the URL cannot be used.
    """
    client = make_client(url, retry_writes=False)
    try:
        hello = await client.admin.command("hello")
        if "setName" not in hello and hello.get("msg") != "isdbgrid":
            return client
    except BaseException:
        await client.close()
        raise
    await client.close()
    return make_client(url, retry_writes=True)


def make_client(url: str, *, retry_writes: bool) -> AsyncMongoClient[Document]:
    """A client, which connects when it is first used.

    Raises:
        StoreError: the URL cannot be used; the text does not quote it, since it may hold a password.
    """
    try:
        options = url.partition("?")[2].lower().split("&")
        chosen = {option.partition("=")[0] for option in options}
        timeouts: dict[str, Any] = {
            name: value for name, value in _TIMEOUTS_MS.items() if name.lower() not in chosen
        }
        return AsyncMongoClient(url, appname="tesp", retryWrites=retry_writes, **timeouts, **_SAFETY)
    except (PyMongoError, ValueError, TypeError) as error:
        raise StoreError(
            f"store.url is not a usable MongoDB URL ({type(error).__name__}):"
            " it must look like mongodb://user:password@host:27017/?option=value,"
            " with reserved characters in the user and the password percent-encoded"
        ) from None
