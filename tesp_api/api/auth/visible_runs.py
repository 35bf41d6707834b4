"""The workflow runs as one identity sees them: all ways of the API to stored runs lead through here."""

import asyncio
from dataclasses import replace

from tesp_api.api.auth.identity import Action, Identity
from tesp_api.api.auth.permissions import require
from tesp_api.store.base import Page
from tesp_api.store.page_token import task_id_in, token_after
from tesp_api.store.runs import Run, RunGlance, RunQuery, RunStore


class VisibleRuns:
    """Reads runs for an identity, and asks whether something may be done with one.

    All methods raise `NotAllowed` where the credentials are not good for it, and `RunNotFound` for a run that
    there is not, or that the identity may not see.
    """

    def __init__(self, store: RunStore) -> None:
        self._store = store

    async def get(self, who: Identity, run_id: str) -> Run:
        """The run."""
        require(who, Action.READ)
        run = await self._store.get(run_id)
        require(who, Action.READ, run, run_id=run_id)
        return run

    async def require(self, who: Identity, action: Action, run_id: str) -> RunGlance:
        """The run's state, if this may be done with it. Whose a run is never changes, so it stays true."""
        require(who, action)
        glance = await self._store.glance(run_id)
        require(who, action, glance, run_id=run_id)
        return glance

    async def list_runs(self, who: Identity, query: RunQuery) -> Page[Run]:
        """Like `RunStore.list_runs`, of the runs that they see."""
        require(who, Action.READ)
        if who.is_admin:
            return await self._store.list_runs(query)
        own = replace(query, owner=who.owner)
        shared = [replace(query, group=group) for group in who.groups]
        pages = await asyncio.gather(*(self._store.list_runs(one) for one in (own, *shared)))
        return _merged(pages, query.page_size)


def _merged(pages: list[Page[Run]], page_size: int) -> Page[Run]:
    """The newest of several pages, each run once; all are known down to the newest place where one ends."""
    known_down_to = max((task_id_in(page.next_token) for page in pages if page.next_token), default="")
    found = {run.id: run for page in pages for run in page.items if run.id >= known_down_to}
    items = [found[run_id] for run_id in sorted(found, reverse=True)]
    shown = items[:page_size]
    has_more = len(items) > page_size or bool(known_down_to)
    return Page(shown, token_after(shown[-1].id) if has_more and shown else None)
