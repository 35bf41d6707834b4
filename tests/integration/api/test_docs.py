"""The Swagger UI and the OpenAPI document."""

import re
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest

from tesp_api.api.openapi_operations import EXAMPLE_TASK
from tests.integration.api.life import TES


@pytest.fixture
async def document(client: httpx.AsyncClient) -> Any:
    return (await client.get("/openapi.json")).json()


async def test_the_page_is_swaggers(client: httpx.AsyncClient) -> None:
    answer = await client.get("/docs")
    assert answer.status_code == 200
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


async def test_the_pages_are_framed_by_nobody(client: httpx.AsyncClient) -> None:
    for page in ("/docs", "/docs/oauth2-redirect"):
        headers = (await client.get(page)).headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
