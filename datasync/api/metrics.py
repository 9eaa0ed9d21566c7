"""The figures of the ledger in Prometheus' text format.

Read at the moment of the scrape, so that every worker process gives the same answer; there are
no counters of a single process here, because the next scrape may reach another one.
"""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from datasync.controllers.equality import MirrorFacts, in_sync
from datasync.models.sync_models import Run, State

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Snapshot(Collector):
    """One moment's facts as metrics."""

    def __init__(self, facts: MirrorFacts, now: float) -> None:
        self._facts = facts
        self._now = now

    def collect(self) -> Iterator[Metric]:
        yield from self._mirror()
        yield from self._events()
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
        states = GaugeMetricFamily("datasync_objects", "Keys by state", labels=["state"])
        for state in State:
            states.add_metric([state.value], totals.by_state.get(state, 0))
        yield states

    def _events(self) -> Iterator[Metric]:
        totals = self._facts.totals
        events = CounterMetricFamily(
            "datasync_events", "Notification records by what became of them", labels=["status"]
        )
        for status in sorted({"queued", "ignored", "rejected", *totals.events}):
            events.add_metric([status], totals.events.get(status, 0))
        yield events
        lags = GaugeMetricFamily(
            "datasync_event_lag_seconds", "From a recent event to its file", labels=["quantile"]
        )
        for quantile, value in (("0.5", totals.lag_p50), ("0.99", totals.lag_p99)):
            if value is not None:
                lags.add_metric([quantile], value)
        yield lags


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


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"datasync_{name}", text, value=float(value))


def render(facts: MirrorFacts, now: float) -> bytes:
    """The exposition of these facts."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(facts, now))
    return generate_latest(registry)
