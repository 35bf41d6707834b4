"""What a scheduler behind Pulsar is told: templates into which nothing but a task's numbers is put.

No string of a user's ever gets into one, because Pulsar passes them on unescaped: to Slurm's DRMAA library as
options, to HTCondor as lines of a submit file.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType

NUMBERS = ("cores", "ram_mb", "ram_mib", "disk_mb", "disk_kib", "walltime_s", "walltime_min")
KEYS = (
    "native_specification",
    "request_cpus",
    "request_memory",
    "request_disk",
    "request_gpus",
    "periodic_remove",
    "accounting_group",
    "accounting_group_user",
    "requirements",
    "rank",
    "priority",
    "concurrency_limits",
)
"""What Pulsar may be told: DRMAA's one parameter, and of HTCondor's those that run nothing else."""

TEMPLATES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "slurm-drmaa": {
            "native_specification": "--cpus-per-task={cores} --mem={ram_mib} --tmp={disk_mb} "
            "--time=0:{walltime_min}:00 --no-requeue"
        },
        "condor": {
            "request_cpus": "{cores}",
            "request_memory": "{ram_mib}",
            "request_disk": "{disk_kib}",
            "periodic_remove": "JobStatus==2&&time()-JobCurrentStartDate>{walltime_s}",
        },
    }
)
_PLACE = re.compile(r"\{([^{}]*)\}")
_SAFE = re.compile(r"[A-Za-z0-9 _.,:;=+\-*/@%()<>!&|\[\]{}]*")


def check_templates(templates: Mapping[str, str]) -> None:
    """Return if these can be sent.

    Raises:
        ValueError: one has a key that is not in `KEYS`, a place for what is no number of a task, or a
            character that would mean something else to Pulsar or to a scheduler.
    """
    for key, template in templates.items():
        if key not in KEYS:
            raise ValueError(f"submit_params: {key[:80]!r} is none of {', '.join(KEYS)}")
        if not _SAFE.fullmatch(template):
            raise ValueError(f"submit_params.{key}: no quotes, backslashes, $, # or control characters")
        if unknown := [name for name in _PLACE.findall(template) if name not in NUMBERS]:
            raise ValueError(f"submit_params.{key}: {{{unknown[0]}}} is none of {', '.join(NUMBERS)}")
        if {"{", "}"} & set(_PLACE.sub("", template)):
            raise ValueError(f"submit_params.{key}: a brace without its other")


def fill(templates: Mapping[str, str], numbers: Mapping[str, int | None]) -> dict[str, str]:
    """The parameters for one task. A word is left out if it has a number that the task does not say."""
    filled = {key: " ".join(_words(template, numbers)) for key, template in templates.items()}
    return {key: value for key, value in filled.items() if value}


def _words(template: str, numbers: Mapping[str, int | None]) -> list[str]:
    return [
        _PLACE.sub(lambda place: str(numbers[place[1]]), word)
        for word in template.split()
        if all(numbers[name] is not None for name in _PLACE.findall(word))
    ]
