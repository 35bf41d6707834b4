"""Memory of limited size: what was used longest ago is forgotten first."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_KNOWN = 10_000

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """The last ones used of a mapping."""

    def __init__(self) -> None:
        self._items: OrderedDict[K, V] = OrderedDict()

    def __contains__(self, key: K) -> bool:
        return key in self._items

    def find(self, key: K) -> V | None:
        """What is kept under the key, which counts as its use."""
        value = self._items.get(key)
        if value is not None:
            self._items.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> None:
        """Keep it under the key."""
        self._items[key] = value
        self._items.move_to_end(key)
        if len(self._items) > _KNOWN:
            self._items.popitem(last=False)

    def get(self, key: K, make: Callable[[], V]) -> V:
        """What is kept under the key, made if there is nothing."""
        value = self.find(key)
        if value is None:
            value = make()
            self.put(key, value)
        return value

    def drop(self, key: K) -> None:
        """Forget it, if it is there."""
        self._items.pop(key, None)
