"""The stores behind the API in these tests."""

import zlib
from pathlib import Path
from typing import Any

import pytest

from tests.services.mongod import Mongod

STORES = ["sqlite", pytest.param("mongodb", marks=pytest.mark.services)]
"""For a fixture's `params`."""


def store_table(request: pytest.FixtureRequest, folder: Path) -> dict[str, Any]:
    """The table `store` of the settings for the kind in `request.param`: a store that is empty at first."""
    if request.param == "sqlite":
        return {"url": "sqlite:"}
    running: Mongod = request.getfixturevalue("mongod")
    database = f"api_{zlib.crc32(bytes(folder)):x}"
    request.addfinalizer(lambda: running.drop(database))
    return {"url": running.url, "database": database}
