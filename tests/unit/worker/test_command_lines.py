"""The exact command lines of the runtimes, and that no user string can be an option."""

import csv
from types import SimpleNamespace
from typing import Any

import pytest

from tesp_api.worker.errors import SystemFailure
from tesp_api.worker.mounts import Bind
from tesp_api.worker.order import Confinement
from tesp_api.worker.ownership import helper_arguments
from tesp_api.worker.runtimes import apptainer, bubblewrap, docker, identity
from tesp_api.worker.runtimes.base import Run, mount_option
from tesp_api.worker.runtimes.environment import split_environment
from tesp_api.worker.runtimes.identity import user_of
from tesp_api.worker.runtimes.podman import workdir_options

LEAST = Run(
    name="tesp-j-0",
    labels={"tesp.job": "j", "tesp.task": "t"},
    image="alpine",
    command=("echo", "--rm"),
    workdir=None,
    env={},
    with_stdin=False,
    binds=(Bind("/tmp", "/job/tmp"),),
    network="default",
    cpus=None,
    memory_bytes=None,
)
MOST = LEAST._replace(
    workdir="/work",
    with_stdin=True,
    network="none",
    cpus=2,
    memory_bytes=2_000_000_000,
    binds=(Bind("/tmp", "/job/tmp"), Bind("/in/x", "/share/x", writable=False, is_file=True)),
    env={"A": "1"},
)


def test_docker_with_least() -> None:
    assert docker.run_arguments(LEAST, None, [], []) == [
        "run",
        "--name=tesp-j-0",
        "--log-driver=none",
        "--label=tesp.job=j",
        "--label=tesp.task=t",
        "--mount=type=bind,source=/job/tmp,target=/tmp",
        "alpine",
        "echo",
        "--rm",
    ]


def test_docker_with_everything() -> None:
    assert docker.run_arguments(MOST, "/job/env", ["--env=B"], ["--runtime", "runc"]) == [
        "run",
        "--name=tesp-j-0",
        "--log-driver=none",
        "--label=tesp.job=j",
        "--label=tesp.task=t",
        "--network=none",
        "--interactive",
        "--workdir=/work",
        "--cpus=2",
        "--memory=2000000000",
        "--memory-swap=2000000000",
        "--env-file=/job/env",
        "--env=B",
        "--mount=type=bind,source=/job/tmp,target=/tmp",
        "--mount=type=bind,source=/share/x,target=/in/x,readonly",
        "--runtime",
        "runc",
        "alpine",
        "echo",
        "--rm",
    ]


STRICT = Confinement(
    pids_max=100, capabilities=("CHOWN", "KILL"), new_privileges=False, init=True, user="1000:100"
)


def test_docker_confines_as_it_is_told() -> None:
    run = LEAST._replace(confinement=STRICT)
    assert docker.confining_options(run, with_init=True) == [
        "--init",
        "--security-opt=no-new-privileges",
        "--pids-limit=100",
        "--cap-drop=ALL",
        "--cap-add=CHOWN",
        "--cap-add=KILL",
    ]
    assert "--init" not in docker.confining_options(run, with_init=False)
    assert docker.confining_options(LEAST, with_init=True) == []


def test_apptainer_s_root_keeps_only_what_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    run = LEAST._replace(confinement=STRICT)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert apptainer.confining_options(run) == ["--no-privs", "--add-caps", "CAP_CHOWN,CAP_KILL"]
    assert apptainer.confining_options(LEAST) == []
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert apptainer.confining_options(run) == []


