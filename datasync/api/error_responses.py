"""Turns every error into `{"error", "detail", "hint"}` and its status: the only home of codes.

Knows no route. What is not in our error tree is answered as InternalError, without its text.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from datasync import errors
from datasync.api.requests import ClientGone
from datasync.errors import DataSyncError
from datasync.models.s3_models import ErrorAnswer
from datasync.utils.logger import get_logger

RETRY_AFTER_SECONDS = 2
CLIENT_GONE = 499  # nobody reads it; it names the case in the access log

# The nearest class up the tree decides.
STATUS: dict[type[DataSyncError], int] = {
    errors.DataSyncError: 500,
    errors.BucketError: 502,
    errors.ObjectMissing: 404,
    errors.ObjectArchived: 409,
    errors.PreconditionFailed: 409,
    errors.SlowDown: 503,
    errors.TransferStalled: 504,
    errors.IntegrityError: 502,
    errors.QueueError: 502,
    errors.ObjectTooLarge: 409,
    errors.KeyRejected: 400,
    errors.MirrorError: 500,
    errors.MirrorUnavailable: 503,
    errors.DiskFull: 507,
    errors.TooManyOpenFiles: 503,
    errors.PathConflict: 409,
    errors.FileMissing: 404,
    errors.FileDrifted: 409,
    errors.LedgerError: 503,
    errors.RunMissing: 404,
    errors.RunNotHeld: 409,
    errors.LeaseHeld: 409,
    errors.RequestRefused: 400,
    errors.TooManyRequests: 429,
    errors.PageMissing: 404,
    errors.UnprocessableRequest: 422,
    errors.PayloadTooLarge: 413,
    errors.UnsupportedMedia: 415,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.ProofUnavailable: 503,
    errors.Interrupted: 503,
}
HTTP_NAMES = {
    400: "BadRequest",
    404: "NotFound",
    405: "MethodNotAllowed",
    408: "RequestTimeout",
    412: "PreconditionFailed",
    413: "PayloadTooLarge",
    415: "UnsupportedMedia",
    416: "RangeUnsatisfiable",
    422: "UnprocessableRequest",
    431: "HeadTooLarge",
    503: "TooManyConnections",
}
_HTTP_DETAILS = {
    400: "this is no HTTP/1.1 request",
    404: "there is no such route",
    405: "this route does not take this method",
    408: "the request took too long to arrive",
    412: "the file is no longer the version that was asked for",
    416: "the file has no such range",
    431: "the head of the request is too large",
    503: "every connection of this process is in use",
}
_HTTP_HINTS = {
    400: "Send what RFC 9112 describes; proxies and clients that are up to date do.",
    404: "GET / lists the routes, /docs describes them.",
    405: "The Allow header names the methods of this route; /docs describes them.",
    408: "Send the request in one go; /docs shows what each route takes.",
    412: "The present version's ETag and Last-Modified are in the headers of this answer.",
    416: "Ask for a range inside the file; its length is in Content-Range.",
    431: "Send fewer cookies and other headers, and a shorter query.",
    503: "Try again after the time in Retry-After.",
}


def status_of(error: DataSyncError) -> int:
    """The HTTP status of an error of our tree."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def answer(
    status: int, name: str, detail: str, hint: str = "", headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """The one shape of an error."""
    body = ErrorAnswer(error=name, detail=_text(detail), hint=_text(hint))
    return JSONResponse(body.model_dump(), status, headers)


def _text(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def error_answer(error: DataSyncError) -> JSONResponse:
    """The answer to an error of our tree."""
    status = status_of(error)
    headers = {}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="DataSync"'
    if isinstance(error, errors.TooManyRequests):
        headers = _again(error.retry_after_seconds)
    elif status == 503:
        headers = _again(RETRY_AFTER_SECONDS)
    return answer(status, type(error).__name__, str(error), error.hint, headers)


def http_answer(status: int, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The answer to what the framework refused by itself."""
    return answer(
        status,
        HTTP_NAMES.get(status, "HTTPError"),
        _HTTP_DETAILS.get(status, "the request was refused"),
        _HTTP_HINTS.get(status, ""),
        headers,
    )


def bare_answer(status: int) -> JSONResponse:
    """The answer to what never became a request."""
    return http_answer(status, _again(RETRY_AFTER_SECONDS) if status == 503 else None)


def _again(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(max(1, math.ceil(seconds)))}


def unexpected_answer() -> JSONResponse:
    """The answer to an error that nobody foresaw; its text stays in the log."""
    return answer(
        500,
        "InternalError",
        "an unexpected error; it is in the service's log under this request's id",
        "Report it with the log lines of the request id in X-Request-ID.",
    )


async def on_datasync_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, DataSyncError)
    refusal = getattr(request.app.state, "refusal", None)  # pages say it in their own way
    made: Response = error_answer(error) if refusal is None else refusal(request.scope, error)
    if made.status_code >= 500:
        get_logger(__name__).warning(
            "request failed", error=type(error).__name__, detail=str(error), hint=error.hint
        )
    return made


async def on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return http_answer(error.status_code, error.headers)


async def on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = "; ".join(_problem(problem) for problem in error.errors()[:5])
    return await on_datasync_error(request, errors.UnprocessableRequest(found))


def _problem(problem: Mapping[str, Any]) -> str:
    where: Sequence[object] = problem.get("loc", ())
    return f"{'.'.join(map(str, where))}: {problem.get('msg', 'not valid')}"


async def on_client_gone(request: Request, error: Exception) -> Response:
    return Response(status_code=CLIENT_GONE)


HANDLERS: dict[Any, Any] = {
    DataSyncError: on_datasync_error,
    HTTPException: on_http_error,
    RequestValidationError: on_validation_error,
    ClientGone: on_client_gone,
}

_DESCRIPTIONS = {
    400: "The request is malformed, or names something outside of this service.",
    401: "No valid key, and not a direct call from this machine.",
    403: "The key's role does not allow this.",
    404: "There is no such run, file or key.",
    409: "Not possible in the present state.",
    412: "The file is not, or no longer, the version that was asked for.",
    413: "The body is too large.",
    415: "The body is of a type that is not taken.",
    416: "The file has no such range.",
    422: "A parameter or the body is well-formed, but not valid.",
    429: "This client asks too often; try again after Retry-After seconds.",
    502: "S3 did not give what was asked for.",
    503: "The ledger or the disk cannot answer now; try again after Retry-After seconds.",
}
_EXAMPLES: dict[int, ErrorAnswer] = {
    401: ErrorAnswer(
        error="Unauthorized", detail="this route needs a key", hint=errors.Unauthorized.hint
    ),
    404: ErrorAnswer(error="RunMissing", detail="there is no run 7", hint=errors.RunMissing.hint),
    503: ErrorAnswer(error="LedgerBusy", detail="the ledger is busy", hint=errors.LedgerBusy.hint),
}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error answers of a route, for its OpenAPI description; 401, 403, 503 are always there."""
    return {status: _described(status) for status in sorted({401, 403, 503, *statuses})}


def _described(status: int) -> dict[str, Any]:
    described: dict[str, Any] = {"model": ErrorAnswer, "description": _DESCRIPTIONS[status]}
    if status in _EXAMPLES:
        example = _EXAMPLES[status].model_dump()
        described["content"] = {"application/json": {"example": example}}
    return described
