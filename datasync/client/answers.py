"""Reads what the service answered: a model, or the error that it told. Pure: asks nobody."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from datasync.client.errors import (
    BadRequest,
    ClientError,
    Conflict,
    Forbidden,
    NotFound,
    ServiceError,
    TooManyRequests,
    Unauthorized,
    UnexpectedAnswer,
)

_BY_STATUS: dict[int, type[ClientError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: Conflict,
    429: TooManyRequests,
}
_FOREIGN_HINT = "Check the address, and what proxy may have answered in the service's place."
_VERSION_HINT = "Use the client of the service's version."

Shape = TypeVar("Shape", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that has come whole. `headers` finds a name however it is written."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def shaped(model: type[Shape], *also: int) -> Callable[[Answer], Shape]:
    """What reads an answer as this model: that of 2xx, and of the statuses `also`.

    The reader raises: ClientError as the service told it, UnexpectedAnswer for another shape.
    """

    def read(answer: Answer) -> Shape:
        if 200 <= answer.status < 300:
            return _validated(model, answer)
        if answer.status in also and not _said(answer.body).get("error"):
            return _validated(model, answer)
        raise error_of(answer)

    return read


def _validated(model: type[Shape], answer: Answer) -> Shape:
    try:
        return model.model_validate_json(answer.body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole of it"
        raise UnexpectedAnswer(
            f"the answer is no {model.__name__}: {where}: {first['msg']}",
            status=answer.status,
            request_id=_request_id(answer),
            hint=_FOREIGN_HINT if first["type"] == "json_invalid" else _VERSION_HINT,
        ) from None


def error_of(answer: Answer) -> ClientError:
    """The error that an answer other than 2xx tells."""
    if answer.status < 400:
        return _unexpected(answer)
    said = _said(answer.body)
    known = bool(said.get("error"))
    kind = _BY_STATUS.get(answer.status, ServiceError if answer.status >= 500 else BadRequest)
    return kind(
        said.get("detail", "") if known else "the answer is not DataSync's",
        hint=said.get("hint", "") if known else _FOREIGN_HINT,
        status=answer.status,
        error=said.get("error", ""),
        request_id=_request_id(answer),
        retry_after_seconds=_retry_after(answer.headers.get("retry-after", "")),
    )


def _unexpected(answer: Answer) -> ClientError:
    where = answer.headers.get("location")
    if where is None:
        detail, hint = "the answer is not DataSync's", _FOREIGN_HINT
    else:
        detail = f"the address leads on to {where}, which is not followed"
        hint = "Give the address of the service itself: the key is sent to no other."
    return UnexpectedAnswer(detail, hint=hint, status=answer.status, request_id=_request_id(answer))


def _said(body: bytes) -> dict[str, str]:
    """The texts of an answer in the shape of every error; empty when it is none."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: text for name, text in found.items() if isinstance(text, str)}


def _request_id(answer: Answer) -> str:
    return answer.headers.get("x-request-id", "")


def _retry_after(text: str) -> float | None:
    """Seconds; the form with a date, which only caches send, says nothing here."""
    return float(text) if re.fullmatch(r"\d{1,9}", text.strip()) else None
