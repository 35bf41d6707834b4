"""docker-compose.yaml, its images, settings and secrets are what docs/deployment.md says of them."""

import json
import os
import re
import shutil
import socket
import stat
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import UnixStreamServer
from threading import Thread
from typing import Any

import pytest
import yaml

from tesp_api.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILES = ["docker/api/Dockerfile", "docker/pulsar/Dockerfile"]
SITES = ("embedded", "pulsar", "amqp", "slurm")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_no_more_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"] and "cap_add" not in service and "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert service["mem_limit"] and service["pids_limit"]
    assert service.get("network_mode") in (None, "service:mongo")
    assert not {"devices", "pid", "ipc", "userns_mode"} & set(service)
    for port in service.get("ports", ()):
        assert port.startswith("127.0.0.1:")
    image = re.sub(r"\$\{\w+:-([^}]+)\}", r"\1", service["image"])
    assert re.search(r":(local|v?\d+\.\d+\.\d+)$", image), "an image without a version"
    assert "healthcheck" in service or image.startswith("tesp-api:")


def test_the_engine_is_given_to_who_runs_tasks_alone() -> None:
    def sockets(service: dict[str, Any]) -> list[str]:
        binds = [one for one in service.get("volumes", ()) if isinstance(one, dict)]
        return [one["source"] for one in binds if "docker.sock" in one["target"]]

    given = {name: found for name, service in SERVICES.items() if (found := sockets(service))}
    assert given.pop("api") == ["${API_ENGINE_SOCKET:-/dev/null}"]
    assert set(given) == {"pulsar", "pulsar-amqp", "slurm"}


def test_what_is_kept_is_in_named_volumes_or_in_the_folder_of_jobs() -> None:
    for name, service in SERVICES.items():
        for one in service.get("volumes", ()):
            if isinstance(one, str):
                assert one.partition(":")[0] in COMPOSE["volumes"], name
            else:
                same = one["source"] == one["target"] and one["source"].startswith("${TESP_DATA")
                assert same or one.get("read_only") or "docker.sock" in one["target"], (name, one)


def test_each_tag_is_built_by_one_service() -> None:
    """Builders that work on all services at once would collide."""
    built = [service["image"] for service in SERVICES.values() if "build" in service]
    assert len(built) == len(set(built))
    ours = {image for service in SERVICES.values() if (image := service["image"]).startswith("tesp-")}
    assert ours == set(built), "an image that nothing builds would be looked for in a registry"


def test_store_and_broker_are_in_networks_without_a_way_out() -> None:
    assert COMPOSE["networks"] == {"store": {"internal": True}, "broker": {"internal": True}}
    assert SERVICES["mongo"]["networks"] == ["store"]
    assert SERVICES["rabbitmq"]["networks"] == ["broker"]


@pytest.mark.parametrize("file", DOCKERFILES)
def test_a_dockerfile_builds_small_images_of_an_ordinary_user(file: str) -> None:
    text = (ROOT / file).read_text()
    assert text.count("ARG BASE_IMAGE=debian:bookworm-slim") == 1
    stages = re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]
    build, last = stages[0], stages[1:]
    assert "--require-hashes" in build
    for stage in last:
        users = re.findall(r"^USER (\S+)", stage, re.MULTILINE)
        assert users and users[-1] not in ("0", "root")
        assert re.search(r"^HEALTHCHECK ", stage, re.MULTILINE)
        assert "org.opencontainers.image.title=" in stage
        for command in re.findall(r"^RUN (?:.*\\\n)*.*", stage, re.MULTILINE):
            assert "apt-get install" not in command or "/var/lib/apt/lists/*" in command
    # a client of Debian 12's is too old for Docker from 29 on, and scripts come with the umask of a clone
    assert "docker.io" not in text and "RUN sh /tmp/engine-client /engine" in build
    for copied in re.findall(r"^COPY (docker/.+) /usr/local/bin/", "\n".join(last), re.MULTILINE):
        names = [f"/usr/local/bin/{Path(one).name}" for one in copied.split()]
        assert f"RUN chmod 0755 {' '.join(names)}\n" in text
    assert not re.search(r"^ADD |\bcurl\b|\bwget\b|https?://(?!127\.0\.0\.1)|:latest", text, re.MULTILINE)


