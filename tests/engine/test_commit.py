"""The commit by itself: whole groups over a real folder and a real ledger."""

from collections.abc import Sequence

import pytest

from datasync.errors import LedgerError, NetworkFailure
from datasync.models.sync_models import (
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
from datasync.services.engine.tasks import Found, Result, Task
from datasync.services.engine.workshop import intact_keys
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
    settle, refusals = Ledger.settle, [LedgerError("the database is broken")]

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
