"""Which destination a task goes to: pure functions of its needs, the settings, the load and the health."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from tesp_api.runner.images import is_allowed
from tesp_api.runner.needs import Needs, gb
from tesp_api.settings import DestinationSettings

Destinations = Mapping[str, DestinationSettings]


class Load(NamedTuple):
    """What the tasks that are at a destination take of it."""

    jobs: int = 0
    cores: int = 0
    ram_mb: int = 0

    def plus(self, needs: Needs, sign: int = 1) -> "Load":
        """With one task more, or less."""
        return Load(self.jobs + sign, self.cores + sign * needs.cores, self.ram_mb + sign * needs.ram_mb)


NO_LOAD = Load()


@dataclass(frozen=True, slots=True)
class Chosen:
    """A destination that has room, and why it is this one; "" if there is no other."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Waits:
    """Some could take the task, but not now; `reason` says of each why. Without any figure that changes."""

    reason: str


def refusals(needs: Needs, destinations: Destinations) -> dict[str, str]:
    """The destinations that can never take the task, and why; those that are not named can."""
    anywhere = not any(site.zones for site in destinations.values())
    found = {name: _refusal(needs, name, site, anywhere) for name, site in destinations.items()}
    return {name: reason for name, reason in found.items() if reason}


def _refusal(needs: Needs, name: str, site: DestinationSettings, anywhere: bool) -> str:
    if needs.destination not in (None, name):
        return f"the task names {needs.destination}"
    if name not in needs.deliverable:
        return "its workers cannot be given the logins that the task needs"
    if needs.reached_from is not None and name not in needs.reached_from:
        return "it does not reach the folder of workflow runs (wes.work_url), which no file_roots of it hold"
    if site.preemptible and not needs.preemptible:
        return "its jobs may be preempted, which the task does not allow (resources.preemptible)"
    if needs.zones and not anywhere and not needs.zones.intersection(site.zones):
        return f"it is in none of the zones {', '.join(sorted(needs.zones))[:200]}"
    foreign = [image for image in needs.images if not is_allowed(image, site.containers.allow_images)]
    if foreign:
        return f"it does not take the image {foreign[0][:200]}"
    if needs.odd_images and not site.containers.allow_images:
        only = "files, other URLs and registries at local addresses only if containers.allow_images has them"
        return f"it does not take the image {needs.odd_images[0][:200]} ({only})"
    limits: tuple[tuple[int | None, str, int | None, Callable[[int], str]], ...] = (
        (site.most_cores, "cpu_cores", needs.cores, str),
        (site.most_ram_mb, "ram_gb", needs.ram_mb, gb),
        (site.most_disk_mb, "disk_gb", needs.disk_mb, gb),
    )
    for least, what, asked, shown in limits:
        if least is not None and asked is not None and asked > least:
            return f"{what}: {shown(asked)} is more than the {shown(least)} that one task can have there"
    return ""


def obstacle(needs: Needs, site: DestinationSettings, load: Load) -> str:
    """What the task would wait for at a destination that can take it; "" if it has room."""
    if load.jobs >= site.max_running:
        return f"all {site.max_running} places are taken"
    if site.max_cores is not None and load.cores + needs.cores > site.max_cores:
        return f"{needs.cores} of its {site.max_cores} cores must become free"
    if site.max_ram_mb is not None and load.ram_mb + needs.ram_mb > site.max_ram_mb:
        return f"{gb(needs.ram_mb)} of its {gb(site.max_ram_mb)} GB of RAM must become free"
    return ""


def choose(
    needs: Needs, destinations: Destinations, loads: Mapping[str, Load], closed: Mapping[str, str]
) -> Chosen | Waits:
    """The best of the destinations that have room and are not `closed` (which says why they are).

    Better is, in this order: what is near more of the task's URLs; what may preempt jobs, for a task that
    allows it; what has more `weight`; what has the largest free share; what comes first in the settings.
    `destinations` are those that can take the task at all; without any it waits for ever.
    """
    obstacles = {
        name: closed.get(name) or obstacle(needs, site, loads.get(name, NO_LOAD))
        for name, site in destinations.items()
    }
    able = {name: site for name, site in destinations.items() if not obstacles[name]}
    if not able:
        return Waits("; ".join(f"{name}: {reason}" for name, reason in obstacles.items()))
    name = best(needs, able, loads)
    busy = "; ".join(f"{other}: {reason}" for other, reason in obstacles.items() if reason)
    return Chosen(name, "; ".join(filter(None, (_merit(name, needs, able, loads), busy))))


def best(needs: Needs, destinations: Destinations, loads: Mapping[str, Load]) -> str:
    """The best of `destinations` (at least one), whether they have room or not."""
    ranks = [rank for _, rank in _ranks(needs, loads)]
    return max(destinations, key=lambda name: tuple(rank(name, destinations[name]) for rank in ranks))


def _merit(name: str, needs: Needs, able: Destinations, loads: Mapping[str, Load]) -> str:
    """By what the best of `able` came before all others."""
    others = dict(able)
    for merit, rank in _ranks(needs, loads):
        if len(others) == 1:
            break
        top = max(rank(one, site) for one, site in others.items())
        left = {one: site for one, site in others.items() if rank(one, site) == top}
        if len(left) == 1:
            beaten = ", ".join(one for one in others if one != name)
            return f"{merit} than {beaten}"
        others = left
    if needs.destination is not None:
        return "the task names it"
    return f"the first of {', '.join(others)}" if len(others) > 1 else ""


_Rank = Callable[[str, DestinationSettings], float]


def _ranks(needs: Needs, loads: Mapping[str, Load]) -> list[tuple[str, _Rank]]:
    near = dict(needs.near)
    return [
        ("nearer to its data", lambda name, _: near.get(name, 0)),
        ("sooner preempted", lambda _, site: site.preemptible == needs.preemptible),
        ("of more weight", lambda _, site: site.weight),
        ("emptier", lambda name, site: -_taken_share(site, loads.get(name, NO_LOAD))),
    ]


def _taken_share(site: DestinationSettings, load: Load) -> float:
    """Of jobs, cores or RAM, whichever is scarcest."""
    shares = [load.jobs / site.max_running]
    if site.max_cores is not None:
        shares.append(load.cores / site.max_cores)
    if site.max_ram_mb is not None:
        shares.append(load.ram_mb / site.max_ram_mb)
    return max(shares)
