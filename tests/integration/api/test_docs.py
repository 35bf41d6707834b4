"""The Swagger UI and the OpenAPI document."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
from fastapi import FastAPI
from starlette.routing import Route

from tesp_api.api.openapi import EXAMPLE_TASK
from tests.integration.api.life import TES, V1

OFFICIAL = Path(__file__).parents[3] / "tesp_api/api/tes_1_1.openapi.json"


@pytest.fixture
async def document(client: httpx.AsyncClient) -> Any:
    return (await client.get("/openapi.json")).json()


async def test_the_root_leads_to_the_docs(client: httpx.AsyncClient) -> None:
    answer = await client.get("/", follow_redirects=True)
    assert answer.status_code == 200
    assert answer.url.path == "/docs"
    assert "swagger-ui" in answer.text


async def test_the_page_needs_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    page = (await client.get("/docs")).text
    assert "//" not in page
    links = [*re.findall(r'(?:src|href)="([^"]+)"', page), *re.findall(r'url: "([^"]+)"', page)]
    assert len(links) == 4
    for link in links:
        answer = await client.get(urljoin("/docs", link))
        assert answer.status_code == 200
        assert len(answer.content) > 500


async def test_the_example_runs_as_it_stands(client: httpx.AsyncClient, document: Any) -> None:
    content = document["paths"][f"{TES}/tasks"]["post"]["requestBody"]["content"]["application/json"]
    assert content["example"] == EXAMPLE_TASK
    assert (await client.post(f"{TES}/tasks", json=content["example"])).status_code == 200


async def test_a_list_that_is_tried_out_as_it_stands_is_not_filtered(document: Any) -> None:
    parameters = document["paths"][f"{TES}/tasks"]["get"]["parameters"]
    prefilled = {
        parameter["name"]: parameter["schema"]["default"]
        for parameter in parameters
        if "$ref" not in parameter and {"default", "example"} & parameter["schema"].keys()
    }
    assert prefilled == {"page_size": 256}


async def test_the_document_names_every_route_and_no_other(app: FastAPI, document: Any) -> None:
    served = {
        (route.path, method.lower())
        for route in app.routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }
    documented = {(path, method) for path, methods in document["paths"].items() for method in methods}
    not_for_clients = {("/", "get"), ("/docs", "get"), ("/openapi.json", "get")}
    only_for_toil = {(f"{V1}/tasks/service-info", "get")}
    assert served - not_for_clients - only_for_toil == documented


async def test_the_standards_part_is_the_official_one(document: Any) -> None:
    official = json.loads(OFFICIAL.read_text(encoding="utf-8"))
    for path, operations in official["paths"].items():
        for method, operation in operations.items():
            ours = document["paths"][TES + path][method]
            assert ours["operationId"] == operation["operationId"]
            assert [p.get("name", p.get("$ref")) for p in ours.get("parameters", [])] == [
                p.get("name", p.get("$ref")) for p in operation.get("parameters", [])
            ]
            assert ours["responses"]["200"] == operation["responses"]["200"]
    for name, schema in official["components"]["schemas"].items():
        if "githubusercontent" not in json.dumps(schema):
            assert document["components"]["schemas"][name] == schema


async def test_operation_ids_are_unique_and_references_lead_somewhere(document: Any) -> None:
    names = [one["operationId"] for methods in document["paths"].values() for one in methods.values()]
    assert len(names) == len(set(names))
    for reference in re.findall(r'"\$ref": "([^"]+)"', json.dumps(document)):
        found = document
        assert reference.startswith("#/")
        for part in reference[2:].split("/"):
            found = found[part]
