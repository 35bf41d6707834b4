"""Several servers on one MongoDB: one of them expands a run, and another takes over when it is gone."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tesp_api.settings import Settings
from tesp_api.tes.states import State
from tests.fakes.workshop import Workshop, eventually
from tests.services.mongod import Mongod

pytestmark = pytest.mark.services

LEASE_S = 1.5


@pytest.fixture
def database(mongod: Mongod, tmp_path: Path) -> Iterator[str]:
    name = f"runs_{tmp_path.name[-40:]}"
    yield name
    mongod.drop(name)


def settings(mongod: Mongod, database: str, folder: Path, name: str) -> Settings:
    return Settings.model_validate(
        {
            "data_dir": str(folder / name),
            "secret_key": "k" * 32,
            "store": {"url": mongod.url, "database": database},
            "scheduler": {"lease_s": LEASE_S, "scan_s": 0.1},
            "wes": {"work_url": str(folder / "shared")},
        }
    )


async def vanish(shop: Workshop) -> None:
    """As kill -9 does: nothing is released."""

    async def nothing(_: str) -> None:
        pass

    shop.runs.release = nothing  # type: ignore[method-assign, assignment]
    await shop.conductor.stop()


HANGING: list[dict[str, Any]] = [
    {"name": "going", "command": ["hang"], "scatter": 3},
    {"name": "last", "command": ["true"], "after": ["going"]},
]


async def test_one_expands_and_another_takes_over(mongod: Mongod, database: str, tmp_path: Path) -> None:
    async with (
        Workshop(settings(mongod, database, tmp_path, "a")) as first,
        Workshop(settings(mongod, database, tmp_path, "b"), plays=False) as second,
    ):
        run_id = await first.submit(HANGING)
        await first.until_begun(3)
        driver, other = (first, second) if first.engine.expansions else (second, first)
        assert driver.engine.expansions == {run_id: 1}
        await asyncio.sleep(2 * LEASE_S)
        assert other.engine.expansions == {}  # its lease was renewed
        await vanish(driver)
        await eventually(lambda: asyncio.sleep(0, other.engine.expansions.get(run_id)))
        first.player.go()
        run = await other.ended_run(run_id)
        assert run.state is State.COMPLETE
        assert sorted(first.player.begun) == ["going 0", "going 1", "going 2", "last"]


async def test_a_cancel_at_one_server_reaches_the_other(
    mongod: Mongod, database: str, tmp_path: Path
) -> None:
    async with Workshop(settings(mongod, database, tmp_path, "a")) as first:
        run_id = await first.submit(HANGING)
        await first.until_begun(3)
        async with Workshop(settings(mongod, database, tmp_path, "b"), plays=False) as second:
            began = asyncio.get_running_loop().time()
            await second.runs.request_cancel(run_id, "canceled there")
            assert (await second.ended_run(run_id)).state is State.CANCELED
            assert asyncio.get_running_loop().time() - began < 5


async def test_a_server_that_slept_submits_nothing_more(
    mongod: Mongod, database: str, tmp_path: Path
) -> None:
    """Its writes are refused once another one has the run."""
    async with (
        Workshop(settings(mongod, database, tmp_path, "a"), plays=False) as first,
        Workshop(settings(mongod, database, tmp_path, "b")) as second,
    ):
        await second.conductor.stop()
        run_id = await first.submit(HANGING)
        await eventually(lambda: first.steps(run_id))
        for loop in first.conductor._loops:  # it renews nothing any more, and goes on with all else
            loop.cancel()
        await asyncio.sleep(LEASE_S)
        await second.conductor.start()
        await eventually(lambda: asyncio.sleep(0, second.engine.expansions.get(run_id)))
        second.player.go()
        run = await second.ended_run(run_id)
        assert run.state is State.COMPLETE
        assert sorted(second.player.begun) == ["going 0", "going 1", "going 2", "last"]
        assert sorted(await second.steps(run_id)) == ["going 0", "going 1", "going 2", "last"]
