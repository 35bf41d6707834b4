"""The Docker daemon is killed and started again, with a container that runs."""

import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.acceptance.faults.cast import Cast
from tests.acceptance.faults.fittings import fitted
from tests.acceptance.faults.scenario import ALL, Absence, Scenario, Stage
from tests.acceptance.faults.workers_killed import SQLITE_EMBEDDED_DOCKER, SQLITE_REST_DOCKER
from tests.acceptance.faults.worlds import KINDS, World, WorldKind
from tests.services.private_docker import PrivateDocker
from tests.services.tesp import poll

FAULTS = ("Docker daemon killed",)
WORLDS = (SQLITE_EMBEDDED_DOCKER, SQLITE_REST_DOCKER)
IN_A_CONTAINER = ("running", "ended")
GONE_WITHIN_S = 90


def _with_own_docker(kind: WorldKind) -> WorldKind:
    place = Path(tempfile.gettempdir()).resolve() / f"tesp-docker-{secrets.token_hex(6)}"
    network = {"TESP_API_DESTINATIONS__LOCAL__NETWORK": "none"}
    fitting = fitted(kind, network, exports={"DOCKER_HOST": f"unix://{place}/socket"})
    _PLACES[fitting] = place
    return fitting


_PLACES: dict[WorldKind, Path] = {}
_FITTED = {kind: _with_own_docker(kind) for kind in WORLDS}


def scenarios() -> Iterator[Scenario]:
    for kind in WORLDS:
        for live_restore in (False, True):

            def run(stage: Stage, live_restore: bool = live_restore) -> None:
                _kill(stage, live_restore=live_restore)

            detail = "containers go on" if live_restore else "containers end with it"
            yield Scenario(FAULTS[0], ALL, _FITTED[kind], run, detail, end_within_s=120)


def absences() -> Iterator[Absence]:
    for kind in KINDS:
        yield Absence(FAULTS[0], "*", kind.name, "its tasks run without Docker")


def _kill(stage: Stage, *, live_restore: bool) -> None:
    """Also with a daemon that takes its containers up again, nothing of the task may run on."""
    world = stage.world
    lost = dict.fromkeys(IN_A_CONTAINER, ("SYSTEM_ERROR",))
    with PrivateDocker(_PLACES[world.kind], live_restore=live_restore) as docker:
        cast = Cast(world, lost)
        cast.enter()
        stage.cast = cast.tasks
        try:
            cast.cancel()
            docker.kill()
            for phase in IN_A_CONTAINER:
                poll(lambda: world.has_ended(cast.tasks[phase]), timeout_s=60, why=f"{phase} goes on")  # noqa: B023
                _assert_told(world, cast.tasks[phase].id)
            docker.start()
        finally:
            cast.go_on()
        for task in cast.tasks.values():
            poll(lambda: world.has_ended(task), timeout_s=120, why=f"{task.name} does not end")  # noqa: B023
        poll(
            lambda: not docker.run("ps", "--all", "--quiet"),
            timeout_s=GONE_WITHIN_S,
            why="a container is still there",
        )
        cast.assert_retired_as_before()


def _assert_told(world: World, task_id: str) -> None:
    log = world.server.get(task_id)["logs"][-1]
    assert "daemon" in log["system_logs"][-1], log
