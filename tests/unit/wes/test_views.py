"""What clients see of runs whose engine said what it should not."""

from dataclasses import replace
from typing import Any

import pytest

from tesp_api.wes.views import outputs_fault, run_log
from tests.factories import make_run


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ([1], "must be an object, not list"),
        ("text", "must be an object, not str"),
        ({"x": float("nan")}, "not JSON compliant"),
        ({"x": [{"y": float("-inf")}]}, "not JSON compliant"),
        ({"x": "\ud800"}, "surrogate"),
    ],
)
def test_outputs_that_cannot_be_told_are_left_out(outputs: Any, said: str) -> None:
    fault = outputs_fault(outputs)
    assert fault.startswith("the outputs of the workflow cannot be told as JSON: ")
    assert said in fault
    run = make_run(outputs=outputs)
    shown = run_log(run, [], "https://tesp.example")
    assert shown["outputs"] == {}
    assert shown["run_log"]["system_logs"][-1] == fault
    told = run_log(replace(run, outputs={"x": 1.5}), [], "https://tesp.example")
    assert told["outputs"] == {"x": 1.5}
