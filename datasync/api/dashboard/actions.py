"""What a button sends, and what it is told."""

import json
from urllib.parse import parse_qs

from fastapi import Request
from starlette.responses import Response

from datasync.api.requests import read_body
from datasync.errors import DataSyncError, MalformedRequest

MAX_FORM_BYTES = 16 * 1024  # a key of 1,024 bytes, each percent-encoded, and little else
MAX_FIELDS = 20


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form, each with its first value.

    Raises: PayloadTooLarge, MalformedRequest, ClientGone.
    """
    body = await read_body(request, MAX_FORM_BYTES)
    text = body.decode("utf-8", "replace")
    try:
        found = parse_qs(text, keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise MalformedRequest(f"a form here has {MAX_FIELDS} fields at most") from None
    return {name: values[0] for name, values in found.items()}


def told(text: str, tone: str = "good", *, go: str = "", status: int = 200) -> Response:
    """An answer that is said on top of the page, whatever page it is."""
    # To the page itself: the button may have been replaced since it was pressed.
    event = json.dumps({"told": {"target": "body", "text": text, "tone": tone}})
    headers = {"HX-Trigger": event} | ({"HX-Redirect": go} if go else {})
    return Response(status_code=status, headers=headers)


def refused(error: DataSyncError, status: int) -> Response:
    """The answer to an action that could not be done."""
    return told(f"{error}. {error.hint}".strip(), "bad", status=status)
