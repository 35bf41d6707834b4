"""Docker's witness of what it has mounted: what its client says, and that it leaves nothing behind.

The client is a script here; what real ones do with a real daemon is in the integration tests.
"""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tesp_api.worker import staging
from tesp_api.worker.errors import Canceled, SystemFailure
from tesp_api.worker.mounts import Bind
from tesp_api.worker.process import pid_started
from tesp_api.worker.runtimes.base import Run
from tesp_api.worker.runtimes.docker import Docker

DOCKER = """#!/bin/sh
cd {folder}
echo "$*" >> asked
case $1 in
    run) . ./witness;;
    info) cat info;;
    version) echo 20.10;;
    rm) cat rm; [ ! -s rm ];;
esac
"""


class Site:
    """A machine whose daemon does not see our descriptors, and a shared directory."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.shared = folder, folder / "shared"
        self.shared.mkdir()
        (folder / "job" / "task").mkdir(parents=True)
        (folder / "docker").write_text(DOCKER.format(folder=folder))
        (folder / "docker").chmod(0o700)
        for name in ("asked", "info", "rm"):
            (folder / name).touch()
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        monkeypatch.setenv("DOCKER_HOST", f"unix://{folder}/none")
        self.docker = Docker((), str(folder / "job" / "task"))
        self.told: list[tuple[list[list[str]], int | None, str]] = []

    def witness(self, script: str) -> None:
        (self.folder / "witness").write_text(script)

    def says_the_truth(self) -> str:
        status = self.shared.stat()
        return f"echo {status.st_dev} {status.st_ino}; "

    @property
    def asked(self) -> str:
        return (self.folder / "asked").read_text()

    def bind(self, *, writable: bool) -> Bind:
        return Bind("/in/one", str(self.shared), writable, is_shared=True)

    def run(self, check: Callable[[], None] = lambda: None) -> Run:
        def guard(commands: list[list[str]], pid: int | None) -> None:
            self.told.append((commands, pid, self.asked))

        binds = (self.bind(writable=True),)
        labels = {"tesp.worker": "1:2:3"}
        run = Run("tesp-job-0", labels, "busybox", ("true",), None, {}, False, binds, "none", None, None)
        return run._replace(guard=guard, check=check)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(tmp_path, monkeypatch)


def test_warnings_of_the_client_are_no_testimony(site: Site) -> None:
    site.witness(
        f"echo 'WARNING: no swap limit' >&2; echo another line; {site.says_the_truth()} exec sleep 99"
    )
    launch = site.docker.launch(site.run())
    assert any("type=volume,source=tesp-job-0-0" in one for one in launch.argv)


def test_its_volumes_are_labeled_for_the_sweep(site: Site) -> None:
    site.witness(site.says_the_truth())
    site.docker.launch(site.run())
    assert "volume-label=tesp.worker=1:2:3" in site.asked


@pytest.mark.parametrize("script", ["echo 'no space left' >&2; exit 125", "echo no space left"])
def test_a_witness_that_does_not_start_is_told_from_a_swap(site: Site, script: str) -> None:
    site.witness(script)
    with pytest.raises(SystemFailure, match=r"No container starts .*: no space left") as caught:
        site.docker.launch(site.run())
    assert "replaced" not in str(caught.value)
    assert "rm --force tesp-job-0-witness\nvolume rm --force tesp-job-0-0\n" in site.asked


def test_a_daemon_that_sees_another_directory_is_told_from_a_swap(site: Site) -> None:
    site.witness("echo 1 2")
    with pytest.raises(
        SystemFailure, match=f"/in/one is another one to Docker.*{site.shared} leads elsewhere"
    ):
        site.docker.launch(site.run())
    site.witness(f"mv {site.shared} {site.shared}.old; mkdir {site.shared}; echo 1 2")
    with pytest.raises(SystemFailure, match="/in/one was replaced"):
        site.docker.launch(site.run())


def test_the_watchdog_knows_of_it_before_it_is_made(site: Site) -> None:
    site.witness(f"echo $$ > pid; {site.says_the_truth()} exec sleep 99")
    site.docker.launch(site.run())
    (commands, pid, asked), (same, client, _), *_ = site.told
    assert [command[1:] for command in commands] == [
        ["rm", "--force", "tesp-job-0-witness"],
        ["volume", "rm", "--force", "tesp-job-0-0"],
    ]
    assert (pid, same) == (None, commands) and "run" not in asked
    assert client == int((site.folder / "pid").read_text())
    assert site.told[-1][1] is None and pid_started(client) is None


def test_a_cancel_ends_the_wait_for_it_and_its_client(site: Site) -> None:
    site.witness("echo $$ > pid; exec sleep 99")

    def cancel_once_it_waits() -> None:
        if (site.folder / "pid").exists() and (site.folder / "pid").read_text():
            raise Canceled("canceled on request")

    with pytest.raises(Canceled):
        site.docker.launch(site.run(cancel_once_it_waits))
    assert pid_started(int((site.folder / "pid").read_text())) is None
    assert site.asked.endswith("rm --force tesp-job-0-witness\nvolume rm --force tesp-job-0-0\n")


def settle(site: Site, *, mount: str) -> tuple[Any, list[Bind], list[str]]:
    said: list[str] = []
    order = SimpleNamespace(
        inputs=[SimpleNamespace(path="/in/one", url=f"file://{site.shared}", type="DIRECTORY", content=None)],
        resources=Resources(),
        site=SimpleNamespace(file_roots=(SimpleNamespace(path=str(site.shared), mount=mount),)),
    )
    order._replace = lambda resources: resources
    resources, binds = staging.settle_rooted(cast(Any, order), site.docker, site.run(), said.append)
    return resources, binds, said


class Resources:
    """Of an order."""

    copied_inputs: tuple[str, ...] = ()

    def _replace(self, copied_inputs: tuple[str, ...]) -> tuple[str, ...]:
        return copied_inputs


@pytest.mark.parametrize(
    ("witness", "info", "why"),
    [
        ("echo denied >&2; exit 125", "", "No container starts that says what Docker has mounted: denied"),
        ("echo 1 2", "", "is another one to Docker"),
        ("exit 1", "[name=seccomp,profile=builtin name=selinux]", "SELinux"),
    ],
)
def test_directories_that_docker_cannot_mount_safely_are_copied_or_told(
    site: Site, witness: str, info: str, why: str
) -> None:
    site.witness(witness)
    (site.folder / "info").write_text(info)
    copied, binds, said = settle(site, mount="ro")
    assert (copied, binds) == (("/in/one",), [])
    assert "/in/one is copied" in said[0] and why in said[0]
    asked = site.asked
    with pytest.raises(SystemFailure, match=r"cannot be mounted.*copied_inputs.* to copy") as caught:
        settle(site, mount="rw")
    assert why in str(caught.value) and "Give its directory" not in str(caught.value)
    assert site.asked == asked, "it is tried once"


def test_directories_are_mounted_where_the_witness_sees_them(site: Site) -> None:
    site.witness(site.says_the_truth())
    copied, binds, said = settle(site, mount="rw")
    assert (copied, binds, said) == ((), [site.bind(writable=True)], [])
    assert "-witness\nvolume rm --force" in site.asked


def test_volumes_are_removed_also_if_the_container_is_not(site: Site) -> None:
    site.witness(site.says_the_truth())
    run = site.run()
    site.docker.launch(run)
    (site.folder / "rm").write_text("it is busy\n")
    (site.folder / "asked").write_text("")
    with pytest.raises(SystemFailure, match="it is busy"):
        site.docker.remove(run)
    assert "volume rm --force tesp-job-0-0" in site.asked


def test_nothing_is_left_open(site: Site) -> None:
    site.witness("exit 1")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        assert site.docker._shared._try_directory(site.bind(writable=True), site.run())
    assert len(list(Path("/proc/self/fd").iterdir())) == before
