"""The commit by itself: whole groups over a real folder and a real ledger."""

import errno
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest

from datasync.errors import (
    DiskFull,
    Interrupted,
    LedgerBusy,
    LedgerError,
    MirrorError,
    NetworkFailure,
)
from datasync.models.sync_models import (
    Action,
    ObjectHead,
    ObjectRow,
    Operation,
    RunStatus,
    Settlement,
    State,
    Verdict,
)
from datasync.services.engine.commit import Committer
from datasync.services.engine.group import Done
from datasync.services.engine.outcomes import held_file
from datasync.services.engine.tasks import Found, Result, Task, recorded
from datasync.services.engine.workshop import intact_keys
from datasync.services.storage.directories import Directories
from datasync.services.storage.durability import Durability
from datasync.services.storage.ledger import Ledger
from tests.support.world import World


class Commits:
    """A committer of a world, with what it reported."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.done: list[Done] = []
        self.problems: list[Exception] = []
        self.refusals: list[Exception] = []
        self.committer = Committer(
            world.mirror, world.ledger, self._settled, lambda told: {}, self.problems.append
        )

    def _settled(self, done: Sequence[Done]) -> None:
        self.done += done
        if self.refusals:
            raise self.refusals.pop()

    def staged(self, key: str, body: bytes) -> Result:
        staged = self.world.mirror.stage(len(body))
        staged.write(body)
        head = ObjectHead(200, "e" * 32, len(body), len(body))
        return Result(Task(key), Found.STAGED, head, staged, verdict=Verdict.MD5)

    def group(self, *results: Result) -> None:
        """Commit the results as one group, then end."""
        self.committer.put(results)
        self.committer.start()
        self.committer.stop(10)


@pytest.fixture
def commits(world: World) -> Commits:
    return Commits(world)


def test_no_row_tells_of_a_file_that_is_not_there(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle, early = Ledger.settle, list[str]()

    def look_first(ledger: Ledger, settlement: Settlement) -> None:
        synced = {row.key: row for row in settlement.rows if row.state is State.SYNCED}
        early.extend(synced.keys() - intact_keys(world.mirror, synced))
        settle(ledger, settlement)

    monkeypatch.setattr(Ledger, "settle", look_first)
    for version in (b"old", b"new"):
        for number in range(9):
            world.bucket.put(f"{number}/a", version)
        assert world.sync().counts.downloaded == 9
    assert early == []


def test_a_file_moved_aside_and_deleted_in_one_group_is_gone(
    world: World, commits: Commits
) -> None:
    world.bucket.put("a", b"old")
    world.sync()
    gone = Result(Task("a", row=world.row("a")), Found.MISSING)
    commits.group(gone, commits.staged("a/b", b"below"))
    assert world.tree() == {"a/b": b"below"}
    assert world.ledger.get("a") is None


@pytest.mark.parametrize("found", [Found.UNCHANGED, Found.ADOPTED, Found.FAILED])
def test_a_file_moved_aside_is_where_its_row_says(
    world: World, commits: Commits, found: Found
) -> None:
    stored = world.bucket.put("a", b"old")
    world.sync()
    row = world.row("a")
    task = Task("a", Operation.ADOPT, row, stored.listed("a"), run_id=1, intact=True)
    error = NetworkFailure("gone") if found is Found.FAILED else None
    file = held_file(row)
    result = Result(task, found, file=file, verdict=Verdict.MD5, error=error)
    commits.group(result, commits.staged("a/b", b"below"))
    assert world.tree() == {"%FF=a": b"old", "a/b": b"below"}
    assert world.mirror.stat_many(["%FF=a"]) == [held_file(world.row("a"))]


def test_a_changed_file_of_ours_makes_way_and_is_repaired_there(world: World) -> None:
    world.bucket.put("a", b"right")
    world.sync()
    world.file("a").write_bytes(b"changed by somebody")
    world.bucket.put("a/b", b"below")
    world.service.mark([("a/b", "event")])
    assert world.sync("a/").status is RunStatus.SUCCESS
    assert world.tree() == {"%FF=a": b"changed by somebody", "a/b": b"below"}
    assert world.sync().counts.downloaded == 1
    world.assert_equal()


def test_what_the_ledger_alone_decided_does_not_touch_a_file_that_came_since(
    world: World, commits: Commits
) -> None:
    world.bucket.put("a", b"new")
    world.sync()
    bare = ObjectRow("a", "e", 9, 0, State.OVERSIZE)
    commits.group(Result(Task("a", Operation.DELETE, bare), Found.FORGOTTEN))
    assert [done.outcome.operation for done in commits.done if done.outcome] == [Operation.SKIP]
    world.assert_equal()


def test_results_after_the_end_leave_nothing_staged(world: World, commits: Commits) -> None:
    commits.group()
    commits.committer.put([commits.staged("a", b"late")])
    world.assert_nothing_staged()
    assert world.tree() == {}


def test_whoever_fails_to_hear_of_a_group_does_not_stop_the_next_one(
    world: World, commits: Commits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasync.services.engine.commit.GROUP", 1)
    commits.refusals.append(ZeroDivisionError("a mistake"))
    commits.group(commits.staged("a", b"x"), commits.staged("b", b"y"))
    assert world.tree() == {"a": b"x", "b": b"y"}
    assert [type(problem) for problem in commits.problems] == [ZeroDivisionError]


@pytest.fixture
def refused_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of one result, and a ledger that refuses the first of them."""
    monkeypatch.setattr("datasync.services.engine.commit.GROUP", 1)
    settle, refusals = Ledger.settle, [DiskFull("the disk of the ledger")]

    def refuse_once(ledger: Ledger, settlement: Settlement) -> None:
        if refusals:
            raise refusals.pop()
        settle(ledger, settlement)

    monkeypatch.setattr(Ledger, "settle", refuse_once)


