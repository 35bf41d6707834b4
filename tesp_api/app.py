"""The composition root: the only place that names concrete backends."""

import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import timedelta
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from fastapi import FastAPI

from tesp_api.api.application import build_api
from tesp_api.api.auth.api_tokens import TokenAuthenticator
from tesp_api.api.auth.authenticator import Authenticator
from tesp_api.api.auth.basic import BasicAuthenticator
from tesp_api.api.channel import ChannelEndpoints, build_channel
from tesp_api.api.channel_listener import SOCKET_NAME, ChannelListener
from tesp_api.api.creation import Creation
from tesp_api.bell import Bell
from tesp_api.garbage import seldom_collected
from tesp_api.metrics.page import Metrics
from tesp_api.pulsar.base import PulsarTransport
from tesp_api.pulsar.embedded import EmbeddedPulsar
from tesp_api.pulsar.mailbox import Mailbox, MemoryMailbox
from tesp_api.runner.gateway import Gateway
from tesp_api.runner.gateway_lender import GatewayLender
from tesp_api.runner.left_files import take_over
from tesp_api.runner.lending import StorageLender
from tesp_api.runner.retention import Retention
from tesp_api.runner.scheduler import Scheduler
from tesp_api.runner.worker_archive import is_local_worker
from tesp_api.settings import DestinationSettings, Settings, load_settings
from tesp_api.storage.credentials import Credentials
from tesp_api.storage.logins import Logins
from tesp_api.storage.s3_signing import S3Signer
from tesp_api.storage.sealing import Sealer
from tesp_api.storage.server_key import ServerKey
from tesp_api.storage.work_files import build_work_files
from tesp_api.storage.work_orders import WorkOrders
from tesp_api.store.accounts import Accounts
from tesp_api.store.base import REPORTS_STAY, TaskStore
from tesp_api.store.folder_lock import FolderLock
from tesp_api.store.outbox import Outbox
from tesp_api.store.runs import RunStore
from tesp_api.store.server_id import server_id
from tesp_api.store.sqlite import SqliteTaskStore
from tesp_api.store.sqlite_accounts import SqliteAccounts
from tesp_api.store.sqlite_outbox import SqliteOutbox
from tesp_api.store.sqlite_runs import SqliteRunStore
from tesp_api.store.sqlite_upkeep import SqliteUpkeep
from tesp_api.store.upkeep import Upkeep
from tesp_api.tracing.otlp import OtlpSink
from tesp_api.tracing.tracer import Tracer
from tesp_api.webhooks.deliveries import Deliveries
from tesp_api.wes.conductor import Conductor
from tesp_api.wes.engines.base import EngineRun, RunFiles, WorkflowEngine
from tesp_api.wes.engines.cwl.engine import CwlEngine
from tesp_api.wes.engines.snakemake.engine import SnakemakeEngine
from tesp_api.wes.files import StorageFiles
from tesp_api.wes.run_creation import RunCreation
from tesp_api.wes.run_tasks import HostParts
from tesp_api.wes.task_ends import LOOK_ALONE_S, LOOK_BESIDE_OTHERS_S, TaskEnds
from tesp_api.wes.workflows import Workflows

if TYPE_CHECKING:
    from tesp_api.store.mongo import MongoTaskStore

# What only some settings ask for is imported where it is built: pymongo, aio-pika, aiohttp and httpx are half
# of a second of a server's start.

_log = logging.getLogger(__name__)

_REPORTED_BYTES = 64 * 1024**2
"""Of each REST destination: enough for the news of some ten thousand jobs."""


