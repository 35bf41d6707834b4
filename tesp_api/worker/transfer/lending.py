"""What the API lends to the attempt so that it can reach storage: logins, signed requests, forms.

None of it is ever written to a file of the site.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, Sequence

from ..errors import StagingError
from ..urls import shown


class Login(NamedTuple):
    """How to log in for all URLs below `url_prefix`; `headers` go with each HTTP request there.

    `name` is the credential's in the settings; empty for a login that came in a URL of the task.
    """

    url_prefix: str
    username: str = ""
    password: str = ""
    headers: dict[str, str] = {}  # noqa: RUF012
    name: str = ""


class Ask(NamedTuple):
    """A request of S3 to be signed.

    `operation` is one of get, head, list, put, create_upload, upload_part, list_parts, complete_upload,
    abort_upload; `parameters` are those that are part of the signature, by S3's names (`uploadId`,
    `partNumber`, `prefix`, `continuation-token`, ...).
    """

    operation: str
    url: str
    parameters: dict[str, str] = {}  # noqa: RUF012


class Signed(NamedTuple):
    """A request to make as it is, good for a while: ask anew before each try."""

    method: str
    url: str
    headers: dict[str, str]


class Form(NamedTuple):
    """Where an output may be posted without asking: an S3 POST policy."""

    url: str
    fields: dict[str, str]
    max_bytes: int


class Listed(NamedTuple):
    """A file of a directory that was listed for us; `url` is signed."""

    name: str
    size_bytes: int
    url: str


class Lender(Protocol):
    """Answers from memory or asks the API. Safe to use from several threads.

    Every method raises StagingError when the API refuses, with its reason, or cannot be reached for long.
    """

    def login_for(self, url: str) -> Login | None:
        """The login with the longest prefix of this URL of HTTP or FTP."""

    def sign(self, asks: Sequence[Ask]) -> list[Signed]:
        """Each of the requests, signed, in the same order; at most 500 at once."""

    def listing_of(self, url: str) -> list[Listed] | None:
        """What is below an S3 URL, if that was listed beforehand."""

    def form_for(self, url: str) -> Form | None:
        """The form with which to send to this S3 URL, if there is one."""


class NoLender:
    """Lends nothing: a task whose URLs need no secrets."""

    def login_for(self, url: str) -> Login | None:
        return None

    def sign(self, asks: Sequence[Ask]) -> list[Signed]:
        raise StagingError(
            f"{shown(asks[0].url)}: this site has no way to reach the server that signs for S3"
        )

    def listing_of(self, url: str) -> list[Listed] | None:
        return None

    def form_for(self, url: str) -> Form | None:
        return None
