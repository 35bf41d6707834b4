"""The stores behind the API in these tests."""

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
    request.addfinalizer(lambda: running.take_back(folder))
    return {"url": running.url, "database": running.lend(folder)}
