"""What becomes of outputs that cannot be sent as they are: none is left out in silence."""

import errno
import hashlib
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tesp_api.worker.result import describe_unforeseen
from tests.integration.worker_job import WorkerJob, shell

pytestmark = pytest.mark.services

QUICK = {"transfers": {"stall_s": 5, "tries": 2, "pause_s": 0.01, "at_once": 4}}


def run(tmp_path: Path, script: str, *outputs: dict[str, str], **more: Any) -> dict[str, Any]:
    roots = [{"path": str(tmp_path), "mount": "copy"}]
    task = {"executors": [shell(script)], "outputs": list(outputs), "volumes": ["/out"], **more}
    return WorkerJob(tmp_path / "job", "bubblewrap", roots, site=QUICK, **task).run()


def directory(path: str, url: str) -> dict[str, str]:
    return {"path": path, "url": url, "type": "DIRECTORY"}


@pytest.mark.parametrize("left", ["ln -s nowhere link", "ln -s /etc/hostname link", "mkfifo pipe"])
def test_a_directory_of_which_nothing_can_be_sent_is_made_empty(tmp_path: Path, left: str) -> None:
    result = run(tmp_path, f"cd /out; {left}", directory("/out", f"{tmp_path}/sent"))
    assert result["state"] == "COMPLETE", result
    assert list((tmp_path / "sent").iterdir()) == []
    assert "Left out /out/" in str(result["system_logs"])


def test_a_pattern_of_which_nothing_can_be_sent_is_a_missing_output(tmp_path: Path) -> None:
    output = {"path": "/out/*.txt", "path_prefix": "/out", "url": f"{tmp_path}/sent"}
    result = run(tmp_path, "ln -s nowhere /out/a.txt", output)
    assert result["state"] == "SYSTEM_ERROR" and "/out/*.txt" in result["reason"], result


def test_no_output_takes_the_place_of_another(tmp_path: Path) -> None:
    result = run(
        tmp_path,
        "mkdir /out/a /out/b; echo 1 > /out/a/x; echo 2 > /out/b/x; echo 3 > /out/b/y",
        directory("/out/a", f"{tmp_path}/sent"),
        directory("/out/b", f"file://{tmp_path}/sent"),
    )
    assert result["state"] == "SYSTEM_ERROR", result
    assert "/out/b/x" in result["reason"] and "/out/a/x" in result["reason"]
    assert (tmp_path / "sent" / "x").read_text() == "1\n"
    assert (tmp_path / "sent" / "y").read_text() == "3\n"


def test_one_file_may_be_two_outputs(tmp_path: Path) -> None:
    here = f"{tmp_path}/sent"
    pattern = {"path": "/out/*", "path_prefix": "/out", "url": here}
    result = run(tmp_path, "echo 1 > /out/x; mkdir /out/e", directory("/out", here), pattern)
    assert result["state"] == "COMPLETE", result


def test_what_lies_deeper_than_a_path_can_be_long_is_not_left_out(tmp_path: Path) -> None:
    deep = "cd /out; for i in $(seq 30); do mkdir $n; cd $n; done; echo 1 > x"
    result = run(tmp_path, f"n=$(printf %0200d 1); {deep}", directory("/out", f"{tmp_path}/sent"))
    assert result["state"] == "SYSTEM_ERROR" and "File name too long" in result["reason"], result


def test_a_name_as_long_as_names_may_be(tmp_path: Path) -> None:
    name = "日" * 85
    result = run(tmp_path, f"echo 1 > /out/{name}", {"path": f"/out/{name}", "url": f"{tmp_path}/{name}"})
    assert result["state"] == "COMPLETE", result
    assert (tmp_path / name).read_text() == "1\n"


def test_a_script_as_content_can_be_run(tmp_path: Path) -> None:
    inputs = [
        {"path": "/in/tool", "content": "#!/bin/sh\necho ran\n"},
        {"path": "/in/data", "content": "reads"},
    ]
    result = run(tmp_path, "/in/tool && test ! -x /in/data", inputs=inputs)
    assert result["state"] == "COMPLETE", result