def test_a_file_that_could_not_be_recorded_is_recorded_with_the_next_group(
    world: World, commits: Commits, refused_once: None
) -> None:
    commits.group(commits.staged("a", b"x"), commits.staged("b", b"y"))
    assert {key: world.row(key).state for key in ("a", "b")} == dict.fromkeys("ab", State.SYNCED)


def test_a_file_that_could_not_be_recorded_goes_when_s3_loses_its_object(
    world: World, commits: Commits, refused_once: None
) -> None:
    commits.group(commits.staged("a", b"x"), Result(Task("a"), Found.MISSING))
    assert (world.tree(), world.ledger.get("a")) == ({}, None)
    assert world.trash() == ["a"]


# A ledger that refuses what one key brings


class Picky:
    """A ledger that refuses every settlement in which a key named "bad..." has a row."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        self.asked = 0
        settle = Ledger.settle

        def refuse(ledger: Ledger, settlement: Settlement) -> None:
            self.asked += 1
            if any(row.key.startswith("bad") for row in settlement.rows):
                raise error
            settle(ledger, settlement)

        monkeypatch.setattr(Ledger, "settle", refuse)


def marked(world: World, commits: Commits, *keys: str) -> list[Result]:
    """Results of keys that events told of."""
    world.ledger.mark(dict.fromkeys(keys, "put"), 1.0)
    marks = world.ledger.dirty(keys)
    made = [commits.staged(key, key.encode()) for key in keys]
    for result in made:
        result.task.mark, result.task.urgent = marks[result.task.key], True
    return made


@pytest.mark.parametrize("error", [LedgerError("out of range"), OverflowError("too large")])
def test_a_key_that_cannot_be_recorded_fails_alone(
    world: World, commits: Commits, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    good = [f"k{number:03}" for number in range(200)]
    results = marked(world, commits, *good, "bad")
    picky = Picky(monkeypatch, error)
    commits.group(*results)
    assert set(world.ledger.dirty([*good, "bad"])) == {"bad"}
    assert {row.key for row in world.ledger.rows()} == set(good)
    [failure] = world.ledger.failures()
    assert (failure.key, failure.attempts) == ("bad", 1)
    assert failure.next_try is not None and type(error).__name__ in str(failure.reason)
    assert [done.broken for done in commits.done] == [None] * 201
    assert picky.asked < 40  # halves, not one key after the other


def test_a_key_that_cannot_be_recorded_does_not_slow_the_next_groups(
    world: World, commits: Commits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasync.services.engine.commit.GROUP", 2)
    picky = Picky(monkeypatch, LedgerError("out of range"))
    good = [commits.staged(f"k{number}", b"x") for number in range(20)]
    commits.group(commits.staged("bad", b"x"), *good)
    assert {row.key for row in world.ledger.rows()} == {f"k{number}" for number in range(20)}
    assert picky.asked == 4 + 10  # the first group, its halves, the failure; then one a group


def test_a_file_that_cannot_be_recorded_goes_when_s3_loses_its_object(
    world: World, commits: Commits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasync.services.engine.commit.GROUP", 1)
    Picky(monkeypatch, LedgerError("out of range"))
    commits.group(commits.staged("bad", b"x"), Result(Task("bad"), Found.MISSING))
    assert (world.tree(), world.trash()) == ({}, ["bad"])


def test_a_ledger_that_takes_nothing_is_asked_a_few_times_and_no_key_is_blamed(
    world: World, commits: Commits, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = [f"k{number:03}" for number in range(200)]
    results = marked(world, commits, *good)
    asked: list[Settlement] = []

    def refuse(_: Ledger, settlement: Settlement) -> None:
        asked.append(settlement)
        raise LedgerError("the database disk image is malformed")

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "settle", refuse)
        commits.group(*results)
    assert len(asked) < 30
    assert [str(done.broken)[-9:] for done in commits.done] == ["malformed"] * 200
    assert {mark.attempts for mark in world.ledger.dirty(good).values()} == {0}


def test_a_key_that_a_run_cannot_record_makes_it_partial(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("a", "bad", "c"):
        world.bucket.put(key, b"x")
    Picky(monkeypatch, LedgerError("out of range"))
    run = world.sync()
    counts = run.counts
    assert run.status is RunStatus.PARTIAL
    assert (counts.planned, counts.downloaded, counts.failed) == (3, 2, 1)
    [failed] = [each for each in world.ledger.outcomes(run_id=run.id) if each.error]
    assert (failed.key, failed.message, failed.error) == ("bad", "out of range", "LedgerError")
    assert not world.in_sync


# Files in their places that something else went wrong for


@contextmanager
def reading(
    monkeypatch: pytest.MonkeyPatch, before: Callable[[Sequence[str]], None]
) -> Iterator[None]:
    """While open, `before` hears of each look for rows, and may refuse it."""
    get_many = Ledger.get_many

    def watched(ledger: Ledger, keys: Sequence[str]) -> dict[str, ObjectRow]:
        before(keys)
        return get_many(ledger, keys)

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "get_many", watched)
        yield


@pytest.mark.parametrize("urgent", [True, False])
def test_a_placed_file_whose_folder_is_not_flushed_stays_ours(
    world: World, commits: Commits, monkeypatch: pytest.MonkeyPatch, urgent: bool
) -> None:
    def failing(_: Durability, directories: Directories) -> dict[str, MirrorError]:
        return dict.fromkeys(directories.touched, MirrorError("EIO"))

    world.bucket.put("kept", b"kept")
    world.sync()
    result = commits.staged("new", b"x")
    result.task.urgent, result.task.run_id = urgent, None if urgent else 1
    with monkeypatch.context() as patch:
        patch.setattr(Durability, "of_folders", failing)
        commits.group(result)
    assert [str(done.outcome and done.outcome.message) for done in commits.done] == ["EIO"]
    row = world.row("new")
    assert (row.state, row.path, row.mtime_ns) == (State.FAILED, "new", 0)
    assert not world.in_sync
    world.sync()  # the object is gone meanwhile
    assert (world.tree(), world.trash()) == ({"kept": b"kept"}, ["new"])
    assert world.ledger.get("new") is None


def test_a_file_that_was_not_placed_claims_nobody_elses(
    world: World, commits: Commits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of the same length and date that somebody put there."""
    result = commits.staged("new", b"x")
    (world.root / "new").write_bytes(b"y")
    os.utime(world.root / "new", (1, 1))  # as `staged` dates it

    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "")

    with monkeypatch.context() as patch:
        patch.setattr("datasync.services.storage.publishing.displace", refuse)
        commits.group(result)
    assert (world.row("new").state, world.row("new").path) == (State.FAILED, None)
    assert world.tree() == {"new": b"y"}


