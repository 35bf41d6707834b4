"""Runs that this server has to leave: their engine cannot be used here, or their files are elsewhere.

Another server may be able to, or the operator mends what is wrong. Until then such a run waits as it is, and
the run itself says so, the server's log, and `tesp doctor`.
"""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence

from tesp_api.storage.work_files import why_elsewhere
from tesp_api.store.runs import RunStore, RunToDo
from tesp_api.tes.states import State

LOOKED_AT_MAX = 1000

_log = logging.getLogger(__name__)


class WaitingRuns:
    """Tells of them, each reason once for each run. Their files must be below `base_url`."""

    def __init__(self, runs: RunStore, base_url: str) -> None:
        self._runs = runs
        self._base_url = base_url
        self._logged: frozenset[str] = frozenset()

    async def tell(self, faults: Mapping[str, str], own: Collection[str]) -> None:
        """Look for runs that nobody drives, and that this server cannot; `faults` are those of engines.

        Its `own` runs, which it has claimed before, show nothing of what any server can drive now.
        """
        to_do = [run for run in await self._runs.list_to_do(limit=LOOKED_AT_MAX) if run.id not in own]
        found = dict(left_runs(to_do, self._base_url, faults))
        for run_id, reason in found.items():
            if await self._runs.tell_unclaimed(run_id, f"the run waits: {reason}"):
                _log.warning("run %s waits: %s", run_id, reason)
        if found.keys() - self._logged:
            _log.warning("%d runs wait for what this server does not have: see tesp doctor", len(found))
        self._logged = frozenset(found)


def left_runs(runs: Sequence[RunToDo], base_url: str, faults: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The runs that nobody drives and this server leaves, by their ids, and why.

    What another server has claimed shows what it can drive: runs like those only wait for their turn.
    """
    claimed = [run for run in runs if run.is_claimed]
    engines = {run.engine for run in claimed}
    places = {_base_of(run) for run in claimed}
    for run in runs:
        if run.is_claimed or run.state is State.CANCELING:
            continue
        if _base_of(run) not in places and (elsewhere := why_elsewhere(base_url, run.id, run.work_url)):
            yield run.id, f"{elsewhere}; it goes on once a server looks for them there, or can be canceled"
        elif not run.doomed and run.engine in faults and run.engine not in engines:
            yield run.id, faults[run.engine]


def _base_of(run: RunToDo) -> str:
    return run.work_url.removesuffix(f"{run.id}/")
