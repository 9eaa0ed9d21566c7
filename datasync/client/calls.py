"""What can be asked of the service: for each verb its request, and how the answer is read.

Pure: the two clients send these and do nothing else. The contract is that of the service's
`/docs`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote, quote_plus, urlencode

from datasync.client.answers import Answer, shaped
from datasync.client.errors import BadRequest, NotFound
from datasync.models.s3_models import (
    ActivityReport,
    FailureEntry,
    FailurePage,
    FileEntry,
    FilePage,
    HealthReport,
    OutcomeEntry,
    OutcomePage,
    RestoreReport,
    RunDetail,
    RunPage,
    RunReport,
    StatsReport,
    SyncResponse,
    TransferList,
    TrashedFile,
    TrashPage,
)

PAGE = 1000  # what the service gives at most
OVER = frozenset({"success", "partial", "failed", "held", "cancelled", "interrupted"})
_MARGIN_SECONDS = 30.0
_RESTORE_SECONDS = 600.0  # very many files may be chosen at once
_DOWNLOAD = "/sync/download/"

Source = Literal["local", "s3"]
Timespan = Literal["hour", "day", "week"]
Notification = Mapping[str, Any] | Sequence[Any] | str | bytes
T = TypeVar("T")
P = TypeVar("P")
E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request. `target` is path and query as they are sent, `body` is JSON.

    The answer may take `answer_seconds`; None: as long as is usual, inf: as long as it takes.
    """

    target: str
    read: Callable[[Answer], T]
    method: Literal["GET", "POST"] = "GET"
    body: bytes | None = None
    answer_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Listing(Generic[P, E]):
    """What comes page by page: the call for the page behind a mark (None: for the first one), and
    how a page is read: what it holds, and the mark of the next one."""

    ask: Callable[[Any], Call[P]]
    read: Callable[[P], tuple[Sequence[E], object]]


def health() -> Call[HealthReport]:
    """An unhealthy service answers 503, with its report."""
    return Call("/sync/health", shaped(HealthReport, 503))


def stats() -> Call[StatsReport]:
    return Call("/sync/stats", shaped(StatsReport))


def trigger(
    prefix: str, background: bool, dry_run: bool, timeout_seconds: float | None
) -> Call[SyncResponse]:
    target = _target("/sync/trigger", prefix=prefix, background=background, dry_run=dry_run)
    longest = inf if timeout_seconds is None and not background else timeout_seconds
    return Call(target, shaped(SyncResponse), "POST", None, longest)


def notify(notification: Notification, wait_seconds: float) -> Call[SyncResponse]:
    if isinstance(notification, str):
        body = notification.encode()
    elif isinstance(notification, bytes):
        body = notification
    else:
        body = json.dumps(notification).encode()
    target = _target("/sync/s3-notification", wait=f"{wait_seconds:g}" if wait_seconds else None)
    longest = wait_seconds + _MARGIN_SECONDS if wait_seconds else None
    return Call(target, shaped(SyncResponse), "POST", body, longest)


def changed(bucket: str, *keys: str) -> dict[str, Any]:
    """A notification, as S3 sends it, that these keys of the bucket may have changed.

    S3 says what is true of them: it makes no difference whether they came, changed or went.
    """
    return {
        "Records": [
            {
                "eventSource": "aws:s3",
                "eventName": "ObjectCreated:Put",
                "s3": {"bucket": {"name": bucket}, "object": {"key": quote_plus(key)}},
            }
            for key in keys
        ]
    }


def files(
    source: Source, prefix: str, states: Sequence[str], token: str | None, limit: int
) -> Call[FilePage]:
    target = _target(
        "/sync/files", source=source, prefix=prefix, state=states or None, limit=limit, token=token
    )
    return Call(target, shaped(FilePage))


def every_file(source: Source, prefix: str, states: Sequence[str]) -> Listing[FilePage, FileEntry]:
    return Listing(
        lambda token: files(source, prefix, states, token, PAGE),
        lambda page: (page.files, page.next_token),
    )


def runs(limit: int, before: int | None) -> Call[RunPage]:
    return Call(_target("/sync/runs", limit=limit, before=before), shaped(RunPage))


def every_run() -> Listing[RunPage, RunReport]:
    return Listing(lambda before: runs(PAGE, before), lambda page: (page.runs, page.next_before))


def run(run_id: int) -> Call[RunDetail]:
    return Call(f"/sync/runs/{run_id}", shaped(RunDetail))


