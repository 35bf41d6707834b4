"""The Pulsars that the contract suite runs on, each with the means to look behind it and to kill it."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol, TypeVar

from tesp_api.pulsar.amqp import AmqpPulsar
from tesp_api.pulsar.base import JobOrder, PulsarTransport
from tesp_api.pulsar.embedded import EmbeddedPulsar
from tesp_api.pulsar.mailbox import MemoryMailbox
from tesp_api.pulsar.processes import kill_tree, processes_in, read_stat
from tesp_api.pulsar.rest import RestPulsar
from tests.services.pulsar_amqp import AmqpStockPulsar
from tests.services.pulsar_rest import StockPulsar
from tests.services.rabbitmq import RabbitMQ

T = TypeVar("T")

PATIENCE_S = 20.0
POLL_S = 0.02

HOST = """
import asyncio, sys
from pathlib import Path
from tesp_api.pulsar.base import JobOrder
from tesp_api.pulsar.embedded import EmbeddedPulsar

async def main():
    folder, job_id, worker, task = sys.argv[1:]
    pulsar = EmbeddedPulsar("host", Path(folder))
    await pulsar.open()
    await pulsar.launch(JobOrder(job_id, Path(worker).read_bytes(), task.encode()))
    print("launched", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def eventually(condition: Callable[[], Awaitable[T | None]]) -> T:
    """What the condition gives as soon as that is true."""
    async with asyncio.timeout(PATIENCE_S):
        # nothing tells us of a change in another process
        while not (result := await condition()):  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)
    return result


class Site(Protocol):
    """A kind of Pulsar: `staging` is its folder of job directories on this machine."""

    @property
    def transport(self) -> PulsarTransport: ...

    @property
    def staging(self) -> Path: ...

    async def launch_and_kill_host(self, order: JobOrder) -> None:
        """Launch the job, kill -9 the process that Pulsar lives in, and start another in its place."""

    async def aclose(self) -> None: ...


class EmbeddedSite:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.staging = folder / "staging"
        self.transport = EmbeddedPulsar("embedded", folder)

    async def launch_and_kill_host(self, order: JobOrder) -> None:
        await self.transport.aclose()
        worker = self._folder / "worker.pyz"
        worker.write_bytes(order.worker)
        argv = [sys.executable, "-c", HOST, str(self._folder), order.job_id, str(worker)]
        host = await asyncio.create_subprocess_exec(
            *argv, order.task_json.decode(), stdout=asyncio.subprocess.PIPE
        )
        assert host.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            assert await host.stdout.readline() == b"launched\n"
        host.kill()
        await host.wait()
        self.transport = EmbeddedPulsar("embedded", self._folder)
        await self.transport.open()

    async def aclose(self) -> None:
        await self.transport.aclose()
        for process in processes_in(self.staging):
            kill_tree(process)


class RestSite:
    def __init__(self, pulsar: StockPulsar) -> None:
        self.pulsar = pulsar
        self.staging = pulsar.staging
        self.transport = RestPulsar("rest", pulsar.url, pulsar.private_token)

    async def launch_and_kill_host(self, order: JobOrder) -> None:
        await self.transport.launch(order)
        # killed between its fork and its record, Pulsar knows nothing of a job that runs
        await started_pid(self.transport, order.job_id)
        await asyncio.to_thread(self.pulsar.restart)

    async def aclose(self) -> None:
        await self.transport.aclose()
        for process in processes_in(self.staging):
            kill_tree(process)


class AmqpSite:
    def __init__(self, broker: RabbitMQ, pulsar: AmqpStockPulsar) -> None:
        self.pulsar = pulsar
        self.staging = pulsar.staging
        self.transport = AmqpPulsar("amqp", broker.url, MemoryMailbox())

    async def launch_and_kill_host(self, order: JobOrder) -> None:
        await self.transport.launch(order)
        await started_pid(self.transport, order.job_id)
        await asyncio.to_thread(self.pulsar.restart)

    async def aclose(self) -> None:
        await self.transport.aclose()
        for process in processes_in(self.staging):
            kill_tree(process)


async def started_pid(transport: PulsarTransport, job_id: str) -> int:
    """The worker's pid, once it has started."""

    async def started() -> bytes | None:
        return await transport.read_file(job_id, "started")

    return int(json.loads(await eventually(started))["pid"])


def is_running(pid: int) -> bool:
    """Whether a process with this pid runs; a zombie does not."""
    stat = read_stat(pid)
    return stat is not None and stat.alive
