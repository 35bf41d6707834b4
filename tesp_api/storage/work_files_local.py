"""Files of workflow runs in a local folder, which other servers and sites may share (`WorkFiles`)."""

import asyncio
import contextlib
import errno
import os
import shutil
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, TypeVar

from tesp_api.errors import StorageUnavailable
from tesp_api.tes.urls import local_path
from tesp_api.worker.urls import extend

T = TypeVar("T")
_PIECE_BYTES = 256 * 1024
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)


class Found(NamedTuple):
    """What is at a URL; `name` is its path beneath the URL that was asked for, "" for that itself."""

    url: str
    name: str
    kind: Literal["file", "directory"]
    size_bytes: int


class LocalWorkFiles:
    """Below one folder. Links are never followed: what they lead to is not the run's."""

    def __init__(self, base_url: str) -> None:
        path = local_path(base_url)
        if path is None:
            raise ValueError(f"{base_url} is no local folder")
        self.base_url = base_url
        self._base = Path(path)

    async def open(self) -> None:
        try:
            await asyncio.to_thread(self._base.mkdir, 0o700, True, True)
        except OSError as error:
            raise StorageUnavailable(
                f"the folder of workflow runs, {self._base}: {error.strerror}"
            ) from error

    async def aclose(self) -> None:
        pass

    async def put(self, url: str, file: BinaryIO, *, owner: str) -> None:
        def copy() -> None:
            to = self._path(url)
            to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file.seek(0)
            with to.open("wb") as opened:
                shutil.copyfileobj(file, opened)
                opened.flush()
                os.fsync(opened.fileno())

        await self._do(copy)

    def local(self, url: str) -> Path | None:
        path = local_path(url)
        if path is None or self._base not in Path(path).parents:
            raise StorageUnavailable(f"{url} is not in the folder of workflow runs, {self._base}")
        return Path(path)

    async def stat(self, url: str, *, owner: str) -> Found:
        return await self._do(lambda: _found(url, "", self._path(url)))

    async def walk(self, url: str, *, owner: str) -> list[Found]:
        return await self._do(lambda: _walk(url, self._path(url)))

    async def read(self, url: str, *, owner: str, offset: int, length: int) -> AsyncIterator[bytes]:
        descriptor = await self._do(lambda: _open(self._path(url)))
        try:
            while length > 0:
                wanted = min(length, _PIECE_BYTES)
                data = await asyncio.to_thread(os.pread, descriptor, wanted, offset)
                if not data:
                    break
                yield data
                offset, length = offset + len(data), length - len(data)
        finally:
            os.close(descriptor)

    async def remove(self, url: str, *, owner: str) -> None:
        def remove() -> None:
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(self._path(url))

        await self._do(remove)

    def _path(self, url: str) -> Path:
        """The path of `url`, none of whose directories is a link, up to the base.

        Raises:
            FileNotFoundError: it is not below the base, or a link leads there.
        """
        asked = local_path(url)
        if asked is None:
            raise FileNotFoundError(url)
        path = Path(asked)
        if self._base not in path.parents or _real(path.parent) != _real(
            self._base
        ) / path.parent.relative_to(self._base):
            raise FileNotFoundError(url)
        return path

    async def _do(self, work: Callable[[], T]) -> T:
        """Do it in a thread; what the disk refuses is `StorageUnavailable`."""
        try:
            return await asyncio.to_thread(work)
        except OSError as error:
            if error.errno in _NOT_THERE or isinstance(error, FileNotFoundError):
                raise FileNotFoundError(str(error)) from error
            raise StorageUnavailable(
                f"the folder of workflow runs, {self._base}: {error.strerror}"
            ) from error


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _found(url: str, name: str, path: Path) -> Found:
    about = path.lstat()
    if stat.S_ISDIR(about.st_mode):
        return Found(url, name, "directory", 0)
    if not stat.S_ISREG(about.st_mode):
        raise FileNotFoundError(url)
    return Found(url, name, "file", about.st_size)


def _walk(url: str, path: Path) -> list[Found]:
    top = _found(url, "", path)
    if top.kind == "file":
        return [top]
    found: list[Found] = []
    for folder, folders, files in os.walk(path):
        folders.sort()
        for name in sorted(files):
            below = (Path(folder) / name).relative_to(path).as_posix()
            with contextlib.suppress(FileNotFoundError):  # a link, or just removed
                found.append(_found(extend(url, below), below, Path(folder) / name))
    return found


def _open(path: Path) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(path)
    return descriptor
