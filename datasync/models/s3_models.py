"""The wire: what HTTP answers and `--json` output look like. Shapes only, no behaviour.

Times are ISO 8601 in UTC, sizes are bytes, ETags are without quotes. Knows no engine.
"""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

DETAILS_LIMIT = 1000

OperationName = Literal["download", "delete", "adopt", "skip", "reject"]


class SyncStatus(StrEnum):
    """How a request for work ended, or that it was taken on."""

    SUCCESS = "success"
    PARTIAL = "partial"
    FAILED = "failed"
    ACCEPTED = "accepted"
    HELD = "held"


class DetailStatus(StrEnum):
    SUCCESS = "success"
    FAILED = "failed"
    SKIPPED = "skipped"
    QUEUED = "queued"
    IGNORED = "ignored"
    REJECTED = "rejected"


class HealthStatus(StrEnum):
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


class Wire(BaseModel):
    # Each is made ready when it is first used: a command uses two or three of them.
    model_config = ConfigDict(frozen=True, defer_build=True)


class ErrorAnswer(Wire):
    """Every error, of every route, in this shape."""

    error: str = Field(description="The class of the error; stable, made for programs.")
    detail: str = Field(description="What is wrong, made for people.")
    hint: str = Field(description="What can be done about it; may be empty.")


class Pong(Wire):
    message: Literal["pong"] = "pong"


class Endpoint(Wire):
    method: str
    path: str
    summary: str


class ServiceInfo(Wire):
    service: str
    version: str
    docs: str
    endpoints: list[Endpoint]


class SyncDetail(Wire):
    """What was, or will be, done to one key."""

    operation: OperationName
    file_key: str = Field(examples=["reports/2024.csv"])
    status: DetailStatus
    message: str = Field(examples=["Downloaded successfully in 0.23 seconds"])


class SyncResponse(Wire):
    """The answer to everything that asks for work."""

    status: SyncStatus
    message: str = Field(examples=["Synced 15 of 15 files in 3.45 seconds"])
    processed_files: int = Field(description="successful_operations + failed_operations.")
    successful_operations: int
    failed_operations: int
    skipped_files: int = Field(description="Keys that needed nothing, or must not be stored.")
    run_id: int | None = Field(description="The run that did, or will do, the work.")
    joined: bool = Field(
        default=False,
        description="That run was at work before this was asked for: what it had looked at by then "
        "may have changed since. Asked for again once it is over, a new one is made.",
    )
    in_sync: bool = Field(description="The mirror is proved equal to the bucket, now.")
    sync_details: list[SyncDetail] = Field(
        description=f"Failures first, at most {DETAILS_LIMIT} in all.", max_length=DETAILS_LIMIT
    )


class Probed(Wire):
    """What an orchestrator hears."""

    status: Literal["alive", "ready", "not ready"]


class HealthReport(Wire):
    status: HealthStatus
    message: str
    s3_connection: bool = Field(description="The bucket answered a listing just now.")
    download_directory: str = Field(description="The mirror's directory, as it was configured.")
    directory_writable: bool
    timestamp: datetime
    in_sync: bool = Field(description="The mirror is proved equal to the bucket, now.")
    pending: int = Field(description="Keys whose state must still be looked at.")
    failed: int = Field(description="Keys that failed; see /sync/failures.")
    lag_seconds: float = Field(description="Age of the oldest pending key; 0 with none.")
    held_run: int | None = Field(description="A run that waits for approval, or null.")
    engine: Literal["here", "elsewhere", "nowhere"] = Field(
        description="Where this directory's engine runs: in the process that answers, in another "
        "one (this one serves reads, takes events, and takes over when that one ends), or in none "
        "that this process knows of, as in the first moment."
    )


class RunProgress(Wire):
    """How far a run is. `null` where it cannot be known (yet)."""

    percent: float | None
    files_done: int
    files_planned: int
    bytes_done: int
    bytes_planned: int
    bytes_per_second: float | None
    eta_seconds: float | None


class RunReport(Wire):
    """One run: a reconciliation or a verification, from request to end."""

    id: int
    kind: str
    prefix: str
    status: Literal[
        "queued", "running", "success", "partial", "failed", "held", "cancelled", "interrupted"
    ]
    requested: datetime
    started: datetime | None
    finished: datetime | None
    seconds: float | None
    listed: int
    downloaded: int
    deleted: int
    adopted: int
    unchanged: int
    skipped: int
    failed: int
    drift: int = Field(description="Changes that no event had told of.")
    deletes_planned: int
    cancel_requested: bool
    approved: bool
    error: str | None
    hint: str | None
    progress: RunProgress


class RunDetail(RunReport):
    planned_deletes: list[str] = Field(
        description=f"Keys a held run would delete; the first {DETAILS_LIMIT}."
    )
    sync_details: list[SyncDetail] = Field(
        description=f"What the run did; failures first, at most {DETAILS_LIMIT}."
    )


class RunPage(Wire):
    runs: list[RunReport] = Field(description="Newest first.")
    next_before: int | None = Field(description="Send as `before` to get the next page.")


class Delay(Wire):
    """Percentiles in seconds; null where nothing was measured."""

    p50: float | None
    p90: float | None
    p99: float | None


class Delays(Wire):
    """Where the time goes, of the last 1,000 events whose files were looked at.

    The time of the change is the sender's word. `journal` is over all events ever, and its
    percentiles are upper bounds of histogram buckets.
    """

    change_to_arrival: Delay
    arrival_to_journal: Delay
    arrival_to_file: Delay
    change_to_file: Delay


