"""One object on its way: the head decides how its body is taken and proved.

Small bodies are collected in memory, middling ones stream into a staging file, large ones come
in ranges pinned to the ETag first seen. Everything here runs on the loop's thread; elsewhere run
the receiving of ranges, what is hashed after it came, and the question for the parts of an object.
Knows no ledger and publishes nothing.
"""

from typing import Protocol

from datasync.errors import (
    DataSyncError,
    InternalFault,
    LengthMismatch,
    ObjectArchived,
    ObjectMissing,
    ObjectTooLarge,
)
from datasync.models.sync_models import ObjectHead, ObjectRequest, SyncOptions, Verdict
from datasync.services.engine.errands import Then, Work
from datasync.services.engine.integrity import (
    LARGE_BYTES,
    SIZE_ONLY,
    Assembled,
    Digest,
    Expectation,
    Sum,
    can_be_assembled,
    check_listed,
    digest_for,
    expect,
    prove,
    prove_whole,
)
from datasync.services.engine.planner import oversize_reason
from datasync.services.engine.proof import ReadBack
from datasync.services.engine.ranges import Ranges
from datasync.services.engine.tasks import Found, Result, Task, TooLargeForWorker, modified
from datasync.services.storage.bucket import Bucket
from datasync.services.storage.channel import Answer, Channel, Receiver
from datasync.services.storage.mirror import Mirror, StagedFile, Writer

MEMORY_BYTES = 256 * 1024


class Courier(Protocol):
    """What a fetch needs of the loop that carries it."""

    bucket: Bucket
    channel: Channel
    mirror: Mirror
    options: SyncOptions

    def now(self) -> float:
        """Seconds of a clock that never goes back."""

    def start_range(self, request: ObjectRequest, receiver: Receiver, fetch: "Fetch") -> None:
        """Ask for a range of a large object: `receiver` is called on another thread."""

    def cancel(self, fetch: "Fetch") -> None:
        """Drop all its requests; no answer comes for them."""

    def hash(self, work: Work, then: Then, *, urgent: bool) -> None:
        """Run `work` on a hashing thread, then call `then` on the loop's thread."""

    def ask(self, work: Work, then: Then, *, urgent: bool) -> None:
        """The same on a thread that may wait for S3."""

    def arrived(self, fetch: "Fetch") -> None:
        """All its bytes are here: from now on it waits for other threads."""

    def problem(self, error: Exception) -> None:
        """Tell of a mistake of ours."""

    def finish(self, fetch: "Fetch", result: Result) -> None:
        """The task is done with, well or badly."""

    def fail(self, fetch: "Fetch", error: DataSyncError) -> None:
        """This try failed: start over later, or give the task up."""


