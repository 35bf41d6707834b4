"""How long first logins by password take after a restart, alone and while strangers send junk.

`python -m bench.logins [--json] [--users 200] [--strangers 32] [--only KIND,KIND]`
"""

import argparse
import asyncio
import base64
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from bench.report import print_report
from tesp_api.api.auth.passwords import hash_password
from tesp_api.store.accounts import User
from tesp_api.store.sqlite_accounts import SqliteAccounts
from tesp_api.tes.times import now
from tests.services.tesp import ONLY_BUBBLEWRAP, TespServer

_PASSWORD = "open sesame"  # noqa: S105 - everybody's, in the benchmark
_FLOOD_FIRST_S = 3.0
_GUARDED = {"TESP_API_AUTH__MODES": '["basic"]'}

Junk = Iterator[tuple[str, str]]
"""Addresses and names, without end."""


def main() -> None:
    """Restart the server for each kind of junk, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--strangers", type=int, default=32, help="connections that send junk")
    parser.add_argument("--only", help="kinds of junk: alone, junk_of_one_address, ...; all unless given")
    options = parser.parse_args()
    wanted = options.only.split(",") if options.only else None
    names = [f"user{number}" for number in range(options.users)]
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="tesp-bench-") as folder:
        asyncio.run(_add_users(Path(folder), names))
        for kind, junk, behind in _kinds(names):
            if wanted and kind not in wanted:
                continue
            with TespServer(ONLY_BUBBLEWRAP | _GUARDED, data=Path(folder)) as server:
                found = asyncio.run(_first_logins(server.port, names, behind, junk, options.strangers))
            figures |= {f"{kind}_{name}": value for name, value in found.items()}
    print_report("logins", figures, {})


def _kinds(names: list[str]) -> Iterator[tuple[str, Junk | None, Callable[[int], str]]]:
    """What is sent meanwhile, and the address of each user."""

    def elsewhere(number: int) -> str:
        return f"10.0.{number // 250}.{number % 250 + 1}"

    nobody = (f"nobody{number}" for number in itertools.count())
    places = itertools.cycle(f"2001:db8:1:{number:x}::1" for number in range(200))
    yield "alone", None, elsewhere
    yield "junk_of_one_address", (("192.0.2.1", name) for name in nobody), elsewhere
    yield "junk_of_one_48", zip(places, nobody, strict=False), elsewhere
    yield "junk_of_their_address", (("192.0.2.1", name) for name in nobody), lambda _: "192.0.2.1"
    yield "junk_in_their_names", zip(places, itertools.cycle(names), strict=False), elsewhere


async def _add_users(data: Path, names: list[str]) -> None:
    accounts = SqliteAccounts(data)
    await accounts.open()
    hashed = hash_password(_PASSWORD)
    for name in names:
        await accounts.add_user(User(name, now(), hashed))
    await accounts.aclose()


async def _first_logins(
    port: int, names: list[str], address_of: Callable[[int], str], junk: Junk | None, strangers: int
) -> Mapping[str, float]:
    sent = 0

    async def send_junk(junk: Junk) -> None:
        nonlocal sent
        for address, name in junk:
            await _login(port, address, name, f"guess {sent}")
            sent += 1

    flood = [asyncio.create_task(send_junk(junk)) for _ in range(strangers) if junk]
    await asyncio.sleep(_FLOOD_FIRST_S)
    answers = await asyncio.gather(
        *(_login(port, address_of(number), name, _PASSWORD) for number, name in enumerate(names))
    )
    for stranger in flood:
        stranger.cancel()
    await asyncio.gather(*flood, return_exceptions=True)
    took = sorted(took_s for status, took_s in answers if status == 200)
    quantiles = statistics.quantiles(took, n=100) if len(took) > 1 else [0.0] * 99
    refused = float(len(answers) - len(took))
    return {"p50_s": quantiles[49], "p99_s": quantiles[98], "refused": refused, "junk": float(sent)}


async def _login(port: int, address: str, name: str, password: str) -> tuple[int, float]:
    """The status of a list that was asked for with this login, and the seconds until it came."""
    login = base64.b64encode(f"{name}:{password}".encode()).decode()
    head = f"GET /ga4gh/tes/v1/tasks HTTP/1.1\r\nHost: bench\r\nX-Forwarded-For: {address}\r\n"
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"{head}Authorization: Basic {login}\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
    finally:
        writer.close()
    return int(answer.split(b" ", 2)[1]), time.perf_counter() - began


if __name__ == "__main__":
    main()
