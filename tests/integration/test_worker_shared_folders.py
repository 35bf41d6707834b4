"""What lies in shared folders is mounted from there, by real engines, and nothing of that is left behind."""

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tesp_api.worker.runtimes.docker_engine import Engine
from tesp_api.worker.runtimes.docker_shared import DockerShared
from tests.integration.test_worker_confinement import SERVICES
from tests.integration.worker_job import WorkerJob, shell, wait_until
from tests.services.containers import require_docker

pytestmark = pytest.mark.services

RUNTIMES = ["docker", "podman", "bubblewrap"]
ALONE = ("unshare", "--mount")
"""Puts the worker into a mount namespace of its own: Docker's daemon does not see its descriptors then."""
USER = "tespsharing"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Shared by all; the operator has mounted something in it."""
    shared, disk = tmp_path / "shared", tmp_path / "disk"
    (shared / "sub" / "inner").mkdir(parents=True)
    disk.mkdir()
    (disk / "deep").write_text("deep\n")
    (shared / "sub" / "key").write_text("key\n")
    subprocess.run(["mount", "--bind", disk, shared / "sub" / "inner"], check=True)
    yield shared
    subprocess.run(["umount", shared / "sub" / "inner"], check=True)


@pytest.fixture
def user() -> Iterator[pwd.struct_passwd]:
    """Who may use Docker, and is not root."""
    subprocess.run(["useradd", "--no-create-home", "--groups", "docker", USER], check=True)
    yield pwd.getpwnam(USER)
    subprocess.run(["userdel", "--force", USER], check=True, capture_output=True)


def make(directory: Path, runtime: str, shared: Path, mount: str, script: str, **more: Any) -> WorkerJob:
    return WorkerJob(
        directory,
        runtime,
        roots=[{"path": str(shared), "mount": mount}],
        inputs=[
            {"path": "/in/alone", "url": f"file://{shared}/sub/key"},
            {"path": "/in/all", "url": f"file://{shared}/sub", "type": "DIRECTORY"},
        ],
        executors=[shell(script), shell("cat /in/alone; ls /in/all")],
        **more,
    )


def told(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout


def nothing_is_left(job: WorkerJob) -> bool:
    """No container, volume, link or mount point of the job."""
    left = [*told("docker", "ps", "-aq", f"--filter=label=tesp.job={job.job_id}").split()]
    left += [
        name for name in told("docker", "volume", "ls", "-q").split() if name.startswith(f"tesp-{job.job_id}")
    ]
    names = {path.name for path in job.directory.iterdir()}
    return not left and names <= {"inputs", "tool_files", "metadata", "outputs", "working"}


@pytest.mark.parametrize("prefix", [(), ALONE], ids=["", "alone"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_files_and_directories_are_mounted_and_changed_in_place(
    tmp_path: Path, folder: Path, runtime: str, prefix: tuple[str, ...]
) -> None:
    SERVICES.get(runtime, lambda: None)()
    script = "cat /in/alone /in/all/key /in/all/inner/deep; echo more >> /in/alone; echo new > /in/all/new"
    job = make(tmp_path / f"job{time.time_ns()}", runtime, folder, "rw", script)
    result = job.run(prefix)
    assert result["state"] == "COMPLETE", (result, job.log("0.stderr"))
    assert job.log("0.stdout") == b"key\nkey\ndeep\n"
    assert job.log("1.stdout") == b"key\nmore\ninner\nkey\nnew\n"
    assert (folder / "sub" / "key").read_text() == "key\nmore\n"
    assert (folder / "sub" / "key").stat().st_nlink == 1
    assert (folder / "sub" / "inner" / "deep").read_text() == "deep\n", "what is mounted there is there still"
    assert nothing_is_left(job)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_may_only_be_read_stays_as_it_is(tmp_path: Path, folder: Path, runtime: str) -> None:
    SERVICES.get(runtime, lambda: None)()
    script = (
        "cat /in/alone /in/all/inner/deep; echo x > /in/alone || echo no; echo x > /in/all/new || echo no"
    )
    job = make(tmp_path / f"job{time.time_ns()}", runtime, folder, "ro", script)
    assert job.run()["state"] == "COMPLETE"
    assert job.log("0.stdout") == b"key\ndeep\nno\nno\n"
    assert sorted(path.name for path in (folder / "sub").iterdir()) == ["inner", "key"]
    assert (folder / "sub" / "key").read_text() == "key\n"


@pytest.fixture
def telling(tmp_path: Path) -> Iterator[Path]:
    """A folder of whose mounts the namespaces tell each other, as systemd has it."""
    shared, disk = tmp_path / "telling", tmp_path / "disk"
    (shared / "inner").mkdir(parents=True)
    disk.mkdir()
    (disk / "deep").write_text("deep\n")
    subprocess.run(["mount", "--bind", shared, shared], check=True)
    subprocess.run(["mount", "--make-shared", shared], check=True)
    subprocess.run(["mount", "--bind", disk, shared / "inner"], check=True)
    yield shared
    subprocess.run(["umount", "--recursive", shared], check=True)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_end_of_a_container_unmounts_nothing_of_the_host(
    tmp_path: Path, telling: Path, runtime: str
) -> None:
    SERVICES.get(runtime, lambda: None)()
    before = Path("/proc/self/mountinfo").read_text().count(str(telling))
    job = WorkerJob(
        tmp_path / f"job{time.time_ns()}",
        runtime,
        roots=[{"path": str(telling), "mount": "rw"}],
        inputs=[{"path": "/in", "url": f"file://{telling}", "type": "DIRECTORY"}],
        executors=[shell("cat /in/inner/deep")],
    )
    assert (job.run()["state"], job.log("0.stdout")) == ("COMPLETE", b"deep\n")
    assert (telling / "inner" / "deep").exists()
    assert Path("/proc/self/mountinfo").read_text().count(str(telling)) == before


@pytest.mark.parametrize("prefix", [(), ALONE], ids=["", "alone"])
def test_a_worker_that_is_killed_leaves_nothing(
    tmp_path: Path, folder: Path, prefix: tuple[str, ...]
) -> None:
    require_docker()
    job = make(tmp_path / f"job{time.time_ns()}", "docker", folder, "rw", "echo up; sleep 600")
    process = job.start(prefix)
    wait_until(lambda: job.log("0.stdout"))
    assert not nothing_is_left(job)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=10)
    wait_until(lambda: nothing_is_left(job))
    assert (folder / "sub" / "key").stat().st_nlink == 1
    assert (folder / "sub" / "inner" / "deep").exists()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A shared folder on another file system than the jobs, with a file in it."""
    shared = tmp_path / "elsewhere"
    shared.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", shared], check=True)
    (shared / "key").write_text("key\n")
    yield shared
    subprocess.run(["umount", shared], check=True)


