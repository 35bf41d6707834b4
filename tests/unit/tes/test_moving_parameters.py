"""The backend parameters that say how files are moved: what is taken, and what is refused."""

from typing import Any

import pytest

from tesp_api.errors import InvalidRequest
from tesp_api.tes.validation import validate_task


def task(**parameters: str) -> dict[str, Any]:
    return {
        "executors": [{"image": "busybox", "command": ["true"]}],
        "inputs": [{"path": "/in/a,b", "content": "x"}],
        "resources": {"backend_parameters": parameters},
    }


def test_what_is_taken() -> None:
    given = task(checksums="sha1, MD5".lower(), COPIED_INPUTS='["/in//a,b"]')
    new = validate_task(given)
    assert not new.warnings
    assert new.document["resources"] == given["resources"]


@pytest.mark.parametrize(
    ("parameters", "field", "message"),
    [
        ({"checksums": "sha1,crc32"}, "checksums", "'crc32' is none of md5, sha1, sha512"),
        ({"checksums": "sha1,"}, "checksums", "'' is none of"),
        ({"copied_inputs": "/in/a,b"}, "copied_inputs", "must be a JSON list"),
        ({"copied_inputs": "[" * 100_000}, "copied_inputs", "must be a JSON list"),
        ({"copied_inputs": "[1]"}, "copied_inputs", "must be a JSON list"),
        ({"copied_inputs": '["/in/c"]'}, "copied_inputs", "'/in/c' is the path of no input"),
    ],
)
def test_what_is_refused(parameters: dict[str, str], field: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        validate_task(task(**parameters))
    [fault] = refused.value.faults
    assert fault.field == f"resources.backend_parameters.{field}"
    assert message in fault.message
