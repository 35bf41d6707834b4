"""Which runtime the demo chooses, on machines made of fake programs."""

from pathlib import Path

import pytest

from tesp_api.cli.demo.runtime import Choice, choose_runtime
from tesp_api.cli.exits import CommandFailed

DOCKER, BUBBLEWRAP = Choice(["docker"], bubblewrap=False), Choice([], bubblewrap=True)

ANSWERS = 'case "$1" in version) echo 27.0 ;; {cases} *) exit 1 ;; esac'
HAS_IMAGE = ANSWERS.format(cases="image|run) ;;")
CAN_PULL = ANSWERS.format(cases="pull|run) ;;")
NO_IMAGE = ANSWERS.format(cases='pull) echo "no such host" >&2; exit 1 ;;')
CANNOT_RUN = ANSWERS.format(cases='image) ;; run) echo "no cgroups" >&2; exit 125 ;;')


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of all programs that this machine has: none."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def install(machine: Path, name: str, script: str) -> None:
    program = machine / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


@pytest.mark.parametrize("script", [HAS_IMAGE, CAN_PULL])
def test_docker_where_it_runs_the_image(machine: Path, script: str) -> None:
    install(machine, "docker", script)
    assert choose_runtime() == DOCKER


@pytest.mark.parametrize(
    ("script", "reason"),
    [(NO_IMAGE, "no such host"), (CANNOT_RUN, "no cgroups"), ("echo no daemon >&2; exit 1", "no daemon")],
)
def test_bubblewrap_where_docker_cannot_and_why(
    machine: Path, script: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    install(machine, "docker", script)
    install(machine, "bwrap", "echo bubblewrap 0.8.0")
    assert choose_runtime() == BUBBLEWRAP
    assert f"docker: {reason}" in capsys.readouterr().out


def test_podman_where_there_is_no_docker(machine: Path) -> None:
    install(machine, "podman", HAS_IMAGE)
    assert choose_runtime() == Choice(["podman"], bubblewrap=False)


def test_bubblewrap_is_installed_where_there_is_nothing(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    install(machine, "env", 'shift; exec "$@"')
    fresh = f"""
        case "$1 $(/bin/cat {machine}/lists 2>&-)" in
            update*) echo new > {machine}/lists ;;
            "install new") printf '#!/bin/sh\\necho bubblewrap 0.8.0\\n' > {machine}/bwrap
                /bin/chmod +x {machine}/bwrap ;;
            *) echo "no such package" >&2; exit 100 ;;
        esac"""
    install(machine, "apt-get", fresh)
    assert choose_runtime() == BUBBLEWRAP


def test_a_user_without_sudo_is_told_what_to_do(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    install(machine, "apt-get", "exit 1")
    with pytest.raises(CommandFailed, match="apt-get install"):
        choose_runtime()


def test_a_machine_that_forbids_namespaces_is_told_so(machine: Path) -> None:
    install(machine, "bwrap", "echo 'bwrap: No permissions to create new namespace' >&2; exit 1")
    with pytest.raises(CommandFailed, match="No permissions to create new namespace"):
        choose_runtime()
