"""Transfers to and from S3: every request is one that the API has signed, so no keys are here.

A large file is sent in parts (`s3_multipart.py`); directories are prefixes (`s3_listing.py`).
"""

from __future__ import annotations

import base64
import os
from typing import Callable

from ..errors import StagingError
from ..job import make_directories
from ..parallel import run_together
from ..urls import extend, shown, split_s3
from . import Moved, Site, Source
from .connection import Exchange
from .http import receive, require_same
from .lending import Ask, Signed
from .moving import Partial, Reading
from .retry import Passing, try_often
from .s3_answers import FOREIGN, Missing, fields_of, require
from .s3_etags import check_etag, claims_of, is_md5
from .s3_listing import list_names, plant
from .signatures import Signatures
from .slices import digest_of
from .statements import validator_of

SINGLE_MAX_BYTES = 16 * 1024 * 1024
"""What is larger is sent in parts."""


def fetch_file(url: str, destination: str, site: Site) -> Moved:
    try:
        return _fetch(url, destination, site, [])
    except StagingError as error:
        if isinstance(error.__cause__, Missing) and _is_directory(url, site):
            raise StagingError(
                f"{shown(url)}: there are keys below it: its type must be DIRECTORY"
            ) from error
        raise


def fetch_directory(url: str, destination: str, site: Site) -> dict[str, Moved]:
    listed = site.lender.listing_of(url)
    names = list_names(url, site) if listed is None else ((one.name, one.size_bytes) for one in listed)
    tree = plant(url, names, site)
    for name in tree.directories:
        make_directories(os.path.join(destination, name))
    count = len(tree.files)
    gets = Signatures(count, lambda number: Ask("get", extend(url, tree.files[number])), site.lender)
    moved: dict[str, Moved] = {}

    def call(number: int, name: str) -> Callable[[], None]:
        def fetch() -> None:
            there = extend(url, name)
            moved[name] = _fetch(there, os.path.join(destination, name), site, [gets.take(number)])

        return fetch

    calls = [call(number, name) for number, name in enumerate(tree.files)]
    run_together(calls, site.cancellation, site.patience.at_once)
    return {name: moved[name] for name in tree.files}


def send_file(source: Source, url: str, site: Site) -> Moved:
    """Whole, or in parts; at a site that cannot ask, with the form that it was given."""
    check_key(url)
    form = site.lender.form_for(url)
    if form is not None:
        from .s3_form import send_form

        return send_form(source, url, form, site)
    if source.size_bytes > SINGLE_MAX_BYTES:
        from .s3_multipart import send_in_parts

        return send_in_parts(source, url, site)
    # Beforehand, so that S3 can refuse what was spoiled on its way, and keep what it has.
    md5 = digest_of(source, "md5", 0, source.size_bytes, site.cancellation.check)
    return try_often(lambda: _put(source, md5, url, site), url, site, FOREIGN)


def make_directory(url: str, site: Site) -> None:
    """Store an empty object whose key ends with a slash, as S3's own tools keep empty directories."""
    if not split_s3(url)[1].strip("/"):
        return
    with open(os.devnull, "rb") as nothing:
        send_file(Source(nothing.fileno(), 0, 0, 0, "directory"), extend(url, ""), site)


def is_in_place(url: str, host_path: str, site: Site) -> bool:
    return False


def check_key(url: str) -> None:
    """Raises: StagingError for a file name that S3 cannot have."""
    try:
        size_bytes = len(split_s3(url)[1].encode())
    except UnicodeEncodeError:
        raise StagingError(f"{shown(url)!r}: its name is no UTF-8, which keys of S3 must be") from None
    if size_bytes > 1024:
        raise StagingError(f"{shown(url)}: its key has {size_bytes} bytes, and S3 allows 1024")


def require_size(url: str, size_bytes: int, site: Site) -> None:
    """Raises: Passing if what S3 has stored is shorter or longer."""
    signed = site.lender.sign([Ask("head", url)])[0]
    patience = site.patience
    with Exchange(signed.method, signed.url, signed.headers, patience.stall_s, guard=site.guard) as exchange:
        require(exchange, (200,), site, fields_of(signed), "HEAD: ")
        stored = exchange.response.headers.get("Content-Length", "")
    if stored != str(size_bytes):
        raise Passing(f"the server has stored {stored or 'an unknown number'} of {size_bytes} bytes")


def _fetch(url: str, destination: str, site: Site, ready: list[Signed]) -> Moved:
    """The first try takes what is ready; each of the others is signed anew."""
    with Partial(url, destination, site) as part:

        def attempt() -> Moved:
            signed = ready.pop() if ready else site.lender.sign([Ask("get", url)])[0]
            return _get(signed, url, part, site)

        return try_often(attempt, url, site, FOREIGN, lambda: part.furthest)


def _get(signed: Signed, url: str, part: Partial, site: Site) -> Moved:
    """One try: what follows the bytes that are there, if they are of the same version."""
    asked = {}
    if part.size_bytes and part.validator:
        asked = {"Range": f"bytes={part.size_bytes}-", "If-Range": part.validator}
    headers = {**signed.headers, **asked}
    with Exchange(signed.method, signed.url, headers, site.patience.stall_s, guard=site.guard) as exchange:
        response = exchange.response
        if asked and response.status == 206:
            require_same(response, part)
        elif asked and response.status == 416:
            part.restart()
            raise Passing("status 416: it is shorter than it was")
        else:
            require(exchange, (200,), site, fields_of(signed))
            part.restart(validator_of(response.headers), response.length, claims_of(response.headers))
            if response.length is None and not response.chunked:
                site.message(f"{shown(url)}: the server does not say how long it is, so this was not checked")
        receive(response, part, site)
        return part.finish()


def _is_directory(url: str, site: Site) -> bool:
    """Whether there is anything below; no, if that cannot be said."""
    if site.lender.listing_of(url) is not None:
        return True
    try:
        return (
            next(list_names(url, site._replace(patience=site.patience._replace(tries=1))), None) is not None
        )
    except StagingError:
        return False


def _put(source: Source, md5: bytes, url: str, site: Site) -> Moved:
    signed = site.lender.sign([Ask("put", url)])[0]
    body = Reading(source, site)
    headers = {
        **signed.headers,
        "Content-Length": str(source.size_bytes),
        "Content-MD5": base64.b64encode(md5).decode(),
    }
    with Exchange(
        signed.method, signed.url, headers, site.patience.stall_s, body, guard=site.guard
    ) as exchange:
        require(exchange, (200,), site, fields_of(signed), "PUT: ")
        moved = body.finish()
        check_etag(exchange.response.headers, md5)
        is_proved = is_md5(exchange.response.headers)
    if not is_proved:
        require_size(url, moved.size_bytes, site)
    return moved
