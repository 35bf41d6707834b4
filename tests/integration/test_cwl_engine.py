"""The CWL engine with real tasks: each test of `tests/cwl/index.yaml`, judged as the conformance suite is."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tesp_api.tes.states import State
from tesp_api.wes.engines.cwl.engine import CwlEngine
from tests.conformance.judge import verdict
from tests.conformance.suite import ConformanceTest, load_suite
from tests.services.cwl_engine import engine_settings
from tests.services.plain_run_host import PlainRunHost, engine_run
from tests.services.tesp import ONLY_BUBBLEWRAP, TespServer

pytestmark = pytest.mark.services

SUITE = Path(__file__).parents[1] / "cwl"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cwl")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[TespServer]:
    roots = [{"path": str(folder), "mount": "copy"}, {"path": str(SUITE), "mount": "ro"}]
    environment = {
        **ONLY_BUBBLEWRAP,
        "TESP_API_DESTINATIONS__LOCAL__FILE_ROOTS": f"@json {json.dumps(roots)}",
    }
    with TespServer(environment) as server:
        yield server


@pytest.mark.parametrize("test", load_suite(SUITE, "index.yaml"), ids=lambda test: test.id)
async def test_it_comes_out_as_it_should(test: ConformanceTest, server: TespServer, folder: Path) -> None:
    roots = [{"path": str(SUITE), "mount": "ro"}]
    settings = engine_settings(folder / "engine", roots, default_image="busybox:latest")
    run = engine_run(folder / test.id, test.workflow_url, test.params)
    async with PlainRunHost(server.url, run, settings) as host:
        outcome = await CwlEngine(settings).execute(run, host)
    log = host.logs["stderr"].decode()
    assert not verdict(test, outcome, folder / test.id / "outputs"), f"{outcome}\n{log}"
    assert test.reason in outcome.reason, log
    if test.exit_code is not None:
        assert outcome.exit_code == test.exit_code
    if not test.should_fail:
        assert outcome.state == State.COMPLETE
        assert outcome.exit_code == 0
        assert json.loads(host.logs["stdout"]) == outcome.outputs