def progress(run_id: int) -> Call[RunReport]:
    """One line of the list of runs: a run's own page brings up to a thousand details each time."""
    read = shaped(RunPage)

    def found(answer: Answer) -> RunReport:
        for report in read(answer).runs:
            if report.id == run_id:
                return report
        raise NotFound(
            f"there is no run {run_id}",
            status=404,
            error="RunMissing",
            hint="List the runs with GET /sync/runs.",
        )

    return Call(_target("/sync/runs", limit=1, before=run_id + 1), found)


def is_over(report: RunReport) -> bool:
    """Whether the run does no more by itself: a held one waits, until it is approved."""
    return report.status in OVER and not (report.status == "held" and report.approved)


def approve(run_id: int) -> Call[RunReport]:
    return Call(f"/sync/runs/{run_id}/approve", shaped(RunReport), "POST")


def cancel(run_id: int) -> Call[RunReport]:
    return Call(f"/sync/runs/{run_id}/cancel", shaped(RunReport), "POST")


def failures(prefix: str, token: str | None, limit: int) -> Call[FailurePage]:
    target = _target("/sync/failures", prefix=prefix, limit=limit, token=token)
    return Call(target, shaped(FailurePage))


def every_failure(prefix: str) -> Listing[FailurePage, FailureEntry]:
    return Listing(
        lambda token: failures(prefix, token, PAGE),
        lambda page: (page.failures, page.next_token),
    )


def retry(keys: Sequence[str] | None) -> Call[SyncResponse]:
    body = None if keys is None else json.dumps({"keys": list(keys)}).encode()
    return Call("/sync/failures/retry", shaped(SyncResponse), "POST", body)


def outcomes(
    key: str | None, run_id: int | None, before: int | None, after: int | None, limit: int
) -> Call[OutcomePage]:
    asked = {"key": key, "run_id": run_id, "before": before, "after": after}
    return Call(_target("/sync/outcomes", limit=limit, **asked), shaped(OutcomePage))


def every_outcome(
    key: str | None, run_id: int | None, after: int | None
) -> Listing[OutcomePage, OutcomeEntry]:
    return Listing(
        lambda before: outcomes(key, run_id, before, after, PAGE),
        lambda page: (page.outcomes, page.next_before),
    )


def activity(span: Timespan) -> Call[ActivityReport]:
    return Call(_target("/sync/activity", span=span), shaped(ActivityReport))


def transfers() -> Call[TransferList]:
    return Call("/sync/transfers", shaped(TransferList))


def trash(prefix: str, why: str | None, token: str | None, limit: int) -> Call[TrashPage]:
    target = _target("/sync/trash", prefix=prefix, why=why, limit=limit, token=token)
    return Call(target, shaped(TrashPage))


def every_trashed(prefix: str, why: str | None) -> Listing[TrashPage, TrashedFile]:
    return Listing(
        lambda token: trash(prefix, why, token, PAGE),
        lambda page: (page.files, page.next_token),
    )


def restore(
    ids: Sequence[str] | None,
    prefix: str | None,
    run_id: int | None,
    why: str | None,
    overwrite: bool,
) -> Call[RestoreReport]:
    asked = {"ids": ids, "prefix": prefix, "run_id": run_id, "why": why, "overwrite": overwrite}
    given = {name: value for name, value in asked.items() if value is not None}
    body = json.dumps(given).encode()
    return Call("/sync/trash/restore", shaped(RestoreReport), "POST", body, _RESTORE_SECONDS)


def download_target(key: str) -> str:
    """The path of a key's file. Raises: BadRequest for what is no key.

    Slashes stay, which some proxies need; segments of dots are escaped, or they would be taken
    for steps between folders on the way.
    """
    try:
        return _DOWNLOAD + "/".join(map(_segment, key.encode("utf-8").split(b"/")))
    except UnicodeEncodeError:
        raise BadRequest("the key is not UTF-8") from None


def _segment(segment: bytes) -> str:
    return "%2E" * len(segment) if segment in (b".", b"..") else quote(segment, safe="")


def _target(path: str, **query: str | int | bool | Sequence[str] | None) -> str:
    """The path with the parameters that say something; each of several values by itself."""
    given = {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in query.items()
        if value is not None and value is not False and value != ""
    }
    try:
        return f"{path}?{urlencode(given, doseq=True, quote_via=quote)}" if given else path
    except UnicodeEncodeError:
        raise BadRequest("a parameter is not UTF-8") from None
