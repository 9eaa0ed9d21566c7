"""A large object in ranges, every one pinned to the ETag first seen.

The first answer is a plain GET, because only that brings stored checksums in one trip; it is cut
after the first range and the others are asked for beside one another. A CRC is computed of each
range as it comes; any other digest follows the writes on another thread, through the page cache.
"""

from collections.abc import Callable
from functools import partial
from random import random
from typing import TYPE_CHECKING

from datasync.errors import (
    DataSyncError,
    PreconditionFailed,
    RangeUnsatisfiable,
    TornRead,
)
from datasync.models.sync_models import ObjectHead, ObjectRequest, Verdict
from datasync.services.engine.integrity import Digest
from datasync.services.engine.levels import pause_seconds
from datasync.services.engine.proof import ReadBack
from datasync.services.storage.channel import Answer
from datasync.services.storage.mirror import StagedFile, Writer

if TYPE_CHECKING:
    from datasync.services.engine.fetch import Courier, Fetch

RANGE_BYTES = 16 * 2**20
# Of a larger object, in the first answer: it comes where events come too.
FIRST_BYTES = 2**20
MAX_RANGES_IN_FLIGHT = 8


class FirstRangeRead(DataSyncError):
    """Cuts the first answer where the ranges take over: no failure."""


class _Range:
    """The `Receiver` of the bytes from `offset` to `end`; `offset` moves as they arrive.

    They come on another thread than the object's, but for the first. `complete` is called there
    once they are all in the file.
    """

    def __init__(
        self,
        offset: int,
        end: int,
        staged: StagedFile,
        pinned: ObjectHead,
        digest: Digest | None,
        complete: Callable[[], None],
    ) -> None:
        self.end = end
        self.failures = 0
        self.not_before = 0.0
        self._writer = Writer(staged, offset, digest.update if digest is not None else None)
        self._pinned = pinned
        self._complete = complete

    @property
    def offset(self) -> int:
        return self._writer.arrived

    @property
    def written(self) -> int:
        """Everything before this offset is in the file."""
        return self._writer.written

    def begin(self, head: ObjectHead) -> None:
        if head.etag != self._pinned.etag or head.size != self._pinned.size:
            raise TornRead(
                f"a range of ETag {head.etag} ({head.size} bytes) answered a request for "
                f"{self._pinned.etag} ({self._pinned.size} bytes)"
            )
        if head.first != self.offset:
            raise TornRead(f"asked for bytes from {self.offset}, got them from {head.first}")

    def write(self, data: bytes) -> None:
        if self.offset + len(data) > self.end:
            raise TornRead(f"more bytes than the range to {self.end} can hold")
        self._writer.write(data)
        if self.offset == self.end:
            self._writer.flush()
            self._complete()


