"""The README's blocks are run as they stand, one after the other, against a server made for them.

```bash blocks are one session in one shell; ```python blocks run each in a fresh interpreter; ```sh
blocks are only shown.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tesp_api.settings import load_settings
from tests.acceptance.served import BIN, served
from tests.services.containers import require_docker

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
ADDRESS = "http://127.0.0.1:8080"

pytestmark = pytest.mark.services


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    require_docker()
    with served(tmp_path_factory.mktemp("readme"), "--allow-bubblewrap") as url:
        yield url


@pytest.fixture(scope="module")
def session(url: str) -> list[str]:
    """What each bash block printed."""
    mark = "=== next block ==="
    script = f"\necho '{mark}'\n".join(["set -euo pipefail", *blocks("bash")])
    ended = run(["bash", "-c", script.replace(ADDRESS, url)], url)
    return ended.split(f"{mark}\n")[1:]


def run(argv: list[str], url: str) -> str:
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "TESP_URL": url}
    ended = subprocess.run(
        argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_the_curl_session_runs_as_it_stands(session: list[str]) -> None:
    service, created, task, extensions, repeated, refused = session[:6]
    assert json.loads(service)["type"]["artifact"] == "tes"
    assert created == ""
    executor = json.loads(task)["logs"][0]["logs"][0]
    assert (executor["exit_code"], executor["stdout"].strip()) == (0, "15")
    assert extensions.startswith("15")
    assert '"COMPLETE"' in extensions
    assert '"valid":true' in extensions
    assert '{"index":1,"error"' in extensions
    first, again = repeated.removesuffix("}").split("}")
    assert first == again != ""
    assert "executors[0].image" in refused
    assert "volumes[0]" in refused
    assert "count bases" in refused


def test_the_command_line_session_runs_as_it_stands(session: list[str]) -> None:
    shown = session[6]
    assert "hello" in shown
    assert "COMPLETE" in shown
    assert "CANCELED" in shown or "CANCELING" in shown
    assert "the task is valid" in shown
    assert " deleted\n" in shown


def test_the_login_of_a_url_is_shown_nowhere(session: list[str]) -> None:
    assert '"url":"https://data.example.org/reads.fa"' in session[7]
    assert "open-sesame" not in session[7]


def test_the_credentials_are_valid_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [table] = (block for block in blocks("toml") if "credentials" in block)
    (tmp_path / "settings.toml").write_text(table)
    monkeypatch.setenv("TESP_API_SETTINGS", str(tmp_path / "settings.toml"))
    for name, value in re.findall(r"^export (TESP_API_CREDENTIALS\w+)=(.*)$", README, re.MULTILINE):
        monkeypatch.setenv(name, value)
    lab, portal = (load_settings().credentials[name] for name in ("lab", "portal"))
    assert (lab.kind, bool(lab.secret_access_key)) == ("s3", True)
    assert (portal.kind, bool(portal.bearer_token)) == ("login", True)


def test_the_destinations_are_valid_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [table] = (block for block in blocks("toml") if "destinations" in block)
    (tmp_path / "settings.toml").write_text(table)
    monkeypatch.setenv("TESP_API_SETTINGS", str(tmp_path / "settings.toml"))
    sites = load_settings().destinations
    assert (sites["local"].kind, sites["slurm"].max_cores, sites["slurm"].scheduler) == (
        "embedded",
        512,
        "slurm-drmaa",
    )


@pytest.mark.parametrize("program", blocks("python"))
def test_the_python_programs_run_as_they_stand(program: str, url: str) -> None:
    assert run([sys.executable, "-c", program.replace(ADDRESS, url)], url) == "hi\n\n"


def test_every_link_to_a_file_leads_somewhere() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).is_file()] == []
