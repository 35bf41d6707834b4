"""One profile of docker-compose.yaml, in a folder, a project and on a port of its own."""

import json
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import yaml

from tesp_api.pulsar.amqp_probe import PROBE
from tests.acceptance.deployment.images import ROOT, STAND_INS, VERSION, Failed, docker, stand_in
from tests.services.tesp import FINAL, free_port, poll

UP_TIMEOUT_S = 300.0
END_TIMEOUT_S = 240.0
FILES = """
import http.server as h
kept = {}
class Files(h.BaseHTTPRequestHandler):
    def do_PUT(self):
        kept[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201); self.send_header("Content-Length", "0"); self.end_headers()
    def do_GET(self):
        found = kept.get(self.path)
        self.send_response(404 if found is None else 200)
        self.send_header("Content-Length", str(len(found or b""))); self.end_headers()
        self.wfile.write(found or b"")
    def log_message(self, *_): pass
h.ThreadingHTTPServer(("", 8000), Files).serve_forever()
"""


class Stack:
    """`with Stack("pulsar") as stack:` has it up and answering, with a user who may do everything.

    At the exit it is taken down; what is left then is a fault. Raises: Failed.
    """

    def __init__(self, site: str, *profiles: str) -> None:
        self.site, self.profiles = site, profiles
        self.project = f"tesp-{site}-{os.getpid()}"
        self.port = free_port()
        self._ports = {"TESP_PORT": self.port, "PROMETHEUS_PORT": free_port(), "GRAFANA_PORT": free_port()}
        self._files = f"{self.project}-files"

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="tesp-deployment-"))
        self.data = self.folder / "data"
        try:
            self._prepare()
            self.compose("up", "--detach", "--no-build", *(self._without_grafana()))
            self.wait_until_ready()
            self._let_a_user_in()
            self._start_files()
        except BaseException as error:
            if isinstance(error, Failed):
                print(self.logs(), flush=True)
            self.__exit__(type(error), error, None)
            raise
        return self

    def _prepare(self) -> None:
        shutil.copy(ROOT / "docker-compose.yaml", self.folder)
        left_out = shutil.ignore_patterns("secrets", "data")
        shutil.copytree(ROOT / "docker", self.folder / "docker", ignore=left_out)
        self.folder.chmod(0o711)
        self.settings = self.folder / "docker/settings/site.toml"
        shutil.copy(self.folder / "docker/settings/settings.toml", self.settings)
        for path in (self.folder / "docker").rglob("*"):  # as a clone that was made with umask 077
            path.chmod(0o700 if path.is_dir() or os.access(path, os.X_OK) else 0o600)
        environment = {
            "PATH": os.environ["PATH"],
            "COMPOSE_PROJECT_NAME": self.project,
            "ENGINE_SOCKET": "/var/run/docker.sock",
            "TESP_DATA": str(self.data),
        }
        setup = [str(self.folder / "docker/setup"), self.site, *self.profiles]
        said = subprocess.run(setup, env=environment, capture_output=True, text=True, check=False)
        if said.returncode:
            raise Failed(f"docker/setup: {said.stderr}")
        more = {name: str(port) for name, port in self._ports.items()}
        more |= {variable: stand_in(name) for name, variable in STAND_INS.items()}
        more |= {"TESP_VERSION": VERSION, "TESP_SETTINGS": "./docker/settings/site.toml"}
        with (self.folder / ".env").open("a") as file:
            file.writelines(f"{name}={value}\n" for name, value in more.items())

    def _without_grafana(self) -> list[str]:
        """The services to start, where not all can be: there is no image of Grafana."""
        if "monitoring" not in self.profiles:
            return []
        services = yaml.safe_load((self.folder / "docker-compose.yaml").read_text())["services"]
        asked = {self.site, *self.profiles}
        wanted = [
            name for name, one in services.items() if not one.get("profiles") or asked & set(one["profiles"])
        ]
        return [name for name in wanted if name != "grafana"]

    def compose(self, *words: str, given: str | None = None) -> str:
        """What Compose prints. Raises: Failed."""
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        done = subprocess.run(
            ["docker-compose", *words],
            cwd=self.folder,
            env=inherited,
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Failed(f"docker-compose {' '.join(words[:3])}: {done.stdout[-2000:]}{done.stderr[-3000:]}")
        return done.stdout

    def follow(self, commands: str) -> None:
        """Do what a page says, line by line, without a terminal and without a registry. Raises: Failed."""
        for line in commands.splitlines():
            program, compose, command, *words = shlex.split(line)
            assert (program, compose) == ("docker", "compose"), line
            if command in ("exec", "run"):
                words.insert(0, "-T")
            if command == "up":
                words += ["--no-build", *self._without_grafana()]
            self.compose(command, *words)

    def change_settings(self, text: str) -> None:
        """Add something to the settings, as editors do it: by another file under the same name."""
        draft = self.settings.with_suffix(".new")
        draft.write_text(self.settings.read_text() + text)
        draft.chmod(0o644)
        draft.replace(self.settings)

    def running(self) -> list[str]:
        """Those that have a container which runs."""
        return self.compose("ps", "--services", "--filter", "status=running").split()

    def container(self, service: str) -> str:
        return self.compose("ps", "-q", service).strip()

    def wait_until_ready(self) -> None:
        """Until every container that can say so is healthy, and the API says that all of its parts are."""

        def is_ready() -> bool:
            for service in self.running():
                state = json.loads(docker("inspect", "--format", "{{json .State}}", self.container(service)))
                if state.get("Health", {}).get("Status", "healthy") != "healthy":
                    return False
            try:
                return httpx.get(f"http://127.0.0.1:{self.port}/readyz", timeout=10).status_code == 200
            except httpx.TransportError:
                return False

        try:
            poll(is_ready, timeout_s=UP_TIMEOUT_S, every_s=0.5, why="not all is ready")
        except AssertionError as error:
            raise Failed(f"{error}\n{self.compose('ps')}\n{self.logs()}") from None

    def logs(self) -> str:
        """The ends of what the containers said."""
        return self.compose("logs", "--no-color", "--tail", "20")[-8000:]

    def restart(self, service: str) -> None:
        """As an operator does it: what runs in the container is told to end."""
        docker("restart", "--time", "60", self.container(service))

    def kill(self, service: str) -> None:
        """As a machine does it that is out of memory; and start it again."""
        docker("kill", self.container(service))
        docker("start", self.container(service))

    def _let_a_user_in(self) -> None:
        self.compose("exec", "-T", "api", "tesp", "user", "add", "operator", "--no-password", "--admin")
        said = self.compose("exec", "-T", "api", "tesp", "token", "create", "operator")
        [token] = [word for word in said.split() if word.startswith("tesp_")]
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", headers={"Authorization": f"Bearer {token}"}, timeout=30
        )

    def _start_files(self) -> None:
        """A server for outputs, in the network of the project."""
        options = ["--network", f"{self.project}_default", "--network-alias", "files", "--name", self._files]
        image = [f"tesp-pulsar:{VERSION}", "python3", "-c", FILES]
        docker("run", "--detach", "--no-healthcheck", "--entrypoint", "", *options, *image)

    def file(self, path: str) -> str:
        """An output that was sent. Raises: Failed if there is none."""
        url = f"http://127.0.0.1:8000{path}"
        script = f"import urllib.request as u; print(u.urlopen('{url}').read().decode(), end='')"
        return docker("exec", self._files, "python3", "-c", script)

    def create(self, task: dict[str, Any]) -> str:
        """Send a task; a server that is away is waited for."""
        answer: list[httpx.Response] = []

        def is_taken() -> bool:
            try:
                answer[:] = [self.client.post("/ga4gh/tes/v1/tasks", json=task)]
            except httpx.TransportError:
                return False
            return answer[0].status_code < 500

        poll(is_taken, timeout_s=60, every_s=0.5, why="the API takes no task")
        if answer[0].status_code != 200:
            raise Failed(f"a task is refused: {answer[0].text}")
        return str(answer[0].json()["id"])

    def get(self, task_id: str, view: str = "FULL") -> dict[str, Any] | None:
        """None while the server or its store are away."""
        try:
            answer = self.client.get(f"/ga4gh/tes/v1/tasks/{task_id}", params={"view": view})
        except httpx.TransportError:
            return None
        return dict(answer.json()) if answer.status_code == 200 else None

    def wait(self, task_id: str, states: set[str] = FINAL) -> dict[str, Any]:
        """Until it is in one of the states; its FULL view."""
        try:
            poll(
                lambda: (self.get(task_id, "MINIMAL") or {}).get("state") in states,
                timeout_s=END_TIMEOUT_S,
                every_s=0.2,
                why=f"a task is not in {sorted(states)}",
            )
        except AssertionError as error:
            raise Failed(f"{error}: {json.dumps(self.get(task_id))[:3000]}\n{self.logs()}") from None
        found = poll(lambda: self.get(task_id), timeout_s=60, every_s=0.2, why="the API is away")
        return dict(found)

    def left_of_tasks(self) -> list[str]:
        """Containers, and folders of jobs; those of probes behind a broker are removed by later ones."""
        label = f"label=tesp.project={self.project}"
        folders = [*self.data.glob("pulsar/staging/*"), *self.data.glob("api/pulsar/staging/*")]
        jobs = [str(folder) for folder in folders if not folder.name.startswith(PROBE)]
        return docker("ps", "--all", "--quiet", "--filter", label).split() + jobs

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        subprocess.run(["docker", "rm", "--force", self._files], capture_output=True, check=False)
        label = f"label=tesp.project={self.project}"
        for container in docker("ps", "--all", "--quiet", "--filter", label).split():
            docker("rm", "--force", "--volumes", container)
        self.compose("down", "--volumes", "--timeout", "60", "--remove-orphans")
        left = self._left()
        shutil.rmtree(self.folder, ignore_errors=True)
        if left and error is None:
            raise Failed(f"left after `down --volumes`: {left}")

    def _left(self) -> list[str]:
        project = f"label=com.docker.compose.project={self.project}"
        return [
            *docker("ps", "--all", "--quiet", "--filter", project).split(),
            *docker("network", "ls", "--quiet", "--filter", f"name={self.project}").split(),
            *docker("volume", "ls", "--quiet", "--filter", f"name={self.project}").split(),
        ]