def test_the_images_of_sites_have_the_pulsar_that_is_tested() -> None:
    """The tests' own list has no hashes, the image's has."""
    pinned = re.compile(r"^([\w.-]+)==([\w.]+)", re.MULTILINE)

    def versions(file: str) -> set[tuple[str, str]]:
        found = pinned.findall((ROOT / file).read_text())
        return {(re.sub(r"[-_.]+", "-", name).lower(), version) for name, version in found}

    image = "docker/pulsar/requirements.txt"
    assert versions(image) == versions("tests/services/pulsar-requirements.txt")
    assert len(pinned.findall((ROOT / image).read_text())) <= (ROOT / image).read_text().count(
        "--hash=sha256:"
    )


def test_what_the_image_of_the_api_leaves_out_is_in_the_lock_file() -> None:
    lock = tomllib.loads((ROOT / "poetry.lock").read_text())
    lines = (ROOT / "docker/api/left-out.txt").read_text().splitlines()
    named = {line for line in lines if line and not line.startswith("#")}
    assert named <= {package["name"] for package in lock["package"]}
    command = ["python3", ".ci/locked_requirements.py", "main"]
    whole, rest = (
        subprocess.run([*command, *more], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for more in ([], ["--without", "docker/api/left-out.txt"])
    )
    pinned = re.compile(r"^([\w.-]+)==", re.MULTILINE)
    assert set(pinned.findall(whole)) - set(pinned.findall(rest)) == named


def test_the_squeue_of_the_image_is_the_documented_one() -> None:
    operations = (ROOT / "docs/operations.md").read_text()
    [shown] = re.findall(r"^```sh\n(#!/bin/sh\n.*?)^```$", operations, re.MULTILINE | re.DOTALL)
    assert (ROOT / "docker/slurm/squeue").read_text() == shown


@pytest.fixture
def settings(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Those of a site, with secrets of the test's own."""
    text = (ROOT / "docker/settings/settings.toml").read_text()
    for name in set(re.findall(r'"/run/secrets/(\w+)"', text)):
        assert name in COMPOSE["secrets"] and name in SERVICES["api"]["secrets"]
        scheme = {"store_url": "mongodb://u:hush@mongo/", "broker_url": "amqp://u:hush@rabbitmq/pulsar"}
        (tmp_path / name).write_text(scheme.get(name, "h" * 48))
    (tmp_path / "settings.toml").write_text(text.replace("/run/secrets/", f"{tmp_path}/"))
    monkeypatch.setenv("TESP_API_SETTINGS", str(tmp_path / "settings.toml"))
    monkeypatch.setenv("FASTAPI_PROFILE", request.param)
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", "ours")
    return load_settings()


@pytest.mark.parametrize("settings", SITES, indirect=True)
def test_the_settings_of_every_site_are_valid(settings: Settings) -> None:
    assert set(settings.auth.modes) == {"basic", "token"}
    assert settings.store.kind == "mongodb" and settings.metrics.token
    for site in settings.destinations.values():
        assert site.runtimes_in_order == ("docker",)
        assert site.runtime_args == {"docker": ("--label=tesp.project=ours",)}
        assert site.kind == "embedded" or settings.channel.port
    label = SERVICES["api"]["environment"]["TESP_ENGINE_LABEL"]
    assert label == "tesp.project=${COMPOSE_PROJECT_NAME:-tesp}"


@pytest.fixture
def place() -> Iterator[Path]:
    """A copy of what docker/setup knows, in a folder that other users may pass, with a `docker` that knows of
    no daemon, and the socket of an engine that does not answer."""
    with tempfile.TemporaryDirectory(prefix="tesp-setup-") as name, socket.socket(socket.AF_UNIX) as engine:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "docker").mkdir()
        (folder / "bin").mkdir()
        shutil.copy(ROOT / "docker/setup", folder / "docker")
        write_program(folder / "bin/docker", "exit 1")
        engine.bind(str(folder / "engine.sock"))
        yield folder


def write_program(file: Path, script: str) -> None:
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def set_up(place: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    around = {
        "PATH": f"{place / 'bin'}:{os.environ['PATH']}",
        "XDG_RUNTIME_DIR": str(place / "none"),
        "TESP_DATA": str(place / "docker/data"),
        **environment,
    }
    command = [str(place / "docker/setup"), *words]
    return subprocess.run(command, env=around, capture_output=True, text=True, check=False)


def variables(place: Path) -> dict[str, str]:
    lines = (place / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line)


def test_setup_makes_all_secrets_and_keeps_them(place: Path) -> None:
    done = set_up(place, "amqp", "monitoring", ENGINE_SOCKET=f"{place}/engine.sock")
    assert done.returncode == 0, done.stderr
    secrets = {file.name: file.read_text() for file in (place / "docker/secrets").iterdir()}
    assert set(secrets) == set(COMPOSE["secrets"])
    assert stat.S_IMODE((place / "docker/secrets").stat().st_mode) == 0o700
    assert len(set(secrets.values())) == len(secrets)
    users = {one["name"]: one["password"] for one in json.loads(secrets["broker_definitions"])["users"]}
    for name, secret in (("tesp", "broker_url"), ("pulsar", "site_broker_url")):
        assert secrets[secret] == f"amqp://{name}:{users[name]}@rabbitmq:5672/pulsar\n"
    first = variables(place)
    assert (first["COMPOSE_PROFILES"], first["TESP_SITE"]) == ("amqp,monitoring", "amqp")
    assert (first["API_ENGINE_SOCKET"], first["TESP_UID"] != "0") == ("/dev/null", True)

    with (place / ".env").open("a") as file:
        file.write("TESP_PORT=9000\n")
    assert set_up(place).returncode == 0
    assert {file.name: file.read_text() for file in (place / "docker/secrets").iterdir()} == secrets
    assert variables(place) == first | {"TESP_PORT": "9000"}
    assert set_up(place, "embedded").returncode == 0
    second = variables(place)
    assert (second["TESP_SITE"], second["COMPOSE_PROFILES"], second["TESP_PORT"]) == ("embedded", "", "9000")
    assert second["API_ENGINE_SOCKET"] == second["ENGINE_SOCKET"] == f"{place}/engine.sock"
    for name in ("api", "pulsar"):
        assert stat.S_IMODE((place / "docker/data" / name).stat().st_mode) == 0o700


def test_setup_takes_roots_docker_only_if_told_to(place: Path) -> None:
    done = set_up(place)
    assert done.returncode == 1 and not (place / ".env").exists()
    assert "podman.socket" in done.stderr and "is root on this machine" in done.stderr
    (place / "none").mkdir()
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(place / "none/docker.sock"))
        assert set_up(place).returncode == 0
    assert variables(place)["ENGINE_SOCKET"] == f"{place}/none/docker.sock"


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"ENGINE_SOCKET": "/nowhere.sock"}, "no socket /nowhere.sock"),
        ({"TESP_DATA": "here"}, "TESP_DATA must be a whole path"),
        ({"TESP_DATA": "/a b"}, "TESP_DATA may have"),
        ({"TESP_DATA": "/root/tesp"}, "may not pass /root."),
        (
            {"TESP_DATA": "{place}/closed/a/b", "TESP_UID": "12345"},
            "user (12345) may not pass {place}/closed.",
        ),
        ({"TESP_DATA": "{place}/server"}, "of a server without Docker"),
        ({"COMPOSE_PROJECT_NAME": "A!"}, "COMPOSE_PROJECT_NAME"),
    ],
)
def test_setup_says_what_is_wrong(place: Path, environment: dict[str, str], said: str) -> None:
    (place / "closed").mkdir(mode=0o700)
    (place / "server").mkdir()
    (place / "server/tesp.sqlite3").touch()
    given = {name: value.replace("{place}", str(place)) for name, value in environment.items()}
    done = set_up(place, **{"ENGINE_SOCKET": f"{place}/engine.sock"} | given)
    assert done.returncode == 1 and said.replace("{place}", str(place)) in done.stderr
    assert not (place / "docker/secrets").exists() and not (place / "closed/a").exists()


