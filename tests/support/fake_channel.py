"""The channel of `FakeBucket`: every request is a generator that moves one chunk a step.

A step that cannot go on (a scripted pause or stall) yields the question that says when it can;
`poll` then waits in short naps instead of spinning. Knows no objects: the server side gives them.
"""

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Protocol, TypeVar

from datasync.errors import DataSyncError, ObjectTooLarge, TransferStalled
from datasync.models.sync_models import ObjectHead, ObjectRequest
from datasync.services.storage.channel import Answer, Receiver
from tests.support.fail import Fault

NAP_SECONDS = 0.002

T = TypeVar("T")

Gate = Callable[[], bool] | None  # None: go on at once
Play = Generator[Gate, None, ObjectHead]


class Server(Protocol):
    """What the channel needs of the bucket behind it."""

    chunk_bytes: int
    stall_seconds: float
    peak_in_flight: int

    def take(self, request: ObjectRequest) -> Fault | None: ...

    def serve(self, request: ObjectRequest) -> tuple[ObjectHead, bytes]: ...


@dataclass(eq=False, slots=True)
class Transfer:
    """One request in flight. `gate` is set while it cannot move."""

    request: ObjectRequest
    token: object
    play: Play
    gate: Gate = None
    started: float = field(default_factory=time.monotonic)

    @property
    def blocked(self) -> bool:
        return self.gate is not None and not self.gate()

    def step(self) -> Answer | None:
        """Move one chunk; the answer when that was the end."""
        try:
            self.gate = next(self.play)
            return None
        except StopIteration as end:
            head: ObjectHead = end.value
            return self._answer(head, None)
        except DataSyncError as error:
            return self._answer(None, error)

    def _answer(self, head: ObjectHead | None, error: DataSyncError | None) -> Answer:
        seconds = time.monotonic() - self.started
        return Answer(self.request, self.token, head=head, error=error, seconds=seconds)


class FakeChannel:
    """See the `Channel` port."""

    def __init__(self, server: Server, max_in_flight: int) -> None:
        self._server = server
        self._max = max_in_flight
        self._transfers: list[Transfer] = []
        self._woken = Event()
        self._closed = False

    @property
    def in_flight(self) -> int:
        return len(self._transfers)

    def start(self, request: ObjectRequest, receiver: Receiver | None, token: object) -> None:
        if self._closed:
            raise RuntimeError("the channel is closed")
        play = perform(self._server, request, receiver)
        self._transfers.append(Transfer(request, token, play))
        running = min(self._max, len(self._transfers))
        self._server.peak_in_flight = max(self._server.peak_in_flight, running)

    def poll(self, timeout_seconds: float) -> list[Answer]:
        deadline = time.monotonic() + timeout_seconds
        while True:
            answers, moved = self._round()
            remaining = deadline - time.monotonic()
            if answers or self._woken.is_set() or remaining <= 0:
                self._woken.clear()
                return answers
            if not moved:
                self._woken.wait(min(remaining, NAP_SECONDS) if self._transfers else remaining)

    def wake(self) -> None:
        self._woken.set()

    def cancel(self, token: object) -> None:
        for transfer in [each for each in self._transfers if each.token == token]:
            self._transfers.remove(transfer)
            transfer.play.close()

    def close(self) -> None:
        self._closed = True
        for transfer in self._transfers:
            transfer.play.close()
        self._transfers.clear()

    def _round(self) -> tuple[list[Answer], bool]:
        """One chunk of every request that can move."""
        answers, moved = [], False
        for transfer in self._transfers[: self._max]:
            if transfer.blocked:
                continue
            moved = True
            answer = transfer.step()
            if answer is not None:
                self._transfers.remove(transfer)
                answers.append(answer)
        return answers, moved


def perform(server: Server, request: ObjectRequest, receiver: Receiver | None) -> Play:
    """Play one request from its start to its answer's head. Raises: DataSyncError."""
    fault = server.take(request) or Fault()
    if fault.at == 0:
        yield from _strike(server, fault)
    head, body = server.serve(request)
    head = replace(head, **fault.head_changes)
    if head.status == 304:
        return head
    cap = request.max_bytes
    if cap is not None and request.method == "GET" and head.length > cap:
        raise ObjectTooLarge(f"{request.key!r}: {head.length} bytes, over {cap}")
    if receiver is not None:
        _deliver(receiver.begin, head)
    body, sent = _bent(body, head.first, fault), 0
    for end in _cuts(len(body), server.chunk_bytes, fault.at):
        if receiver is not None:
            _deliver(receiver.write, body[sent:end])
        sent = end
        yield None
        if sent == fault.at:
            yield from _strike(server, fault)
    if fault.short_by is not None and fault.error is not None:
        raise fault.error
    return head


def _strike(server: Server, fault: Fault) -> Generator[Gate, None, None]:
    if fault.hook:
        fault.hook()
    if fault.until:
        yield fault.until.is_set
    if fault.stalls:
        over = time.monotonic() + server.stall_seconds
        yield lambda: time.monotonic() >= over
        raise TransferStalled("scripted stall")
    if fault.error and fault.short_by is None:
        raise fault.error


def _deliver(call: Callable[[T], None], value: T) -> None:
    """Call the receiver; what it raises is an error of the answer."""
    try:
        call(value)
    except DataSyncError:
        raise
    except Exception as error:
        raise DataSyncError(f"{type(error).__name__}: {error}") from error


def _bent(body: bytes, first: int, fault: Fault) -> bytes:
    """The body as the fault lets it arrive."""
    if fault.short_by is not None:
        return body[: max(0, len(body) - fault.short_by)]
    if fault.wrong_at is None or not first <= fault.wrong_at < first + len(body):
        return body
    at = fault.wrong_at - first
    return body[:at] + bytes([body[at] ^ 0xFF]) + body[at + 1 :]


def _cuts(length: int, chunk_bytes: int, at: int) -> list[int]:
    """Where the chunks end. Raises: ValueError for a fault that would never strike."""
    if at > length > 0:
        raise ValueError(f"a fault at byte {at} of a body of {length} bytes never strikes")
    ends = {*range(chunk_bytes, length, chunk_bytes), length, min(at, length)}
    return sorted(end for end in ends if end > 0)
