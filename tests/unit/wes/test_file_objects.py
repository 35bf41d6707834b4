"""File and Directory objects in the params of a run: what is wrong with one is told by its place."""

from typing import Any

import pytest

from tesp_api.wes.engines.file_objects import file_faults

A_FILE: dict[str, Any] = {"class": "File", "location": "a.txt", "path": None, "secondaryFiles": []}


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ({"class": "Directory", "listing": ["abc"]}, ".listing[0]: must be an object whose class is"),
        ({"class": "Directory", "listing": "abc"}, ".listing: must be a list of File and Directory objects"),
        ({"class": "Directory", "listing": 5}, ".listing: must be a list of File and Directory objects"),
        ({"class": "Directory", "listing": [A_FILE, None]}, ".listing[1]: must be an object"),
        ({"class": "Directory", "listing": [{"location": "a"}]}, ".listing[0]: must be an object"),
        (
            {"class": "Directory", "listing": [{"class": "Directory", "listing": [1]}]},
            ".listing[0].listing[0]: must be an object",
        ),
        ([A_FILE, A_FILE | {"secondaryFiles": ["abc"]}], "[1].secondaryFiles[0]: must be an object"),
        ({"nested": A_FILE | {"location": 5}}, ".nested.location: must be a string"),
        (A_FILE | {"basename": ["a"]}, ".basename: must be a string"),
    ],
)
def test_what_is_wrong_is_told_by_its_place(value: Any, fault: str) -> None:
    [told] = file_faults({"x": value})
    assert told.startswith(f"workflow_params.x{fault}")


def test_all_else_is_left_to_the_engine() -> None:
    params = {
        "file": A_FILE,
        "directory": {"class": "Directory", "basename": "d", "listing": [A_FILE], "path": ""},
        "record": {"class": "of its own", "listing": "abc", "location": 5},
        "list": ["abc", 5, None, {"listing": ["abc"]}],
    }
    assert not list(file_faults(params))