@contextmanager
def engine_of(place: Path, api: str, least: str) -> Iterator[str]:
    """The socket of an engine that tells its versions, first those of a part of it, as Podman does."""
    part = {"Details": {"APIVersion": "4.3.1", "MinAPIVersion": "4.0.0"}}
    said = json.dumps({"Components": [part], "ApiVersion": api, "MinAPIVersion": least}).encode()

    class Engine(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            pass

    with UnixStreamServer(str(place / "asked.sock"), Engine) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield str(place / "asked.sock")
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("api", "least", "said"),
    [
        ("1.41", "1.24", ""),  # Podman 4, Docker 20.10
        ("1.52", "1.44", ""),  # Docker 29
        ("1.60", "1.46", "takes clients from API 1.46 on, and that of our images has 1.45"),
        ("1.23", "1.12", "API 1.23: too old"),
    ],
)
@pytest.mark.parametrize("asks_by", ["curl", "docker"])
def test_setup_asks_whether_the_engine_takes_our_client(
    place: Path, api: str, least: str, said: str, asks_by: str
) -> None:
    path = {}
    if asks_by == "docker":  # a machine without curl
        for name in (
            "dirname",
            "id",
            "sed",
            "stat",
            "openssl",
            "mkdir",
            "chmod",
            "cat",
            "mv",
            "find",
            "timeout",
            "rm",
            "chown",
        ):
            (place / "bin" / name).symlink_to(shutil.which(name) or "")
        answer = f'"ApiVersion":"{api}","MinAPIVersion":"{least}"'
        write_program(place / "bin/docker", f"[ \"$3\" = version ] && echo '{answer}'")
        path["PATH"] = str(place / "bin")
    with engine_of(place, api, least) as engine:
        done = set_up(place, ENGINE_SOCKET=engine, **path)
    assert done.returncode == (1 if said else 0), done.stderr
    assert said in done.stderr if said else done.stderr == ""


