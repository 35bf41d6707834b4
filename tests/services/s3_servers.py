"""S3 servers that tests share: what they have in common, and a client to look behind the worker's back."""

from typing import Any, NamedTuple

import botocore.session
from botocore.config import Config

from tesp_api.settings import CredentialSettings

REGION = "us-east-1"


class S3Place(NamedTuple):
    """A running server, and keys that it knows."""

    name: str
    port: int
    access_key_id: str
    secret_access_key: str

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def credential(self, port: int | None = None, **changes: Any) -> CredentialSettings:
        """The settings' table for all of the server; `port` is that of a proxy before it."""
        return CredentialSettings(
            **{
                "url_prefix": "s3://",
                "endpoint": f"http://127.0.0.1:{port or self.port}",
                "region": REGION,
                "access_key_id": self.access_key_id,
                "secret_access_key": self.secret_access_key,
                **changes,
            }
        )

    def client(self) -> Any:
        """A botocore client."""
        return botocore.session.get_session().create_client(
            "s3",
            region_name=REGION,
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            config=Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
