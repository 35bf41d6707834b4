"""What a task asks of a destination, read off its document."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tesp_api.errors import Fault
from tesp_api.runner.images import is_ordinary
from tesp_api.settings import Settings
from tesp_api.storage.credentials import begins_with
from tesp_api.storage.declared import declared_in
from tesp_api.storage.work_places import WorkPlaces
from tesp_api.tes.backend_parameters import backend_parameter
from tesp_api.tes.paths import is_within
from tesp_api.tes.urls import local_path

_FIELD = "resources.backend_parameters"
_LONGEST_WALLTIME_S = 366 * 24 * 3600


class Needs(NamedTuple):
    """What a task asks for; equal needs are served alike. `near` is the share of its URLs that each
    destination is near, where there is any. `deliverable` names those to which its logins can be given.
    `avoids` is where its attempt before was; it goes there again only if it can go nowhere else. `odd_images`
    are those of its images that a destination takes only by name. `reached_from` are those that reach the
    files of its workflow run; None if it names none.

    A GB is 10^9 bytes, an MB 10^6, here and in the settings.
    """

    cores: int
    ram_mb: int
    disk_mb: int | None
    preemptible: bool
    zones: frozenset[str]
    destination: str | None
    walltime_s: int | None
    deliverable: frozenset[str]
    near: tuple[tuple[str, float], ...]
    images: tuple[str, ...] = ()
    avoids: str | None = None
    odd_images: tuple[str, ...] = ()
    reached_from: frozenset[str] | None = None


def needs_of(document: Mapping[str, Any], settings: Settings, deliverable: frozenset[str]) -> Needs:
    """The needs in a valid document; without cpu_cores or ram_gb it counts with the settings' defaults."""
    resources = document.get("resources") or {}
    disk_gb = resources.get("disk_gb")
    walltime = backend_parameter(document, "walltime_s")
    return Needs(
        cores=resources.get("cpu_cores") or settings.scheduler.default_cores,
        ram_mb=megabytes(resources.get("ram_gb") or settings.scheduler.default_ram_gb),
        disk_mb=megabytes(disk_gb) if disk_gb is not None else None,
        preemptible=bool(resources.get("preemptible")),
        zones=frozenset(resources.get("zones") or ()),
        destination=backend_parameter(document, "destination"),
        walltime_s=int(walltime) if walltime is not None and is_walltime(walltime) else None,
        deliverable=deliverable,
        near=tuple(_nearness(document, settings)),
        images=_images(document, settings),
        odd_images=_odd_images(document, settings),
        reached_from=WorkPlaces(settings).reached_from(document),
    )


def _images(document: Mapping[str, Any], settings: Settings) -> tuple[str, ...]:
    """Of the executors, where it matters: tasks that wait are kept with their needs, by the thousand."""
    if not any(site.containers.allow_images for site in settings.destinations.values()):
        return ()
    return tuple(dict.fromkeys(_named(document)))


def _odd_images(document: Mapping[str, Any], settings: Settings) -> tuple[str, ...]:
    local = tuple(map(str, settings.transfers.local_networks))
    return tuple(dict.fromkeys(image for image in _named(document) if not is_ordinary(image, local)))


def _named(document: Mapping[str, Any]) -> Iterator[str]:
    return (executor["image"] for executor in document.get("executors") or ())


def parameter_faults(document: Mapping[str, Any], settings: Settings) -> Iterator[Fault]:
    """What is wrong with the backend parameters that say where and how long a task runs."""
    name = backend_parameter(document, "destination")
    if name is not None and name not in settings.destinations:
        there_are = ", ".join(settings.destinations)
        yield Fault(f"{_FIELD}.destination", f"there is no destination {name[:64]!r}: there are {there_are}")
    walltime = backend_parameter(document, "walltime_s")
    if walltime is not None and not is_walltime(walltime):
        range_s = f"whole seconds, from 1 to {_LONGEST_WALLTIME_S}"
        yield Fault(f"{_FIELD}.walltime_s", f"must be {range_s}, not {walltime[:40]!r}")


def is_walltime(text: str) -> bool:
    """Whether a backend parameter says a time that a scheduler can be told."""
    return text.isascii() and text.isdigit() and len(text) <= 8 and 1 <= int(text) <= _LONGEST_WALLTIME_S


def megabytes(size_gb: float) -> int:
    """Rounded up, but not because of how a float is stored."""
    return math.ceil(round(size_gb * 1000, 6))


def gb(size_mb: int) -> str:
    """Megabytes, shown as gigabytes."""
    return f"{size_mb / 1000:g}"


def _nearness(document: Mapping[str, Any], settings: Settings) -> Iterator[tuple[str, float]]:
    if not any(site.near for site in settings.destinations.values()):
        return
    urls = [declared.url for declared in declared_in(document)]
    for name, site in settings.destinations.items():
        count = sum(any(_is_near(url, prefix) for prefix in site.near) for url in urls)
        if count:
            yield name, count / len(urls)


def _is_near(url: str, prefix: str) -> bool:
    path, folder = local_path(url), local_path(prefix)
    if path is not None and folder is not None:
        return is_within(path, folder)
    return path is None and folder is None and begins_with(url, prefix)
