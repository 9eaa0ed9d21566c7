"""The pages and what their buttons do. Everything that they show, the API tells as well."""

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import parse_qs, quote, urlencode

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import RedirectResponse, Response

from datasync.api.dashboard.live import stream
from datasync.api.dashboard.pages import Pages, root_of
from datasync.api.dashboard.plots import plots
from datasync.api.dashboard.state import needs_of, state_of
from datasync.api.dependencies import ControllerOf, ShutdownOf
from datasync.api.rates import GUESSES, RatesOf, address_of
from datasync.api.requests import in_thread, read_body
from datasync.api.run_routes import RunId
from datasync.api.sessions import COOKIE, LIFE_SECONDS
from datasync.controllers.sync_controller import SyncController
from datasync.controllers.trash import check_request
from datasync.errors import DataSyncError, FileMissing, TooManyRequests
from datasync.models.access import Right, digest_of
from datasync.models.s3_models import RestoreRequest, RunReport, Span
from datasync.models.sync_models import State, Verdict

router = APIRouter(prefix="/ui", include_in_schema=False)

RUNS, OUTCOMES, ROWS = 6, 10, 100
DOCTOR_SECONDS = 120
SIZES = (("1 MiB", "1048576"), ("100 MiB", "104857600"), ("1 GiB", "1073741824"))
SpanOf = Annotated[Span, Query()]


def pages_of(request: Request) -> Pages:
    pages: Pages = request.app.state.pages
    return pages


# Overview


def overview(request: Request, controller: SyncController, span: Span) -> dict[str, Any]:
    """All that the first page shows. Asks the ledger, and S3 as health does."""
    health, stats = controller.health(), controller.stats()
    recent = controller.runs(RUNS).runs
    running = [run for run in recent if run.status in ("queued", "running")]
    held = _held(controller, health.held_run)
    return {
        "health": health,
        "stats": stats,
        "state": state_of(health, stats, running, held),
        "needs": needs_of(health, stats, held),
        "running": running,
        "runs": [run for run in recent if run not in running],
        "transfers": controller.transfers().transfers,
        "outcomes": controller.outcomes(None, None, None, None, OUTCOMES).outcomes,
        "disk": controller.disk_usage(),
        "plots": plots(controller.activity(span)),
        "span": span,
        "problems": stats.failed,
    }


def _held(controller: SyncController, run_id: int | None) -> RunReport | None:
    return controller.run(run_id, deletes=0) if run_id is not None else None


@router.get("")
async def show_overview(
    request: Request, controller: ControllerOf, span: SpanOf = Span.HOUR
) -> Response:
    found = await in_thread(overview, request, controller, span)
    return pages_of(request).page(request, "overview.html", "", **found)
