"""The figures of the ledger in Prometheus' text format; docs/METRICS.md says what each is for.

Read at the moment of the scrape, so that every worker process gives the same answer; there are
no counters of a single process here, because the next scrape may reach another one.
"""

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from datasync import __version__
from datasync.controllers.equality import (
    Doubt,
    MirrorFacts,
    doubts,
    nobody_leads,
    notifications_look_broken,
)
from datasync.controllers.tallies import work_done
from datasync.models.figures import DiskUsage, EventTotals, Histogram
from datasync.models.sync_models import Operation, OutcomeStatus, Run, RunStatus, State

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# What is shown as 0 before it happened: who asks how much it grew would miss the first time.
STATUSES = ("queued", "ignored", "rejected", "poison")
DONE = tuple(
    f"{operation.value}.{status.value}"
    for operation in (Operation.DOWNLOAD, Operation.DELETE, Operation.ADOPT)
    for status in (OutcomeStatus.SUCCESS, OutcomeStatus.FAILED)
)


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
        yield from self._equality()
        yield from self._mirror()
        yield from self._deletes()
        yield from self._events()
        yield from self._delays()
        yield from self._work()
        yield from self._runs()
        if self._disk is not None:
            yield from _disk(self._disk)
        yield InfoMetricFamily("datasync_build", "The program", value={"version": __version__})

    def _equality(self) -> Iterator[Metric]:
        against = doubts(self._facts)
        yield _gauge("in_sync", "1 when the mirror is proved equal to the bucket", not against)
        reasons = GaugeMetricFamily(
            "datasync_doubt", "1 for each reason why it is not proved", labels=["reason"]
        )
        for doubt in Doubt:
            reasons.add_metric([doubt.value], float(doubt in against))
        yield reasons

    def _mirror(self) -> Iterator[Metric]:
        totals = self._facts.totals
        oldest = totals.oldest_pending
        lag = 0.0 if oldest is None else max(0.0, self._now - oldest)
        yield _gauge("files", "Files on disk", totals.files)
        yield _gauge("files_bytes", "Bytes of the files on disk", totals.bytes)
        states = GaugeMetricFamily("datasync_objects", "Keys by state", labels=["state"])
        for state in State:
            states.add_metric([state.value], totals.by_state.get(state, 0))
        yield states
        yield _gauge("pending", "Keys whose state must still be looked at", totals.pending)
        yield _gauge("pending_age_seconds", "Age of the oldest pending key, 0 with none", lag)
        yield _gauge(
            "lag_limit_seconds", "LAG_LIMIT_SECONDS: older is late", self._facts.lag_limit_seconds
        )
        yield _gauge("failed", "Keys that failed", totals.failed)

    def _deletes(self) -> Iterator[Metric]:
        held, deletes = self._facts.held, self._facts.deletes
        yield _gauge("held_run", "1 when a run waits for approval", held is not None)
        yield _gauge(
            "held_run_deletes", "Deletes that it would do", held.deletes_planned if held else 0
        )
        yield _gauge(
            "deleted_last_hour", "Files deleted within an hour without approval", deletes.files
        )
        yield _gauge(
            "delete_flood", "1 when these are more than a run may delete unheld", deletes.flood
        )

    def _events(self) -> Iterator[Metric]:
        totals = self._totals
        yield _counter(
            "events",
            "Notification records by what became of them, and poison messages each time they come",
            "status",
            {**dict.fromkeys(STATUSES, 0), **totals.by_status},
        )
        yield _counter(
            "events_by_source",
            "Notification records by how they came and their format",
            "source",
            totals.by_source,
        )
        yield _counter(
            "events_by_type", "Notification records by their names", "type", totals.by_type
        )
        yield CounterMetricFamily(
            "datasync_event_duplicates",
            "Events for keys that were pending already",
            value=totals.duplicates,
        )
        last = self._facts.totals.last_event
        if last is not None:
            yield _gauge(
                "last_event_timestamp_seconds", "When the latest event for a key came", last
            )
        yield _gauge(
            "notifications_broken",
            "1 when runs keep finding changes that no event told of, and none comes",
            notifications_look_broken(self._facts, self._now),
        )

    def _delays(self) -> Iterator[Metric]:
        whole, lag = self._totals.histograms["lag"], self._totals.lag
        recent = SummaryMetricFamily(
            "datasync_recent_lag_seconds",
            "From an event's arrival to its durable file; quantiles are of the last 1,000",
            count_value=whole.count,
            sum_value=whole.total,
        )
        for quantile, value in (("0.5", lag.p50), ("0.9", lag.p90), ("0.99", lag.p99)):
            if value is not None:
                recent.add_sample(recent.name, {"quantile": quantile}, value)
        yield recent
        for name, text in _HISTOGRAMS.items():
            yield _histogram(f"{name}_seconds", text, self._totals.histograms[name])

    def _work(self) -> Iterator[Metric]:
        done = CounterMetricFamily(
            "datasync_outcomes",
            "What was done to keys, and how it ended",
            labels=["operation", "status"],
        )
        for name, count in sorted({**dict.fromkeys(DONE, 0), **self._totals.done}.items()):
            done.add_metric(name.split("."), count)
        yield done
        yield _histogram("transfer_bytes", "Size of each download", self._totals.sizes)

    def _runs(self) -> Iterator[Metric]:
        facts = self._facts
        running = _with_status(facts.unfinished, RunStatus.RUNNING)
        yield _gauge("running_run", "1 while a run is under way", len(running) > 0)
        yield _gauge(
            "queued_runs",
            "Runs that wait for their turn",
            len(_with_status(facts.unfinished, RunStatus.QUEUED)),
        )
        yield _gauge(
            "untaken_run",
            "1 when a run is queued that no process takes",
            nobody_leads(facts, self._now),
        )
        yield _gauge(
            "overdue_run", "1 when the next scheduled run should have ended by now", facts.overdue
        )
        for run in running[:1]:
            yield from _progress(run, self._now)
        if facts.last_run is not None:
            yield from _last_run(facts.last_run)


