"""Whatever valid task is stored, every view of it is what the OpenAPI document says, and nothing is null."""

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tesp_api.api.openapi import openapi_document
from tesp_api.tes.states import State
from tesp_api.tes.tasks import View
from tesp_api.tes.validation import validate_task
from tesp_api.tes.views import StreamId, task_view
from tests.factories import make_task
from tests.integration.api.life import nulls_in

COMPONENTS = openapi_document("0")["components"]
FULL_TASK = Draft202012Validator({"$ref": "#/components/schemas/tesTask", "components": COMPONENTS})
MINIMAL_TASK = Draft202012Validator({"$ref": "#/components/schemas/TaskState", "components": COMPONENTS})

_text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)
_texts = st.dictionaries(_text, st.none() | _text, max_size=3)
_flag = st.none() | st.booleans()
_path = st.sampled_from(["/a", "/b/c", "/d e", "/ü"])
_file = {"name": st.none() | _text, "description": st.none() | _text, "type": st.none() | st.just("FILE")}


def _object(needed: dict[str, Any], **optional: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        needed, optional={name: st.none() | value for name, value in optional.items()}
    )


_input = _object({"path": _path, "content": st.just("x") | _text}, streamable=_flag, **_file)
_output = _object({"path": _path, "url": st.sampled_from(("/data/o", "/data/p"))}, path_prefix=_text, **_file)
_executor = _object(
    {
        "image": st.just("alpine"),
        "command": st.lists(st.just("x") | _text, min_size=1).map(lambda c: ["p", *c]),
    },
    workdir=_path,
    stdin=_path,
    stdout=_path,
    env=st.dictionaries(st.just("A"), st.none() | _text),
    ignore_error=_flag,
)
_resources = _object(
    {},
    cpu_cores=st.integers(0, 9) | st.just(2.0),
    ram_gb=st.floats(0, 1e9),
    disk_gb=st.integers(0, 10**9),
    preemptible=_flag,
    zones=st.lists(_text, max_size=2),
    backend_parameters=_texts,
)
_task = _object(
    {"executors": st.lists(_executor, min_size=1, max_size=2)},
    name=_text,
    description=_text,
    inputs=st.lists(_input, max_size=1),
    outputs=st.lists(_output, max_size=2, unique_by=lambda item: item["url"]),
    resources=_resources,
    volumes=st.just(["/v"]),
    tags=_texts,
)
_log = _object(
    {},
    logs=st.lists(_object({"exit_code": st.none() | st.integers(0, 255)}, start_time=_text), max_size=2),
    outputs=st.lists(
        st.fixed_dictionaries({"url": _text, "path": _text, "size_bytes": st.integers(0, 2**63)}), max_size=2
    ),
    metadata=st.dictionaries(_text, _text, max_size=2),
    system_logs=st.lists(_text, max_size=2),
    start_time=_text,
    end_time=_text,
)  # fmt: skip


@settings(deadline=None)
@given(document=_task, logs=st.lists(_log, max_size=2), state=st.sampled_from(State), tes_1_0=st.booleans())
def test_every_view_is_as_documented(
    document: dict[str, Any], logs: list[dict[str, Any]], state: State, tes_1_0: bool
) -> None:
    new = validate_task(document)
    written = [{key: value for key, value in log.items() if value is not None} for log in logs]
    task = replace(make_task(request=new.document, warnings=new.warnings, state=state), logs=written)
    tails = {StreamId(1, 0, "stdout"): "out"}
    for view in View:
        shown = task_view(task, view, tes_1_0=tes_1_0, tails=tails)
        (MINIMAL_TASK if view is View.MINIMAL else FULL_TASK).validate(shown)
        assert nulls_in(shown) == []
        if view is View.BASIC:
            assert not any("content" in item for item in shown.get("inputs", ()))
            assert not any("system_logs" in log for log in shown["logs"])
