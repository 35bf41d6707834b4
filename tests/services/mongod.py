"""A real mongod on a free loopback port, in a folder of its own, that can be killed, halted and restarted."""

import contextlib
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from tests.services.install import MONGOD_VENV, install
from tests.services.pulsar_rest import free_port

START_TIMEOUT_S = 60.0
REPLICA_SET = "rs0"
_POLL_S = 0.05


class Mongod:
    """`with Mongod() as mongod:` gives a running server; `mongod.url` is what clients need.

    With `replica_set` it is one of one node, and the primary when it is ready.

    Raises:
        RuntimeError: it did not start; the text ends with the tail of its log.
    """

    def __init__(self, *, replica_set: bool = False) -> None:
        self.replica_set = replica_set
        self.port = free_port()
        self.url = f"mongodb://127.0.0.1:{self.port}/" + (f"?replicaSet={REPLICA_SET}" if replica_set else "")
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        self._spare: list[str] = []
        self._lent: dict[object, str] = {}

    def __enter__(self) -> Self:
        install(MONGOD_VENV)
        self.folder = Path(tempfile.mkdtemp(prefix="mongod-"))
        (self.folder / "data").mkdir()
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def log(self) -> Path:
        return self.folder / "mongod.log"

    def start(self) -> None:
        """Start the server and return when it can be written to."""
        command = [str(_program()), "--dbpath", str(self.folder / "data"), "--port", str(self.port)]
        command += ["--bind_ip", "127.0.0.1", "--nounixsocket", "--wiredTigerCacheSizeGB", "0.5"]
        command += ["--setParameter", "diagnosticDataCollectionEnabled=false"]
        if self.replica_set:
            command += ["--replSet", REPLICA_SET]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._is_writable():
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = self.log.read_text(errors="replace")[-3000:]
                self.kill()
                raise RuntimeError(f"mongod did not start; its log ends:\n{tail}")
            time.sleep(_POLL_S)

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM: it finishes what it does, tells its clients, and flushes."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """SIGSTOP: connections stay, and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def lend(self, borrower: object) -> str:
        """The name of a database without documents, the same for one borrower until it is taken back.

        Others may have had it: its collections and indexes are there then, which is most of what a short
        test costs.
        """
        if borrower not in self._lent:
            self._databases += not self._spare
            self._lent[borrower] = self._spare.pop() if self._spare else f"lent_{self._databases}"
        return self._lent[borrower]

    def take_back(self, borrower: object) -> None:
        """Remove the documents of its database, but for the version of the schema. May be repeated."""
        database = self._lent.pop(borrower, None)
        if database is None:
            return
        with self._client() as client:
            for collection in client[database].list_collection_names():
                client[database][collection].delete_many({"_id": {"$ne": "schema"}})
        self._spare.append(database)

    def drop(self, database: str) -> None:
        """Remove a database."""
        with self._client() as client:
            client.drop_database(database)

    def _is_writable(self) -> bool:
        with contextlib.suppress(PyMongoError), self._client() as client:
            if self.replica_set:
                self._initiate(client)
            return bool(client.admin.command("hello")["isWritablePrimary"])
        return False

    def _initiate(self, client: MongoClient[dict[str, Any]]) -> None:
        members = [{"_id": 0, "host": f"127.0.0.1:{self.port}"}]
        with contextlib.suppress(OperationFailure):  # it has been initiated
            client.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": members})

    def _client(self) -> MongoClient[dict[str, Any]]:
        return MongoClient(
            f"mongodb://127.0.0.1:{self.port}/",
            directConnection=True,
            serverSelectionTimeoutMS=500,
            socketTimeoutMS=10_000,
        )

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(number)
            process.send_signal(signal.SIGCONT)
            process.wait(timeout=60)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


def _program() -> Path:
    (program,) = MONGOD_VENV.glob("lib/python*/site-packages/fiftyone/db/bin/mongod")
    return program
