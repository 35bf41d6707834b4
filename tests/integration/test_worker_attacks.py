"""What a hostile program tries in its container, and hostile texts on the way there; real containers."""

import os
import tempfile
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tesp_api.worker.errors import SystemFailure
from tesp_api.worker.mounts import Bind
from tesp_api.worker.runtimes.shared import open_unmoved
from tests.integration.test_worker_confinement import CONFINED, SERVICES
from tests.integration.worker_job import WorkerJob, shell
from tests.services.file_server import FileServer

pytestmark = pytest.mark.services

RUNTIMES = ["docker", "podman", "bubblewrap"]
OUT = "BROKE OUT"
SECRET = "of-the-worker-alone"

ATTACKS = {
    "the engine's socket": (
        "ls /run/docker.sock /var/run/docker.sock /run/podman/podman.sock | grep . && {out}"
    ),
    "a mount": "mkdir -p /tmp/m; mount -t tmpfs none /tmp/m && {out}; mount -t proc none /tmp/m && {out}",
    "a remount of the system": "mount -o remount,rw /usr && {out}; mount -o remount,rw / && {out}",
    "a disk of the host": (
        "mknod /tmp/d b 8 0 && {out}; mknod /tmp/v b 254 0 && {out};"
        " ls /dev/sda /dev/vda /dev/mem | grep . && {out}"
    ),
    "a process of the host": "kill -0 {pid} && {out}; test -e /proc/{pid}/cmdline && {out}",
    "files of the host": (
        "cat {secret} /proc/1/root{secret} /proc/1/cwd/{secret} /proc/self/root{secret}"
        " | grep {word} && {out}"
    ),
    "the worker's environment": (
        "cat /proc/*/environ | tr '\\0' '\\n' | grep {word} && {out}; env | grep {word} && {out}"
    ),
    "the worker's files": "test -e {job}/tool_files && {out}; test -e {job}/metadata && {out}",
    "settings of the kernel": (
        "for f in /proc/sys/kernel/core_pattern /proc/sys/vm/swappiness;"
        " do (cat $f > /tmp/was && cat /tmp/was > $f) && {out}; done"
    ),
    "the kernel's own keys": "(echo h > /proc/sysrq-trigger) && {out}",
    "control groups": (
        "for g in $(grep ' cgroup' /proc/mounts | cut -d' ' -f2); do"
        " mkdir $g/evil && {out}; (echo x > $g/release_agent) && {out}; done"
    ),
    "the host's name": "hostname evil && {out}; (echo evil > /proc/sys/kernel/hostname) && {out}",
    "a new root": "chroot /proc/1/root cat {secret} | grep {word} && {out}",
    "namespaces of its own": "unshare -m true && {out}; unshare -U -r mount -t tmpfs none /mnt && {out}",
    "capabilities by a user namespace": "unshare -U -r grep 'CapEff:.*[1-9a-f]' /proc/self/status && {out}",
    "more privileges": "grep -q 'NoNewPrivs:.*1' /proc/self/status || {out}",
    "a server on the host": "busybox wget -q -T 2 -O - http://127.0.0.1:{port}/ && {out}",
    "the cloud's metadata": "busybox wget -q -T 2 -O - http://169.254.169.254/ && {out}",
}


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadingHTTPServer]:
    with FileServer() as running:
        running.files["/"] = b"hello"
        yield running


