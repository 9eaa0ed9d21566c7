"""What the ledger says in figures: of the mirror, of events, of the last minutes. Pure values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from datasync.models.sync_models import State


@dataclass(frozen=True, slots=True)
class LedgerTotals:
    """What the ledger says of the whole mirror, in one consistent read."""

    objects: int  # rows of every state
    bytes: int  # of files on disk
    by_state: Mapping[State, int]
    pending: int  # dirty keys
    oldest_pending: float | None  # first_seen of the oldest dirty key
    failed: int  # rows in state failed or stale, and dirty keys whose last attempt failed
    last_event: float | None = None  # when the latest event that marked a key arrived
    files: int = 0
    # How many files went to the trash without approval, by the time from which they are counted.
    deletes: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """The file system of the mirror, in bytes; free is what this user may use.

    Downloads pause when less than `min_free_bytes` would be free.
    """

    total_bytes: int
    free_bytes: int
    min_free_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Moving:
    """A download on its way. `size` is None until S3 has answered; times in seconds."""

    key: str
    size: int | None
    received: int
    started: float  # since the epoch
    run_id: int | None


@dataclass(frozen=True, slots=True)
class Spell:
    """What was done in a while that began `at` a time (seconds since the epoch).

    `events` are those whose files were made right; lags are theirs, from arrival to file, None
    where there were none.
    """

    at: float
    downloaded: int
    bytes: int
    deleted: int
    failed: int
    events: int
    lag_seconds: float | None
    most_lag_seconds: float | None


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Nearest-rank percentiles of seconds; None where nothing was measured."""

    p50: float | None = None
    p90: float | None = None
    p99: float | None = None


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many measured values were at most each bound; the last bound is infinite."""

    buckets: tuple[tuple[float, int], ...]  # (bound, count up to it), ascending
    total: float  # in the unit of the bounds

    @property
    def count(self) -> int:
        return self.buckets[-1][1]


@dataclass(frozen=True, slots=True)
class EventTotals:
    """What the ledger says of events: how many came, from where, and how long they took.

    Percentiles are over the recent event outcomes, histograms over all time. `transit` runs from
    the change to its event's arrival, `journal` from there to stable storage, `lag` from the
    arrival to the durable file, `event_lag` from the change to the durable file. `transfer` is the
    time of a download, `sizes` are the bytes of each.
    """

    by_status: Mapping[str, int]  # queued, ignored, rejected
    by_source: Mapping[str, int]  # how it came and its format: http.s3, sqs.eventbridge...
    by_type: Mapping[str, int]  # ObjectCreated:Put...; unknown ones together
    duplicates: int  # events for keys that were dirty already
    transit: Percentiles
    lag: Percentiles
    event_lag: Percentiles
    histograms: Mapping[str, Histogram]  # of seconds, by name: journal, lag, event_lag, transfer
    sizes: Histogram
    done: Mapping[str, int]  # outcomes by operation and status: download.success...
