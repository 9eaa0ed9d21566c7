"""Answers commands from the parts of this machine: its ledger, its mirror, its engine."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from datasync.cli.asked import Ending, Planned
from datasync.cli.conductor import Conductor
from datasync.cli.display import Display
from datasync.cli.verdict import failing_keys, noted
from datasync.models.sync_models import Run, RunKind, RunStatus, State

if TYPE_CHECKING:
    from datasync.composition import Components
    from datasync.models.s3_models import (
        FailurePage,
        FilePage,
        RunDetail,
        RunPage,
        RunReport,
        StatsReport,
        StatusReport,
        SyncResponse,
    )


class Here:
    """The composed parts, as commands ask them."""

    def __init__(self, parts: "Components") -> None:
        self._parts = parts
        self._controller = parts.controller

    def status(self) -> "StatusReport":
        from datasync.controllers.equality import in_sync
        from datasync.controllers.views import run_report
        from datasync.doctor.ledger_checks import holder_of  # with SQL: not for every command
        from datasync.models.s3_models import StatusReport

        facts, now = self._controller.facts(), time.time()
        oldest = facts.totals.oldest_pending
        return StatusReport(
            in_sync=in_sync(facts),
            concerns=noted(facts),
            lag_seconds=0.0 if oldest is None else round(max(0.0, now - oldest), 3),
            held_run=facts.held.id if facts.held else None,
            engine=holder_of(self._parts.settings.root),
            unfinished_runs=[run_report(run, now) for run in facts.unfinished],
            stats=self._controller.stats(),
        )

    def stats(self) -> "StatsReport":
        return self._controller.stats()

    def failures(self, prefix: str, token: str | None, limit: int) -> "FailurePage":
        return self._controller.failures(prefix, token, limit)

    def files(
        self, prefix: str, token: str | None, limit: int, states: Sequence[State]
    ) -> "FilePage":
        return self._controller.held_files(prefix, token, limit, states)

    def listed(self, prefix: str, token: str | None, limit: int) -> "FilePage":
        return self._controller.listed_files(prefix, token, limit)

    def runs(self, limit: int) -> "RunPage":
        return self._controller.runs(limit, None)

    def run(self, run_id: int, deletes: int) -> "RunDetail":
        return self._controller.run(run_id, deletes)

    def cancel(self, run_id: int) -> "RunReport":
        return self._controller.cancel(run_id)

    def retry(self, keys: Sequence[str] | None) -> "SyncResponse":
        return self._controller.retry(keys)

    def plan(self, prefix: str, limit: int) -> Planned:
        below = self._controller.scope.within(prefix)
        report, held = self._controller.planned(below, limit)
        return Planned(report, held, failing_keys(self._parts, self._controller.facts(), below))

    def reconcile(self, prefix: str, display: Display) -> Run:
        return self._perform(RunKind.RECONCILE, prefix, display)

    def verify(self, prefix: str, display: Display) -> Run:
        """Prove every file again, to the end. Raises: as `reconcile`."""
        return self._perform(RunKind.VERIFY, prefix, display)

    def _perform(self, kind: RunKind, prefix: str, display: Display) -> Run:
        return self._conductor(display).perform(kind, self._controller.scope.of_run(prefix))

    def apply(self, run_id: int, display: Display) -> Run:
        return self._conductor(display).apply(run_id)

    def _conductor(self, display: Display) -> Conductor:
        return Conductor(self._parts.service, self._parts.ledger, display)

    def ending(self, run: Run) -> Ending:
        answer, facts = self._controller.response(run.id), self._controller.facts()
        scope = run.prefix or self._parts.settings.s3_prefix
        told = noted(facts) if run.status is RunStatus.SUCCESS and not answer.in_sync else []
        return Ending(answer, failing_keys(self._parts, facts, scope), told)
