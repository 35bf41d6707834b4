"""What reaches a stock Pulsar's manager of the parameters for the scheduler behind it."""

import json
from collections.abc import Iterator
from dataclasses import replace
from uuid import uuid4

import pytest

from tests.contract.pulsar_sites import AmqpSite, RestSite, eventually
from tests.contract.tiny_worker import tiny_order
from tests.services.pulsar_amqp import AmqpStockPulsar
from tests.services.pulsar_rest import StockPulsar
from tests.services.rabbitmq import RabbitMQ

pytestmark = pytest.mark.services

PARAMS = {"native_specification": "--partition=long --cpus-per-task=4 --mem=8107 --time=2"}


@pytest.fixture(params=["rest", "amqp"])
def site(request: pytest.FixtureRequest) -> Iterator[RestSite | AmqpSite]:
    if request.param == "rest":
        with StockPulsar() as pulsar:
            yield RestSite(pulsar)
    else:
        with RabbitMQ() as broker, AmqpStockPulsar(broker) as pulsar:
            yield AmqpSite(broker, pulsar)


@pytest.mark.parametrize("params", [PARAMS, {}], ids=["some", "none"])
async def test_parameters_reach_the_manager_as_they_are(
    site: RestSite | AmqpSite, params: dict[str, str]
) -> None:
    await site.transport.open()
    try:
        job_id = f"job-{uuid4().hex}"
        await site.transport.launch(replace(tiny_order(job_id), params=params))

        async def result() -> bytes | None:
            return await site.transport.read_file(job_id, "result.json")

        await eventually(result)
        (kept,) = (site.staging / job_id).glob("*launch_config*")
        assert json.loads(kept.read_text())["submit_params"] == params
        await site.transport.clean(job_id)
    finally:
        await site.aclose()