class Fetch:
    """The `Receiver` of one object's first answer, and the state of everything after it."""

    def __init__(self, task: Task, courier: Courier) -> None:
        self.task = task
        self.head: ObjectHead | None = None
        self.started = courier.now()
        self.over = False
        self.hashing = False
        self._courier = courier
        self._chunks: list[bytes] = []
        self._staged: StagedFile | None = None
        self._writer: Writer | None = None  # of a staged file whose bytes come in one answer
        self._expectation = SIZE_ONLY
        self._digest: Digest | None = None
        self._arrived = False  # all bytes, in one answer, of what is hashed only then
        self._ranges: Ranges | None = None
        self._refusal: ObjectArchived | None = None
        self._progress = (False, 0)
        self._moved = self.started

    @property
    def large(self) -> bool:
        return self._ranges is not None

    @property
    def bytes_received(self) -> int:
        if self._ranges is not None:
            return self._ranges.received
        writer = self._writer  # once: this is asked from other threads too
        return writer.arrived if writer is not None else sum(map(len, self._chunks))

    @property
    def provable(self) -> bool:
        """Whether it is known what proves the object."""
        return not self._expectation.needs_parts

    def silent_seconds(self, now: float) -> float:
        """How long, by the looks so far, nothing has arrived; 0 while the file is hashed."""
        progress = (self.head is not None, self.bytes_received)
        if self.hashing or progress != self._progress:
            self._progress, self._moved = progress, now
        return now - self._moved

    def start(self) -> None:
        row = self.task.row
        etag = row.etag if row is not None and self.task.intact else None
        request = ObjectRequest(
            self.task.key,
            if_none_match=etag,
            max_bytes=self._courier.options.max_bytes,
            fresh=self.task.failures > 0,
        )
        self._courier.channel.start(request, self, self)

    # Receiver

    def begin(self, head: ObjectHead) -> None:
        options = self._courier.options
        self.head = head
        self._check_listed(head)
        if self.task.most is not None and head.size > self.task.most:
            raise TooLargeForWorker(f"{self.task.key!r}: {head.size} bytes")
        if head.size > options.max_bytes:
            raise ObjectTooLarge(
                f"{self.task.key!r}: " + oversize_reason(head.size, options.max_bytes)
            )
        self._expectation = expectation = expect(head, verify=options.verify)
        if head.size <= MEMORY_BYTES and not expectation.needs_parts:
            return
        self._staged = self._courier.mirror.stage(head.size)
        if expectation.needs_parts:
            self._ask_for_parts(head, expectation)
        if head.size > LARGE_BYTES:
            self._ranges = Ranges(self, self._courier, self._staged, head)
            return
        if not expectation.needs_parts:
            self._digest = digest_for(expectation)
        watch = self._digest.update if self._digest is not None else None
        self._writer = Writer(self._staged, watch=watch)

    def write(self, data: bytes) -> None:
        if self._ranges is not None:
            self._ranges.write_first(data)
        elif self._writer is None:
            self._chunks.append(data)
        else:
            self._writer.write(data)

    # Answers

    def answered(self, answer: Answer) -> None:
        """Take the answer of one of this object's requests."""
        if self.over:
            return
        if self._ranges is not None:
            self._ranges.answered(answer)
        elif self._refusal is not None:
            self._told_version(answer, self._refusal)
        elif answer.error is not None:
            self.failed(answer.error)
        elif answer.head is not None and answer.head.status == 304:
            self._unchanged(answer.head)
        else:
            self._received()

    def exhausted(self, error: DataSyncError) -> None:
        """A part of this try was tried as often as the object may be: it is the last one."""
        self.task.failures = max(self.task.failures, self._courier.options.attempts - 1)
        self.failed(error)

    def more(self, budget: int) -> int:
        """Start up to `budget` further requests of a large object; the number started."""
        return self._ranges.more(budget) if self._ranges is not None and not self.over else 0

    def failed(self, error: DataSyncError) -> None:
        """End this try: some errors are answers, the others go to the courier."""
        if isinstance(error, ObjectMissing):
            self._done(Found.MISSING)
        elif isinstance(error, ObjectArchived):
            self._archived(error)
        elif isinstance(error, ObjectTooLarge):
            self._done(Found.OVERSIZE, head=self.head, error=error)
        else:
            self.abandon()
            self._courier.fail(self, error)

    def abandon(self) -> None:
        """Drop what is in flight and what is staged."""
        self.over = True
        self._courier.cancel(self)
        self._chunks = []
        staged, self._staged = self._staged, None
        if staged is not None:  # a hashing thread that still reads it gets an error, and ends
            staged.discard()

    def hashed(self) -> bool:
        """The hashing thread is done; whether anyone still wants to know."""
        self.hashing = False
        return not self.over

    def _archived(self, refusal: ObjectArchived) -> None:
        """The refusal names no version: a HEAD tells whether it is the one that we hold."""
        if self.head is not None or not self.task.intact:
            self._done(Found.ARCHIVED, error=refusal)
            return
        self._refusal = refusal
        request = ObjectRequest(self.task.key, method="HEAD")
        self._courier.channel.start(request, None, self)

    def _told_version(self, answer: Answer, refusal: ObjectArchived) -> None:
        row, head, error = self.task.row, answer.head, answer.error
        if head is not None and row is not None and head.etag == row.etag:
            self._done(Found.UNCHANGED, head=head)
        elif error is not None and (error.retryable or isinstance(error, ObjectMissing)):
            self.failed(error)
        else:
            self._done(Found.ARCHIVED, head=head, error=refusal)

    def _unchanged(self, head: ObjectHead) -> None:
        try:
            self._check_listed(head)
        except DataSyncError as error:
            self.failed(error)
        else:
            self._done(Found.UNCHANGED, head=head)

    def _check_listed(self, head: ObjectHead) -> None:
        if self.task.listed is not None:
            check_listed(head, self.task.listed, self.task.row)

    def _received(self) -> None:
        assert self.head is not None
        try:
            if self._writer is None:
                verdict = self._stage_small(self.head)
            else:
                self._writer.flush()
                self._check_length(self._writer.written)
                if self._digest is None:
                    self._arrived = True
                    self._courier.arrived(self)
                    self._prove_arrived()
                    return
                verdict = self.proved(self._digest)
        except DataSyncError as error:
            self.failed(error)
        else:
            self.staged(verdict)

    def _stage_small(self, head: ObjectHead) -> Verdict:
        body = b"".join(self._chunks)
        self._check_length(len(body))
        verdict = prove_whole(self._expectation, body, self.task.key)
        self._chunks = []
        mtime = modified(self.task.listed, head)
        self._staged = self._courier.mirror.stage_whole(body, mtime)
        return verdict

    def proved(self, digest: Sum) -> Verdict:
        """The verdict, if this is the object's. Raises: ChecksumMismatch."""
        return prove(self._expectation, digest, self.task.key)

    def _check_length(self, length: int) -> None:
        assert self.head is not None
        if length != self.head.size:
            raise LengthMismatch(
                f"{self.task.key!r}: {length} bytes arrived, S3 announced {self.head.size}"
            )

    def _ask_for_parts(self, head: ObjectHead, expectation: Expectation) -> None:
        """Ask for the sizes of the parts; when S3 cannot tell, only the length is a proof."""
        bucket, key = self._courier.bucket, self.task.key
        told: list[tuple[int, ...]] = []

        def work() -> None:
            if self.over:
                return
            told.append(bucket.parts(key, head.etag, expectation.count))

        def then(error: Exception | None) -> None:
            if self.over:
                return
            if error is not None:
                self.failed_elsewhere(error)
                return
            self._expectation = expectation.with_parts(told[0]) if told[0] else SIZE_ONLY
            if self._ranges is not None:
                self._ranges.prove()
            elif self._arrived:
                self._prove_arrived()

        self._courier.ask(work, then, urgent=self.task.urgent)

    def _prove_arrived(self) -> None:
        if not self.provable:
            return  # the answer to the question will do it
        read_back = self.read_back()
        size = self._staged.size if self._staged is not None else 0
        verdicts: list[Verdict] = []

        def work() -> None:
            read_back.advance(size)
            verdicts.append(read_back.verdict(self.task.key))

        def then(error: Exception | None) -> None:
            if not self.hashed():
                return
            if error is not None:
                self.failed_elsewhere(error)
            else:
                self.staged(verdicts[0])

        self.hashing = True
        self._courier.hash(work, then, urgent=self.task.urgent)

    def failed_elsewhere(self, error: Exception) -> None:
        """Another thread's error; one that is no answer is a mistake of ours, and not hidden."""
        if isinstance(error, DataSyncError):
            self.failed(error)
            return
        self._courier.problem(error)
        self.failed(InternalFault(f"{type(error).__name__} in the proof"))

    def assembled(self) -> Assembled | None:
        """A digest of ranges in any order, where there can be one."""
        head, expectation = self.head, self._expectation
        if head is None or not can_be_assembled(expectation):
            return None
        return Assembled(expectation.verdict, head.size)

    def read_back(self) -> ReadBack:
        """Of what is `provable`."""
        assert self._staged is not None
        return ReadBack(self._staged, self._expectation)

    def staged(self, verdict: Verdict) -> None:
        """The staging file is complete and proved: hand it over."""
        staged, self._staged = self._staged, None
        self._done(Found.STAGED, head=self.head, staged=staged, verdict=verdict)

    def _done(
        self,
        found: Found,
        *,
        head: ObjectHead | None = None,
        staged: StagedFile | None = None,
        verdict: Verdict | None = None,
        error: DataSyncError | None = None,
    ) -> None:
        self.abandon()
        seconds = self._courier.now() - self.task.started
        result = Result(self.task, found, head, staged, None, verdict, error, seconds)
        self._courier.finish(self, result)
