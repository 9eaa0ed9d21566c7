"""The routes of runs: their history, their progress, and the held ones."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query

from datasync.api.dependencies import ControllerOf
from datasync.api.error_responses import responses
from datasync.api.requests import takes_only
from datasync.models.s3_models import RunDetail, RunPage, RunReport

router = APIRouter(prefix="/sync/runs", tags=["runs"])

MAX_ID = 2**63 - 1  # what the ledger's integers hold
_NOTHING_MORE = [Depends(takes_only())]
Before = Annotated[
    int | None, Query(ge=0, le=MAX_ID, description="`next_before` of the page before.")
]
RunId = Annotated[int, Path(ge=0, le=MAX_ID, description="A run's id.")]


@router.get(
    "",
    summary="List runs",
    response_description="A page of runs, newest first.",
    responses=responses(422),
)
def list_runs(
    controller: ControllerOf,
    limit: Annotated[int, Query(ge=1, le=1000, description="Runs on a page.")] = 50,
    before: Before = None,
) -> RunPage:
    """One page of runs, newest first."""
    return controller.runs(limit, before)


@router.get(
    "/{run_id}", summary="One run", response_description="The run.", responses=responses(404, 422)
)
def show_run(controller: ControllerOf, run_id: RunId) -> RunDetail:
    """A run with its progress, what it did, and what it would delete if it is held."""
    return controller.run(run_id)


@router.post(
    "/{run_id}/approve",
    summary="Apply a held plan",
    response_description="The run, approved.",
    dependencies=_NOTHING_MORE,
    responses=responses(404, 409, 413, 422),
)
def approve_run(controller: ControllerOf, run_id: RunId) -> RunReport:
    """Lets a held run's deletes be applied. Each is still confirmed with S3 before it is done."""
    return controller.approve(run_id)


@router.post(
    "/{run_id}/cancel",
    summary="Cancel a run",
    response_description="The run; one at work ends soon.",
    dependencies=_NOTHING_MORE,
    responses=responses(404, 409, 413, 422),
)
def cancel_run(controller: ControllerOf, run_id: RunId) -> RunReport:
    """Ends a queued run at once, a running one soon, and rejects the plan of a held one.

    What it did stays done.
    """
    return controller.cancel(run_id)
