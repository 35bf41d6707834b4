"""A workflow of three rules, run by Snakemake 9.27.1 itself with its TES executor and its S3 storage."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.moto import Moto
from tests.services.s3_servers import S3Place
from tests.services.snakemake_client import run_snakemake, snakemake_image
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
    said = run_snakemake(server.url, tmp_path, place, "s3://lab/run1")
    assert "5 of 5 steps (100%) done" in said
    listed = server.client.get("/ga4gh/tes/v1/tasks", params={"view": "FULL"}).json()["tasks"]
    rules = sorted(task["name"].split(".")[1] for task in listed)
    assert rules == ["count", "join", "say", "say"]
    assert {task["state"] for task in listed} == {"COMPLETE"}
    client = place.client()
    kept = {one["Key"] for one in client.list_objects_v2(Bucket="lab", Prefix="run1/")["Contents"]}
    assert {"run1/said/hello.txt", "run1/said/world.txt", "run1/all.txt", "run1/count.txt"} <= kept
    assert client.get_object(Bucket="lab", Key="run1/count.txt")["Body"].read().strip() == b"2"
