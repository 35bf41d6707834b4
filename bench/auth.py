"""What logging in costs: MINIMAL gets with each kind of credentials beside gets without any.

`python -m bench.auth [--json] [--seconds 2.0] [--rounds 5]`
"""

import argparse
import asyncio
import base64
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from bench.http_client import get_request, throughput
from bench.report import print_report
from tesp_api.api.auth.api_tokens import new_token
from tesp_api.api.auth.identity import Action
from tesp_api.api.auth.passwords import hash_password
from tesp_api.store.accounts import User
from tesp_api.store.sqlite_accounts import SqliteAccounts
from tesp_api.tes.times import now
from tests.services.oidc_issuer import OidcIssuer
from tests.services.tesp import ONLY_BUBBLEWRAP, TespServer

CONNECTIONS = 32
TASKS = "/ga4gh/tes/v1/tasks"

_PASSWORD = "open sesame"  # noqa: S105 - alice's, in the benchmark
_TASK = {"executors": [{"image": "busybox", "command": ["true"]}]}


def main() -> None:
    """Start both, measure in turn, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tesp-bench-") as folder, OidcIssuer() as issuer:
        logins = asyncio.run(_logins(Path(folder), issuer))
        guarded_by = {
            "TESP_API_AUTH__MODES": '["token", "basic", "oidc"]',
            "TESP_API_ISSUERS__IDP__URL": issuer.url,
            "TESP_API_ISSUERS__IDP__AUDIENCE": "tesp",
        }
        with (
            TespServer(ONLY_BUBBLEWRAP) as open_to_all,
            TespServer(ONLY_BUBBLEWRAP | guarded_by, data=Path(folder)) as guarded,
        ):
            _measure(open_to_all, guarded, logins, options.seconds, options.rounds)


async def _logins(data: Path, issuer: OidcIssuer) -> dict[str, str]:
    """The header of each way, of users that are there."""
    token, kept = new_token("alice", Action, None, "")
    accounts = SqliteAccounts(data)
    await accounts.open()
    await accounts.add_user(User("alice", now(), hash_password(_PASSWORD)))
    await accounts.add_token(kept)
    await accounts.aclose()
    basic = base64.b64encode(f"alice:{_PASSWORD}".encode()).decode()
    lasting = issuer.token(issuer.claims(exp=int(now().timestamp()) + 86_400))
    return {"token": f"Bearer {token}", "basic": f"Basic {basic}", "oidc": f"Bearer {lasting}"}


def _measure(
    open_to_all: TespServer, guarded: TespServer, logins: Mapping[str, str], seconds: float, rounds: int
) -> None:
    asked = {"open": (open_to_all, get_request(f"{TASKS}/{open_to_all.run(_TASK)['id']}"))}
    for name, header in logins.items():
        guarded.client.headers["Authorization"] = header
        task_id = guarded.run(_TASK)["id"]
        asked[name] = (guarded, get_request(f"{TASKS}/{task_id}", authorization=header))
    rates: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(rounds):
        for name, (server, request) in asked.items():
            rates[name].append(_answers_per_cpu_s(server, request, seconds))
    figures = {f"{name}_per_cpu_s": statistics.median(found) for name, found in rates.items()}
    ratios = {
        f"{name}_over_open": round(figures[f"{name}_per_cpu_s"] / figures["open_per_cpu_s"], 3)
        for name in logins
    }
    print_report("auth", figures, ratios)


def _answers_per_cpu_s(server: TespServer, request: bytes, seconds: float) -> float:
    """By the time that the server itself computes, which is what limits it: a busy machine changes little."""
    assert server.process is not None
    process = psutil.Process(server.process.pid)
    before = process.cpu_times()
    began = time.monotonic()
    answered = throughput(server.port, request, CONNECTIONS, seconds) * (time.monotonic() - began)
    after = process.cpu_times()
    return float(answered / (after.user + after.system - before.user - before.system))


if __name__ == "__main__":
    main()
