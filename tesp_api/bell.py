"""The bell between the API and the runner: "look at the store, something changed there".

The routes never call the runner. They write to the store and ring; a bell that nobody hears is no
loss, since the runner looks at the store now and then anyhow.
"""

from collections.abc import Callable


class Bell:
    """Wakes whoever listens in this process. All methods belong to one event loop."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[str], None]] = []

    def ring(self, task_id: str) -> None:
        """Tell every listener that the task has changed in the store."""
        for listener in list(self._listeners):
            listener(task_id)

    def listen(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Have `listener` called at every ring; returns the function that ends this."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)
