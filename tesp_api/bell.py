"""The bell between the API and the runner: "look at the store, something changed there".

The routes never call the runner. They write to the store and ring; a bell that nobody hears is no
loss, since the runner looks at the store now and then anyhow.
"""

import logging
from collections.abc import Callable

_log = logging.getLogger(__name__)


class Bell:
    """Wakes whoever listens in this process. All methods belong to one event loop."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[str], None]] = []

    def ring(self, task_id: str) -> None:
        """Tell every listener that the task has changed in the store.

        A listener's failure is logged and not raised: it is no client's affair, who would only store the
        task once more.
        """
        for listener in list(self._listeners):
            try:
                listener(task_id)
            except Exception:
                _log.exception("nobody could be told of task %s; the runner will find it by itself", task_id)

    def listen(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Have `listener` called at every ring; returns the function that ends this."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)
