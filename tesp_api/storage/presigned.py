"""What a worker gets that cannot ask: requests of S3 that were signed before its job was sent.

They are good for seven days at most. A job that waits longer in its queue finds them expired, and says so.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from tesp_api.errors import StagingRefused
from tesp_api.settings import CredentialSettings
from tesp_api.storage.declared import S3_SCHEME, Declared, declared_in
from tesp_api.storage.s3_signing import LONGEST_S, S3Signer
from tesp_api.worker.urls import extend

Find = Callable[[str], CredentialSettings | None]


async def presign_task(document: Mapping[str, Any], find: Find, signer: S3Signer) -> dict[str, Any]:
    """The part `lent` of task.json for a task's document; `find` gives the credential for an S3 URL.

    Directories are listed now: files that appear in them later are not fetched. Gets and listings are those
    of the inputs, forms those of the outputs; a form for a tree is good for every key below it.

    Raises:
        StagingRefused: a URL has no credential, or a directory cannot be listed.
    """
    lent: dict[str, Any] = {"gets": {}, "listings": {}, "forms": []}
    for declared in declared_in(document):
        if declared.scheme != S3_SCHEME:
            continue
        rule = find(declared.url)
        if rule is None:
            raise StagingRefused(declared.url, "there is no credential for it (any more)")
        if declared.direction == "out":
            lent["forms"].append(_form(declared, rule, signer))
        elif declared.is_tree:
            listing = await asyncio.to_thread(_list, declared.url, rule)
            lent["listings"][declared.url] = [
                {"name": name, "size_bytes": size_bytes, "url": _get(url, rule, signer)}
                for name, url, size_bytes in listing
            ]
        else:
            lent["gets"][declared.url] = _get(declared.url, rule, signer)
    return lent


def _get(url: str, rule: CredentialSettings, signer: S3Signer) -> str:
    return signer.sign("get", url, {}, rule, expires_s=LONGEST_S).url


def _form(declared: Declared, rule: CredentialSettings, signer: S3Signer) -> dict[str, Any]:
    """Of a tree, it begins with the directory and a slash: `out` is no prefix of `output`."""
    url = extend(declared.url, "") if declared.is_tree else declared.url
    form = signer.form(url, declared.is_tree, rule)
    return {
        "s3_url": url,
        "is_prefix": declared.is_tree,
        "url": form.url,
        "fields": form.fields,
        "max_bytes": rule.max_upload_bytes,
    }


def _list(url: str, rule: CredentialSettings) -> list[tuple[str, str, int]]:
    from tesp_api.storage.s3_listing import list_tree  # botocore: not for servers without S3

    return list_tree(url, rule)
