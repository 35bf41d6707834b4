"""The URLs that a task may name: which there are, and what is wrong with one."""

import re
from urllib.parse import unquote, urlsplit

from tesp_api.tes.paths import has_control_characters, normal_path
from tesp_api.tes.userinfo import userinfo_fault

SUPPORTED_SCHEMES = ("http", "https", "ftp", "ftps", "s3", "file")
"""What the worker can transfer, besides bare absolute paths; its registry must have just these."""

_ACCEPTED = ", ".join(f"{scheme}://" for scheme in SUPPORTED_SCHEMES) + " and absolute paths"
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_KEY_MAX_BYTES = 1024  # Source: Amazon S3, "Naming Amazon S3 objects"
_LOCAL_HOSTS = frozenset({"", "localhost"})


def scheme_of(url: str) -> str:
    """The scheme in lower case; "" for a bare path."""
    before, colon, _ = url.partition(":")
    return before.lower() if colon and "/" not in before else ""


def local_path(url: str) -> str | None:
    """The path at the compute site that a valid `url` names, normalized; None if it names a server."""
    scheme = scheme_of(url)
    if scheme not in ("", "file"):
        return None
    return normal_path(
        url
        if not scheme
        else unquote("/" + url[len("file://") :].partition("/")[2], errors="surrogateescape")
    )


def url_fault(url: str) -> str | None:
    """What is wrong with `url` and how to mend it; None if nothing is."""
    if has_control_characters(url):
        return "contains control characters: percent-encode them"
    scheme = scheme_of(url)
    if not scheme:
        return None if url.startswith("/") else f"is not absolute: supported are {_ACCEPTED}"
    if scheme not in SUPPORTED_SCHEMES:
        return f"the scheme {scheme[:40]!r} is not supported: supported are {_ACCEPTED}"
    if not url[len(scheme) :].startswith("://"):
        return f"is malformed: write {scheme}://, not {scheme}:"
    if fault := userinfo_fault(url):
        return fault
    if scheme == "s3":
        return _s3_fault(url)
    if scheme == "file":
        return _file_fault(url)
    return _web_fault(url) or (_ftp_fault if scheme in ("ftp", "ftps") else _http_fault)(url)


def file_fault(url: str) -> str | None:
    """What is wrong with a valid `url` as that of a file, if its type should be DIRECTORY."""
    if scheme_of(url) != "s3":
        return None
    key = url.partition("://")[2].partition("/")[2]
    if not key:
        return "names a bucket, and no key in it: write s3://bucket/key, or say type DIRECTORY"
    return "ends with a slash, as only a directory does: say type DIRECTORY" if key.endswith("/") else None


def _s3_fault(url: str) -> str | None:
    """Keys are taken letter by letter: `%`, `?` and `#` mean themselves, as in S3's own tools."""
    bucket, _, key = url[len("s3://") :].partition("/")
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        return f"the bucket {bucket[:80]!r} must be 3 to 63 letters, digits, hyphens and dots"
    if any(part in (".", "..") for part in key.split("/")):
        return "has a . or a .. as a part of its key, which servers and proxies take for a directory"
    try:
        size_bytes = len(key.encode())
    except UnicodeEncodeError:
        return "has letters that are none of Unicode"
    return f"has a key of {size_bytes} bytes, and S3 allows 1024" if size_bytes > _KEY_MAX_BYTES else None


def _file_fault(url: str) -> str | None:
    host, slash, path = url[len("file://") :].partition("/")
    if host.lower() not in _LOCAL_HOSTS:
        return f"names the host {host[:80]!r}, but files are read where the task runs: write file:///path"
    if not slash or not path:
        return "names no file: write file:///path"
    return "contains %00, which no file name can" if "\0" in unquote(path) else None


def _web_fault(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:  # whose text may have a part of a password
        return "is malformed: its host or port cannot be read; / ? # and @ in a password are %2F %3F %23 %40"
    if not host or " " in host:
        return "has no host, or one with spaces"
    return None if parts.query.isascii() else "has letters beyond ASCII after the ?: percent-encode them"


def _http_fault(url: str) -> str | None:
    return "has a #, and what follows it is never sent: in a name it is %23" if "#" in url else None


def _ftp_fault(url: str) -> str | None:
    """FTP's commands are lines, and its paths know no query: Source: RFC 1738, section 3.2."""
    if "?" in url or "#" in url:
        return "has a ? or a #, which an FTP path can only have as %3F and %23"
    if any(sign in unquote(url, "latin-1") for sign in "\r\n\0"):
        return "has a line break or a NUL, which FTP cannot send"
    return None if urlsplit(url).path.strip("/") else "names no file"
