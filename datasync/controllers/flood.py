"""Tells a flood of deletes: more within an hour, unapproved, than a run may plan unheld.

Deletes that events tell of are confirmed by S3 one by one and go to the trash, so nothing waits
for approval; but somebody should hear of it while the trash still has everything. Pure.
"""

from dataclasses import dataclass

from datasync.models.figures import LedgerTotals
from datasync.models.sync_models import SyncOptions
from datasync.services.engine.planner import is_beyond, percent

WINDOW_SECONDS = 3600
COUNTED_TOGETHER_SECONDS = 300  # by the ledger: so much later than the window does it end


@dataclass(frozen=True, slots=True)
class Deletes:
    """Files that went to the trash within the window without approval, and of how many."""

    files: int = 0
    of: int = 0
    flood: bool = False


def recent_deletes(totals: LedgerTotals, options: SyncOptions, now: float) -> Deletes:
    """The deletes of the last hour, and whether they are a flood; it ends by itself."""
    oldest = now - WINDOW_SECONDS - COUNTED_TOGETHER_SECONDS
    files = sum(count for since, count in totals.deletes.items() if since > oldest)
    of = totals.files + files
    return Deletes(files, of, is_beyond(files, of, options))


def flood_concern(deletes: Deletes) -> str:
    """What health says of a flood, without its full stop."""
    return (
        f"{deletes.files:,} of {deletes.of:,} files ({percent(deletes.files, deletes.of):.0f} %) "
        "were deleted within an hour without approval, more than DELETE_LIMIT_FILES and "
        "DELETE_LIMIT_PERCENT let a run delete; S3 confirmed each, and all are in the trash: "
        "'datasync trash list'. If that was meant, nothing need be done, and this ends by itself"
    )
