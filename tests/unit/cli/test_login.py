"""How the command line logs in: from where it takes what is secret, and what it says when that is no good."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tesp_api.cli.main import app

GOOD = {"Bearer tesp_1_good", "Basic YWxpY2U6b3BlbiBzZXNhbWU="}  # alice:open sesame


@pytest.fixture
def url() -> Iterator[str]:
    """A server that takes GOOD, and has no right to cancel."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given = self.headers.get("Authorization")
            if given in GOOD:
                self.answer(200, b'{"tasks": []}')
            else:
                self.answer(401, b'{"status_code": 401, "msg": "the token has expired"}')

        def do_POST(self) -> None:
            self.answer(403, b'{"status_code": 403, "msg": "they lack the scope cancel"}')

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nobody reads it."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TESP_TOKEN", "TESP_TOKEN_FILE", "TESP_USER", "TESP_PASSWORD"):
        monkeypatch.delenv(name, raising=False)


def listing(url: str, *options: str, **environment: str) -> Result:
    return CliRunner().invoke(app, ["task", "list", "--url", url, *options], env=environment)


def token_file(folder: Path, text: str = "tesp_1_good\n", mode: int = 0o600) -> str:
    file = folder / "token"
    file.write_text(text)
    file.chmod(mode)
    return str(file)


def test_a_token_comes_from_the_environment_or_a_file(url: str, tmp_path: Path) -> None:
    assert listing(url, TESP_TOKEN="tesp_1_good").exit_code == 0
    assert listing(url, "--token-file", token_file(tmp_path)).exit_code == 0
    assert listing(url, TESP_TOKEN_FILE=token_file(tmp_path)).exit_code == 0
    both = listing(url, "--token-file", token_file(tmp_path), TESP_TOKEN="tesp_1_bad")
    assert both.exit_code == 0


def test_a_password_comes_from_the_environment(url: str) -> None:
    assert listing(url, "--user", "alice", TESP_PASSWORD="open sesame").exit_code == 0
    assert listing(url, TESP_USER="alice", TESP_PASSWORD="open sesame").exit_code == 0
    missing = listing(url, "--user", "alice")
    assert (missing.exit_code, "set TESP_PASSWORD" in missing.stderr) == (2, True)
    inline = listing(url, "--user", "alice:open sesame")
    assert (inline.exit_code, "a name alone" in inline.stderr) == (2, True)


def test_without_a_login_it_says_how(url: str) -> None:
    result = listing(url)
    assert result.exit_code == 1
    assert "asks for a login" in result.stderr and "TESP_TOKEN" in result.stderr


def test_a_login_that_is_no_good_is_told_without_what_is_secret(url: str) -> None:
    result = listing(url, TESP_TOKEN="tesp_1_bad")
    assert result.exit_code == 1
    assert "with the token in TESP_TOKEN: the token has expired (401)" in result.stderr
    wrong = listing(url, "--user", "alice", TESP_PASSWORD="hush-hush")
    assert "as 'alice'" in wrong.stderr
    assert "tesp_1_bad" not in result.output and "hush" not in wrong.output


def test_what_is_not_allowed_is_told(url: str) -> None:
    result = CliRunner().invoke(app, ["task", "cancel", "x", "--url", url], env={"TESP_TOKEN": "tesp_1_good"})
    assert (result.exit_code, "they lack the scope cancel (403)" in result.stderr) == (1, True)


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        ("tesp_1_good", 0o644, "chmod 600"),
        ("", 0o600, "holds no token"),
        ("a b", 0o600, "holds no token"),
        ("a\nb", 0o600, "holds no token"),
        ("é", 0o600, "holds no token"),
    ],
)
def test_a_file_that_will_not_do_is_refused(
    url: str, tmp_path: Path, text: str, mode: int, said: str
) -> None:
    result = listing(url, "--token-file", token_file(tmp_path, text, mode))
    assert (result.exit_code, said in result.stderr) == (2, True)


def test_a_login_without_tls_is_warned_of() -> None:
    result = listing("http://tesp.invalid:1", TESP_TOKEN="tesp_1_good")
    assert "without TLS" in result.stderr
    assert "without TLS" not in listing("http://tesp.invalid:1").stderr


def test_no_option_takes_a_secret() -> None:
    shown = CliRunner().invoke(app, ["task", "list", "--help"], env={"COLUMNS": "200"}).stdout
    assert "--token-file" in shown and "--user" in shown
    assert "--token " not in shown and "--password" not in shown
