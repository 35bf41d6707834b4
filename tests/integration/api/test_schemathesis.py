"""schemathesis against the served OpenAPI document: a stranger who believes every word of it.

`make fuzz` asks for many more examples, from another seed each time; what fails names its seed.
"""

import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CheckFunction, not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tesp_api.api.openapi import openapi_document
from tesp_api.settings import Settings
from tests.integration.api.hostile_requests import TASKS, task
from tests.integration.api.live import live_api

CHECKS: list[CheckFunction] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
EXAMPLES = int(os.environ.get("TESP_FUZZ_EXAMPLES", "25"))
SEED = int(os.environ.get("TESP_FUZZ_SEED", "1"))

OPERATIONS = [
    (method, path) for path, methods in openapi_document("0")["paths"].items() for method in methods
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    configuration = Settings.model_validate({"data_dir": str(tmp_path_factory.mktemp("fuzz"))})
    with live_api(configuration) as address:
        yield address


@pytest.fixture(scope="module")
def task_id(url: str) -> str:
    """The id of a task that there is: made-up ones lead nowhere."""
    return str(httpx.post(f"{url}{TASKS}", json=task(name="known", tags={"k": "v"})).json()["id"])


@pytest.fixture(scope="module")
def run_id(url: str) -> str:
    """The id of a workflow run that there is."""
    asked = {"workflow_type": "SCRIPT", "workflow_type_version": "v1", "workflow_url": "https://a.org/w"}
    return str(httpx.post(f"{url}/ga4gh/wes/v1/runs", json=asked).json()["run_id"])


@pytest.fixture(scope="module")
def schema(url: str) -> Any:
    """The served document, without the `default` answers, which would allow every status."""
    document = httpx.get(f"{url}/openapi.json").json()
    for methods in document["paths"].values():
        for operation in methods.values():
            del operation["responses"]["default"]
    return schemathesis.openapi.from_dict(document)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_answer_is_one_of_those_documented(
    schema: Any, url: str, task_id: str, run_id: str, method: str, path: str, mode: GenerationMode
) -> None:
    operation = schema[path][method.upper()]
    if mode is GenerationMode.NEGATIVE and not _can_be_wrong(operation):
        pytest.skip("takes nothing but a text in its path, and every text is one")
    print(f"TESP_FUZZ_SEED={SEED}")

    @seed(SEED)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), of_a_task=st.booleans())
    def ask(case: Any, of_a_task: bool) -> None:
        if of_a_task and "id" in case.path_parameters:
            case.path_parameters["id"] = run_id if "/runs/" in path else task_id
        case.call_and_validate(base_url=url, checks=CHECKS, timeout=30)

    ask()


def _can_be_wrong(operation: Any) -> bool:
    texts = {"id", "task", "path"}
    return bool(operation.body) or any(one.name not in texts for one in operation.iter_parameters())