@pytest.fixture(scope="module", params=RUNTIMES)
def said(
    request: pytest.FixtureRequest, server: ThreadingHTTPServer, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """What each attack printed, in one task of a runtime; each is an executor."""
    SERVICES.get(request.param, lambda: None)()
    folder = tmp_path_factory.mktemp("attacks")
    secret = folder / "secret"
    secret.write_text(SECRET)
    words: dict[str, Any] = {"secret": secret, "word": SECRET, "job": folder / "job", "out": f"echo {OUT}"}
    words |= {"pid": os.getpid(), "port": server.server_port}
    job = WorkerJob(
        folder / "job",
        request.param,
        executors=[shell(script.format(**words) + "; true") for script in ATTACKS.values()],
        site={"confinement": CONFINED},
    )
    result = job.run(("env", f"TOP_SECRET={SECRET}"))
    assert result["state"] == "COMPLETE", result
    return {
        name: (job.log(f"{number}.stdout") + job.log(f"{number}.stderr")).decode(errors="replace")
        for number, name in enumerate(ATTACKS)
    }


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_program_breaks_out(said: dict[str, str], attack: str) -> None:
    assert OUT not in said[attack], said[attack]
    assert SECRET not in said[attack]


PAYLOADS = [
    *("$(touch {mark})", "`touch {mark}`", "; touch {mark} ;", "| touch {mark}", "\n touch {mark}\n"),
    *("&& touch {mark}", "--privileged", "-v/:/host", "--rm", "--", "-", "--env=LD_PRELOAD=/x", "*", "~"),
    *("--mount=type=bind,source=/,target=/h", "${{HOME}}", "%s%n", "{{{{.ID}}}}", "a,readonly", 'a"b', "a'b"),
    *("a\\b", "a=b:c", "\u202e", "\x1b[2J", ""),
]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_texts_are_taken_letter_by_letter(tmp_path: Path, runtime: str) -> None:
    SERVICES.get(runtime, lambda: None)()
    mark, shared = tmp_path / "mark", tmp_path / "sh,ar'ed $(touch x)"
    shared.mkdir()
    words = [text.format(mark=mark) for text in PAYLOADS]
    env = {f"V{number}": text for number, text in enumerate(words)}
    odd = '/w/$(touch m),readonly;"x" --privileged'
    script = 'for a in "$@"; do printf "%s\\0" "$a"; done; pwd > place; i=0; printf "%s\\0" {values}'
    values = " ".join(f'"$V{number}"' for number in range(len(words)))
    job = WorkerJob(
        tmp_path / "job",
        runtime,
        roots=[{"path": str(shared), "mount": "rw"}],
        volumes=[odd, "/v;touch m"],
        inputs=[
            {"path": f"{odd}/in", "content": "$(touch m)"},
            {"path": "/sh,ar ed", "url": str(shared), "type": "DIRECTORY"},
        ],
        outputs=[
            {"path": f"{odd}/place", "url": f"{shared}/pl'ace\"$(touch m)"},
            {"path": "/sh,ar ed/--x", "url": f"{shared}/-y"},
        ],
        executors=[
            {
                "image": "busybox:latest",
                "command": ["/bin/sh", "-c", script.format(values=values), "sh", *words],
                "workdir": odd,
                "env": env,
                "stdout": "/v;touch m/out $(touch m)",
            },
            shell("cat '/v;touch m/out $(touch m)'; echo y > '/sh,ar ed/--x'"),
        ],
    )
    result = job.run()
    assert result["state"] == "COMPLETE", (result, job.log("0.stderr"), job.log("1.stderr"))
    expected = [word.encode() for word in words]
    assert job.log("0.stdout").split(b"\0")[:-1] == [*expected, *expected]
    assert job.log("1.stdout") == job.log("0.stdout")
    assert (shared / "pl'ace\"$(touch m)").read_text() == f"{odd}\n"
    assert (shared / "-y").read_text() == "y\n"
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"job", shared.name} and not (job.directory / "working" / "m").exists()


def test_a_link_that_is_there_already_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "link").symlink_to("one")
    for source in ("link", "link/x", "nothing"):
        with pytest.raises(SystemFailure, match="What is mounted at /x was replaced"):
            open_unmoved([Bind("/y", str(tmp_path / "one")), Bind("/x", str(tmp_path / source))])


@pytest.fixture
def secret() -> Iterator[Path]:
    """A file of the host, below no folder of which containers have one of their own."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        file = Path(folder) / "key"
        file.write_text(SECRET)
        yield file


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_no_link_that_a_pattern_finds_leads_to_the_host(tmp_path: Path, secret: Path, runtime: str) -> None:
    SERVICES.get(runtime, lambda: None)()
    sent = tmp_path / "sent"
    script = (
        f"cd /out; echo mine > real; ln -s real near; ln -s {secret} far; ln -s /etc/passwd system;"
        f" ln -s {secret.parent} dir; ln -s / all; ln -s ../../../../../..{secret.parent} up;"
        " ln -s self self; mkfifo pipe"
    )
    patterns = ("/out/*", "/out/*/key", f"/out/all{secret.parent}/*", "/out/up/k*", "/out/??r/*")
    for number, pattern in enumerate(patterns):
        job = WorkerJob(
            tmp_path / f"job{number}",
            runtime,
            roots=[{"path": str(sent), "mount": "copy"}],
            executors=[shell(script)],
            outputs=[{"path": pattern, "path_prefix": "/out", "url": str(sent)}],
        )
        result = job.run()
        assert result["state"] == ("COMPLETE" if number == 0 else "SYSTEM_ERROR"), result
        assert SECRET not in str(result)
    files = {path.name: path.read_text() for path in sent.rglob("*") if path.is_file()}
    assert files == {"real": "mine\n", "near": "mine\n"}


@pytest.mark.parametrize("stream", ["stdin", "stdout", "stderr"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_no_stream_goes_through_a_link_to_the_host(
    tmp_path: Path, secret: Path, runtime: str, stream: str
) -> None:
    SERVICES.get(runtime, lambda: None)()
    speaking = shell("cat; echo spoilt; echo spoilt >&2", **{stream: "/v/x"})
    job = WorkerJob(
        tmp_path / "job", runtime, volumes=["/v"], executors=[shell(f"ln -s {secret} /v/x"), speaking]
    )
    result = job.run()
    assert result["state"] == "SYSTEM_ERROR" and "/v/x" in result["reason"], result
    assert SECRET.encode() not in job.log("1.stdout")
    assert secret.read_text() == SECRET


def test_what_is_packed_is_not_unpacked(tmp_path: Path) -> None:
    """A few bytes that a browser would make gigabytes of are stored as they came."""
    with FileServer() as files:
        files.files["/bomb.gz"] = bomb = b"\x1f\x8b\x08\x00" + b"\0" * 100
        files.more_headers["Content-Encoding"] = "gzip"
        job = WorkerJob(
            tmp_path / "job",
            "bubblewrap",
            inputs=[{"path": "/in/x", "url": f"{files.url}/bomb.gz"}],
            executors=[shell("wc -c < /in/x")],
        )
        assert job.run()["state"] == "COMPLETE"
    assert int(job.log("0.stdout")) == len(bomb)
