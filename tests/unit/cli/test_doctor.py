"""`tesp doctor`: what it finds, how to mend it, and its exit code."""

import asyncio
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tesp_api.cli import runtimes
from tesp_api.cli.main import app
from tesp_api.store.folder_lock import FolderLock
from tesp_api.store.sqlite import SqliteTaskStore
from tesp_api.store.sqlite_runs import SqliteRunStore
from tests.factories import make_run
from tests.services.cwl_engine import engines_folder
from tests.services.mongod import Mongod
from tests.services.pulsar_rest import free_port


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine whose only container runtime is a podman that works; gives its folder of programs."""
    for name in list(os.environ):
        if name.startswith(("TESP_", "FASTAPI_PROFILE")):
            monkeypatch.delenv(name)
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("TESP_API_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    install(programs, "podman", "echo 4.3.1")
    return programs


def install(programs: Path, name: str, script: str) -> None:
    program = programs / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def doctor(*options: str) -> Result:
    return CliRunner().invoke(app, ["doctor", *options])


def found(result: Result, name: str) -> dict[str, Any]:
    checks = json.loads(result.stdout)["checks"]
    return next(check for check in checks if check["name"] == name)


def test_all_is_well() -> None:
    result = doctor()
    assert result.exit_code == 0, result.output
    assert "podman of local: 4.3.1" in result.stdout
    assert "will be made at the first start" in result.stdout


def test_runs_whose_files_are_elsewhere_are_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def store_a_run() -> None:
        store = SqliteTaskStore(tmp_path / "data")
        await store.open()
        await SqliteRunStore(store).create(make_run(id="r1", work_url="file:///shared/runs/r1/"))
        await store.aclose()

    asyncio.run(store_a_run())
    told = found(doctor("--json"), "workflow runs")
    assert (told["level"], "file:///shared/runs/r1/" in told["found"]) == ("warn", True)
    assert "set wes.work_url" in told["mend"]
    monkeypatch.setenv("TESP_API_WES__WORK_URL", "/shared/runs")
    assert found(doctor("--json"), "workflow runs")["level"] == "ok"


def test_the_document_says_the_same(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    result = doctor("--json")
    assert json.loads(result.stdout)["healthy"] is True
    assert found(result, "store")["level"] == "ok"


def test_wrong_settings_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESP_API_LOGS__TALE_BYTES", "1")
    result = doctor()
    assert result.exit_code == 1
    assert "logs.tale_bytes: there is no such setting" in result.stdout


def test_a_running_server_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    lock = FolderLock(tmp_path / "data")
    lock.acquire()
    try:
        result = doctor("--json")
    finally:
        lock.release()
    assert result.exit_code == 0
    assert "in use by a running server" in found(result, "data folder")["found"]


def test_a_data_folder_below_a_file_fails(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = doctor("--json", "--data", str(tmp_path / "file" / "data"))
    assert result.exit_code == 1
    assert found(result, "data folder")["mend"]


def test_no_runtime_fails_and_says_what_to_install(machine: Path) -> None:
    (machine / "podman").unlink()
    result = doctor("--json")
    assert result.exit_code == 1
    assert "allow_bubblewrap" in found(result, "runtimes of local")["mend"]


def test_a_daemon_that_does_not_answer_is_a_warning_beside_one_that_works(machine: Path) -> None:
    install(machine, "docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    result = doctor("--json")
    assert result.exit_code == 0
    docker = found(result, "docker of local")
    assert (docker["level"], "Cannot connect" in docker["found"]) == ("warn", True)
    assert "daemon" in docker["mend"]


def test_a_client_that_is_too_old_for_its_daemon_is_told_so(machine: Path) -> None:
    said = "Error response from daemon: client version 1.41 is too old. Minimum supported API version is 1.44"
    install(machine, "docker", f"echo '{said}' >&2; exit 1")
    docker = found(doctor("--json"), "docker of local")
    assert docker["found"].endswith(said)
    assert "newer docker client" in docker["mend"] and "DOCKER_MIN_API_VERSION" in docker["mend"]


@pytest.mark.parametrize(
    ("switch", "says"), [("1\n", "AppArmor"), ("0\n", "userns_clone"), (None, "userns_clone")]
)
def test_why_bubblewrap_may_make_no_namespaces(
    machine: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, switch: str | None, says: str
) -> None:
    if switch is not None:
        (tmp_path / "switch").write_text(switch)
    monkeypatch.setattr(runtimes, "_APPARMOR_SWITCH", tmp_path / "switch")
    install(machine, "bwrap", "echo 'bwrap: setting up uid map: Permission denied' >&2; exit 1")
    assert says in found(doctor("--json", "--allow-bubblewrap"), "bubblewrap of local")["mend"]


def test_make_serve_asks_whether_anything_works(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (runtimes.main(), capsys.readouterr().err) == (0, "")
    install(machine, "podman", "exit 1")
    install(machine, "docker", "echo permission denied >&2; exit 1")
    assert runtimes.main() == 1
    said = capsys.readouterr().err
    assert (
        "docker does not work here: permission denied\n  start its daemon" in said
        and "bubblewrap" not in said
    )
    install(machine, "bwrap", "echo bubblewrap 0.8.0")
    assert runtimes.main() == 0


def test_bubblewrap_counts_only_where_it_is_allowed(machine: Path) -> None:
    (machine / "podman").unlink()
    install(machine, "bwrap", "echo bubblewrap 0.8.0")
    assert doctor().exit_code == 1
    assert doctor("--allow-bubblewrap").exit_code == 0


def test_the_worker_needs_a_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESP_API_DESTINATIONS__LOCAL__PYTHON", "/no/python")
    result = doctor("--json")
    assert result.exit_code == 1
    assert "No such file" in found(result, "Python of local")["found"]


def test_a_file_root_that_is_not_there_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESP_API_DESTINATIONS__LOCAL__FILE_ROOTS", '[{path="/no/reads"}]')
    result = doctor("--json")
    assert result.exit_code == 1
    assert "/no/reads" in found(result, "file root of local")["found"]


def test_a_pulsar_that_does_not_answer_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESP_API_DESTINATIONS__FAR__KIND", "rest")
    monkeypatch.setenv("TESP_API_DESTINATIONS__FAR__URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("TESP_API_DESTINATIONS__FAR__PRIVATE_TOKEN", "hush-hush")
    result = doctor("--json")
    assert result.exit_code == 1
    assert found(result, "Pulsar of far")["level"] == "fail"
    assert "hush-hush" not in result.output


def test_a_mongodb_that_is_away_fails_and_its_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESP_API_STORE__URL", f"mongodb://user:hush-hush@127.0.0.1:{free_port()}/")
    result = doctor("--json")
    assert result.exit_code == 1
    store = found(result, "store")
    assert store["level"] == "fail"
    assert "127.0.0.1" in store["found"]
    assert "store.url" in store["mend"]
    assert "hush" not in result.output


def test_a_wrong_url_of_mongodb_fails_without_being_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESP_API_STORE__URL", "mongodb://user:hush/hush@host:port/")
    result = doctor("--json")
    assert "not a usable MongoDB URL" in found(result, "store")["found"]
    assert "hush" not in result.output


@pytest.mark.services
def test_a_mongodb_that_works_is_told(mongod: Mongod, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESP_API_STORE__URL", mongod.url)
    monkeypatch.setenv("TESP_API_STORE__DATABASE", "doctor")
    try:
        result = doctor("--json")
    finally:
        mongod.drop("doctor")
    assert result.exit_code == 0, result.output
    assert found(result, "store")["found"] == "MongoDB, database doctor: opens, reads and writes"


def test_a_gateway_and_its_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("TESP_API_DESTINATIONS__LOCAL__STAGING", "gateway")
    monkeypatch.setenv("TESP_API_DESTINATIONS__LOCAL__GATEWAY_MAX_BYTES", "1000000")
    check = found(doctor("--json"), "gateway of local")
    assert check["level"] == "ok"
    assert "up to 0.0 GB of a task" in check["found"]
    monkeypatch.setenv("TESP_API_DESTINATIONS__LOCAL__GATEWAY_MAX_BYTES", str(10**18))
    result = doctor("--json")
    assert result.exit_code == 0
    assert found(result, "gateway of local")["level"] == "warn"


def test_a_damaged_key_fails_and_an_open_one_is_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "data" / "secret.key"
    file.parent.mkdir()
    file.write_text("no key\n")
    result = doctor("--json")
    assert (result.exit_code, found(result, "server's key")["level"]) == (1, "fail")
    file.write_text("0123456789abcdef" * 4)
    file.chmod(0o644)
    assert found(doctor("--json"), "server's key")["mend"] == f"chmod 600 {file}"
    file.chmod(0o600)
    result = doctor("--json")
    assert found(result, "server's key")["level"] == "ok"
    assert "0123456789abcdef" not in result.output


def test_the_channels_port_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("TESP_API_CHANNEL__PORT", str(port))
        monkeypatch.setenv("TESP_API_CHANNEL__URL", "http://tesp.example.org:8443")
        channels = [
            check for check in json.loads(doctor("--json").stdout)["checks"] if "channel" in check["name"]
        ]
        assert [check["level"] for check in channels] == ["ok", "fail"]
    assert "is free" in doctor().stdout


def test_a_certificate_that_cannot_be_used_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TESP_API_CHANNEL__PORT", str(free_port()))
    monkeypatch.setenv("TESP_API_CHANNEL__URL", "https://tesp.example.org:8443")
    monkeypatch.setenv("TESP_API_CHANNEL__CERTIFICATE", str(tmp_path / "none.pem"))
    result = doctor("--json")
    assert result.exit_code == 1
    assert "channel.certificate" in found(result, "certificate of the channel")["mend"]


def test_secrets_in_the_clear_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESP_API_DESTINATIONS__FAR__KIND", "rest")
    monkeypatch.setenv("TESP_API_DESTINATIONS__FAR__URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("TESP_API_DESTINATIONS__FAR__CHANNEL_URL", "http://tesp.example.org")
    assert found(doctor("--json"), "worker channel of far")["level"] == "warn"


def test_a_broker_that_is_away_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("TESP_API_DESTINATIONS__FAR__KIND", "amqp")
    monkeypatch.setenv("TESP_API_DESTINATIONS__FAR__URL", f"amqp://me:hush-hush@127.0.0.1:{port}/")
    result = doctor("--json")
    assert result.exit_code == 1
    check = found(result, "Pulsar of far")
    assert check["level"] == "fail" and f"127.0.0.1:{port}" in check["found"]
    assert "destinations.far.url" in check["mend"]
    assert "hush" not in result.output


def test_secrets_that_others_can_read_are_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("fedcba9876543210" * 2)
    secret.chmod(0o644)
    monkeypatch.setenv("TESP_API_SECRET_KEY_FILE", str(secret))
    result = doctor("--json")
    assert (result.exit_code, found(result, "secret file")["level"]) == (0, "warn")
    assert str(secret) in found(result, "secret file")["mend"]
    secret.chmod(0o600)
    assert found(doctor("--json"), "secret file")["level"] == "ok"

    file = tmp_path / "settings.toml"
    file.write_text("[default.credentials.a]\nurl_prefix = 'https://a/'\nbearer_token = 'hush-hush'\n")
    monkeypatch.setenv("TESP_API_SETTINGS", str(file))
    file.chmod(0o644)
    result = doctor("--json")
    assert found(result, "settings file")["level"] == "warn"
    assert "hush" not in result.output
    file.chmod(0o640)
    assert found(doctor("--json"), "settings file")["level"] == "ok"


def test_secrets_that_everybody_knows_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESP_API_SECRET_KEY", "0123456789abcdef" * 2)
    result = doctor("--json")
    assert (result.exit_code, found(result, "secrets")["level"]) == (1, "fail")
    assert "secret_key" in found(result, "secrets")["found"]
    monkeypatch.setenv("TESP_API_SECRET_KEY", "fedcba9876543210" * 2)
    monkeypatch.setenv("TESP_API_DESTINATIONS__FAR__KIND", "amqp")
    monkeypatch.setenv("TESP_API_DESTINATIONS__FAR__URL", f"amqp://guest:guest@127.0.0.1:{free_port()}/")
    assert "destinations.far.url" in found(doctor("--json"), "secrets")["found"]


def test_who_can_log_in_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert "only this machine" in found(doctor("--json"), "logins")["found"]
    monkeypatch.setenv("TESP_API_AUTH__OPEN_TO_NETWORK", "true")
    assert found(doctor("--json"), "logins")["level"] == "warn"
    monkeypatch.setenv("TESP_API_AUTH__MODES", '["token", "basic"]')
    result = doctor("--json")
    assert found(result, "logins")["found"] == "by token, basic"
    assert found(result, "users")["mend"] == "tesp user add NAME"


def test_a_workflow_engine_is_not_needed() -> None:
    engine = found(doctor("--json"), "workflow engine cwl")
    assert engine["level"] == "ok"
    assert "`tesp engine install cwl`" in engine["found"]


@pytest.mark.services
def test_a_workflow_engine_needs_a_sandbox_that_starts(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESP_API_WES__ENGINES_DIR", str(engines_folder()))
    engine = found(doctor("--json"), "workflow engine cwl")
    assert engine["level"] == "fail"
    assert "wes.sandbox.allow_unconfined" in engine["mend"]
    install(machine, "bwrap", "echo no namespaces here >&2; exit 1")
    engine = found(doctor("--json"), "workflow engine cwl")
    assert engine["level"] == "fail"
    assert "no namespaces here" in engine["mend"]
    monkeypatch.setenv("PATH", f"{machine}:/usr/bin:/bin")
    (machine / "bwrap").unlink()
    assert found(doctor("--json"), "workflow engine cwl")["found"].startswith("cwltool ")
