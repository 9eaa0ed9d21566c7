"""Figures of events: how many came, of what kind, from where, and how long they took.

Kept as running totals, so that every process gives the same answer and a scrape never scans.
"""

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import literal_column, select

from datasync.models.figures import EventTotals, Histogram, Percentiles
from datasync.models.sync_models import Operation, Outcome, OutcomeStatus
from datasync.services.storage.ledger.database import Database, fetch
from datasync.services.storage.ledger.tables import figures, outcomes

LAG_SAMPLES = 1000
LONGEST_SECONDS = 30 * 86_400.0  # what is measured as longer is a clock's mistake
# Upper bounds in seconds; beyond the last one everything is counted together.
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
HISTOGRAMS = ("journal", "lag", "event_lag", "transfer")
# Upper bounds in bytes: 1 KiB, and four times as much each time, up to 64 GiB.
SIZES = tuple(1024 * 4**step for step in range(14))
DONE = "done."  # and an operation and a status
# Names of figures; what follows the first three is the sender's doing, and bounded by the intake.
STATUS, SOURCE, TYPE, DUPLICATES = "event.", "source.", "type.", "duplicates"

_LAGS = (
    select(outcomes.c.lag_seconds, outcomes.c.event_lag_seconds)
    .where(literal_column("lag_seconds IS NOT NULL"))
    .order_by(outcomes.c.id.desc())
    .limit(LAG_SAMPLES)
)


def measured(name: str, seconds: Iterable[float]) -> Counter[str]:
    """What these measurements add to the figures of a histogram; sums are in microseconds.

    One over LONGEST_SECONDS counts as one of LONGEST_SECONDS.
    """
    values = [min(value, LONGEST_SECONDS) for value in seconds]
    changes = _buckets(name, values, BOUNDS)
    changes[f"{name}.sum"] = round(sum(values) * 1_000_000)
    return changes


def _buckets(name: str, values: Iterable[float], bounds: Sequence[float]) -> Counter[str]:
    places = Counter(bisect_left(bounds, value) for value in values)
    names = (*bounds, "inf")
    return Counter({f"{name}.le.{names[place]}": count for place, count in places.items()})


def outcome_figures(told: Sequence[Outcome]) -> Counter[str]:
    """What these outcomes add to the figures: how many, their delays, what was downloaded."""
    pairs = [(each.lag_seconds, each.event_lag_seconds) for each in told]
    changes = measured("lag", [lag for lag, _ in pairs if lag is not None])
    changes.update(measured("event_lag", [lag for _, lag in pairs if lag is not None]))
    moved = [(each.seconds, each.bytes) for each in told if _is_download(each)]
    changes.update(measured("transfer", [seconds for seconds, _ in moved]))
    changes.update(_buckets("size", [size for _, size in moved], SIZES))
    changes["size.sum"] = sum(size for _, size in moved)
    kinds = Counter((each.operation, each.status) for each in told)
    changes.update({f"{DONE}{op.value}.{how.value}": count for (op, how), count in kinds.items()})
    return changes


def _is_download(outcome: Outcome) -> bool:
    done = outcome.status is OutcomeStatus.SUCCESS
    return done and outcome.operation is Operation.DOWNLOAD


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The nearest-rank percentile of ascending values; None for none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def percentiles(values: Iterable[float]) -> Percentiles:
    ordered = sorted(values)
    return Percentiles(*(percentile(ordered, share) for share in (0.5, 0.9, 0.99)))


class EventFigures:
    """What statistics and metrics show of events."""

    _database: Database

    def event_totals(self) -> EventTotals:
        """All figures of events, of one moment.

        Raises: LedgerError, LedgerBusy.
        """
        with self._database.read(snapshot=True) as connection:
            values: dict[str, int] = dict(
                fetch(connection, select(figures.c.name, figures.c.value))
            )
            lags = fetch(connection, _LAGS)
        timed = [(lag, whole) for lag, whole in lags if whole is not None]
        return EventTotals(
            by_status=_below(values, STATUS),
            by_source=_below(values, SOURCE),
            by_type=_below(values, TYPE),
            duplicates=values.get(DUPLICATES, 0),
            transit=percentiles(max(0.0, whole - lag) for lag, whole in timed),
            lag=percentiles(lag for lag, _ in lags),
            event_lag=percentiles(whole for _, whole in timed),
            histograms={name: _histogram(values, name, BOUNDS, 1e-6) for name in HISTOGRAMS},
            sizes=_histogram(values, "size", SIZES, 1.0),
            done=_below(values, DONE),
        )


def _below(values: Mapping[str, int], prefix: str) -> dict[str, int]:
    return {
        name.removeprefix(prefix): value
        for name, value in values.items()
        if name.startswith(prefix)
    }


def _histogram(
    values: Mapping[str, int], name: str, bounds: Sequence[float], unit: float
) -> Histogram:
    counts = [values.get(f"{name}.le.{bound}", 0) for bound in (*bounds, "inf")]
    upto = [sum(counts[: place + 1]) for place in range(len(counts))]
    buckets = tuple(zip((*bounds, math.inf), upto, strict=True))
    return Histogram(buckets, values.get(f"{name}.sum", 0) * unit)
