"""How the destinations are, for people: what they do, whether they answer, who waits for them."""

from collections.abc import Mapping
from typing import Any

from tesp_api.runner.destinations import NO_LOAD, Load
from tesp_api.runner.health import Circuit
from tesp_api.settings import DestinationSettings


def destination_view(
    name: str, site: DestinationSettings, load: Load, circuit: Circuit, waiting: int
) -> dict[str, Any]:
    """One destination as this process knows it; a limit that there is not is absent.

    Its health is `well`, `trying` while the last requests failed, or `failing`: no tasks are sent there then.
    """
    state = "failing" if circuit.is_open else "trying" if circuit.failures else "well"
    health = {"state": state} | ({"reason": circuit.last_error} if circuit.last_error else {})
    view = {
        "name": name,
        "kind": site.kind,
        "place": site.place,
        "health": health,
        "running": load.jobs,
        "max_running": site.max_running,
        "cores_used": load.cores,
        "ram_gb_used": load.ram_mb / 1000,
        "waiting": waiting,
    }
    view |= {"cores": site.max_cores} if site.max_cores is not None else {}
    return view | ({"ram_gb": site.max_ram_gb} if site.max_ram_gb is not None else {})


def destination_views(
    destinations: Mapping[str, DestinationSettings],
    loads: Mapping[str, Load],
    circuits: Mapping[str, Circuit],
    waiting: Mapping[str, int],
) -> list[dict[str, Any]]:
    """All of them, in the order of the settings."""
    return [
        destination_view(name, site, loads.get(name, NO_LOAD), circuits[name], waiting.get(name, 0))
        for name, site in destinations.items()
    ]
