import tempfile
from pathlib import Path

import pytest

from tesp_api.errors import PulsarRefused
from tesp_api.pulsar.plain_path import plain_path


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_plain_path_is_itself(tmp_path: Path, temporary_folder: Path) -> None:
    assert plain_path(tmp_path / "data") == tmp_path / "data"
    assert list(temporary_folder.iterdir()) == []


@pytest.mark.parametrize("name", ["a folder", "it's", "$(touch x)", "semi;colon", "häuser"])
def test_any_other_path_gets_a_link_that_stays_the_same(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    link = plain_path(folder)
    assert link.readlink() == folder
    assert name not in str(link)
    assert plain_path(folder) == link


def test_a_link_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    link = plain_path(folder)
    link.unlink()
    link.symlink_to("/elsewhere")
    with pytest.raises(PulsarRefused, match="in the way"):
        plain_path(folder)


def test_a_temporary_folder_that_is_no_better_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tempo rary"))
    with pytest.raises(PulsarRefused, match="plainer"):
        plain_path(tmp_path / "a folder")
