"""A workflow of three rules, run by Snakemake 9.27.1 itself with its TES executor and its S3 storage.

The command is the one of docs/howto/snakemake-client.md, and the workflow that of examples/words.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documentation.pages import ADDRESS, blocks
from tests.services.moto import Moto
from tests.services.s3_servers import S3Place
from tests.services.snakemake_client import run_session, snakemake_image
from tests.services.tesp import TespServer

pytestmark = pytest.mark.services

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/words/Snakefile"


@pytest.fixture(scope="module")
def place() -> Iterator[S3Place]:
    with Moto() as place:
        place.client().create_bucket(Bucket="lab")
        yield place


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TespServer]:
    with TespServer(snakemake_image(tmp_path_factory.mktemp("image"))) as server:
        yield server


def test_three_rules_run_as_tasks_with_their_files_in_s3(
    server: TespServer, place: S3Place, tmp_path: Path
) -> None:
    shutil.copy(EXAMPLE, tmp_path)
    [command] = blocks("docs/howto/snakemake-client.md", "bash")
    assert "https://s3.example.org" in command and ADDRESS in command
    command = command.replace("https://s3.example.org", place.endpoint).replace(ADDRESS, server.url)
    said = run_session(f"{command.rstrip()} --config 'words=[\"hello\"]'", tmp_path, place)
    assert "4 of 4 steps (100%) done" in said
    listed = server.client.get("/ga4gh/tes/v1/tasks", params={"view": "FULL"}).json()["tasks"]
    rules = sorted(task["name"].split(".")[1] for task in listed)
    assert rules == ["count", "join", "say"]
    assert {task["state"] for task in listed} == {"COMPLETE"}
    client = place.client()
    kept = {one["Key"] for one in client.list_objects_v2(Bucket="lab", Prefix="run1/")["Contents"]}
    assert {"run1/said/hello.txt", "run1/all.txt", "run1/count.txt"} <= kept
    assert client.get_object(Bucket="lab", Key="run1/count.txt")["Body"].read().strip() == b"1"
