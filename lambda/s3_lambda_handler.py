"""AWS Lambda: hands S3 event notifications to a DataSync service, or fails loudly.

One file, standard library only, to be zipped alone; Python 3.9 or newer. The event goes out as it
came, keys untouched. Delivery that did not happen raises, so that Lambda retries and, after that,
its dead-letter queue keeps the event.

Environment: API_ENDPOINT (base URL of the service), TIMEOUT_SECONDS=30 (for all tries together),
RETRY_ATTEMPTS=3 (tries in all), API_KEY (sent as X-API-Key when set).
"""

import http.client
import json
import os
import random
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, Dict, NamedTuple, Optional, Tuple

PATH = "/sync/s3-notification"
MARGIN_SECONDS = 0.5  # left before Lambda's own deadline, to fail in words and not by force
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
ANSWER_BYTES = 2048


class DeliveryFailed(Exception):
    """The service did not take the event."""


class Refused(DeliveryFailed):
    """The service, or something in its place, answered that no retry can help."""


class Unavailable(DeliveryFailed):
    """No answer, 429 or 5xx: the same request may succeed later."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Target(NamedTuple):
    """Where events go and how long that may take."""

    url: str
    api_key: str
    timeout_seconds: float
    attempts: int


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would send the event and the key to a host nobody configured."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def lambda_handler(event: Dict[str, Any], context: Any) -> Dict[str, Any]:
    """Deliver one event; Lambda's entry point. Raises: DeliveryFailed, ValueError."""
    request_id = str(getattr(context, "aws_request_id", "") or "")
    records = _count_records(event)
    target = read_target()
    deadline = time.monotonic() + _budget_seconds(target, context)
    started = time.monotonic()
    try:
        status, attempts = deliver(json.dumps(event).encode("utf-8"), target, deadline)
    except DeliveryFailed as error:
        _log("ERROR", "delivery failed", request_id, records=records, reason=str(error))
        raise
    seconds = round(time.monotonic() - started, 3)
    _log(
        "INFO",
        "delivered",
        request_id,
        records=records,
        status=status,
        attempts=attempts,
        seconds=seconds,
    )
    return {"statusCode": status, "records": records, "attempts": attempts}


def read_target() -> Target:
    """The settings of this function. Raises: ValueError naming the variable."""
    base = os.environ.get("API_ENDPOINT", "").strip().rstrip("/")
    if base.endswith(PATH):
        base = base[: -len(PATH)]
    parts = urllib.parse.urlsplit(base)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise ValueError(
            "API_ENDPOINT must be the base URL of the service, such as https://host:8888"
        )
    if "@" in parts.netloc:
        raise ValueError("API_ENDPOINT must not hold credentials; set API_KEY")
    return Target(
        url=base + PATH,
        api_key=os.environ.get("API_KEY", "").strip(),
        timeout_seconds=_number("TIMEOUT_SECONDS", 30.0),
        attempts=int(_number("RETRY_ATTEMPTS", 3)),
    )


def _number(name: str, default: float) -> float:
    text = os.environ.get(name, "").strip()
    try:
        value = float(text) if text else default
    except ValueError:
        value = 0.0
    if not 1 <= value <= 900:
        raise ValueError("{} must be a number from 1 to 900".format(name))
    return value


def _count_records(event: Any) -> int:
    """How many records the event holds. Raises: ValueError when it is no S3 event."""
    if isinstance(event, dict):
        if isinstance(event.get("Records"), list):
            return len(event["Records"])
        if event.get("Event") == "s3:TestEvent":
            return 0
    raise ValueError("this is no S3 event notification: it has no Records")


def _budget_seconds(target: Target, context: Any) -> float:
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    if remaining is None:
        return target.timeout_seconds
    left = float(remaining()) / 1000 - MARGIN_SECONDS
    return max(0.1, min(target.timeout_seconds, left))


def deliver(body: bytes, target: Target, deadline: float) -> Tuple[int, int]:
    """Post the body until it is taken; returns status and tries. Raises: DeliveryFailed."""
    for attempt in range(1, target.attempts + 1):
        left = deadline - time.monotonic()
        # A share for each try still to come, so that one hanging connection is not the only one.
        timeout = max(0.1, left / (target.attempts - attempt + 1))
        try:
            return post(body, target, timeout), attempt
        except Unavailable as error:
            pause = _pause_seconds(attempt, error.retry_after)
            if attempt == target.attempts or time.monotonic() + pause >= deadline:
                raise DeliveryFailed("{} (try {})".format(error, attempt)) from None
            time.sleep(pause)
    raise DeliveryFailed("nothing was tried")


def _pause_seconds(attempt: int, retry_after: float) -> float:
    longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**attempt)
    return max(retry_after, random.uniform(longest / 2, longest))


def post(body: bytes, target: Target, timeout_seconds: float) -> int:
    """One try; returns the 2xx status. Raises: Refused, Unavailable."""
    headers = {"Content-Type": "application/json", "User-Agent": "datasync-lambda"}
    if target.api_key:
        headers["X-API-Key"] = target.api_key
    request = urllib.request.Request(target.url, data=body, headers=headers, method="POST")
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        with opener.open(request, timeout=timeout_seconds) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            raise _judged(error) from None
    except (OSError, urllib.error.URLError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise Unavailable("no answer: {}".format(_one_line(reason))) from None
    except http.client.HTTPException as error:
        raise Unavailable("broken answer: {}".format(type(error).__name__)) from None


def _judged(error: urllib.error.HTTPError) -> DeliveryFailed:
    status = error.code
    text = "the service answered {}: {}".format(status, _detail(error))
    if 300 <= status < 400:
        return Refused("a redirect ({}) was not followed; correct API_ENDPOINT".format(status))
    if status == 429 or status >= 500:
        return Unavailable(text, _retry_after(error.headers.get("Retry-After")))
    return Refused(text)


def _retry_after(value: Optional[str]) -> float:
    return float(value) if value and value.isdecimal() else 0.0


def _detail(error: urllib.error.HTTPError) -> str:
    """What the service said is wrong: `detail` of its JSON error, else the start of the text."""
    try:
        text = error.read(ANSWER_BYTES).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        return "(no text)"
    try:
        return _one_line(json.loads(text)["detail"])
    except (ValueError, KeyError, TypeError):
        return _one_line(text)


def _one_line(text: object) -> str:
    return " ".join(str(text).split())[:300]


def _log(level: str, message: str, request_id: str, **fields: Any) -> None:
    """One JSON object a line, as CloudWatch Logs Insights reads it."""
    line = {"level": level, "message": message, "request_id": request_id}
    line.update(fields)
    print(json.dumps(line))
