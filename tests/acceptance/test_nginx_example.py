"""docker/nginx/tesp.conf as it stands, but for names and ports, in a real nginx before a real server."""

import os
import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.services.authority import Authority
from tests.services.containers import ServiceUnavailable
from tests.services.tesp import ONLY_BUBBLEWRAP, TespServer, free_port, poll

pytestmark = pytest.mark.services

EXAMPLE = Path(__file__).resolve().parents[2] / "docker/nginx/tesp.conf"
_AROUND = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log; {user}
events {{}}
http {{ access_log off; {temporary} include {folder}/tesp.conf; }}
"""


@dataclass(frozen=True)
class Proxy:
    """nginx as it runs."""

    url: str
    plain_url: str
    authority: Authority
    server: TespServer

    def client(self) -> httpx.Client:
        trust = ssl.create_default_context(cafile=self.authority.ca)
        return httpx.Client(base_url=self.url, verify=trust, timeout=30, trust_env=False)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    program = shutil.which("nginx", path=f"/usr/sbin:{os.environ['PATH']}")
    if program is None:
        raise ServiceUnavailable("nginx is not installed: make test-services does it")
    folder = tmp_path_factory.mktemp("nginx")
    authority = Authority(folder / "tls")
    port, plain = free_port(), free_port()
    with TespServer(ONLY_BUBBLEWRAP) as server:
        (folder / "tesp.conf").write_text(adapted(authority, port, plain, server.port))
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "".join(f"{name}_temp_path {folder}/{name};" for name in kinds)
        user = "user root;" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(_AROUND.format(folder=folder, temporary=temporary, user=user))
        command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", f"{folder}/error.log"]
        checked = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
        assert checked.returncode == 0 and "[warn]" not in checked.stderr, checked.stderr
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            running = Proxy(f"https://127.0.0.1:{port}", f"http://127.0.0.1:{plain}", authority, server)
            poll(lambda: answers(running), timeout_s=20, why="nginx does not answer")
            yield running
        finally:
            process.terminate()
            process.wait()


def adapted(authority: Authority, port: int, plain: int, server: int) -> str:
    """The example with this test's addresses and certificate; each of its lines is still there."""
    text = re.sub(r"^ *listen \[::\].*\n", "", EXAMPLE.read_text(), flags=re.MULTILINE)
    places = {
        "listen 443 ": f"listen 127.0.0.1:{port} ",
        "listen 80;": f"listen 127.0.0.1:{plain};",
        "server 127.0.0.1:8080;": f"server 127.0.0.1:{server};",
        "/etc/tesp/server.pem": str(authority.certificate),
        "/etc/tesp/server.key": str(authority.private_key),
    }
    for shown, ours in places.items():
        assert text.count(shown) == 1, shown
        text = text.replace(shown, ours)
    return text


def answers(proxy: Proxy) -> bool:
    try:
        with proxy.client() as client:
            return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


def test_a_task_goes_through_it(proxy: Proxy) -> None:
    with proxy.client() as client:
        made = client.post(
            "/ga4gh/tes/v1/tasks",
            json={"executors": [{"image": "busybox:latest", "command": ["echo", "hello"]}]},
        )
        assert made.status_code == 200, made.text
        assert made.headers["Strict-Transport-Security"]
        task = proxy.server.wait(made.json()["id"])
        assert task["logs"][0]["logs"][0]["stdout"] == "hello\n"


def test_a_stream_comes_as_it_grows(proxy: Proxy) -> None:
    """What is printed is there while the task would go on for minutes: nothing gathers it."""
    with proxy.client() as client:
        script = "echo one; sleep 600"
        task_id = proxy.server.create(
            {"executors": [{"image": "busybox:latest", "command": ["sh", "-c", script]}]}
        )
        seen: list[str] = []
        accept = {"Accept": "text/event-stream"}
        with client.stream("GET", f"/tesp/v1/tasks/{task_id}/events", headers=accept) as stream:
            for line in stream.iter_lines():
                seen.append(line)
                if '"one' in line:
                    assert proxy.server.get(task_id, "MINIMAL")["state"] == "RUNNING"
                    assert client.post(f"/ga4gh/tes/v1/tasks/{task_id}:cancel").status_code == 200
                if line == "event: end":
                    break
        assert any('"one' in line for line in seen)


def test_bodies_are_taken_up_to_the_servers_own_limits(proxy: Proxy) -> None:
    with proxy.client() as client:
        fits = client.post("/ga4gh/tes/v1/tasks", content=b"[" + b" " * (7 * 1024**2))
        assert fits.status_code == 400, fits.text
        assert client.post("/ga4gh/tes/v1/tasks", content=b" " * (9 * 1024**2)).status_code == 413
        form = {"workflow_attachment": ("big", b" " * (9 * 1024**2))}
        assert client.post("/ga4gh/wes/v1/runs", files=form).status_code == 400


def test_plain_http_leads_to_tls_and_metrics_stay_inside(proxy: Proxy) -> None:
    answer = httpx.get(f"{proxy.plain_url}/ui/?x=1", trust_env=False)
    assert (answer.status_code, answer.headers["Location"]) == (301, "https://127.0.0.1/ui/?x=1")
    with proxy.client() as client:
        assert client.get("/metrics").status_code == 404
    assert proxy.server.client.get("/metrics").status_code == 200
