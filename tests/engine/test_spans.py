"""What the engine tells of its work: whose spans, with which times, and nothing while off."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from datasync.errors import AccessDenied, LedgerError
from datasync.models.sync_models import (
    DirtyKey,
    EventNote,
    Operation,
    Outcome,
    OutcomeStatus,
    Run,
    RunKind,
    RunStatus,
)
from datasync.services.engine.group import Done
from datasync.services.engine.spans import MOST_OF_A_RUN, EngineSpans, Times
from datasync.services.engine.tasks import Found, Result, Task
from datasync.services.s3_sync_service import S3SyncService
from datasync.tracing.port import OFF
from tests.support import fail
from tests.support.tracing import TRACE, TRACEPARENT, KeptSpans
from tests.support.world import World, eventually

NOW = 1_000.0  # of the day
STEADY = 50.0
GROUP = Times(began=NOW, placed=NOW + 0.2, ended=NOW + 0.3)


def marked(key: str = "a", traceparent: str | None = TRACEPARENT) -> Task:
    mark = DirtyKey(key, "put", 1, 1.0, 1.0, traceparent=traceparent)
    return Task(key, mark=mark, urgent=True)


def outcome(task: Task, status: OutcomeStatus = OutcomeStatus.SUCCESS) -> Outcome:
    return Outcome(task.key, Operation.DOWNLOAD, status, "so it went", NOW)


def spans_of(tracer: KeptSpans) -> EngineSpans:
    return EngineSpans(tracer, "bkt", clock=lambda: NOW, steady=lambda: STEADY)


def tell(tracer: KeptSpans, result: Result, done: Done) -> None:
    spans_of(tracer).committed([result], [done], GROUP)


class TestTimes:
    def test_a_transfer_of_this_process_has_its_own(self) -> None:
        tracer, task = KeptSpans(), marked()
        task.started = STEADY - 3.0
        tell(
            tracer,
            Result(task, Found.STAGED, seconds=2.0),
            Done(task, outcome(task), None),
        )
        transfer, commit = tracer.spans
        assert (transfer.started, transfer.ended) == (NOW - 3.0, NOW - 1.0)
        assert (commit.started, commit.ended) == (GROUP.began, GROUP.ended)
        assert commit.parent == transfer.traceparent and transfer.parent == TRACEPARENT

    def test_one_of_a_worker_process_ends_where_its_commit_begins(self) -> None:
        tracer, task = KeptSpans(), marked()
        tell(
            tracer,
            Result(task, Found.STAGED, seconds=2.0),
            Done(task, outcome(task), None),
        )
        assert (tracer.spans[0].started, tracer.spans[0].ended) == (NOW - 2.0, NOW)

    def test_no_span_ends_before_it_begins_whatever_the_clocks_say(self) -> None:
        tracer, task = KeptSpans(), marked()
        task.started = STEADY + 5.0
        tell(tracer, Result(task, Found.MISSING), Done(task, outcome(task), None))
        for span in tracer.spans:
            assert span.started is not None and span.ended is not None
            assert span.started <= span.ended


class TestFailures:
    def test_what_s3_refused_is_on_both_spans(self) -> None:
        tracer, task = KeptSpans(), marked()
        task.failures = 3
        result = Result(task, Found.FAILED, error=AccessDenied("no"))
        told = replace(outcome(task, OutcomeStatus.FAILED), error="AccessDenied")
        tell(tracer, result, Done(task, told, None))
        transfer, commit = tracer.spans
        assert (transfer.error, commit.error) == ("no", "so it went")
        assert transfer.attributes["datasync.attempts"] == 3
        assert commit.attributes["error.type"] == "AccessDenied"

    def test_what_could_not_be_recorded_is_the_commits_failure_alone(self) -> None:
        tracer, task = KeptSpans(), marked()
        done = Done(task, None, None, LedgerError("away"))
        tell(tracer, Result(task, Found.STAGED), done)
        transfer, commit = tracer.spans
        assert (transfer.error, commit.error) == (None, "away")
        assert commit.attributes["datasync.outcome"] == "not recorded"

    def test_a_look_that_begins_again_is_told_when_it_is_over(self) -> None:
        tracer, task = KeptSpans(), marked()
        tell(tracer, Result(task, Found.UNCHANGED), Done(task, None, None, again=True))
        assert tracer.spans == []

    def test_looks_that_begin_again_leave_a_run_its_spans(self) -> None:
        tracer, run = KeptSpans(), Run(7, RunKind.RECONCILE, "", RunStatus.RUNNING, requested=0.0)
        spans = EngineSpans(tracer, "bucket")

        def perform() -> Run:
            for again in [True] * MOST_OF_A_RUN + [False]:
                task = Task("a", run_id=7)
                result = Result(task, Found.FAILED, error=AccessDenied("no"))
                told = None if again else outcome(task, OutcomeStatus.FAILED)
                spans.committed([result], [Done(task, told, None, again=again)], GROUP)
            return run

        spans.run(run, perform)
        assert [span.name for span in tracer.spans] == ["run", "transfer", "commit"]

    def test_a_run_that_breaks_off_is_no_success(self) -> None:
        tracer, run = KeptSpans(), Run(7, RunKind.RECONCILE, "", RunStatus.RUNNING, requested=0.0)

        def perform() -> Run:
            raise LedgerError("away")

        with pytest.raises(LedgerError):
            EngineSpans(tracer, "bucket").run(run, perform)
        (span,) = tracer.spans
        assert span.over and span.error

    def test_a_mistake_costs_a_span_only(self, caplog: pytest.LogCaptureFixture) -> None:
        tracer, task = KeptSpans(), marked(traceparent="no such thing")
        tell(tracer, Result(task, Found.STAGED), Done(task, outcome(task), None))


class TestWhose:
    @pytest.mark.parametrize("task", [marked(traceparent=None), Task("a"), Task("a", run_id=7)])
    def test_what_is_not_traced_has_no_span(self, task: Task) -> None:
        tracer = KeptSpans()
        tell(tracer, Result(task, Found.STAGED), Done(task, outcome(task), None))
        assert tracer.spans == []

    def test_off_costs_no_look_at_anything(self) -> None:
        spans = EngineSpans(OFF)
        spans.committed(None, None, GROUP)  # type: ignore[arg-type]

    def test_a_trace_that_is_not_sampled_is_gathered_nothing_for(self) -> None:
        tracer, task = KeptSpans(sampled=False), marked()
        tell(tracer, Result(task, Found.STAGED), Done(task, outcome(task), None))
        assert [span.over for span in tracer.spans] == [False, False]


class TracedWorld(World):
    """A world whose engine tells of its work."""

    def open(self) -> None:
        super().open()
        self.tracer = KeptSpans()
        self.service = S3SyncService(
            self.port(), self.mirror, self.ledger, self.options, self.tracer
        )


@pytest.fixture
def traced(tmp_path: Path) -> Iterator[TracedWorld]:
    world = TracedWorld(tmp_path)
    yield world
    world.close()


def journal(world: World, *keys: str) -> None:
    notes = [EventNote(key, "put", 1.0, traceparent=TRACEPARENT) for key in keys]
    world.ledger.journal(notes, {})
    world.service.wake()


def test_a_mark_that_another_process_made_carries_its_trace_through_the_ledger(
    traced: TracedWorld,
) -> None:
    traced.bucket.put("a", b"hello")
    journal(traced, "a")
    traced.service.start()
    eventually(lambda: len(traced.tracer.named("commit")) == 1)
    (transfer,), (commit,) = traced.tracer.named("transfer"), traced.tracer.named("commit")
    assert transfer.parent == TRACEPARENT and TRACE in commit.traceparent
    assert transfer.attributes["datasync.verdict"] == "md5"


def test_each_try_has_its_spans_in_the_same_trace(traced: TracedWorld) -> None:
    traced.bucket.put("a", b"hello")
    traced.bucket.script("a", fail.status(403))
    journal(traced, "a")
    traced.service.start()
    eventually(lambda: len(traced.tracer.named("commit")) == 1)
    mark = traced.ledger.dirty(["a"])["a"]
    assert mark.traceparent == TRACEPARENT and mark.attempts == 1
    traced.ledger.hurry("AccessDenied", 2e9)
    traced.service.wake()
    eventually(lambda: len(traced.tracer.named("commit")) == 2)
    first, second = traced.tracer.named("transfer")
    assert (first.parent, second.parent) == (TRACEPARENT, TRACEPARENT)
    assert (first.error is None, second.error is None) == (False, True)


def test_a_run_that_looks_at_a_marked_key_does_it_in_the_events_trace(traced: TracedWorld) -> None:
    traced.bucket.put("a", b"hello")
    traced.bucket.put("b", b"nobody told of it")
    journal(traced, "a")
    traced.sync()
    (run,) = traced.tracer.named("run")
    assert run.over and run.attributes["datasync.run.downloaded"] == 2
    (transfer,) = traced.tracer.named("transfer")
    assert transfer.parent == TRACEPARENT
    assert transfer.attributes["datasync.run.id"] == run.attributes["datasync.run.id"]


def test_a_run_that_fails_says_why(traced: TracedWorld) -> None:
    for _ in range(30):
        traced.bucket.script_list(fail.at_page(1, AccessDenied("not yours")))
    traced.sync()
    (run,) = traced.tracer.named("run")
    assert run.attributes["datasync.run.status"] == "failed"
    assert run.error is not None and "not yours" in run.error