def _with_status(runs: Iterable[Run], status: RunStatus) -> list[Run]:
    return [run for run in runs if run.status is status]


def _progress(run: Run, now: float) -> Iterator[Metric]:
    """How far the run under way has come."""
    counts = run.counts
    if run.started is not None:
        elapsed = max(0.0, now - run.started)
        yield _gauge("running_run_seconds", "Since when the run is under way", elapsed)
    yield _gauge("running_run_listed", "Keys that it saw in the bucket so far", counts.listed)
    yield _gauge("running_run_planned", "Keys that it found to need work so far", counts.planned)
    yield _gauge("running_run_done", "How many of these are settled", work_done(counts))
    yield _gauge("running_run_planned_bytes", "Bytes to download so far", counts.bytes_planned)
    yield _gauge("running_run_bytes", "Bytes that came", counts.bytes)


def _last_run(run: Run) -> Iterator[Metric]:
    """The last finished run over everything."""
    counts = run.counts
    status = GaugeMetricFamily(
        "datasync_last_run", "1, with the status of the last run over everything", labels=["status"]
    )
    status.add_metric([run.status.value], 1)
    yield status
    if run.finished is not None:
        yield _gauge("last_run_timestamp_seconds", "When it ended", run.finished)
        if run.started is not None:
            took = max(0.0, run.finished - run.started)
            yield _gauge("last_run_duration_seconds", "How long it took", took)
    yield _gauge("last_run_listed", "Keys that it saw in the bucket", counts.listed)
    yield _gauge("last_run_downloaded", "Files that it downloaded", counts.downloaded)
    yield _gauge("last_run_deleted", "Files that it removed", counts.deleted)
    yield _gauge("last_run_failed", "Keys that failed in it", counts.failed)
    yield _gauge("last_run_drift", "Changes that no event had told of", counts.drift)


def _disk(disk: DiskUsage) -> Iterator[Metric]:
    yield _gauge("disk_size_bytes", "Size of the mirror's file system", disk.total_bytes)
    yield _gauge("disk_free_bytes", "What this user may still use of it", disk.free_bytes)
    yield _gauge(
        "disk_min_free_bytes",
        "MIN_FREE_DISK_PERCENT of it: downloads pause when less would be free",
        disk.min_free_bytes,
    )


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
