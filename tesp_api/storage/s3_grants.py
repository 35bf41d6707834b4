"""Which requests of S3 an attempt may have signed: those for what its task declares, and no others."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from tesp_api.errors import NotLent
from tesp_api.storage.credentials import Credential, Credentials
from tesp_api.storage.declared import S3_SCHEME, Declaring, credentials_named_in, declared_in
from tesp_api.tes.urls import scheme_of
from tesp_api.worker.urls import split_s3

PARAMETERS: Mapping[str, frozenset[str]] = {
    "get": frozenset(),
    "head": frozenset(),
    "list": frozenset(
        {"list-type", "prefix", "delimiter", "continuation-token", "max-keys", "encoding-type"}
    ),
    "put": frozenset(),
    "create_upload": frozenset(),
    "upload_part": frozenset({"uploadId", "partNumber"}),
    "list_parts": frozenset({"uploadId", "part-number-marker", "max-parts"}),
    "complete_upload": frozenset({"uploadId"}),
    "abort_upload": frozenset({"uploadId"}),
}
"""The operations, with the parameters that each may have: others would make it another operation."""

NEEDED: Mapping[str, frozenset[str]] = {
    "list": frozenset({"prefix"}),
    "upload_part": frozenset({"uploadId", "partNumber"}),
    "list_parts": frozenset({"uploadId"}),
    "complete_upload": frozenset({"uploadId"}),
    "abort_upload": frozenset({"uploadId"}),
}
"""Those that it must have: without them it would be one for another thing.

Some servers take one that is empty for none: Ceph answers an abort with an empty `uploadId` by deleting the
object.
"""

MAY_BE_EMPTY = frozenset({"prefix"})
"""The prefix of a whole bucket is empty; whether the task may list that is asked."""

_BUCKET = re.compile(r"[A-Za-z0-9_.-]+")
_READING = frozenset({"get", "head", "list"})
_WRITING = frozenset(PARAMETERS) - {"get", "list"}


class Ask(NamedTuple):
    """A request that a worker wants signed; its operation and parameters are among `PARAMETERS`."""

    operation: str
    url: str
    parameters: Mapping[str, str]


class Place(NamedTuple):
    """What an S3 URL names."""

    bucket: str
    key: str


class S3Grants:
    """The rights of one task, looked up quickly: a directory may have very many files."""

    def __init__(self, task: Declaring, credentials: Credentials) -> None:
        self._task = task
        self._named = credentials_named_in(task.request)
        self._credentials = credentials
        self._found: dict[str, Credential] = {}
        self._files: dict[str, dict[Place, str]] = defaultdict(dict)
        self._trees: dict[str, dict[Place, str]] = defaultdict(dict)
        for declared in declared_in(task.request):
            if declared.scheme != S3_SCHEME or (place := place_of(declared.url)) is None:
                continue
            if declared.is_tree:
                root = Place(place.bucket, place.key.rstrip("/"))
                self._trees[declared.direction].setdefault(root, declared.url)
            else:
                self._files[declared.direction].setdefault(place, declared.url)

    def credential_for(self, ask: Ask) -> Credential:
        """The credential with which to sign: that of the declared URL which gives the right.

        Raises:
            NotLent: no declared URL does, or it has no credential.
        """
        declared_url = self._declared_url(ask)
        if declared_url is None:
            raise NotLent(f"{ask.operation} of {ask.url[:500]!r}: the task declares no such URL")
        if declared_url not in self._found:
            self._found[declared_url] = self._credential_of(declared_url)
        return self._found[declared_url]

    def _declared_url(self, ask: Ask) -> str | None:
        place = place_of(ask.url)
        if place is None:
            return None
        if ask.operation == "list":
            return self._listed_url(place, ask.parameters["prefix"])
        if not place.key:  # as a request it would be one for the bucket
            return None
        for direction, operations in (("in", _READING), ("out", _WRITING)):
            if ask.operation not in operations:
                continue
            declared = self._files[direction].get(place) or self._tree_around(direction, place)
            if declared is not None:
                return declared
        return None

    def _listed_url(self, place: Place, prefix: str) -> str | None:
        """The directory in which a list stays. The URL may name the bucket, or what is listed.

        Below a file it may be listed too, so that the worker can say that the file is a directory.
        """
        if not _is_plain(prefix):
            return None
        if place in self._files["in"] and prefix == f"{place.key}/":
            return self._files["in"][place]
        declared = self._tree_around("in", Place(place.bucket, prefix))
        if place.key and declared != self._tree_around("in", Place(place.bucket, f"{place.key}/")):
            return None
        return declared

    def _tree_around(self, direction: str, place: Place) -> str | None:
        """The directory nearest to what is below it; a directory is not below itself."""
        trees = self._trees[direction]
        around = (trees.get(Place(place.bucket, key)) for key in _above(place.key))
        return next((url for url in around if url is not None), None)

    def _credential_of(self, url: str) -> Credential:
        found = self._credentials.find(url, owner=self._task.owner, named=self._named)
        if found is None:
            raise NotLent(
                f"{url[:500]!r}: the server has no credential for it that this task may use; its settings "
                "need a table [credentials.NAME] with a url_prefix of this URL, an access_key_id and a "
                "secret_access_key"
            )
        return found


def place_of(url: str) -> Place | None:
    """What an S3 URL names; None for one that a server or a proxy on the way might read as another."""
    if scheme_of(url) != S3_SCHEME:
        return None
    bucket, key = split_s3(url)
    return Place(bucket, key) if _BUCKET.fullmatch(bucket) and _is_plain(key) else None


def _is_plain(key: str) -> bool:
    """Whether no part of the key is one that a server or a proxy might resolve."""
    return not any(part in (".", "..") for part in key.split("/"))


def _above(key: str) -> Iterator[str]:
    """All that a key is below, nearest first; the whole bucket last."""
    at = key.rfind("/")
    while at > 0:
        yield key[:at]
        at = key.rfind("/", 0, at)
    yield ""
