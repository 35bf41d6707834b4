"""The files that a run may see: the same looks at every protocol, and what is refused."""

import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tesp_api.errors import InvalidRequest, StorageUnavailable
from tesp_api.settings import Settings
from tesp_api.storage.credentials import Credentials
from tesp_api.storage.looks import look_at
from tesp_api.storage.s3_signing import S3Signer
from tesp_api.storage.work_files_s3 import S3WorkFiles
from tesp_api.wes.engines.base import FileStat
from tesp_api.wes.files import StorageFiles
from tests.services.file_server import FileServer
from tests.services.ftp_server import PASSWORD, USER, FtpServer
from tests.services.moto import Moto
from tests.services.plain_run_host import engine_run
from tests.services.web_servers import listing_server

pytestmark = pytest.mark.services

HELLO = b"hello world\n"
LOCAL = {"transfers": {"local_networks": ["127.0.0.0/8", "::1/128"], "tries": 1}}


class Place(NamedTuple):
    """A directory with `hello.txt`, `a b%20#.txt`, `empty` and `sub/two.txt`, and what settings it takes."""

    url: str
    settings: dict[str, Any]
    tells_sizes: bool = True
    odd_name: str = "a%20b%2520%23.txt"


def fill(folder: Path) -> None:
    (folder / "sub").mkdir(parents=True)
    (folder / "hello.txt").write_bytes(HELLO)
    (folder / "a b%20#.txt").write_bytes(b"odd")
    (folder / "empty").write_bytes(b"")
    (folder / "sub" / "two.txt").write_bytes(b"two")


