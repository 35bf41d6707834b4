"""The backup of docs/operations.md, taken from a running server, is one that another server starts from."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.services.tesp import ONLY_BUBBLEWRAP, TespServer

pytestmark = pytest.mark.services

OPERATIONS = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text()


def test_a_backup_can_be_put_back(tmp_path: Path) -> None:
    data, backup = tmp_path / "data", tmp_path / "backup"
    backup.mkdir(mode=0o700)
    [script] = re.findall(r"^```bash\n(.*?)^```$", OPERATIONS, re.MULTILINE | re.DOTALL)
    environment = os.environ | {"DATA": str(data), "BACKUP": str(backup)}
    hello = {"executors": [{"image": "busybox:latest", "command": ["echo", "hello"]}]}
    with TespServer(ONLY_BUBBLEWRAP, data=data) as server:
        ended = server.run(hello)
        subprocess.run(["bash", "-euc", script], env=environment, check=True)
        later = server.run(hello)
    assert (backup / "secret.key").read_bytes() == (data / "secret.key").read_bytes()
    assert (backup / "secret.key").stat().st_mode & 0o077 == 0
    with TespServer(ONLY_BUBBLEWRAP, data=backup) as again:
        assert again.get(ended["id"]) == ended
        assert again.client.get(f"/ga4gh/tes/v1/tasks/{later['id']}").status_code == 404
        assert again.run(hello)["state"] == "COMPLETE"
