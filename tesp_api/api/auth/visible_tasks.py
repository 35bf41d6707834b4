"""The tasks as one identity sees them: all ways of the API to stored tasks lead through here."""

import asyncio
from dataclasses import replace

from pydantic_core import to_json

from tesp_api.api.auth.identity import Action, Identity
from tesp_api.api.auth.permissions import require
from tesp_api.errors import TaskNotFound
from tesp_api.store.base import PAGE_DOCUMENTS_BYTES, Page, Task, TaskQuery, TaskStore
from tesp_api.store.page_token import task_id_in, token_after
from tesp_api.tes.states import State

_AT_ONCE = 16

StatePage = Page[tuple[str, State]]


class VisibleTasks:
    """Reads tasks for an identity, and asks whether something may be done with one.

    All methods raise `NotAllowed` where the credentials are not good for it, and `TaskNotFound` for a task
    that there is not, or that the identity may not see.
    """

    def __init__(self, store: TaskStore) -> None:
        self._store = store

    async def get(self, who: Identity, task_id: str) -> Task:
        """The task."""
        require(who, Action.READ)
        task = await self._store.get(task_id)
        require(who, Action.READ, task, task_id=task_id)
        return task

    async def state(self, who: Identity, task_id: str) -> State:
        """The task's state alone: reads no document."""
        require(who, Action.READ)
        if who.is_admin:
            return await self._store.get_state(task_id)
        glance = await self._store.glance(task_id)
        require(who, Action.READ, glance, task_id=task_id)
        return glance.state

    async def require(self, who: Identity, action: Action, task_id: str) -> None:
        """Return if this may be done with the task. Whose a task is never changes, so it stays true."""
        require(who, action)
        if not who.is_admin:
            require(who, action, await self._store.glance(task_id), task_id=task_id)

    async def list_states(self, who: Identity, query: TaskQuery) -> StatePage:
        """Like `TaskStore.list_states`, of the tasks that they see."""
        require(who, Action.READ)
        if who.is_admin:
            return await self._store.list_states(query)
        own = replace(query, owner=who.owner)
        if not who.groups or query.owner is not None:
            return await self._store.list_states(own)
        shared = [replace(query, group=group) for group in who.groups]
        pages = await asyncio.gather(*(self._store.list_states(one) for one in (own, *shared)))
        return merged(pages, query.page_size)

    async def list_tasks(self, who: Identity, query: TaskQuery) -> Page[Task]:
        """Like `TaskStore.list_tasks`, of the tasks that they see."""
        require(who, Action.READ)
        if who.is_admin:
            return await self._store.list_tasks(query)
        if not who.groups:
            return await self._store.list_tasks(replace(query, owner=who.owner))
        return await self._read(await self.list_states(who, query))

    async def _read(self, page: StatePage) -> Page[Task]:
        """The tasks of a page, as many as there is room for; what has been deleted meanwhile is left out."""
        ids, tasks, left_bytes = [task_id for task_id, _ in page.items], list[Task](), PAGE_DOCUMENTS_BYTES
        for start in range(0, len(ids), _AT_ONCE):
            some = await asyncio.gather(*(self._find(one) for one in ids[start : start + _AT_ONCE]))
            for task in (found for found in some if found is not None):
                left_bytes -= len(to_json((task.request, task.logs)))
                if left_bytes < 0 and tasks:
                    return Page(tasks, token_after(tasks[-1].id))
                tasks.append(task)
        return Page(tasks, page.next_token)

    async def _find(self, task_id: str) -> Task | None:
        try:
            return await self._store.get(task_id)
        except TaskNotFound:
            return None


def merged(pages: list[StatePage], page_size: int) -> StatePage:
    """The newest of several pages of the same filters, each task once.

    A page that is not the last of its list is known down to where its token points, so all are known down to
    the newest of these places.
    """
    known_down_to = max((task_id_in(page.next_token) for page in pages if page.next_token), default="")
    found = {task_id: state for page in pages for task_id, state in page.items if task_id >= known_down_to}
    items = sorted(found.items(), reverse=True)
    shown = items[:page_size]
    if len(items) > page_size:
        return Page(shown, token_after(shown[-1][0]))
    return Page(shown, token_after(known_down_to) if known_down_to else None)
