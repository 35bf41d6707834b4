"""The worker goes only where the rules let it: names, addresses, redirects, FTP, proxies; real servers."""

import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.worker_job import WorkerJob, shell
from tests.services.file_server import FileServer
from tests.services.ftp_server import FtpServer

pytestmark = pytest.mark.services

LOOPBACK = {"local_networks": ["127.0.0.1/32"]}


def run(
    folder: Path, rules: dict[str, list[str]], prefix: tuple[str, ...] = (), **task: Any
) -> dict[str, Any]:
    task.setdefault("executors", [shell("printf new > /out/x; cat /in/x 2>/dev/null; true")])
    site = {"rules": rules, "transfers": {"tries": 2, "pause_s": 0.02, "stall_s": 2}}
    return WorkerJob(folder / f"job-{time.time_ns()}", "bubblewrap", site=site, **task).run(prefix)


def fetch(folder: Path, url: str, rules: dict[str, list[str]], **more: Any) -> dict[str, Any]:
    return run(folder, rules, inputs=[{"path": "/in/x", "url": url, **more}])


def send(folder: Path, url: str, rules: dict[str, list[str]]) -> dict[str, Any]:
    return run(folder, rules, outputs=[{"path": "/out/x", "url": url}])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"])
def test_loopback_is_denied_by_default_and_never_asked(tmp_path: Path, host: str) -> None:
    with FileServer() as server:
        server.files["/x"] = b"secret"
        url = f"http://user:hush@{host}:{server.port}/x"
        results = [
            fetch(tmp_path, url, {}),
            send(tmp_path, url, {}),
            fetch(tmp_path, url, {}, type="DIRECTORY"),
        ]
        assert server.requests == []
    for result in results:
        assert result["state"] == "SYSTEM_ERROR"
        assert result["reason"].startswith(f"http://{host}:{server.port}/x")
        assert "is a loopback address, and transfers.local_networks does not hold it" in result["reason"]
        assert "hush" not in str(result)


def test_what_the_operator_allows_or_trusts(tmp_path: Path) -> None:
    with FileServer() as server:
        server.files["/x"] = b"content"
        place = f"127.0.0.1:{server.port}"
        assert fetch(tmp_path, f"http://{place}/x", LOOPBACK)["state"] == "COMPLETE"
        assert send(tmp_path, f"http://{place}/y", {"trusted": [place]})["state"] == "COMPLETE"
        assert server.files["/y"] == b"new"


@pytest.mark.parametrize(
    ("target", "rules", "words"),
    [
        ("http://169.254.169.254/latest/meta-data/", {}, "169.254.169.254 is a cloud metadata address"),
        ("http://[fd00:ec2::254]/", {}, "is a cloud metadata address"),
        ("http://metadata.google.internal/", {}, "is a cloud metadata address"),
        ("http://127.0.0.2:{port}/y", {}, "127.0.0.2 is a loopback address"),
        ("http://0x7f000002:{port}/y", {}, "127.0.0.2 is a loopback address"),
        (
            "http://data.evil.org:{port}/y",
            {"deny_hosts": ["*.evil.org"]},
            "transfers.deny_hosts (*.evil.org)",
        ),
        ("http://other.org/y", {"allow_hosts": ["127.0.0.1"]}, "not among transfers.allow_hosts (127.0.0.1)"),
        (
            "https://127.0.0.1:{port}/y",
            {"allow_schemes": ["http"]},
            "not among transfers.allow_schemes (http)",
        ),
        ("ftp://127.0.0.1/y", {}, "which is not followed"),
    ],
)
def test_redirects_are_checked_like_urls(
    tmp_path: Path, target: str, rules: dict[str, list[str]], words: str
) -> None:
    with FileServer() as server:
        there = target.format(port=server.port)
        server.files["/y"] = b"secret"
        server.moves["/x"] = there
        got = fetch(tmp_path, f"{server.url}/x", LOOPBACK | rules)
        server.answers.append((307, {"Location": there}))
        sent = send(tmp_path, f"{server.url}/x", LOOPBACK | rules)
        assert [method for method, *_ in server.requests] == ["GET", "PUT"]
    for result in (got, sent):
        assert result["state"] == "SYSTEM_ERROR"
        assert words in result["reason"] and f"{server.url}/x" in result["reason"]


def test_ftp_is_guarded_too(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "x").write_text("content")
    with FtpServer(tmp_path / "root") as server:
        for url in (server.url("x"), server.url("x").replace("ftp://", "ftps://"), "ftps://127.0.0.1:990/x"):
            result = fetch(tmp_path, url, {})
            assert (result["state"], "loopback" in result["reason"]) == ("SYSTEM_ERROR", True), result
        result = fetch(tmp_path, server.url("x"), LOOPBACK | {"deny_schemes": ["ftp"]})
        assert "the scheme 'ftp' is refused by transfers.deny_schemes" in result["reason"]
        assert server.commands == []
        assert fetch(tmp_path, server.url("x"), LOOPBACK)["state"] == "COMPLETE"


def test_an_ftp_server_cannot_send_the_data_connection_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "x").write_text("content")
    with FtpServer(tmp_path / "root", refused=("EPSV",), masquerade_address="169.254.169.254") as server:
        assert fetch(tmp_path, server.url("x"), LOOPBACK)["state"] == "COMPLETE"
        assert "PASV" in server.commands


def test_through_a_proxy_names_and_spelled_addresses_are_checked(tmp_path: Path) -> None:
    """The proxy itself may be anywhere: the site's administrator named it."""
    with FileServer() as proxy:
        proxy.files["http://data.example.org/x"] = b"content"
        through = ("env", f"http_proxy={proxy.url}", "no_proxy=")

        def get(url: str, rules: dict[str, list[str]]) -> dict[str, Any]:
            return run(tmp_path, rules, through, inputs=[{"path": "/in/x", "url": url}])

        assert get("http://data.example.org/x", {})["state"] == "COMPLETE"
        assert len(proxy.requests) == 1
        for url in ("http://169.254.169.254/x", "http://localhost/x", "http://metadata.google.internal/x"):
            assert "transfers.local_networks" in get(url, {})["reason"]
        assert "deny_hosts" in get("http://data.example.org/x", {"deny_hosts": ["data.*"]})["reason"]
        assert len(proxy.requests) == 1
