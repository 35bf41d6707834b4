"""The worker at a site with a gateway: it takes inputs from, and leaves outputs in, the job directory."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.worker_job import WorkerJob, shell

pytestmark = pytest.mark.services

BASE = "http://127.0.0.1:9"
"""Nobody answers there: a worker that tried would fail, or hang."""

WITHOUT_NETWORK = ("unshare", "--net", "--")


def brought(job: WorkerJob, inputs: dict[str, dict[str, bytes | None]]) -> None:
    """Put inputs where the gateway does; by the number of the input and the name in it."""
    index: dict[str, list[dict[str, Any]]] = {}
    for number, files in inputs.items():
        entries = index.setdefault(number, [])
        for count, (name, data) in enumerate(files.items()):
            entry: dict[str, Any] = {"name": name, "file": None, "size_bytes": 0, "sha256": ""}
            if data is not None:
                entry |= {"file": f"{number}-{count}", "size_bytes": len(data)}
                entry["sha256"] = hashlib.sha256(data).hexdigest()
                (job.directory / "inputs" / entry["file"]).write_bytes(data)
            entries.append(entry)
    job.metadata.mkdir(parents=True, exist_ok=True)
    document = {"inputs": index, "messages": ["said by the gateway"]}
    (job.metadata / "inputs.json").write_text(json.dumps(document))


def left(job: WorkerJob, result: dict[str, Any]) -> dict[tuple[int, str], bytes | None]:
    """What the worker left, checked against what it says."""
    files: dict[tuple[int, str], bytes | None] = {}
    for entry in result["left"]:
        data = (job.metadata / "out" / entry["file"]).read_bytes() if entry["file"] else None
        if data is not None:
            assert entry["size_bytes"] == len(data)
            assert entry["sha256"] == hashlib.sha256(data).hexdigest()
        files[entry["output"], entry["below"]] = data
    return files


def test_inputs_are_taken_and_outputs_left_without_a_network(tmp_path: Path) -> None:
    script = (
        "set -e; cp /in/one /out/one; test -d /in/tree/empty; test ! -s /in/tree/none;"
        "cp -r /in/tree/. /out/tree; mkdir -p '/out/tree/new/x y'; touch '/out/tree/%'; chmod 0 /out/one;"
        "cat /content >> /in/one; echo star > /out/a.txt; ln -s a.txt /out/b.txt"
    )
    job = WorkerJob(
        tmp_path / "job",
        "bubblewrap",
        executors=[shell(script)],
        site={"staging": "gateway"},
        inputs=[
            {"path": "/content", "content": "inline"},
            {"path": "/in/one", "url": f"{BASE}/one"},
            {"path": "/in/tree", "url": f"{BASE}/tree", "type": "DIRECTORY"},
        ],
        outputs=[
            {"path": "/out/one", "url": f"{BASE}/put/one"},
            {"path": "/out/tree", "url": f"{BASE}/put/tree/?2", "type": "DIRECTORY"},
            {"path": "/out/*.txt", "url": f"{BASE}/put", "path_prefix": "/out"},
        ],
    )
    odd = "sub dir/#ü?"
    brought(job, {"1": {"": b"first"}, "2": {odd: b"second", "none": b"", "empty": None}})
    result = job.run(WITHOUT_NETWORK)
    assert result["state"] == "COMPLETE", result
    assert left(job, result) == {
        (0, ""): b"first",
        (1, "/sub%20dir/%23%C3%BC%3F"): b"second",
        (1, "/none"): b"",
        (1, "/%25"): b"",
        (1, "/empty"): None,
        (1, "/new/x%20y"): None,
        (2, "/a.txt"): b"star\n",
        (2, "/b.txt"): b"star\n",
    }
    assert result["outputs"] == []
    assert [(entry["path"], entry.get("url")) for entry in result["inputs"]] == [
        ("/content", None),
        ("/in/one", f"{BASE}/one"),
        (f"/in/tree/{odd}", f"{BASE}/tree/sub%20dir/%23%C3%BC%3F"),
        ("/in/tree/none", f"{BASE}/tree/none"),
    ]
    assert "said by the gateway" in result["system_logs"]
    assert not list((job.directory / "inputs").iterdir()), "inputs are moved, not copied"


@pytest.mark.parametrize("change", [b"firsT", b"first!", b""])
def test_an_input_that_arrived_changed_ends_the_task(tmp_path: Path, change: bytes) -> None:
    inputs = [{"path": "/in/one", "url": f"{BASE}/one"}]
    job = WorkerJob(
        tmp_path / "job",
        "bubblewrap",
        executors=[shell("true")],
        site={"staging": "gateway"},
        inputs=inputs,
    )
    brought(job, {"0": {"": b"first"}})
    (job.directory / "inputs" / "0-0").write_bytes(change)
    result = job.run()
    assert (result["state"], result["executors"]) == ("SYSTEM_ERROR", [])
    assert "/in/one" in result["reason"]


def test_an_input_that_was_not_brought_ends_the_task(tmp_path: Path) -> None:
    inputs = [{"path": "/in/one", "url": f"{BASE}/one"}]
    job = WorkerJob(
        tmp_path / "job",
        "bubblewrap",
        executors=[shell("true")],
        site={"staging": "gateway"},
        inputs=inputs,
    )
    assert job.run()["state"] == "SYSTEM_ERROR"


def test_an_output_in_a_shared_folder_is_copied(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    job = WorkerJob(
        tmp_path / "job",
        "bubblewrap",
        [{"path": str(shared), "mount": "rw"}],
        executors=[shell("echo shared > /shared/file; echo ours > /out/file")],
        site={"staging": "gateway"},
        inputs=[{"path": "/shared", "url": f"file://{shared}", "type": "DIRECTORY"}],
        outputs=[
            {"path": "/shared/file", "url": f"{BASE}/a"},
            {"path": "/out/file", "url": f"{BASE}/b"},
            {"path": "/out/file", "url": f"file://{shared}/c"},
        ],
    )
    result = job.run()
    assert result["state"] == "COMPLETE", result
    (shared / "file").write_bytes(b"changed later")
    assert left(job, result) == {(0, ""): b"shared\n", (1, ""): b"ours\n"}
    assert [entry["path"] for entry in result["outputs"]] == ["/out/file"]
    assert (shared / "c").read_bytes() == b"ours\n"