def create_app(
    settings: Settings | None = None, engines: Mapping[str, WorkflowEngine] | None = None
) -> FastAPI:
    """The whole server as an ASGI application; its lifespan opens and closes everything behind it.

    `engines` are the workflow engines, by name, where they are others than those of the settings.

    Raises:
        SettingsError: `settings` is None and what the settings file and the environment say is wrong.
    """
    settings = settings or load_settings()
    bell, ended, run_bell = Bell(), Bell(), Bell()
    metrics = Metrics()
    bare_store = build_store(settings)
    store = metrics.store.measured(bare_store, TaskStore)
    runs = metrics.store.measured(build_run_store(settings, bare_store), RunStore, prefix="runs.")
    accounts = build_accounts(settings)
    # A REST site's files can be read anew, so what is reported of them is only kept in memory.
    reported = {
        name: MemoryMailbox(_REPORTED_BYTES)
        for name, one in settings.destinations.items()
        if one.kind == "rest"
    }
    transports = {
        name: metrics.pulsar.measured(one, PulsarTransport, name, but=("open", "aclose", "wait_for_news"))
        for name, one in build_transports(settings, StoreMailbox(store), reported).items()
    }
    server_key = ServerKey(settings)
    work_orders = WorkOrders(server_key)
    credentials = Credentials(settings.credentials)
    logins = Logins(credentials, Sealer(server_key))
    signer = S3Signer()
    endpoints = ChannelEndpoints(store, work_orders, credentials, logins, signer, bell, reported)
    channel = ChannelListener(build_channel(endpoints), settings)
    lender = StorageLender(
        settings, work_orders, credentials, logins, signer, socket=settings.data_dir / SOCKET_NAME
    )
    gateway = Gateway(settings, lambda task: GatewayLender(task, logins, credentials, signer))
    scheduler = Scheduler(store, transports, settings, bell, lender, gateway, ended, metrics.tasks)
    metrics.ask(lambda: metrics.world.ask_store(store))
    metrics.ask(lambda: metrics.world.ask_runs(runs.count_states))
    outbox = metrics.store.measured(build_outbox(settings, bare_store), Outbox, prefix="outbox.")
    metrics.ask(lambda: metrics.webhooks.ask_waiting(outbox.waiting))
    webhooks = Deliveries(outbox, bare_store.notices, settings, metrics.webhooks.tries.add)
    work_files = build_work_files(settings, credentials, signer)
    engines = dict(engines or build_engines(settings))
    creation = Creation(store, bell, settings, scheduler.routing)
    look_s = LOOK_ALONE_S if settings.store.kind == "sqlite" else LOOK_BESIDE_OTHERS_S
    parts = HostParts(
        runs,
        store,
        creation,
        TaskEnds(store, ended, look_s=look_s),
        bell,
        tail_bytes=settings.logs.tail_bytes,
        log_max_bytes=settings.logs.max_bytes,
        steps_max=settings.wes.steps_max,
        traces_share=settings.tracing.share if settings.tracing.is_on else None,
    )

    def files_for(run: EngineRun, owner: str, readable: Sequence[str]) -> RunFiles:
        return StorageFiles(settings, credentials, signer, owner=owner, run=run, readable=readable)

    conductor = Conductor(parts, engines, settings, run_bell, work_files, files_for)
    run_creation = RunCreation(runs, work_files, run_bell, settings, engines, creation.place_faults)
    sink = OtlpSink(settings.tracing, metrics.spans_unsent) if settings.tracing.is_on else None
    tracer = Tracer(store, runs, sink.emit, settings.tracing.share, metrics.traces_dropped) if sink else None
    workflows = Workflows(runs, store, run_creation, work_files, run_bell)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(seldom_collected())
            is_locked = stack.enter_context(_only_server(settings))
            await store.open()
            stack.push_async_callback(store.aclose)
            if settings.auth.has_accounts:
                await accounts.open()
                stack.push_async_callback(accounts.aclose)
            _prepare_key(server_key, settings)
            await channel.open()
            stack.push_async_callback(channel.aclose)
            if sink and tracer:
                await tracer.start(ended, conductor.ended)
                stack.push_async_callback(sink.aclose)
                stack.push_async_callback(tracer.aclose)
            for transport in transports.values():
                await transport.open()
                stack.push_async_callback(transport.aclose)
            await webhooks.start()
            stack.push_async_callback(webhooks.stop)
            await scheduler.start(server_id(settings.data_dir) if is_locked else "")
            stack.push_async_callback(scheduler.stop)
            await work_files.open()
            stack.push_async_callback(work_files.aclose)
            for engine in engines.values():
                await engine.open()
                stack.push_async_callback(engine.aclose)
            await conductor.start()
            stack.push_async_callback(conductor.stop)
            await metrics.loop.start()
            stack.push_async_callback(metrics.loop.stop)
            if settings.retention.finished_age_s is not None:
                retention = Retention(store, settings.retention.finished_age_s, runs=runs)
                await retention.start()
                stack.push_async_callback(retention.stop)
            yield

    checks = {f"pulsar {name}": partial(scheduler.health.check, name) for name in transports}
    return build_api(
        store,
        bell,
        settings,
        checks,
        authenticators=build_authenticators(settings, accounts),
        next_destination=scheduler.next_destination,
        routing=scheduler.routing,
        workflows=workflows,
        webhooks=webhooks,
        destinations=scheduler.destinations,
        waits_for=scheduler.waits_for,
        metrics=metrics,
        emit=sink.emit if sink else None,
        lifespan=lifespan,
    )


def build_store(settings: Settings) -> TaskStore:
    """The store that the settings ask for, not yet open."""
    if settings.store.kind == "mongodb":
        from tesp_api.store.mongo import MongoTaskStore

        return MongoTaskStore(settings.store.url.get_secret_value(), database=settings.store.database)
    return SqliteTaskStore(settings.data_dir)


def build_run_store(settings: Settings, tasks: TaskStore) -> RunStore:
    """The workflow runs in the database of that store, which opens and closes it."""
    if settings.store.kind == "mongodb":
        from tesp_api.store.mongo_runs import MongoRunStore

        return MongoRunStore(cast("MongoTaskStore", tasks))
    return SqliteRunStore(cast(SqliteTaskStore, tasks))