@pytest.mark.parametrize(
    ("user", "our_uid", "is_root_ours", "expected"),
    [
        ("image", 1000, False, None),
        ("7:8", 1000, False, "7:8"),
        ("7:8", 0, True, "7:8"),
        ("auto", 1000, False, "1000:50"),
        ("auto", 1000, True, None),
        ("auto", 0, False, "500:501"),
    ],
)
def test_who_writes_into_a_shared_folder(
    user: str, our_uid: int, is_root_ours: bool, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = SimpleNamespace(
        geteuid=lambda: our_uid, getegid=lambda: 50, stat=lambda _: SimpleNamespace(st_uid=500, st_gid=501)
    )
    monkeypatch.setattr(identity, "os", system)
    rules = Confinement(user=user)
    run = LEAST._replace(binds=(*LEAST.binds, Bind("/shared", "/s", is_shared=True)), confinement=rules)
    assert user_of(run, lambda: is_root_ours) == expected
    unshared = run._replace(binds=(Bind("/shared", "/s", writable=False, is_shared=True),))
    assert user_of(unshared, lambda: is_root_ours) == (None if user == "auto" else expected)


def test_docker_gets_no_less_memory_than_it_takes() -> None:
    assert "--memory=6291456" in docker.run_arguments(LEAST._replace(memory_bytes=1000), None, [], [])


def test_podman_makes_a_workdir_by_a_volume_unless_it_is_mounted() -> None:
    assert workdir_options(MOST) == ["--mount=type=volume,target=/work"]
    assert workdir_options(MOST._replace(workdir="/tmp/x")) == []
    assert workdir_options(LEAST) == []


def test_apptainer() -> None:
    assert apptainer.run_arguments(MOST, "docker://alpine", ["--nv"]) == [
        "run",
        "--containall",
        "--cleanenv",
        "--writable-tmpfs",
        "--net",
        "--network",
        "none",
        "--mount",
        "type=bind,source=/job/tmp,destination=/tmp",
        "--mount",
        "type=bind,source=/share/x,destination=/in/x,ro",
        "--pwd",
        "/work",
        "--nv",
        "docker://alpine",
        "echo",
        "--rm",
    ]


@pytest.mark.parametrize(
    ("image", "source"),
    [
        ("alpine", "docker://alpine"),
        ("reg:5000/a/b:1", "docker://reg:5000/a/b:1"),
        ("/i.sif", "/i.sif"),
        ("oras://r/i", "oras://r/i"),
    ],
)
def test_apptainer_takes_plain_names_for_docker_s(image: str, source: str) -> None:
    assert apptainer.image_source(image) == source


def test_bubblewrap() -> None:
    options = bubblewrap.sandbox_options(MOST, "/job/root", ["/usr"])
    text = " ".join(options)
    assert text.startswith(
        "--die-with-parent --unshare-all --new-session --clearenv --hostname task --cap-drop ALL"
        " --bind /job/root / --ro-bind /usr /usr --ro-bind-try /etc/ld.so.cache /etc/ld.so.cache"
    )
    assert text.endswith("--setenv A 1 --chdir /work")
    assert "--proc /proc --ro-bind-try /proc/sys /proc/sys" in text
    assert "--dev /dev --bind /job/tmp /tmp --ro-bind /share/x /in/x" in text
    assert "--share-net" not in options and "/etc/resolv.conf" not in options


def test_bubblewrap_has_a_network_only_with_the_host_s() -> None:
    assert "--share-net" in bubblewrap.sandbox_options(MOST._replace(network="host"), "/r", [])
    assert "--share-net" not in bubblewrap.sandbox_options(MOST._replace(network="default"), "/r", [])


@pytest.mark.parametrize("image", ["--privileged", "-v/:/host", "", "a\0b"])
def test_an_image_that_could_be_an_option_is_refused(image: str) -> None:
    with pytest.raises(SystemFailure, match="refused"):
        docker.run_arguments(LEAST._replace(image=image), None, [], [])


@pytest.mark.parametrize("path", ["/a,b", '/a"b', "/a=b:c", '/x,readonly,"y'])
def test_odd_paths_cannot_add_mount_options(path: str) -> None:
    fields = next(csv.reader([mount_option(Bind(path, f"/s{path}"))]))
    assert fields == ["type=bind", f"source=/s{path}", f"target={path}"]


def test_a_path_with_a_line_break_cannot_be_mounted() -> None:
    with pytest.raises(SystemFailure, match="line break"):
        mount_option(Bind("/a\nb", "/x"))


def test_the_helper_s_path_cannot_add_mount_options() -> None:
    (mount,) = [item for item in helper_arguments('/j,"x', "1:2") if "target=/tree" in item]
    assert next(csv.reader([mount.partition("=")[2]])) == ["type=bind", 'source=/j,"x', "target=/tree"]


@pytest.mark.parametrize(
    ("name", "value", "way"),
    [
        ("TOKEN", "a b=$c'\"", "file"),
        ("KEY", "one\ntwo", "passed"),
        ("LONG", "x" * 70_000, "passed"),
        ("LD_PRELOAD", "/evil\n", "argument"),
        ("DOCKER_HOST", "tcp://\nx", "argument"),
        ("PATH", "/bin\n", "argument"),
        ("LD_PRELOAD", "/evil.so", "file"),
        ("odd name", "v", "argument"),
        ("#comment", "v", "argument"),
    ],
)
def test_each_variable_finds_a_safe_way(name: str, value: str, way: str) -> None:
    split = split_environment({name: value})
    expected: dict[str, Any] = {
        "file": ([f"{name}={value}"], [], {}),
        "passed": ([], [f"--env={name}"], {name: value}),
        "argument": ([], [f"--env={name}={value}"], {}),
    }
    assert tuple(split) == expected[way]
