"""The worker's FTP transfers against a real server, with and without TLS, on good lines and bad ones."""

import os
import time
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.integration.worker_job import WorkerJob, shell
from tests.services.faulty_proxy import Fault, FaultyProxy
from tests.services.ftp_server import FtpServer, make_certificate

pytestmark = pytest.mark.services

CONTENT = os.urandom(900_000)
PATIENCE = {"stall_s": 0.8, "tries": 3, "pause_s": 0.02}
NAMES = ["plain", "with space", "a#b", "50%25", "ümläut", "q?x=1", "semi;colon", " lead"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """What the server has: names of all kinds, in directories too, one of them empty."""
    root = tmp_path / "root"
    (root / "tree" / "sub dir" / "deep").mkdir(parents=True)
    (root / "tree" / "empty").mkdir()
    for name in NAMES:
        (root / "tree" / name).write_text(name)
        (root / "tree" / "sub dir" / "deep" / name).write_text(name)
    (root / "x").write_bytes(CONTENT)
    return root


def run(folder: Path, prefix: tuple[str, ...] = (), **task: Any) -> dict[str, Any]:
    task.setdefault("executors", [shell("true")])
    job = WorkerJob(folder / f"job-{time.time_ns()}", "bubblewrap", site={"transfers": PATIENCE}, **task)
    result = job.run(prefix)
    assert "hush" not in str(result) and "hush" not in str(job.events())
    return {**result, "printed": job.log("0.stdout").decode()}


@pytest.mark.parametrize("refused", [(), ("MLSD",), ("MLSD", "EPSV"), ("SIZE", "MDTM", "PASV", "FEAT")])
def test_files_and_directories_both_ways(tmp_path: Path, root: Path, refused: tuple[str, ...]) -> None:
    with FtpServer(root, refused=refused) as server:
        result = run(
            tmp_path,
            inputs=[
                {"path": "/in/x", "url": server.url("x")},
                {"path": "/in/tree", "url": server.url("tree/"), "type": "DIRECTORY"},
            ],
            executors=[shell("cp -r /in/* /out; cd /in/tree; find . -type f | wc -l; ls -d empty")],
            outputs=[
                {"path": "/out/x", "url": server.url("new/dir/x%20%231")},
                {"path": "/out/tree", "url": server.url("copy"), "type": "DIRECTORY"},
            ],
        )
    assert result["state"] == "COMPLETE", result
    assert result["printed"] == f"{2 * len(NAMES)}\nempty\n"
    assert (root / "new" / "dir" / "x #1").read_bytes() == CONTENT
    copied = {str(path.relative_to(root / "copy")) for path in (root / "copy").rglob("*")}
    assert copied == {str(path.relative_to(root / "tree")) for path in (root / "tree").rglob("*")}
    for name in NAMES:
        assert (root / "copy" / "sub dir" / "deep" / name).read_text() == name
    assert result["inputs"][0]["sha256"] == result["outputs"][0]["sha256"] == sha256(CONTENT).hexdigest()
    assert result["inputs"][0]["url"] == f"ftp://127.0.0.1:{server.port}/x"


def test_an_output_replaces_the_file_that_is_there(tmp_path: Path, root: Path) -> None:
    with FtpServer(root) as server:
        outputs = [{"path": "/out/x", "url": server.url("x")}]
        assert run(tmp_path, executors=[shell("echo 1 > /out/x")], outputs=outputs)["state"] == "COMPLETE"
    assert (root / "x").read_text() == "1\n"
    assert [path.name for path in root.iterdir() if path.name.endswith(".part")] == []


def test_no_name_becomes_a_command(tmp_path: Path, root: Path) -> None:
    """A file that a program has called so, in a directory that is sent."""
    with FtpServer(root) as server:
        script = "cd /out/d; printf x > \"$(printf 'x\\r\\nDELE x\\r\\n.')\"; printf y > a; ls | wc -l"
        outputs = [{"path": "/out/d", "url": server.url("d"), "type": "DIRECTORY"}]
        result = run(tmp_path, executors=[shell(script)], outputs=outputs)
        assert "DELE" not in server.commands
    assert result["state"] == "SYSTEM_ERROR" and "line break" in result["reason"], result
    assert (root / "x").read_bytes() == CONTENT


def test_an_output_that_is_refused_its_name_says_why(tmp_path: Path, root: Path) -> None:
    """The refusal to delete what is there is not the reason."""
    with FtpServer(root, refused=("RNTO", "DELE")) as server:
        outputs = [{"path": "/out/x", "url": server.url("x")}]
        result = run(tmp_path, executors=[shell("echo 1 > /out/x")], outputs=outputs)
    assert result["state"] == "SYSTEM_ERROR" and "RNTO" in result["reason"], result
    assert (root / "x").read_bytes() == CONTENT


def test_without_credentials_the_user_is_anonymous_and_may_not_write(tmp_path: Path, root: Path) -> None:
    with FtpServer(root) as server:
        url = f"ftp://127.0.0.1:{server.port}"
        result = run(
            tmp_path,
            inputs=[{"path": "/in/x", "url": f"{url}/x"}],
            executors=[shell("cp /in/x /out/x")],
            outputs=[{"path": "/out/x", "url": f"{url}/y"}],
        )
    assert result["state"] == "SYSTEM_ERROR" and len(result["inputs"]) == 1
    assert f"{url}/y: 550 Not enough privileges. (tried once)" in result["reason"]


@pytest.mark.parametrize("kind", ["FILE", "DIRECTORY"])
def test_what_is_not_there_and_who_is_not_known_are_told(tmp_path: Path, root: Path, kind: str) -> None:
    with FtpServer(root) as server:
        for url, words in (
            (server.url("absent"), "550"),
            (server.url("x", "lab:hushhush"), "530"),
            (server.url("tree" if kind == "FILE" else "x"), "550"),
        ):
            result = run(tmp_path, inputs=[{"path": "/in", "url": url, "type": kind}])
            assert result["state"] == "SYSTEM_ERROR" and words in result["reason"], result
            assert "(tried once)" in result["reason"]


def test_tls_with_the_authority_of_the_site(tmp_path: Path, root: Path) -> None:
    certificate = make_certificate(tmp_path)
    with FtpServer(root, certificate) as server:
        task: dict[str, Any] = {
            "inputs": [
                {"path": "/in/x", "url": server.url("x").replace("ftp:", "ftps:")},
                {"path": "/in/tree", "url": server.url("tree").replace("ftp:", "ftps:"), "type": "DIRECTORY"},
            ],
            "executors": [shell("cp /in/x /out/x")],
            "outputs": [{"path": "/out/x", "url": server.url("new/y").replace("ftp:", "ftps:")}],
        }
        result = run(tmp_path, ("env", f"SSL_CERT_FILE={certificate}"), **task)
        assert result["state"] == "COMPLETE", result
        assert (root / "new" / "y").read_bytes() == CONTENT
        refused = run(tmp_path, **task)
        assert "CERTIFICATE_VERIFY_FAILED" in refused["reason"] and "(tried once)" in refused["reason"]
        plain = run(tmp_path, inputs=[{"path": "/in/x", "url": server.url("x")}])
        assert plain["state"] == "SYSTEM_ERROR" and "(tried once)" in plain["reason"]


class Case(NamedTuple):
    """Faults of the first data connections, and the words of the reason; "" is COMPLETE."""

    name: str
    faults: list[Fault | None]
    words: str = ""
    always: Fault | None = None
    refused: tuple[str, ...] = ()
    control: tuple[Fault, ...] = ()
    resumes: bool = False


def at(kind: Any, byte: int = 400_000, way: Any = "down") -> Fault:
    return Fault(kind, byte, way)


FETCHES = [
    Case("cut", [at("cut")], resumes=True),
    Case("ended early", [at("truncate")], resumes=True),
    Case("stalled", [at("stall")], resumes=True),
    Case("cut again and again", [at("cut", 150_000)] * 5, resumes=True),
    Case("cut, no REST", [at("cut")], refused=("REST",)),
    Case("cut, no MDTM", [at("cut")], refused=("MDTM",)),
    Case("control cut at the greeting", [], control=(at("cut", 5),)),
    Case("control stalled at the login", [], control=(at("stall", 60),)),
    Case("ended early, no SIZE", [at("truncate")], refused=("SIZE",), resumes=True),
    Case("cut, nothing told", [at("cut")], refused=("SIZE", "MDTM", "MLST", "MLSD")),
    Case("always cut, no REST", [], "reset by peer (tried", always=at("cut"), refused=("REST",)),
    Case("always stalled", [], "nothing came or went for 0.8 s (tried 3 times)", always=at("stall", 0)),
    Case("always ended early, no REST", [], "(tried", always=at("truncate"), refused=("REST", "MDTM")),
]

SENDS = [
    Case("cut", [at("cut", way="up")]),
    Case("ended early", [at("truncate", way="up")]),
    Case("stalled", [at("stall", way="up")]),
    Case("control cut", [], control=(at("cut", 60),)),
    Case("always cut", [], "/new/x", always=at("cut", way="up")),
    Case("always ended early", [], "has stored 400000 of 900000", always=at("truncate", way="up")),
]


@pytest.mark.parametrize("case", FETCHES, ids=[case.name for case in FETCHES])
def test_fetching_on_a_bad_line(tmp_path: Path, root: Path, case: Case) -> None:
    with FtpServer(root, refused=case.refused) as server, proxied(server, case) as proxy:
        result = run(tmp_path, inputs=[{"path": "/in/x", "url": server.url("x", port=proxy.port)}])
        check_end(result, case)
        assert ("REST" in server.commands) or not case.resumes
        if not case.words:
            assert result["inputs"][0]["sha256"] == sha256(CONTENT).hexdigest()


@pytest.mark.parametrize("case", SENDS, ids=[case.name for case in SENDS])
def test_sending_on_a_bad_line(tmp_path: Path, root: Path, case: Case) -> None:
    with FtpServer(root, refused=case.refused) as server, proxied(server, case) as proxy:
        result = run(
            tmp_path,
            executors=[shell("head -c 900000 /dev/urandom > /out/x")],
            outputs=[{"path": "/out/x", "url": server.url("new/x", port=proxy.port)}],
        )
        check_end(result, case)
        assert (root / "new" / "x").exists() == (not case.words)
        if not case.words:
            digest = sha256((root / "new" / "x").read_bytes()).hexdigest()
            assert result["outputs"][0]["sha256"] == digest


def proxied(server: FtpServer, case: Case) -> FaultyProxy:
    proxy = FaultyProxy(server.port, *case.faults, always=case.always)
    proxy.is_ftp = True
    proxy.control_faults.extend(case.control)
    return proxy


def check_end(result: dict[str, Any], case: Case) -> None:
    assert result["state"] == ("SYSTEM_ERROR" if case.words else "COMPLETE"), result["reason"]
    assert case.words in result["reason"]
