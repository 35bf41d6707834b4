"""From a task to the job that runs it: pure functions, no input or output.

The format of task.json is described in `tesp_api.worker`.
"""

import json
from typing import Any

from tesp_api.pulsar.base import JobOrder
from tesp_api.runner.gateway import is_remote
from tesp_api.runner.lending import Lent
from tesp_api.runner.needs import Needs
from tesp_api.runner.submit_params import passes_walltime, submit_params
from tesp_api.runner.worker_archive import worker_archive_for
from tesp_api.settings import DestinationSettings, Settings
from tesp_api.storage.url_rules import worker_rules
from tesp_api.storage.work_places import WorkPlaces
from tesp_api.store.base import Task
from tesp_api.worker.order import Patience
from tesp_api.worker.urls import shown

FORMAT_VERSION = 1


def job_id_of(task_id: str, attempt: int) -> str:
    """The id of an attempt's Pulsar job; the same for every submission of that attempt."""
    return f"{task_id}-{attempt}"


def plan_job(
    task: Task, destination: str, settings: Settings, bell: str | None, lent: Lent, needs: Needs
) -> JobOrder:
    """The order for the task's present attempt at a destination; `bell` is where the worker may ring.

    `lent` is how the worker reaches storage; an order for a job that has begun needs nothing of it. Of the
    `needs` a scheduler at the site is told.
    """
    job_id = job_id_of(task.id, task.attempt)
    site = settings.destinations[destination]
    order = {
        "version": FORMAT_VERSION,
        "task_id": task.id,
        "attempt": task.attempt,
        "job_id": job_id,
        "request_id": task.request_id,
        **{
            part: _as_the_site_needs_it(site, part, task.request.get(part, empty))
            for part, empty in (
                ("inputs", []),
                ("outputs", []),
                ("executors", []),
                ("volumes", []),
                ("resources", {}),
            )
        },
        "site": _site_rules(site, settings, bell, task)
        | {"walltime_s": needs.walltime_s if passes_walltime(site) else None},
        "channel": lent.channel,
        "lent": lent.lent,
        "report": lent.report,
        "permits": lent.permits,
    }
    params = submit_params(needs, site)
    return JobOrder(job_id, worker_archive_for(site.kind), json.dumps(order).encode(), params)


def _as_the_site_needs_it(site: DestinationSettings, part: str, value: Any) -> Any:
    """A part of the document. URLs that only the gateway uses go without their secrets.

    What is left out is replaced by a number, which keeps outputs apart that differ in it alone.
    """
    if site.staging == "worker" or part not in ("inputs", "outputs"):
        return value
    return [
        {**item, "url": shown(item["url"]) + (f"?{number}" if shown(item["url"]) != item["url"] else "")}
        if is_remote(item)
        else item
        for number, item in enumerate(value)
    ]


def _site_rules(
    site: DestinationSettings, settings: Settings, bell: str | None, task: Task
) -> dict[str, Any]:
    of_runs = WorkPlaces(settings).folders_named_in(task.request)
    executors = len(task.request.get("executors", ()))
    return {
        "runtimes": list(site.runtimes_in_order),
        "runtime_args": {runtime: list(args) for runtime, args in site.runtime_args.items()},
        "network": site.network,
        "confinement": {
            "pids_max": site.containers.pids_max or None,
            "capabilities": None
            if site.containers.capabilities == "default"
            else site.containers.capabilities,
            "new_privileges": site.containers.allow_new_privileges,
            "init": site.containers.init,
            "user": site.containers.user,
        },
        "read_only_inputs": site.containers.read_only_inputs,
        "file_roots": [
            *({"path": str(root.path), "mount": root.mount} for root in site.file_roots),
            *({"path": folder, "mount": "copy"} for folder in of_runs),
        ],
        "log_max_bytes": settings.logs.of_task(executors).max_bytes,
        "log_chunk_bytes": settings.logs.chunk_bytes,
        "heartbeat_s": settings.scheduler.heartbeat_s,
        "bell": bell,
        "staging": site.staging,
        "home": site.kind == "amqp",
        "transfers": {name: getattr(settings.transfers, name) for name in Patience._fields},
        "rules": worker_rules(settings)._asdict(),
    }
