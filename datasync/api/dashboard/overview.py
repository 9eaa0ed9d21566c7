"""What the first page shows, looked up once a second for all who look at it."""

import time
from functools import partial
from typing import Any

from datasync.api.dashboard.plots import plots
from datasync.api.dashboard.state import needs_of, state_of
from datasync.controllers.health import Probe
from datasync.controllers.sync_controller import SyncController
from datasync.errors import LedgerError
from datasync.models.s3_models import RunReport, Span

RUNS, OUTCOMES = 6, 10
FRESH_SECONDS = 1.0
ANSWER_SECONDS = 10.0


def overview(controller: SyncController, span: Span) -> dict[str, Any]:
    """All that the first page shows. Asks the ledger, and S3 as health does."""
    health, stats = controller.health(), controller.stats()
    recent = controller.runs(RUNS).runs
    running = [run for run in recent if run.status in ("queued", "running")]
    held = _held(controller, health.held_run)
    return {
        "health": health,
        "stats": stats,
        "state": state_of(health, stats, running, held),
        "needs": needs_of(health, stats, held),
        "running": running,
        "runs": [run for run in recent if run not in running],
        "transfers": controller.transfers().transfers,
        "outcomes": controller.outcomes(None, None, None, None, OUTCOMES).outcomes,
        "disk": controller.disk_usage(),
        "plots": plots(controller.activity(span)),
        "span": span,
    }


def _held(controller: SyncController, run_id: int | None) -> RunReport | None:
    return controller.report(run_id) if run_id is not None else None


class Overviews:
    """One look a second at each span, however many pages are open: all show the same."""

    def __init__(self, controller: SyncController) -> None:
        self._probes = {
            span: Probe(f"overview-{span}", partial(overview, controller, span), FRESH_SECONDS)
            for span in Span
        }

    def latest(self, span: Span) -> dict[str, Any]:
        """Raises: LedgerError."""
        finding = self._probes[span].begin().within(time.monotonic() + ANSWER_SECONDS)
        if finding.value is None:
            raise LedgerError(finding.problem or "there is no answer")
        return finding.value
