"""The server's key: made once, the same for all who ask, useless when damaged."""

import multiprocessing
import stat
from pathlib import Path
from typing import Any

import pytest

from tesp_api.errors import SettingsError
from tesp_api.settings import Settings
from tesp_api.storage.server_key import ServerKey


def settings(folder: Path, **more: Any) -> Settings:
    return Settings.model_validate({"data_dir": folder, **more})


def test_it_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    key = ServerKey(settings(tmp_path / "data"))
    first = key.derive("a")
    assert ServerKey(settings(tmp_path / "data")).derive("a") == first
    assert stat.S_IMODE(key.file.stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["secret.key"]


def test_sub_keys_differ_by_purpose_and_by_key(tmp_path: Path) -> None:
    here, there = (ServerKey(settings(tmp_path / name)) for name in ("here", "there"))
    assert len({here.derive("a"), here.derive("b"), there.derive("a")}) == 3
    assert len(here.derive("a")) == 32


def test_the_settings_win_and_no_file_is_made(tmp_path: Path) -> None:
    first, second = (
        ServerKey(settings(tmp_path / name, secret_key="0123456789" * 4)) for name in ("one", "two")
    )
    assert first.derive("a") == second.derive("a")
    assert not first.file.exists()


def derive(folder: str, barrier: Any, answers: Any) -> None:
    key = ServerKey(settings(Path(folder)))
    barrier.wait()
    answers.put(key.derive("a"))


def test_processes_that_make_it_at_once_agree(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("fork")
    barrier, answers = spawn.Barrier(8), spawn.Queue()
    racers = [spawn.Process(target=derive, args=(str(tmp_path), barrier, answers)) for _ in range(8)]
    for racer in racers:
        racer.start()
    assert len({answers.get(timeout=30) for _ in racers}) == 1
    for racer in racers:
        racer.join()
    assert [path.name for path in tmp_path.iterdir()] == ["secret.key"]


@pytest.mark.parametrize("content", ["", "short", "0" * 63, "g" * 64])
def test_a_damaged_file_stops_the_start_and_is_not_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / "secret.key").write_text(content)
    key = ServerKey(settings(tmp_path))
    for use in (key.check, lambda: key.derive("a")):
        with pytest.raises(SettingsError, match=r"secret\.key is damaged"):
            use()
    assert (tmp_path / "secret.key").read_text() == content


def test_a_folder_in_which_none_can_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="or set secret_key"):
        ServerKey(settings(tmp_path / "file" / "data")).derive("a")


def test_to_check_makes_nothing(tmp_path: Path) -> None:
    ServerKey(settings(tmp_path)).check()
    assert not list(tmp_path.iterdir())
