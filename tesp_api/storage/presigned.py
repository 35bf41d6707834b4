"""What a worker gets that cannot ask: requests of S3 that were signed before its job was sent.

They are good for seven days at most. A job that waits longer in its queue finds them expired, and says so.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import botocore.session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import SecretStr

from tesp_api.errors import StagingRefused
from tesp_api.settings import CredentialSettings
from tesp_api.storage.declared import S3_SCHEME, Declared, declared_in
from tesp_api.storage.s3_signing import LONGEST_S, S3Signer, endpoint_of
from tesp_api.worker.urls import extend, split_s3

MOST_KEYS = 10_000
CONNECT_S, READ_S, TRIES = 5, 20, 3

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
    """Name, URL and size of each key below the directory, in this thread.

    Raises:
        StagingRefused: S3 said no, does not answer, or there are too many.
    """
    try:
        return list(_listed(url, rule))
    except ClientError as error:
        said = error.response.get("Error", {})
        reason = f"{said.get('Code')}: {said.get('Message', '')}".strip(": ")
        raise StagingRefused(url, f"cannot be listed: {reason}") from None
    except BotoCoreError as error:
        raise StagingRefused(url, f"cannot be listed: {type(error).__name__}") from None


def _listed(url: str, rule: CredentialSettings) -> Iterator[tuple[str, str, int]]:
    bucket, key = split_s3(url)
    prefix = f"{key.rstrip('/')}/" if key.rstrip("/") else ""
    pages = _client(rule).get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    count = 0
    for page in pages:
        for item in page.get("Contents", ()):
            count += 1
            if count > MOST_KEYS:
                raise StagingRefused(
                    url,
                    f"has more than {MOST_KEYS} files, and the site cannot reach this server to ask for "
                    "them: give it a channel_url, or pass an archive",
                )
            name = item["Key"][len(prefix) :]
            yield name, f"s3://{bucket}/{item['Key']}", item["Size"]


def _client(rule: CredentialSettings) -> Any:
    return botocore.session.Session().create_client(
        "s3",
        region_name=rule.region,
        endpoint_url=endpoint_of(rule),
        aws_access_key_id=_shown(rule.access_key_id),
        aws_secret_access_key=_shown(rule.secret_access_key),
        aws_session_token=_shown(rule.session_token),
        config=Config(
            signature_version="s3v4" if rule.access_key_id else UNSIGNED,
            connect_timeout=CONNECT_S,
            read_timeout=READ_S,
            retries={"total_max_attempts": TRIES},
            s3={"addressing_style": "path" if rule.path_style else "virtual"},
        ),
    )


def _shown(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None
