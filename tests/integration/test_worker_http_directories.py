"""DIRECTORY inputs over HTTP: the indexes of real servers, and pages that try to lead elsewhere."""

import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.worker_job import WorkerJob, shell
from tests.services.faulty_proxy import Fault, FaultyProxy
from tests.services.file_server import FileServer
from tests.services.web_servers import KINDS, listing_server

pytestmark = pytest.mark.services

NAMES = ["plain", "with space", "a#b", "50%25", "ümläut", "q?x=1", "a:b", "&amp;", "<i>", "'quote\"", "+plus"]
LONG = "n" * 120


def run(folder: Path, url: str) -> tuple[dict[str, Any], list[str]]:
    """result.json, and what `find` saw in the container."""
    job = WorkerJob(
        folder / f"job-{time.time_ns()}",
        "bubblewrap",
        site={"transfers": {"stall_s": 2, "tries": 2, "pause_s": 0.02}},
        inputs=[{"path": "/in", "url": url, "type": "DIRECTORY"}],
        executors=[shell("cd /in; find . | sort")],
    )
    return job.run(), job.log("0.stdout").decode().splitlines()


@pytest.mark.parametrize("kind", KINDS)
def test_the_indexes_of_real_servers(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "root"
    for folder in (root / "tree", root / "tree" / "sub dir#1" / "deep"):
        folder.mkdir(parents=True)
        for name in (*NAMES, LONG):
            (folder / name).write_text(name)
    (root / "tree" / "empty").mkdir()
    (root / "outside").write_text("no")
    with listing_server(kind, root, tmp_path / "server") as url:
        result, seen = run(tmp_path, f"{url}/tree")
        assert result["state"] == "COMPLETE", result
        wanted = {f"./{path.relative_to(root / 'tree')}" for path in (root / "tree").rglob("*")} | {"."}
        assert set(seen) == wanted
        told = {item["path"]: item["size_bytes"] for item in result["inputs"]}
        assert told == {
            f"/in/{path.relative_to(root / 'tree')}": path.stat().st_size
            for path in (root / "tree").rglob("*")
            if path.is_file()
        }
        whole, _ = run(tmp_path, url)
        assert len(whole["inputs"]) == len(told) + 1


def page(*links: str) -> bytes:
    return ("<h1>Index of /d/</h1>" + "".join(f'<a href="{link}">x</a>' for link in links)).encode()


def test_no_link_leads_out_of_the_directory(tmp_path: Path) -> None:
    with FileServer() as server:
        server.more_headers = {"Content-Type": "text/html; charset=utf-8"}
        server.files = {
            "/d/": page(
                "../", "/", "/other", "../d2/x", "?C=N;O=D", "a", "a", "./b", f"{server.url}/d/c", "..%2Fup",
                "%2e%2e/up", "sub/deeper", "http://127.0.0.1:1/d/x", "//other.invalid/d/y", "mailto:a@b", "http://[",
                "%00", "#top", "sub/",
            ),
            "/d/sub/": page("../../other", "e"),
            **dict.fromkeys(("/d/a", "/d/b", "/d/c", "/d/sub/e", "/other", "/up", "/d/sub/deeper"), b"x"),
        }  # fmt: skip
        server.files |= {f"{path}?token=hush": body for path, body in list(server.files.items())}
        result, seen = run(tmp_path, f"http://u:hush@127.0.0.1:{server.port}/d?token=hush")
    assert result["state"] == "COMPLETE", result
    assert seen == [".", "./a", "./b", "./c", "./sub", "./sub/e"]
    assert "hush" not in str(result)
    assert not [path for _, path, _ in server.requests if not path.startswith("/d/")]


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b"<html>Welcome! <a href='http://elsewhere.invalid/'>away</a></html>", "text/html", "no index page"),
        (b'{"error": "none"}', "application/json", "no index"),
        (b'[{"name": "../up", "type": "file"}]', "application/json", "leads elsewhere"),
        (page("self/"), "text/html", "more than 64 directories deep"),
        (page("gone"), "text/html", "/d/gone: status 404"),
    ],
)
def test_what_is_no_index_or_has_no_end_is_an_error(
    tmp_path: Path, body: bytes, kind: str, words: str
) -> None:
    with FileServer() as server:
        server.more_headers = {"Content-Type": kind}
        server.files = {f"/d/{'self/' * depth}": body for depth in range(70)}
        result, _ = run(tmp_path, f"{server.url}/d/")
    assert result["state"] == "SYSTEM_ERROR" and words in result["reason"], result


@pytest.mark.parametrize("target", ["http://127.0.0.1:1/a", "/other", "/d/a/"])
@pytest.mark.parametrize("moved", ["page", "file"])
def test_no_redirect_leads_out_of_the_directory(tmp_path: Path, target: str, moved: str) -> None:
    with FileServer() as server:
        server.more_headers = {"Content-Type": "text/html"}
        server.files = {"/d/": page("a"), "/d/a": b"a", "/other": page("b"), "/d/a/": page("c")}
        server.moves = {"/d/a" if moved == "file" else "/d/": target}
        result, _ = run(tmp_path, f"{server.url}/d/")
    assert result["state"] == "SYSTEM_ERROR", result
    assert "redirected out of the directory" in result["reason"]
    assert target not in [path for _, path, _ in server.requests]


def test_an_index_that_is_cut_short_is_fetched_again(tmp_path: Path) -> None:
    with FileServer() as server:
        server.more_headers = {"Content-Type": "text/html"}
        names = [f"{number}-{LONG}" for number in range(20)]
        server.files = {"/d/": page(*names), **{f"/d/{name}": b"x" for name in names}}
        with FaultyProxy(server.port, Fault("truncate", 1500)) as proxy:
            result, _ = run(tmp_path, f"http://127.0.0.1:{proxy.port}/d/")
    assert result["state"] == "COMPLETE" and len(result["inputs"]) == 20, result
