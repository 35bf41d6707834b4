"""Tasks that no destination can ever take are refused when they come, by every way in which they come."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tesp_api.api.application import build_api
from tesp_api.runner.routing import Routing
from tesp_api.settings import Settings
from tesp_api.store.base import TaskQuery, TaskStore
from tests.integration.api.life import TES, V1, RingingBell, connect

BULK, VALIDATE = "/tesp/v1/tasks:bulk", "/tesp/v1/tasks:validate"
SITES = {
    "here": {"max_cores": 4, "task_max_disk_gb": 10},
    "cluster": {
        "kind": "rest",
        "url": "http://127.0.0.1:1",
        "zones": ["eu-1"],
        "task_max_ram_gb": 64,
        "preemptible": True,
        "scheduler": "slurm-drmaa",
    },
}


@pytest.fixture
async def client(store: TaskStore, bell: RingingBell, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings.model_validate(settings.model_dump() | {"destinations": SITES})
    api = build_api(store, bell, settings, {}, next_destination=lambda *_: "here", routing=Routing(settings))
    async with connect(api) as opened:
        yield opened


def task(parameters: dict[str, str] | None = None, **resources: Any) -> dict[str, Any]:
    if parameters:
        resources["backend_parameters"] = parameters
    return {"executors": [{"image": "a", "command": ["b"]}], "resources": resources}


TOO_LARGE = task(cpu_cores=6, ram_gb=65, preemptible=True)
WHY = (
    "no destination can ever take this task: "
    "here: cpu_cores: 6 is more than the 4 that one task can have there; "
    "cluster: ram_gb: 65 is more than the 64 that one task can have there"
)


@pytest.mark.parametrize("prefix", [TES, V1])
async def test_create_refuses_and_names_the_limits(
    client: httpx.AsyncClient, store: TaskStore, prefix: str
) -> None:
    answer = await client.post(f"{prefix}/tasks", json=TOO_LARGE)
    assert answer.status_code == 400
    assert WHY in answer.text
    assert (await store.list_states(TaskQuery())).items == []


async def test_bulk_and_validate_say_the_same(client: httpx.AsyncClient, store: TaskStore) -> None:
    bulk = (await client.post(BULK, json={"tasks": [task(), TOO_LARGE]})).json()
    assert WHY in str(bulk)
    assert len((await store.list_states(TaskQuery())).items) == 1
    report = (await client.post(VALIDATE, json=TOO_LARGE)).json()
    assert report["faults"] == [{"field": "resources", "message": WHY}]


@pytest.mark.parametrize(
    ("refused", "field", "message"),
    [
        (
            task({"destination": "moon"}),
            "destination",
            "there is no destination 'moon': there are here, cluster",
        ),
        (task({"walltime_s": "1h"}), "walltime_s", "must be whole seconds, from 1 to 31622400, not '1h'"),
        (task({"walltime_s": "0"}), "walltime_s", "must be whole seconds"),
    ],
)
async def test_parameters_are_checked(
    client: httpx.AsyncClient, refused: dict[str, Any], field: str, message: str
) -> None:
    (fault,) = (await client.post(VALIDATE, json=refused)).json()["faults"]
    assert fault["field"] == f"resources.backend_parameters.{field}"
    assert fault["message"].startswith(message)


@pytest.mark.parametrize(
    ("refused", "why"),
    [
        (task({"destination": "cluster"}), "cluster: its jobs may be preempted"),
        (task(zones=["eu-1"]), "cluster: its jobs may be preempted"),
        (task(zones=["us-1"], preemptible=True), "here: it is in none of the zones us-1"),
        (task({"destination": "here"}, disk_gb=11), "here: disk_gb: 11 is more than the 10"),
    ],
)
async def test_what_else_is_refused(client: httpx.AsyncClient, refused: dict[str, Any], why: str) -> None:
    (fault,) = (await client.post(VALIDATE, json=refused)).json()["faults"]
    assert fault["field"] == "resources"
    assert why in fault["message"]


@pytest.mark.parametrize(
    "image", ["/", "/data/x.sif", "dir:/etc", "http://169.254.169.254/x", "169.254.169.254/x"]
)
async def test_files_of_the_site_are_no_images(client: httpx.AsyncClient, image: str) -> None:
    """Apptainer and podman would make a container of them, in which the host is to be read."""
    asked = task() | {"executors": [{"image": image, "command": ["cat", "/etc/shadow"]}]}
    answer = await client.post(f"{TES}/tasks", json=asked)
    assert answer.status_code == 400
    assert f"it does not take the image {image} (files, other URLs and registries at local" in answer.text


async def test_a_time_limit_that_nobody_keeps_is_warned_of(client: httpx.AsyncClient) -> None:
    said = (await client.post(VALIDATE, json=task({"walltime_s": "60"}))).json()
    assert said["warnings"] == ["walltime_s has no effect at here: no scheduler there is told of it"]
    to_cluster = task({"walltime_s": "60", "destination": "cluster"}, preemptible=True)
    assert (await client.post(VALIDATE, json=to_cluster)).json()["warnings"] == []


async def test_service_info_names_the_parameters(client: httpx.AsyncClient) -> None:
    info = (await client.get(f"{TES}/service-info")).json()
    assert {"destination", "walltime_s"} <= set(info["tesResources_backend_parameters"])
