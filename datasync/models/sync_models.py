"""The values the engine passes from step to step: frozen, plain, without behaviour that does I/O.

Keys are `str` (strict UTF-8), ETags are without quotes, sizes are bytes, times are seconds
since the epoch (UTC). Knows no disk, network, clock or settings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from datasync.models.values import value


class Operation(StrEnum):
    """What is, or was, done to a key."""

    DOWNLOAD = "download"
    DELETE = "delete"
    ADOPT = "adopt"
    SKIP = "skip"
    REJECT = "reject"


class State(StrEnum):
    """What the ledger says of a key."""

    SYNCED = "synced"
    ARCHIVED = "archived"
    OVERSIZE = "oversize"
    REJECTED = "rejected"
    FAILED = "failed"
    STALE = "stale"


class Verdict(StrEnum):
    """How a file was verified. `SIZE`: nothing stronger exists; it is never called verified."""

    MD5 = "md5"
    MULTIPART_MD5 = "multipart-md5"
    CRC64NVME = "crc64nvme"
    CRC32 = "crc32"
    CRC32C = "crc32c"
    SHA1 = "sha1"
    SHA256 = "sha256"
    SIZE = "size"


class RunKind(StrEnum):
    RECONCILE = "reconcile"
    VERIFY = "verify"


class RunStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCESS = "success"
    PARTIAL = "partial"
    FAILED = "failed"
    HELD = "held"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


class EnginePlace(StrEnum):
    """Where the engine of a directory runs, seen from one process."""

    HERE = "here"
    ELSEWHERE = "elsewhere"
    NOWHERE = "nowhere"


class OutcomeStatus(StrEnum):
    SUCCESS = "success"
    FAILED = "failed"
    SKIPPED = "skipped"


@value(frozen=True, slots=True)
class ListedObject:
    """One entry of a listing, as S3 said it.

    `problem` is set when the entry cannot be mirrored (key not UTF-8, too long): it is then
    reported under `key`, an escaped form, and never fetched.
    """

    key: str
    size: int
    etag: str
    last_modified: int
    storage_class: str = "STANDARD"
    restored: bool = False  # a cold object with a readable, restored copy
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class ListingPage:
    """One page of a listing. `last` is true on the final page only."""

    objects: Sequence[ListedObject]
    last: bool


@value(frozen=True, slots=True)
class ObjectRequest:
    """One GET or HEAD of an object.

    `first`/`last` are the inclusive byte range, `max_bytes` caps the body that is accepted
    (`ObjectTooLarge` beyond it), `part_number` asks for one part of a multipart object. `fresh`
    asks over a new connection: one that was kept may be dead, and so may be the next.
    """

    key: str
    method: str = "GET"
    first: int | None = None
    last: int | None = None
    part_number: int | None = None
    if_match: str | None = None
    if_none_match: str | None = None
    max_bytes: int | None = None
    fresh: bool = False


@value(frozen=True, slots=True)
class ObjectHead:
    """What the head of an S3 answer says of an object.

    `status` is 200, 206 or 304. `size` is the whole object's size (from Content-Range on a 206),
    `length` the body's, `first` the offset of its first byte. `checksums` maps algorithm names
    ("crc64nvme", "sha256", ...) to S3's base64 text; `checksum_type` is "FULL_OBJECT" or
    "COMPOSITE" as S3 names it, "" when it says nothing.
    """

    status: int
    etag: str
    size: int
    length: int
    first: int = 0
    last_modified: int = 0
    version_id: str | None = None
    storage_class: str = "STANDARD"
    restored: bool = False
    encryption: str = ""  # x-amz-server-side-encryption, "SSE-C" for customer keys
    checksums: Mapping[str, str] = field(default_factory=dict)
    checksum_type: str = ""
    parts_count: int | None = None


@value(frozen=True, slots=True)
class ObjectRow:
    """A row of the ledger: what we hold, or know, of a key.

    `path` is relative to the root, `None` when nothing is stored (folder markers, archived...).
    `etag`, `size`, `last_modified` and `version_id` describe the version on disk; when there is
    none, the version that S3 listed. `local_size` and `mtime_ns` are the file's own, to find
    drift by stat. `seen_etag` is the version the state speaks of, when it is not the one on disk
    (stale, failed, archived, oversize).
    """

    key: str
    etag: str
    size: int
    last_modified: int
    state: State
    path: str | None = None
    local_size: int | None = None
    mtime_ns: int | None = None
    version_id: str | None = None
    verdict: Verdict | None = None
    reason: str | None = None
    seen_etag: str | None = None
    synced_at: float | None = None


@dataclass(frozen=True, slots=True)
class DirtyKey:
    """A key whose state must be looked at.

    `marks` is the number of the latest mark, growing over all keys: a later mark makes it differ.
    `happened` and `last_happened` are what the senders of the first and the latest event say of
    its time, `events` how many told; 0 when a person asked. `traceparent` is the context of what
    told last, if it was traced.
    """

    key: str
    reason: str
    marks: int
    first_seen: float
    last_seen: float
    attempts: int = 0
    not_before: float = 0.0
    last_error: str | None = None
    happened: float | None = None
    last_happened: float | None = None
    events: int = 0
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class EventNote:
    """One event that told of a key: when it arrived here, and when the sender says it happened.

    `happened` is never trusted for order; only the statistics of delays use it. `traceparent` is
    the context of the request or the message that brought it, if that is traced.
    """

    key: str
    reason: str
    received: float
    happened: float | None = None
    traceparent: str | None = None


@value(frozen=True, slots=True)
class Outcome:
    """What was done to a key and why. `run_id` is None for work that events asked for."""

    key: str
    operation: Operation
    status: OutcomeStatus
    message: str
    at: float
    run_id: int | None = None
    bytes: int = 0
    seconds: float = 0.0
    verdict: Verdict | None = None
    error: str | None = None  # class name of the error
    hint: str | None = None
    lag_seconds: float | None = None  # from the event's arrival here
    event_lag_seconds: float | None = None  # from the change itself, by the sender's clock


@dataclass(frozen=True, slots=True)
class Failure:
    """A key that is not right, why, and when it is tried again.

    `state` is that of its row, FAILED when it has none; `hint` and `at` are those of the latest
    failed outcome as far as the history reaches. `next_try` is None when nothing is planned, and
    over when the key is due at once.
    """

    key: str
    state: State
    reason: str
    hint: str | None = None
    attempts: int = 0
    next_try: float | None = None
    at: float | None = None


@dataclass(frozen=True, slots=True)
class RunCounts:
    """The tallies of a run. `listed` keys were seen, `planned` of them need work."""

    listed: int = 0
    planned: int = 0
    downloaded: int = 0
    deleted: int = 0
    adopted: int = 0
    unchanged: int = 0
    skipped: int = 0  # archived, oversize, rejected, or found unchanged when asked
    failed: int = 0
    bytes: int = 0
    bytes_planned: int = 0
    drift: int = 0  # changes no event told us of


@dataclass(frozen=True, slots=True)
class Run:
    """One reconciliation, from request to end."""

    id: int
    kind: RunKind
    prefix: str
    status: RunStatus
    requested: float
    counts: RunCounts = RunCounts()
    started: float | None = None
    finished: float | None = None
    error: str | None = None
    hint: str | None = None
    deletes_planned: int = 0
    cancel_requested: bool = False
    approved: bool = False


@value(frozen=True, slots=True)
class FileStat:
    """Size and mtime of a published file: what the ledger remembers to find drift."""

    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class SyncOptions:
    """What the engine needs of the settings. Sizes in bytes, times in seconds."""

    bucket: str
    prefix: str = ""
    max_bytes: int = 1000 * 2**20
    skip_existing: bool = True
    verify: bool = True
    durable: bool = True
    timeout_seconds: float = 300.0
    attempts: int = 3
    concurrency: int | None = None  # None: finds its level
    delete_limit_files: int = 10
    delete_limit_percent: float = 25.0
    trash_retention_seconds: float = 7 * 86400.0
    trash_max_percent: float = 25.0  # of the disk
    min_free_percent: float = 1.0
    interval_seconds: float | None = 3600.0  # None: no periodic reconciliation


@value(frozen=True, slots=True)
class Action:
    """What a plan intends for a key. `listed` is None for keys that a listing no longer shows.

    `record` is the row to write when the action needs no transfer (skip, reject).
    """

    operation: Operation
    key: str
    reason: str
    listed: ListedObject | None = None
    row: ObjectRow | None = None
    record: ObjectRow | None = None


@dataclass(frozen=True, slots=True)
class Settlement:
    """Everything that one group of finished work changes in the ledger: one transaction.

    `cleared` marks go only if no newer mark arrived (`marks` still equal); `deferred` ones get
    their new attempts, not_before and last_error. `run_counts` replaces a run's tallies.
    `unapproved_deletes` files went to the trash `at` this time without anybody's approval.
    """

    rows: tuple[ObjectRow, ...] = ()
    removed: tuple[str, ...] = ()
    cleared: tuple[DirtyKey, ...] = ()
    deferred: tuple[DirtyKey, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    run_counts: Mapping[int, RunCounts] = field(default_factory=dict)
    unapproved_deletes: int = 0
    at: float = 0.0
