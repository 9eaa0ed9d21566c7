"""Scripted faults, one readable line each: `bucket.script("a.bin", fail.reset_after(1_000))`.

Every function makes one `Fault`. It is used for one request, or for `times` requests.
`at` counts the bytes of the body that were delivered before the fault strikes. Knows nothing
of who plays the faults: `FakeBucket` does.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event
from typing import Any

from datasync.errors import (
    AccessDenied,
    BucketError,
    DataSyncError,
    NetworkFailure,
    ObjectMissing,
    PreconditionFailed,
    RangeUnsatisfiable,
    RedirectRefused,
    ServerFault,
    SlowDown,
    UnexpectedAnswer,
)

STATUS_ERRORS: dict[int, type[BucketError]] = {
    301: RedirectRefused,
    307: RedirectRefused,
    403: AccessDenied,
    404: ObjectMissing,
    412: PreconditionFailed,
    416: RangeUnsatisfiable,
    429: SlowDown,
    500: ServerFault,
    502: ServerFault,
    503: SlowDown,
    504: ServerFault,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one request. The empty fault changes nothing."""

    error: DataSyncError | None = None
    at: int = 0
    short_by: int | None = None
    stalls: bool = False
    wrong_at: int | None = None
    hook: Callable[[], object] | None = None
    until: Event | None = None
    head_changes: dict[str, Any] = field(default_factory=dict)
    page: int | None = None
    times: int = 1


def error(problem: DataSyncError, *, at: int = 0, times: int = 1) -> Fault:
    """The request ends with exactly this error, after `at` bytes."""
    return Fault(error=problem, at=at, times=times)


def status(code: int, *, times: int = 1) -> Fault:
    """The server answers with this status, translated as the S3 adapter translates it."""
    kind = STATUS_ERRORS.get(code, UnexpectedAnswer)
    return Fault(error=kind(f"scripted answer {code}"), times=times)


def reset_after(byte_count: int, *, times: int = 1) -> Fault:
    """The connection is reset after so many bytes of the body."""
    return Fault(error=NetworkFailure("scripted connection reset"), at=byte_count, times=times)


def refused(*, times: int = 1) -> Fault:
    """No connection at all."""
    return Fault(error=NetworkFailure("scripted connection refused"), times=times)


def short(*, by: int, times: int = 1) -> Fault:
    """The body ends `by` bytes before its announced length."""
    return Fault(error=NetworkFailure("scripted short body"), short_by=by, times=times)


def stall(*, at: int = 0, times: int = 1) -> Fault:
    """Nothing moves any more after `at` bytes; ends by the bucket's `stall_seconds`."""
    return Fault(stalls=True, at=at, times=times)


def wrong_byte(*, at: int, times: int = 1) -> Fault:
    """The byte at this offset of the object arrives flipped."""
    return Fault(wrong_at=at, times=times)


def before(hook: Callable[[], object], *, at: int = 0, times: int = 1) -> Fault:
    """Call `hook` when the request reaches the server, or after `at` bytes of its body."""
    return Fault(hook=hook, at=at, times=times)


def pause_until(event: Event, *, at: int = 0, times: int = 1) -> Fault:
    """Nothing moves after `at` bytes until the event is set; then all goes on."""
    return Fault(until=event, at=at, times=times)


def head(*, times: int = 1, **changes: Any) -> Fault:
    """The answer's head lies: `fail.head(etag="other", size=3)`."""
    return Fault(head_changes=changes, times=times)


def at_page(page: int, problem: DataSyncError | None = None, *, times: int = 1) -> Fault:
    """The listing fails when page number `page` (from 1) is asked for."""
    return Fault(page=page, error=problem or ServerFault("scripted listing failure"), times=times)
