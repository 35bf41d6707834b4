"""What all tests of the runner need."""

import pytest

from tesp_api.runner.worker_archive import build_worker_archive


@pytest.fixture(scope="session", autouse=True)
def worker_archive() -> None:
    """Made before any test waits for a task: that takes seconds on a busy machine."""
    build_worker_archive()
