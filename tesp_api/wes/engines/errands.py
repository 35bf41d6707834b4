"""What an expander asks for, done by way of the run's host. The server's side of the channel.

What comes is not to be trusted: the one who wrote the workflow may have taken over the expander. It gets what
the host gives the run's owner, and nothing else.
"""

import asyncio
import base64
import hashlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote

from tesp_api.errors import Fault, InvalidRequest, RunCanceled, StoreError
from tesp_api.wes.engines.base import EngineRun, FileStat, LogName, RunHost, Step
from tesp_api.worker.urls import extend, scheme_of, shown

MOST_SUBMISSIONS = 16
"""Of one run at one time: the others wait."""

_MOST_CALLS = 4
"""Of other kinds, each of which may be long; our own expanders make few at one time."""

_WRITE_MAX_BYTES = 16 * 1024**2
_READ_MAX_BYTES = 1024**2
_LOG_MAX_CHARACTERS = 256 * 1024
_LOG_LINES_MAX = 100
_NAME_MAX_CHARACTERS = 200
_KEY_MAX_CHARACTERS = 200
_LATER_KEYS_MAX = 10
_WAITERS_MAX = 4
"""For one step; our own expanders wait for each once."""


Message = MutableMapping[str, Any]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


class Errands:
    """`async with Errands(run, host) as errands:`; what is under way when the block is left is dropped."""

    def __init__(self, run: EngineRun, host: RunHost) -> None:
        self._run = run
        self._host = host
        self._running: set[asyncio.Task[None]] = set()
        self._heard_at = time.monotonic()
        self._waiters: Counter[str] = Counter()
        self._submitting = asyncio.Semaphore(MOST_SUBMISSIONS)
        self._calling = asyncio.Semaphore(_MOST_CALLS)
        self._calls: Mapping[str, Callable[[Message], Awaitable[Any]]] = {
            "stat": self._stat,
            "read": self._read,
            "list": self._list,
            "write": self._write,
            "fingerprint": self._fingerprint,
            "run_step": self._run_step,
        }

    async def __aenter__(self) -> Self:
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Raises what ends the run's execution: RunCanceled, a store that is away."""
        self._lines: asyncio.Queue[tuple[LogName, bytes]] = asyncio.Queue(_LOG_LINES_MAX)
        self._logging = asyncio.create_task(self._write_log())
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (self._logging, *self._running):
            task.cancel()
        await asyncio.gather(self._logging, *self._running, return_exceptions=True)
        if self.failed.done():
            self.failed.exception()

    @property
    def quiet_s(self) -> float:
        """How long nothing was asked and nothing done; 0 while a step runs."""
        return 0.0 if self._running else time.monotonic() - self._heard_at

    async def start(self, message: Message, send: Send) -> None:
        """Do it meanwhile, and send the answer.

        Where enough is being done it waits here, and no further message should be read: lines for the log
        wait for those before them, steps until some have been submitted.
        """
        self._heard_at = time.monotonic()
        if message.get("call") == "log":
            name: LogName = "stdout" if message.get("name") == "stdout" else "stderr"
            text = str(message.get("text", ""))[:_LOG_MAX_CHARACTERS]
            await self._lines.put((name, text.encode("utf-8", "replace")))
            return
        is_step = message.get("call") == "run_step"
        await (self._submitting if is_step else self._calling).acquire()
        task = asyncio.create_task(self._do(message, send))
        self._running.add(task)
        task.add_done_callback(self._done)
        if not is_step:
            task.add_done_callback(lambda _: self._calling.release())

    async def finish_log(self) -> None:
        """Wait until all that was said is in the run's log, or cannot be."""
        written = asyncio.ensure_future(self._lines.join())
        await asyncio.wait({written, self.failed}, return_when=asyncio.FIRST_COMPLETED)
        written.cancel()

    async def _do(self, message: Message, send: Send) -> None:
        try:
            await send({"id": message.get("id"), **await self._answer(message)})
        except Exception as error:
            self._fail(error)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        self._heard_at = time.monotonic()

    def _fail(self, error: Exception) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)

    async def _write_log(self) -> None:
        """In the order in which it came; what has come meanwhile is written at once."""
        while True:
            name, data = await self._lines.get()
            count = 1
            try:
                while not self._lines.empty() and len(data) < _LOG_MAX_CHARACTERS:
                    other, more = self._lines.get_nowait()
                    count += 1
                    if other != name:
                        await self._host.log(name, data)
                        name, data = other, b""
                    data += more
                await self._host.log(name, data)
            except Exception as error:
                self._fail(error)
            for _ in range(count):
                self._lines.task_done()

    async def _answer(self, message: Message) -> dict[str, Any]:
        """Raises: RunCanceled, StoreError: they are not the expander's business."""
        call = self._calls.get(str(message.get("call")))
        if call is None:
            return {"error": "refused", "message": "there is no such call"}
        try:
            return {"value": await call(message)}
        except (RunCanceled, StoreError):
            raise
        except (FileNotFoundError, NotADirectoryError) as error:
            return {"error": "missing", "message": error.strerror or str(error) or "it does not exist"}
        except InvalidRequest as error:
            return {"error": "refused", "message": str(error)}
        except (KeyError, TypeError, ValueError) as error:
            return {"error": "refused", "message": f"the call is malformed: {error}"}

    async def _stat(self, message: Message) -> dict[str, Any]:
        return _as_json(await self._host.files.stat(_text(message, "url")))

    async def _read(self, message: Message) -> str:
        offset, limit = int(message["offset"]), int(message["limit"])
        if offset < 0 or limit < 0:
            raise ValueError("offset and limit must not be negative")
        limit = min(limit, _READ_MAX_BYTES)
        data = await self._host.files.read(_text(message, "url"), offset=offset, limit=limit)
        return base64.b64encode(data).decode()

    async def _list(self, message: Message) -> list[dict[str, Any]]:
        return [_as_json(one) for one in await self._host.files.listing(_text(message, "url"))]

    async def _write(self, message: Message) -> None:
        url, text = _text(message, "url"), _text(message, "data")
        if len(text) > -(-_WRITE_MAX_BYTES // 3) * 4:
            raise ValueError(f"data may have at most {_WRITE_MAX_BYTES} bytes")
        await self._host.files.write(url, base64.b64decode(text))

    async def _fingerprint(self, message: Message) -> str:
        """Of what came with the request alone: it is on this machine, and may be other than the last time."""
        url, base = _text(message, "url"), extend(self._run.work_url, "attachments")
        name = url.removeprefix(base).strip("/")
        if scheme_of(url) != "s3":
            name = unquote(name, errors="surrogateescape")
        path = (self._run.attachments / name).resolve()
        if not url.startswith(f"{base}/") or not path.is_relative_to(self._run.attachments.resolve()):
            return ""
        try:
            return await asyncio.to_thread(_digest, path)
        except (FileNotFoundError, NotADirectoryError):
            raise
        except OSError as error:
            raise InvalidRequest([Fault("url", f"{shown(url)}: {error.strerror}")]) from error

    async def _run_step(self, message: Message) -> dict[str, Any]:
        """Answered when the step's task has ended; until it is submitted it has a place."""
        try:
            task_id = await self._host.submit(_step_of(message))
        finally:
            self._submitting.release()
        if self._waiters[task_id] >= _WAITERS_MAX:
            raise ValueError("the step is waited for already")
        self._waiters[task_id] += 1
        try:
            end = await self._host.wait(task_id)
        finally:
            self._waiters[task_id] -= 1
        return {
            "task_id": end.task_id,
            "state": str(end.state),
            "log": dict(end.log),
            "document": dict(end.document),
            "reused_from": end.reused_from,
        }


def _digest(path: Path) -> str:
    """The SHA-1 of a file, or of a directory's files with their names. Raises: FileNotFoundError."""
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.sha1(usedforsecurity=False)).hexdigest()
    found = [(str(one.relative_to(path)), _digest(one)) for one in sorted(path.rglob("*")) if one.is_file()]
    return hashlib.sha1(repr(found).encode(errors="surrogateescape"), usedforsecurity=False).hexdigest()


