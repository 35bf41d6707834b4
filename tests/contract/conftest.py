"""Buckets on each of the S3 servers."""

import uuid
from pathlib import Path

import pytest

from tests.contract.s3_site import Bucket
from tests.services.s3_servers import S3Place


@pytest.fixture(params=["moto", "radosgw"])
def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> Bucket:
    """A new one on a server that may be lenient, then on one that checks everything."""
    return Bucket(request.getfixturevalue(request.param), f"b-{uuid.uuid4().hex}", tmp_path)


@pytest.fixture
def strict_bucket(radosgw: S3Place, tmp_path: Path) -> Bucket:
    """One on the server that checks signatures and policies."""
    return Bucket(radosgw, f"b-{uuid.uuid4().hex}", tmp_path)
