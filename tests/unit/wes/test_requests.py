"""What a request that starts a run may look like, and what is said of one that cannot be used."""

from typing import Any

import pytest

from tesp_api.errors import InvalidRequest
from tesp_api.wes.requests import (
    NewRun,
    asked_of,
    attached_workflow,
    attachment_name,
    read_form_value,
    read_run_request,
)
from tests.fakes.script_engine import ScriptEngine

ENGINE = ScriptEngine()


def read(attachments: tuple[str, ...] = ("w.json",), **fields: Any) -> NewRun:
    whole = {"workflow_type": "SCRIPT", "workflow_type_version": "v1", "workflow_url": "w.json"} | fields
    present = {name: value for name, value in whole.items() if value is not ...}
    return read_run_request(present, list(attachments), {"script": ENGINE}, {"script": "1.0"})


def faults(*attachments: str, **fields: Any) -> dict[str, str]:
    with pytest.raises(InvalidRequest) as caught:
        read(attachments or ("w.json",), **fields)
    return {fault.field: fault.message for fault in caught.value.faults}


def test_what_was_sent_is_kept() -> None:
    new = read(
        workflow_params={"x": 1},
        tags={"project": "demo", "n": 1, "none": None},
        workflow_engine_parameters={"mood": "wild", "resume": "r1"},
    )
    assert new.document == {
        "workflow_type": "SCRIPT",
        "workflow_type_version": "v1",
        "workflow_url": "w.json",
        "workflow_params": {"x": 1},
        "tags": {"project": "demo", "n": "1", "none": ""},
        "workflow_engine_parameters": {"mood": "wild", "resume": "r1"},
    }
    assert (new.engine, new.resumes, new.warnings) == ("script", "r1", [])


@pytest.mark.parametrize("kind", ["script", "SCRIPT", " Script "])
@pytest.mark.parametrize("version", ["v1", "1", "V1", "1.1"])
def test_clients_are_understood(kind: str, version: str) -> None:
    new = read(
        workflow_type=kind,
        workflow_type_version=version,
        workflow_engine="Script",
        workflow_engine_version="v1.0",
        workflow_engine_parameters=None,
        tags="",
        workflow_params='{"x": "y"}',
    )
    asked = asked_of(new.document, ENGINE)
    assert asked.workflow_type == "SCRIPT"
    assert asked.workflow_type_version == ("v1.1" if "." in version else "v1")
    assert asked.engine_parameters == {}
    assert new.document["workflow_params"] == {"x": "y"}


@pytest.mark.parametrize(
    "url", ["w.json#main", "./w.json", "sub/../w.json", "https://a.org/w", "file:///a", "s3://b/k"]
)
def test_urls_that_can_be_workflows(url: str) -> None:
    assert read(workflow_url=url).document["workflow_url"] == url


def test_an_attachment_may_be_spelt_with_percents() -> None:
    assert attached_workflow("a%20b/w.json#main", ["a b/w.json"]) == "a b/w.json"


def test_every_fault_is_named() -> None:
    found = faults(
        workflow_type=...,
        workflow_url=...,
        workflow_type_version=7,
        workflow_params=[1],
        tags={"a": {}},
        workflow_engine_version="1.0",
    )
    assert set(found) == {
        *("workflow_type", "workflow_url", "workflow_type_version", "workflow_params", "tags.a"),
        "workflow_engine",
    }


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"workflow_type": "WDL"}, "workflow_type", "SCRIPT"),
        ({"workflow_type_version": "v9"}, "workflow_type_version", "v1, v1.1"),
        ({"workflow_engine": "toil"}, "workflow_engine", "script"),
        ({"workflow_engine": "script", "workflow_engine_version": "9"}, "workflow_engine_version", "1.0"),
        ({"workflow_url": "other.json"}, "workflow_url", "w.json"),
        ({"workflow_url": "/etc/passwd"}, "workflow_url", "attach"),
        ({"workflow_url": "gopher://a/b"}, "workflow_url", "https://"),
        ({"workflow_url": "../w.json"}, "workflow_url", "no workflow_attachment"),
        ({"workflow_params": "{"}, "workflow_params", "JSON"),
        (
            {"workflow_params": {"a": [{"location": "https://u:p@a.org/"}]}},
            "workflow_params.a[0].location",
            "credential",
        ),
        ({"workflow_url": "https://u:secret@a.org/w"}, "workflow_url", "credential"),
    ],
)
def test_what_is_wrong_is_said(fields: dict[str, Any], field: str, said: str) -> None:
    found = faults(**fields)
    assert said in found[field]
    assert "secret" not in str(found)


def test_nothing_is_installed() -> None:
    with pytest.raises(InvalidRequest, match="tesp engine install"):
        read_run_request({"workflow_type": "CWL"}, [], {}, {})


def test_unknown_parameters_are_warned_of() -> None:
    assert "tempo" in read(workflow_engine_parameters={"tempo": "fast"}).warnings[0]


@pytest.mark.parametrize(
    ("given", "name"), [("a.cwl", "a.cwl"), ("./a/b.cwl", "a/b.cwl"), ("a//b", "a/b"), ("a b/ü", "a b/ü")]
)
def test_names_of_attachments(given: str, name: str) -> None:
    assert attachment_name(given) == name


@pytest.mark.parametrize(
    "given", ["", ".", "..", "../a", "a/../../b", "a/../b", "/etc/passwd", "a\\b", "a\0b", "a/", "x" * 300]
)
def test_names_that_lead_elsewhere_are_refused(given: str) -> None:
    with pytest.raises(InvalidRequest, match="workflow_attachment"):
        attachment_name(given)


def test_form_values_are_json_where_they_should_be() -> None:
    assert read_form_value("workflow_params", '{"a": [1]}') == {"a": [1]}
    assert read_form_value("tags", " ") is None
    assert read_form_value("workflow_url", "{") == "{"
    with pytest.raises(InvalidRequest, match="tags"):
        read_form_value("tags", "{]")
