"""The sessions that pages show are run as they stand, against a server made for them.

```bash blocks are one session in one shell; ```python blocks run each in a fresh interpreter. ```sh blocks
are for what cannot run here: of the README and the tutorial, only what starts a server.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.served import BIN, served
from tests.documentation.pages import ADDRESS, ROOT, blocks
from tests.services.cwl_engine import engines_folder

pytestmark = pytest.mark.services

SHARED = "/tmp/tesp-tutorial"


@dataclass(frozen=True, slots=True)
class Place:
    """A server with the tutorial's settings, and the folder in which it is."""

    url: str
    folder: Path

    def run(self, argv: list[str]) -> str:
        """What a program prints that speaks to the server by default; it must succeed."""
        environment = os.environ | {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "TESP_URL": self.url,
            "TESP_API_WES__ENGINES_DIR": str(engines_folder()),
        }
        ended = subprocess.run(
            argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout + ended.stderr

    def session(self, page: str) -> list[str]:
        """What each bash block of a page printed, all of them in one shell."""
        mark = "=== next block ==="
        script = f"\necho '{mark}' >&2\n".join(["exec 2>&1; set -euo pipefail", *blocks(page, "bash")])
        return self.run(["bash", "-c", self.here(script)]).split(f"{mark}\n")[1:]

    def here(self, text: str) -> str:
        """A page's text with this server and its folders in place of those that it names."""
        named = {
            ADDRESS: self.url,
            SHARED: str(self.folder / "shared"),
            "tutorial.toml": str(self.folder / "settings.toml"),
            '"tesp-data"': f'"{self.folder / "data"}"',
        }
        for name, ours in named.items():
            text = text.replace(name, ours)
        return text


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("documentation")
    (folder / "shared").mkdir()
    [settings] = blocks("docs/tutorial.md", "toml")
    settings += f'runtimes = []\n[default.wes]\nengines_dir = "{engines_folder()}"\n'
    (folder / "settings.toml").write_text(Place("", folder).here(settings))
    with served(folder) as url:
        yield Place(url, folder)


def test_the_readme_leads_to_a_task_of_ones_own(place: Place) -> None:
    created, followed = place.session("README.md")
    assert "7 letters" not in created
    assert ">read1 has 6 letters\nGATTACA has 7 letters\n" in followed
    assert followed.count("COMPLETE") >= 2


def test_the_tutorial_runs_as_it_stands(place: Place) -> None:
    doctor, counted, failed, refused, canceled, listed, engine, workflow = place.session("docs/tutorial.md")
    assert "FAIL" not in doctor
    assert "the task is valid" in counted and "COMPLETE" in counted
    assert counted.endswith("4\n5\n")
    assert "can't open" in failed or "No such file" in failed
    assert "tesp ended with 10" in failed
    assert "executors[0].image" in refused and "volumes[0]" in refused
    assert "tesp ended with 12" in canceled
    assert [task["state"] for task in json.loads(listed)["tasks"]] == ["COMPLETE"]
    assert "cwl was installed already" in engine
    assert "COMPLETE" in workflow and "counts" in workflow
    counts = (place.folder / "shared/results/counts.txt").read_text()
    assert [line.split()[0] for line in counts.splitlines()] == ["4", "5"]


def test_nothing_in_readme_and_tutorial_is_left_out_but_the_start_of_a_server() -> None:
    shown = [block for page in ("README.md", "docs/tutorial.md") for block in blocks(page, "sh")]
    commands = [line.partition("#")[0].split() for block in shown for line in block.splitlines()]
    assert commands == [
        ["make", "serve"],
        ["mkdir", "-p", SHARED],
        ["TESP_API_SETTINGS=tutorial.toml", "make", "serve"],
    ]
    recipe = (ROOT / "Makefile").read_text().partition("\nserve:")[2].partition("\n\n")[0]
    assert "tesp serve --data tesp-data --allow-bubblewrap" in recipe


def test_the_curl_session_runs_as_it_stands(place: Place) -> None:
    service, created, waited, extensions, repeated, refused = place.session("docs/howto/curl.md")
    assert json.loads(service)["type"]["artifact"] == "tes"
    assert created == ""
    executor = json.loads(waited)["logs"][0]["logs"][0]
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


def test_the_command_line_session_runs_as_it_stands(place: Place) -> None:
    [shown] = place.session("docs/howto/command-line.md")
    assert "hello" in shown
    assert "COMPLETE" in shown
    assert "CANCELED" in shown or "CANCELING" in shown
    assert "the task is valid" in shown
    assert " deleted\n" in shown


def test_the_login_of_a_url_is_shown_nowhere(place: Place) -> None:
    [shown] = place.session("docs/howto/credentials.md")
    assert '"url":"https://data.example.org/reads.fa"' in shown
    assert "open-sesame" not in shown


def test_the_python_programs_run_as_they_stand(place: Place) -> None:
    [program] = blocks("docs/howto/py-tes.md", "python")
    assert place.run([sys.executable, "-c", place.here(program)]) == "hi\n\n"
