"""The worker's transfers with every real HTTP and FTP server: what goes in and out, and what goes wrong."""

import os
import pwd
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.integration.worker_job import WorkerJob, shell
from tests.services.faulty_proxy import Fault
from tests.services.real_servers import KINDS, RealServer, real_server
from tests.services.tesp import poll

pytestmark = pytest.mark.services

CONTENT = os.urandom(900_000)
NAMES = (
    "plain",
    "with space",
    "a#b",
    "50%25",
    "a+b",
    "q?x=1",
    "ümläut",
    "-dash",
    "semi;colon",
    "s*r",
    " lead",
)
LARGE_BYTES = 100_000_000
OVER_TLS = ("-tls", "-explicit", "-implicit")
RSS_LIMIT_KB = 80 * 1024


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RealServer]:
    with real_server(request.param, tmp_path / "server") as running:
        (running.root / "x").write_bytes(CONTENT)
        (running.root / "private").mkdir()
        (running.root / "private" / "x").write_bytes(CONTENT)
        running.own(running.root)
        yield running


def job_of(folder: Path, **task: Any) -> WorkerJob:
    task.setdefault("executors", [shell("true")])
    patience = {"stall_s": 3, "tries": 3, "pause_s": 0.02}
    return WorkerJob(folder / f"job-{time.time_ns()}", "bubblewrap", site={"transfers": patience}, **task)


def trusting(server: RealServer) -> tuple[str, ...]:
    return ("env", f"SSL_CERT_FILE={server.ca}") if server.ca else ()


def run(
    server: RealServer, folder: Path, prefix: tuple[str, ...] | None = None, **task: Any
) -> dict[str, Any]:
    job = job_of(folder, **task)
    result = job.run(trusting(server) if prefix is None else prefix)
    assert "hush" not in str(result) and "hush" not in str(job.events())
    return {**result, "printed": job.log("0.stdout").decode()}


def make_tree(root: Path) -> None:
    (root / "sub dir#1" / "deep").mkdir(parents=True)
    (root / "empty").mkdir()
    for folder in (root, root / "sub dir#1" / "deep"):
        (folder / "none").touch()
        for name in NAMES:
            (folder / name).write_text(name)


def found(root: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None for path in root.rglob("*")
    }


def test_files_of_every_name_go_both_ways(server: RealServer, tmp_path: Path) -> None:
    make_tree(server.root / "tree")
    server.own(server.root)
    result = run(
        server,
        tmp_path,
        inputs=[
            {"path": f"/in/{at}", "url": server.url(f"tree/{quote(name)}")}
            for at, name in enumerate((*NAMES, "none"))
        ],
        executors=[shell("mkdir -p /out; cd /in; for at in *; do cp $at /out/$at; done; cat * | wc -c")],
        outputs=[
            {"path": f"/out/{at}", "url": server.url(f"new/d/{quote(name)}")}
            for at, name in enumerate((*NAMES, "none"))
        ],
        volumes=["/out"],
    )
    assert result["state"] == "COMPLETE", result
    assert int(result["printed"]) == sum(len(name.encode()) for name in NAMES)
    assert found(server.root / "new" / "d") == {name: name.encode() for name in NAMES} | {"none": b""}
    if server.kind == "nginx-nobody":
        assert (server.root / "new" / "d" / "plain").stat().st_uid == pwd.getpwnam("nobody").pw_uid != 0
    for item in (*result["inputs"], *result["outputs"]):
        name = (*NAMES, "none")[int(Path(item["path"]).name)]
        content = b"" if name == "none" else name.encode()
        assert (item["size_bytes"], item["sha256"]) == (len(content), sha256(content).hexdigest())


def test_directories_go_both_ways(server: RealServer, tmp_path: Path) -> None:
    make_tree(server.root / "tree")
    if server.is_ftp:  # no index page shows it
        (server.root / "tree" / ".hidden").write_text("h")
    server.own(server.root)
    result = run(
        server,
        tmp_path,
        inputs=[{"path": "/in", "url": server.url("tree"), "type": "DIRECTORY"}],
        executors=[shell("mkdir -p /out; cp -r /in/. /out; cd /in; find . -type d | sort")],
        outputs=[{"path": "/out", "url": server.url("copy"), "type": "DIRECTORY"}],
        volumes=["/out"],
    )
    assert result["state"] == "COMPLETE", result
    assert result["printed"].split("\n") == [".", "./empty", "./sub dir#1", "./sub dir#1/deep", ""]
    wanted = found(server.root / "tree")
    if not server.is_ftp:  # HTTP has no directories of their own
        del wanted["empty"]
    assert found(server.root / "copy") == wanted


def test_an_output_replaces_the_file_that_is_there(server: RealServer, tmp_path: Path) -> None:
    outputs = [{"path": "/out/x", "url": server.url("x")}]
    result = run(server, tmp_path, executors=[shell("echo 1 > /out/x")], outputs=outputs)
    assert result["state"] == "COMPLETE", result
    assert (server.root / "x").read_text() == "1\n"
    assert [path.name for path in server.root.iterdir() if path.name.endswith(".part")] == []


