"""Says how the service is: the connection, the disk, and whether the mirror equals the bucket.

Every question has a bound, so that a bucket or a disk that hangs cannot hang the answer.
Knows no HTTP; changes nothing.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import Generic, TypeVar

from datasync.controllers.equality import MirrorFacts, concerns, in_sync
from datasync.controllers.views import moment
from datasync.errors import DataSyncError
from datasync.models.figures import DiskUsage
from datasync.models.s3_models import HealthReport, HealthStatus
from datasync.models.sync_models import EnginePlace

HEALTHY = "S3 Sync Service is running and all connections are active"
CHECK_SECONDS = 2.0  # what the bucket's own check may take
ANSWER_SECONDS = 2.25  # after this the answer is given without it
FRESH_SECONDS = 5.0
USAGE_SECONDS = 1.0  # a scrape does not wait longer for a disk that hangs


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Finding(Generic[T]):
    """What came of a question: its value, or the problem in a sentence."""

    value: T | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Question(Generic[T]):
    """One asking of a probe: its answer to come, and when it was asked (by the probe's clock)."""

    answer: "Future[Finding[T]]"
    asked: float

    def within(self, deadline: float) -> Finding[T]:
        """The answer, or the finding that there is none by the deadline (monotonic)."""
        try:
            return self.answer.result(timeout=max(0.0, deadline - time.monotonic()))
        except FutureTimeout:
            return Finding(problem="no answer in time")


class Probe(Generic[T]):
    """Asks one question at most once at a time, in a thread of its own; shares the answer.

    An answer is reused for `fresh_seconds`. One that is still being waited for is shared, so
    that a question which hangs costs a single thread.
    """

    def __init__(
        self,
        name: str,
        question: Callable[[], T],
        fresh_seconds: float = FRESH_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._question = question
        self._fresh_seconds = fresh_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._latest: Question[T] | None = None

    def begin(self) -> Question[T]:
        """The latest question while its answer is fresh, or under way; else a new one."""
        with self._lock:
            latest = self._latest
            if latest is None or (latest.answer.done() and not self._is_fresh(latest)):
                latest = self._latest = Question(Future(), self._clock())
                # A daemon: a question that hangs must not keep the process from ending.
                asking = threading.Thread(
                    target=self._ask,
                    args=(latest.answer,),
                    name=f"probe-{self._name}",
                    daemon=True,
                )
                try:
                    asking.start()
                except RuntimeError as error:  # no threads: asked again when this is not fresh
                    latest.answer.set_result(Finding(problem=f"nobody can be sent to ask: {error}"))
            return latest

    def finish(self, begun: Question[T], arrived: float, deadline: float) -> Finding[T]:
        """The answer of what was begun, or of another question if that one was no longer fresh
        for who `arrived` then: it was under way, asked by somebody who came before."""
        finding = begun.within(deadline)
        if begun.asked + self._fresh_seconds >= arrived:
            return finding
        return self.begin().within(deadline)

    def _is_fresh(self, question: Question[T]) -> bool:
        return self._clock() - question.asked < self._fresh_seconds

    def _ask(self, answer: Future[Finding[T]]) -> None:
        try:
            finding = Finding(value=self._question())
        except DataSyncError as error:
            finding = Finding(problem=f"{error}. {error.hint}".rstrip(". "))
        except Exception as error:  # an edge: this thread has no caller to raise to
            finding = Finding(problem=f"unexpected {type(error).__name__}")
        answer.set_result(finding)


@dataclass(frozen=True, slots=True)
class Problems:
    """What keeps the service from working, None where all is well."""

    bucket: str | None
    disk: str | None
    ledger: str | None

    def sentences(self) -> list[str]:
        named = (
            ("S3 is not reachable", self.bucket),
            ("the download directory cannot be used", self.disk),
            ("the ledger does not answer", self.ledger),
        )
        return [f"{name}: {why}" for name, why in named if why is not None]


class HealthCheck:
    """Answers how the service is, in under three seconds whatever hangs.

    `check_bucket` gets its bound in seconds. `check_disk` returns what is worth a look although
    the disk can be used. Each raises what keeps its part from being used. `worries` are
    what is wrong elsewhere in this process now, each in a sentence or None; they ask nobody, nor
    does `engine_place`.
    """

    def __init__(
        self,
        read_facts: Callable[[], MirrorFacts],
        directory: str,
        check_bucket: Callable[[float], None],
        check_disk: Callable[[], str | None],
        check_usage: Callable[[], DiskUsage] | None = None,
        worries: Callable[[], Sequence[str | None]] = tuple,
        engine_place: Callable[[], EnginePlace] = lambda: EnginePlace.NOWHERE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._directory = directory
        self._worries = worries
        self._engine_place = engine_place
        self._clock = clock
        self._bucket = Probe("bucket", lambda: check_bucket(CHECK_SECONDS))
        self._disk = Probe("disk", check_disk)
        self._facts = Probe("ledger", read_facts, fresh_seconds=0.0)
        self._usage = Probe("usage", check_usage) if check_usage is not None else None

    def report(self) -> HealthReport:
        """The state of now; connection and disk as of at most `FRESH_SECONDS` ago."""
        arrived = time.monotonic()
        deadline = arrived + ANSWER_SECONDS
        begun = self._facts.begin(), self._disk.begin(), self._bucket.begin()
        # The one that may well hang comes last: it must not take the others' time.
        facts = self._facts.finish(begun[0], arrived, deadline)
        disk = self._disk.finish(begun[1], arrived, deadline)
        bucket = self._bucket.finish(begun[2], arrived, deadline)
        problems = Problems(bucket.problem, disk.problem, facts.problem)
        return self._report(facts.value, problems, disk.value)

    def disk_usage(self) -> DiskUsage | None:
        """Of the mirror's disk, as of at most `FRESH_SECONDS` ago; None when it does not answer."""
        if self._usage is None:
            return None
        return self._usage.begin().within(time.monotonic() + USAGE_SECONDS).value

    def is_ready(self) -> bool:
        """Whether requests can be answered here: the ledger answers, the disk can be used.

        S3 is not asked: what is mirrored can be read without it.
        """
        arrived = time.monotonic()
        deadline = arrived + ANSWER_SECONDS
        begun = self._facts.begin(), self._disk.begin()
        facts = self._facts.finish(begun[0], arrived, deadline)
        return not (facts.problem or self._disk.finish(begun[1], arrived, deadline).problem)

    def _report(
        self, facts: MirrorFacts | None, problems: Problems, disk_worry: str | None
    ) -> HealthReport:
        now = self._clock()
        broken = problems.sentences()
        worries = [worry for worry in (disk_worry, *self._worries()) if worry]
        worries += concerns(facts, now) if facts else []
        totals = facts.totals if facts else None
        oldest = totals.oldest_pending if totals else None
        return HealthReport(
            status=_status(broken, worries),
            message="; ".join(broken + worries) or HEALTHY,
            s3_connection=problems.bucket is None,
            download_directory=self._directory,
            directory_writable=problems.disk is None,
            timestamp=moment(now),
            # A directory that cannot be read is equal to nothing.
            in_sync=facts is not None and problems.disk is None and in_sync(facts),
            pending=totals.pending if totals else 0,
            failed=totals.failed if totals else 0,
            lag_seconds=round(max(0.0, now - oldest), 3) if oldest is not None else 0.0,
            held_run=facts.held.id if facts and facts.held else None,
            engine=self._engine_place().value,
        )


def _status(broken: list[str], worries: list[str]) -> HealthStatus:
    if broken:
        return HealthStatus.UNHEALTHY
    return HealthStatus.DEGRADED if worries else HealthStatus.HEALTHY
