"""The worker's executors, on real runtimes: exit codes, streams, environment, limits, cancel, death."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from tests.integration.worker_job import WorkerJob, shell, wait_until
from tests.services.containers import require_docker, require_podman

pytestmark = pytest.mark.services

SERVICES = {"docker": require_docker, "podman": require_podman}


@pytest.fixture(params=["bubblewrap", "docker", "docker by its program", "podman"])
def runtime(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name, *by_program = request.param.split(" ")
    if name in SERVICES:
        SERVICES[name]()
    if by_program:  # it has something to tell the daemon that a worker does not
        folder = tmp_path / "configuration"
        folder.mkdir()
        (folder / "config.json").write_text('{"HttpHeaders": {"X-Site": "ours"}}')
        monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    return str(name)


@pytest.fixture
def docker() -> str:
    require_docker()
    return "docker"


def make(tmp_path: Path, runtime: str, **task: object) -> WorkerJob:
    return WorkerJob(tmp_path / f"job-{time.time_ns()}", runtime, **task)  # type: ignore[arg-type]


def containers(job: WorkerJob, program: str = "docker") -> str:
    listed = subprocess.run(
        [program, "ps", "-aq", "--filter", f"label=tesp.job={job.job_id}"], capture_output=True, check=True
    )
    return listed.stdout.decode()


def test_a_task_runs_its_executors_in_order_with_shared_volumes(tmp_path: Path, runtime: str) -> None:
    job = make(
        tmp_path,
        runtime,
        volumes=["/vol"],
        executors=[
            shell("echo one; echo oops >&2; cat /in/a > /vol/a; echo t > /tmp/t; pwd", workdir="/made/here"),
            shell("cat /vol/a /tmp/t"),
        ],
        inputs=[{"path": "/in/a", "content": "grüße\n"}],
    )
    result = job.run()
    assert result["state"] == "COMPLETE", result
    assert [entry["exit_code"] for entry in result["executors"]] == [0, 0]
    assert job.log("0.stdout") == b"one\n/made/here\n"
    assert job.log("0.stderr") == b"oops\n"
    assert job.log("1.stdout") == "grüße\nt\n".encode()
    ran = ["executor_started", "executor_ended"]
    assert job.event_names() == ["initializing", *ran, *ran, "staging_out", "ended"]
    assert result["metadata"]["runtime"].startswith(runtime)


def test_a_failing_executor_stops_the_task_but_outputs_that_exist_are_sent(
    tmp_path: Path, runtime: str
) -> None:
    job = make(
        tmp_path,
        runtime,
        roots=[{"path": str(tmp_path), "mount": "copy"}],
        executors=[shell("echo kept > /out/kept; exit 3"), shell("echo never")],
        outputs=[{"path": f"/out/{name}", "url": f"{tmp_path}/sent/{name}"} for name in ("kept", "lost")],
    )
    result = job.run()
    assert result["state"] == "EXECUTOR_ERROR"
    assert [entry["exit_code"] for entry in result["executors"]] == [3]
    assert (tmp_path / "sent" / "kept").read_text() == "kept\n"
    assert any("/out/lost" in line for line in result["system_logs"])


def test_ignored_errors_do_not_stop_the_task(tmp_path: Path) -> None:
    job = make(tmp_path, "bubblewrap", executors=[shell("exit 4", ignore_error=True), shell("echo on")])
    result = job.run()
    assert (result["state"], job.log("1.stdout")) == ("COMPLETE", b"on\n")
    assert [entry["exit_code"] for entry in result["executors"]] == [4, 0]


@pytest.mark.parametrize(("command", "code"), [("no-such-program", 127), ("/etc", 126)])
def test_a_command_that_cannot_run_has_the_shell_s_exit_code(
    tmp_path: Path, runtime: str, command: str, code: int
) -> None:
    job = make(tmp_path, runtime, executors=[{"image": "busybox:latest", "command": [command]}])
    result = job.run()
    assert (result["state"], result["executors"][0]["exit_code"]) == ("EXECUTOR_ERROR", code), result


def test_odd_environment_values_arrive_unchanged(tmp_path: Path, runtime: str) -> None:
    env = {
        "SPACES": "  a b  ",
        "QUOTES": 'it\'s "so"',
        "LINES": "one\ntwo\n",
        "DOLLAR": "$HOME `id` $(id)",
        "EQUALS": "a=b=c",
        "EMPTY": "",
        "LD_ODD": "one\ntwo",
    }
    script = "".join(f'printf "%s|" "${name}"; ' for name in env)
    job = make(tmp_path, runtime, executors=[shell(script, env=env)])
    assert job.run()["state"] == "COMPLETE"
    assert job.log("0.stdout").decode() == "".join(f"{value}|" for value in env.values())


def test_no_value_of_the_environment_shows_in_the_process_list(tmp_path: Path, docker: str) -> None:
    env = {"TOKEN": "secret-one-line", "KEY": "secret\nof lines"}
    job = make(tmp_path, docker, executors=[shell("echo up; sleep 60", env=env)])
    process = job.start()
    wait_until(lambda: job.log("0.stdout"))
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, check=True).stdout
    job.cancel()
    process.communicate(timeout=30)
    assert b"secret" not in listed


def test_bytes_that_are_no_utf_8_reach_the_log(tmp_path: Path, runtime: str) -> None:
    job = make(tmp_path, runtime, executors=[shell(r"printf '\377\000\376'")])
    assert job.run()["state"] == "COMPLETE"
    assert job.log("0.stdout") == b"\xff\x00\xfe"


def test_stdin_and_stdout_are_files_of_the_container(tmp_path: Path, runtime: str) -> None:
    job = make(
        tmp_path,
        runtime,
        inputs=[{"path": "/in/text", "content": "b\na\n"}],
        executors=[
            {
                "image": "busybox:latest",
                "command": ["sort"],
                "stdin": "/in/text",
                "stdout": "/new/dir/sorted",
            },
            {"image": "busybox:latest", "command": ["cat"], "stdin": "/new/dir/sorted"},
        ],
    )
    assert job.run()["state"] == "COMPLETE"
    assert job.log("0.stdout") == job.log("1.stdout") == b"a\nb\n"


def test_a_missing_stdin_file_is_named(tmp_path: Path) -> None:
    job = make(tmp_path, "bubblewrap", executors=[shell("cat", stdin="/tmp/none")])
    result = job.run()
    assert result["state"] == "SYSTEM_ERROR"
    assert "/tmp/none" in result["reason"]


def test_a_long_log_keeps_its_head_and_tail(tmp_path: Path) -> None:
    script = "seq 1 100000"
    job = make(
        tmp_path,
        "bubblewrap",
        site={"log_max_bytes": 8192, "log_chunk_bytes": 1024},
        executors=[shell(script)],
    )
    result = job.run()
    kept = job.log("0.stdout")
    assert kept.startswith(b"1\n2\n") and kept.endswith(b"99999\n100000\n")
    assert len(kept) <= 8192
    assert result["executors"][0]["stdout_bytes"] == 588895
    assert any("0.stdout" in line for line in result["system_logs"])


def test_cancel_ends_the_container_at_once(tmp_path: Path, runtime: str) -> None:
    job = make(tmp_path, runtime, executors=[shell("echo up; sleep 600")])
    process = job.start()
    wait_until(lambda: job.log("0.stdout"))
    job.cancel()
    process.communicate(timeout=5)
    assert job.result()["state"] == "CANCELED"
    assert not (job.directory / "task").exists()
    if runtime != "bubblewrap":
        assert containers(job, runtime) == ""


def test_a_task_canceled_before_it_began_runs_nothing(tmp_path: Path) -> None:
    job = make(tmp_path, "bubblewrap", executors=[shell("echo ran")])
    job.metadata.mkdir(parents=True)
    job.cancel()
    assert job.run()["state"] == "CANCELED"
    assert job.log("0.stdout") == b""


def test_a_second_worker_touches_nothing(tmp_path: Path) -> None:
    job = make(tmp_path, "bubblewrap", executors=[shell("echo once")])
    before = job.run()
    second = job.start()
    printed, _ = second.communicate(timeout=10)
    assert (second.returncode, printed.count(b"\n")) == (0, 1)
    assert job.result() == before
    assert job.log("0.stdout") == b"once\n"


def test_killing_the_worker_leaves_no_container_and_no_files(tmp_path: Path, runtime: str) -> None:
    job = make(tmp_path, runtime, executors=[shell("echo up; sleep 600")], volumes=["/vol"])
    process = job.start()
    wait_until(lambda: job.log("0.stdout"))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=10)
    wait_until(lambda: not (job.directory / "task").exists())
    if runtime != "bubblewrap":
        assert containers(job, runtime) == ""


def test_a_worker_sweeps_what_dead_workers_left(tmp_path: Path, docker: str) -> None:
    job = make(tmp_path, docker, executors=[shell("sleep 3")])
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    space = str(Path("/proc/self/ns/pid").readlink()).strip("pid:[]")
    started = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    left = {}
    for name, worker in (("dead", f"{os.getpid()}:1:"), ("live", f"{os.getpid()}:{started}:")):
        label = f"--label=tesp.worker={worker}{boot}/{space}"
        done = subprocess.run(
            ["docker", "run", "-d", label, "--network=none", "busybox:latest", "sleep", "60"],
            capture_output=True,
            check=True,
        )
        left[name] = done.stdout.decode().strip()
    try:
        job.run()
        running = subprocess.run(
            ["docker", "ps", "-q", "--no-trunc"], capture_output=True, check=True
        ).stdout.decode()
        assert left["dead"] not in running
        assert left["live"] in running
    finally:
        subprocess.run(["docker", "rm", "-f", *left.values()], capture_output=True, check=False)


@pytest.mark.parametrize("runtime_name", ["docker", "bubblewrap"])
def test_a_task_over_its_memory_limit_is_killed_and_told_so(
    tmp_path: Path, docker: str, runtime_name: str
) -> None:
    eat = "x=a; while true; do x=$x$x; done"
    job = make(
        tmp_path,
        runtime_name,
        resources={"ram_gb": 0.02},
        executors=[{"image": "busybox:latest", "command": ["sh", "-c", eat]}],
    )
    result = job.run()
    assert result["state"] == "EXECUTOR_ERROR"
    assert result["executors"][0]["exit_code"] == 137
    assert any("memory limit" in line for line in result["system_logs"]), result


def test_an_image_that_cannot_be_pulled_is_a_system_error(tmp_path: Path, docker: str) -> None:
    job = make(
        tmp_path,
        docker,
        executors=[{"image": "127.0.0.1:1/no/such:image", "command": ["true"]}],
    )
    result = job.run()
    assert result["state"] == "SYSTEM_ERROR"
    assert "127.0.0.1:1/no/such:image" in result["reason"]


def test_a_runtime_s_own_failure_is_a_system_error(tmp_path: Path, docker: str) -> None:
    site = {"runtime_args": {"docker": ["--no-such-option"]}}
    result = make(tmp_path, docker, site=site, executors=[shell("echo")]).run()
    assert result["state"] == "SYSTEM_ERROR"
    assert "no-such-option" in result["reason"]


def test_no_runtime_at_all_is_explained(tmp_path: Path) -> None:
    result = make(tmp_path, "apptainer", executors=[shell("echo")]).run()
    assert result["state"] == "SYSTEM_ERROR"
    assert "apptainer" in result["reason"] and "runtimes" in result["reason"]


def test_the_sandbox_hides_the_host(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("PYTHON")
    script = f"cat {secret} /etc/shadow /proc/1/environ; ls /root /var/run /home; ls -A / ; env"
    job = make(tmp_path, "bubblewrap", executors=[shell(script)])
    result = job.run()
    seen = job.log("0.stdout")
    assert not any(
        part in seen for part in (b"root:x:", b"root:*:", b"docker.sock", b"PYTHON", b"PYENV", b"work")
    )
    assert any("NOT used" in line for line in result["system_logs"])


def test_the_sandbox_has_no_capabilities_also_under_root(tmp_path: Path) -> None:
    job = make(tmp_path, "bubblewrap", executors=[shell("grep CapEff: /proc/self/status")])
    assert job.run()["state"] == "COMPLETE"
    assert job.log("0.stdout").split() == [b"CapEff:", b"0" * 16]


def test_no_output_goes_to_a_device_that_a_container_made(tmp_path: Path, docker: str) -> None:
    """/dev/full, made in a volume: the worker may open what the container may only name."""
    executors = [shell("mknod /vol/out c 1 7"), shell("echo hello", stdout="/vol/out")]
    result = make(tmp_path, docker, volumes=["/vol"], executors=executors).run()
    assert result["executors"][0]["exit_code"] == 0
    assert result["reason"] == "Cannot open the executor's stdout file /vol/out: not a regular file"


def test_the_site_s_sigterm_may_reach_the_executor_first(tmp_path: Path) -> None:
    job = make(tmp_path, "bubblewrap", executors=[shell("echo up; exec sleep 600")])
    process = job.start()
    wait_until(lambda: job.log("0.stdout"))
    of_the_job = psutil.Process(process.pid).children(recursive=True)
    next(one for one in of_the_job if one.name() == "sleep").terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.3)
    process.terminate()
    process.communicate(timeout=10)
    assert "SIGTERM" in job.result()["reason"]
    assert job.result()["state"] == "SYSTEM_ERROR", "the executor is to blame for nothing"


def test_the_site_s_sigterm_ends_with_a_result(tmp_path: Path) -> None:
    job = make(tmp_path, "bubblewrap", executors=[shell("echo up; sleep 600")])
    process = job.start()
    wait_until(lambda: job.log("0.stdout"))
    process.terminate()
    process.communicate(timeout=5)
    assert job.result()["state"] == "SYSTEM_ERROR"
    assert "SIGTERM" in job.result()["reason"]
    assert [entry["exit_code"] for entry in job.result()["executors"]] == [137], "its log is shown"


def test_the_bell_and_the_heartbeat_tell_what_there_is_to_read(tmp_path: Path) -> None:
    name = f"tesp-test-{time.time_ns()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell:
        bell.bind("\0" + name)
        bell.settimeout(10)
        job = make(tmp_path, "bubblewrap", site={"bell": name}, executors=[shell("echo up; sleep 600")])
        process = job.start()
        wait_until(lambda: bell.recv(100) == job.job_id.encode() and job.log("0.stdout"))
        beat = wait_until(lambda: (found := job.heartbeat())["logs"] and found)
        assert beat["logs"] == {"0.stdout": 3}
        assert beat["events_bytes"] == (job.metadata / "events.ndjson").stat().st_size
        assert not beat["ended"]
        wait_until(lambda: job.heartbeat()["beat"] > beat["beat"], timeout_s=5)  # heartbeat_s is 2
        job.cancel()
        process.communicate(timeout=5)
    assert job.heartbeat()["ended"]


def test_cpu_limits_are_real_in_the_sandbox_or_said_not_to_be(tmp_path: Path) -> None:
    spin = "echo up; sleep 600"
    job = make(tmp_path, "bubblewrap", resources={"cpu_cores": 1, "ram_gb": 1}, executors=[shell(spin)])
    process = job.start()
    wait_until(lambda: job.log("0.stdout"))
    quotas = [path.read_text() for path in Path("/sys/fs/cgroup").rglob(f"tesp-{job.job_id}-0/cpu.*quota*")]
    quotas += [path.read_text() for path in Path("/sys/fs/cgroup").rglob(f"tesp-{job.job_id}-0/cpu.max")]
    job.cancel()
    process.communicate(timeout=5)
    said = any("not enforced" in line for line in job.result()["system_logs"])
    assert said or [quota.split()[0] for quota in quotas] == ["100000"]
    assert not list(Path("/sys/fs/cgroup").rglob(f"tesp-{job.job_id}-0"))
