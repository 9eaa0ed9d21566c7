"""Decides who may send notifications without a key: those who sign what they send.

Two signatures are known: that of NOTIFICATION_SECRET, which the Lambda forwarder makes, and that
of SNS. A key, or being on this machine where there are no keys, is as good as either, but a
signature that is there must be right. Knows no settings.
"""

import hashlib
import hmac
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Scope

from datasync.api.requests import SMALL_BODY_BYTES, in_thread
from datasync.errors import RequestRefused, Unauthorized
from datasync.services.events import inbox

PATH = "/sync/s3-notification"
TIMESTAMP, SIGNATURE = "x-datasync-timestamp", "x-datasync-signature"
SNS_TYPE = "x-amz-sns-message-type"  # SNS sends it with every message
VERSION = "v1="
WINDOW_SECONDS = 300
_STATE = "refused"


class TopicGate(Protocol):
    """Proves that a message is one of a configured SNS topic."""

    def admit(self, message: Mapping[str, str]) -> str:
        """The message's type. Blocks. Raises: Unauthorized, and what keeps it from being proved."""


def signature_of(secret: bytes, timestamp: str, body: bytes) -> str:
    """What X-DataSync-Signature must be; `timestamp` is in seconds since the epoch."""
    signed = hmac.new(secret, timestamp.encode("ascii") + b"." + body, hashlib.sha256)
    return VERSION + signed.hexdigest()


def postpone(scope: Scope, path: str, refused: RequestRefused) -> bool:
    """Whether the body may still prove its sender: then the route asks, and the refusal waits."""
    headers = Headers(scope=scope)
    if scope["method"] != "POST" or path != PATH:
        return False
    if SIGNATURE not in headers and SNS_TYPE not in headers:
        return False  # nothing that it holds could prove it: it is not even read
    scope.setdefault("state", {})[_STATE] = refused
    return True


def is_postponed(scope: Scope) -> bool:
    """Whether nothing has proved the sender so far."""
    return _STATE in scope.get("state", {})


class SenderPolicy:
    """Lets in who was let in already, and who signed."""

    def __init__(
        self,
        secret: Callable[[], str | None],
        topics: TopicGate,
        topic_arns: Iterable[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`secret` gives that of now: it may change while the service runs."""
        self._arns = [arn.encode() for arn in topic_arns]
        self._secret = secret
        self._topics = topics
        self._clock = clock

    async def admit(self, request: Request, body: bytes) -> None:
        """Return if the sender of this body is let in.

        Raises: Unauthorized, and what keeps an SNS message from being proved.
        """
        signed = SIGNATURE in request.headers
        if signed:
            self._check_signature(request.headers, body)
        refused: RequestRefused | None = request.scope.get("state", {}).get(_STATE)
        stranger = refused if not signed else None
        message = await self._sns_message(body, stranger)
        if message is not None:
            await in_thread(self._topics.admit, message)
        elif stranger is not None:
            raise stranger

    async def _sns_message(
        self, body: bytes, stranger: RequestRefused | None
    ) -> Mapping[str, str] | None:
        """A large one is taken apart in a thread; if a stranger sends it, only for our topics."""
        if len(body) <= SMALL_BODY_BYTES:
            return inbox.sns_message(body)
        if stranger is not None and not any(arn in body for arn in self._arns):
            raise stranger
        return await in_thread(inbox.sns_message, body)

    def _check_signature(self, headers: Headers, body: bytes) -> None:
        secret = self._secret()
        if not secret:
            raise Unauthorized(
                "the body is signed, but this service has no secret to check it with",
                hint="Set NOTIFICATION_SECRET here to the sender's.",
            )
        timestamp = headers.get(TIMESTAMP, "")
        if not timestamp.isascii() or not timestamp.isdecimal() or len(timestamp) > 12:
            raise Unauthorized(
                f"{TIMESTAMP} is no number of seconds", hint="Send the time of signing in it."
            )
        expected = signature_of(secret.encode(), timestamp, body)
        given = headers[SIGNATURE].encode("latin-1")
        if not hmac.compare_digest(expected.encode(), given):
            raise Unauthorized(
                "the signature does not fit the body",
                hint="NOTIFICATION_SECRET must be the same here and at the sender's.",
            )
        if abs(self._clock() - int(timestamp)) > WINDOW_SECONDS:
            raise Unauthorized(
                f"the signature was made more than {WINDOW_SECONDS} seconds before or after now",
                hint="Set the clocks of both machines, with NTP for example.",
            )