def test_setup_says_that_it_could_not_ask(place: Path) -> None:
    done = set_up(place, ENGINE_SOCKET=f"{place}/engine.sock")
    assert done.returncode == 0 and "does not tell its version" in done.stderr


def test_setup_refuses_a_rootless_docker_below_the_stack_itself(place: Path) -> None:
    write_program(
        place / "bin/docker", '[ "$1" = info ] && echo "[name=seccomp,profile=builtin name=rootless]"'
    )
    done = set_up(place, ENGINE_SOCKET=f"{place}/engine.sock")
    assert done.returncode == 1 and not (place / ".env").exists()
    assert "rootless itself" in done.stderr and f"ENGINE_SOCKET={place}/none/docker.sock" in done.stderr


def test_what_containers_read_is_readable_whatever_the_umask_was(place: Path) -> None:
    mounted = re.findall(
        r"source: \"?(?:\$\{TESP_SETTINGS:-)?\./([\w./-]+)", (ROOT / "docker-compose.yaml").read_text()
    )
    assert len(mounted) > 5
    for name in {Path(one).parts[1] for one in mounted}:
        shutil.copytree(ROOT / "docker" / name, place / "docker" / name)
        for path in (place / "docker" / name).rglob("*"):
            path.chmod(0o700 if path.is_dir() else 0o600)
    assert set_up(place, ENGINE_SOCKET=f"{place}/engine.sock").returncode == 0
    for one in mounted:
        for path in (place / one, *(place / one).rglob("*")):
            assert path.stat().st_mode & 0o005 == (0o005 if path.is_dir() else 0o004), path