@pytest.fixture(params=["file", "python", "nginx", "nginx-json", "ftp", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    folder = tmp_path / "there"
    fill(folder)
    if request.param == "file":
        roots = [{"path": str(folder), "mount": "copy"}]
        yield Place(folder.as_uri(), {"destinations": {"local": {"file_roots": roots}}})
    elif request.param == "ftp":
        with FtpServer(tmp_path) as server:
            url = f"ftp://127.0.0.1:{server.port}/there"
            login = {"url_prefix": url, "username": USER, "password": PASSWORD}
            yield Place(url, {**LOCAL, "credentials": {"site": login}}, tells_sizes=False)
    elif request.param == "s3":
        with Moto() as moto:
            client = moto.client()
            client.create_bucket(Bucket="lab")
            for path in folder.rglob("*"):
                if path.is_file():
                    key = f"data/{path.relative_to(folder)}"
                    client.put_object(Bucket="lab", Key=key, Body=path.read_bytes())
            credentials = {"lab": moto.credential(url_prefix="s3://lab/data")}
            yield Place("s3://lab/data", {**LOCAL, "credentials": credentials}, odd_name="a b%20#.txt")
    else:
        with listing_server(request.param, folder, tmp_path / "server") as url:
            yield Place(url, LOCAL, tells_sizes=False)


Open = Callable[..., StorageFiles]


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    def make(settings: dict[str, Any], **changes: Any) -> StorageFiles:
        owner = changes.pop("owner", "alice")
        readable = changes.pop("readable", ())
        run = engine_run(tmp_path / "runs" / "run-1", "x.cwl", {}, **changes)
        checked = Settings.model_validate({"data_dir": tmp_path / "data", **settings})
        credentials = Credentials(checked.credentials)
        return StorageFiles(checked, credentials, S3Signer(), owner=owner, run=run, readable=readable)

    return make


async def test_a_file_and_its_parts(place: Place, opened: Open) -> None:
    files = opened(place.settings)
    url = f"{place.url}/hello.txt"
    assert await files.stat(url) == FileStat(url, "file", len(HELLO))
    assert await files.read(url, offset=0, limit=5) == b"hello"
    assert await files.read(url, offset=6, limit=100) == b"world\n"
    assert await files.read(url, offset=len(HELLO), limit=100) == b""
    assert await files.read(f"{place.url}/{place.odd_name}", offset=0, limit=10) == b"odd"
    assert await files.read(f"{place.url}/empty", offset=0, limit=10) == b""
    assert (await files.stat(f"{place.url}/empty")).size_bytes in (0, None)
    await files.aclose()


async def test_what_is_in_a_directory(place: Place, opened: Open) -> None:
    files = opened(place.settings)
    found = {one.url.rstrip("/"): one for one in await files.listing(place.url)}
    names = {"hello.txt": "file", place.odd_name: "file", "empty": "file", "sub": "directory"}
    assert {url: one.kind for url, one in found.items()} == {
        f"{place.url}/{name}": kind for name, kind in names.items()
    }
    if place.tells_sizes:
        assert found[f"{place.url}/hello.txt"].size_bytes == len(HELLO)
    assert [one.url for one in await files.listing(f"{place.url}/sub")] == [f"{place.url}/sub/two.txt"]
    await files.aclose()


async def test_what_is_not_there(place: Place, opened: Open) -> None:
    files = opened(place.settings)
    for look in (
        files.stat(f"{place.url}/absent"),
        files.read(f"{place.url}/absent", offset=0, limit=1),
        files.stat(f"{place.url}/hello.txt/absent"),
    ):
        with pytest.raises(FileNotFoundError):
            await look
    await files.aclose()


async def test_directories_are_told_from_files_where_there_are_any(place: Place, opened: Open) -> None:
    if place.url.startswith("http"):
        pytest.skip("HTTP has no directories")
    files = opened(place.settings)
    assert (await files.stat(f"{place.url}/sub")).kind == "directory"
    assert (await files.stat(place.url)).kind == "directory"
    await files.aclose()


async def test_only_work_storage_is_written(opened: Open, tmp_path: Path) -> None:
    roots = [{"path": str(tmp_path / "there"), "mount": "rw"}]
    files = opened({"destinations": {"local": {"file_roots": roots}}})
    work = tmp_path / "runs" / "run-1" / "work"
    await files.write(f"{work.as_uri()}/literals/x/a%20b", b"data")
    assert (work / "literals" / "x" / "a b").read_bytes() == b"data"
    for url in (
        (tmp_path / "there" / "x").as_uri(),
        f"{work.as_uri()}/../x",
        f"{work.as_uri()}/%2e%2e/x",
        f"{work.as_uri()}/",
        (tmp_path / "runs" / "run-10" / "work" / "x").as_uri(),
        "http://127.0.0.1:1/x",
    ):
        with pytest.raises(InvalidRequest, match="may be written"):
            await files.write(url, b"data")
    (work / "out").symlink_to(tmp_path)
    with pytest.raises(InvalidRequest, match="outside the directories"):
        await files.write(f"{work.as_uri()}/out/x", b"data")


async def test_s3_work_storage(opened: Open, tmp_path: Path) -> None:
    with Moto() as moto:
        moto.client().create_bucket(Bucket="lab")
        credentials = {"lab": moto.credential(url_prefix="s3://lab/")}
        settings = {**LOCAL, "credentials": credentials}
        files = opened(settings, work_url="s3://lab/runs/run-1/")
        await files.write("s3://lab/runs/run-1/literals/a b", b"data")
        assert await files.read("s3://lab/runs/run-1/literals/a b", offset=0, limit=10) == b"data"
        for key in ("runs/run-2/x", "runs/run-10/x", "x"):
            moto.client().put_object(Bucket="lab", Key=key, Body=b"hush")
        for url in (
            "s3://lab/runs/run-2/x",
            "s3://lab/runs/run-10/x",
            "S3://lab/runs/run-2/x",
            "s3://lab//runs/run-2/x",
        ):
            with pytest.raises(InvalidRequest, match="another run"):
                await files.read(url, offset=0, limit=1)
            with pytest.raises(InvalidRequest, match="another run"):
                await files.stat(url)
            with pytest.raises(InvalidRequest, match="may be written"):
                await files.write(url, b"")
        for url in ("s3://lab/runs", "s3://lab/runs/", "S3://lab/runs", "s3://lab/", "s3://lab"):
            with pytest.raises(InvalidRequest, match=r"another run|runs keep their files"):
                await files.listing(url)
        assert await files.read("S3://lab/runs/run-1/literals/a b", offset=0, limit=10) == b"data"
        assert await files.read("S3://lab/x", offset=0, limit=10) == b"hush"
        with pytest.raises(FileNotFoundError):
            await files.stat("s3://lab/elsewhere")
        builds_on = opened(settings, work_url="s3://lab/runs/run-2/", readable=["s3://lab/runs/run-1/"])
        assert await builds_on.read("s3://lab/runs/run-1/literals/a b", offset=0, limit=10) == b"data"


async def test_a_bucket_that_is_gone_is_no_missing_file() -> None:
    with Moto() as moto:
        credentials = Credentials(
            Settings.model_validate(
                {**LOCAL, "credentials": {"lab": moto.credential(url_prefix="s3://lab/")}}
            ).credentials
        )
        files = S3WorkFiles("s3://lab/", credentials, S3Signer())
        await files.open()
        with pytest.raises(StorageUnavailable, match="no such bucket"):
            await files.put("s3://lab/run/x", io.BytesIO(b"x"), owner="alice")
        await files.aclose()


async def test_whose_credentials(opened: Open) -> None:
    with Moto() as moto:
        moto.client().create_bucket(Bucket="lab")
        rules = {
            "hers": moto.credential(url_prefix="s3://lab/hers", users=["alice"]),
            "asked": moto.credential(url_prefix="s3://lab/asked", by_name_only=True),
        }
        settings = {**LOCAL, "credentials": rules}
        with pytest.raises(FileNotFoundError):
            await opened(settings).stat("s3://lab/hers/x")
        for owner, url in (("bob", "s3://lab/hers/x"), ("alice", "s3://lab/asked/x")):
            with pytest.raises(InvalidRequest, match="no credential"):
                await opened(settings, owner=owner).stat(url)


async def test_a_redirect_takes_no_login_along_and_passes_the_guard(opened: Open) -> None:
    with FileServer() as server:
        server.files["/private/x"] = b"secret"
        server.moves["/open/x"] = f"{server.url}/private/x"
        server.moves["/trap"] = "http://169.254.169.254/latest/"
        credential = {"url_prefix": f"{server.url}/private", "bearer_token": "hush"}
        files = opened({**LOCAL, "credentials": {"site": credential}})
        assert await files.read(f"{server.url}/private/x", offset=0, limit=9) == b"secret"
        assert server.requests[-1][2]["Authorization"] == "Bearer hush"
        await files.read(f"{server.url}/open/x", offset=0, limit=9)
        assert "Authorization" not in server.requests[-1][2]
        with pytest.raises(InvalidRequest, match="cloud metadata"):
            await files.read(f"{server.url}/trap", offset=0, limit=9)


async def test_a_server_without_ranges(opened: Open) -> None:
    with FileServer() as server:
        server.has_ranges = False
        server.files["/x"] = bytes(range(256)) * 4096
        files = opened(LOCAL)
        assert await files.read(f"{server.url}/x", offset=1_000_001, limit=3) == b"ABC"


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("file:///etc/hostname", "lies outside the directories"),
        ("/etc/hostname", "lies outside the directories"),
        ("http://169.254.169.254/", "cloud metadata"),
        ("http://[::ffff:a9fe:a9fe]/", "cloud metadata"),
        ("http://2852039166/", "cloud metadata"),
        ("http://localhost:1/", "known to be local"),
        ("ftp://127.0.0.1/x", "loopback"),
        ("gopher://x/", "not supported"),
        ("file://elsewhere/x", "names the host"),
        ("s3://lab/../x", "a .. as a part"),
        ("", "not absolute"),
    ],
)
async def test_what_is_refused(url: str, match: str, opened: Open) -> None:
    files = opened({"transfers": {"tries": 1}})
    for look in (files.stat(url), files.read(url, offset=0, limit=1), files.listing(url)):
        with pytest.raises(InvalidRequest, match=match):
            await look


