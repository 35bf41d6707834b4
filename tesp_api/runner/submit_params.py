"""What the scheduler behind a destination's Pulsar is told of a task."""

from tesp_api.runner.needs import Needs
from tesp_api.settings import DestinationSettings
from tesp_api.submit_templates import TEMPLATES, fill


def submit_params(needs: Needs, site: DestinationSettings) -> dict[str, str]:
    """The parameters of Pulsar's submit; none for a site without a scheduler that listens."""
    return fill(_templates(site), _numbers(needs))


def passes_walltime(site: DestinationSettings) -> bool:
    """Whether the site's scheduler is told how long a task may run."""
    return any("{walltime" in template for template in _templates(site).values())


def _templates(site: DestinationSettings) -> dict[str, str]:
    return {**(TEMPLATES[site.scheduler] if site.scheduler else {}), **site.submit_params}


def _numbers(needs: Needs) -> dict[str, int | None]:
    """Rounded up: memory in MiB as schedulers count it, the time in minutes."""
    walltime_s, disk_mb = needs.walltime_s, needs.disk_mb
    return {
        "cores": needs.cores,
        "ram_mb": needs.ram_mb,
        "ram_mib": -(-needs.ram_mb * 10**6 // 2**20),
        "disk_mb": disk_mb,
        "disk_kib": None if disk_mb is None else -(-disk_mb * 10**6 // 2**10),
        "walltime_s": walltime_s,
        "walltime_min": None if walltime_s is None else -(-walltime_s // 60),
    }
