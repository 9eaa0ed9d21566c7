"""Answers commands from a service on another machine, or here: over HTTP, with the client.

Gives what `here` gives, as far as the service tells it. Loaded only where an address is given.
"""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from datasync import errors
from datasync.cli.asked import Ending, Planned
from datasync.cli.display import Display
from datasync.cli.remote_shapes import planned_from, response_from, run_from
from datasync.cli.wording import in_commands
from datasync.client import Client, ClientError, ClientSetupError
from datasync.client.calls import PAGE, Source, is_over
from datasync.errors import ConfigurationError, DataSyncError, RequestRefused
from datasync.models.s3_models import (
    FailureEntry,
    FailurePage,
    FileEntry,
    FilePage,
    HealthReport,
    HealthStatus,
    RunDetail,
    RunPage,
    RunReport,
    StatsReport,
    StatusReport,
    SyncResponse,
)
from datasync.models.sync_models import Run, RunStatus, State

POLL_SECONDS = 0.5
LATEST_RUNS = 50
ENGINES = {"here": "runs in the process that answered", "elsewhere": "runs in another process"}


@contextmanager
def connected(url: str) -> "Iterator[Elsewhere]":
    """The service at this address, for one command; the key is the environment's.

    Raises: ConfigurationError, and what the service answers in the classes that it names.
    """
    try:
        with Client(url) as client:
            yield Elsewhere(client)
    except ClientSetupError as error:
        raise ConfigurationError(error.detail, hint=error.hint) from error
    except ClientError as error:
        raise _as_here(error) from error


def _as_here(error: ClientError) -> DataSyncError:
    """The error as it would be here: the service tells its class."""
    kind = getattr(errors, error.error, None)
    if not (isinstance(kind, type) and issubclass(kind, DataSyncError)):
        refused = error.status is not None and 400 <= error.status < 500
        kind = RequestRefused if refused else DataSyncError
    return kind(error.detail, hint=error.hint)


class Elsewhere:
    """A service, as commands ask it."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def status(self) -> StatusReport:
        health = self._client.health()
        latest = self._client.run_page(limit=LATEST_RUNS).runs
        return StatusReport(
            in_sync=health.in_sync,
            concerns=_concerns(health),
            lag_seconds=health.lag_seconds,
            held_run=health.held_run,
            engine=ENGINES.get(health.engine),
            unfinished_runs=[run for run in latest if run.status in ("queued", "running")],
            stats=self._client.stats(),
        )

    def stats(self) -> StatsReport:
        return self._client.stats()

    def failures(self, prefix: str, token: str | None, limit: int) -> FailurePage:
        found: list[FailureEntry] = []
        while True:
            page = self._client.failure_page(prefix, token=token, limit=_step(limit - len(found)))
            found += page.failures
            token = page.next_token
            if token is None or len(found) >= limit:
                return FailurePage(failures=found, next_token=token)

    def files(
        self, prefix: str, token: str | None, limit: int, states: Sequence[State]
    ) -> FilePage:
        return self._pages("local", prefix, token, limit, [state.value for state in states])

    def listed(self, prefix: str, token: str | None, limit: int) -> FilePage:
        return self._pages("s3", prefix, token, limit)

    def _pages(
        self,
        source: Source,
        prefix: str,
        token: str | None,
        limit: int,
        states: Sequence[str] = (),
    ) -> FilePage:
        """Pages one after the other, until there are as many files as are wanted."""
        found: list[FileEntry] = []
        while True:
            page = self._client.file_page(
                prefix, source=source, states=states, token=token, limit=_step(limit - len(found))
            )
            found += page.files
            token = page.next_token
            if token is None or len(found) >= limit:
                return FilePage(source=source, files=found, next_token=token)

    def runs(self, limit: int) -> RunPage:
        found: list[RunReport] = []
        before: int | None = None
        while True:
            page = self._client.run_page(limit=_step(limit - len(found)), before=before)
            found += page.runs
            before = page.next_before
            if before is None or len(found) >= limit:
                return RunPage(runs=found, next_before=before)

    def run(self, run_id: int, deletes: int) -> RunDetail:
        run = self._client.run(run_id)
        return run.model_copy(update={"planned_deletes": run.planned_deletes[:deletes]})

    def cancel(self, run_id: int) -> RunReport:
        return self._client.cancel(run_id)

    def retry(self, keys: Sequence[str] | None) -> SyncResponse:
        return self._client.retry(keys)

    def plan(self, prefix: str, limit: int) -> Planned:
        answer = self._client.trigger(prefix, dry_run=True)
        return planned_from(answer, limit, self._failing(prefix, self._client.health()))

    # Runs, to their end

    def reconcile(self, prefix: str, display: Display) -> Run:
        answer = self._client.trigger(prefix, background=True)
        if answer.run_id is None:
            raise DataSyncError("the service did not say which run it began")
        return self._follow(answer.run_id, display, already="already " if answer.joined else "")

    def apply(self, run_id: int, display: Display) -> Run:
        self._client.approve(run_id)
        return self._follow(run_id, display)

    def _follow(self, run_id: int, display: Display, already: str = "") -> Run:
        display.say(
            f"The service at {self._client.url} is {already}at run {run_id}. "
            "Ctrl-C stops watching, not the run."
        )
        try:
            while True:
                report = self._client.progress(run_id)
                run = run_from(report)
                display.show(run)
                if is_over(report):
                    return run
                time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            display.say(f"Run {run_id} goes on; stop it: datasync cancel {run_id}")
            raise

    def ending(self, run: Run) -> Ending:
        health = self._client.health()
        answer = response_from(self._client.run(run.id), health.in_sync)
        told = _concerns(health) if run.status is RunStatus.SUCCESS and not health.in_sync else []
        return Ending(answer, self._failing(run.prefix, health), told)

    def _failing(self, prefix: str, health: HealthReport) -> int:
        """How many keys below the prefix failed and are not right since."""
        if not prefix or not health.failed:
            return health.failed
        found = Counter(_is_failing(entry) for entry in self._client.failures(prefix))
        return found[True]


def _is_failing(entry: FailureEntry) -> bool:
    return entry.state != State.REJECTED.value or entry.attempts > 0


def _concerns(health: HealthReport) -> list[str]:
    """What health says is not well, each in a sentence."""
    if health.status is HealthStatus.HEALTHY:
        return []
    return [in_commands(text) for text in health.message.split("; ")]


def _step(wanted: int) -> int:
    return max(1, min(wanted, PAGE))
