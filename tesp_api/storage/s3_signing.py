"""Signed requests of S3: made with a credential's keys, here, for those who must not have the keys.

Signing is arithmetic: nothing is asked of the server. Source: AWS Signature Version 4, query parameters
and POST policies; the algorithm is botocore's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from tesp_api.errors import Fault, InvalidRequest
from tesp_api.settings import CredentialSettings
from tesp_api.worker.urls import split_s3

if TYPE_CHECKING:
    from botocore.credentials import Credentials

# botocore is imported where it is needed: servers without S3 do not load it

EXPIRES_S = 3600
LONGEST_S = 7 * 24 * 3600
"""The longest that Signature Version 4 allows. With a `session_token`, its own end comes first."""

_OPERATIONS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "get": ("GET", {}),
    "head": ("HEAD", {}),
    "list": ("GET", {"list-type": "2", "encoding-type": "url"}),
    "put": ("PUT", {}),
    "create_upload": ("POST", {"uploads": ""}),
    "upload_part": ("PUT", {}),
    "list_parts": ("GET", {}),
    "complete_upload": ("POST", {}),
    "abort_upload": ("DELETE", {}),
    "delete": ("DELETE", {}),
}
"""The method of each operation, and the parameters that make it what it is."""


class SignedRequest(NamedTuple):
    """A request to make as it is."""

    method: str
    url: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class SignedForm:
    """A POST policy: where to send a form, and all of its fields but the key and the file."""

    url: str
    fields: dict[str, str]


class S3Signer:
    """Signs with whatever credential it is given; one without keys gives requests without signatures.

    Safe to use from several threads.
    """

    def sign(
        self,
        operation: str,
        url: str,
        parameters: Mapping[str, str],
        rule: CredentialSettings,
        expires_s: int = EXPIRES_S,
    ) -> SignedRequest:
        """A request to S3. `operation` and `parameters` are those of `worker.transfer.lending.Ask`.

        Whether the caller may have it is not asked here. A list is one of the bucket: its `prefix` says of
        what.
        """
        method, always = _OPERATIONS[operation]
        bucket, key = split_s3(url)
        query = {**always, **parameters}
        address = address_of(bucket, "" if operation == "list" else key, rule)
        if query:
            address += "?" + urlencode(query, quote_via=quote, safe="")
        keys = _keys_of(rule)
        if keys is None:
            return SignedRequest(method, address, {})
        from botocore.auth import S3SigV4QueryAuth
        from botocore.awsrequest import AWSRequest

        request = AWSRequest(method=method, url=address)
        S3SigV4QueryAuth(keys, "s3", rule.region, expires=expires_s).add_auth(request)
        return SignedRequest(method, str(request.url), {})

    def form(
        self, url: str, is_prefix: bool, rule: CredentialSettings, expires_s: int = LONGEST_S
    ) -> SignedForm:
        """A form for the key of `url`, or for every key that begins with it; the key is not among its fields.

        It takes files of up to the credential's `max_upload_bytes`.
        """
        bucket, key = split_s3(url)
        address = address_of(bucket, "", rule)
        keys = _keys_of(rule)
        if keys is None:
            return SignedForm(address, {})
        expiration = datetime.now(UTC) + timedelta(seconds=expires_s)
        policy = {
            "expiration": expiration.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "conditions": [
                {"bucket": bucket},
                ["starts-with" if is_prefix else "eq", "$key", key],
                ["content-length-range", 0, rule.max_upload_bytes],
            ],
        }
        return SignedForm(address, _signed_policy(policy, address, keys, rule))


def _signed_policy(
    policy: dict[str, Any], address: str, keys: "Credentials", rule: CredentialSettings
) -> dict[str, str]:
    from botocore.auth import S3SigV4PostAuth
    from botocore.awsrequest import AWSRequest

    request = AWSRequest(method="POST", url=address)
    request.context["s3-presign-post-policy"] = policy
    S3SigV4PostAuth(keys, "s3", rule.region).add_auth(request)
    fields: dict[str, str] = request.context["s3-presign-post-fields"]
    return fields


def endpoint_of(rule: CredentialSettings) -> str:
    """Where the server of a credential is; Amazon's in its region, unless the settings name another."""
    ending = "amazonaws.com.cn" if rule.region.startswith("cn-") else "amazonaws.com"
    return (rule.endpoint or f"https://s3.{rule.region}.{ending}").rstrip("/")


def address_of(bucket: str, key: str, rule: CredentialSettings) -> str:
    """Where a bucket, or an object in it, is reached over HTTP.

    A bucket whose name has a dot is always part of the path: no certificate is good for its host.

    Raises:
        InvalidRequest: the key cannot be encoded.
    """
    try:
        path = quote(key, safe="/~")
    except UnicodeEncodeError:
        raise InvalidRequest([Fault("url", "has letters that are none of Unicode")]) from None
    endpoint = endpoint_of(rule)
    if rule.path_style or "." in bucket:
        return f"{endpoint}/{quote(bucket)}" + (f"/{path}" if key else "")
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{bucket}.{parts.netloc}{parts.path}/{path}"


def _keys_of(rule: CredentialSettings) -> "Credentials | None":
    if rule.access_key_id is None or rule.secret_access_key is None:
        return None
    from botocore.credentials import Credentials

    token = rule.session_token.get_secret_value() if rule.session_token else None
    return Credentials(
        rule.access_key_id.get_secret_value(), rule.secret_access_key.get_secret_value(), token
    )
