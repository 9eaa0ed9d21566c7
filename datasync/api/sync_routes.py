"""The routes that ask for work: trigger a run, take a notification."""

import asyncio
import threading
import time
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from datasync.api.dependencies import ControllerOf, Desk, DeskOf, Lanes, LanesOf, ShutdownOf
from datasync.api.error_responses import responses
from datasync.api.rates import (
    GUESSES,
    RUNS,
    WAITS,
    Rates,
    RatesOf,
    address_of,
    client_of,
    limited,
)
from datasync.api.requests import (
    SMALL_BODY_BYTES,
    in_thread,
    read_body,
    require_json,
    takes_only,
    wait_while,
)
from datasync.api.security import offers_key
from datasync.api.senders import SIGNATURE
from datasync.api.shutdown import Shutdown
from datasync.api.tracing import traceparent_of
from datasync.controllers.intake import Intake, Notice
from datasync.controllers.sync_controller import SyncController
from datasync.errors import TooManyRequests, Unauthorized
from datasync.models.s3_models import SyncResponse, SyncStatus

router = APIRouter(tags=["sync"])

VIA = "http"
FEW_EVENTS = 20

Prefix = Annotated[
    str, Query(description="Only keys that begin with this.", max_length=1024, examples=["a/b/"])
]
_ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {"model": SyncResponse, "description": "Taken on; the work goes on by itself."}
}
_NOTIFICATION = {
    "Records": [
        {
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "eventName": "ObjectCreated:Put",
            "s3": {
                "bucket": {"name": "my-bucket"},
                "object": {"key": "reports/2024+final.csv", "size": 1024, "eTag": "0cc175b9c0f1"},
            },
        }
    ]
}
_NOTIFICATION_BODY = {
    "requestBody": {
        "required": True,
        "description": "An event notification as its sender made it; at most 1 MiB.",
        "content": {
            kind: {"schema": {"type": ["object", "array"]}, "example": _NOTIFICATION}
            for kind in ("application/json", "text/plain")
        },
    }
}


@router.post(
    "/sync/s3-notification",
    summary="Take S3 events",
    response_description="Taken, and not lost any more. One detail a record.",
    status_code=202,
    response_model=SyncResponse,
    responses={
        200: {"model": SyncResponse, "description": "With `wait`: what became of the keys."},
        **responses(400, 413, 415, 422, 429),
    },
    openapi_extra=_NOTIFICATION_BODY,
)
async def notification(
    request: Request,
    desk: DeskOf,
    lanes: LanesOf,
    rates: RatesOf,
    wait: Annotated[
        float,
        Query(
            ge=0, le=300, allow_inf_nan=False, description="Seconds to wait for the keys' outcomes."
        ),
    ] = 0.0,
) -> Response:
    """Marks the keys that the events name; what is done with them, S3's present state decides.

    The marks are on stable storage when this answers 202, with one `queued`, `ignored` or
    `rejected` detail a record. Records of other buckets are `rejected`; if every record is,
    the whole request is refused (400 ForeignBucket or MalformedRequest). Too many at once are
    answered 503 with Retry-After; nothing of them was taken then. There is no limit of their
    number, only of waiting: who waits too often is answered 202 at once.

    Taken are S3's notifications, EventBridge events, messages of SNS, bodies of SQS and what
    Lambda makes of them, MinIO's webhooks and Ceph's. The sender needs a key, or signs: with
    NOTIFICATION_SECRET (`X-DataSync-Timestamp`, `X-DataSync-Signature`), or as an SNS topic of
    SNS_TOPIC_ARNS.
    """
    notice = await _journaled(request, desk, rates)
    if not wait:
        return await _taken(desk.intake, notice)
    with lanes.waits.place() as free:
        # What is taken is never refused for the waiting's sake: then it is not waited for.
        if not free or not rates.allow(WAITS, client_of(request.scope)):
            return await _taken(desk.intake, notice)
        return await _outcomes(request, desk, notice, wait)


async def take(request: Request) -> Response:
    """What the route does for whoever waits for no outcome."""
    desk: Desk = request.app.state.desk
    return await _taken(desk.intake, await _journaled(request, desk, request.app.state.rates))


