"""What schedulers behind Pulsar are told: numbers of the task in templates of the operator, nothing else."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tesp_api.runner.needs import needs_of
from tesp_api.runner.submit_params import submit_params
from tesp_api.settings import DestinationSettings, Settings
from tesp_api.submit_templates import TEMPLATES, check_templates
from tests.factories import make_request


def told(site: dict[str, Any], parameters: dict[str, str] | None = None, **resources: Any) -> dict[str, str]:
    if parameters:
        resources["backend_parameters"] = parameters
    needs = needs_of(make_request(resources=resources), Settings(), frozenset({"local"}))
    rest = {"kind": "rest", "url": "http://127.0.0.1:1"}
    return submit_params(needs, DestinationSettings.model_validate(rest | site))


def test_slurm_gets_one_specification() -> None:
    site = {"scheduler": "slurm-drmaa"}
    assert told(site) == {"native_specification": "--cpus-per-task=1 --mem=1908 --no-requeue"}
    assert told(site, {"walltime_s": "90"}, cpu_cores=4, ram_gb=8.5, disk_gb=10) == {
        "native_specification": "--cpus-per-task=4 --mem=8107 --tmp=10000 --time=0:2:00 --no-requeue"
    }


def test_slurms_drmaa_library_can_read_its_specification() -> None:
    """It takes no value but after a `=`, no unit after a number, no time but hours:minutes:seconds."""
    site, days = {"scheduler": "slurm-drmaa"}, {"walltime_s": str(30 * 24 * 3600)}
    (specification,) = told(site, days, cpu_cores=2, ram_gb=4, disk_gb=1).values()
    options = dict(word.removeprefix("--").partition("=")[::2] for word in specification.split())
    assert options.pop("time") == "0:43200:00"
    assert options.pop("no-requeue") == ""
    assert sorted(options) == ["cpus-per-task", "mem", "tmp"]
    assert all(value.isdigit() for value in options.values())


def test_condor_gets_what_goes_into_its_submit_file() -> None:
    assert told(
        {"scheduler": "condor"}, {"Walltime_S": "60"}, cpu_cores=2, ram_gb=1.048576, disk_gb=1.024
    ) == {
        "request_cpus": "2",
        "request_memory": "1001",
        "request_disk": "1000000",
        "periodic_remove": "JobStatus==2&&time()-JobCurrentStartDate>60",
    }
    assert told({"scheduler": "condor"}) == {"request_cpus": "1", "request_memory": "1908"}


def test_templates_of_the_settings_take_the_place_of_their_keys() -> None:
    site = {
        "scheduler": "condor",
        "submit_params": {"request_memory": "{ram_mb}", "accounting_group": "lab.tes"},
    }
    assert told(site) == {"request_cpus": "1", "request_memory": "2000", "accounting_group": "lab.tes"}
    site = {"submit_params": {"native_specification": "-p long -c {cores} --time=0:{walltime_min}:00"}}
    assert told(site) == {"native_specification": "-p long -c 1"}


def test_without_a_scheduler_nothing_is_told() -> None:
    assert told({}, {"walltime_s": "60"}, cpu_cores=2) == {}


@given(st.text(max_size=20), st.text(max_size=20))
def test_no_text_of_a_task_gets_through(walltime: str, zone: str) -> None:
    site = {"scheduler": "slurm-drmaa"}
    words = told(site, {"walltime_s": walltime}, zones=[zone])["native_specification"].split()
    assert words.pop() == "--no-requeue"
    assert all(re.fullmatch(r"--[a-z-]+=(0:)?[0-9]+(:00)?", word) for word in words)


@pytest.mark.parametrize(
    ("templates", "complaint"),
    [
        ({"executable": "/bin/sh"}, "'executable' is none of"),
        ({"native_specification": "--mem=1\n--wrap"}, "no quotes"),
        ({"native_specification": "--comment='x'"}, "no quotes"),
        ({"request_memory": "$(ENV)"}, "no quotes"),
        ({"request_memory": "{ram}"}, "{ram} is none of cores, ram_mb"),
        ({"request_memory": "{ram_mb"}, "a brace without its other"),
    ],
)
def test_wrong_templates_stop_the_start(templates: dict[str, str], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint.replace("{", r"\{").replace("}", r"\}")):
        DestinationSettings.model_validate(
            {"kind": "rest", "url": "http://127.0.0.1:1", "submit_params": templates}
        )


def test_our_own_templates_pass() -> None:
    for templates in TEMPLATES.values():
        check_templates(templates)


def test_the_embedded_pulsar_has_no_scheduler() -> None:
    with pytest.raises(ValueError, match="not for kind"):
        DestinationSettings.model_validate({"scheduler": "condor"})
