"""What a job cannot have where each is a task: told before anything has run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from snakemake.exceptions import WorkflowError
from snakemake.io import is_flagged

from .images import image_of

_FLAGS = {
    "pipe": "pipe(): its reader would have to run on the same machine, at the same time",
    "service": "service(): it would have to run beside others",
    "update": "update(): files are never changed once they are made",
}


def check_jobs(jobs: Iterable[Any], parameters: Mapping[str, str]) -> None:
    """Raises: WorkflowError with every rule that cannot be had, and why."""
    found = {f"rule {job.rule.name}: {fault}" for job in jobs for fault in job_faults(job, parameters)}
    if found:
        raise WorkflowError("\n".join(["This workflow cannot be run here:", *sorted(found)]))


def job_faults(job: Any, parameters: Mapping[str, str]) -> Iterator[str]:
    """Why this job cannot be a task."""
    for flag, said in _FLAGS.items():
        if any(is_flagged(one, flag) for one in job.output):
            yield f"its output has {said}"
    if any(one.is_storage for one in (*job.input, *job.output)):
        yield "storage(): name files elsewhere by their URLs, as File objects in the params of the run"
    if job.is_norun:
        return
    for kind in ("notebook", "wrapper", "cwl", "template_engine"):
        if getattr(job, f"is_{kind}"):
            yield f"{kind}: is not run here; shell, script and run are"
            return
    if job.is_run and not parameters["snakemake_image"]:
        yield (
            "run: is Python for Snakemake itself; an image with Snakemake and Python must be named by the "
            "engine parameter snakemake_image"
        )
    yield from _image_faults(job, parameters)


def _image_faults(job: Any, parameters: Mapping[str, str]) -> Iterator[str]:
    given = job.container_img_url
    if given and image_of(given) is None:
        yield f"container {given}: images are named by docker:// and their name"
    if job.rule.conda_env and not given and not job.is_run and parameters["image_is_chosen"] != "true":
        yield (
            "conda: no environment is made here; name an image that has the programs, by container: in the "
            "rule, or for all by the engine parameter default_image"
        )
