"""The backup of docs/operations.md, taken from a running server, is one that another server starts from."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.services.tesp import ONLY_BUBBLEWRAP, TespServer

pytestmark = pytest.mark.services

OPERATIONS = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text()
PRIVATE = {
    "inputs": [{"url": "https://alice:open-sesame@192.0.2.1/reads.fa", "path": "/data/reads.fa"}],
    "executors": [{"image": "busybox:latest", "command": ["true"]}],
}


def test_a_backup_can_be_put_back(tmp_path: Path) -> None:
    data, backup = tmp_path / "data", tmp_path / "backup"
    backup.mkdir(mode=0o700)
    [script] = re.findall(r"^```bash\n(.*?)^```$", OPERATIONS, re.MULTILINE | re.DOTALL)
    hello = {"executors": [{"image": "busybox:latest", "command": ["echo", "hello"]}]}
    with TespServer(ONLY_BUBBLEWRAP, data=data) as server:
        ended = server.run(hello)
        waiting = server.create(PRIVATE)
        subprocess.run(
            ["bash", "-euc", script], env=os.environ | {"DATA": str(data), "BACKUP": str(backup)}, check=True
        )
        server.client.post(f"/ga4gh/tes/v1/tasks/{waiting}:cancel")
        server.wait(waiting)
        assert b"open-sesame" not in (backup / "tesp.sqlite3").read_bytes()
    with TespServer(ONLY_BUBBLEWRAP, data=backup) as again:
        assert again.get(ended["id"]) == ended
        # it takes up what was live, with the login that only the key opens
        states = {"INITIALIZING", "SYSTEM_ERROR"}
        assert again.wait(waiting, states=states)["logs"][0]["metadata"]["destination"] == "local"
        again.client.post(f"/ga4gh/tes/v1/tasks/{waiting}:cancel")
        again.wait(waiting)
