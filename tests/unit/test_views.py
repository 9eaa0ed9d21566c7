"""The engine's values as the wire shows them: messages, progress, bounds."""

from dataclasses import replace

import pytest

from datasync.controllers import tallies, views
from datasync.models.s3_models import DETAILS_LIMIT, DetailStatus, SyncDetail, SyncStatus
from datasync.models.sync_models import (
    Action,
    Operation,
    Outcome,
    OutcomeStatus,
    Run,
    RunCounts,
    RunKind,
    RunStatus,
)

RUN = Run(
    id=7,
    kind=RunKind.RECONCILE,
    prefix="",
    status=RunStatus.SUCCESS,
    requested=10.0,
    started=11.0,
    finished=14.45,
    counts=RunCounts(
        listed=20, planned=15, downloaded=12, deleted=2, adopted=1, unchanged=4, skipped=1
    ),
)


def test_the_message_of_a_run_is_the_one_that_was_promised() -> None:
    answer = views.run_response(RUN, (), True)
    assert answer.message == "Synced 15 of 15 files in 3.45 seconds"
    assert (answer.processed_files, answer.skipped_files) == (15, 5)
    failed = replace(RUN, status=RunStatus.PARTIAL, counts=replace(RUN.counts, failed=2))
    assert views.run_response(failed, (), False).message == (
        "Synced 15 of 17 files in 3.45 seconds"
    )


@pytest.mark.parametrize(
    "status, shown, text",
    [
        (RunStatus.QUEUED, SyncStatus.ACCEPTED, "Run 7 is queued"),
        (RunStatus.RUNNING, SyncStatus.ACCEPTED, "Run 7 is running"),
        (RunStatus.FAILED, SyncStatus.FAILED, "Run 7 failed: no listing"),
        (RunStatus.CANCELLED, SyncStatus.FAILED, "Run 7 was cancelled: no listing"),
        (RunStatus.INTERRUPTED, SyncStatus.FAILED, "Run 7 was interrupted: no listing"),
        (RunStatus.HELD, SyncStatus.HELD, "30 deletes wait for approval of run 7"),
    ],
)
def test_every_end_of_a_run_has_its_word(status: RunStatus, shown: SyncStatus, text: str) -> None:
    run = replace(RUN, status=status, error="no listing", deletes_planned=30)
    answer = views.run_response(run, (), False)
    assert answer.status is shown
    assert text in answer.message


def test_a_verification_says_that_it_verified() -> None:
    counts = RunCounts(listed=31, planned=31, downloaded=1, adopted=28, failed=1, deleted=1)
    run = replace(RUN, kind=RunKind.VERIFY, status=RunStatus.PARTIAL, counts=counts)
    assert views.run_response(run, (), False).message == (
        "Verified 31 files: 28 as they should be, 1 repaired, 1 removed, 1 failed"
    )
    lost = replace(run, status=RunStatus.FAILED, error="no listing")
    assert views.run_response(lost, (), False).message == "Run 7 failed: no listing"


@pytest.mark.parametrize("count, text", [(0, "0 keys"), (1, "1 key"), (2000, "2,000 keys")])
def test_a_number_has_its_noun(count: int, text: str) -> None:
    assert tallies.counted(count, "key") == text


def test_progress_of_a_running_run() -> None:
    counts = RunCounts(planned=10, downloaded=4, failed=1, bytes=500, bytes_planned=2000)
    running = replace(RUN, status=RunStatus.RUNNING, finished=None, counts=counts)
    progress = views.run_progress(running, now=16.0)
    assert (progress.percent, progress.files_done, progress.files_planned) == (50.0, 5, 10)
    assert (progress.bytes_per_second, progress.eta_seconds) == (100.0, 15.0)


def test_progress_claims_nothing_that_is_not_known() -> None:
    fresh = Run(1, RunKind.RECONCILE, "", RunStatus.QUEUED, requested=1.0)
    progress = views.run_progress(fresh, now=5.0)
    assert (progress.percent, progress.bytes_per_second, progress.eta_seconds) == (None,) * 3


def test_details_are_bounded_with_failures_first() -> None:
    def detail(status: DetailStatus) -> SyncDetail:
        return SyncDetail(operation="download", file_key="k", status=status, message="")

    made = [detail(DetailStatus.SUCCESS)] * 1500 + [detail(DetailStatus.FAILED)] * 3
    shown = views.bounded(made)
    assert len(shown) == DETAILS_LIMIT
    assert [entry.status for entry in shown[:4]] == [DetailStatus.FAILED] * 3 + [
        DetailStatus.SUCCESS
    ]


def test_an_outcome_and_an_action_become_details() -> None:
    outcome = Outcome("k", Operation.ADOPT, OutcomeStatus.SUCCESS, "Adopted", at=1.0)
    assert views.outcome_detail(outcome).model_dump() == {
        "operation": "adopt",
        "file_key": "k",
        "status": DetailStatus.SUCCESS,
        "message": "Adopted",
    }
    statuses = {
        operation: views.action_detail(Action(operation, "k", "why")).status
        for operation in Operation
    }
    assert statuses[Operation.SKIP] is DetailStatus.SKIPPED
    assert statuses[Operation.REJECT] is DetailStatus.REJECTED
    assert statuses[Operation.DOWNLOAD] is DetailStatus.QUEUED