class Ranges:
    """All ranges of one object: what is asked for, what has arrived, what is hashed."""

    def __init__(
        self, fetch: "Fetch", courier: "Courier", staged: StagedFile, head: ObjectHead
    ) -> None:
        self._fetch = fetch
        self._courier = courier
        self._staged = staged
        self._head = head
        self._next = 0
        self._assembled = fetch.assembled()
        self._first = self._following(RANGE_BYTES if head.size <= RANGE_BYTES else FIRST_BYTES)
        self._live: dict[int, _Range] = {0: self._first}  # by the offset of the request
        self._waiting: list[_Range] = []  # failed ones, to be asked for again
        self._read_back: ReadBack | None = None

    @property
    def received(self) -> int:
        missing = sum(part.end - part.offset for part in (*self._live.values(), *self._waiting))
        return self._next - missing

    def write_first(self, data: bytes) -> None:
        """Bytes of the first answer; raises FirstRangeRead when its range is full."""
        room = self._first.end - self._first.offset
        self._first.write(data[:room])
        if len(data) >= room and self._first.end < self._head.size:
            raise FirstRangeRead("the ranges take over")

    def more(self, budget: int) -> int:
        """Ask for further ranges; the number of requests started.

        One may always be under way, so that a stream of other work cannot starve the object.
        """
        started = 0
        while (started < budget or not self._live) and len(self._live) < MAX_RANGES_IN_FLIGHT:
            part = self._take()
            if part is None:
                break
            self._ask(part)
            started += 1
        return started

    def answered(self, answer: Answer) -> None:
        part = self._live.pop(answer.request.first or 0)
        if part.offset != part.end:
            self._retry(part, answer.error or TornRead("a range ended early"))
        if not self._fetch.over:
            self.prove()

    def _take(self) -> _Range | None:
        now = self._courier.now()
        ready = next((part for part in self._waiting if part.not_before <= now), None)
        if ready is not None:
            self._waiting.remove(ready)
            return ready
        if self._next >= self._head.size:
            return None
        return self._following(RANGE_BYTES)

    def _following(self, nbytes: int) -> _Range:
        """The next range that nobody has asked for yet, of so many bytes at most."""
        start, nbytes = self._next, min(nbytes, self._head.size - self._next)
        self._next += nbytes
        assembled, mirror = self._assembled, self._courier.mirror
        digest = assembled.begin(start, nbytes) if assembled is not None else None
        complete = partial(mirror.write_out, self._staged, start, nbytes) if start else _nothing
        return _Range(start, self._next, self._staged, self._head, digest, complete)

    def _ask(self, part: _Range) -> None:
        self._live[part.offset] = part
        request = ObjectRequest(
            self._fetch.task.key,
            first=part.offset,
            last=part.end - 1,
            if_match=self._head.etag,
            fresh=part.failures > 0,
        )
        self._courier.start_range(request, part, self._fetch)

    def _retry(self, part: _Range, error: DataSyncError) -> None:
        """Ask for the rest of a range again, after a pause; no range more often than `attempts`.

        Whatever speaks of another version starts the whole object again.
        """
        part.failures += 1
        if _ends_try(error):
            self._fetch.failed(error)
        elif self._fetch.task.failures + part.failures >= self._courier.options.attempts:
            self._fetch.exhausted(error)
        else:
            pause = pause_seconds(error, part.failures, random())
            part.not_before = self._courier.now() + pause
            self._waiting.append(part)

    def _frontier(self) -> int:
        """Everything before this offset has arrived."""
        return min(
            (part.written for part in (*self._live.values(), *self._waiting)), default=self._next
        )

    def prove(self) -> None:
        """Go on with the proof, by what has arrived and what is known."""
        if self._assembled is None:
            self._hash()
        elif self._frontier() >= self._head.size:
            try:
                verdict = self._fetch.proved(self._assembled)
            except DataSyncError as error:
                self._fetch.failed(error)
            else:
                self._fetch.staged(verdict)

    def _hash(self) -> None:
        upto = self._frontier()
        whole = upto >= self._head.size
        if whole:
            self._courier.arrived(self._fetch)
        if self._fetch.hashing or not self._fetch.provable:
            return
        read_back = self._read_back = self._read_back or self._fetch.read_back()
        if upto <= read_back.position and not whole:
            return
        self._fetch.hashing = True
        verdicts: list[Verdict] = []

        def work() -> None:
            read_back.advance(upto)
            if whole:
                verdicts.append(read_back.verdict(self._fetch.task.key))

        urgent = self._fetch.task.urgent
        self._courier.hash(work, lambda error: self._hashed(error, verdicts), urgent=urgent)

    def _hashed(self, error: Exception | None, verdicts: list[Verdict]) -> None:
        if not self._fetch.hashed():
            return
        if error is not None:
            self._fetch.failed_elsewhere(error)
        elif verdicts:
            self._fetch.staged(verdicts[0])
        else:
            self.prove()


def _nothing() -> None:
    """The first range comes on the loop's thread, and is short: the disk is left alone."""


def _ends_try(error: DataSyncError) -> bool:
    moved_on = isinstance(error, TornRead | PreconditionFailed | RangeUnsatisfiable)
    return moved_on or not error.retryable
