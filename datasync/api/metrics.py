"""The figures of the ledger in Prometheus' text format.

Read at the moment of the scrape, so that every worker process gives the same answer; there are
no counters of a single process here, because the next scrape may reach another one.
"""

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from datasync import __version__
from datasync.controllers.equality import MirrorFacts, in_sync
from datasync.models.figures import DiskUsage, EventTotals, Histogram
from datasync.models.sync_models import Run, State

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Snapshot(Collector):
    """One moment's facts as metrics."""

    def __init__(
        self, facts: MirrorFacts, events: EventTotals, disk: DiskUsage | None, now: float
    ) -> None:
        self._facts = facts
        self._totals = events
        self._disk = disk
        self._now = now

    def collect(self) -> Iterator[Metric]:
        yield from self._mirror()
        yield from self._events()
        yield from self._work()
        yield InfoMetricFamily("datasync_build", "Of the program", value={"version": __version__})
        if self._facts.last_run is not None:
            yield from _run(self._facts.last_run)

    def _mirror(self) -> Iterator[Metric]:
        totals = self._facts.totals
        oldest = totals.oldest_pending
        lag = 0.0 if oldest is None else max(0.0, self._now - oldest)
        yield _gauge(
            "in_sync", "1 when the mirror is proved equal to the bucket", in_sync(self._facts)
        )
        yield _gauge("bytes", "Bytes of the files on disk", totals.bytes)
        yield _gauge("pending", "Keys whose state must still be looked at", totals.pending)
        yield _gauge("failed", "Keys that failed", totals.failed)
        yield _gauge("pending_age_seconds", "Age of the oldest pending key", lag)
        yield _gauge("held_run", "1 when a run waits for approval", self._facts.held is not None)
        deletes = self._facts.deletes
        yield _gauge(
            "deleted_last_hour", "Files deleted within an hour without approval", deletes.files
        )
        yield _gauge("delete_flood", "1 when they are too many", deletes.flood)
        states = GaugeMetricFamily("datasync_objects", "Keys by state", labels=["state"])
        for state in State:
            states.add_metric([state.value], totals.by_state.get(state, 0))
        yield states

    def _events(self) -> Iterator[Metric]:
        totals = self._totals
        counts = {"queued": 0, "ignored": 0, "rejected": 0, **totals.by_status}
        yield _counter(
            "events",
            "Notification records by what became of them, and poison messages",
            "status",
            counts,
        )
        yield _counter("events_by_source", "The same by how they came", "source", totals.by_source)
        yield _counter("events_by_type", "The same by their names", "type", totals.by_type)
        yield CounterMetricFamily(
            "datasync_event_duplicates",
            "Events for keys that were pending already",
            value=totals.duplicates,
        )
        last = self._facts.totals.last_event
        if last is not None:
            yield _gauge("last_event_seconds", "When the latest event came, in Unix time", last)
        yield from self._delays()

    def _delays(self) -> Iterator[Metric]:
        lags = GaugeMetricFamily(
            "datasync_recent_lag_seconds",
            "From a recent event's arrival to its durable file",
            labels=["quantile"],
        )
        lag = self._totals.lag
        for quantile, value in (("0.5", lag.p50), ("0.9", lag.p90), ("0.99", lag.p99)):
            if value is not None:
                lags.add_metric([quantile], value)
        yield lags
        for name, text in _HISTOGRAMS.items():
            yield _histogram(f"{name}_seconds", text, self._totals.histograms[name])

    def _work(self) -> Iterator[Metric]:
        done = CounterMetricFamily(
            "datasync_outcomes",
            "What was done to keys, and how it ended",
            labels=["operation", "status"],
        )
        for name, count in sorted(self._totals.done.items()):
            done.add_metric(name.split("."), count)
        yield done
        yield _histogram("transfer_bytes", "Size of each download", self._totals.sizes)
        if self._disk is not None:
            yield _gauge("disk_free_bytes", "What this user may still use", self._disk.free_bytes)
            yield _gauge("disk_bytes", "Of the mirror's file system", self._disk.total_bytes)


def _run(run: Run) -> Iterator[Metric]:
    """The last finished run over everything."""
    counts = run.counts
    status = GaugeMetricFamily("datasync_last_run", "Its status, as a label", labels=["status"])
    status.add_metric([run.status.value], 1)
    yield status
    if run.finished is not None:
        yield _gauge("last_run_finished_seconds", "When it ended, in Unix time", run.finished)
        if run.started is not None:
            yield _gauge("last_run_seconds", "How long it took", run.finished - run.started)
    yield _gauge("last_run_listed", "Keys that it saw in the bucket", counts.listed)
    yield _gauge("last_run_downloaded", "Files that it downloaded", counts.downloaded)
    yield _gauge("last_run_deleted", "Files that it removed", counts.deleted)
    yield _gauge("last_run_failed", "Keys that failed in it", counts.failed)
    yield _gauge("last_run_drift", "Changes that no event had told of", counts.drift)


_HISTOGRAMS = {
    "journal": "From an event's arrival to stable storage",
    "lag": "From an event's arrival to its durable file",
    "event_lag": "From a change, by its sender's clock, to its durable file",
    "transfer": "Time of each download",
}


def _histogram(name: str, text: str, histogram: Histogram) -> HistogramMetricFamily:
    return HistogramMetricFamily(
        f"datasync_{name}",
        text,
        buckets=[(_bound(bound), count) for bound, count in histogram.buckets],
        sum_value=histogram.total,
    )


def _bound(value: float) -> str:
    return "+Inf" if value == float("inf") else str(value)


def _counter(name: str, text: str, label: str, counts: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(f"datasync_{name}", text, labels=[label])
    for value in sorted(counts):
        family.add_metric([value], counts[value])
    return family


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"datasync_{name}", text, value=float(value))


def render(facts: MirrorFacts, events: EventTotals, disk: DiskUsage | None, now: float) -> bytes:
    """The exposition of these facts and figures; `disk` is None when it did not answer."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(facts, events, disk, now))
    return generate_latest(registry)
