"""What the engine does, as spans: a key's transfer and its commit, and each run.

Made after the work from its times, so that whoever works knows nothing of traces, and with traces
off nothing is made. Changes nothing, and nothing here may stop the work.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import NamedTuple

from datasync.models.sync_models import OutcomeStatus, Run
from datasync.services.engine.group import Done
from datasync.services.engine.tasks import Result, Task
from datasync.tracing.port import OFF, Span, Tracer
from datasync.utils.logger import get_logger

# Of a run's keys only those are told of that somebody will look for: a first run has a million.
SLOW_SECONDS = 10.0
MOST_OF_A_RUN = 100


class Times(NamedTuple):
    """Of one group: when its commit began, when its files were in their places, when it ended."""

    began: float
    placed: float
    ended: float


class EngineSpans:
    """Belongs to one engine. Runs begin and end on their threads, groups on that of the commit."""

    def __init__(
        self,
        tracer: Tracer = OFF,
        bucket: str = "",
        *,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tracer = tracer
        self._bucket = bucket
        self._clock = clock
        self._steady = steady
        self._runs: dict[int, tuple[Span, int]] = {}  # and how many of its keys may be told of

    def run(self, run: Run, perform: Callable[[], Run]) -> Run:
        """Perform a run within its span."""
        if not self._tracer.on:
            return perform()
        span = self._tracer.begin("run", {"datasync.run.id": run.id})
        self._runs[run.id] = (span, MOST_OF_A_RUN if span.wanted else 0)
        done = run
        error: str | None = "it did not come to its end"
        try:
            done = perform()
            error = done.error
            return done
        finally:
            self._runs.pop(run.id, None)
            span.end(_run_attributes(done), error=error)

    def committed(self, batch: Sequence[Result], done: Sequence[Done], times: Times) -> None:
        """A group has been committed: spans for those of its keys that are traced."""
        if not self._tracer.on:
            return
        try:
            self._tell_all(batch, done, times)
        except Exception:  # a mistake of ours must cost a span, never a commit
            get_logger(__name__).exception("a mistake in the traces")

    def _tell_all(self, batch: Sequence[Result], done: Sequence[Done], times: Times) -> None:
        results = {result.task: result for result in batch}
        # The clock of the transfer goes by itself; it is the time of day that spans have.
        offset = self._clock() - self._steady()
        for item in done:
            result = results.get(item.task)
            if result is None or item.again:
                continue
            parent = self._parent(item, result)
            if parent is not None:
                self._tell(item, result, parent, offset, times, len(batch))

    def _parent(self, item: Done, result: Result) -> str | None:
        task = item.task
        if task.mark is not None and task.mark.traceparent is not None:
            return task.mark.traceparent
        span, left = self._runs.get(task.run_id or 0, (None, 0))
        if span is None or not left or not _is_notable(item, result):
            return None
        self._runs[task.run_id or 0] = (span, left - 1)
        return span.traceparent

    def _tell(
        self, item: Done, result: Result, parent: str, offset: float, times: Times, files: int
    ) -> None:
        task, error = item.task, _failure(item)
        # A worker process has clocks of its own: only how long it took is known of it.
        began = task.started + offset if task.started else times.began - result.seconds
        transfer = self._tracer.begin("transfer", parent=parent, at=min(began, times.began))
        commit = self._tracer.begin("commit", parent=transfer.traceparent, at=times.began)
        if transfer.wanted:
            failed = None if result.error is None else str(result.error)
            ended = min(began + result.seconds, times.began) if result.seconds else times.began
            transfer.end(self._attributes(task, result), error=failed, at=max(ended, began))
        if commit.wanted:
            commit.end(
                _commit_attributes(item, task.key, files),
                error=error,
                at=times.ended,
                moments=[("files are in their places", times.placed)],
            )

    def _attributes(self, task: Task, result: Result) -> dict[str, str | int | None]:
        head = result.head
        return {
            "aws.s3.bucket": self._bucket,
            "aws.s3.key": task.key,
            "datasync.found": result.found.value,
            "datasync.bytes": head.size if head is not None else None,
            "datasync.etag": head.etag if head is not None else None,
            "datasync.verdict": result.verdict.value if result.verdict is not None else None,
            # Of tries in one go; a mark that is tried again later has a span for each.
            "datasync.attempts": max(1, task.failures + (result.error is None)),
            "datasync.attempts_before": task.mark.attempts if task.mark is not None else None,
            "datasync.run.id": task.run_id,
            "error.type": type(result.error).__name__ if result.error is not None else None,
        }


def _commit_attributes(item: Done, key: str, files: int) -> dict[str, str | int | None]:
    outcome = item.outcome
    return {
        "aws.s3.key": key,
        "datasync.operation": outcome.operation.value if outcome is not None else None,
        "datasync.outcome": outcome.status.value if outcome is not None else "not recorded",
        "datasync.group": files,
        "error.type": _kind_of_failure(item),
    }


def _failure(item: Done) -> str | None:
    """Why the key is not as S3 has it, if it is not."""
    outcome = item.outcome
    if outcome is None:
        return str(item.broken) if item.broken is not None else "interrupted"
    return outcome.message if outcome.status is OutcomeStatus.FAILED else None


def _kind_of_failure(item: Done) -> str | None:
    if item.broken is not None:
        return type(item.broken).__name__
    return item.outcome.error if item.outcome is not None else None


def _is_notable(item: Done, result: Result) -> bool:
    return _failure(item) is not None or result.seconds >= SLOW_SECONDS


def _run_attributes(run: Run) -> dict[str, str | int | None]:
    counts = {f"datasync.run.{name}": count for name, count in asdict(run.counts).items()}
    return {
        "datasync.run.kind": run.kind.value,
        "datasync.run.prefix": run.prefix,
        "datasync.run.status": run.status.value,
        **counts,
    }