def _step_of(message: Message) -> Step:
    document = message.pop("document")  # else it would be kept until the step has ended
    if not isinstance(document, dict):
        raise TypeError("document must be an object")
    codes = message["success_codes"]
    if not isinstance(codes, list) or not all(isinstance(code, int) for code in codes):
        raise TypeError("success_codes must be a list of integers")
    key, name = _text(message, "key"), _text(message, "name")[:_NAME_MAX_CHARACTERS]
    if len(key) > _KEY_MAX_CHARACTERS:
        raise ValueError(f"key may have at most {_KEY_MAX_CHARACTERS} characters")
    later = message.get("later_keys", [])
    if not isinstance(later, list) or not all(isinstance(one, str) for one in later):
        raise TypeError("later_keys must be a list of strings")
    if len(later) > _LATER_KEYS_MAX or any(len(one) > _KEY_MAX_CHARACTERS for one in later):
        raise ValueError(
            f"there may be {_LATER_KEYS_MAX} later_keys, each of {_KEY_MAX_CHARACTERS} characters"
        )
    return Step(key, name, document, frozenset(codes), tuple(later))


def _as_json(stat: FileStat) -> dict[str, Any]:
    return {"url": stat.url, "kind": stat.kind, "size_bytes": stat.size_bytes}


def _text(message: Message, name: str) -> str:
    value = message[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string")
    return value
