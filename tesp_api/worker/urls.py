"""URLs as the worker needs them: split, extended, and shown without secrets."""

from __future__ import annotations

import posixpath
from functools import lru_cache
from typing import Iterable, NamedTuple
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

from .errors import StagingError


def scheme_of(url: str) -> str:
    """The scheme in lower case; empty for a bare path."""
    head, colon, _ = url.partition("://")
    return head.lower() if colon and head.isalnum() else ""


def shown(url: str) -> str:
    """The URL without userinfo, query and fragment: any of them may carry credentials.

    Those of S3 and of files are shown whole: they have none of them, and `?` and `#` are letters of names.
    """
    if scheme_of(url) in ("", "s3", "file"):
        return url
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def without_secrets(text: str, url: str) -> str:
    """A server's answer without the secrets of the request's URL that it repeats."""
    parts = urlsplit(url)
    userinfo = parts.netloc.rpartition("@")[0]
    values = [item.partition("=")[2] for item in parts.query.split("&")]
    return hide(text, [userinfo, userinfo.partition(":")[2], parts.query, *values])


def hide(text: str, secrets: Iterable[str]) -> str:
    """The text without the secrets, as they are, percent-encoded or decoded; very short ones stay."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) > 2:
            for form in (secret, unquote(secret), quote(secret, safe="", errors="surrogateescape")):
                text = text.replace(form, "***")
    return text


def extend(url: str, relative: str) -> str:
    """The URL of a file below the directory that `url` names; a query stays at the end.

    Names are percent-encoded, but not those in S3, whose URLs are taken literally.
    """
    if scheme_of(url) == "s3":
        return f"{url.rstrip('/')}/{relative}"
    if not scheme_of(url):
        return posixpath.join(url.rstrip("/") or "/", relative)
    if scheme_of(url) == "file":  # whose names may have ? and # as they are
        return f"{url.rstrip('/')}/{quote(relative, errors='surrogateescape')}"
    head, sign, query = url.partition("#")[0].partition("?")
    return head.rstrip("/") + "/" + quote(relative, errors="surrogateescape") + sign + query


def split_s3(url: str) -> tuple[str, str]:
    """The bucket and the key of an S3 URL, whose key is what follows, letter by letter."""
    bucket, _, key = url.partition("://")[2].partition("/")
    return bucket, key


def local_path(url: str) -> str:
    """The absolute path that a `file://` URL (percent-decoded) or a bare path (as it is) names.

    Raises: StagingError if it is relative or on another host.
    """
    path = url
    if scheme_of(url):
        parts = urlsplit(url, allow_fragments=False)
        if parts.netloc not in ("", "localhost"):
            raise StagingError(
                f"{shown(url)} is on another host; file:// URLs name files of the compute site"
            )
        path = unquote(parts.path + (f"?{parts.query}" if parts.query else ""), errors="surrogateescape")
    if not path.startswith("/") or "\0" in path:
        raise StagingError(f"{url!r} is neither a URL of a known kind nor an absolute path")
    return posixpath.normpath("/" + path.lstrip("/"))


class Origin(NamedTuple):
    """Where an HTTP request goes, and as whom."""

    scheme: str
    host: str
    port: int
    target: str
    userinfo: str | None


def http_origin(url: str) -> Origin:
    """Raises: StagingError for a URL without a host or with a bad port."""
    parts = urlsplit(url)
    try:
        host, port, userinfo = _place(parts.scheme, parts.netloc)
    except ValueError as error:
        raise StagingError(f"{shown(url)}: {error}") from None
    if not host:
        raise StagingError(f"{shown(url)} names no host")
    target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._") + (f"?{parts.query}" if parts.query else "")
    return Origin(parts.scheme, host, port, target.replace(" ", "%20"), userinfo)


@lru_cache(maxsize=64)
def _place(scheme: str, netloc: str) -> tuple[str, int, str | None]:
    """Many URLs share it, and to take it apart costs more than the rest of them."""
    parts = SplitResult(scheme, netloc, "", "", "")
    userinfo = unquote(netloc.rpartition("@")[0]) if "@" in netloc else None
    return parts.hostname or "", parts.port or (443 if scheme == "https" else 80), userinfo
