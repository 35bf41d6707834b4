"""Files of workflow runs in S3 (`WorkFiles`): by requests that are signed here and sent from here."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import httpx

from tesp_api.errors import StorageUnavailable
from tesp_api.storage.credentials import Credentials
from tesp_api.storage.s3_signing import S3Signer
from tesp_api.storage.work_files_local import Found
from tesp_api.worker.transfer.retry import Refused
from tesp_api.worker.transfer.s3_answers import read_xml
from tesp_api.worker.transfer.s3_listing import read_page
from tesp_api.worker.urls import split_s3

_TIMEOUT_S = 60.0
_PIECE_BYTES = 256 * 1024


class S3WorkFiles:
    """Below one prefix of a bucket, with the credential that the settings have for it."""

    def __init__(self, base_url: str, credentials: Credentials, signer: S3Signer) -> None:
        self.base_url = base_url
        self._credentials = credentials
        self._signer = signer
        self._http: httpx.AsyncClient | None = None

    async def open(self) -> None:
        self._http = httpx.AsyncClient(timeout=_TIMEOUT_S)

    async def aclose(self) -> None:
        if self._http is not None:
            await self._http.aclose()

    async def put(self, url: str, file: BinaryIO, *, owner: str) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            while data := await asyncio.to_thread(file.read, _PIECE_BYTES):
                yield data

        length = {"Content-Length": str(file.seek(0, os.SEEK_END))}
        file.seek(0)
        try:
            await self._call("put", url, owner, content=pieces(), headers=length)
        except FileNotFoundError:
            raise StorageUnavailable(f"{url}: there is no such bucket") from None

    def local(self, url: str) -> Path | None:
        return None

    async def stat(self, url: str, *, owner: str) -> Found:
        if not url.endswith("/"):
            try:
                answer = await self._call("head", url, owner)
                return Found(url, "", "file", int(answer.headers["content-length"]))
            except FileNotFoundError:
                pass
        if not (await self._page(_folder(url), owner, {"max-keys": "1"}))[0]:
            raise FileNotFoundError(url)
        return Found(url, "", "directory", 0)

    async def walk(self, url: str, *, owner: str) -> list[Found]:
        top = await self.stat(url, owner=owner)
        if top.kind == "file":
            return [top]
        folder = _folder(url)
        found: list[Found] = []
        token: str | None = ""
        while token is not None:
            names, token = await self._page(folder, owner, {"continuation-token": token} if token else {})
            for name, size_bytes in names:
                if name and not name.endswith("/"):
                    found.append(Found(folder + name, name, "file", size_bytes))
        return found

    async def read(self, url: str, *, owner: str, offset: int, length: int) -> AsyncIterator[bytes]:
        if length <= 0:
            return
        signed = self._sign("get", url, owner, {})
        wanted = {"Range": f"bytes={offset}-{offset + length - 1}", "Accept-Encoding": "identity"}
        try:
            async with self._opened.stream(signed.method, signed.url, headers=wanted) as answer:
                _check(answer, url)
                async for data in answer.aiter_raw(_PIECE_BYTES):
                    yield data
        except httpx.HTTPError as error:
            raise StorageUnavailable(f"{url}: {error or type(error).__name__}") from error

    async def remove(self, url: str, *, owner: str) -> None:
        folder = _folder(url)
        more: str | None = ""
        while more is not None:
            names, more = await self._page(folder, owner, {})
            for name, _ in names:
                await self._call("delete", f"{folder}{name}", owner)

    # --

    @property
    def _opened(self) -> httpx.AsyncClient:
        if self._http is None:
            raise StorageUnavailable("the storage of workflow runs is not open")
        return self._http

    def _sign(self, operation: str, url: str, owner: str, parameters: Mapping[str, str]) -> Any:
        found = self._credentials.find(url, owner=owner)
        if found is None:
            raise StorageUnavailable(f"{url}: the settings have no credential for it that its owner may use")
        return self._signer.sign(operation, url, parameters, found.rule)

    async def _call(
        self, operation: str, url: str, owner: str, parameters: Mapping[str, str] | None = None, **more: Any
    ) -> httpx.Response:
        signed = self._sign(operation, url, owner, parameters or {})
        try:
            answer = await self._opened.request(signed.method, signed.url, **more)
        except httpx.HTTPError as error:
            raise StorageUnavailable(f"{url}: {error or type(error).__name__}") from error
        _check(answer, url)
        return answer

    async def _page(
        self, folder: str, owner: str, parameters: Mapping[str, str]
    ) -> tuple[list[tuple[str, int]], str | None]:
        """Some names beneath a folder with their sizes, and the token of the next page, if there is one."""
        _, prefix = split_s3(folder)
        answer = await self._call("list", folder, owner, {"prefix": prefix, **parameters})
        try:
            page = read_page(read_xml(answer.content), prefix)
        except (ValueError, Refused) as error:
            raise StorageUnavailable(f"{folder}: its list cannot be read: {error}") from error
        return list(page.sizes.items()), page.token or None


def _folder(url: str) -> str:
    return url if url.endswith("/") else f"{url}/"


def _check(answer: httpx.Response, url: str) -> None:
    if answer.status_code == 404:
        raise FileNotFoundError(url)
    if answer.is_error:
        raise StorageUnavailable(f"{url}: S3 answered {answer.status_code} {answer.reason_phrase}")
