"""Says how the service is: the connection, the disk, and whether the mirror equals the bucket.

Every question has a bound, so that a bucket or a disk that hangs cannot hang the answer.
Knows no HTTP; changes nothing.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import Generic, TypeVar

from datasync.controllers.views import UNFINISHED, moment, work_done
from datasync.errors import DataSyncError
from datasync.models.s3_models import HealthReport, HealthStatus
from datasync.models.sync_models import LedgerTotals, Run, RunKind, RunStatus
from datasync.services.storage.ledger import Ledger

HEALTHY = "S3 Sync Service is running and all connections are active"
CHECK_SECONDS = 2.0  # what the bucket's own check may take
ANSWER_SECONDS = 2.5  # after this the answer is given without it
FRESH_SECONDS = 5.0
UNTAKEN_SECONDS = 15.0  # a leader takes a queued run at once
RECENT_RUNS = 20
_SCANNED = (RunKind.RECONCILE,)


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Finding(Generic[T]):
    """What came of a question: its value, or the problem in a sentence."""

    value: T | None = None
    problem: str | None = None


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
        self._latest: Future[Finding[T]] | None = None
        self._asked = 0.0

    def begin(self) -> Future[Finding[T]]:
        """The latest answer while it is fresh, or one that is under way."""
        with self._lock:
            latest = self._latest
            if latest is None or (latest.done() and not self._is_fresh()):
                latest = self._latest = Future()
                self._asked = self._clock()
                # A daemon: a question that hangs must not keep the process from ending.
                threading.Thread(
                    target=self._ask, args=(latest,), name=f"probe-{self._name}", daemon=True
                ).start()
            return latest

    def _is_fresh(self) -> bool:
        return self._clock() - self._asked < self._fresh_seconds

    def _ask(self, answer: Future[Finding[T]]) -> None:
        try:
            finding = Finding(value=self._question())
        except DataSyncError as error:
            finding = Finding(problem=f"{error}. {error.hint}".rstrip(". "))
        except Exception as error:  # an edge: this thread has no caller to raise to
            finding = Finding(problem=f"unexpected {type(error).__name__}")
        answer.set_result(finding)


def answer_within(answer: Future[Finding[T]], deadline: float) -> Finding[T]:
    """The probe's answer, or the finding that there is none by the deadline (monotonic)."""
    try:
        return answer.result(timeout=max(0.0, deadline - time.monotonic()))
    except FutureTimeout:
        return Finding(problem="no answer in time")


@dataclass(frozen=True, slots=True)
class MirrorFacts:
    """What the ledger says that bears on equality. Runs are those over the whole scope."""

    totals: LedgerTotals
    last_run: Run | None
    unfinished: tuple[Run, ...]
    held: Run | None


def in_sync(facts: MirrorFacts) -> bool:
    """Whether the mirror is proved equal to the bucket.

    The last finished reconciliation of the whole scope ended `success`, no key is dirty, failed
    or stale, no running run has work left, and no plan is held.
    """
    last, totals = facts.last_run, facts.totals
    return (
        last is not None
        and last.status is RunStatus.SUCCESS
        and totals.pending == 0
        and totals.failed == 0
        and not any(map(_has_work_left, facts.unfinished))
        and facts.held is None
    )


def _has_work_left(run: Run) -> bool:
    return run.status is RunStatus.RUNNING and run.counts.planned > work_done(run.counts)


def read_facts(ledger: Ledger, scope: str) -> MirrorFacts:
    """The facts of now. Raises: LedgerError."""
    unfinished = [run for run in ledger.runs(limit=RECENT_RUNS) if run.status in UNFINISHED]
    return MirrorFacts(
        totals=ledger.totals(),
        last_run=ledger.last_run(finished=True, prefix=scope, kinds=_SCANNED),
        unfinished=tuple(unfinished),
        held=ledger.held_run(),
    )


def concerns(facts: MirrorFacts, now: float) -> list[str]:
    """What is not well although the service works, each in a sentence without its full stop."""
    found: list[str] = []
    if facts.held is not None:
        found.append(f"run {facts.held.id} is held and waits for approval")
    if facts.totals.failed:
        found.append(f"{facts.totals.failed} keys failed, see /sync/failures")
    last = facts.last_run
    if last is not None and last.status in (RunStatus.FAILED, RunStatus.PARTIAL):
        found.append(f"the last run ended {last.status.value}: {last.error or 'see its failures'}")
    if _nobody_leads(facts.unfinished, now):
        found.append("no process runs the engine: a run is queued and not taken")
    return found


def _nobody_leads(unfinished: tuple[Run, ...], now: float) -> bool:
    if any(run.status is RunStatus.RUNNING for run in unfinished):
        return False
    return any(now - run.requested > UNTAKEN_SECONDS for run in unfinished)


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
    the disk can be used; both raise what keeps them from being used.
    """

    def __init__(
        self,
        ledger: Ledger,
        scope: str,
        directory: str,
        check_bucket: Callable[[float], None],
        check_disk: Callable[[], str | None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._bucket = Probe("bucket", lambda: check_bucket(CHECK_SECONDS))
        self._disk = Probe("disk", check_disk)
        self._facts = Probe("ledger", lambda: read_facts(ledger, scope), fresh_seconds=0.0)

    def report(self) -> HealthReport:
        """The state of now; connection and disk as of at most `FRESH_SECONDS` ago."""
        deadline = time.monotonic() + ANSWER_SECONDS
        answers = self._bucket.begin(), self._disk.begin(), self._facts.begin()
        bucket = answer_within(answers[0], deadline)
        disk = answer_within(answers[1], deadline)
        facts = answer_within(answers[2], deadline)
        problems = Problems(bucket.problem, disk.problem, facts.problem)
        return self._report(facts.value, problems, disk.value)

    def _report(
        self, facts: MirrorFacts | None, problems: Problems, disk_worry: str | None
    ) -> HealthReport:
        now = self._clock()
        broken = problems.sentences()
        worries = [disk_worry] if disk_worry else []
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
            in_sync=in_sync(facts) if facts else False,
            pending=totals.pending if totals else 0,
            failed=totals.failed if totals else 0,
            lag_seconds=round(max(0.0, now - oldest), 3) if oldest is not None else 0.0,
            held_run=facts.held.id if facts and facts.held else None,
        )


def _status(broken: list[str], worries: list[str]) -> HealthStatus:
    if broken:
        return HealthStatus.UNHEALTHY
    return HealthStatus.DEGRADED if worries else HealthStatus.HEALTHY
