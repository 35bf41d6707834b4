"""What a container's root left behind is taken over by the server's user, who may use Docker."""

import os
from pathlib import Path

import pytest

from tesp_api.runner.left_files import take_over
from tests.services.containers import require_docker

pytestmark = pytest.mark.services

NOBODY = 65534


def test_all_of_it_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_docker()
    inner = tmp_path / "job" / "task" / "deep"
    inner.mkdir(parents=True)
    (inner / "file").write_text("")
    (inner / "link").symlink_to("/etc/passwd")
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    monkeypatch.setattr(os, "getegid", lambda: NOBODY)
    take_over(tmp_path / "job")
    assert {path.lstat().st_uid for path in (tmp_path / "job", *(tmp_path / "job").rglob("*"))} == {NOBODY}
    assert Path("/etc/passwd").stat().st_uid == 0


def test_without_docker_and_podman_it_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    take_over(tmp_path)
    assert tmp_path.stat().st_uid == 0
