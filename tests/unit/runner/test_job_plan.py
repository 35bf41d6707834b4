"""What a worker is told about logs: the more executors a task has, the less of each stream is kept."""

import json
from dataclasses import replace

import pytest

from tesp_api.runner.job_plan import plan_job
from tesp_api.runner.lending import NOTHING
from tesp_api.runner.needs import needs_of
from tesp_api.settings import LogSettings, Settings
from tests.factories import make_request, make_task

MIB = 1024**2


@pytest.mark.parametrize(
    ("executors", "kept_mib"), [(1, 64), (2, 64), (4, 32), (100, 256 / 200), (1024, 1 / 8), (5000, 1 / 8)]
)
def test_the_streams_of_an_attempt_share_what_is_kept_of_it(executors: int, kept_mib: float) -> None:
    settings = Settings()
    request = make_request(executors=make_request()["executors"] * executors)
    task = replace(make_task(request=request), attempt=1)
    order = plan_job(task, "local", settings, None, NOTHING, needs_of(request, settings, frozenset()))
    told = json.loads(order.task_json)["site"]["log_max_bytes"]
    assert told == settings.logs.of_task(executors).max_bytes == int(kept_mib * MIB)


def test_a_share_has_room_for_the_tail_that_is_shown() -> None:
    logs = LogSettings(tail_bytes=MIB, attempt_max_bytes=3 * MIB)
    assert logs.of_task(10).max_bytes == 2 * MIB
    assert logs.of_task(10).tail_bytes == MIB