async def test_lists_of_the_settings(opened: Open) -> None:
    files = opened({"transfers": {"deny_hosts": ["*.internal"], "allow_schemes": ["https"]}})
    with pytest.raises(InvalidRequest, match="deny_hosts"):
        await files.stat("https://wiki.internal/x")
    with pytest.raises(InvalidRequest, match="allow_schemes"):
        await files.stat("http://example.org/x")


async def test_links_out_of_a_root_lead_nowhere(opened: Open, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret").write_text("x")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "fine").write_text("y")
    files = opened({"destinations": {"local": {"file_roots": [{"path": str(root)}]}}})
    with pytest.raises(InvalidRequest, match="outside the directories"):
        await files.read(f"{root.as_uri()}/link", offset=0, limit=1)
    assert [one.url for one in await files.listing(root.as_uri())] == [f"{root.as_uri()}/fine"]


async def test_a_link_that_is_put_in_between_leads_nowhere(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs = tmp_path / "runs/run-1/work", tmp_path / "runs/run-2/work"
    for folder, text in ((mine, "mine"), (theirs, "hush")):
        (folder / "sub").mkdir(parents=True)
        (folder / "sub/x").write_text(text)
    files = opened({"destinations": {"local": {"file_roots": [{"path": str(tmp_path)}]}}})
    url = f"{mine.as_uri()}/sub"
    assert await files.read(f"{url}/x", offset=0, limit=9) == b"mine"

    def swapped(asked: str) -> Any:
        """What a task of the run does right after the path was found good."""
        if not (mine / "sub").is_symlink():
            shutil.rmtree(mine / "sub")
            (mine / "sub").symlink_to(theirs / "sub")
        return look_at(asked)

    monkeypatch.setattr("tesp_api.wes.files.look_at", swapped)
    for look in (
        lambda: files.read(f"{url}/x", offset=0, limit=9),
        lambda: files.stat(f"{url}/x"),
        lambda: files.listing(url),
    ):
        (mine / "sub").unlink() if (mine / "sub").is_symlink() else shutil.rmtree(mine / "sub")
        (mine / "sub").mkdir()
        (mine / "sub/x").write_text("mine")
        with pytest.raises(InvalidRequest, match="is a link"):
            await look()
