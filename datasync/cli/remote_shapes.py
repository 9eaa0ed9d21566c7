"""Turns what a service answers back into the engine's values that commands show. Pure."""

import re
from collections import Counter
from datetime import datetime

from datasync.cli.asked import Planned
from datasync.controllers.plan import PlanReport
from datasync.controllers.views import WOULD_BE_HELD, run_response
from datasync.models.s3_models import DETAILS_LIMIT, RunDetail, RunReport, SyncResponse, SyncStatus
from datasync.models.sync_models import Action, Operation, Run, RunCounts, RunKind, RunStatus

_COUNT = re.compile(r"(\d+) to (\w+)")


def run_from(report: RunReport) -> Run:
    """The run of a report."""
    return Run(
        id=report.id,
        kind=RunKind(report.kind),
        prefix=report.prefix,
        status=RunStatus(report.status),
        requested=report.requested.timestamp(),
        counts=RunCounts(
            listed=report.listed,
            planned=report.progress.files_planned,
            downloaded=report.downloaded,
            deleted=report.deleted,
            adopted=report.adopted,
            unchanged=report.unchanged,
            skipped=report.skipped,
            failed=report.failed,
            bytes=report.progress.bytes_done,
            bytes_planned=report.progress.bytes_planned,
            drift=report.drift,
        ),
        started=_seconds(report.started),
        finished=_seconds(report.finished),
        error=report.error,
        hint=report.hint,
        deletes_planned=report.deletes_planned,
        cancel_requested=report.cancel_requested,
        approved=report.approved,
    )


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def response_from(run: RunDetail, in_sync: bool) -> SyncResponse:
    """The sync response of a run that is over."""
    answer = run_response(run_from(run), (), in_sync)
    return answer.model_copy(update={"sync_details": run.sync_details})


def planned_from(answer: SyncResponse, limit: int, failing: int) -> Planned:
    """The plan in the answer to a dry run, which tells of no sizes."""
    details = answer.sync_details
    actions = [Action(Operation(d.operation), d.file_key, d.message) for d in details]
    counts = Counter(action.operation for action in actions)
    said, _, held = answer.message.partition(WOULD_BE_HELD)
    if len(details) == DETAILS_LIMIT:  # there may be more than are shown
        counts |= Counter({Operation(name): int(count) for count, name in _COUNT.findall(said)})
    report = PlanReport(actions[:limit], counts, sized=False, unchanged=answer.skipped_files)
    why = (held or answer.message) if answer.status == SyncStatus.HELD else None
    return Planned(report, why, failing)
