"""The firewall of deletes under attack: held plans, approvals at bad moments, floods, takeovers."""

import threading
import time

import pytest

from datasync.composition import forget_plans
from datasync.controllers.equality import ProofRule, concerns, read_facts
from datasync.errors import (
    ConfigurationError,
    LeaseHeld,
    LedgerBusy,
    MirrorUnavailable,
    PlanOutdated,
    RunNotHeld,
)
from datasync.models.sync_models import Run, RunStatus
from datasync.services.engine.planner import past
from datasync.services.s3_sync_service import S3SyncService
from datasync.services.storage.ledger import Ledger, sqlite_url
from datasync.services.storage.mirror import Mirror
from tests.support import fail
from tests.support.world import IDENTITY, World, eventually

HOUR = 3600.0
DAY = 24 * HOUR


def key(number: int) -> str:
    return f"data/{number:03}"


def filled(world: World, count: int = 100) -> None:
    for number in range(count):
        world.bucket.put(key(number), b"x")
    assert world.sync().status is RunStatus.SUCCESS


def lose(world: World, *numbers: int) -> None:
    for number in numbers:
        world.bucket.delete(key(number))


def held(world: World, *numbers: int) -> Run:
    lose(world, *numbers)
    run = world.sync()
    assert run.status is RunStatus.HELD
    return run


def held_live(live: World, lost: int) -> Run:
    """A held run of a service that leads, over 40 keys, of which so many are lost."""
    for number in range(40):
        live.bucket.put(key(number), b"x")
    live.perform()
    lose(live, *range(lost))
    run = live.perform()
    assert run.status is RunStatus.HELD
    return run


def approved(world: World, run: Run) -> Run:
    world.service.approve(run.id)
    return world.service.apply(run.id)


def told(world: World, now: float | None = None) -> str:
    """What health would say."""
    at = time.time() if now is None else now
    rule = ProofRule(interval_seconds=10 * DAY)
    facts = read_facts(world.ledger, "", rule, clock=lambda: at, options=world.options)
    return "; ".join(concerns(facts, at))


