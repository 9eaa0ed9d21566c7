"""Every route of the service, and those that say what is running and how it is."""

import time
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response

from datasync import __version__
from datasync.api import (
    failure_routes,
    file_routes,
    metrics,
    outcome_routes,
    run_routes,
    sync_routes,
    trash_routes,
)
from datasync.api.dashboard import routes as dashboard
from datasync.api.dashboard.pages import STATIC, wants_page
from datasync.api.dependencies import ControllerOf, LanesOf
from datasync.api.docs import Assets
from datasync.api.error_responses import responses
from datasync.api.requests import in_thread
from datasync.models.s3_models import (
    Endpoint,
    HealthReport,
    HealthStatus,
    Pong,
    Probed,
    ServiceInfo,
    StatsReport,
)

open_router = APIRouter(tags=["service"])
service_router = APIRouter(tags=["service"])


@open_router.get("/ping", summary="Is the process alive?", response_description="It is.")
async def ping() -> Pong:
    """Answers at once, to everybody; asks neither S3 nor the disk."""
    return Pong()


@open_router.get("/health/live", summary="Is the process alive?", response_description="It is.")
async def live() -> Probed:
    """For orchestrators, as `/ping`: answers at once, to everybody. If it does not, restart it."""
    return Probed(status="alive")


@open_router.get(
    "/health/ready",
    summary="Can requests be sent here?",
    response_description="They can.",
    responses={503: {"model": Probed, "description": "Not ready; /sync/health says why."}},
)
async def ready(controller: ControllerOf, lanes: LanesOf, response: Response) -> Probed:
    """For orchestrators: 200 when the ledger answers and the disk can be used, else 503.

    S3 is not asked: what is mirrored can be read without it. Open to everybody where there are
    keys; without keys, to this machine as everything else.
    """
    if await in_thread(controller.is_ready, limiter=lanes.health):
        return Probed(status="ready")
    response.status_code = 503
    return Probed(status="not ready")


@service_router.get(
    "/",
    summary="What is this?",
    response_model=ServiceInfo,
    responses={
        **responses(),
        200: {"model": ServiceInfo, "description": "To browsers: the dashboard, as at /ui."},
    },
)
async def info(request: Request, controller: ControllerOf) -> Response | ServiceInfo:
    """The service, its version and its routes; to a browser, by `Accept`, the dashboard."""
    if wants_page(request.headers.get("accept", "")):
        return await dashboard.show_overview(request, controller)
    return ServiceInfo(
        service="DataSync", version=__version__, docs="/docs", endpoints=_endpoints(request)
    )


def _endpoints(request: Request) -> list[Endpoint]:
    described: dict[str, dict[str, Any]] = request.app.openapi()["paths"]
    return [
        Endpoint(method=method.upper(), path=path, summary=operation.get("summary", ""))
        for path, methods in described.items()
        for method, operation in methods.items()
    ]


HEALTH_RESPONSES: dict[int | str, dict[str, Any]] = {
    **responses(),
    503: {"model": HealthReport, "description": "Unhealthy: the message says why."},
}


@service_router.get(
    "/sync/health",
    summary="Is all well?",
    response_description="Healthy or degraded: `status` says which.",
    responses=HEALTH_RESPONSES,
)
async def health(controller: ControllerOf, lanes: LanesOf, response: Response) -> HealthReport:
    """Healthy, or degraded (it works, but somebody should look): 200. Unhealthy: 503.

    Answers in under 3 seconds even when S3 hangs.
    """
    report = await in_thread(controller.health, limiter=lanes.health)
    if report.status is HealthStatus.UNHEALTHY:
        response.status_code = 503
    return report


@service_router.get(
    "/sync/stats",
    summary="Figures of the mirror",
    response_description="The figures.",
    responses=responses(),
)
def stats(controller: ControllerOf) -> StatsReport:
    """Objects, bytes, states, events, lag and drift; read from the ledger."""
    return controller.stats()


@service_router.get(
    "/sync/config",
    summary="The effective settings",
    response_description="The settings, without secrets.",
    responses=responses(),
)
def config(controller: ControllerOf) -> dict[str, Any]:
    """Every setting by its name in lower case; of a secret only whether it is set."""
    return controller.settings()


@service_router.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=Response,
    responses={
        **responses(),
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Metrics."},
    },
)
def metrics_text(controller: ControllerOf) -> Response:
    """Read from the ledger at the moment of the scrape: every worker gives the same."""
    facts, events, disk = controller.facts(), controller.events(), controller.disk_usage()
    text = metrics.render(facts, events, disk, time.time())
    return Response(text, media_type=metrics.CONTENT_TYPE)


# The names that older clients know.
ALIASES: dict[str, tuple[Callable[..., Any], str]] = {
    "/api/v1/health": (health, "Is all well? (alias)"),
    "/api/v1/stats": (stats, "Figures of the mirror (alias)"),
    "/api/v1/config": (config, "The effective settings (alias)"),
}


def _alias_router() -> APIRouter:
    aliases = APIRouter(tags=["service"])
    for path, (endpoint, summary) in ALIASES.items():
        described = HEALTH_RESPONSES if endpoint is health else responses()
        aliases.add_api_route(
            path,
            endpoint,
            summary=summary,
            response_description="As of the route that this is another name of.",
            responses=described,
        )
    return aliases


def add_routes(app: FastAPI) -> None:
    """Give the application all routes."""
    closed = (
        sync_routes.router,  # first: routes are tried in their order, and events come in bursts
        service_router,
        file_routes.router,
        run_routes.router,
        failure_routes.router,
        outcome_routes.router,
        trash_routes.router,
        _alias_router(),
        open_router,
    )
    for router in closed:
        app.include_router(router)
    static = Assets(directory=STATIC, check_dir=False)
    static.max_age_seconds = 3600  # pages ask for them by version
    app.mount("/ui/static", static)
    app.include_router(dashboard.router)  # last: its last route takes every path below /ui
