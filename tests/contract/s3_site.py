"""A site for the worker's transfers, in this process, whose lender signs with a server's keys."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tesp_api.settings import CredentialSettings
from tesp_api.storage.s3_signing import S3Signer
from tesp_api.worker.cancellation import Cancellation
from tesp_api.worker.order import Patience
from tesp_api.worker.transfer import Moved, Site, Source, s3
from tesp_api.worker.transfer.guard import Guard
from tesp_api.worker.transfer.lending import Ask, Lender, NoLender, Signed
from tests.services.s3_servers import S3Place

PATIENCE = Patience(stall_s=5.0, tries=3, pause_s=0.02)


class Signing(NoLender):
    """Signs whatever is asked for. `asked` notes it; `ages_s` says how old the next signatures are.

    Lists have pages of `page_keys`.
    """

    def __init__(self, rule: CredentialSettings) -> None:
        self.rule = rule
        self.asked: list[str] = []
        self.ages_s: list[float] = []
        self.page_keys = "1000"
        self._signer = S3Signer()

    def sign(self, asks: Sequence[Ask]) -> list[Signed]:
        assert 0 < len(asks) <= 500
        self.asked += [ask.operation for ask in asks]
        then = datetime.now(UTC) - timedelta(seconds=self.ages_s.pop(0) if self.ages_s else 0)
        with patch("botocore.auth.get_current_datetime", lambda: then):
            return [self._sign(ask) for ask in asks]

    def _sign(self, ask: Ask) -> Signed:
        more = {"max-keys": self.page_keys} if ask.operation == "list" else {}
        parameters = {**ask.parameters, **more}
        return Signed(*self._signer.sign(ask.operation, ask.url, parameters, self.rule))


class Bucket:
    """A new bucket, what is in it, and transfers to and from it."""

    def __init__(self, place: S3Place, name: str, folder: Path) -> None:
        self.place, self.name, self.folder = place, name, folder
        self.client = place.client()
        self.client.create_bucket(Bucket=name)
        self.messages: list[str] = []
        self.lender = Signing(place.credential())

    def url(self, key: str = "") -> str:
        return f"s3://{self.name}/{key}"

    def through(self, port: int) -> "Bucket":
        """From now on by a proxy: its address is part of what is signed."""
        self.lender.rule = self.place.credential(port)
        return self

    def site(self, lender: Lender | None = None, **patience: Any) -> Site:
        return Site(
            (),
            Cancellation(str(self.folder / "cancel")),
            self.messages.append,
            PATIENCE._replace(**patience),
            lender or self.lender,
            lambda: Guard(local_networks=("127.0.0.0/8",)),
        )

    def store(self, key: str, content: bytes = b"x") -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=content)

    def content(self, key: str) -> bytes:
        content: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return content

    def keys(self) -> list[str]:
        return [item["Key"] for item in self.client.list_objects_v2(Bucket=self.name).get("Contents", ())]

    def uploads(self) -> list[Any]:
        """Multipart uploads that were neither completed nor aborted."""
        return list(self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", ()))

    def fetch(self, key: str, site: Site | None = None) -> bytes:
        """By the worker."""
        path = self.folder / "fetched"
        s3.fetch_file(self.url(key), str(path), site or self.site())
        return path.read_bytes()

    def fetch_tree(self, key: str, site: Site | None = None) -> Path:
        """By the worker, into a new folder."""
        path = self.folder / "tree"
        path.mkdir()
        s3.fetch_directory(self.url(key), str(path), site or self.site())
        return path

    def send(self, content: bytes, key: str, site: Site | None = None) -> Moved:
        """By the worker."""
        path = self.folder / "sent"
        path.write_bytes(content)
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            source = Source(file.fileno(), status.st_size, status.st_mtime_ns, status.st_mode, "sent")
            return s3.send_file(source, self.url(key), site or self.site())