class StatsReport(Wire):
    objects: int = Field(description="Keys the ledger knows, in every state.")
    bytes: int = Field(description="Bytes of the files on disk.")
    pending: int
    failed: int
    archived: int
    oversize: int
    rejected: int
    last_run: RunReport | None = Field(description="The last finished run.")
    events: dict[str, int] = Field(
        description="Notification records by what became of them; and poison messages, each time."
    )
    events_by_source: dict[str, int] = Field(
        description="The same by how they came and whose format they have, such as http.s3."
    )
    events_by_type: dict[str, int] = Field(
        description="The same by name; names that are unknown count as `unknown`."
    )
    duplicates: int = Field(description="Events for keys that were pending already.")
    last_event: datetime | None = Field(description="When the latest event for a key came.")
    oldest_pending_seconds: float = Field(description="Age of the oldest pending key; 0 with none.")
    lag_p50: float | None = Field(
        description="Seconds from an event's arrival to its durable file: the median of the last "
        "1,000."
    )
    lag_p90: float | None
    lag_p99: float | None
    delays: Delays
    drift: int = Field(description="Drift found by the last finished reconciliation.")
    deleted_last_hour: int = Field(description="Files deleted within an hour without approval.")
    delete_flood: bool = Field(description="They are more than a run may delete without approval.")


class StatusReport(Wire):
    """What `datasync status --json` prints."""

    in_sync: bool
    concerns: list[str]
    lag_seconds: float
    held_run: int | None
    engine: str | None
    unfinished_runs: list[RunReport]
    stats: StatsReport


class FileEntry(Wire):
    key: str
    size: int
    last_modified: datetime
    etag: str
    state: str | None = Field(
        description="What the ledger says of the key; null if it does not know the key."
    )
    verdict: str | None = Field(description="How the file was verified; null if it is not there.")
    path: str | None = Field(description="Where the file is, below the mirror's directory.")


class FilePage(Wire):
    source: Literal["local", "s3"]
    files: list[FileEntry]
    next_token: str | None = Field(description="Send as `token` to get the next page.")


class FailureEntry(Wire):
    key: str
    state: str
    reason: str
    hint: str
    attempts: int
    next_try: datetime | None
    at: datetime | None


class FailurePage(Wire):
    failures: list[FailureEntry]
    next_token: str | None


class RetryRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    keys: list[str] | None = Field(
        default=None,
        description="Keys to look at again; all failures when absent.",
        max_length=10_000,
        examples=[["reports/2024.csv"]],
    )


class TrashedFile(Wire):
    id: str = Field(description="What restores it.")
    path: str = Field(description="Where it was, below the mirror's directory.")
    size: int
    trashed_at: datetime
    why: str = Field(description="What took it away: events, replaced, or run-17 and the like.")


class TrashPage(Wire):
    files: list[TrashedFile] = Field(description="Oldest first.")
    next_token: str | None = Field(description="Send as `token` to get the next page.")


class RestoreRequest(BaseModel):
    """Either `ids`, or `prefix` and one of `run_id` and `why`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    ids: list[str] | None = Field(default=None, max_length=1000)
    prefix: str | None = Field(default=None, description="Of all paths that begin with this.")
    run_id: int | None = Field(
        default=None, ge=0, le=2**63 - 1, description="What this run deleted."
    )
    why: str | None = Field(default=None, description="What this took away, such as events.")
    overwrite: bool = Field(
        default=False, description="Replace a file that is there; it goes to the trash."
    )


class RestoredEntry(Wire):
    id: str
    path: str
    error: str | None
    hint: str
    stays: bool | None = Field(
        description="Whether runs leave the file alone; false: the bucket has an object of that "
        "name, which the next run brings back. null where nothing was restored."
    )


class RestoreReport(Wire):
    message: str
    restored: list[RestoredEntry]


class OutcomeEntry(Wire):
    """What was done to a key, and why."""

    id: int
    key: str
    operation: OperationName
    status: DetailStatus
    message: str
    at: datetime
    run_id: int | None = Field(description="null for what an event, or a person, asked for.")
    bytes: int
    seconds: float
    verdict: str | None
    error: str | None = Field(description="The class of the error.")
    hint: str | None
    lag_seconds: float | None = Field(description="From the event's arrival to the durable file.")


class OutcomePage(Wire):
    outcomes: list[OutcomeEntry] = Field(description="Newest first.")
    next_before: int | None = Field(description="Send as `before` to get the next page.")


class Span(StrEnum):
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"


class ActivityStep(Wire):
    at: datetime = Field(description="When the step began.")
    downloaded: int
    bytes: int
    deleted: int
    failed: int
    events: int = Field(description="Events whose files were made right.")
    lag_seconds: float | None = Field(description="Their mean, from arrival to durable file.")
    most_lag_seconds: float | None


class ActivityReport(Wire):
    span: Span
    step_seconds: int
    steps: list[ActivityStep] = Field(description="Oldest first; the last one is not over yet.")


class TransferEntry(Wire):
    key: str
    size: int | None = Field(description="null until S3 has answered.")
    received: int
    started: datetime
    run_id: int | None


class TransferList(Wire):
    transfers: list[TransferEntry] = Field(description="Longest under way first; at most 50.")
