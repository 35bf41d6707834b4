"""Servers that many tests share, each started when the first test asks for it."""

from collections.abc import Iterator

import hypothesis
import pytest
from argon2 import PasswordHasher

from tesp_api.api.auth import passwords
from tests import sampling
from tests.services.mongod import Mongod
from tests.services.moto import Moto
from tests.services.radosgw import Radosgw
from tests.services.s3_servers import S3Place
from tests.services.tesp import TespServer

# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile(
    "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("patient")

# Tests start hundreds of servers, which are mostly imports.
TespServer.is_forked = True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    sampling.leave_out(config, items)


@pytest.fixture(scope="session")
def mongod() -> Iterator[Mongod]:
    """A MongoDB that stands alone. Tests use databases of their own, and leave the server as it is."""
    with Mongod() as running:
        yield running


@pytest.fixture(scope="session")
def mongod_replica_set() -> Iterator[Mongod]:
    """A MongoDB replica set of one node, on the same terms."""
    with Mongod(replica_set=True) as running:
        yield running


@pytest.fixture(scope="session")
def moto() -> Iterator[S3Place]:
    """An S3 that takes any signature and any form. Tests use buckets of their own."""
    with Moto() as running:
        yield running


@pytest.fixture(scope="session")
def radosgw() -> Iterator[S3Place]:
    """An S3 that checks them, on the same terms."""
    with Radosgw() as running:
        yield running


@pytest.fixture
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords cost next to nothing in this test: on a busy machine a real one takes seconds.

    So what is wrong is told soon.
    """
    monkeypatch.setattr(passwords, "_TOLD_EVERY_S", 0.02)
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    passwords._nobodys_hash.cache_clear()
