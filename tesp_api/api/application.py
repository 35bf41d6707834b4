"""Puts the API together."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from starlette.types import Lifespan, Receive, Scope, Send

from tesp_api.api.auth.authentication import Authentication
from tesp_api.api.auth.authenticator import Authenticator
from tesp_api.api.auth.web_pages import WebPages
from tesp_api.api.body_limit import BodyLimit
from tesp_api.api.bulk import BulkEndpoint
from tesp_api.api.cors import Cors
from tesp_api.api.creation import Creation
from tesp_api.api.docs import DocsEndpoints
from tesp_api.api.draining import Drain, Draining
from tesp_api.api.dry_run import DryRunEndpoint, NextDestination
from tesp_api.api.errors import install_error_answers
from tesp_api.api.extensions import ExtensionEndpoints, WaitsFor, knows_nothing
from tesp_api.api.head_limit import HeadLimit
from tesp_api.api.health import Check, HealthEndpoints
from tesp_api.api.limits.endpoint import LimitsEndpoint
from tesp_api.api.limits.list_turns import ListTurns
from tesp_api.api.limits.request_rate import RequestRate, limits_requests
from tesp_api.api.live.crowd import put_send
from tesp_api.api.live.endpoints import LiveEndpoints
from tesp_api.api.live.hub import LOOK_ALONE_S, LOOK_BESIDE_OTHERS_S, LiveHub
from tesp_api.api.live.response import StreamPlaces
from tesp_api.api.metrics import MetricsEndpoint
from tesp_api.api.openapi import openapi_document
from tesp_api.api.overview import Destinations, OverviewEndpoints
from tesp_api.api.request_id import RequestId
from tesp_api.api.request_meter import RequestMeter, templates_of
from tesp_api.api.root_path import RootPath
from tesp_api.api.run_files import RunFileEndpoints
from tesp_api.api.runs import RunEndpoints
from tesp_api.api.tasks import TaskEndpoints
from tesp_api.api.ui import UiEndpoints
from tesp_api.api.webhooks import WebhookEndpoints
from tesp_api.audit_log import AuditLog
from tesp_api.bell import Bell
from tesp_api.metrics.page import Metrics
from tesp_api.settings import Settings
from tesp_api.storage.admission import Rules
from tesp_api.store.base import TaskStore
from tesp_api.tracing.span import Emit
from tesp_api.webhooks.deliveries import Deliveries
from tesp_api.wes.views import WES
from tesp_api.wes.workflows import Workflows


class _Api(FastAPI):
    """The application, which notes how the server sends before all middleware (`live.crowd`)."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            put_send(scope, send)
        await super().__call__(scope, receive, send)


def build_api(
    store: TaskStore,
    bell: Bell,
    settings: Settings,
    checks: Mapping[str, Check],
    *,
    authenticators: Sequence[Authenticator] = (),
    next_destination: NextDestination | None = None,
    routing: Rules | None = None,
    workflows: Workflows | None = None,
    webhooks: Deliveries | None = None,
    destinations: Destinations = tuple,
    waits_for: WaitsFor = knows_nothing,
    metrics: Metrics | None = None,
    emit: Emit | None = None,
    lifespan: Lifespan[Any] | None = None,
) -> FastAPI:
    """The API over an opened store.

    Without `authenticators` nobody has to log in, without `workflows` there is no WES. `checks` are those of
    the destinations, by name, for `/readyz`; `routing` are their rules, `destinations` tells how they are,
    `waits_for` what a task waits for that nobody drives yet.
    `metrics` are what the other parts of the server count, `emit` sends spans of requests.
    `app.state.drain` is what ends the taking of new tasks, and all streams.
    """
    root_path = settings.server.root_path
    creation = Creation(store, bell, settings, routing)
    list_turns = ListTurns(settings.limits)
    document = openapi_document(version("tesp-api"), root_path, with_wes=workflows is not None)
    ways = [] if settings.auth.is_open else settings.auth.modes
    drain = Drain()
    look_s = LOOK_ALONE_S if settings.store.kind == "sqlite" else LOOK_BESIDE_OTHERS_S
    hub = LiveHub(store.news, drain, look_s=look_s)
    places = StreamPlaces(settings.limits)
    live = LiveEndpoints(store, workflows.runs if workflows else None, hub, places)
    metrics = metrics or Metrics()
    metrics.ask(lambda: _look_at(metrics, places, destinations))
    app = _Api(title="TESP", openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.routes.extend(
        [
            *TaskEndpoints(store, bell, settings, creation, list_turns, tes_1_0=False).routes(
                "/ga4gh/tes/v1"
            ),
            *TaskEndpoints(store, bell, settings, creation, list_turns, tes_1_0=True).routes("/v1"),
            *BulkEndpoint(creation).routes("/tesp/v1"),
            *DryRunEndpoint(settings, creation, next_destination).routes("/tesp/v1"),
            *ExtensionEndpoints(store, live, waits_for).routes("/tesp/v1"),
            *OverviewEndpoints(store, live, list_turns, destinations, ways).routes("/tesp/v1"),
            *live.routes("/tesp/v1"),
            *(RunEndpoints(workflows, settings).routes() if workflows else ()),
            *(RunFileEndpoints(workflows).routes("/tesp/v1") if workflows else ()),
            *(WebhookEndpoints(store, webhooks, settings).routes("/tesp/v1") if webhooks else ()),
            *LimitsEndpoint(store, settings).routes("/tesp/v1"),
            *HealthEndpoints(store.check, checks, tells_why=not authenticators).routes(),
            *DocsEndpoints(document, authenticators).routes(),
            *(MetricsEndpoint(metrics, settings).routes() if settings.metrics.enabled else ()),
            *UiEndpoints(settings, authenticators, with_runs=workflows is not None).routes(),
        ]
    )
    app.state.drain = drain
    app.add_middleware(Draining, drain=app.state.drain)
    _add_middleware(app, settings, authenticators, metrics)
    app.add_middleware(RequestId, settings=settings, audit=AuditLog(settings), emit=emit)
    install_error_answers(app)
    return app


async def _look_at(metrics: Metrics, places: StreamPlaces, destinations: Destinations) -> None:
    metrics.requests.streams.set(places.open_count)
    metrics.world.look_at(destinations())


def _add_middleware(
    app: FastAPI, settings: Settings, authenticators: Sequence[Authenticator], metrics: Metrics
) -> None:
    """What requests pass through once they have a name: the last one added comes first."""
    larger = {f"{WES}/runs": settings.wes.max_body_bytes}
    app.add_middleware(BodyLimit, max_body_bytes=settings.server.max_body_bytes, larger=larger)
    if limits_requests(settings):
        app.add_middleware(RequestRate, settings=settings)
    app.add_middleware(Authentication, authenticators=authenticators, settings=settings)
    app.add_middleware(WebPages, settings=settings)
    app.add_middleware(HeadLimit)
    if settings.metrics.enabled:  # within RootPath, whose copy of the scope has the endpoint
        app.add_middleware(RequestMeter, requests=metrics.requests, templates=templates_of(app.routes))
    if settings.server.root_path:
        app.add_middleware(RootPath, root_path=settings.server.root_path)
    if settings.server.cors_origins:
        app.add_middleware(Cors, origins=settings.server.cors_origins)
