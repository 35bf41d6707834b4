"""Admits tasks, stores them and wakes the runner: what all endpoints that create tasks have in common."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tesp_api.api.auth.identity import Identity
from tesp_api.api.idempotency import once_key
from tesp_api.api.limits.allowances import Allowances
from tesp_api.bell import Bell
from tesp_api.context import TRACEPARENT
from tesp_api.errors import Fault, InvalidRequest
from tesp_api.settings import Settings
from tesp_api.storage.admission import Admission, Rules
from tesp_api.storage.sealing import Sealer
from tesp_api.storage.server_key import ServerKey
from tesp_api.store.base import CREATED_BY, Task, TaskStore
from tesp_api.store.outbox import Watch
from tesp_api.tes.ids import new_task_id
from tesp_api.tes.states import State
from tesp_api.tes.times import now
from tesp_api.tes.validation import NewTask, validate_task
from tesp_api.tes.webhook_parameters import OwnWebhook
from tesp_api.tracing.run_spans import request_line
from tesp_api.webhooks.watches import Watches


class Queued(NamedTuple):
    """A task to be stored, and who is told of its states."""

    task: Task
    watch: Watch | None
    webhook: OwnWebhook | None


class Creation:
    """From a valid task to a stored one."""

    def __init__(
        self, store: TaskStore, bell: Bell, settings: Settings, routing: Rules | None = None
    ) -> None:
        self._store = store
        self._bell = bell
        self._admission = Admission(settings, routing)
        self._allowances = Allowances(settings.limits, settings.auth.admins)
        self._sealer = Sealer(ServerKey(settings))
        self._watches = Watches(settings)

    def admit(self, new: NewTask, who: Identity) -> NewTask:
        """The task, if the settings allow it, with what its user should know before it runs.

        Raises:
            InvalidRequest: names every fault.
        """
        return self._admission.admit(new, who.owner)

    def place_faults(self, owner: str, work_url: str) -> list[Fault]:
        """Why no task of `owner` could leave its files in the folder of a run; empty if one can."""
        sent = {"outputs": [{"url": f"{work_url}file", "path": "/file", "type": "FILE"}]}
        try:
            self._admission.admit(NewTask(sent), owner, [work_url])
        except InvalidRequest as error:
            return error.faults
        return []

    def queued_task(self, new: NewTask, who: Identity, request_id: str) -> Queued:
        """The task, with an id, as it will be stored for `who`: its logins sealed for that id.

        What its system_logs tell first is the name of the request, then the client's trace if it has one.

        Raises:
            InvalidRequest: the settings do not allow it; names every fault.
        """
        admitted = self.admit(new, who)
        traced = request_line(TRACEPARENT.get(), request_id)
        notes = [f"{CREATED_BY}{request_id}", *([traced] if traced else [])]
        return self._task(new_task_id(), admitted, who.owner, who.groups, notes)

    def admit_step(self, document: Mapping[str, Any], *, owner: str, places: Sequence[str]) -> NewTask:
        """The task of a workflow's step (`wes.StepTasks`).

        It may name the folders of runs in `places`, which no other task may.

        Raises:
            InvalidRequest: it is no task, or none that may run here; names every fault.
        """
        return self._admission.admit(validate_task(dict(document)), owner, places)

    async def create_step(
        self, task_id: str, admitted: NewTask, *, owner: str, groups: Sequence[str], notes: Sequence[str]
    ) -> None:
        """Store the task of a workflow's step under this id and ring, unless it is there (`wes.StepTasks`).

        Raises:
            LimitReached: the owner, or all, have as many as they may.
        """
        task, watch, _ = self._task(task_id, admitted, owner, groups, notes)
        await self._store.create(task, caps=self._allowances.caps_of(owner), watch=watch)
        self._bell.ring(task_id)

    def _task(
        self, task_id: str, admitted: NewTask, owner: str, groups: Sequence[str], notes: Sequence[str]
    ) -> Queued:
        watch = self._watches.of_task(task_id, admitted.document, owner, admitted.webhook)
        task = Task(
            id=task_id,
            owner=owner,
            state=State.QUEUED,
            created_at=now(),
            request=admitted.document,
            warnings=(*notes, *admitted.warnings),
            sealed=self._sealer.seal(task_id, admitted.logins),
            groups=groups,
        )
        return Queued(task, watch, admitted.webhook)

    async def store(self, queued: Queued, key: str | None, who: Identity) -> str:
        """Store the task and ring; returns its id, or that of the task that was stored under `key` before.

        Raises:
            KeyReused: that task is another one.
            LimitReached: `who`, or all, have as many as they may.
            StoreUnavailable: the task is not stored.
        """
        task, watch, webhook = queued
        once = None if key is None else once_key(key, task.request, webhook)
        task_id = await self._store.create(task, once=once, caps=self._allowances.caps(who), watch=watch)
        self._bell.ring(task_id)
        return task_id
