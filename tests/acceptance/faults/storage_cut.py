"""The link between workers and the server of their files is cut while they move any."""

import time
from collections.abc import Iterator

from tests.acceptance.faults.courses import Course
from tests.acceptance.faults.fittings import fitted, fittings_of
from tests.acceptance.faults.scenario import ALL, PHASES, Absence, Scenario, Stage
from tests.acceptance.faults.worlds import KINDS, SQLITE_EMBEDDED, SQLITE_REST, World
from tests.services.link import Link

STORAGE = "worker-storage"
CUTS = ("refused", "stalled", "forgotten")
FAULTS = tuple(f"{STORAGE} {cut}" for cut in CUTS)
LASTS_S = 30.0
_MOVING = ("initializing", "staging out")
_PATIENCE = {"TESP_API_TRANSFERS__STALL_S": "8", "TESP_API_TRANSFERS__TRIES": "20"}
"""With as many tries, workers outlast it: what comes of fewer is not of this matrix."""
WORLDS = (SQLITE_EMBEDDED, SQLITE_REST)
_FITTED = {kind: fitted(kind, _PATIENCE) for kind in WORLDS}


def scenarios(lasts_s: float = LASTS_S) -> Iterator[Scenario]:
    for kind in WORLDS:
        for cut in CUTS:

            def run(stage: Stage, cut: str = cut) -> None:
                _cut(stage, cut, lasts_s)

            yield Scenario(f"{STORAGE} {cut}", ALL, _FITTED[kind], run, end_within_s=120)


def absences() -> Iterator[Absence]:
    for fault in FAULTS:
        for phase in PHASES:
            if phase not in _MOVING:
                yield Absence(fault, phase, "*", "no file is moved then")
        for kind in KINDS:
            if kind not in WORLDS:
                yield Absence(fault, "*", kind.name, "workers that move files are the same everywhere")


def _cut(stage: Stage, cut: str, lasts_s: float) -> None:
    """The server of files would go on at once; what it has to say does not arrive."""
    world = stage.world
    link = _link_of(world)
    tasks = {
        "initializing": world.create(Course.COMPLETES, hold="initializing"),
        "staging out": world.create(Course.COMPLETES, hold="staging out"),
    }
    stage.cast = tasks
    began_at = time.monotonic()
    link.refuse() if cut == "refused" else link.stall()
    try:
        for task in tasks.values():
            world.let_go(task)
        time.sleep(max(0.0, began_at + lasts_s - time.monotonic()))
    finally:
        link.heal(forgets=cut == "forgotten")


def _link_of(world: World) -> Link:
    """The link through which the world's tasks reach their files."""
    fittings = fittings_of(world)
    port = int(world.web.url.rpartition(":")[2])
    if STORAGE in fittings and fittings[STORAGE].port == port:
        return fittings[STORAGE]
    link = fittings.link(STORAGE, port)
    world.web.url = f"http://127.0.0.1:{link.port}"
    return link
