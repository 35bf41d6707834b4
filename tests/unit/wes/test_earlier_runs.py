"""Outputs of earlier runs as inputs: `run://RUN/OUTPUT`."""

from dataclasses import replace
from typing import Any

import pytest

from tesp_api.errors import InvalidRequest, RunNotFound
from tesp_api.store.runs import Run
from tesp_api.tes.states import State
from tesp_api.wes.earlier_runs import with_earlier_outputs
from tests.factories import make_run

FILE = {
    "class": "File",
    "location": "file:///work/r1/x.bam",
    "basename": "x.bam",
    "secondaryFiles": [{"a": 1}],
}
TREE = {
    "class": "Directory",
    "basename": "tree",
    "listing": [{"class": "Directory", "basename": "a", "listing": [FILE]}],
}
EARLIER = replace(
    make_run(id="r1"),
    state=State.COMPLETE,
    outputs={"bam": FILE, "many": [FILE, 7], "n": 3, "null": None, "tree": TREE},
)


async def find(run_id: str) -> Run:
    if run_id == "running":
        return make_run(id="running")
    if run_id != "r1":
        raise RunNotFound(run_id)
    return EARLIER


async def resolved(params: Any) -> Any:
    return (await with_earlier_outputs(params, find))[0]


async def test_other_params_stay_as_they_are() -> None:
    params = {"a": [1, {"b": None}], "c": "https://run://"}
    assert await with_earlier_outputs(params, find) == (params, [])


async def test_a_file_becomes_that_output() -> None:
    params = {"reads": {"class": "File", "location": "run://r1/bam", "format": "f"}}
    found, runs = await with_earlier_outputs(params, find)
    assert found == {"reads": FILE | {"format": "f"}}
    assert runs == ["r1"]


async def test_values_take_the_place_of_texts() -> None:
    assert await resolved({"x": "run://r1/n", "y": ["run://r1/many/1"]}) == {"x": 3, "y": [7]}
    assert await resolved({"x": "run://r1/many"}) == {"x": [FILE, 7]}
    assert await resolved({"x": {"class": "File", "path": "run://r1/many/0"}}) == {"x": FILE}
    assert await resolved({"x": "run://r1/tree/a/x.bam"}) == {"x": FILE}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("run://r2/bam", "there is no run 'r2'"),
        ("run://r1/bai", "bam, many, n, null, tree"),
        ("run://r1", "no output"),
        ("run://r1/many/2", "no item"),
        ("run://r1/n/0", "no item"),
        ("run://r1/tree/b", "no item"),
        ("run://running/x", "QUEUED"),
    ],
)
async def test_what_cannot_be_had_is_said(text: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as caught:
        await resolved({"a": {"b": [text]}})
    assert [fault.field for fault in caught.value.faults] == ["workflow_params.a.b[0]"]


async def test_a_directory_is_no_file() -> None:
    with pytest.raises(InvalidRequest, match="no Directory"):
        await resolved({"a": {"class": "Directory", "location": "run://r1/bam"}})
