"""Makes the databases of an earlier version that the tests upgrade: by its own server, from a checkout of it.

    git worktree add /tmp/earlier COMMIT
    PYTHONPATH=/tmp/earlier python tests/data/make_database.py sqlite tests/data/sqlite-COMMIT.tar.gz
    PYTHONPATH=/tmp/earlier python tests/data/make_database.py mongodb tests/data/mongodb-COMMIT.tar.gz

Needs bubblewrap. Of the tests' helpers it uses those of the checkout. The archive has the files of the data
folder (MongoDB: the documents of each collection, as BSON), and `facts.json`, which says what the server
showed at last.
"""

import io
import json
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, cast

from pymongo import MongoClient
from pymongo.collection import Collection

from tesp_api.pulsar.processes import kill_tree, processes_in
from tests.acceptance.workflow_runs import scripted_server, step, submit, wait
from tests.services.mongod import Mongod
from tests.services.tesp import TespServer

PASSWORD = "open sesame, please"
DATABASE = "tesp"
FOLDER_OF_FILES = Path("/tmp/tesp-earlier")


def a_task(name: str, script: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "tags": {"project": "upgrade"},
        "executors": [{"image": "busybox:latest", "command": ["sh", "-c", script]}],
        **more,
    }


def tesp(server: TespServer, *words: str, stdin: str = "") -> str:
    command = [sys.executable, "-m", "tesp_api.cli", *words]
    environment = server.environment_of_process()
    done = subprocess.run(
        command, input=stdin, env=environment, cwd=server.folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def fill(server: TespServer) -> dict[str, Any]:
    """Give the server users and tasks; it is dead at the end, with one task RUNNING and one QUEUED."""
    tesp(server, "user", "add", "alice", "--group", "lab", "--admin", stdin=PASSWORD + "\n")
    tesp(server, "user", "add", "bob", "--no-password")
    token = tesp(server, "token", "create", "bob", "--expires", "never").split()[-1]
    server.start()
    server.client.auth = ("alice", PASSWORD)
    output = {"path": "/out/result.txt", "url": f"file://{FOLDER_OF_FILES}/result.txt"}
    complete = "echo to stdout; echo to stderr >&2; echo result > /out/result.txt"
    tasks = {
        "complete": server.run(a_task("complete", complete, outputs=[output]))["id"],
        "failed": server.run(a_task("failed", "echo before the end; exit 3"))["id"],
        "canceled": server.create(a_task("canceled", "sleep 1000")),
    }
    server.client.post(f"/ga4gh/tes/v1/tasks/{tasks['canceled']}:cancel")
    server.wait(tasks["canceled"])
    run_id = submit(server, [step("a", "echo of the step")])
    run = wait(server, run_id)
    tasks["running"] = server.create(a_task("running", "echo running; sleep 1000"))
    server.wait(tasks["running"], states={"RUNNING"})
    tasks["queued"] = server.create(a_task("queued", "echo at last"))
    views = {name: server.get(task_id) for name, task_id in tasks.items()}
    server.kill()
    return {
        "password": PASSWORD,
        "token": token,
        "tasks": views,
        "run": {"id": run_id, "state": run["state"], "request": run["request"]},
    }


def plain_copy(source: Path) -> bytes:
    """A SQLite database as one file."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "copy"
        with closing(sqlite3.connect(source)) as db:
            db.execute("VACUUM INTO ?", [str(target)])
        return target.read_bytes()


def main(store: str, archive: Path) -> None:
    """Make the archive."""
    FOLDER_OF_FILES.mkdir(exist_ok=True)
    settings = {
        "TESP_API_AUTH__MODES": '@json ["basic", "token"]',
        "TESP_API_DESTINATIONS__LOCAL__MAX_RUNNING": "1",
        "TESP_API_DESTINATIONS__LOCAL__FILE_ROOTS": f'@json [{{"path": "{FOLDER_OF_FILES}", "mount": "rw"}}]',
    }
    files: dict[str, bytes] = {}
    with ExitStack() as stack:
        mongod = stack.enter_context(Mongod()) if store == "mongodb" else None
        if mongod is not None:
            settings["TESP_API_STORE__URL"] = mongod.url
        server = scripted_server(settings)
        server.data.mkdir(mode=0o700)
        facts = fill(server)
        for job in processes_in(server.data.resolve()):
            kill_tree(job)
        files["secret.key"] = (server.data / "secret.key").read_bytes()
        if mongod is None:
            for name in ("tesp.sqlite3", "accounts.sqlite3"):
                files[name] = plain_copy(server.data / name)
        else:
            with MongoClient[dict[str, Any]](mongod.url) as client:
                for name in client[DATABASE].list_collection_names():
                    one: Collection[dict[str, Any]] = client[DATABASE][name]
                    files[f"{name}.bson"] = b"".join(cast(bytes, part) for part in one.find_raw_batches())
        server.__exit__(None, None, None)
    files["facts.json"] = json.dumps(facts, indent=1).encode()
    with tarfile.open(archive, "w:gz") as packed:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            packed.addfile(member, io.BytesIO(data))
    shutil.rmtree(FOLDER_OF_FILES)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
