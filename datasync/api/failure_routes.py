"""The routes of keys that are not right: list them, have them tried again."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import ValidationError

from datasync.api.dependencies import ControllerOf
from datasync.api.error_responses import responses
from datasync.api.rates import RUNS, limited
from datasync.api.requests import in_thread, read_body, require_json, takes_only
from datasync.errors import MalformedRequest, UnprocessableRequest
from datasync.models.s3_models import FailurePage, RetryRequest, SyncResponse

router = APIRouter(prefix="/sync/failures", tags=["failures"])

_RETRY_BODY: dict[str, Any] = {
    "requestBody": {
        "required": False,
        "content": {"application/json": {"schema": RetryRequest.model_json_schema()}},
    }
}


@router.get("", summary="List failures", responses=responses(400, 422))
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
    status_code=202,
    dependencies=[Depends(takes_only(body=True)), Depends(limited(RUNS))],
    responses=responses(400, 413, 415, 422, 429),
    openapi_extra=_RETRY_BODY,
)
async def retry_failures(request: Request, controller: ControllerOf) -> SyncResponse:
    """Has the keys looked at at once; with no body, or without `keys`, every failure."""
    body = await read_body(request)
    if body:
        require_json(request)
    return await in_thread(controller.retry, _retry_request(body).keys)


def _retry_request(body: bytes) -> RetryRequest:
    try:
        return RetryRequest.model_validate(json.loads(body)) if body else RetryRequest()
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, found["loc"])) or "body"
        raise UnprocessableRequest(f"{where}: {found['msg']}") from None
    except (ValueError, RecursionError):
        raise MalformedRequest("the body is not JSON") from None