def read_and_change(directory: Path, shared: Path, mount: str, **more: Any) -> WorkerJob:
    return WorkerJob(
        directory,
        "docker",
        roots=[{"path": str(shared), "mount": mount}],
        inputs=[{"path": "/in/key", "url": f"file://{shared}/key"}],
        executors=[shell("cat /in/key; echo x > /in/key || true")],
        **more,
    )


def mounts_parts(folder: Path) -> bool:
    """Whether this machine's Docker mounts single files out of volumes: from 26 on."""
    require_docker()
    return DockerShared("docker", str(folder), Engine())._mounts_parts()


@pytest.mark.parametrize("mount", ["ro", "rw"])
def test_a_newer_docker_mounts_it_from_another_file_system(
    tmp_path: Path, elsewhere: Path, mount: str
) -> None:
    if not mounts_parts(tmp_path):
        pytest.skip("this Docker is older than 26")
    job = read_and_change(tmp_path / "job", elsewhere, mount)
    result = job.run()
    assert (result["state"], job.log("0.stdout")) == ("COMPLETE", b"key\n"), result
    assert (elsewhere / "key").read_text() == ("x\n" if mount == "rw" else "key\n")
    assert nothing_is_left(job)


def test_a_file_that_docker_cannot_mount_is_copied_where_it_may_only_be_read(
    tmp_path: Path, elsewhere: Path
) -> None:
    if mounts_parts(tmp_path):
        pytest.skip("this Docker can")
    job = read_and_change(tmp_path / "job", elsewhere, "ro")
    result = job.run()
    assert (result["state"], job.log("0.stdout")) == ("COMPLETE", b"key\n")
    assert any("/in/key is copied" in line and "cross-device" in line for line in result["system_logs"])
    assert result["inputs"][0]["sha256"] and (elsewhere / "key").read_text() == "key\n"


def test_one_that_may_be_written_is_copied_only_if_the_task_asks_for_it(
    tmp_path: Path, elsewhere: Path
) -> None:
    if mounts_parts(tmp_path):
        pytest.skip("this Docker can mount it")
    refused = read_and_change(tmp_path / "job1", elsewhere, "rw").run()
    assert refused["state"] == "SYSTEM_ERROR" and "copied_inputs" in refused["reason"], refused
    asking = {"backend_parameters": {"copied_inputs": '["/in/key"]'}}
    job = read_and_change(tmp_path / "job2", elsewhere, "rw", resources=asking)
    assert (job.run()["state"], job.log("0.stdout")) == ("COMPLETE", b"key\n")
    assert (elsewhere / "key").read_text() == "key\n"


def test_shared_files_keep_their_owner_and_mode(user: pwd.struct_passwd) -> None:
    """An ordinary user's worker links its own, copies others', and takes over what is left of root's."""
    require_docker()
    home = Path(f"/var/tmp/tesp-test-{time.time_ns()}")
    shared = home / "shared"
    shared.mkdir(parents=True)
    try:
        for name, owner, mode in (("mine", user.pw_uid, 0o200), ("roots", 0, 0o644)):
            (shared / name).write_text(f"{name}\n")
            os.chown(shared / name, owner, owner)
            (shared / name).chmod(mode)
        job = WorkerJob(
            home / "job",
            "docker",
            roots=[{"path": str(shared), "mount": "ro"}],
            inputs=[{"path": f"/in/{name}", "url": f"file://{shared}/{name}"} for name in ("mine", "roots")],
            outputs=[{"path": "/out", "url": f"{home}/sent", "type": "DIRECTORY"}],
            site={"file_roots": [{"path": str(shared), "mount": "ro"}, {"path": str(home), "mount": "copy"}]},
            executors=[shell("umask 077; cat /in/mine /in/roots > /out/both")],
        )
        for path in (home, job.directory, *job.directory.rglob("*")):
            os.chown(path, user.pw_uid, user.pw_gid)
        job.command = lambda: ["/usr/bin/python3", *WorkerJob.command(job)[1:]]  # type: ignore[method-assign]
        result = job.run(("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups"))
        assert result["state"] == "COMPLETE", (result, job.log("0.stderr"))
        assert (home / "sent" / "both").read_text() == "mine\nroots\n"
        statuses = [(shared / name).stat() for name in ("mine", "roots")]
        assert [status.st_uid for status in statuses] == [user.pw_uid, 0]
        assert [status.st_mode & 0o777 for status in statuses] == [0o200, 0o644]
        told_so = any("copied" in line and "/in/roots" in line for line in result["system_logs"])
        assert told_so != mounts_parts(home)
        assert nothing_is_left(job)
    finally:
        shutil.rmtree(home)
