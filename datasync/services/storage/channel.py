"""Many requests in flight on one thread: the port as the engine sees it, and its S3 adapter.

Nothing here retries.
"""

import time
from collections import deque
from typing import Protocol

from datasync.errors import DataSyncError, LengthMismatch, ObjectTooLarge, UnexpectedAnswer
from datasync.models.sync_models import ObjectHead, ObjectRequest
from datasync.models.values import value
from datasync.services.storage.s3.answers import object_head, parse_lines
from datasync.services.storage.s3.client import UNTOLD, S3Client, first_byte
from datasync.services.storage.s3.credentials import PATIENCE_SECONDS
from datasync.services.storage.s3.loop import Ended, Transfer
from datasync.services.storage.s3.refusals import MAX_ERROR_BYTES, error_for_curl


class Receiver(Protocol):
    """Takes one answer's head and body while they arrive.

    Both calls run on the thread that polls the channel. An exception raised here ends the
    transfer and becomes the answer's `error`.
    """

    def begin(self, head: ObjectHead) -> None:
        """The head of a 200 or 206; called once, before the first byte of the body."""

    def write(self, data: bytes) -> None:
        """The next bytes of the body, in order."""


@value(frozen=True, slots=True)
class Answer:
    """How a request ended: with a head (200, 206, 304) or with an error, never both.

    A 200/206 answer without error has delivered its whole body. `token` is the caller's own.
    """

    request: ObjectRequest
    token: object
    head: ObjectHead | None = None
    error: DataSyncError | None = None
    seconds: float = 0.0


class Channel(Protocol):
    """Many requests in flight on one thread. Only `wake` may be called from another thread."""

    @property
    def in_flight(self) -> int:
        """Requests started and not yet answered."""

    def start(self, request: ObjectRequest, receiver: Receiver | None, token: object) -> None:
        """Send a request; returns at once. Its answer comes out of `poll`, errors included."""

    def poll(self, timeout_seconds: float) -> list[Answer]:
        """Move bytes until an answer is complete, `wake` is called or the time is over."""

    def wake(self) -> None:
        """Make a waiting `poll` return soon. Safe from any thread and after `close`."""

    def cancel(self, token: object) -> None:
        """Drop every request started with this token; no answer comes for it."""

    def close(self) -> None:
        """Drop everything in flight and free the connections."""


# The S3 adapter


class _Call:
    """A request on its way, with what its answer turned out to be so far."""

    __slots__ = (
        "request",
        "receiver",
        "token",
        "started",
        "transfer",
        "status",
        "fields",
        "head",
        "refusal",
        "over",
        "asking_why",
    )

    def __init__(self, request: ObjectRequest, receiver: Receiver | None, token: object) -> None:
        self.request = request
        self.receiver = receiver
        self.token = token
        self.started = time.monotonic()
        self.transfer: Transfer | None = None
        self.status = 0
        self.fields: dict[str, str] = {}
        self.head: ObjectHead | None = None
        self.refusal = b""
        self.over = False
        self.asking_why = False


