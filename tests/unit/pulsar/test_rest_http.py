import inspect
from collections.abc import Iterator

import httpx
import pytest

from tesp_api.errors import PulsarError, PulsarRefused, PulsarUnavailable
from tesp_api.pulsar import rest_http
from tesp_api.pulsar.rest_http import FOREIGN_ERRORS, PulsarFault, PulsarHttp, judge, translate
from tests.services.file_server import FileServer

# raised on our own wrong use of httpx, or only if we ask for it: they should surface as they are
OURS = {httpx.HTTPError, httpx.RequestError, httpx.TransportError, httpx.ProtocolError, httpx.HTTPStatusError}


def request_errors() -> Iterator[type[Exception]]:
    """Every exception that httpx exports and that sending a request may raise."""
    for _, member in inspect.getmembers(httpx, inspect.isclass):
        if issubclass(member, httpx.HTTPError | httpx.InvalidURL) and member not in OURS:
            yield member


@pytest.mark.parametrize("foreign", list(request_errors()))
def test_the_table_translates_every_error_of_a_request(foreign: type[Exception]) -> None:
    error = translate("site", foreign("https://host/?private_token=secret"))
    assert isinstance(error, PulsarUnavailable | PulsarRefused)
    assert "site" in str(error)
    assert "secret" not in str(error)


def test_the_table_holds_nothing_that_httpx_does_not_raise() -> None:
    assert {one for one in FOREIGN_ERRORS if one.__module__ == "httpx"} <= set(request_errors())


def test_an_error_that_is_no_request_error_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        translate("site", ZeroDivisionError())


@pytest.mark.parametrize(
    ("status_code", "expected"),
    [
        (401, PulsarRefused),
        (403, PulsarRefused),
        (404, PulsarRefused),
        (302, PulsarRefused),
        (413, PulsarRefused),
        (408, PulsarUnavailable),
        (429, PulsarUnavailable),
        (500, PulsarFault),
        (502, PulsarUnavailable),
        (503, PulsarUnavailable),
        (504, PulsarUnavailable),
    ],
)
def test_every_answer_has_its_meaning(status_code: int, expected: type[PulsarError]) -> None:
    assert type(judge("site", status_code)) is expected


@pytest.mark.parametrize("url", ["http://host:port/", "ftp://host", "host:80/x", "/only/a/path"])
async def test_a_url_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(PulsarRefused):
        await PulsarHttp("site", url, "secret", 1.0).send("GET", "/healthz")


@pytest.mark.services
async def test_an_answer_without_end_is_not_taken_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest_http, "READ_MAX_BYTES", 100_000)
    with FileServer() as server:
        server.files = {"/small": bytes(100_000), "/large": bytes(10_000_000)}
        http = PulsarHttp("site", server.url, None, 10)
        assert await http.send("GET", "/small") == bytes(100_000)
        with pytest.raises(PulsarRefused, match="site"):
            await http.send("GET", "/large")
        await http.aclose()
