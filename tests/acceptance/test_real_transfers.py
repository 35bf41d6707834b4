"""Whole tasks with real storage: inputs from nginx and vsftpd, outputs to both, over TLS and without."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.servers import environment_of
from tests.services.authority import Authority
from tests.services.nginx import PASSWORD, USER, Nginx
from tests.services.tesp import TespServer
from tests.services.vsftpd import Vsftpd

pytestmark = pytest.mark.services

CONTENT = os.urandom(3_000_000)


class Storage:
    """nginx and vsftpd with something in them."""

    def __init__(self, nginx: Nginx, vsftpd: Vsftpd) -> None:
        self.nginx, self.vsftpd = nginx, vsftpd
        (nginx.root / "private").mkdir()
        (nginx.root / "private" / "in").write_bytes(CONTENT)
        (nginx.root / "tree" / "sub dir").mkdir(parents=True)
        (nginx.root / "tree" / "sub dir" / "a#b").write_text("a")
        (vsftpd.root / "in").write_bytes(CONTENT[::-1])
        (vsftpd.root / "tree" / "deep").mkdir(parents=True)
        (vsftpd.root / "tree" / "deep" / "ü 1").write_text("u")
        vsftpd.own(vsftpd.root)

    def task(self) -> dict[str, Any]:

        def http(path: str) -> str:
            return self.nginx.url(path)

        def ftp(path: str) -> str:
            return self.vsftpd.url(path, userinfo="")

        return {
            "inputs": [
                {"path": "/in/http", "url": http("private/in")},
                {"path": "/in/ftp", "url": ftp("in")},
                {"path": "/trees/http", "url": http("tree/"), "type": "DIRECTORY"},
                {"path": "/trees/ftp", "url": ftp("tree"), "type": "DIRECTORY"},
            ],
            "executors": [
                {"image": "busybox:latest", "command": ["sh", "-c", "cp /in/* /out/; cp -r /trees /out/"]}
            ],
            "outputs": [
                {"path": "/out/http", "url": ftp("out/from%20http")},
                {"path": "/out/ftp", "url": http("private/from-ftp")},
                {"path": "/out/trees", "url": http("out"), "type": "DIRECTORY"},
                {"path": "/out/trees", "url": ftp("trees"), "type": "DIRECTORY"},
            ],
            "volumes": ["/out"],
        }

    def check(self) -> None:
        assert (self.vsftpd.root / "out" / "from http").read_bytes() == CONTENT
        assert (self.nginx.root / "private" / "from-ftp").read_bytes() == CONTENT[::-1]
        for root in (self.nginx.root / "out", self.vsftpd.root / "trees"):
            assert (root / "http" / "sub dir" / "a#b").read_text() == "a"
            assert (root / "ftp" / "deep" / "ü 1").read_text() == "u"


@pytest.fixture(params=["plain", "tls"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    authority = Authority(tmp_path / "authority") if request.param == "tls" else None
    with Nginx(authority) as nginx, Vsftpd(authority, "explicit" if authority else "none") as vsftpd:
        yield Storage(nginx, vsftpd)


@pytest.mark.parametrize("kind", ["embedded-bubblewrap", "embedded-docker"])
def test_files_and_directories_from_and_to_real_servers(storage: Storage, kind: str) -> None:
    logins = {
        f"TESP_API_CREDENTIALS__{name}__{key}": value
        for name, prefix in (("WEB", storage.nginx.url("")), ("FTP", storage.vsftpd.url("", "")))
        for key, value in (("URL_PREFIX", prefix), ("USERNAME", USER), ("PASSWORD", PASSWORD))
    }
    trusted = {"SSL_CERT_FILE": str(storage.nginx.authority.ca)} if storage.nginx.authority else {}
    with ExitStack() as stack:
        environment = stack.enter_context(environment_of(kind))
        server = stack.enter_context(TespServer(environment | trusted | logins))
        task = server.run(storage.task())
        assert task["state"] == "COMPLETE", task
        storage.check()
        sizes = {item["url"].rpartition("/")[2]: item["size_bytes"] for item in task["logs"][0]["outputs"]}
        assert sizes["from-ftp"] == sizes["from%20http"] == str(len(CONTENT))
        assert sha256(CONTENT).hexdigest() in task["logs"][0]["metadata"]["outputs"]
        assert PASSWORD not in str(task) + server.log
