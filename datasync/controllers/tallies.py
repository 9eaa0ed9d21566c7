"""What the counts of a run come to, and how a number is said. Pure; knows no shape of the wire."""

from datasync.models.sync_models import RunCounts, RunStatus

UNFINISHED = frozenset({RunStatus.QUEUED, RunStatus.RUNNING})


def counted(count: int, noun: str) -> str:
    """ "1 key", "2,000 keys": a number with its noun."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def successes(counts: RunCounts) -> int:
    """Operations that succeeded."""
    return counts.downloaded + counts.deleted + counts.adopted


def work_done(counts: RunCounts) -> int:
    """How many of the planned keys are settled."""
    return successes(counts) + counts.skipped + counts.failed
