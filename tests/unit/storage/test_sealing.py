"""Logins under seal: readable by this server, for this task, and by nobody else."""

from pathlib import Path

import pytest

from tesp_api.errors import SealBroken
from tesp_api.settings import Settings
from tesp_api.storage.sealing import Sealer
from tesp_api.storage.server_key import ServerKey
from tesp_api.tes.userinfo import UrlLogin

LOGINS = (UrlLogin("http://host/a", "lab user", "hush ü"), UrlLogin("ftp://host/b", "x", ""))


def sealer(folder: Path, secret_key: str | None = None) -> Sealer:
    return Sealer(ServerKey(Settings(data_dir=folder, secret_key=secret_key)))


def test_what_is_sealed_can_be_opened_after_a_restart(tmp_path: Path) -> None:
    sealed = sealer(tmp_path).seal("t1", LOGINS)
    assert sealer(tmp_path).open("t1", sealed) == LOGINS


def test_servers_with_one_key_open_each_others_seals(tmp_path: Path) -> None:
    key = "k" * 32
    assert sealer(tmp_path / "b", key).open("t1", sealer(tmp_path / "a", key).seal("t1", LOGINS)) == LOGINS


def test_nothing_is_sealed_as_nothing(tmp_path: Path) -> None:
    assert sealer(tmp_path).seal("t1", ()) == ""
    assert sealer(tmp_path).open("t1", "") == ()
    assert not list(tmp_path.iterdir())  # no key is made for it


def test_the_same_logins_are_sealed_differently_each_time(tmp_path: Path) -> None:
    one = sealer(tmp_path)
    assert one.seal("t1", LOGINS) != one.seal("t1", LOGINS)
    assert "hush" not in one.seal("t1", LOGINS)


def test_a_seal_holds_for_its_task_and_key_only(tmp_path: Path) -> None:
    one = sealer(tmp_path)
    sealed = one.seal("t1", LOGINS)
    changed = sealed[:-6] + ("A" if sealed[-6] != "A" else "B") + sealed[-5:]
    for task_id, text in (("t2", sealed), ("t1", changed), ("t1", "1.AAAA"), ("t1", "no base64 ü")):
        with pytest.raises(SealBroken, match=task_id):
            one.open(task_id, text)
    with pytest.raises(SealBroken, match="secret_key"):
        sealer(tmp_path, "k" * 32).open("t1", sealed)
