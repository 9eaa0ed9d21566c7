"""The log lines of runs and of leading: one when a run ends, one when the engine starts or stops.

Wraps the engine where it is made, so that neither the engine nor whoever runs it needs to know.
Knows no HTTP, no settings and no terminal.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict

from datasync.errors import DataSyncError
from datasync.models.sync_models import Run, RunStatus
from datasync.services.engine.runner import Engine
from datasync.utils.logger import get_logger

LOGGER = "datasync.engine"
RECENT = 50
_LEVELS = {RunStatus.SUCCESS: "info", RunStatus.FAILED: "error"}
_UNFINISHED = frozenset({RunStatus.QUEUED, RunStatus.RUNNING})
_COUNTS = ("listed", "downloaded", "deleted", "adopted", "unchanged", "skipped", "failed", "bytes")


def tell_run(run: Run) -> None:
    """Write how a run ended; nothing while it goes on."""
    if run.status not in _UNFINISHED:
        level = _LEVELS.get(run.status, "warning")
        getattr(get_logger(LOGGER), level)("run ended", **run_fields(run))


def run_fields(run: Run) -> dict[str, object]:
    """A run as the fields of its log line."""
    counts = asdict(run.counts)
    over = run.started is not None and run.finished is not None
    fields: dict[str, object] = {
        "run_id": run.id,
        "kind": run.kind.value,
        "prefix": run.prefix,
        "status": run.status.value,
        **{name: counts[name] for name in _COUNTS},
        "seconds": round((run.finished or 0.0) - (run.started or 0.0), 3) if over else None,
        "deletes_planned": run.deletes_planned if run.status is RunStatus.HELD else None,
        "error": run.error,
        "hint": run.hint or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


class LoggedEngine(Engine):
    """An engine that says when this process leads, and how each run ended."""

    _opened = False
    _at_work: Run | None = None

    def open(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """As the engine does; and tell of the runs that a dead leader left."""
        left: list[Run] = []
        with suppress(DataSyncError):  # a line less is no reason not to lead
            left = [run for run in self._ledger.runs(RECENT) if run.status is RunStatus.RUNNING]
        super().open(stopped)
        self._opened = True
        get_logger(LOGGER).info("this process leads: the engine runs here")
        for run in left:
            self._tell(run)

    def close(self, timeout_seconds: float) -> None:
        """As the engine does; and tell of a run that was cut short."""
        super().close(timeout_seconds)
        if (cut := self._at_work) is not None:
            self._tell(cut)
        if self._opened:
            get_logger(LOGGER).info("this process no longer leads: the engine stopped")

    def perform(self, run: Run, on_progress: Callable[[Run], None] | None = None) -> Run:
        """As the engine does; and tell of the run, and of a held one whose place it took."""
        held: Run | None = None
        with suppress(DataSyncError):
            held = self._ledger.held_run()
        self._at_work = run
        try:
            done = super().perform(run, on_progress)
        except Exception as error:
            self._at_work = None
            _tell_broken(run, error)
            raise
        self._at_work = None
        if held is not None and held.id != run.id:
            self._tell(held, only=RunStatus.CANCELLED)
        if done.started is not None:  # else it was cancelled before, and told of then
            tell_run(done)
        return done

    def _tell(self, known: Run, only: RunStatus | None = None) -> None:
        """Tell of a run as the ledger has it now, if it came to an end, or to `only` this one."""
        with suppress(DataSyncError):
            run = self._ledger.run(known.id)
            if only in (None, run.status):
                tell_run(run)


def _tell_broken(run: Run, error: Exception) -> None:
    """A run that ended by an error which it did not expect: what is known of it."""
    known = isinstance(error, DataSyncError)
    get_logger(LOGGER).error(
        "run ended",
        run_id=run.id,
        kind=run.kind.value,
        prefix=run.prefix,
        status=RunStatus.FAILED.value,
        error=str(error) if known else type(error).__name__,
        hint=error.hint if isinstance(error, DataSyncError) else "See the traceback in the log.",
    )
