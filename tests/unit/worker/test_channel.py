"""The worker's side of the channel: how it asks, waits, gives up, and which login it takes."""

import json
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any

import pytest

from tesp_api.worker import channel as channel_module
from tesp_api.worker.cancellation import Cancellation
from tesp_api.worker.channel import Channel, login_of
from tesp_api.worker.errors import Canceled, NotPermitted, ServerAway, StagingError
from tesp_api.worker.order import Reach
from tesp_api.worker.transfer.lending import Ask, Login

TOKEN = "task.1.hush-hush"
Answer = tuple[int, Any]


class FakeApi:
    """A server that answers what the test wants, in turn; the last answer for ever. Keeps connections."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str, Any]] = []
        self.connections = 0

    def answer(self, path: str, authorization: str, body: Any) -> Answer:
        self.asked.append((path, authorization, body))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def handler(self) -> type[BaseHTTPRequestHandler]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                api.connections += 1
                super().setup()

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, answer = api.answer(self.path, self.headers["Authorization"], body)
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        return Handler


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    servers: list[Any] = []

    def start(api: FakeApi, path: Path | None = None, tls: Path | None = None, port: int = 0) -> str:
        if path is not None:
            here = os.open(path.parent, os.O_PATH)
            server: Any = ThreadingUnixStreamServer(f"/proc/self/fd/{here}/{path.name}", api.handler())
            os.close(here)
            url = f"unix:{path}"
        else:
            server = ThreadingHTTPServer(("127.0.0.1", port), api.handler())
            url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}"
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return url

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that vouches for itself, with its key."""
    pem, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tesp"]
    request += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(pem)]
    subprocess.run(request, check=True, capture_output=True)
    both = tmp_path / "both.pem"
    both.write_text(pem.read_text() + key.read_text())
    return both


class Place:
    """A channel and what it says."""

    def __init__(self, folder: Path, url: str, ca_pem: str | None = None) -> None:
        self.messages: list[str] = []
        self.cancel = folder / "cancel"
        self.channel = Channel(
            Reach(url, ca_pem, TOKEN), Cancellation(str(self.cancel)), self.messages.append
        )


LOGINS = {"logins": [{"url_prefix": "https://a.org/x", "username": "ann", "password": "pass", "headers": {}}]}


def signed(*urls: str) -> dict[str, Any]:
    return {"signed": [{"method": "GET", "url": url, "headers": {"X": "1"}} for url in urls]}


