"""Who is told of a new task, or run: receivers of the settings, and the task's own webhook."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tesp_api.settings import Settings
from tesp_api.settings_webhooks import ReceiverSettings
from tesp_api.storage.sealing import Sealer
from tesp_api.storage.server_key import ServerKey
from tesp_api.store.outbox import Hook, Watch
from tesp_api.tes.webhook_parameters import TELLABLE, OwnWebhook

PURPOSE = "sealed webhooks"

_NAME_MAX = 1000
_TAGS_MAX = 16_000


@dataclass(frozen=True, slots=True)
class About:
    """What is told of a task or run beside its state, kept with its notices.

    A long name is cut, and tags that are longer than 16,000 characters as JSON are left out. `sealed` has the
    task's own webhook, encrypted; "" if it has none.
    """

    owner: str
    name: str
    tags: Mapping[str, str] | None
    sealed: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> "About":
        return About(**json.loads(text))


def webhook_sealer(settings: Settings) -> Sealer:
    """Seals and opens tasks' own webhooks."""
    return Sealer(ServerKey(settings), PURPOSE)


def own_receiver(own: OwnWebhook, owner: str) -> str:
    """Tasks of one owner that are told of at one place have one receiver, called as none of the settings."""
    return f"{own.place} {owner}"


def is_own(receiver: str) -> bool:
    """Whether the receiver was named by a task, not by the settings."""
    return "://" in receiver


def shown_receiver(receiver: str) -> str:
    """What people are told of it: its name in the settings, or the place."""
    return receiver.partition(" ")[0]


def owner_of(receiver: str) -> str:
    """Whose it is; "" for one of the settings."""
    return receiver.partition(" ")[2]


class Watches:
    """Makes what is stored with a new task or run. Immutable."""

    def __init__(self, settings: Settings) -> None:
        self._receivers = settings.webhooks.receivers
        self._sealer = webhook_sealer(settings)

    def of_task(
        self, task_id: str, document: Mapping[str, Any], owner: str, own: OwnWebhook | None
    ) -> Watch | None:
        """Who is told of the task; None if nobody."""
        hooks = list(self._hooks("tasks", document.get("tags") or {}))
        sealed = ""
        if own is not None:
            hooks.append(Hook(own_receiver(own, owner), own.states))
            sealed = self._sealer.seal_text(task_id, json.dumps([own.url, own.secret]))
        return _watch(hooks, document, owner, sealed)

    def of_run(self, document: Mapping[str, Any], owner: str) -> Watch | None:
        """Who is told of the run; None if nobody."""
        return _watch(list(self._hooks("runs", document.get("tags") or {})), document, owner, "")

    def _hooks(self, kind: Literal["tasks", "runs"], tags: Mapping[str, str]) -> Iterator[Hook]:
        for name, one in self._receivers.items():
            if kind in one.of and _has_tags(one, tags):
                yield Hook(name, frozenset(one.states or TELLABLE))


def _has_tags(receiver: ReceiverSettings, tags: Mapping[str, str]) -> bool:
    wanted = (text.partition("=") for text in receiver.tags)
    return all(key in tags and (not sign or tags[key] == value) for key, sign, value in wanted)


def _watch(hooks: list[Hook], document: Mapping[str, Any], owner: str, sealed: str) -> Watch | None:
    if not hooks:
        return None
    tags = dict(document.get("tags") or {})
    kept = tags if len(json.dumps(tags)) <= _TAGS_MAX else None
    name = str(document.get("name") or "")[:_NAME_MAX]
    return Watch(tuple(hooks), About(owner, name, kept, sealed).to_json())
