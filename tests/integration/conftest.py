"""MongoDB stores: on a server that stands alone, and on a replica set of one."""

from collections.abc import AsyncIterator

import pytest

from tesp_api.store.mongo import MongoTaskStore
from tests.integration.mongo_stores import MongoPlace, mongo_place


@pytest.fixture(params=["mongod", "mongod_replica_set"])
async def place(request: pytest.FixtureRequest) -> AsyncIterator[MongoPlace]:
    async with mongo_place(request.getfixturevalue(request.param)) as there:
        yield there


@pytest.fixture
async def store(place: MongoPlace) -> MongoTaskStore:
    return await place.open()
