"""Which destination a task goes to: a pure function of the limits and the load."""

from collections.abc import Mapping

from tesp_api.settings import DestinationSettings


def room(destinations: Mapping[str, DestinationSettings], load: Mapping[str, int]) -> int:
    """How many more jobs may run in all; `load` counts the jobs at each destination."""
    return sum(max(0, site.max_running - load.get(name, 0)) for name, site in destinations.items())


def choose(destinations: Mapping[str, DestinationSettings], load: Mapping[str, int]) -> str:
    """The destination with the largest free share of its `max_running`; the first of equals.

    Also names one when all are full: the caller asks only when there is `room`, except for a task
    that was taken over and must go somewhere.
    """
    return min(destinations, key=lambda name: load.get(name, 0) / destinations[name].max_running)
