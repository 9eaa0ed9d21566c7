"""Whom the commands ask: the parts of this machine (`here`), or a service (`elsewhere`).

Both give the wire's shapes, so that what is printed, and the exit code, are the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from datasync.cli.display import Display
from datasync.models.sync_models import Run, State

if TYPE_CHECKING:  # the wire's shapes take long to load: not for --help
    from datasync.controllers.plan import PlanReport
    from datasync.models.s3_models import (
        FailurePage,
        FilePage,
        RunDetail,
        RunPage,
        RunReport,
        StatsReport,
        StatusReport,
        SyncResponse,
    )


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended: its answer, how many keys of its scope fail, and what else is not well."""

    answer: "SyncResponse"
    failing: int
    concerns: Sequence[str]


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan, why a run of it would be held if it would, and how many keys of its scope fail."""

    report: "PlanReport"
    held: str | None
    failing: int


class Asked(Protocol):
    """Every method raises: DataSyncError."""

    def status(self) -> "StatusReport": ...

    def stats(self) -> "StatsReport": ...

    def failures(self, prefix: str, token: str | None, limit: int) -> "FailurePage": ...

    def files(
        self, prefix: str, token: str | None, limit: int, states: Sequence[State]
    ) -> "FilePage":
        """What is mirrored; with states only what is in one of them."""

    def listed(self, prefix: str, token: str | None, limit: int) -> "FilePage":
        """What the bucket holds now."""

    def runs(self, limit: int) -> "RunPage": ...

    def run(self, run_id: int, deletes: int) -> "RunDetail":
        """A run with the first `deletes` that its plan waits to do."""

    def cancel(self, run_id: int) -> "RunReport": ...

    def retry(self, keys: Sequence[str] | None) -> "SyncResponse": ...

    def plan(self, prefix: str, limit: int) -> Planned:
        """What a run would do, with its first `limit` actions."""

    def reconcile(self, prefix: str, display: Display) -> Run:
        """Perform a run to its end and show it. Raises: KeyboardInterrupt."""

    def apply(self, run_id: int, display: Display) -> Run:
        """Approve a held run, and show it to its end. Raises: KeyboardInterrupt."""

    def ending(self, run: Run) -> Ending: ...