class Spoiling(BaseHTTPRequestHandler):
    """Stores each file with its first byte changed, and states the checksum of what it has."""

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        type(self).stored = b"!" + data[1:] if self.path.endswith("spoiled") else data
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    stored = b""

    def do_HEAD(self) -> None:
        hash_name = self.path.split("/")[1]
        digest = b64encode(hashlib.new(hash_name.replace("-", ""), self.stored).digest()).decode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.stored)))
        self.send_header("Content-Digest", f"sha-256=:{b64encode(hashlib.sha256().digest()).decode()}:")
        self.send_header("Repr-Digest", f"{hash_name}=:{digest}:")
        self.end_headers()


class Forgetful(BaseHTTPRequestHandler):
    """Takes every file, and has none."""

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_HEAD(self) -> None:
        self.send_error(404)


@contextmanager
def served(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def forgetful() -> Iterator[str]:
    with served(Forgetful) as url:
        yield url


@pytest.mark.parametrize("hash_name", ["sha-256", "md5", "sha-512"])
@pytest.mark.parametrize(("name", "state"), [("whole", "COMPLETE"), ("spoiled", "SYSTEM_ERROR")])
def test_an_upload_is_checked_against_the_checksum_that_the_server_states(
    tmp_path: Path, hash_name: str, name: str, state: str
) -> None:
    with served(Spoiling) as url:
        result = run(tmp_path, "echo 1 > /out/x", {"path": "/out/x", "url": f"{url}/{hash_name}/{name}"})
    assert result["state"] == state, result
    assert (result["reason"] or "").count("has stored something else") == (state == "SYSTEM_ERROR")


def test_a_server_that_takes_a_file_and_does_not_have_it_fails_the_task(
    tmp_path: Path, forgetful: str
) -> None:
    result = run(tmp_path, "echo 1 > /out/x", {"path": "/out/x", "url": f"{forgetful}/x"})
    assert result["state"] == "SYSTEM_ERROR", result
    assert f"{forgetful}/x: " in result["reason"] and "404 (tried 2 times)" in result["reason"]
    assert result["outputs"] == []


def test_an_empty_directory_that_http_cannot_have_is_told_of(tmp_path: Path, forgetful: str) -> None:
    result = run(tmp_path, "mkdir /out/e", directory("/out", f"{forgetful}/d"))
    assert result["state"] == "COMPLETE", result
    assert f"Left out {forgetful}/d/e" in str(result["system_logs"])


BOMB = "cd /out; for n in 1 2 3 4 5 6 7 8 9; do ln -s /out l$n; done; echo > x"
"""Links to the directory that they are in: each step down can be made in nine ways."""


@pytest.mark.parametrize(
    "output",
    [
        {"path": "/out" + "/l*" * 20 + "/x", "path_prefix": "/out"},
        {"path": "/out", "type": "DIRECTORY"},
    ],
    ids=["pattern", "directory"],
)
def test_links_that_multiply_the_outputs_end_the_task(tmp_path: Path, output: dict[str, str]) -> None:
    script = (
        BOMB
        if "path_prefix" in output
        else (
            "cd /out; for n in $(seq 30); do mkdir $n; done; "
            "for n in $(seq 29); do ln -s ../$((n + 1)) $n/a; ln -s ../$((n + 1)) $n/b; done"
        )
    )
    result = run(tmp_path, script, {**output, "url": f"{tmp_path}/sent"})
    assert result["state"] == "SYSTEM_ERROR", result
    assert "more than 100000" in result["reason"]
    assert not (tmp_path / "sent").exists()


def test_a_file_of_the_site_for_which_there_is_no_room_is_said_to_be_that(tmp_path: Path) -> None:
    """A limit to the size of files stands for the full disk."""
    (tmp_path / "large").write_bytes(bytes(2_000_000))
    job = WorkerJob(
        tmp_path / "job",
        "bubblewrap",
        [{"path": str(tmp_path), "mount": "copy"}],
        inputs=[{"path": "/in/large", "url": f"{tmp_path}/large"}],
        executors=[shell("true")],
    )
    result = job.run(("prlimit", "--fsize=1000000"))
    assert result["state"] == "SYSTEM_ERROR"
    assert result["reason"] == f"Cannot store {tmp_path}/large: File too large"


def test_a_file_of_the_site_stays_as_it_was_until_the_new_one_is_whole(tmp_path: Path) -> None:
    given, kept = tmp_path / "given", tmp_path / "kept"
    given.mkdir()
    kept.mkdir()
    (given / "large").write_bytes(bytes(2_000_000))
    (kept / "x").write_text("as it was")
    job = WorkerJob(
        tmp_path / "job",
        "bubblewrap",
        [{"path": str(given), "mount": "ro"}, {"path": str(kept), "mount": "copy"}],
        inputs=[{"path": "/in/large", "url": f"{given}/large"}],
        outputs=[{"path": "/in/large", "url": f"{kept}/x"}],
        executors=[shell("true")],
    )
    result = job.run(("prlimit", "--fsize=1000000"))
    assert result["state"] == "SYSTEM_ERROR"
    assert result["reason"] == f"Cannot write {kept}/x: File too large"
    assert {path.name: path.read_text() for path in kept.iterdir()} == {"x": "as it was"}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_where_nobody_expected_it(code: int) -> None:
    assert "disk" in describe_unforeseen(OSError(code, "no room"))


def test_the_checksums_that_a_task_asks_for(tmp_path: Path) -> None:
    root = [{"path": str(tmp_path), "mount": "rw"}]
    (tmp_path / "shared").mkdir()
    task = {
        "executors": [shell("echo one > /out/a; echo two > /shared/b")],
        "inputs": [directory("/shared", f"{tmp_path}/shared")],
        "outputs": [directory("/out", f"{tmp_path}/sent"), directory("/shared", f"{tmp_path}/shared")],
        "volumes": ["/out"],
        "resources": {"backend_parameters": {"Checksums": "sha1, md5"}},
    }
    result = WorkerJob(tmp_path / "job", "bubblewrap", root, site=QUICK, **task).run()
    assert result["state"] == "COMPLETE", result
    sent, shared = result["outputs"]
    assert {name: sent[name] for name in ("sha1", "md5")} == {
        "sha1": hashlib.sha1(b"one\n", usedforsecurity=False).hexdigest(),
        "md5": hashlib.md5(b"one\n", usedforsecurity=False).hexdigest(),
    }
    assert sent["sha256"] == hashlib.sha256(b"one\n").hexdigest()
    assert shared["sha1"] == hashlib.sha1(b"two\n", usedforsecurity=False).hexdigest()


@pytest.mark.parametrize("mount", ["ro", "rw"])
def test_an_input_that_is_copied_on_request_is_not_the_original(tmp_path: Path, mount: str) -> None:
    data = tmp_path / "data"
    (data / "tree").mkdir(parents=True)
    (data / "file").write_text("as it was\n")
    (data / "tree" / "file").write_text("as it was\n")
    roots = [{"path": str(data), "mount": mount}, {"path": str(tmp_path / "sent"), "mount": "copy"}]
    task = {
        "executors": [shell("echo more >> /in/file && rm /tree/file && mv /in/file /out/file")],
        "inputs": [{"path": "/in/file", "url": f"{data}/file"}, directory("/tree", f"{data}/tree")],
        "outputs": [{"path": "/out/file", "url": f"{tmp_path}/sent/file"}],
        "volumes": ["/out", "/in"],
        "resources": {"backend_parameters": {"copied_inputs": '["/in/file", "/tree/"]'}},
    }
    result = WorkerJob(tmp_path / "job", "bubblewrap", roots, site=QUICK, **task).run()
    assert result["state"] == "COMPLETE", result
    assert (tmp_path / "sent" / "file").read_text() == "as it was\nmore\n"
    assert (data / "file").read_text() == (data / "tree" / "file").read_text() == "as it was\n"