class S3Channel:
    """See the `Channel` port. Receivers run between turns of the loop, never inside libcurl."""

    def __init__(self, client: S3Client, max_in_flight: int) -> None:
        self._client = client
        self._max = max_in_flight
        self._loop = client.new_loop(max_in_flight)
        self._calls: dict[object, list[_Call]] = {}  # by their tokens
        self._open = 0
        self._queue: deque[_Call] = deque()
        self._answers: list[Answer] = []

    @property
    def in_flight(self) -> int:
        return self._open + len(self._answers)

    def start(self, request: ObjectRequest, receiver: Receiver | None, token: object) -> None:
        call = _Call(request, receiver, token)
        self._calls.setdefault(token, []).append(call)
        self._open += 1
        if self._loop.active < self._max:
            self._send(call)
        else:
            self._queue.append(call)

    def poll(self, timeout_seconds: float) -> list[Answer]:
        deadline = time.monotonic() + timeout_seconds
        while True:
            while self._queue and self._loop.active < self._max:
                self._send(self._queue.popleft())
            remaining = 0.0 if self._answers else max(0.0, deadline - time.monotonic())
            moved, ended = self._loop.turn(remaining)
            for transfer in moved:
                if transfer.chunks:
                    self._feed(transfer.owner, transfer)
            for end in ended:
                self._end(end.transfer.owner, end)
                self._loop.release(end.transfer)
            if self._answers or self._loop.take_wake() or time.monotonic() >= deadline:
                answers, self._answers = self._answers, []
                return answers

    def wake(self) -> None:
        self._loop.wake()

    def cancel(self, token: object) -> None:
        if self._answers:
            self._answers = [answer for answer in self._answers if answer.token != token]
        for call in list(self._calls.get(token, ())):
            self._forget(call)

    def close(self) -> None:
        for token in list(self._calls):
            self.cancel(token)
        self._answers.clear()
        self._loop.close()

    def _send(self, call: _Call) -> None:
        request = call.request
        if call.over:
            return
        if call.asking_why:
            request = first_byte(request)
        try:
            url, headers = self._client.object_call(request, PATIENCE_SECONDS)
        except DataSyncError as error:
            self._answer(call, None, error)
            return
        bodyless = request.method == "HEAD"
        call.transfer = self._loop.begin(url, headers, bodyless, call, fresh=request.fresh)

    def _feed(self, call: _Call, transfer: Transfer) -> None:
        """Hand on what arrived. An error of the answer or of the receiver ends the call."""
        try:
            if not call.status:
                self._begin(call, transfer)
            pieces = transfer.take()
            if call.head is None:
                call.refusal += b"".join(pieces)[: MAX_ERROR_BYTES - len(call.refusal)]
                if transfer.received > MAX_ERROR_BYTES:
                    raise self._refused(call)
            elif transfer.received > call.head.length:
                raise LengthMismatch(f"{call.request.key!r}: more bytes than were announced")
            elif call.receiver is not None:
                for data in pieces:
                    if not call.over:
                        call.receiver.write(data)
        except DataSyncError as error:
            self._answer(call, None, error)
        except Exception as error:  # a receiver's own fault must not end the other requests
            wrapped = DataSyncError(f"{type(error).__name__}: {error}")
            wrapped.__cause__ = error
            self._answer(call, None, wrapped)

    def _begin(self, call: _Call, transfer: Transfer) -> None:
        """Read the head; a 200 or 206 goes to the receiver once it fits the request."""
        call.status, call.fields = parse_lines(transfer.lines)
        if call.status not in (200, 206, 304) or call.asking_why:
            return
        request = call.request
        head = object_head(call.status, call.fields, request)
        cap = request.max_bytes
        if cap is not None and request.method == "GET" and head.length > cap:
            raise ObjectTooLarge(f"{request.key!r}: {head.length} bytes, over {cap}")
        call.head = head
        if call.receiver is not None and head.status != 304:
            call.receiver.begin(head)

    def _end(self, call: _Call, end: Ended) -> None:
        """Turn the end of a transfer into the call's answer."""
        if not end.code:
            self._feed(call, end.transfer)
        if call.over:
            return
        if end.code:
            error = error_for_curl(end.code, end.text, repr(call.request.key))
            return self._answer(call, None, error)
        if call.head is None:
            return self._refuse(call)
        whole = call.head.length if call.request.method == "GET" else 0
        if end.transfer.received != whole:
            short = f"{call.request.key!r}: {end.transfer.received} of {whole} bytes came"
            return self._answer(call, None, LengthMismatch(short))
        self._answer(call, call.head, None)

    def _refuse(self, call: _Call) -> None:
        """Answer with the reason of a refusal, asking for it where a HEAD left it out."""
        if call.request.method == "HEAD" and not call.asking_why and call.status in UNTOLD:
            call.asking_why, call.status, call.refusal, call.transfer = True, 0, b"", None
            self._queue.appendleft(call)
        else:
            self._answer(call, None, self._refused(call))

    def _refused(self, call: _Call) -> DataSyncError:
        name = repr(call.request.key)
        if call.asking_why and call.status == 416:  # an empty object: so it is there
            return UnexpectedAnswer(f"{name}: S3 denies the object and knows its size")
        key = call.request.key
        return self._client.refuse(call.status, call.fields, call.refusal, name, key)

    def _answer(self, call: _Call, head: ObjectHead | None, error: DataSyncError | None) -> None:
        if not call.over:
            seconds = time.monotonic() - call.started
            self._answers.append(Answer(call.request, call.token, head, error, seconds))
            self._forget(call)

    def _forget(self, call: _Call) -> None:
        if not call.over:
            call.over = True
            self._open -= 1
            calls = self._calls[call.token]
            calls.remove(call)
            if not calls:
                del self._calls[call.token]
        if call.transfer is not None:
            self._loop.drop(call.transfer)
            call.transfer = None