def test_a_cut_download_is_resumed(server: RealServer, tmp_path: Path) -> None:
    with server.through(Fault("cut", 400_000)) as url:
        result = run(server, tmp_path, inputs=[{"path": "/in/x", "url": url("x")}])
    assert result["state"] == "COMPLETE", result
    assert result["inputs"][0]["sha256"] == sha256(CONTENT).hexdigest()
    assert server.has_resumed()


def test_a_cut_upload_is_repeated(server: RealServer, tmp_path: Path) -> None:
    with server.through(Fault("cut", 400_000, "up")) as url:
        result = run(
            server,
            tmp_path,
            executors=[shell("head -c 900000 /dev/urandom > /out/x")],
            outputs=[{"path": "/out/x", "url": url("new/x")}],
        )
    assert result["state"] == "COMPLETE", result
    stored = (server.root / "new" / "x").read_bytes()
    assert result["outputs"][0]["sha256"] == sha256(stored).hexdigest()
    assert [path.name for path in (server.root / "new").iterdir()] == ["x"]


def test_a_file_that_changes_in_between_is_fetched_anew(server: RealServer, tmp_path: Path) -> None:
    changed = os.urandom(800_000)
    with server.through(Fault("stall", 400_000)) as url:
        job = job_of(tmp_path, inputs=[{"path": "/in/x", "url": url("x")}])
        process = job.start(trusting(server))
        poll(lambda: _largest(job.directory / "task") > 200_000, timeout_s=20, why="nothing has come")
        (server.root / "new").write_bytes(changed)
        server.own(server.root)
        (server.root / "new").replace(server.root / "x")
        process.communicate(timeout=60)
    result = job.result()
    assert result["state"] == "COMPLETE", result
    assert result["inputs"][0]["sha256"] == sha256(changed).hexdigest()


def _largest(folder: Path) -> int:
    return max((path.stat().st_size for path in folder.rglob("*") if path.is_file()), default=0)


def test_large_files_take_no_memory(server: RealServer, tmp_path: Path) -> None:
    with (server.root / "large").open("wb") as file:
        for _ in range(LARGE_BYTES // 1_000_000):
            file.write(os.urandom(1_000_000))
    server.own(server.root)
    job = job_of(
        tmp_path,
        inputs=[{"path": "/in/large", "url": server.url("large")}],
        executors=[shell("ln /in/large /out/large || cp /in/large /out/large")],
        outputs=[{"path": "/out/large", "url": server.url("new/large")}],
        volumes=["/out"],
    )
    process = job.start(trusting(server))
    peak_kb = 0
    while process.poll() is None:
        peak_kb = max(peak_kb, _peak_kb(process.pid))
        time.sleep(0.005)
    process.communicate()
    result = job.result()
    assert result["state"] == "COMPLETE", result
    assert result["inputs"][0]["size_bytes"] == result["outputs"][0]["size_bytes"] == LARGE_BYTES
    assert result["inputs"][0]["sha256"] == result["outputs"][0]["sha256"]
    assert (server.root / "new" / "large").stat().st_size == LARGE_BYTES
    assert 0 < peak_kb <= RSS_LIMIT_KB


def _peak_kb(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except ProcessLookupError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0)


def test_what_may_only_be_read_is_told(server: RealServer, tmp_path: Path) -> None:
    result = run(
        server,
        tmp_path,
        inputs=[{"path": "/in/x", "url": server.read_only_url("x")}],
        executors=[shell("cp /in/x /out/x")],
        outputs=[{"path": "/out/x", "url": server.read_only_url("y")}],
    )
    assert result["state"] == "SYSTEM_ERROR" and len(result["inputs"]) == 1, result
    said = "550" if server.is_ftp else "PUT: status 405"
    assert said in result["reason"] and "/y: " in result["reason"] and "(tried once)" in result["reason"]
    assert not (server.root / "y").exists()


@pytest.mark.parametrize("kind", ["FILE", "DIRECTORY"])
def test_what_is_not_there_and_who_is_not_known_are_told(
    server: RealServer, tmp_path: Path, kind: str
) -> None:
    for url, said in (
        (server.url("absent"), "550" if server.is_ftp else "status 404"),
        (server.wrong_login_url("x"), "530" if server.is_ftp else "status 401"),
    ):
        result = run(server, tmp_path, inputs=[{"path": "/in", "url": url, "type": kind}])
        assert result["state"] == "SYSTEM_ERROR" and said in result["reason"], result
        assert "(tried once)" in result["reason"]


@pytest.mark.parametrize("server", [kind for kind in KINDS if kind.endswith(OVER_TLS)], indirect=True)
def test_an_unknown_authority_is_told(server: RealServer, tmp_path: Path) -> None:
    task: dict[str, Any] = {"inputs": [{"path": "/in/x", "url": server.url("x")}]}
    refused = run(server, tmp_path, (), **task)
    assert refused["state"] == "SYSTEM_ERROR"
    assert "CERTIFICATE_VERIFY_FAILED" in refused["reason"] and "(tried once)" in refused["reason"]
    assert run(server, tmp_path, **task)["state"] == "COMPLETE"