def test_files_that_are_placed_are_recorded_though_their_group_is_given_up(
    world: World, commits: Commits, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.bucket.put("a", b"above")
    world.sync()

    def refuse(keys: Sequence[str]) -> None:
        if list(keys) == ["a"]:  # to make way for a/b
            raise LedgerError("the connection is lost")

    with reading(monkeypatch, refuse):
        commits.group(commits.staged("x", b"x"), commits.staged("a/b", b"below"))
    assert {type(done.broken) for done in commits.done} == {LedgerError}
    assert world.row("x").state is State.SYNCED
    world.sync()
    assert world.tree() == {"a": b"above"}
    assert world.trash() == ["x"]


def test_a_ledger_that_is_busy_for_a_moment_costs_nothing_that_was_fetched(
    world: World, commits: Commits, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = [LedgerBusy("restarting"), LedgerBusy("restarting")]

    def refuse(_: Sequence[str]) -> None:
        if refusals:
            raise refusals.pop()

    with reading(monkeypatch, refuse):
        commits.group(commits.staged("a", b"x"))
    assert refusals == [] and world.row("a").state is State.SYNCED


def test_nothing_more_is_begun_by_a_commit_that_was_to_have_ended(
    world: World, commits: Commits, monkeypatch: pytest.MonkeyPatch, never: threading.Event
) -> None:
    monkeypatch.setattr("datasync.services.engine.commit.GROUP", 1)
    settle, at_disk = Ledger.settle, threading.Event()

    def slow(ledger: Ledger, settlement: Settlement) -> None:
        at_disk.set()
        never.wait(30)
        settle(ledger, settlement)

    monkeypatch.setattr(Ledger, "settle", slow)
    committer = commits.committer
    committer.put([commits.staged("a", b"x"), commits.staged("b", b"y")])
    committer.start()
    assert at_disk.wait(30)
    committer.stop(0.01)
    never.set()
    committer.wait()
    assert world.tree() == {"a": b"x"}
    assert [type(done.broken) for done in commits.done] == [type(None), Interrupted]
    world.assert_nothing_staged()


def test_a_record_of_a_row_that_has_changed_since_is_dropped(
    world: World, commits: Commits
) -> None:
    """The listing's date of a version, read while an event found that there is another one."""
    stored = world.bucket.put("a", b"old")
    world.sync()
    row = world.row("a")
    action = Action(Operation.SKIP, "a", "dated", stored.listed("a"), row, replace(row, size=9))
    stale = replace(row, state=State.STALE, seen_etag="other", reason="archived")
    world.ledger.settle(Settlement(rows=(stale,)))
    commits.group(recorded(action, None))
    assert world.row("a") == stale


def test_what_only_its_size_speaks_for_is_not_called_verified(
    world: World, commits: Commits
) -> None:
    stored = world.bucket.put("a", b"old")
    world.sync()
    row = world.row("a")
    task = Task("a", Operation.ADOPT, row, stored.listed("a"), run_id=1, intact=True)
    commits.group(Result(task, Found.ADOPTED, file=held_file(row), verdict=Verdict.SIZE))
    [message] = [done.outcome.message for done in commits.done if done.outcome]
    assert message.startswith("Size compared in ")
