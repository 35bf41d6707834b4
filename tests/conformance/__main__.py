"""`python -m tests.conformance SUITE`: runs the tests and tells of each that is not as it should be."""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tesp_api.settings import Settings
from tesp_api.wes.engines.cwl import CwlEngine
from tests.conformance.images import require_images
from tests.conformance.judge import UNSUPPORTED_EXIT_CODE, verdict
from tests.conformance.suite import ConformanceTest, load_suite
from tests.services.cwl_engine import engine_settings
from tests.services.plain_run_host import PlainRunHost, engine_run
from tests.services.tesp import ONLY_BUBBLEWRAP, ONLY_DOCKER, TespServer

RUNTIMES = {"bubblewrap": ONLY_BUBBLEWRAP, "docker": ONLY_DOCKER}


class Result(NamedTuple):
    """How a test has ended; `fault` is empty if all is well."""

    test: ConformanceTest
    fault: str
    is_unsupported: bool
    seconds: float


def main() -> int:
    """The exit code: 1 if any test failed."""
    options = _options()
    tests = _chosen(load_suite(options.suite), options)
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
        }
        with TespServer(environment) as server:
            results = asyncio.run(_run_all(tests, server.url, settings, folder, options.parallel))
    if options.report:
        options.report.write_text(json.dumps([_as_json(one) for one in results], indent=1))
    return _tell(results)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("suite", type=Path, help="a copy of the repository common-workflow-language/cwl-v1.2")
    parser.add_argument("--only", default="", help="ids, separated by commas")
    parser.add_argument("--tags", default="", help="tests with any of these tags: required,scatter")
    parser.add_argument("--part", default="1/1", help="2/8: the second of eight parts")
    parser.add_argument("--parallel", type=int, default=2, help="tests at one time")
    parser.add_argument("--runtime", choices=RUNTIMES, default="bubblewrap")
    parser.add_argument("--default-image", default="docker.io/python:3-slim", help="of tools that name none")
    parser.add_argument("--report", type=Path, help="write the results there, as JSON")
    return parser.parse_args()


def _chosen(tests: Sequence[ConformanceTest], options: argparse.Namespace) -> list[ConformanceTest]:
    only, tags = set(filter(None, options.only.split(","))), set(filter(None, options.tags.split(",")))
    number, of = map(int, options.part.split("/"))
    chosen = [one for one in tests if (not only or one.id in only) and (not tags or one.tags & tags)]
    return chosen[number - 1 :: of]


async def _run_all(
    tests: Sequence[ConformanceTest], url: str, settings: Settings, folder: Path, parallel: int
) -> list[Result]:
    engine, slots = CwlEngine(settings), asyncio.Semaphore(parallel)

    async def run(number: int, test: ConformanceTest) -> Result:
        async with slots:
            result = await _run(test, url, engine, settings, folder / f"run-{number}")
        mark = "ok" if not result.fault else "UNSUPPORTED" if result.is_unsupported else "FAIL"
        print(f"{mark:12}{test.id}  {result.seconds:.1f} s", flush=True)
        return result

    return await asyncio.gather(*(run(number, test) for number, test in enumerate(tests)))


async def _run(
    test: ConformanceTest, url: str, engine: CwlEngine, settings: Settings, folder: Path
) -> Result:
    began = time.monotonic()
    run = engine_run(folder, test.workflow_url, test.params)
    async with PlainRunHost(url, run, settings) as host:
        outcome = await engine.execute(run, host)
    fault = await asyncio.to_thread(verdict, test, outcome, folder / "outputs")
    if fault:
        fault += "\n" + host.logs["stderr"].decode(errors="replace")[-2000:]
    await asyncio.to_thread(shutil.rmtree, folder, True)
    return Result(test, fault, outcome.exit_code == UNSUPPORTED_EXIT_CODE, time.monotonic() - began)


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
