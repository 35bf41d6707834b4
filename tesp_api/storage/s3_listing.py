"""The files beneath an S3 URL, as a job's worker is told them that cannot ask."""

from collections.abc import Iterator
from typing import Any

import botocore.session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import SecretStr

from tesp_api.errors import StagingRefused
from tesp_api.settings import CredentialSettings
from tesp_api.storage.s3_signing import endpoint_of
from tesp_api.worker.urls import split_s3

MOST_KEYS = 10_000
CONNECT_S, READ_S, TRIES = 5, 20, 3


def list_tree(url: str, rule: CredentialSettings) -> list[tuple[str, str, int]]:
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
