"""The identity of a data folder."""

from pathlib import Path

import pytest

from tesp_api.errors import StoreError
from tesp_api.store.server_id import server_id


def test_it_is_made_once_and_is_one_of_a_kind(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    assert server_id(one) == server_id(one)
    assert server_id(one) != server_id(two)
    assert [file.name for file in one.iterdir()] == ["server.id"]


@pytest.mark.parametrize("damaged", [b"", b"0123", b"x" * 16, b"\xff" * 16])
def test_one_that_is_damaged_is_not_replaced_by_another(tmp_path: Path, damaged: bytes) -> None:
    """Under a new one, the server would leave its own jobs to others."""
    (tmp_path / "server.id").write_bytes(damaged)
    with pytest.raises(StoreError, match=r"server\.id"):
        server_id(tmp_path)
    assert (tmp_path / "server.id").read_bytes() == damaged