def test_logins_are_asked_for_once_and_only_when_needed(tmp_path: Path, serve: Callable[..., str]) -> None:
    api = FakeApi((200, LOGINS))
    channel = Place(tmp_path, serve(api)).channel
    assert not api.asked
    threads = [threading.Thread(target=channel.login_for, args=("https://b.org/",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    login = channel.login_for("https://a.org/x/y")
    assert login is not None and (login.username, login.password) == ("ann", "pass")
    assert api.asked == [("/channel/v1/logins", f"Bearer {TOKEN}", {})]


@pytest.mark.parametrize("name", ["channel.sock", "x" * 100 + "/" + "y" * 100 + "/channel.sock"])
def test_a_socket_is_reached_however_long_its_path(
    tmp_path: Path, serve: Callable[..., str], name: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    url = serve(FakeApi((200, signed("https://s3/1"))), path)
    assert Place(tmp_path, url).channel.sign([Ask("get", "s3://b/1")])[0] == (
        "GET",
        "https://s3/1",
        {"X": "1"},
    )


def test_connections_are_kept_and_replaced_when_they_are_closed(
    tmp_path: Path, serve: Callable[..., str]
) -> None:
    api = FakeApi((200, signed("u")))
    url = serve(api)
    place = Place(tmp_path, url)
    for _ in range(3):
        place.channel.sign([Ask("get", "s3://b/1")])
    assert api.connections == 1
    place.channel._idle[0].connection.sock.shutdown(socket.SHUT_RDWR)
    place.channel.sign([Ask("get", "s3://b/1")])
    assert (api.connections, place.messages) == (2, [])


def test_asks_are_sent_in_bodies_that_the_server_takes(tmp_path: Path, serve: Callable[..., str]) -> None:
    class Signing(FakeApi):
        def answer(self, path: str, authorization: str, body: Any) -> Answer:
            self.asked.append((path, authorization, body))
            assert len(json.dumps(body)) < 1024**2
            return 200, signed(*(ask["url"] for ask in body["asks"]))

    api = Signing()
    channel = Place(tmp_path, serve(api)).channel
    short = [Ask("get", f"s3://b/{number}") for number in range(1201)]
    long = [Ask("get", f"s3://b/{number}{'é' * 900}") for number in range(400)]
    assert [one.url for one in channel.sign(short)] == [ask.url for ask in short]
    assert [len(body["asks"]) for _, _, body in api.asked] == [500, 500, 201]
    assert [one.url for one in channel.sign(long)] == [ask.url for ask in long]
    assert len(api.asked) > 5
    assert channel.sign([]) == []


@pytest.mark.parametrize("status", [400, 401, 403, 410, 413, 500])
def test_a_refusal_is_final_and_said(tmp_path: Path, serve: Callable[..., str], status: int) -> None:
    api = FakeApi((status, {"detail": "because of this"}))
    channel = Place(tmp_path, serve(api)).channel
    for _ in range(2):
        with pytest.raises(StagingError, match="because of this") as caught:
            channel.login_for("https://a.org/")
        assert TOKEN not in str(caught.value)
    assert len(api.asked) == 1


def test_a_server_that_cannot_say_now_is_asked_again(tmp_path: Path, serve: Callable[..., str]) -> None:
    page = (502, b"<html>a proxy's page</html>")
    api = FakeApi((503, {"detail": "later"}), page, (200, b"cut off {"), (200, LOGINS))
    place = Place(tmp_path, serve(api))
    assert place.channel.login_for("https://a.org/x")
    assert len(place.messages) == 1 and "later" in place.messages[0] and TOKEN not in place.messages[0]


def test_a_server_that_is_away_is_waited_for(tmp_path: Path, serve: Callable[..., str]) -> None:
    path = tmp_path / "channel.sock"
    place = Place(tmp_path, f"unix:{path}")
    found: list[Login | None] = []
    asking = threading.Thread(target=lambda: found.append(place.channel.login_for("https://a.org/x")))
    asking.start()
    while not place.messages:
        time.sleep(0.01)
    serve(FakeApi((200, LOGINS)), path)
    asking.join(timeout=30)
    assert found and found[0] is not None


def test_patience_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "PATIENCE_S", 0.3)
    place = Place(tmp_path, f"unix:{tmp_path}/none.sock")
    with pytest.raises(StagingError, match="No such file"):
        place.channel.sign([Ask("get", "s3://b/1")])


def test_waiting_ends_with_a_cancel(tmp_path: Path) -> None:
    place = Place(tmp_path, f"unix:{tmp_path}/none.sock")
    threading.Timer(0.3, place.cancel.touch).start()
    with pytest.raises(Canceled):
        place.channel.login_for("https://a.org/")
    with pytest.raises(Canceled):  # nobody else waits again
        place.channel.login_for("https://a.org/")


def test_uploads_are_aborted_after_a_cancel_without_waiting(
    tmp_path: Path, serve: Callable[..., str]
) -> None:
    api = FakeApi((200, signed("u")))
    place = Place(tmp_path, serve(api))
    place.cancel.touch()
    with pytest.raises(Canceled):
        place.channel.sign([Ask("put", "s3://b/1")])
    assert place.channel.sign([Ask("abort_upload", "s3://b/1", {"uploadId": "u"})])
    gone = Place(tmp_path, f"unix:{tmp_path}/none.sock")
    with pytest.raises(StagingError):
        gone.channel.sign([Ask("abort_upload", "s3://b/1", {"uploadId": "u"})])


def test_tls_trusts_the_given_authority_alone(
    tmp_path: Path, serve: Callable[..., str], certificate: Path
) -> None:
    url = serve(FakeApi((200, LOGINS)), tls=certificate)
    ca_pem = certificate.read_text().partition("-----BEGIN PRIVATE")[0]
    assert Place(tmp_path, url, ca_pem).channel.login_for("https://a.org/x")
    place = Place(tmp_path, url)
    with pytest.raises(StagingError, match="not trusted"):
        place.channel.login_for("https://a.org/x")
    assert not place.messages


def test_the_sites_proxy_is_used(
    tmp_path: Path, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = FakeApi((200, LOGINS))
    monkeypatch.setenv("http_proxy", serve(proxy).replace("//", "//user:word@"))
    monkeypatch.setenv("no_proxy", "direct.example.org")
    assert Place(tmp_path, "http://tesp.example.org:8000/base").channel.login_for("https://a.org/x")
    assert proxy.asked[0][0] == "http://tesp.example.org:8000/base/channel/v1/logins"


@pytest.mark.parametrize(
    ("url", "prefix"),
    [
        ("https://a.org/x", "https://a.org/x"),
        ("https://a.org/x/", "https://a.org/x"),
        ("https://a.org/x/y?q=1", "https://a.org/x/"),
        ("HTTPS://A.ORG:443/x", "https://a.org/x"),
        ("https://a.org/%78/y", "https://a.org/x"),
        ("https://a.org/x?one", "https://a.org/x?one"),
        ("ftp://a.org:21/x", "ftp://a.org/x"),
        ("https://a.org", "https://a.org/"),
    ],
)
def test_a_login_is_for_its_prefix_and_what_is_below(url: str, prefix: str) -> None:
    assert login_of(url, [Login(prefix)]) == Login(prefix)


@pytest.mark.parametrize(
    ("url", "prefix"),
    [
        ("https://a.org/xy", "https://a.org/x"),
        ("http://a.org/x", "https://a.org/x"),
        ("https://a.org:8443/x", "https://a.org/x"),
        ("https://b.org/x", "https://a.org/x"),
        ("https://a.org/x/../y", "https://a.org/x"),
        ("https://a.org/x/%2e%2e/y", "https://a.org/x"),
        ("https://a.org/x/..%5Cy", "https://a.org/x"),
        ("https://a.org/x/..;a=1/y", "https://a.org/x"),
        ("https://a.org/x?two", "https://a.org/x?one"),
        ("https://a.org/x/below", "https://a.org/x?one"),
        ("https://a.org.evil.com/x", "https://a.org/"),
    ],
)
def test_a_login_is_for_nothing_else(url: str, prefix: str) -> None:
    assert login_of(url, [Login(prefix)]) is None


def test_the_longest_prefix_wins() -> None:
    logins = [
        Login("https://a.org/x", "one"),
        Login("https://a.org/x/y", "two"),
        Login("https://a.org", "no"),
    ]
    assert login_of("https://a.org/x/y/z", logins) == logins[1]


def test_a_permit_is_asked_for_by_the_worker(tmp_path: Path, serve: Callable[..., str]) -> None:
    api = FakeApi((200, {"cancel": False}))
    channel = Place(tmp_path, serve(api)).channel
    channel.permit("0abc", "start")
    channel.permit("0abc", "commit")
    assert [(path, body) for path, _, body in api.asked] == [
        ("/channel/v1/permit", {"worker": "0abc", "step": step}) for step in ("start", "commit")
    ]


@pytest.mark.parametrize("step", ["start", "commit"])
def test_a_permit_that_is_refused_is_not_asked_for_again(
    tmp_path: Path, serve: Callable[..., str], step: str
) -> None:
    api = FakeApi((410, {"detail": "another worker"}))
    with pytest.raises(NotPermitted, match=f"does not let this worker {step}: another worker"):
        Place(tmp_path, serve(api)).channel.permit("0abc", step)
    assert len(api.asked) == 1
    canceled = FakeApi((200, {"cancel": True}))
    with pytest.raises(Canceled):
        Place(tmp_path, serve(canceled)).channel.permit("0abc", step)


def test_to_start_a_server_is_waited_for_as_long_as_for_logins(
    tmp_path: Path, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_module, "PATIENCE_S", 0.3)
    away = Place(tmp_path, f"unix:{tmp_path}/none.sock")
    with pytest.raises(ServerAway, match="No such file") as ended:
        away.channel.permit("0abc", "start")
    assert ended.value.cause == "never_started"
    with pytest.raises(ServerAway):
        Place(tmp_path, serve(FakeApi((500, {"detail": "broken"})))).channel.permit("0abc", "start")


def test_to_commit_a_server_is_waited_for_without_end(
    tmp_path: Path, serve: Callable[..., str], certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Computed outputs are not thrown away for a server that is away, broken, or has an old certificate."""
    monkeypatch.setattr(channel_module, "PATIENCE_S", 0.01)
    api = FakeApi((503, {"detail": "later"}), (500, {"detail": "broken"}), (502, b"page"), (200, {}))
    place = Place(tmp_path, serve(api))
    place.channel.permit("0abc", "commit")
    assert len(place.messages) == 1 and "later" in place.messages[0]
    untrusted = Place(tmp_path, serve(FakeApi((200, {})), tls=certificate))
    threading.Timer(0.5, untrusted.cancel.touch).start()
    with pytest.raises(Canceled):
        untrusted.channel.permit("0abc", "commit")
