"""Many followers of streams in a process of its own, which reads what comes and throws it away.

`python -m bench.followers PORT COUNT PATH [COUNT PATH ...]` prints `ready` once all streams have begun,
and when
its stdin ends, how many of them had been closed by the server, and how many bytes came.
"""

import asyncio
import sys
from dataclasses import dataclass

_AT_ONCE = 50


@dataclass
class Seen:
    """What all followers got."""

    streams: int = 0
    bytes: int = 0
    closed: int = 0


class Follower(asyncio.Protocol):
    """One stream."""

    def __init__(self, path: str, seen: Seen, begun: "asyncio.Future[None]") -> None:
        self._path = path
        self._seen = seen
        self._begun = begun

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the stream."""
        assert isinstance(transport, asyncio.Transport)
        request = f"GET {self._path} HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n"
        transport.write(request.encode())

    def data_received(self, data: bytes) -> None:
        """It goes on."""
        self._seen.bytes += len(data)
        if not self._begun.done():
            if not data.startswith(b"HTTP/1.1 200"):
                self._begun.set_exception(RuntimeError(data[:300].decode(errors="replace")))
                return
            self._seen.streams += 1
            self._begun.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._seen.closed += 1


async def follow(port: int, paths: list[str]) -> Seen:
    """Follow all of them until stdin ends."""
    loop = asyncio.get_running_loop()
    seen = Seen()
    for start in range(0, len(paths), _AT_ONCE):
        begun = []
        for path in paths[start : start + _AT_ONCE]:
            future: asyncio.Future[None] = loop.create_future()
            begun.append(future)
            await loop.create_connection(
                lambda path=path, future=future: Follower(path, seen, future),  # type: ignore[misc]
                "127.0.0.1",
                port,
            )
        await asyncio.gather(*begun)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    return seen


def main() -> None:
    """Follow what the command line names."""
    port, *rest = sys.argv[1:]
    paths = [path for count, path in zip(rest[::2], rest[1::2], strict=True) for _ in range(int(count))]
    seen = asyncio.run(follow(int(port), paths))
    print(f"{seen.streams} {seen.closed} {seen.bytes}", flush=True)


if __name__ == "__main__":
    main()