@pytest.mark.services
def test_roots_folder_of_jobs_is_outside_of_its_home(place: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("takes root, for a mount")
    script = "mount -t tmpfs none /var/lib && docker/setup && ls -ln /var/lib/tesp"
    command = ["unshare", "--mount", "sh", "-c", f"cd {place} && {script}"]
    environment = {
        "PATH": f"{place / 'bin'}:{os.environ['PATH']}",
        "ENGINE_SOCKET": f"{place}/engine.sock",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert variables(place)["TESP_DATA"] == "/var/lib/tesp"
    assert re.findall(r"^drwx------ \d+ 10001 10001 .* (api|pulsar)$", done.stdout, re.MULTILINE) == [
        "api",
        "pulsar",
    ]


def test_setup_knows_its_words(place: Path) -> None:
    assert "unknown: podman" in set_up(place, "podman").stderr
    profiles = {name for service in SERVICES.values() for name in service.get("profiles", ())}
    assert profiles == {"pulsar", "amqp", "slurm", "monitoring"}


def test_prometheus_scrapes_what_the_alerts_are_about() -> None:
    config = yaml.safe_load((ROOT / "docker/prometheus/prometheus.yml").read_text())
    [job] = config["scrape_configs"]
    assert (job["job_name"], job["static_configs"]) == ("tesp", [{"targets": ["api:8080"]}])
    mounted = {
        one["target"]: one["source"] for one in SERVICES["prometheus"]["volumes"] if isinstance(one, dict)
    }
    assert [ROOT / mounted[file] for file in config["rule_files"]] == [
        ROOT / "docker/prometheus/tesp-alerts.yaml"
    ]
    assert job["authorization"]["credentials_file"] == "/run/secrets/metrics_token"


@pytest.mark.services
@pytest.mark.parametrize("profiles", ["", "pulsar,amqp,slurm,monitoring"])
def test_compose_takes_it(profiles: str, tmp_path: Path) -> None:
    shutil.copy(ROOT / "docker-compose.yaml", tmp_path)
    (tmp_path / ".env").write_text(f"COMPOSE_PROFILES={profiles}\n")
    done = subprocess.run(
        ["docker-compose", "config"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and "WARN" not in done.stderr, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    assert services["api"]["user"] == "1000:1000"
    assert services["mongo"]["image"] == "mongo:6.0.19"


def test_operators_commands_are_the_server_s(tmp_path: Path) -> None:
    """They would work on another data folder, or with another key."""
    write_program(tmp_path / "systemd-run", 'printf "%s\\n" "$@"')
    command = [str(ROOT / "docker/systemd/tesp-operator"), "db", "backup", "/a b"]
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    *options, program, first, second, third = done.stdout.splitlines()
    assert (first, second, third) == ("db", "backup", "/a b")
    told = {one.partition("=")[2] for one in options if one.startswith(("--property=", "--setenv="))}
    pages = [
        (ROOT / "docker/systemd/tesp.service").read_text(),
        *re.findall(r"^```ini\n(\[Unit\].*?)^```$", (ROOT / "docs/operations.md").read_text(), re.M | re.S),
    ]
    assert len(pages) == 2
    for unit in pages:
        lines = unit.splitlines()
        assert f"ExecStart={program} serve" in lines
        settings = {line.partition("=")[2] for line in lines if line.startswith("Environment=")}
        assert len(settings) == 2 and settings <= told
        assert "User=tesp" in told & set(lines)
        [secrets] = [line.replace("=-", "=") for line in lines if line.startswith("EnvironmentFile=")]
        assert secrets in {one.replace("=-", "=") for one in told}


@pytest.mark.services
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    text = (ROOT / "docker/systemd/tesp.service").read_text()
    unit = tmp_path / "tesp.service"
    unit.write_text(text.replace("/opt/tesp/.venv/bin/tesp", "/bin/true"))
    command = ["systemd-analyze", "verify", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if "tesp.service" in line]
    assert (done.returncode, ours) == (0, [])
    assert "KillMode=process" in text, "jobs would end with the server"
    limit = re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert limit and float(limit[1]) > load_settings().server.drain_s
