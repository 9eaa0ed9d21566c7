"""The routes of the trash: what was taken away, and the way back."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from datasync.api.dependencies import ControllerOf
from datasync.api.error_responses import responses
from datasync.api.requests import body_of, in_thread, read_model, takes_only
from datasync.controllers.trash import check_request
from datasync.models.s3_models import RestoreReport, RestoreRequest, TrashPage

router = APIRouter(prefix="/sync/trash", tags=["trash"])


@router.get(
    "",
    summary="List the trash",
    response_description="A page of what is in the trash.",
    responses=responses(400, 422),
)
def list_trash(
    controller: ControllerOf,
    prefix: Annotated[str, Query(description="Only paths that begin with this.")] = "",
    why: Annotated[
        str | None, Query(description="Only what this took away: events, replaced, run-17...")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Files on a page.")] = 100,
    token: Annotated[str | None, Query(description="`next_token` of the page before.")] = None,
) -> TrashPage:
    """Files that were removed or replaced, oldest first. They stay TRASH_RETENTION_DAYS."""
    return controller.trash.page(prefix, why, token, limit)


@router.post(
    "/restore",
    summary="Bring files back",
    response_description="What was brought back, and what was not.",
    dependencies=[Depends(takes_only(body=True))],
    responses=responses(400, 404, 413, 415, 422),
    openapi_extra=body_of(RestoreRequest, required=True),
)
async def restore_trash(request: Request, controller: ControllerOf) -> RestoreReport:
    """Puts files back to where they were: entries by their ids, or the newest of each path that
    is chosen. What cannot be put back says why; nothing at a path is lost.

    A file that no object of the bucket has the name of is left alone by every run from then on.
    """
    asked = check_request(await read_model(request, RestoreRequest, required=True))
    return await in_thread(controller.trash.restore, asked)
