"""The routes of what was done: key by key, minute by minute, and what is on its way now."""

from typing import Annotated

from fastapi import APIRouter, Query

from datasync.api.dependencies import ControllerOf
from datasync.api.error_responses import responses
from datasync.api.run_routes import MAX_ID, Before
from datasync.models.s3_models import ActivityReport, OutcomePage, Span, TransferList

router = APIRouter(prefix="/sync", tags=["outcomes"])


@router.get(
    "/outcomes",
    summary="What was done, key by key",
    response_description="A page of outcomes.",
    responses=responses(422),
)
def list_outcomes(
    controller: ControllerOf,
    key: Annotated[str | None, Query(description="Only this key: its history.")] = None,
    run_id: Annotated[
        int | None, Query(ge=0, le=MAX_ID, description="Only what this run did.")
    ] = None,
    before: Before = None,
    after: Annotated[
        int | None, Query(ge=0, le=MAX_ID, description="Only what is newer than this id.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Outcomes on a page.")] = 100,
) -> OutcomePage:
    """One page of outcomes, newest first. The latest 100,000 are kept.

    To follow what happens, ask with `after` and the greatest id seen so far.
    """
    return controller.outcomes(key, run_id, before, after, limit)


@router.get(
    "/activity",
    summary="What was done, minute by minute",
    response_description="Figures of every step of the span.",
    responses=responses(422),
)
def show_activity(
    controller: ControllerOf,
    span: Annotated[Span, Query(description="The last hour, day or week.")] = Span.HOUR,
) -> ActivityReport:
    """Files, bytes and lag in equal steps up to now: minutes of an hour, 15 of a day, hours of a
    week."""
    return controller.activity(span)


@router.get(
    "/transfers",
    summary="What is on its way now",
    response_description="The transfers under way.",
    responses=responses(),
)
def list_transfers(controller: ControllerOf) -> TransferList:
    """Downloads that take longer than a second, as of at most a second or two ago."""
    return controller.transfers()
