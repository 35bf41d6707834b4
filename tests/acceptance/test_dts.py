"""docker/dts: its services as Compose starts them, and its README as it stands."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.served import BIN, served
from tests.services.dts import FOLDER, Dts

pytestmark = pytest.mark.services

README = (FOLDER / "README.md").read_text()
COUNTED = "15\n"
SAMPLES = "sample\tplace\n1\tBrno\n"
SORTED = "1\tBrno\nsample\tplace\n"
MARK = "=== next block ==="


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def dts() -> Iterator[Dts]:
    with Dts() as running:
        yield running


@pytest.fixture(scope="module")
def session(dts: Dts, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What each bash block printed, one after the other; the server has the settings of the toml block."""
    folder = tmp_path_factory.mktemp("dts")
    (folder / "settings.toml").write_text(dts.with_ports("\n".join(blocks("toml"))))
    script = f"\necho '{MARK}'\n".join(["set -euo pipefail", *blocks("bash")])
    with served(folder) as url:
        environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "TESP_URL": url}
        argv = ["bash", "-c", dts.with_ports(script)]
        done = subprocess.run(
            argv, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
    assert done.returncode == 0, done.stdout + done.stderr + (folder / "server.log").read_text()[-3000:]
    return done.stdout.split(f"{MARK}\n")[1:]


def test_the_examples_run_as_they_stand(session: list[str]) -> None:
    stored, bucket, to_s3, to_http, directory, to_ftp = session
    assert (stored, bucket) == ("", "")
    assert to_s3.endswith(COUNTED)
    assert to_http.endswith(SORTED)
    assert directory.endswith(SAMPLES)
    assert to_ftp.endswith(SAMPLES)


def test_nothing_listens_beyond_loopback(dts: Dts) -> None:
    assert dts.addresses() == {"127.0.0.1"}


def test_writing_takes_the_login_and_s3_checks_signatures(
    dts: Dts, session: list[str], tmp_path: Path
) -> None:
    (tmp_path / "x").write_text("x")
    http, ftp, s3 = (dts.ports[f"DTS_{name}_PORT"] for name in ("HTTP", "FTP", "S3"))

    def status(*arguments: str) -> str:
        argv = ["curl", "-sS", "-o", "/dev/null", "-w", "%{response_code}", "-m", "20", *arguments]
        return subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False).stdout

    assert status("-T", "x", f"http://127.0.0.1:{http}/x") == "401"
    assert status(f"http://127.0.0.1:{http}/x") == "404"
    assert status("-u", "demo:wrong", f"ftp://127.0.0.1:{ftp}/") == "530"
    signed = ("--aws-sigv4", "aws:amz:us-east-1:s3", "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD")
    url = f"http://127.0.0.1:{s3}/lab/counts/bases.txt"
    assert status(*signed, "--user", "DEMOACCESSKEY:wrong", url) == "403"
    assert status(*signed, "--user", "DEMOACCESSKEY:demo-secret-key", url) == "200"


def test_every_link_to_a_file_leads_somewhere() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (FOLDER / link).is_file()] == []
