"""The figures for Prometheus: what each says of given facts, its form, and its description."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from datasync.controllers.equality import Doubt, MirrorFacts
from datasync.models.figures import Percentiles
from datasync.models.sync_models import RunCounts, RunStatus
from tests.support.metrics import BUSY, CALM, DISK, EVENTS, LAST, NOW, QUEUED, RUNNING, exposition
from tests.support.promtool import promtool

Samples = dict[tuple[str, ...], float]
DOCUMENT = Path(__file__).parents[2] / "docs" / "METRICS.md"
RESERVED = {"le"}  # of every histogram, and no label of ours


def samples(text: str) -> Samples:
    """Each value by its name and the values of its labels."""
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def shown(facts: MirrorFacts) -> Samples:
    return samples(exposition(facts))


# Equality


def test_a_mirror_in_sync_has_no_doubt() -> None:
    found = shown(CALM)
    assert found["datasync_in_sync",] == 1
    assert [found["datasync_doubt", doubt.value] for doubt in Doubt] == [0] * len(Doubt)


@pytest.mark.parametrize(
    "change, doubt",
    [
        ({"last_run": None}, Doubt.NO_RUN),
        ({"last_run": replace(LAST, status=RunStatus.INTERRUPTED)}, Doubt.LAST_RUN),
        ({"outdated": True}, Doubt.OUTDATED),
        ({"totals": replace(CALM.totals, pending=1)}, Doubt.PENDING),
        ({"totals": replace(CALM.totals, failed=1)}, Doubt.FAILED),
        ({"since": (RUNNING,)}, Doubt.WORK_LEFT),
        ({"held": replace(LAST, status=RunStatus.HELD)}, Doubt.HELD),
    ],
)
def test_each_reason_why_it_is_not_in_sync_is_told(change: dict[str, object], doubt: Doubt) -> None:
    found = shown(replace(CALM, **change))  # type: ignore[arg-type]
    assert found["datasync_in_sync",] == 0
    told = {each for each in Doubt if found["datasync_doubt", each.value]}
    assert told == {doubt}


def test_what_waits_for_somebody_is_told() -> None:
    found = shown(BUSY)
    assert (found["datasync_held_run",], found["datasync_held_run_deletes",]) == (1, 40)
    assert (found["datasync_deleted_last_hour",], found["datasync_delete_flood",]) == (12, 1)
    assert (found["datasync_pending",], found["datasync_failed",]) == (3, 1)
    assert found["datasync_pending_age_seconds",] == pytest.approx(1.0)
    assert found["datasync_lag_limit_seconds",] == 300
    calm = shown(CALM)
    assert (calm["datasync_held_run",], calm["datasync_held_run_deletes",]) == (0, 0)
    assert calm["datasync_pending_age_seconds",] == 0


# Runs


def test_the_run_under_way_shows_how_far_it_has_come() -> None:
    found = shown(BUSY)
    assert (found["datasync_running_run",], found["datasync_queued_runs",]) == (1, 1)
    names = ("seconds", "listed", "planned", "done", "planned_bytes", "bytes")
    told = [found[f"datasync_running_run_{name}",] for name in names]
    assert told == [60, 5, 4, 3, 90, 30]


def test_without_a_run_under_way_there_is_no_progress() -> None:
    found = shown(CALM)
    assert (found["datasync_running_run",], found["datasync_queued_runs",]) == (0, 0)
    assert not any(name.startswith("datasync_running_run_") for name, *_ in found)


def test_the_last_run_is_told_with_its_end_and_its_duration() -> None:
    found = shown(CALM)
    assert found["datasync_last_run", "success"] == 1
    assert found["datasync_last_run_timestamp_seconds",] == 9_030
    assert found["datasync_last_run_duration_seconds",] == 30
    assert (found["datasync_last_run_listed",], found["datasync_last_run_drift",]) == (7, 2)
    before = shown(replace(CALM, last_run=None))
    assert not any(name.startswith("datasync_last_run") for name, *_ in before)


@pytest.mark.parametrize("waited, untaken", [(5.0, 0), (20.0, 1)])
def test_a_run_that_nobody_takes_is_told(waited: float, untaken: int) -> None:
    queued = replace(QUEUED, requested=NOW - waited)
    assert shown(replace(CALM, since=(queued,)))["datasync_untaken_run",] == untaken
    assert shown(replace(CALM, since=(queued, RUNNING)))["datasync_untaken_run",] == 0


def test_a_run_that_should_have_ended_is_told() -> None:
    assert shown(replace(CALM, outdated=True))["datasync_overdue_run",] == 0  # none is scheduled
    assert shown(replace(CALM, outdated=True, overdue=True))["datasync_overdue_run",] == 1


# Events


@pytest.mark.parametrize(
    "runs, last, broken",
    [(2, 9_000.0, 1), (2, None, 1), (2, 9_900.0, 0), (1, 9_000.0, 0), (0, None, 0)],
)
def test_notifications_that_look_broken_are_told(
    runs: int, last: float | None, broken: int
) -> None:
    untold = (replace(LAST, counts=RunCounts(drift=3)),) * runs
    facts = replace(CALM, totals=replace(CALM.totals, last_event=last), untold=untold)
    found = shown(facts)
    assert found["datasync_notifications_broken",] == broken
    assert (("datasync_last_event_timestamp_seconds",) in found) is (last is not None)


def test_what_has_not_happened_yet_is_shown_as_none() -> None:
    found = samples(exposition(events=replace(EVENTS, by_status={}, done={})))
    assert found["datasync_events_total", "poison"] == 0
    assert found["datasync_outcomes_total", "delete", "failed"] == 0
    assert samples(exposition())["datasync_outcomes_total", "skip", "skipped"] == 2


def test_recent_delays_are_a_summary() -> None:
    found = samples(exposition())
    assert found["datasync_recent_lag_seconds", "0.99"] == 2.5
    assert found["datasync_recent_lag_seconds_count",] == 4
    none = samples(exposition(events=replace(EVENTS, lag=Percentiles())))
    assert ("datasync_recent_lag_seconds", "0.99") not in none


# The disk


def test_a_disk_that_does_not_answer_shows_nothing() -> None:
    assert samples(exposition())["datasync_disk_min_free_bytes",] == DISK.min_free_bytes
    assert "datasync_disk" not in exposition(disk=None)


# Form and description


def _exposed() -> dict[str, tuple[str, frozenset[str]]]:
    """Name as it is asked for, type and labels of every metric."""
    found = {}
    for family in text_string_to_metric_families(exposition()):
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = {label for sample in family.samples for label in sample.labels}
        assert family.documentation, name
        found[name] = family.type, frozenset(labels - RESERVED)
    return found


def _documented() -> dict[str, tuple[str, frozenset[str]]]:
    found = {}
    for line in DOCUMENT.read_text("utf-8").splitlines():
        if line.startswith("| `datasync_"):
            name, kind, labels, meaning, _ = (cell.strip() for cell in line[1:-1].split("|"))
            assert meaning, name
            assert name not in found
            found[name.strip("`")] = kind, frozenset(re.findall(r"`(\w+)`", labels))
    return found


def test_the_document_has_every_metric_and_no_other() -> None:
    assert _documented() == _exposed()


def test_names_say_their_units() -> None:
    for name, (kind, _) in _exposed().items():
        assert re.fullmatch(r"datasync_[a-z]+(_[a-z]+)*", name)
        assert name.endswith("_total") is (kind == "counter"), name
        if kind in ("histogram", "summary"):
            assert name.endswith(("_seconds", "_bytes")), name


@pytest.mark.parametrize("facts", [BUSY, CALM], ids=["busy", "calm"])
def test_prometheus_has_nothing_against_them(facts: MirrorFacts, tmp_path: Path) -> None:
    assert promtool("check", "metrics", folder=tmp_path, text=exposition(facts)) == ""
