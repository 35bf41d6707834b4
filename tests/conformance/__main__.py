"""`python -m tests.conformance SUITE`: runs the tests and tells of each that is not as it should be."""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import httpx

from tesp_api.settings import Settings
from tesp_api.tes.states import State
from tesp_api.wes.engines.base import EngineOutcome
from tesp_api.wes.engines.cwl.engine import CwlEngine
from tests.conformance.images import require_images
from tests.conformance.judge import UNSUPPORTED_EXIT_CODE, verdict
from tests.conformance.suite import ConformanceTest, load_suite
from tests.services.cwl_engine import engine_settings, engines_folder
from tests.services.plain_run_host import FINAL, POLL_S, PlainRunHost, engine_run
from tests.services.tesp import ONLY_BUBBLEWRAP, ONLY_DOCKER, TespServer

RUNTIMES = {"bubblewrap": ONLY_BUBBLEWRAP, "docker": ONLY_DOCKER}


class Result(NamedTuple):
    """How a test has ended; `fault` is empty if all is well."""

    test: ConformanceTest
    fault: str
    outcome: EngineOutcome
    seconds: float

    @property
    def is_unsupported(self) -> bool:
        return self.outcome.exit_code == UNSUPPORTED_EXIT_CODE


Way = Callable[[ConformanceTest, Path], Awaitable[tuple[EngineOutcome, str]]]
"""Runs a test in a folder: how it has ended, and the end of its log."""


def main() -> int:
    """The exit code: 1 if any test failed."""
    options = _options()
    tests = _chosen(load_suite(options.suite, options.index), options)
    if options.runtime == "docker":
        require_images()
    with tempfile.TemporaryDirectory(prefix="tesp-cwl-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        roots = [
            {"path": str(folder), "mount": "copy"},
            {"path": str(options.suite.resolve()), "mount": "ro"},
        ]
        settings = engine_settings(folder / "engine", roots, default_image=options.default_image)
        environment = {
            **RUNTIMES[options.runtime],
            "TESP_API_DESTINATIONS__LOCAL__FILE_ROOTS": f"@json {json.dumps(roots)}",
            "TESP_API_WES__ENGINES_DIR": str(engines_folder()),
            "TESP_API_WES__CWL__DEFAULT_IMAGE": options.default_image,
            "TESP_API_WES__LIVE_MAX": "1000",
        }
        with TespServer(environment) as server:
            way = _by_wes(server.url) if options.over == "wes" else _by_engine(server.url, settings)
            results = asyncio.run(_run_all(tests, way, folder, options.parallel))
    if options.report:
        options.report.write_text(json.dumps([_as_json(one) for one in results], indent=1))
    return _tell(results)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("suite", type=Path, help="a copy of the repository common-workflow-language/cwl-v1.2")
    parser.add_argument("--index", default="conformance_tests.yaml", help="the suite's list of its tests")
    parser.add_argument("--only", default="", help="ids, separated by commas")
    parser.add_argument("--tags", default="", help="tests with any of these tags: required,scatter")
    parser.add_argument("--part", default="1/1", help="2/8: the second of eight parts")
    parser.add_argument("--parallel", type=int, default=2, help="tests at one time")
    parser.add_argument(
        "--over", choices=["wes", "tes"], default="wes", help="the server's WES, or the engine alone on TES"
    )
    parser.add_argument("--runtime", choices=RUNTIMES, default="docker")
    parser.add_argument("--default-image", default="docker.io/python:3-slim", help="of tools that name none")
    parser.add_argument("--report", type=Path, help="write the results there, as JSON")
    return parser.parse_args()


def _chosen(tests: Sequence[ConformanceTest], options: argparse.Namespace) -> list[ConformanceTest]:
    only, tags = set(filter(None, options.only.split(","))), set(filter(None, options.tags.split(",")))
    number, of = map(int, options.part.split("/"))
    chosen = [one for one in tests if (not only or one.id in only) and (not tags or one.tags & tags)]
    return chosen[number - 1 :: of]


async def _run_all(tests: Sequence[ConformanceTest], run: Way, folder: Path, parallel: int) -> list[Result]:
    slots = asyncio.Semaphore(parallel)

    async def judged(number: int, test: ConformanceTest) -> Result:
        place = folder / f"run-{number}"
        async with slots:
            began = time.monotonic()
            outcome, log = await run(test, place)
            fault = await asyncio.to_thread(verdict, test, outcome, place / "outputs")
            result = Result(test, fault and f"{fault}\n{log}", outcome, time.monotonic() - began)
        mark = "ok" if not fault else "UNSUPPORTED" if result.is_unsupported else "FAIL"
        print(f"{mark:12}{test.id}  {result.seconds:.1f} s", flush=True)
        await asyncio.to_thread(shutil.rmtree, place, True)
        return result

    return await asyncio.gather(*(judged(number, test) for number, test in enumerate(tests)))


def _by_engine(url: str, settings: Settings) -> Way:
    """The engine in this process, on nothing but TES."""
    engine = CwlEngine(settings)

    async def run(test: ConformanceTest, folder: Path) -> tuple[EngineOutcome, str]:
        order = engine_run(folder, test.workflow_url, test.params)
        async with PlainRunHost(url, order, settings) as host:
            outcome = await engine.execute(order, host)
        return outcome, _end_of(host.logs["stderr"].decode(errors="replace"))

    return run


def _by_wes(url: str) -> Way:
    """Runs of the server, by its WES endpoints."""

    async def run(test: ConformanceTest, _: Path) -> tuple[EngineOutcome, str]:
        unkept = httpx.Limits(max_keepalive_connections=0)  # a server may close one that waits as it is used
        async with httpx.AsyncClient(base_url=url, timeout=60, limits=unkept) as client:
            fields = {
                "workflow_type": "CWL",
                "workflow_type_version": "v1.2",
                "workflow_url": test.workflow_url,
                "workflow_params": json.dumps(test.params),
            }
            answer = await client.post("/ga4gh/wes/v1/runs", data=fields)
            if answer.status_code != 200:
                return EngineOutcome(State.SYSTEM_ERROR, None, reason=answer.text), ""
            path = f"/ga4gh/wes/v1/runs/{answer.json()['run_id']}"
            while (await client.get(f"{path}/status")).json()["state"] not in FINAL:  # noqa: ASYNC110
                await asyncio.sleep(POLL_S)
            log = (await client.get(path)).json()
            said = (await client.get(log["run_log"]["stderr"])).text
            reason = "\n".join(log["run_log"].get("system_logs") or ())
            exit_code = log["run_log"].get("exit_code")
            state = cast(Any, State(log["state"]))
            return EngineOutcome(state, exit_code, log.get("outputs") or {}, reason), _end_of(said)

    return run


def _end_of(log: str) -> str:
    return log[-2000:]


def _as_json(result: Result) -> dict[str, object]:
    return {
        "id": result.test.id,
        "tags": sorted(result.test.tags),
        "fault": result.fault,
        "seconds": result.seconds,
    }


def _tell(results: Sequence[Result]) -> int:
    failed = [one for one in results if one.fault]
    for one in failed:
        print(f"\n--- {one.test.id}: {one.test.doc}\n{one.fault}")
    required = [one for one in results if one.test.is_required]
    print(f"\n{len(results) - len(failed)} of {len(results)} passed; of those that are required ", end="")
    print(f"{sum(not one.fault for one in required)} of {len(required)}")
    print("failed:", ", ".join(one.test.id for one in failed) or "none")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
