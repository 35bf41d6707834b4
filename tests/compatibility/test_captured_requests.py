"""The captured files themselves, and the way to make them."""

import json
from pathlib import Path

import httpx
import pytest

from tests.compatibility.captured_requests import FOLDER, NO_BODY, captured, save
from tests.services.gated_http import GatedHttp
from tests.services.recording_proxy import RecordingProxy


@pytest.mark.parametrize("file", sorted(FOLDER.iterdir()), ids=lambda file: file.stem)
def test_a_captured_file_names_its_versions_and_no_machine(file: Path) -> None:
    text = file.read_text()
    versions = json.loads(text)["versions"]
    assert file.stem.rpartition("-")[2] in versions.values()
    assert not [word for word in ("127.0.0.1", "localhost", "/tmp/tmp", "/root", "/home") if word in text]


def test_what_the_proxy_saw_can_be_saved_and_sent_again(tmp_path: Path) -> None:
    with GatedHttp() as web, RecordingProxy(web.url) as proxy:
        web.files["/tasks/17?view=FULL"] = b"{}"
        assert httpx.get(f"{proxy.url}/tasks/17?view=FULL").content == b"{}"
        assert httpx.put(f"{proxy.url}/tasks", json={"url": f"{proxy.url}/17"}).status_code == 201
        seen = dict(zip(("get", "put"), proxy.exchanges, strict=True))
        save("client-1", {"client": "1"}, seen, [(proxy.url, "{url}"), ("17", "{task_id}")], folder=tmp_path)
        read = captured("client-1", folder=tmp_path)
        assert (read["get"].path, read["get"].query) == ("/tasks/{task_id}", (("view", "FULL"),))
        assert read["get"].body is NO_BODY
        assert read["put"].body == {"url": "{url}/{task_id}"}
        with httpx.Client(base_url=web.url) as client:
            assert read["get"].filled(task_id="17").send(client).content == b"{}"
            assert read["put"].filled(url="u", task_id="18").send(client).status_code == 201
        assert json.loads(web.files["/tasks"]) == {"url": "u/18"}
