"""The routes of keys that are not right: list them, have them tried again."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from datasync.api.dependencies import ControllerOf
from datasync.api.error_responses import responses
from datasync.api.rates import RUNS, limited
from datasync.api.requests import body_of, in_thread, read_model, takes_only
from datasync.models.s3_models import FailurePage, RetryRequest, SyncResponse

router = APIRouter(prefix="/sync/failures", tags=["failures"])


@router.get(
    "",
    summary="List failures",
    response_description="A page of keys that are not right.",
    responses=responses(400, 422),
)
def list_failures(
    controller: ControllerOf,
    prefix: Annotated[str, Query(description="Only keys that begin with this.")] = "",
    limit: Annotated[int, Query(ge=1, le=1000, description="Keys on a page.")] = 100,
    token: Annotated[str | None, Query(description="`next_token` of the page before.")] = None,
) -> FailurePage:
    """Keys that failed, were rejected or conflict: why, and when they are tried again."""
    return controller.failures(prefix, token, limit)


@router.post(
    "/retry",
    summary="Try failures again",
    response_description="What was queued, one detail a key.",
    status_code=202,
    dependencies=[Depends(takes_only(body=True)), Depends(limited(RUNS))],
    responses=responses(400, 413, 415, 422, 429),
    openapi_extra=body_of(RetryRequest, required=False),
)
async def retry_failures(request: Request, controller: ControllerOf) -> SyncResponse:
    """Has the keys looked at at once; with no body, or without `keys`, every failure."""
    asked = await read_model(request, RetryRequest, required=False)
    return await in_thread(controller.retry, asked.keys)
