"""Which destination a task goes to: a pure function of the limits and the load."""

from collections.abc import Collection, Mapping

from tesp_api.settings import DestinationSettings


def room(destinations: Mapping[str, DestinationSettings], load: Mapping[str, int]) -> int:
    """How many more jobs may run in all; `load` counts the jobs at each destination."""
    return sum(max(0, site.max_running - load.get(name, 0)) for name, site in destinations.items())


def choose(
    destinations: Mapping[str, DestinationSettings], load: Mapping[str, int], fitting: Collection[str]
) -> str:
    """Of the destinations that are `fitting`, the one with the largest free share of its `max_running`.

    Of equals, the first in the settings. Also names one when all are full: the caller asks only when there
    is `room`, except for a task that was taken over and must go somewhere. A task that was admitted under
    other settings may fit none: then all count, and its transfers will say what is missing.
    """
    names = [name for name in destinations if name in fitting] or list(destinations)
    return min(names, key=lambda name: load.get(name, 0) / destinations[name].max_running)
