"""What a task's document says of storage: its URLs, and the credentials that it names."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple, Protocol

from tesp_api.tes.backend_parameters import backend_parameter
from tesp_api.tes.paths import has_wildcards
from tesp_api.tes.urls import scheme_of

LOGIN_SCHEMES = frozenset({"http", "https", "ftp", "ftps"})
S3_SCHEME = "s3"

_CREDENTIALS = "credentials"


class Declaring(Protocol):
    """A task, as far as storage is concerned."""

    @property
    def id(self) -> str:
        """For which its logins are sealed."""

    @property
    def sealed(self) -> str:
        """The logins that came in its URLs, or nothing."""

    @property
    def owner(self) -> str:
        """Whose task it is."""

    @property
    def request(self) -> Mapping[str, Any]:
        """The task's document as it was validated."""


class Declared(NamedTuple):
    """A URL that the worker will read or write; of a tree, also what is below it."""

    url: str
    direction: Literal["in", "out"]
    is_tree: bool

    @property
    def scheme(self) -> str:
        """In lower case; empty for a bare path."""
        return scheme_of(self.url)


def declared_in(request: Mapping[str, Any]) -> Iterator[Declared]:
    """The URLs of inputs and outputs. An input that has content is not fetched, so its URL is left out."""
    for item in request.get("inputs") or ():
        if item.get("url") and not item.get("content"):
            yield Declared(item["url"], "in", item.get("type") == "DIRECTORY")
    for item in request.get("outputs") or ():
        is_pattern = bool(item.get("path_prefix")) and has_wildcards(item["path"])
        yield Declared(item["url"], "out", is_pattern or item.get("type") == "DIRECTORY")


def credentials_named_in(request: Mapping[str, Any]) -> frozenset[str]:
    """The names in the backend parameter `credentials`, which are separated by commas."""
    named = backend_parameter(request, _CREDENTIALS) or ""
    return frozenset(filter(None, (name.strip() for name in named.split(","))))
