"""Files of a client's own disk that it has attached."""

from typing import Any

import pytest

from tesp_api.settings import Settings
from tesp_api.wes.clients_files import with_attached_files

SETTINGS = Settings.model_validate(
    {"data_dir": "/data", "destinations": {"local": {"file_roots": [{"path": "/shared"}]}}}
)


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("file:///home/me/reads.fa", "in/reads.fa"),
        ("file:///home/me/a%20b", "a%20b"),
        ("file:///shared/reads.fa", None),
        ("file:///home/me/other.fa", None),
        ("file:///home/me/twice", None),
        ("https://a.org/reads.fa", None),
        ("reads.fa", None),
        (7, None),
    ],
)
def test_a_local_file_is_the_attachment_of_its_name(location: Any, expected: str | None) -> None:
    params = {"x": [{"class": "File", "location": location}], "text": location}
    attachments = ["in/reads.fa", "a b", "1/twice", "2/twice"]
    found, told = with_attached_files(params, attachments, SETTINGS)
    assert found["x"][0]["location"] == (location if expected is None else expected)
    assert found["text"] == location
    assert len(told) == (expected is not None)
