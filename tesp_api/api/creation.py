"""Admits tasks, stores them and wakes the runner: what all endpoints that create tasks have in common."""

from tesp_api.api.auth.identity import Identity
from tesp_api.api.idempotency import once_key
from tesp_api.api.limits.allowances import Allowances
from tesp_api.bell import Bell
from tesp_api.settings import Settings
from tesp_api.storage.admission import Admission, Rules
from tesp_api.storage.sealing import Sealer
from tesp_api.storage.server_key import ServerKey
from tesp_api.store.base import CREATED_BY, Task, TaskStore
from tesp_api.tes.ids import new_task_id
from tesp_api.tes.states import State
from tesp_api.tes.times import now
from tesp_api.tes.validation import NewTask


class Creation:
    """From a valid task to a stored one."""

    def __init__(
        self, store: TaskStore, bell: Bell, settings: Settings, routing: Rules | None = None
    ) -> None:
        self._store = store
        self._bell = bell
        self._admission = Admission(settings, routing)
        self._allowances = Allowances(settings.limits)
        self._sealer = Sealer(ServerKey(settings))

    def admit(self, new: NewTask, who: Identity) -> NewTask:
        """The task, if the settings allow it, with what its user should know before it runs.

        Raises:
            InvalidRequest: names every fault.
        """
        return self._admission.admit(new, who.owner)

    def queued_task(self, new: NewTask, who: Identity, request_id: str) -> Task:
        """The task, with an id, as it will be stored for `who`: its logins sealed for that id.

        What its system_logs tell first is the name of the request.

        Raises:
            InvalidRequest: the settings do not allow it; names every fault.
        """
        admitted = self.admit(new, who)
        task_id = new_task_id()
        return Task(
            id=task_id,
            owner=who.owner,
            state=State.QUEUED,
            created_at=now(),
            request=admitted.document,
            warnings=(f"{CREATED_BY}{request_id}", *admitted.warnings),
            sealed=self._sealer.seal(task_id, admitted.logins),
            groups=who.groups,
        )

    async def store(self, task: Task, key: str | None, who: Identity) -> str:
        """Store the task and ring; returns its id, or that of the task that was stored under `key` before.

        Raises:
            KeyReused: that task is another one.
            LimitReached: `who`, or all, have as many as they may.
            StoreUnavailable: the task is not stored.
        """
        once = None if key is None else once_key(key, task.request)
        task_id = await self._store.create(task, once=once, caps=self._allowances.caps(who))
        self._bell.ring(task_id)
        return task_id
