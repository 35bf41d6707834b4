"""`tesp user` and `tesp token`: what they keep, what they print, and what never becomes an argument."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tesp_api.cli.main import app

pytestmark = pytest.mark.usefixtures("cheap_passwords")


@pytest.fixture(autouse=True)
def _data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TESP_API_DATA_DIR", str(tmp_path / "data"))


def tesp(*words: str, stdin: str = "") -> Result:
    return CliRunner().invoke(app, words, input=stdin)


def done(*words: str, stdin: str = "") -> str:
    result = tesp(*words, stdin=stdin)
    assert result.exit_code == 0, result.output
    return result.stdout


def listed(kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(done(kind, "list", "--json"))[f"{kind}s"]
    return found


def test_a_user_is_added_changed_and_removed(tmp_path: Path) -> None:
    assert "no users" in done("user", "list")
    done("user", "add", "alice", "--group", "lab", "--group", "all", "--admin", stdin="open sesame\n")
    done("user", "add", "robot", "--no-password")
    alice, robot = listed("user")
    assert (alice["name"], alice["groups"], alice["admin"], alice["password"]) == (
        *("alice", ["all", "lab"]),
        *(True, True),
    )
    assert (robot["name"], robot["groups"], robot["admin"], robot["password"]) == ("robot", [], False, False)
    done("user", "change", "alice", "--no-admin", "--no-groups")
    done("user", "passwd", "robot", stdin="abracadabra")
    alice, robot = listed("user")
    assert (alice["groups"], alice["admin"], robot["password"]) == ([], False, True)
    assert "alice" in done("user", "list")
    done("user", "remove", "alice")
    assert [one["name"] for one in listed("user")] == ["robot"]
    file = tmp_path / "data" / "accounts.sqlite3"
    assert file.stat().st_mode & 0o077 == 0
    assert b"abracadabra" not in file.read_bytes() and b"open sesame" not in file.read_bytes()


def test_a_user_of_the_machine_without_a_name_may_be_the_operator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container that runs as whatever user a site says."""
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    done("user", "add", "robot", "--no-password")
    [line] = (tmp_path / "data" / "audit.log").read_text().splitlines()
    assert json.loads(line)["who"] == f"operator of uid {os.getuid()}"


def test_what_root_makes_belongs_to_whose_folder_it_is(tmp_path: Path) -> None:
    """Else the server, which is another user, could not open its own accounts."""
    if os.geteuid() != 0:
        pytest.skip("only root can make files for others")
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    os.chown(folder, 1234, 1235)
    done("user", "add", "alice", "--no-password")
    for file in folder.iterdir():
        status = file.stat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o077) == (1234, 1235, 0), file.name


def test_a_token_is_shown_once(tmp_path: Path) -> None:
    done("user", "add", "robot", "--no-password")
    token = done(
        "token", "create", "robot", "--scope", "submit, read", "--expires", "12h", "--note", "CI"
    ).strip()
    assert token.startswith("tesp_")
    [kept] = listed("token")
    assert (kept["user"], kept["scopes"], kept["note"]) == ("robot", ["read", "submit"], "CI")
    assert kept["expires"] > kept["created"]
    secret = token.rpartition("_")[2]
    shown = done("token", "list") + done("token", "list", "--json")
    assert kept["id"] in shown and secret not in shown
    for file in (tmp_path / "data").iterdir():
        assert secret.encode() not in file.read_bytes()
    made = json.loads(done("token", "create", "robot", "--expires", "never", "--json"))
    assert made["expires"] is None and made["token"].startswith(f"tesp_{made['id']}_")
    done("token", "revoke", kept["id"])
    assert [one["id"] for one in listed("token")] == [made["id"]]
    assert "never" in done("token", "list")


@pytest.mark.parametrize(
    ("words", "stdin", "code", "said"),
    [
        (("user", "add", "alice"), "short", 2, "at least 8"),
        (("user", "add", "alice"), "x" * 2000, 2, "at most 1024"),
        (("user", "add", "a b"), "open sesame", 2, "no name for a user"),
        (("user", "add", "https://x#y"), "open sesame", 2, "no name for a user"),
        (("user", "add", "anybody"), "open sesame", 2, "choose another"),
        (("user", "add", "bob", "--group", "a b"), "open sesame", 2, "no name for a group"),
        (("user", "add", "robot"), "open sesame", 1, "already"),
        (("user", "passwd", "bob"), "open sesame", 1, "no user 'bob'"),
        (("user", "remove", "bob"), "", 1, "no user 'bob'"),
        (("user", "change", "robot", "--group", "x", "--no-groups"), "", 2, "exclude"),
        (("token", "create", "bob"), "", 1, "no user 'bob'"),
        (("token", "create", "robot", "--scope", "reed"), "", 2, "'reed'"[1:-1]),
        (("token", "create", "robot", "--scope", ","), "", 2, "no scope"),
        (("token", "create", "robot", "--expires", "soon"), "", 2, "no time"),
        (("token", "create", "robot", "--expires", "0d"), "", 2, "no time"),
        (("token", "create", "robot", "--expires", "999999w"), "", 2, "calendar"),
        (("token", "revoke", "x"), "", 1, "no token 'x'"),
    ],
)
def test_what_is_wrong_is_said(words: tuple[str, ...], stdin: str, code: int, said: str) -> None:
    done("user", "add", "robot", "--no-password")
    result = tesp(*words, stdin=stdin)
    assert result.exit_code == code
    assert said in result.stderr


def test_no_command_takes_a_secret_as_an_argument() -> None:
    for words in (("user", "add"), ("user", "passwd"), ("token", "create")):
        shown = done(*words, "--help")
        assert "--password " not in shown and "PASSWORD" not in shown


def test_what_is_done_is_in_the_audit_log(tmp_path: Path) -> None:
    done("user", "add", "alice", stdin="open sesame\n")
    token = json.loads(done("token", "create", "alice", "--json"))
    done("token", "revoke", token["id"])
    tesp("user", "remove", "bob")
    done("user", "list")
    text = (tmp_path / "data" / "audit.log").read_text()
    said = [json.loads(line) for line in text.splitlines()]
    assert [(line["action"], line.get("user"), line["outcome"]) for line in said] == [
        ("add a user", "alice", "done"),
        ("create a token", "alice", "done"),
        ("revoke a token", None, "done"),
        ("remove a user", "bob", "refused"),
    ]
    assert said[1]["token"] == token["id"]
    assert "open sesame" not in text and token["token"] not in text
