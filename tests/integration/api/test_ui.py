"""The dashboard's page and files as they are served; what they do is seen in tests/browser."""

import gzip
import json
import re
from urllib.parse import urljoin

import httpx
import pytest

from tesp_api.api.application import build_api
from tesp_api.bell import Bell
from tesp_api.settings import Settings
from tesp_api.store.base import TaskStore
from tests.integration.api.life import connect


def links_of(page: str) -> list[str]:
    """What the page loads, seen from its base."""
    base = re.search(r'<base href="([^"]+)"', page)
    assert base is not None
    return [urljoin(base[1], link) for link in re.findall(r'(?:src|href)="(assets/[^"]+)"', page)]


@pytest.mark.parametrize("address", ["/ui/", "/ui/tasks", "/ui/tasks/x", "/ui/runs/x", "/ui/whatever"])
async def test_every_address_has_the_page(client: httpx.AsyncClient, address: str) -> None:
    answer = await client.get(address)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert '<base href="/ui/">' in answer.text


async def test_the_page_is_strict(client: httpx.AsyncClient) -> None:
    headers = (await client.get("/ui/")).headers
    policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'" and policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["require-trusted-types-for"] == "'script'" and policy["trusted-types"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


async def test_the_page_needs_nothing_from_elsewhere_and_nothing_inline(client: httpx.AsyncClient) -> None:
    page = (await client.get("/ui/")).text
    assert "//" not in re.sub(r"<script type=.application/json.*", "", page)
    assert not re.search(r"<style|style=|\son\w+=|<script>", page)
    links = links_of(page)
    assert len(links) > 5
    for link in links:
        assert (await client.get(link)).status_code == 200


async def test_files_are_kept_for_good_and_the_page_is_asked_for_again(client: httpx.AsyncClient) -> None:
    page = await client.get("/ui/")
    assert page.headers["cache-control"] == "no-cache"
    known = {"If-None-Match": page.headers["etag"]}
    assert (await client.get("/ui/", headers=known)).status_code == 304
    for link in links_of(page.text):
        answer = await client.get(link)
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert (await client.get(link, headers={"If-None-Match": answer.headers["etag"]})).status_code == 304
    elsewhere = re.sub(r"assets/\w+", "assets/0123456789abcdef", links_of(page.text)[0])
    assert (await client.get(elsewhere)).status_code == 404


async def test_files_are_packed_for_who_unpacks_them(client: httpx.AsyncClient) -> None:
    link = next(one for one in links_of((await client.get("/ui/")).text) if one.endswith("style.css"))
    plain = await client.get(link, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers and plain.headers["vary"] == "Accept-Encoding"
    async with client.stream("GET", link, headers={"Accept-Encoding": "gzip"}) as packed:
        assert packed.headers["content-encoding"] == "gzip"
        assert gzip.decompress(b"".join([part async for part in packed.aiter_raw()])) == plain.content


@pytest.mark.parametrize("name", ["..%2f..%2fassets.py", "%2fetc%2fpasswd", "index.html", "", "nothing.js"])
async def test_nothing_else_is_among_the_files(client: httpx.AsyncClient, name: str) -> None:
    link = links_of((await client.get("/ui/")).text)[0]
    assert (await client.get(f"{link.rpartition('/')[0]}/{name}")).status_code == 404


async def test_people_are_led_to_the_dashboard(client: httpx.AsyncClient) -> None:
    for address in ("/", "/ui"):
        answer = await client.get(address, follow_redirects=True)
        assert answer.url.path == "/ui/" and answer.status_code == 200


@pytest.mark.parametrize("seen", ["/lab/tes", ""], ids=["left in place", "stripped"])
async def test_a_proxys_path_is_before_all_addresses(store: TaskStore, settings: Settings, seen: str) -> None:
    server = settings.server.model_copy(update={"root_path": "/lab/tes"})
    behind = settings.model_copy(update={"server": server})
    async with connect(build_api(store, Bell(), behind, {})) as client:
        page = (await client.get(f"{seen}/ui/tasks/x")).text
        assert '<base href="/lab/tes/ui/">' in page
        for link in links_of(page):
            assert (await client.get(seen + link.removeprefix("/lab/tes"))).status_code == 200
        assert (await client.get(f"{seen}/ui")).headers["location"] == "/lab/tes/ui/"


async def test_the_page_knows_how_one_logs_in(client: httpx.AsyncClient) -> None:
    page = (await client.get("/ui/")).text
    about = json.loads(re.search(r'id="about">(.*?)</script>', page)[1])  # type: ignore[index]
    assert about["ways"] == [] and about["issuers"] == [] and about["withRuns"] is True
