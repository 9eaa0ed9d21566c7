"""The figures that statistics show, in the wire's shape. Pure: no ledger, no clock, no HTTP."""

import math

from datasync.controllers.flood import Deletes
from datasync.controllers.views import moment_or_none, run_report
from datasync.models.figures import EventTotals, Histogram, LedgerTotals, Percentiles
from datasync.models.s3_models import Delay, Delays, StatsReport
from datasync.models.sync_models import Run, State


def stats_report(
    totals: LedgerTotals,
    events: EventTotals,
    last: Run | None,
    scan: Run | None,
    deletes: Deletes,
    now: float,
) -> StatsReport:
    """`last` is the latest run of any kind, `scan` the latest reconciliation of everything."""
    return StatsReport(
        objects=totals.objects,
        bytes=totals.bytes,
        pending=totals.pending,
        failed=totals.failed,
        archived=totals.by_state.get(State.ARCHIVED, 0),
        oversize=totals.by_state.get(State.OVERSIZE, 0),
        rejected=totals.by_state.get(State.REJECTED, 0),
        last_run=run_report(last, now) if last else None,
        events=dict(events.by_status),
        events_by_source=dict(events.by_source),
        events_by_type=dict(events.by_type),
        duplicates=events.duplicates,
        last_event=moment_or_none(totals.last_event),
        oldest_pending_seconds=age(totals.oldest_pending, now),
        lag_p50=events.lag.p50,
        lag_p90=events.lag.p90,
        lag_p99=events.lag.p99,
        delays=_delays(events),
        drift=scan.counts.drift if scan else 0,
        deleted_last_hour=deletes.files,
        delete_flood=deletes.flood,
    )


def age(since: float | None, now: float) -> float:
    """Seconds since then; 0 without a then."""
    return 0.0 if since is None else round(max(0.0, now - since), 3)


def _delays(events: EventTotals) -> Delays:
    return Delays(
        change_to_arrival=_delay(events.transit),
        arrival_to_journal=_delay(upper_bounds(events.histograms["journal"])),
        arrival_to_file=_delay(events.lag),
        change_to_file=_delay(events.event_lag),
    )


def _delay(of: Percentiles) -> Delay:
    return Delay(p50=_rounded(of.p50), p90=_rounded(of.p90), p99=_rounded(of.p99))


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)


def upper_bounds(histogram: Histogram) -> Percentiles:
    """The bounds that these shares of all measurements do not exceed; None beyond the last."""
    if not histogram.count:
        return Percentiles()
    return Percentiles(*(_reached(histogram, share) for share in (0.5, 0.9, 0.99)))


def _reached(histogram: Histogram, share: float) -> float | None:
    wanted = math.ceil(share * histogram.count)
    bound = next(bound for bound, count in histogram.buckets if count >= wanted)
    return bound if bound < math.inf else None
