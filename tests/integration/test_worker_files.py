"""The worker's files: inputs and outputs by content, file and HTTP, on real runtimes."""

import os
import pwd
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.integration.worker_job import WorkerJob, shell, wait_until
from tests.services.containers import require_docker

pytestmark = pytest.mark.services


def make(tmp_path: Path, runtime: str = "bubblewrap", **task: object) -> WorkerJob:
    task.setdefault("roots", [{"path": str(tmp_path), "mount": "copy"}])
    return WorkerJob(tmp_path / f"job-{time.time_ns()}", runtime, **task)  # type: ignore[arg-type]


class Shelf(ThreadingHTTPServer):
    """An HTTP server that keeps what is sent to it, and misbehaves by path."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ShelfHandler)
        self.files: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class ShelfHandler(BaseHTTPRequestHandler):
    server: Shelf

    def log_message(self, format: str, *args: object) -> None:
        self.server.requests.append(format % args)

    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/real")
            self.end_headers()
        elif self.path.startswith("/short"):
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"too little")
        elif self.path == "/slow":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            time.sleep(30)
        elif self.path in self.server.files:
            body = self.server.files[self.path]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        else:
            self.send_error(404)

    def do_PUT(self) -> None:
        if self.path.startswith("/post-only"):
            self.send_error(405)  # without reading the body, as many servers do
            return
        self.server.files[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        boundary = self.headers["Content-Type"].partition("boundary=")[2].encode()
        part = body.split(b"--" + boundary)[1]
        head, _, content = part.partition(b"\r\n\r\n")
        assert b'name="file"' in head
        name = re.search(rb'filename="([^"]*)"', head)
        assert name
        self.server.files[f"{self.path}#{name.group(1).decode()}"] = content[:-2]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    with Shelf() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()


def test_http_inputs_and_outputs(tmp_path: Path, shelf: Shelf) -> None:
    shelf.files["/real"] = os.urandom(3_000_000)
    job = make(
        tmp_path,
        inputs=[{"path": "/in/x", "url": f"{shelf.url}/moved"}],
        executors=[shell("mkdir -p /out/d/e; cp /in/x /out/x; echo 1 > '/out/d/a b'; echo 2 > /out/d/e/c")],
        outputs=[
            {"path": "/out/x", "url": f"http://u:secret@{shelf.url[7:]}/sent/x?sig=secret"},
            {"path": "/out/d", "url": f"{shelf.url}/sent/d", "type": "DIRECTORY"},
        ],
    )
    result = job.run()
    assert result["state"] == "COMPLETE", result
    assert shelf.files["/sent/x?sig=secret"] == shelf.files["/real"]
    assert (shelf.files["/sent/d/a%20b"], shelf.files["/sent/d/e/c"]) == (b"1\n", b"2\n")
    big = {"size_bytes": 3_000_000, "sha256": sha256(shelf.files["/real"]).hexdigest()}
    assert result["inputs"] == [{"path": "/in/x", "url": f"{shelf.url}/moved", **big}]
    small = [{"size_bytes": 2, "sha256": sha256(text).hexdigest()} for text in (b"1\n", b"2\n")]
    assert result["outputs"] == [
        {"url": f"{shelf.url}/sent/x", "path": "/out/x", **big},
        {"url": f"{shelf.url}/sent/d/a%20b", "path": "/out/d/a b", **small[0]},
        {"url": f"{shelf.url}/sent/d/e/c", "path": "/out/d/e/c", **small[1]},
    ]


def test_a_server_without_put_gets_a_multipart_post(tmp_path: Path, shelf: Shelf) -> None:
    job = make(
        tmp_path,
        executors=[shell("head -c 5000000 /dev/zero > /out/big")],
        outputs=[{"path": "/out/big", "url": f"{shelf.url}/post-only"}],
    )
    assert job.run()["state"] == "COMPLETE"
    assert shelf.files["/post-only#big"] == bytes(5_000_000)


@pytest.mark.parametrize(
    ("path", "words"), [("absent", "404"), ("short", "100 bytes and sent 10"), ("../x?token=hush", "404")]
)
def test_an_http_input_that_cannot_be_had_is_explained_without_secrets(
    tmp_path: Path, shelf: Shelf, path: str, words: str
) -> None:
    url = f"http://user:hush@{shelf.url[7:]}/{path}"
    result = make(tmp_path, inputs=[{"path": "/in/x", "url": url}], executors=[shell("echo")]).run()
    assert result["state"] == "SYSTEM_ERROR"
    assert words in result["reason"] and shelf.url in result["reason"]
    assert "hush" not in str(result)


def test_cancel_interrupts_a_download(tmp_path: Path, shelf: Shelf) -> None:
    job = make(tmp_path, inputs=[{"path": "/in/x", "url": f"{shelf.url}/slow"}], executors=[shell("echo")])
    process = job.start()
    wait_until(lambda: shelf.requests)
    job.cancel()
    process.communicate(timeout=5)
    assert job.result()["state"] == "CANCELED"


def test_file_inputs_are_private_copies(tmp_path: Path) -> None:
    tool = tmp_path / "my tool"
    tool.write_text("#!/bin/sh\necho ran\n")
    tool.chmod(0o755)
    job = make(
        tmp_path,
        inputs=[{"path": "/in/tool", "url": f"file://{tmp_path}/my%20tool"}],
        executors=[shell("/in/tool && echo more >> /in/tool")],
    )
    assert job.run()["state"] == "COMPLETE"
    assert job.log("0.stdout") == b"ran\n"
    assert tool.read_text() == "#!/bin/sh\necho ran\n"


@pytest.mark.parametrize("way", ["outside", "link", "dots"])
def test_files_outside_of_the_roots_are_refused(tmp_path: Path, way: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to("/etc/hostname")
    url = {"outside": "/etc/hostname", "link": f"{root}/link", "dots": f"file://{root}/%2e%2e/x"}[way]
    job = make(
        tmp_path,
        roots=[{"path": str(root), "mount": "copy"}],
        inputs=[{"path": "/in/x", "url": url}],
        executors=[shell("cat /in/x")],
    )
    result = job.run()
    assert result["state"] == "SYSTEM_ERROR"
    assert "file_roots" in result["reason"] and str(root) in result["reason"]


def test_directory_inputs_follow_links_only_within_the_roots(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "file").write_text("f")
    (source / "inner").symlink_to("sub/file")
    (source / "outer").symlink_to("/etc/hostname")
    (source / "loop").symlink_to(".")
    job = make(
        tmp_path,
        inputs=[{"path": "/in", "url": str(source), "type": "DIRECTORY"}],
        executors=[shell("cd /in; find . | sort; cat inner")],
    )
    result = job.run()
    assert job.log("0.stdout") == b".\n./inner\n./sub\n./sub/file\nf"
    assert sum("Left out" in line for line in result["system_logs"]) == 2


@pytest.mark.parametrize("runtime", ["bubblewrap", "docker"])
def test_a_shared_directory_is_mounted_and_stays_in_place(tmp_path: Path, runtime: str) -> None:
    require_docker()
    store = tmp_path / "store"
    store.mkdir()
    (store / "old").write_text("old")
    job = make(
        tmp_path,
        runtime,
        roots=[{"path": str(store), "mount": "rw"}],
        inputs=[{"path": "/job/store", "url": f"file://{store}", "type": "DIRECTORY"}],
        outputs=[{"path": "/job/store", "url": f"file://{store}", "type": "DIRECTORY"}],
        executors=[shell("cat /job/store/old; echo new > /job/store/new")],
        volumes=["/job"],
    )
    inode = (store / "old").stat().st_ino
    result = job.run()
    assert (result["state"], job.log("0.stdout")) == ("COMPLETE", b"old")
    assert (store / "new").read_text() == "new\n"
    assert (store / "old").stat().st_ino == inode
    assert {item["path"] for item in result["outputs"]} == {"/job/store/old", "/job/store/new"}


def test_a_link_out_of_a_shared_directory_is_no_output(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    result = make(
        tmp_path,
        roots=[{"path": str(store), "mount": "rw"}],
        inputs=[{"path": "/store", "url": f"file://{store}", "type": "DIRECTORY"}],
        outputs=[{"path": "/store", "url": f"file://{store}", "type": "DIRECTORY"}],
        executors=[shell("cd /store; echo a > a; ln -s a inside; echo b > /tmp/b; ln -s /tmp/b outside")],
    ).run()
    assert result["state"] == "SYSTEM_ERROR" and "/store/outside" in result["reason"], result
    assert [item["path"] for item in result["outputs"]] == ["/store/a", "/store/inside"]


def test_no_input_is_lost_in_a_directory_that_is_mounted_from_the_site(tmp_path: Path) -> None:
    result = make(
        tmp_path,
        roots=[{"path": str(tmp_path), "mount": "ro"}],
        inputs=[
            {"path": "/store", "url": f"file://{tmp_path}", "type": "DIRECTORY"},
            {"path": "/store/settings", "content": "text"},
        ],
        executors=[shell("cat /store/settings")],
    ).run()
    assert result["state"] == "SYSTEM_ERROR" and "/store/settings" in result["reason"], result


def test_a_read_only_root_is_neither_written_by_tasks_nor_by_outputs(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("d")
    job = make(
        tmp_path,
        roots=[{"path": str(tmp_path), "mount": "ro"}],
        inputs=[{"path": "/in/data", "url": f"{tmp_path}/data"}],
        executors=[shell("cat /in/data; echo x >> /in/data || true; echo o > /out/o")],
        outputs=[{"path": "/out/o", "url": f"{tmp_path}/o"}],
    )
    result = job.run()
    assert job.log("0.stdout") == b"d"
    assert (tmp_path / "data").read_text() == "d"
    assert result["state"] == "SYSTEM_ERROR" and "file_roots" in result["reason"]


def test_wildcard_outputs(tmp_path: Path) -> None:
    script = "cd /out; touch a.txt b.txt .c.txt d.log; mkdir -p dir/sub; echo 1 > dir/sub/x"
    outputs = [
        {"path": "/out/[!b].txt", "path_prefix": "/out", "url": f"{tmp_path}/sent"},
        {"path": "/out/d?r", "path_prefix": "/out", "url": f"{tmp_path}/sent"},
    ]
    result = make(tmp_path, executors=[shell(script)], outputs=outputs).run()
    assert result["state"] == "COMPLETE", result
    sent = tmp_path / "sent"
    assert sorted(str(path.relative_to(sent)) for path in sent.rglob("*") if path.is_file()) == [
        "a.txt",
        "dir/sub/x",
    ]


@pytest.mark.parametrize("runtime", ["bubblewrap", "docker"])
def test_files_in_the_root_directory_are_fetched_from_the_container(tmp_path: Path, runtime: str) -> None:
    require_docker()
    job = make(
        tmp_path,
        runtime,
        executors=[
            shell("echo 1 > /one.txt; ls -s /bin/sh > /dev/null"),
            shell("cat /one.txt; echo 2 > /two.txt"),
        ],
        outputs=[
            {"path": "/one.txt", "url": f"{tmp_path}/sent/first"},
            {"path": "/*.txt", "path_prefix": "/", "url": f"{tmp_path}/sent"},
        ],
    )
    result = job.run()
    assert result["state"] == "COMPLETE", result
    assert job.log("1.stdout") == b"1\n"
    assert sorted(path.name for path in (tmp_path / "sent").iterdir()) == ["first", "one.txt", "two.txt"]


def test_missing_outputs_are_named(tmp_path: Path) -> None:
    outputs = [
        {"path": "/out/none", "url": f"{tmp_path}/x"},
        {"path": "/out/*.bam", "path_prefix": "/out/", "url": f"{tmp_path}/x"},
    ]
    result = make(tmp_path, executors=[shell("true")], outputs=outputs).run()
    assert result["state"] == "SYSTEM_ERROR"
    assert "/out/none" in result["reason"] and "/out/*.bam" in result["reason"]


def test_no_link_leads_an_output_out_of_the_container(tmp_path: Path) -> None:
    script = "cd /out; echo in > real; ln -s real good; ln -s /etc/hostname bad; ln -s .. up; mkfifo pipe"
    outputs = [{"path": "/out", "url": f"{tmp_path}/sent", "type": "DIRECTORY"}]
    result = make(tmp_path, executors=[shell(script)], outputs=outputs).run()
    assert result["state"] == "COMPLETE", result
    assert sorted(path.name for path in (tmp_path / "sent").iterdir()) == ["good", "real"]
    assert sum("Left out" in line for line in result["system_logs"]) == 3
    outputs = [{"path": "/out/bad", "url": f"{tmp_path}/sent/bad"}]
    result = make(tmp_path, executors=[shell(script)], outputs=outputs).run()
    assert result["state"] == "SYSTEM_ERROR" and "/etc/hostname" in result["reason"]


def test_a_program_cannot_fill_the_system_logs(tmp_path: Path) -> None:
    script = "cd /out; i=0; while [ $i -lt 400 ]; do ln -s /nowhere $i; i=$((i+1)); done"
    outputs = [{"path": "/out", "url": f"{tmp_path}/sent", "type": "DIRECTORY"}]
    job = make(tmp_path, executors=[shell(script)], outputs=outputs)
    lines = job.run()["system_logs"]
    assert len(lines) == 301
    assert lines[-1] == "Left out 101 more messages"
    assert sum(event["event"] == "message" for event in job.events()) == 300


@pytest.fixture
def ordinary_user() -> Iterator[str]:
    name = "tespordinary"
    subprocess.run(["useradd", "--no-create-home", "--groups", "docker", name], check=True)
    yield name
    subprocess.run(["userdel", "--force", name], check=True, capture_output=True)


def test_files_of_root_are_sent_and_removed_by_an_ordinary_user(ordinary_user: str) -> None:
    require_docker()
    home = Path(f"/var/tmp/tesp-test-{time.time_ns()}")
    home.mkdir()
    try:
        script = "umask 077; mkdir /out/d; echo s > /out/d/s; chmod 000 /out/d/s"
        job = make(
            home,
            "docker",
            executors=[shell(script)],
            outputs=[{"path": "/out/d/s", "url": f"{home}/sent"}],
        )
        user = pwd.getpwnam(ordinary_user)
        for path in (home, *home.rglob("*")):
            os.chown(path, user.pw_uid, user.pw_gid)
        job.command = lambda: ["/usr/bin/python3", *WorkerJob.command(job)[1:]]  # type: ignore[method-assign]
        result = job.run(("setpriv", f"--reuid={ordinary_user}", f"--regid={user.pw_gid}", "--init-groups"))
        assert result["state"] == "COMPLETE", result
        assert (home / "sent").read_text() == "s\n"
        assert (home / "sent").stat().st_uid == user.pw_uid
    finally:
        shutil.rmtree(home)


def test_a_name_that_is_no_utf_8_is_sent_and_told_readably(tmp_path: Path, shelf: Shelf) -> None:
    outputs = [{"path": "/out", "url": f"{shelf.url}/sent", "type": "DIRECTORY"}]
    script = r"""echo x > "/out/$(printf 'a\377')" """
    result = make(tmp_path, executors=[shell(script)], outputs=outputs).run()
    assert result["state"] == "COMPLETE", result
    assert shelf.files == {"/sent/a%FF": b"x\n"}
    told = {"size_bytes": 2, "sha256": sha256(b"x\n").hexdigest()}
    assert result["outputs"] == [{"url": f"{shelf.url}/sent/a%FF", "path": "/out/a?", **told}]


def test_a_tree_deeper_than_any_path_is_removed(tmp_path: Path) -> None:
    name = "d" * 100
    script = f"cd /vol; i=0; while [ $i -lt 1200 ]; do mkdir {name}; cd {name}; i=$((i+1)); done"
    result = make(tmp_path, volumes=["/vol"], executors=[shell(script)]).run()
    assert result["state"] == "COMPLETE", result
    assert result["system_logs"] == [line for line in result["system_logs"] if "removed" not in line]


def test_an_executor_cannot_lead_the_next_one_s_mounts_astray(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    job = make(
        tmp_path,
        roots=[{"path": str(tmp_path / "shared"), "mount": "rw"}],
        volumes=["/vol"],
        inputs=[{"path": "/vol/a/b", "url": str(tmp_path / "shared"), "type": "DIRECTORY"}],
        executors=[shell("mv /vol/a /vol/c && ln -s /etc /vol/a"), shell("echo on")],
    )
    result = job.run()
    assert result["state"] == "SYSTEM_ERROR" and "/vol/a/b" in result["reason"], result


@pytest.mark.parametrize("runtime", ["bubblewrap", "docker"])
@pytest.mark.parametrize("is_last", [False, True])
def test_no_link_in_a_shared_directory_opens_the_host(tmp_path: Path, runtime: str, is_last: bool) -> None:
    """The first executor replaces, through /all, what is at /one: for the next one, or for the outputs."""
    require_docker()
    shared, secret = tmp_path / "shared", tmp_path / "secret"
    (shared / "sub" / "one").mkdir(parents=True)
    (secret / "one").mkdir(parents=True)
    (secret / "one" / "key").write_text("secret")
    replace = shell(f"mv /all/sub /all/other; ln -s {secret} /all/sub")
    job = make(
        tmp_path,
        runtime,
        roots=[{"path": str(shared), "mount": "rw"}],
        inputs=[
            {"path": "/all", "url": f"file://{shared}", "type": "DIRECTORY"},
            {"path": "/one", "url": f"file://{shared}/sub/one", "type": "DIRECTORY"},
        ],
        outputs=[{"path": "/one/key", "url": f"file://{shared}/got"}],
        executors=[replace] if is_last else [replace, shell("cat /one/key; touch /one/written")],
    )
    result = job.run()
    assert result["state"] == "SYSTEM_ERROR" and "/one" in result["reason"], result
    assert job.log("1.stdout") == b""
    assert [path.name for path in (secret / "one").iterdir()] == ["key"]
    assert not (shared / "got").exists()


def test_an_output_that_cannot_be_sent_does_not_hide_the_executor_s_failure(tmp_path: Path) -> None:
    outputs = [{"path": "/out/x", "url": "http://127.0.0.1:1/x"}, {"path": "/out/y", "url": f"{tmp_path}/y"}]
    result = make(
        tmp_path, executors=[shell("echo y > /out/y; echo x > /out/x; exit 9")], outputs=outputs
    ).run()
    assert result["state"] == "EXECUTOR_ERROR"
    assert [item["path"] for item in result["outputs"]] == ["/out/y"]
    assert any("127.0.0.1:1" in line for line in result["system_logs"])