def build_outbox(settings: Settings, tasks: TaskStore) -> Outbox:
    """The outbox in the database of that store, which opens and closes it."""
    if settings.store.kind == "mongodb":
        from tesp_api.store.mongo_outbox import MongoOutbox

        return MongoOutbox(cast("MongoTaskStore", tasks))
    return SqliteOutbox(cast(SqliteTaskStore, tasks))


def build_engines(settings: Settings) -> Mapping[str, WorkflowEngine]:
    """The workflow engines by name, be they installed or not."""
    return {engine.name: engine for engine in (CwlEngine(settings), SnakemakeEngine(settings))}


def build_accounts(settings: Settings) -> Accounts:
    """The users and tokens of that store, not yet open."""
    if settings.store.kind == "mongodb":
        from tesp_api.store.mongo_accounts import MongoAccounts

        return MongoAccounts(settings.store.url.get_secret_value(), database=settings.store.database)
    return SqliteAccounts(settings.data_dir)


def build_upkeep(settings: Settings) -> Upkeep:
    """The upkeep of that store's database."""
    if settings.store.kind == "mongodb":
        from tesp_api.store.mongo_upkeep import MongoUpkeep

        return MongoUpkeep(settings.store.url.get_secret_value(), database=settings.store.database)
    return SqliteUpkeep(settings.data_dir)


def build_authenticators(settings: Settings, accounts: Accounts) -> list[Authenticator]:
    """The ways to log in that the settings ask for."""
    found: list[Authenticator] = []
    if "token" in settings.auth.modes:
        found.append(TokenAuthenticator(accounts))
    if "basic" in settings.auth.modes:
        found.append(BasicAuthenticator(accounts, settings.limits.logins))
    if "oidc" in settings.auth.modes:
        from tesp_api.api.auth.oidc import OidcAuthenticator

        found.append(OidcAuthenticator(settings.issuers))
    return found


@contextmanager
def _only_server(settings: Settings) -> Iterator[bool]:
    """Hold the data folder where an embedded Pulsar or the gateway works in it; the embedded store does so.

    Whether this does, is what the block is given.

    Raises:
        DataFolderInUse: another process holds it.
    """
    if settings.store.kind == "sqlite" or not (settings.has_embedded_pulsar or settings.has_gateway):
        yield False
        return
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = FolderLock(settings.data_dir)
    lock.acquire()
    try:
        yield True
    finally:
        lock.release()


def _prepare_key(server_key: ServerKey, settings: Settings) -> None:
    """Have the server's key at hand, or stop the start.

    Raises:
        SettingsError: it can neither be read nor made.
    """
    server_key.derive("start")
    if settings.store.kind == "mongodb" and not server_key.is_in_settings:
        _log.warning(
            "secret_key is not set, so the key of this server is in %s: further servers on the same database "
            "need the same secret_key",
            server_key.file,
        )


class StoreMailbox:
    """The `Mailbox` in the store: what a site sends is there for every server of the database."""

    def __init__(self, store: TaskStore) -> None:
        self._store = store

    async def put(self, job_id: str, name: str, data: bytes, stay: timedelta | None = None) -> None:
        await self._store.put_report(job_id, name, data, stay=stay or REPORTS_STAY)

    async def get(self, job_id: str, name: str) -> bytes | None:
        return await self._store.read_report(job_id, name)

    async def drop(self, job_id: str, name: str | None = None) -> None:
        await self._store.drop_reports(job_id, name)


def build_transports(
    settings: Settings,
    mailbox: Mailbox | None = None,
    reported: Mapping[str, Mailbox] = MappingProxyType({}),
) -> Mapping[str, PulsarTransport]:
    """A transport for each destination, not yet open. Without a mailbox, they are only good for `check`.

    `reported` are mailboxes of single REST destinations.
    """
    transports: dict[str, PulsarTransport] = {}
    for name, site in settings.destinations.items():
        if site.kind == "embedded":
            transports[name] = EmbeddedPulsar(
                name,
                settings.data_dir / "pulsar",
                python=site.site_python,
                take_over=take_over,
                is_ours=is_local_worker,
            )
        elif site.kind == "amqp":
            from tesp_api.pulsar.amqp import AmqpPulsar

            transports[name] = AmqpPulsar(
                name,
                _url_of(site),
                mailbox or MemoryMailbox(),
                manager=site.manager,
                python=site.site_python,
                ca=site.broker_ca,
                listens=mailbox is not None,
                alone=settings.store.kind == "sqlite",
            )
        else:
            from tesp_api.pulsar.rest import RestPulsar

            transports[name] = RestPulsar(
                name,
                _url_of(site),
                site.private_token.get_secret_value() if site.private_token else None,
                manager=site.manager,
                python=site.site_python,
                connections=site.rest_connections,
                mailbox=reported.get(name),
            )
    return transports


def _url_of(site: DestinationSettings) -> str:
    return site.url.get_secret_value() if site.url is not None else ""
