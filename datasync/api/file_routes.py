"""The routes that read what is mirrored: pages of keys, and single files."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response

from datasync.api.dependencies import ControllerOf, LanesOf
from datasync.api.downloads import Download
from datasync.api.error_responses import responses
from datasync.api.rates import LISTINGS, RatesOf, client_of
from datasync.api.requests import in_thread, key_in_path
from datasync.errors import MalformedRequest
from datasync.models.s3_models import FilePage
from datasync.models.sync_models import State

router = APIRouter(tags=["files"])

DOWNLOAD = "/sync/download/"
_BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_DOWNLOAD_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The whole file.", "content": _BYTES},
    206: {"description": "The ranges that were asked for.", "content": _BYTES},
    304: {"description": "The caller's copy is the present one."},
    **responses(400, 404, 409, 412, 416, 422),
}


@router.get(
    "/sync/files",
    summary="List files",
    response_description="A page of files.",
    responses=responses(400, 422, 429, 502),
)
async def list_files(
    controller: ControllerOf,
    lanes: LanesOf,
    request: Request,
    rates: RatesOf,
    source: Annotated[
        Literal["local", "s3"], Query(description="What we hold, or what the bucket holds now.")
    ] = "local",
    prefix: Annotated[str, Query(description="Only keys that begin with this.")] = "",
    limit: Annotated[int, Query(ge=1, le=1000, description="Keys on a page.")] = 100,
    token: Annotated[str | None, Query(description="`next_token` of the page before.")] = None,
    state: Annotated[
        list[State] | None,
        Query(description="Only keys in this state, of what we hold; may be repeated."),
    ] = None,
) -> FilePage:
    """One page of keys in byte order, with what the ledger says of each."""
    if source == "local":
        return await in_thread(controller.held_files, prefix, token, limit, state or ())
    if state:
        raise MalformedRequest("`state` is of what we hold; it cannot go with `source=s3`")
    rates.spend(LISTINGS, client_of(request.scope))
    return await in_thread(controller.listed_files, prefix, token, limit, limiter=lanes.remote)


@router.get(
    DOWNLOAD + "{key:key}",
    summary="Download a file",
    response_class=Response,
    responses=_DOWNLOAD_RESPONSES,
)
def download(
    request: Request,
    controller: ControllerOf,
    key: Annotated[
        str,
        Path(
            description="The object's key, percent-encoded; decoded exactly once.",
            examples=["reports/2024.csv"],
        ),
    ],
) -> Response:
    """The file, whole or in ranges, with ETag and Last-Modified of the version on disk.

    If-Match, If-Unmodified-Since, If-None-Match, If-Modified-Since and If-Range are honoured.

    One version from the first byte to the last, even if it is replaced meanwhile.
    """
    return Download(controller.open(key_in_path(request.scope, DOWNLOAD)))


router.add_api_route(
    DOWNLOAD + "{key:key}",
    download,
    methods=["HEAD"],
    summary="Describe a file",
    response_class=Response,
    responses=_DOWNLOAD_RESPONSES,
    name="download_head",
)