@pytest.mark.parametrize("step", ["start_run", "planned_deletes"])
def test_an_approval_outlives_a_ledger_that_is_busy(
    live: World, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    run = held_live(live, 30)
    done, refusals = getattr(Ledger, step), [LedgerBusy("restarting")]

    def busy(ledger: Ledger, *given: object, **named: object) -> object:
        if refusals:
            raise refusals.pop()
        return done(ledger, *given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, step, busy)
        live.service.approve(run.id)
        eventually(lambda: live.status(run.id) is RunStatus.SUCCESS)
    assert refusals == []
    live.assert_equal()


# Losses in small steps


def test_a_loss_in_two_halves_is_held_at_the_second(world: World) -> None:
    filled(world)
    lose(world, *range(15))
    assert world.sync().status is RunStatus.SUCCESS
    second = held(world, *range(15, 30))
    assert "30 of 100 keys (30 %) within a day" in (second.error or "")
    assert len(world.tree()) == 85
    assert approved(world, second).status is RunStatus.SUCCESS
    lose(world, *range(30, 42))
    assert world.sync().status is RunStatus.SUCCESS  # somebody looked: the count begins anew
    world.assert_equal()


def test_a_bucket_whose_objects_come_and_go_is_not_held(world: World) -> None:
    filled(world)
    for turn in range(4):
        lose(world, *range(turn * 15, turn * 15 + 15))
        for number in range(15):
            world.bucket.put(f"new/{turn}/{number}", b"y")
        assert world.sync().status is RunStatus.SUCCESS
    world.assert_equal()


def test_the_past_is_of_a_day_and_of_the_same_keys(world: World) -> None:
    filled(world)
    lose(world, *range(15))
    world.sync()
    assert past(world.ledger.runs(), "", "", time.time()).deleted == 15
    assert past(world.ledger.runs(), "", "", time.time() + 2 * DAY).deleted == 0
    assert past(world.ledger.runs(), "other/", "", time.time()).deleted == 0


# What is approved


def test_no_version_that_came_since_the_plan_was_shown_is_deleted(world: World) -> None:
    filled(world, 40)
    run = held(world, *range(15))
    world.bucket.put(key(0), b"a newer version, that nobody was shown")
    world.service.mark([(key(0), "event")])
    world.service.run(run.kind, "other/")  # works off the mark
    assert world.tree()[key(0)].startswith(b"a newer")
    lose(world, 0)
    applied = approved(world, run)
    assert (applied.status, applied.counts.deleted) == (RunStatus.SUCCESS, 14)
    assert world.tree()[key(0)].startswith(b"a newer")
    assert world.sync().counts.deleted == 1  # the next one sees to it
    world.assert_equal()


def test_keys_that_came_back_stay(world: World) -> None:
    filled(world, 40)
    run = held(world, *range(15))
    for number in range(5):
        world.bucket.put(key(number), b"back again")
    applied = approved(world, run)
    assert (applied.status, applied.counts.deleted) == (RunStatus.SUCCESS, 10)
    world.assert_equal()


def test_keys_that_come_back_while_the_plan_is_applied_stay(world: World) -> None:
    filled(world, 40)
    run = held(world, *range(15))
    world.bucket.script(key(3), fail.before(lambda: world.bucket.put(key(3), b"just in time")))
    assert approved(world, run).counts.deleted == 14
    world.assert_equal()


@pytest.mark.parametrize("code", [403, 500, 503, 301])
def test_an_approved_plan_still_deletes_nothing_that_s3_does_not_confirm(
    world: World, code: int
) -> None:
    filled(world, 40)
    run = held(world, *range(15))
    for number in range(15):
        world.bucket.script(key(number), fail.status(code, times=99))
    applied = approved(world, run)
    assert (applied.status, applied.counts.deleted) == (RunStatus.PARTIAL, 0)
    assert (len(world.tree()), world.trash()) == (40, [])


def test_what_events_delete_while_a_plan_is_held_is_not_deleted_twice(live: World) -> None:
    run = held_live(live, 15)
    live.service.mark([(key(number), "event") for number in range(12)])
    eventually(lambda: len(live.tree()) == 28)
    live.service.approve(run.id)
    eventually(lambda: live.status(run.id) is RunStatus.SUCCESS)
    assert live.ledger.run(run.id).counts.deleted == 3
    assert sorted(live.trash()) == [key(number) for number in range(15)]
    live.assert_equal()


# When, how often, by whom and where


def test_a_plan_of_yesterday_is_not_approved_but_made_anew(world: World) -> None:
    filled(world, 40)
    run = held(world, *range(15))
    world.ledger.finish_run(run.id, RunStatus.HELD, time.time() - DAY - 60)
    assert "its plan too old" in told(world)
    with pytest.raises(PlanOutdated, match="more than a day old") as caught:
        world.service.approve(run.id)
    assert "datasync sync" in caught.value.hint
    assert len(world.tree()) == 40
    again = world.sync()
    assert (again.status, world.status(run.id)) == (RunStatus.HELD, RunStatus.CANCELLED)
    assert approved(world, again).counts.deleted == 15


def test_a_plan_that_was_approved_in_time_is_applied_however_late(world: World) -> None:
    filled(world, 40)
    run = held(world, *range(15))
    world.service.approve(run.id)
    world.reopen()
    assert world.service.approve(run.id).approved  # once more is no harm
    assert world.service.apply(run.id).counts.deleted == 15


def test_two_people_approve_at_once_and_it_is_applied_once(live: World) -> None:
    for number in range(40):
        live.bucket.put(key(number), b"x")
    live.perform()
    lose(live, *range(15))
    run, answers = live.perform(), list[str]()
    barrier = threading.Barrier(8)

    def approve() -> None:
        barrier.wait()
        try:
            live.service.approve(run.id)
            answers.append("approved")
        except RunNotHeld:
            answers.append("refused")

    people = [threading.Thread(target=approve) for _ in range(8)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    eventually(lambda: live.status(run.id) is RunStatus.SUCCESS)
    assert len(answers) == 8 and "approved" in answers
    assert len(live.trash()) == 15 == live.ledger.run(run.id).counts.deleted
    with pytest.raises(RunNotHeld, match="success"):
        live.service.approve(run.id)


def test_a_process_that_does_not_lead_approves(live: World) -> None:
    for number in range(40):
        live.bucket.put(key(number), b"x")
    live.perform()
    lose(live, *range(15))
    run = live.perform()
    mirror = Mirror(live.root)
    mirror.prepare(bucket_identity=IDENTITY)
    ledger = Ledger.open(sqlite_url(live.root / ".datasync" / "ledger.db"))
    other = S3SyncService(live.bucket, mirror, ledger, live.options)
    try:
        assert other.approve(run.id).approved
        eventually(lambda: ledger.run(run.id).status is RunStatus.SUCCESS)
        with pytest.raises(LeaseHeld):
            other.apply(run.id)
    finally:
        ledger.close()
        mirror.close()
    live.assert_equal()


def test_a_restart_between_hold_and_approval_changes_nothing(world: World) -> None:
    filled(world, 40)
    run = held(world, *range(15))
    world.reopen()
    world.sync("other/")  # whoever leads first clears away what was cut short
    assert len(world.ledger.planned_deletes(run.id)) == 15
    assert approved(world, run).counts.deleted == 15
    world.assert_equal()


def test_a_rejected_plan_deletes_nothing_and_speaks_against_equality(world: World) -> None:
    filled(world, 40)
    run = held(world, *range(15))
    world.service.cancel(run.id)
    assert (len(world.tree()), world.in_sync) == (40, False)
    with pytest.raises(RunNotHeld, match="cancelled"):
        world.service.approve(run.id)


# A bucket that is not what it was


def test_a_bucket_emptied_by_mistake_and_filled_again_costs_nothing(world: World) -> None:
    filled(world, 40)
    tree, objects = world.tree(), dict(world.bucket.objects)
    run = held(world, *range(40))
    assert world.tree() == tree
    for name, stored in objects.items():
        world.bucket.put(name, stored.body, last_modified=stored.last_modified)
    gets = world.bucket.counts["get"]
    assert world.sync().counts.planned == 0
    assert world.bucket.counts["get"] == gets
    assert world.status(run.id) is RunStatus.CANCELLED


def test_a_name_that_somebody_else_took_is_held_and_nothing_goes(world: World) -> None:
    """Another one's bucket of the same name, which lets us in: other keys, ours are 404."""
    filled(world, 40)
    world.bucket.objects.clear()
    for number in range(500):
        world.bucket.put(f"theirs/{number}", b"z")
    run = world.sync()
    assert run.status is RunStatus.HELD
    assert all(key(number) in world.tree() for number in range(40))
    assert world.trash() == []


def take_over(world: World) -> None:
    """Start once with --adopt and the settings of another bucket."""
    world.close()
    world.mirror = Mirror(world.root)
    world.mirror.prepare(bucket_identity="s3://another", adopt=True)
    world.ledger = Ledger.open(sqlite_url(world.root / ".datasync" / "ledger.db"))
    assert world.mirror.taken_over
    forget_plans(world.ledger)
    world.service = S3SyncService(world.bucket, world.mirror, world.ledger, world.options)


def test_a_takeover_forgets_what_was_planned_and_heard_of_the_other_bucket(world: World) -> None:
    filled(world, 40)
    run = held(world, *range(15))
    world.service.approve(run.id)
    world.service.mark([(key(number), "event") for number in range(20, 40)])
    lose(world, *range(15, 40))  # the new bucket has none of them
    take_over(world)
    assert world.status(run.id) is RunStatus.CANCELLED
    assert world.sync().status is RunStatus.HELD
    assert (len(world.tree()), world.trash()) == (40, [])


def test_a_service_whose_directory_was_taken_over_stops_working_in_it(world: World) -> None:
    filled(world, 3)
    other = Mirror(world.root)
    with pytest.raises(ConfigurationError, match="not of s3://another"):
        other.prepare(bucket_identity="s3://another")
    other.prepare(bucket_identity="s3://another", adopt=True)
    world.bucket.put("new", b"x")
    run = world.sync()
    assert (run.status, "new" in world.tree()) == (RunStatus.FAILED, False)
    with pytest.raises(MirrorUnavailable, match="mirror of s3://another by another process"):
        world.mirror.check()
    other.close()


# Floods


def events_for(world: World, *numbers: int) -> None:
    world.service.mark([(key(number), "event") for number in numbers])
    world.service.run(world.ledger.runs(1)[0].kind, "none/")


def test_a_flood_of_deletes_by_events_is_done_told_and_over_by_itself(world: World) -> None:
    filled(world, 100)
    lose(world, *range(25))
    events_for(world, *range(25))
    assert "were deleted within an hour" not in told(world)
    lose(world, 25)
    events_for(world, 25)
    assert len(world.tree()) == 74 and len(world.trash()) == 26
    assert "26 of 100 files (26 %) were deleted within an hour" in told(world)
    assert "trash list" in told(world)
    assert "were deleted within an hour" not in told(world, time.time() + HOUR + 600)


def test_deletes_of_runs_count_for_a_flood_unless_they_were_approved(world: World) -> None:
    filled(world, 100)
    lose(world, *range(20))
    world.sync()
    lose(world, *range(20, 30))
    events_for(world, *range(20, 30))
    assert "30 of 100 files" in told(world)
    world.lose_ledger()
    world.sync()
    approved(world, held(world, *range(30, 90)))
    assert "were deleted within an hour" not in told(world)


def test_what_was_no_file_any_more_is_no_delete(world: World) -> None:
    filled(world, 3)
    world.bucket.put("dir/", b"")
    world.sync()
    world.file(key(0)).unlink()
    lose(world, 0)
    world.bucket.delete("dir/")
    assert world.sync().counts.deleted == 2
    assert (world.ledger.totals().deletes, world.ledger.totals().files) == ({}, 2)


def test_old_counts_are_forgotten(world: World) -> None:
    filled(world, 5)
    lose(world, 1)
    world.sync()
    [since] = world.ledger.totals().deletes
    world.ledger.prune(since + DAY - 60)
    assert list(world.ledger.totals().deletes) == [since]
    world.ledger.prune(since + DAY + 60)
    assert world.ledger.totals().deletes == {}
