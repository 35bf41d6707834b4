"""Make a new mongod the one member of a replica set, and its two users; does nothing where that is done.

It must come from mongod's own address: a mongod that has no user yet takes orders from there alone. The
password of `root` and the URL by which TESP reaches its database are files of Compose's secrets.
"""

import contextlib
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

SECRETS = Path("/run/secrets")
TIMEOUT_S = 60.0
ALREADY_INITIALIZED, AUTHENTICATION_FAILED = 23, 18


def main() -> None:
    url = urlsplit((SECRETS / "store_url").read_text().strip())
    member = f"{url.hostname}:{url.port or 27017}"
    root = (SECRETS / "mongo_root_password").read_text().strip()
    with client() as unknown:
        try:
            unknown.admin.command("replSetInitiate", {"_id": "rs0", "members": [{"_id": 0, "host": member}]})
        except OperationFailure as error:
            # once there is a user, it answers nobody else
            if error.code != ALREADY_INITIALIZED and "requires authentication" not in str(error):
                raise
        wait_until_writable(unknown)
        if not has_user(root):
            unknown.admin.command("createUser", "root", pwd=root, roles=["root"])
    with client(username="root", password=root) as admin:
        make_user(
            admin, url.path.strip("/") or "tesp", unquote(url.username or ""), unquote(url.password or "")
        )
    print("the replica set and its users are there")


def client(**login: str) -> "MongoClient[dict[str, Any]]":
    return MongoClient(
        "mongodb://127.0.0.1:27017/", directConnection=True, serverSelectionTimeoutMS=20_000, **login
    )


def wait_until_writable(connected: "MongoClient[dict[str, Any]]") -> None:
    """Raises: SystemExit if it does not become the primary."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        with contextlib.suppress(PyMongoError):
            if connected.admin.command("hello").get("isWritablePrimary"):
                return
        time.sleep(0.2)
    raise SystemExit(f"mongod has not become the primary of its replica set within {TIMEOUT_S:g} s")


def has_user(root: str) -> bool:
    """Whether `root` can log in. Where there is no user yet, nobody can."""
    with client(username="root", password=root) as trial:
        try:
            trial.admin.command("ping")
        except OperationFailure as error:
            if error.code != AUTHENTICATION_FAILED:
                raise
            return False
    return True


def make_user(admin: "MongoClient[dict[str, Any]]", database: str, name: str, password: str) -> None:
    """The server's own: it may do everything in its database, and nothing elsewhere."""
    users = admin[database].command("usersInfo", name)["users"]
    roles = [{"role": role, "db": database} for role in ("readWrite", "dbAdmin")]
    command = "updateUser" if users else "createUser"
    admin[database].command(command, name, pwd=password, roles=roles)


if __name__ == "__main__":
    main()
