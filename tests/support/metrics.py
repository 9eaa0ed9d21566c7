"""What the service exposes to Prometheus: facts with which every metric shows, and their text."""

from dataclasses import replace

from datasync.api.metrics import render
from datasync.controllers.equality import MirrorFacts
from datasync.controllers.flood import Deletes
from datasync.models.figures import DiskUsage, EventTotals, Histogram, LedgerTotals, Percentiles
from datasync.models.sync_models import Run, RunCounts, RunKind, RunStatus, State

NOW = 10_000.0
DISK = DiskUsage(total_bytes=1000, free_bytes=400, min_free_bytes=10)
TIMES = Histogram(((0.5, 1), (1.0, 3), (float("inf"), 4)), 5.5)
EVENTS = EventTotals(
    by_status={"queued": 4},
    by_source={"http.s3": 4},
    by_type={"ObjectCreated:Put": 4},
    duplicates=1,
    transit=Percentiles(),
    lag=Percentiles(0.5, 1.0, 2.5),
    event_lag=Percentiles(),
    histograms={name: TIMES for name in ("journal", "lag", "event_lag", "transfer")},
    sizes=Histogram(((1024.0, 1), (float("inf"), 4)), 9000.0),
    done={"download.success": 4, "skip.skipped": 2},
)
LAST = Run(
    1,
    RunKind.RECONCILE,
    "",
    RunStatus.SUCCESS,
    requested=8_990.0,
    started=9_000.0,
    finished=9_030.0,
    counts=RunCounts(listed=7, downloaded=4, deleted=1, drift=2),
)
RUNNING = replace(
    LAST,
    id=2,
    status=RunStatus.RUNNING,
    started=9_940.0,
    finished=None,
    counts=RunCounts(listed=5, planned=4, downloaded=2, skipped=1, bytes=30, bytes_planned=90),
)
QUEUED = replace(RUNNING, id=3, status=RunStatus.QUEUED, requested=9_990.0, started=None)
CALM = MirrorFacts(
    LedgerTotals(
        objects=7,
        bytes=70,
        by_state={State.SYNCED: 6, State.ARCHIVED: 1},
        pending=0,
        oldest_pending=None,
        failed=0,
        files=6,
        last_event=9_900.0,
    ),
    LAST,
    lag_limit_seconds=300.0,
)
BUSY = replace(
    CALM,
    totals=replace(CALM.totals, pending=3, oldest_pending=9_999.0, failed=1),
    since=(QUEUED, RUNNING),
    held=replace(LAST, id=4, status=RunStatus.HELD, deletes_planned=40),
    deletes=Deletes(files=12, of=20, flood=True),
)


def exposition(
    facts: MirrorFacts = BUSY, events: EventTotals = EVENTS, disk: DiskUsage | None = DISK
) -> str:
    """The text of a scrape at NOW; with nothing given one in which every metric shows."""
    return render(facts, events, disk, NOW).decode()
