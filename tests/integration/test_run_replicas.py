"""Several servers on one MongoDB: one of them expands a run, and another takes over when it is gone."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
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


async def is_free(shop: Workshop, run_id: str) -> bool:
    """Whether nobody holds the run."""
    return [one.is_claimed for one in await shop.runs.list_to_do(limit=9) if one.id == run_id] == [False]


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
        claimed = (await driver.runs.get(run_id)).claim
        assert claimed is not None
        later = claimed.expires_at + timedelta(seconds=2 * LEASE_S)

        async def is_renewed() -> bool:
            claim = (await driver.runs.get(run_id)).claim
            return claim is not None and claim.expires_at > later

        await eventually(is_renewed)
        assert other.engine.expansions == {}
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
        await eventually(lambda: is_free(second, run_id))
        await second.conductor.start()
        await eventually(lambda: asyncio.sleep(0, second.engine.expansions.get(run_id)))
        second.player.go()
        run = await second.ended_run(run_id)
        assert run.state is State.COMPLETE
        assert sorted(second.player.begun) == ["going 0", "going 1", "going 2", "last"]
        assert sorted(await second.steps(run_id)) == ["going 0", "going 1", "going 2", "last"]


async def test_a_server_with_another_work_url_touches_no_run(
    mongod: Mongod, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tesp_api.wes.conductor._TELL_EVERY_S", 0.2)
    right = settings(mongod, database, tmp_path, "a")
    wes = right.wes.model_copy(update={"work_url": str(tmp_path / "elsewhere")})
    wrong = settings(mongod, database, tmp_path, "b").model_copy(update={"wes": wes})
    async with Workshop(wrong, plays=False) as other, Workshop(right) as first:
        run_id = await first.submit(HANGING)
        await first.until_begun(3)
        await vanish(first)
        run = await other.until_told(run_id, "the run waits: the files of run ")  # when the lease is over
        assert (run.state, other.engine.expansions) == (State.RUNNING, {})
        async with Workshop(right, plays=False) as again:
            first.player.go()
            assert (await again.ended_run(run_id)).state is State.COMPLETE
        assert sorted(first.player.begun) == ["going 0", "going 1", "going 2", "last"]
        assert other.engine.expansions == {}
