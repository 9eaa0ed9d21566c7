"""Says in a few words how the mirror is and who is needed. Pure; the rules are the controllers'."""

from collections.abc import Sequence
from dataclasses import dataclass

from datasync.controllers.tallies import counted
from datasync.models.words import amounts_text, duration_text
from datasync.models.s3_models import HealthReport, HealthStatus, RunReport, StatsReport


@dataclass(frozen=True, slots=True)
class State:
    """The headline. `tone` is good, busy, warn or bad."""

    tone: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Need:
    """Something that a person should look at, and where."""

    tone: str
    title: str
    text: str
    link: str = ""
    action: str = ""


def state_of(
    health: HealthReport, stats: StatsReport, running: Sequence[RunReport], held: RunReport | None
) -> State:
    """The one thing to know first."""
    if health.status is HealthStatus.UNHEALTHY:
        return State("bad", "Not working", health.message)
    if held is not None:
        return State("warn", "Waiting for you", "Deletes that look unusual wait for your approval.")
    if health.in_sync:
        return State("good", "In sync", _proved(stats))
    if running:
        return State("busy", "Catching up", _doing(stats, running[0]))
    if stats.pending:
        keys = counted(stats.pending, "key")
        return State("busy", f"{keys} behind", "They are being looked at.")
    if stats.last_run is None:
        return State("busy", "Starting", "The bucket was not compared yet.")
    tone = "warn" if health.status is HealthStatus.DEGRADED else "busy"
    return State(tone, "Not in sync", health.message)


def _proved(stats: StatsReport) -> str:
    if not stats.objects:
        return "The bucket is empty, and so is the mirror."
    asides = {"archived": stats.archived, "oversize": stats.oversize, "rejected": stats.rejected}
    aside = sum(asides.values())
    mirrored = counted(stats.objects - aside, "object")
    if not aside:
        return f"The mirror has all of the bucket: {mirrored}."
    return f"The mirror has {mirrored} of the bucket. Not mirrored: {amounts_text(asides)}."


def _doing(stats: StatsReport, run: RunReport) -> str:
    progress = run.progress
    if not progress.files_planned:
        return f"Run {run.id} compares the bucket: {counted(run.listed, 'key')} so far."
    left = f", {duration_text(progress.eta_seconds)} left" if progress.eta_seconds else ""
    done = f"{progress.files_done:,} of {counted(progress.files_planned, 'file')}"
    return f"Run {run.id} has done {done}{left}."


def needs_of(health: HealthReport, stats: StatsReport, held: RunReport | None) -> list[Need]:
    """What waits for a person, the most urgent first."""
    found = []
    if held is not None:
        title = f"Run {held.id} wants to delete {counted(held.deletes_planned, 'file')}."
        found.append(Need("warn", title, held.error or "", f"/runs/{held.id}", "Look, then decide"))
    if stats.failed:
        verb = "is" if stats.failed == 1 else "are"
        title = f"{counted(stats.failed, 'key')} {verb} not right."
        found.append(Need("bad", title, "Each says why, and what to do.", "/problems", "See why"))
    if stats.delete_flood:
        deleted = counted(stats.deleted_last_hour, "file")
        text = "They are in the trash; events asked for it."
        found.append(Need("warn", f"{deleted} deleted in an hour.", text, "/trash", "To the trash"))
    if health.status is HealthStatus.DEGRADED and not found:
        found.append(Need("warn", "Somebody should look:", health.message, "/doctor", "Check"))
    return found
