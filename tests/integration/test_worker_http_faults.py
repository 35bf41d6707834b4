"""The worker's HTTP transfers when the line or the server fails: whole files, or SYSTEM_ERROR and why."""

import os
import re
import time
from hashlib import md5, sha256
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.integration.worker_job import WorkerJob, shell
from tests.services.faulty_proxy import Fault, FaultyProxy
from tests.services.file_server import FileServer

pytestmark = pytest.mark.services

CONTENT = os.urandom(900_000)
OLD = "Mon, 02 Feb 2026 10:00:00 GMT"
PATIENCE = {"stall_s": 0.6, "tries": 3, "pause_s": 0.02}


class Case(NamedTuple):
    """Faults of the first connections, the words of the reason ("" is COMPLETE), how the server behaves."""

    name: str
    faults: list[Fault | None]
    words: str = ""
    always: Fault | None = None
    server: dict[str, Any] = {}  # noqa: RUF012
    resumes: bool = False


def at(kind: Any, byte: int = 400_000, way: Any = "down") -> Fault:
    return Fault(kind, byte, way)


FETCHES = [
    Case("cut", [at("cut")], resumes=True),
    Case("cut before the answer", [at("cut", 0)]),
    Case("cut in the headers", [at("cut", 60)]),
    Case("cut again and again", [at("cut", 200_000)] * 4, resumes=True),
    Case("ended early", [at("truncate")], resumes=True),
    Case("stalled", [at("stall")], resumes=True),
    Case("stalled before the answer", [at("stall", 0)]),
    Case(
        "cut, resumed by Last-Modified",
        [at("cut")],
        server={"etag": None, "more_headers": {"Last-Modified": OLD}},
        resumes=True,
    ),
    Case("cut, weak ETag", [at("cut")], server={"etag": 'W/"1"'}),
    Case("cut, no validator", [at("cut")], server={"etag": None}),
    Case("cut, no ranges", [at("cut")], server={"has_ranges": False}),
    Case("cut, chunked", [at("truncate")], server={"is_chunked": True}, resumes=True),
    Case("cut, changed", [at("cut")], server={"after_get": [("/x", CONTENT[::-1])]}),
    Case(
        "cut, changed and If-Range ignored",
        [at("cut")],
        server={"after_get": [("/x", CONTENT[::-1])], "ignores_if_range": True},
    ),
    Case("cut, now shorter", [at("cut")], server={"after_get": [("/x", b"short")], "ignores_if_range": True}),
    Case("corrupted, digest stated", [at("corrupt")], server={"states_digest": True}),
    Case("busy, with Retry-After", [], server={"answers": [(503, {"Retry-After": "1"})]}),
    Case("too many requests", [], server={"answers": [(429, {}), (408, {})]}),
    Case("always cut before the answer", [], "tried 3 times", always=at("cut", 0)),
    Case(
        "always ended early, no ranges",
        [],
        "promised 900000 bytes",
        always=at("truncate"),
        server={"has_ranges": False},
    ),
    Case("always cut in the headers", [], "ended in the headers", always=at("truncate", 60)),
    Case("always stalled", [], "nothing came or went for 0.6 s (tried 3 times)", always=at("stall", 0)),
    Case("always corrupted", [], "and the server says", always=at("corrupt"), server={"states_digest": True}),
    Case(
        "always an error",
        [],
        "status 500 Internal Server Error (tried 3 times)",
        server={"answers": [(500, {})] * 3},
    ),
    Case(
        "not there",
        [],
        "status 403 Forbidden, with the URL's own login (tried once)",
        server={"answers": [(403, {})]},
    ),
    Case(
        "a wrong Content-MD5",
        [],
        "the md5",
        server={"more_headers": {"Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}},
    ),
    Case(
        "redirects without end",
        [],
        "more than 10 redirects",
        server={"answers": [(302, {"Location": "/x"})] * 20},
    ),
]

SENDS = [
    Case("cut", [at("cut", way="up")]),
    Case("cut before the answer", [at("cut", 0)]),
    Case("ended early", [at("truncate", way="up")]),
    Case("stalled", [at("stall", way="up")]),
    Case("corrupted, digest stated", [at("corrupt", way="up")], server={"states_digest": True}),
    Case(
        "always corrupted",
        [],
        "has stored something else",
        always=at("corrupt", way="up"),
        server={"states_digest": True, "more_headers": {"Connection": "close"}},
    ),
    Case("busy", [], server={"answers": [(503, {})]}),
    Case("moved", [], server={"answers": [(307, {"Location": "/out/x"})]}),
    Case("always cut", [], "/out/x", always=at("cut", way="up")),
    Case("always stalled", [], "0.6 s (tried 3 times)", always=at("stall", 0)),
    Case("no room", [], "PUT of x: status 507", server={"answers": [(507, {})] * 3}),
    Case(
        "forbidden",
        [],
        "PUT of x: status 403 Forbidden, with the URL's own login (tried once)",
        server={"answers": [(403, {})]},
    ),
    Case(
        "stored half", [], "has stored 450000 of 900000 bytes", server={"stores": lambda body: body[:450_000]}
    ),
]


def run(folder: Path, **task: Any) -> dict[str, Any]:
    task.setdefault("executors", [shell("true")])
    job = WorkerJob(folder / f"job-{time.time_ns()}", "bubblewrap", site={"transfers": PATIENCE}, **task)
    return job.run()


def prepare(server: FileServer, case: Case) -> None:
    for name, value in case.server.items():
        getattr(server, name).extend(value) if name in ("answers", "after_get") else setattr(
            server, name, value
        )


@pytest.mark.parametrize("case", FETCHES, ids=[case.name for case in FETCHES])
def test_fetching(tmp_path: Path, case: Case) -> None:
    with FileServer() as server, FaultyProxy(server.port, *case.faults, always=case.always) as proxy:
        server.files["/x"] = CONTENT
        prepare(server, case)
        url = f"http://user:hush@127.0.0.1:{proxy.port}/x"
        result = run(tmp_path, inputs=[{"path": "/in/x", "url": url}])
        check_end(result, case, url)
        ranges = [headers["Range"] for _, _, headers in server.requests if "Range" in headers]
        assert bool(ranges) >= case.resumes
        if not case.words:
            now = server.files["/x"]
            digest = sha256(now).hexdigest()
            shown = f"http://127.0.0.1:{proxy.port}/x"
            assert result["inputs"] == [
                {"path": "/in/x", "url": shown, "size_bytes": len(now), "sha256": digest}
            ]


@pytest.mark.parametrize("case", SENDS, ids=[case.name for case in SENDS])
def test_sending(tmp_path: Path, case: Case) -> None:
    with FileServer() as server, FaultyProxy(server.port, *case.faults, always=case.always) as proxy:
        prepare(server, case)
        url = f"http://user:hush@127.0.0.1:{proxy.port}/out/x"
        result = run(
            tmp_path,
            executors=[shell("head -c 900000 /dev/urandom > /out/x")],
            outputs=[{"path": "/out/x", "url": url}],
        )
        check_end(result, case, url)
        if not case.words:
            [output] = result["outputs"]
            assert sha256(server.files["/out/x"]).hexdigest() == output["sha256"]


def check_end(result: dict[str, Any], case: Case, url: str) -> None:
    assert result["state"] == ("SYSTEM_ERROR" if case.words else "COMPLETE"), result["reason"]
    assert case.words in result["reason"]
    assert "hush" not in str(result)
    if case.words:
        assert url.replace("user:hush@", "") in result["reason"]
        assert re.search(r"\(tried (once|\d+ times)\)", result["reason"])


def test_a_server_is_asked_again_no_sooner_than_it_wants(tmp_path: Path) -> None:
    with FileServer() as server:
        server.files["/x"] = b"x"
        server.answers.append((503, {"Retry-After": "2"}))
        began = time.monotonic()
        assert run(tmp_path, inputs=[{"path": "/in/x", "url": f"{server.url}/x"}])["state"] == "COMPLETE"
        assert time.monotonic() - began >= 2


def test_a_server_that_repeats_the_secrets_of_the_request_reveals_none(tmp_path: Path) -> None:
    with FileServer() as server:
        server.answers.append((302, {"Location": "gopher://u:other@h/x?sig=secret"}))
        url = f"http://user:hush@127.0.0.1:{server.port}/x?token=secret"
        result = run(tmp_path, inputs=[{"path": "/in/x", "url": url}])
        assert "gopher://h/x" in result["reason"]
        assert not re.search("hush|other|secret", str(result))


def test_a_length_that_is_not_told_is_a_line_in_the_system_logs(tmp_path: Path) -> None:
    with FileServer() as server:
        server.files["/x"], server.has_length = b"x", False
        result = run(tmp_path, inputs=[{"path": "/in/x", "url": f"{server.url}/x"}])
        assert result["state"] == "COMPLETE" and "how long" in "".join(result["system_logs"])


@pytest.mark.parametrize("is_true", [True, False])
def test_the_etag_of_a_presigned_put_is_its_md5(tmp_path: Path, is_true: bool) -> None:
    with FileServer() as server:
        server.more_headers = {"ETag": f'"{md5(b"x" if is_true else b"y").hexdigest()}"'}  # noqa: S324 - as servers name files
        outputs = [{"path": "/out/x", "url": f"{server.url}/b/x?X-Amz-Signature=0123456789"}]
        result = run(tmp_path, executors=[shell("printf x > /out/x")], outputs=outputs)
        assert result["state"] == ("COMPLETE" if is_true else "SYSTEM_ERROR")
        assert ("stored something else" in result["reason"]) != is_true
        assert "0123456789" not in str(result)


def test_an_output_that_changes_while_it_is_sent_is_an_error(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "x").write_bytes(CONTENT)

    with FileServer() as server, FaultyProxy(server.port, at("stall", 100_000, "up")) as proxy:
        job = WorkerJob(
            tmp_path / "job",
            "bubblewrap",
            roots=[{"path": str(shared), "mount": "rw"}],
            site={"transfers": PATIENCE},
            inputs=[{"path": "/shared", "url": str(shared), "type": "DIRECTORY"}],
            outputs=[{"path": "/shared/x", "url": f"http://127.0.0.1:{proxy.port}/x"}],
            executors=[shell("(sleep 0.1) ; true")],
        )
        process = job.start()
        while not proxy.connections:
            time.sleep(0.02)
        (shared / "x").write_bytes(CONTENT[::-1])
        process.communicate(timeout=30)
        result = job.result()
        # In the first try, or in the second where all of the first one had been read by then.
        said = re.escape(f"http://127.0.0.1:{proxy.port}/x: x changed while it was read (tried ")
        assert result["state"] == "SYSTEM_ERROR"
        assert re.fullmatch(said + r"(once|2 times)\)", result["reason"]), result["reason"]
        assert "/x" not in server.files


def test_a_file_of_the_site_that_is_mounted_has_a_size_and_no_checksum(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("data")
    roots = [{"path": str(tmp_path), "mount": "ro"}]
    inputs = [{"path": "/in/a", "url": str(tmp_path / "data")}, {"path": "/in/b", "content": "b"}]
    result = run(tmp_path, roots=roots, inputs=inputs)
    assert result["inputs"] == [
        {"path": "/in/a", "url": str(tmp_path / "data"), "size_bytes": 4},
        {"path": "/in/b", "size_bytes": 1, "sha256": sha256(b"b").hexdigest()},
    ]