async def _journaled(request: Request, desk: Desk, rates: Rates) -> Notice:
    """The events of a request, once they are on stable storage."""
    with desk.place(request):
        require_json(request)
        body = await read_body(request)
        await _admit(desk, rates, request, body)
        notice = await _read(desk.intake, body, traceparent_of(request.scope))
        await desk.hearing.of(partial(desk.intake.record, notice))
    return notice


async def _admit(desk: Desk, rates: Rates, request: Request, body: bytes) -> None:
    try:
        await desk.senders.admit(request, body)
    except Unauthorized:
        if SIGNATURE in request.headers or offers_key(request.headers):
            rates.spend(GUESSES, address_of(request.scope))
        raise


async def _outcomes(request: Request, desk: Desk, notice: Notice, wait: float) -> Response:
    intake = desk.intake
    started = time.monotonic()
    waiting = notice.keys

    async def pending() -> bool:
        nonlocal waiting
        waiting = await in_thread(intake.unsettled, waiting)
        return bool(waiting)

    await wait_while(pending, request, desk.shutdown, wait)
    return _json(await in_thread(intake.settled, notice, time.monotonic() - started), 200)


async def _read(intake: Intake, body: bytes, traceparent: str | None) -> Notice:
    """A small body is read faster than it is handed to a thread; a large one holds up others."""
    if len(body) <= SMALL_BODY_BYTES:
        return intake.read(body, VIA, traceparent)
    return await in_thread(intake.read, body, VIA, traceparent)


def _json(answer: SyncResponse, status: int) -> Response:
    """As it is: we made it, and a burst of events must not have each answer checked again."""
    return Response(answer.model_dump_json(), status, media_type="application/json")


async def _taken(intake: Intake, notice: Notice) -> Response:
    """A notice without keys to mark makes the ledger be asked, a long one a long answer."""

    def answer() -> Response:
        return _json(intake.taken(notice), 202)

    at_once = notice.notes and len(notice.events) <= FEW_EVENTS
    return answer() if at_once else await in_thread(answer)


NOTIFICATION = router.routes[-1]


@router.post(
    "/sync/trigger",
    summary="Reconcile now",
    response_description="The run is over: `status` says how.",
    dependencies=[
        Depends(takes_only("prefix", "background", "dry_run")),
        Depends(limited(RUNS)),
    ],
    responses={**responses(400, 413, 422, 429, 502), **_ACCEPTED},
)
async def trigger(
    request: Request,
    response: Response,
    controller: ControllerOf,
    shutdown: ShutdownOf,
    lanes: LanesOf,
    prefix: Prefix = "",
    background: Annotated[bool, Query(description="Answer 202 at once with the run's id.")] = False,
    dry_run: Annotated[bool, Query(description="Answer the plan; change nothing.")] = False,
) -> SyncResponse:
    """Runs a reconciliation, or joins one that covers the prefix, and answers when it is over.

    200 says that the run came to its end, whatever that was: read `status` (success, partial,
    failed, held). Hanging up ends the waiting, never the run. While very many wait, one more is
    answered like `background`.
    """
    if dry_run:
        with lanes.planned.place() as free:
            if not free:
                raise TooManyRequests("too many plans are being made")
            return await _plan(request, controller, shutdown, lanes, prefix)
    run, joined = await in_thread(controller.trigger, prefix)
    with lanes.waits.place() as free:
        if free and not background:
            await wait_while(lambda: in_thread(controller.unfinished, run.id), request, shutdown)
    answer = await in_thread(controller.response, run.id)
    if answer.status is SyncStatus.ACCEPTED:
        response.status_code = 202
    return answer.model_copy(update={"joined": joined})


async def _plan(
    request: Request,
    controller: SyncController,
    shutdown: Shutdown,
    lanes: Lanes,
    prefix: str,
) -> SyncResponse:
    stopped = threading.Event()
    planning = asyncio.ensure_future(
        in_thread(controller.plan, prefix, stopped, limiter=lanes.plans)
    )
    # Looked at even if nobody waits any more: an error nobody reads is no error of the process.
    planning.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def pending() -> bool:
        return not planning.done()

    try:
        await wait_while(pending, request, shutdown)
    finally:
        stopped.set()
    return await planning
