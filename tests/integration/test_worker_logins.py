"""The worker's logins: with which requests they go, and what is told of them when they are refused."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tesp_api.worker.cancellation import Cancellation
from tesp_api.worker.channel import login_of
from tesp_api.worker.errors import StagingError
from tesp_api.worker.order import Patience
from tesp_api.worker.transfer import Moved, Site, Source, transfer_for
from tesp_api.worker.transfer.guard import Guard
from tesp_api.worker.transfer.lending import Login, NoLender
from tests.services.file_server import FileServer
from tests.services.ftp_server import PASSWORD, USER, FtpServer
from tests.services.locked_server import LockedServer, basic

pytestmark = pytest.mark.services

AUTH = {"Authorization": basic("lab", "s3cr3t")}


class Lends(NoLender):
    def __init__(self, *logins: Login) -> None:
        self._logins = logins

    def login_for(self, url: str) -> Login | None:
        return login_of(url, self._logins)


def site(folder: Path, *logins: Login) -> Site:
    patience = Patience(stall_s=5, tries=2, pause_s=0.01)
    guard = Guard(local_networks=("127.0.0.0/8",))
    return Site((), Cancellation(str(folder / "never")), print, patience, Lends(*logins), lambda: guard)


def get(url: str, folder: Path, *logins: Login) -> bytes:
    there = folder / f"got-{len(list(folder.iterdir()))}"
    transfer_for(url).fetch_file(url, str(there), site(folder, *logins))
    return there.read_bytes()


def put(url: str, folder: Path, content: bytes, *logins: Login) -> Moved:
    file = folder / "source"
    file.write_bytes(content)
    descriptor = os.open(file, os.O_RDONLY)
    with contextlib.closing(open(descriptor, "rb")):
        source = Source(descriptor, len(content), file.stat().st_mtime_ns, 0o644, "source")
        return transfer_for(url).send_file(source, url, site(folder, *logins))


def refusal(url: str, folder: Path, *logins: Login) -> str:
    with pytest.raises(StagingError) as refused:
        get(url, folder, *logins)
    return str(refused.value)


@pytest.fixture
def server() -> Iterator[LockedServer]:
    with LockedServer() as running:
        running.files |= {"/a/file": b"secret content", "/b/file": b"other", "/open": b"open"}
        running.locks |= {"/a": AUTH}
        yield running


def test_both_ways_with_user_and_password(server: LockedServer, tmp_path: Path) -> None:
    login = Login(f"{server.url}/a", "lab", "s3cr3t")
    assert get(f"{server.url}/a/file", tmp_path, login) == b"secret content"
    put(f"{server.url}/a/new", tmp_path, b"sent", login)
    assert server.files["/a/new"] == b"sent"
    heads = [headers for method, _, headers in server.requests if method == "HEAD"]
    assert [headers["Authorization"] for headers in heads] == [AUTH["Authorization"]]


def test_posts_carry_the_login_too(server: LockedServer, tmp_path: Path) -> None:
    server.answers.append((405, {}))
    put(f"{server.url}/a/new", tmp_path, b"sent", Login(f"{server.url}/a", "lab", "s3cr3t"))
    assert [(method, headers["Authorization"]) for method, _, headers in server.requests[:2]] == [
        ("PUT", AUTH["Authorization"]),
        ("POST", AUTH["Authorization"]),
    ]


def test_headers_of_any_kind(server: LockedServer, tmp_path: Path) -> None:
    server.locks["/a"] = {"Authorization": "Bearer t0ken", "X-Api-Key": "k3y"}
    headers = {"Authorization": "Bearer t0ken", "X-Api-Key": "k3y"}
    assert (
        get(f"{server.url}/a/file", tmp_path, Login(f"{server.url}/a", headers=headers)) == b"secret content"
    )


def test_the_narrowest_prefix_wins(server: LockedServer, tmp_path: Path) -> None:
    wide, narrow = Login(server.url, "x", "wrong"), Login(f"{server.url}/a/file", "lab", "s3cr3t")
    assert get(f"{server.url}/a/file", tmp_path, wide, narrow) == b"secret content"
    assert "status 401" in refusal(
        f"{server.url}/a/file", tmp_path, wide, narrow._replace(url_prefix="http://x")
    )


def test_a_directory_with_a_login(server: LockedServer, tmp_path: Path) -> None:
    server.files |= {"/a/d/": b'<title>Index of /a/d</title><a href="x">x</a>', "/a/d/x": b"in it"}
    server.more_headers["Content-Type"] = "text/html"
    there = tmp_path / "d"
    there.mkdir()
    url = f"{server.url}/a/d"
    transfer_for(url).fetch_directory(url, str(there), site(tmp_path, Login(url, "lab", "s3cr3t")))
    assert (there / "x").read_bytes() == b"in it"


def test_a_login_is_not_carried_to_where_it_is_not_for(server: LockedServer, tmp_path: Path) -> None:
    with FileServer() as stranger:
        stranger.files["/x"] = b"x"
        server.files["/else"] = b"else"
        server.moves |= {"/a/away": f"{stranger.url}/x", "/a/beside": "/else"}
        login = Login(f"{server.url}/a", "lab", "s3cr3t", {"X-Api-Key": "k3y"})
        assert get(f"{server.url}/a/away", tmp_path, login) == b"x"
        assert get(f"{server.url}/a/beside", tmp_path, login) == b"else"
        asked = [
            headers for _, path, headers in (*stranger.requests, *server.requests) if path in ("/x", "/else")
        ]
    assert len(asked) == 2
    assert not any("Authorization" in headers or "X-Api-Key" in headers for headers in asked)


def test_a_refusal_says_which_login_it_was_and_not_what_is_in_it(
    server: LockedServer, tmp_path: Path
) -> None:
    url = f"{server.url}/a/file"
    named = Login(f"{server.url}/a", "lab", "wr0ng", name="lab data")
    for login, said in (
        ((), "no credential was used"),
        ((named,), "with the credential 'lab data'"),
        ((named._replace(name=""),), "with the login that its URL came with"),
        ((Login(url, headers={"Authorization": "Bearer wr0ng"}, name="t"),), "with the credential 't'"),
        ((Login(url, "wr0ng"),), "its URL came with"),
    ):
        text = refusal(url, tmp_path, *login)
        assert text.startswith(f"{url}: status 401") and said in text and "(tried once)" in text
        assert not any(form in text for form in ("wr0ng", basic("lab", "wr0ng")[6:], basic("wr0ng", "")[6:]))
        assert "Not with" in text


def test_what_a_server_repeats_elsewhere_is_cleaned(server: LockedServer, tmp_path: Path) -> None:
    server.moves["/a/file"] = "sftp://host/s3cr3t"
    said = refusal(f"{server.url}/a/file", tmp_path, Login(server.url, "lab", "s3cr3t"))
    assert "sftp://host/***" in said and "s3cr3t" not in said


def test_ftp_both_ways(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").write_bytes(b"secret content")
    with FtpServer(root) as server:
        url = f"ftp://127.0.0.1:{server.port}"
        login = Login(url, USER, PASSWORD)
        assert get(f"{url}/file", tmp_path, login) == b"secret content"
        put(f"{url}/new", tmp_path, b"sent", login)
        assert (root / "new").read_bytes() == b"sent"
        said = refusal(f"{url}/file", tmp_path, Login(url, USER, "wr0ng", name="lab"))
        assert "530" in said and "with the credential 'lab'" in said and "wr0ng" not in said
