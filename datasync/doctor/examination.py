"""The order of the questions, what each needs, and how long it may take. Knows no screen."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from datasync.config.settings import Settings
from datasync.doctor import cloud, place
from datasync.doctor.canary import THERE, Canary
from datasync.doctor.lines import Level, Line, failed, skipped
from datasync.errors import DataSyncError

CHECK_SECONDS = 15.0
Answer = Line | Sequence[Line]


@dataclass(frozen=True, slots=True)
class Check:
    """One question; asked only while none of what it `needs` has failed."""

    name: str
    ask: Callable[[Settings], Answer]
    needs: tuple[str, ...] = ()


CHECKS = (
    Check("access", place.access),
    Check("directory", place.directory),
    Check("disk space", place.space, ("directory",)),
    Check("file system", place.file_system, ("directory",)),
    Check("ledger", place.ledger, ("directory",)),
    Check("engine", place.engine, ("directory",)),
    Check("service", place.service),
    Check("credentials", cloud.credentials),
    Check("bucket", cloud.bucket, ("credentials",)),
    Check("objects", cloud.objects, ("bucket",)),
    Check("region", cloud.region_and_clock, ("credentials",)),
    Check("bucket notifications", cloud.notifications, ("bucket",)),
    Check("queue", cloud.queue),
)
_CANARY_NEEDS = ("directory", "ledger", "bucket")


def examine(
    settings: Settings, canary_seconds: float | None = None, checks: Sequence[Check] = CHECKS
) -> Iterator[Line]:
    """Every line, as it is known; with `canary_seconds` a canary flies at the end."""
    bad: set[str] = set()
    for check in checks:
        for line in _answer(check, settings, bad):
            if line.level is Level.FAIL:
                bad.add(check.name)
            yield line
    if canary_seconds is None:
        return
    missing = [name for name in _CANARY_NEEDS if name in bad]
    if missing:
        yield skipped(THERE, f"{missing[0]} is not well")
    else:
        yield from Canary(settings, canary_seconds).fly()


def _answer(check: Check, settings: Settings, bad: set[str]) -> Sequence[Line]:
    missing = [name for name in check.needs if name in bad]
    if missing:
        return [skipped(check.name, f"{missing[0]} is not well")]
    ready: SimpleQueue[Answer] = SimpleQueue()
    # A daemon of its own: a question that hangs hides neither the others nor the end.
    threading.Thread(target=lambda: ready.put(_ask(check, settings)), daemon=True).start()
    try:
        found = ready.get(timeout=CHECK_SECONDS)
    except Empty:
        advice = "Something on the way does not answer; the lines above and below may say what."
        return [failed(check.name, f"no answer within {CHECK_SECONDS:g} seconds", advice)]
    return [found] if isinstance(found, Line) else found


def _ask(check: Check, settings: Settings) -> Answer:
    try:
        return check.ask(settings)
    except DataSyncError as error:
        return failed(check.name, str(error), error.hint)
    except Exception as error:  # the edge of this thread: one question hides no other
        return failed(
            check.name, f"{type(error).__name__}: {error}", "This may be a mistake of ours."
        )
