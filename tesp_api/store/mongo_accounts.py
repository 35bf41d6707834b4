"""Users and tokens in MongoDB: the collection `users` of the tasks' database, each user with all tokens.

    _id           the user's name
    created_at, password_hash, groups, is_admin     as in `User`; times are microseconds since 1970 UTC
    tokens        [{id, digest, scopes, created_at, expires_at, note}]

One document, so that a user goes together with all tokens, and none comes to a user that has gone.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from bson.binary import Binary
from pymongo import ASCENDING, AsyncMongoClient
from pymongo.errors import DuplicateKeyError

from tesp_api.errors import AccountRefused, StoreUnavailable
from tesp_api.store.accounts import ApiToken, User
from tesp_api.store.mongo_connection import connect
from tesp_api.store.mongo_documents import Collection, Document, from_micros, to_micros
from tesp_api.store.mongo_errors import FOREIGN, translated

_TOKEN_INDEX = "by_token"  # noqa: S105 - the name of an index


class MongoAccounts:
    """The `Accounts` in `database` of the MongoDB at `url`."""

    def __init__(self, url: str, *, database: str) -> None:
        self._url = url
        self._database = database
        self._client: AsyncMongoClient[Document] | None = None

    async def open(self) -> None:
        try:
            self._client = await connect(self._url)
        except FOREIGN as error:
            raise translated(error) from error
        async with self._users() as users:
            await users.create_index(
                [("tokens.id", ASCENDING)],
                name=_TOKEN_INDEX,
                unique=True,
                partialFilterExpression={"tokens.id": {"$exists": True}},
            )

    async def aclose(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def add_user(self, user: User) -> None:
        document = {
            "_id": user.name,
            "created_at": to_micros(user.created_at),
            "password_hash": user.password_hash,
            "groups": list(user.groups),
            "is_admin": user.is_admin,
        }
        async with self._users() as users:
            try:
                await users.insert_one(document)
            except DuplicateKeyError:
                raise AccountRefused(f"there is a user {user.name!r} already") from None

    async def find_user(self, name: str) -> User | None:
        async with self._users() as users:
            found = await users.find_one({"_id": name}, {"tokens": 0})
        return None if found is None else _user(found)

    async def list_users(self) -> list[User]:
        async with self._users() as users:
            return [_user(found) async for found in users.find({}, {"tokens": 0}).sort("_id", 1)]

    async def change_user(
        self,
        name: str,
        *,
        password_hash: str | None = None,
        groups: Sequence[str] | None = None,
        is_admin: bool | None = None,
    ) -> None:
        wanted = {
            "password_hash": password_hash,
            "groups": None if groups is None else list(groups),
            "is_admin": is_admin,
        }
        change = {key: value for key, value in wanted.items() if value is not None}
        async with self._users() as users:
            # An empty $set is an error in some versions: the name stands for nothing to be changed.
            if not (await users.update_one({"_id": name}, {"$set": {"_id": name, **change}})).matched_count:
                raise _no_user(name)

    async def remove_user(self, name: str) -> None:
        async with self._users() as users:
            if not (await users.delete_one({"_id": name})).deleted_count:
                raise _no_user(name)

    async def add_token(self, token: ApiToken) -> None:
        entry = {
            "id": token.id,
            "digest": Binary(token.digest),
            "scopes": list(token.scopes),
            "created_at": to_micros(token.created_at),
            "expires_at": None if token.expires_at is None else to_micros(token.expires_at),
            "note": token.note,
        }
        async with self._users() as users:
            if not (await users.update_one({"_id": token.user}, {"$push": {"tokens": entry}})).matched_count:
                raise _no_user(token.user)

    async def find_token(self, token_id: str) -> tuple[ApiToken, User] | None:
        async with self._users() as users:
            found = await users.find_one({"tokens.id": token_id})
        if found is None:
            return None
        return next((token, _user(found)) for token in _tokens(found) if token.id == token_id)

    async def list_tokens(self) -> list[ApiToken]:
        async with self._users() as users:
            tokens = [token async for found in users.find({}) for token in _tokens(found)]
        return sorted(tokens, key=lambda token: (token.created_at, token.id))

    async def remove_token(self, token_id: str) -> None:
        async with self._users() as users:
            change = {"$pull": {"tokens": {"id": token_id}}}
            if not (await users.update_one({"tokens.id": token_id}, change)).matched_count:
                raise AccountRefused(f"there is no token {token_id!r}")

    @asynccontextmanager
    async def _users(self) -> AsyncIterator[Collection]:
        """The collection, for one operation; the driver's errors become ours."""
        if self._client is None:
            raise StoreUnavailable("the store is not open")
        try:
            yield self._client[self._database].users
        except FOREIGN as error:
            raise translated(error) from error


def _user(found: Document) -> User:
    return User(
        found["_id"],
        from_micros(found["created_at"]),
        found["password_hash"],
        tuple(found["groups"]),
        found["is_admin"],
    )


def _tokens(found: Document) -> list[ApiToken]:
    entries: list[dict[str, Any]] = found.get("tokens", [])
    return [
        ApiToken(
            entry["id"],
            found["_id"],
            bytes(entry["digest"]),
            tuple(entry["scopes"]),
            from_micros(entry["created_at"]),
            None if entry["expires_at"] is None else from_micros(entry["expires_at"]),
            entry["note"],
        )
        for entry in entries
    ]


def _no_user(name: str) -> AccountRefused:
    return AccountRefused(f"there is no user {name!r}")
