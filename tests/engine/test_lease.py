"""One engine on a directory, whatever is done to the files that say so and to the clock."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from datasync.errors import LeaseHeld, MirrorError, TooManyOpenFiles
from datasync.models.sync_models import EnginePlace, RunStatus
from datasync.services.engine import runner
from datasync.services.engine.lease import Lease
from tests.support.world import World, eventually


class Second(World):
    """Another process's parts on the directory of a first one."""

    def __init__(self, first: World) -> None:
        super().__init__(first.folder, first.options, first.bucket)


@pytest.fixture
def second(live: World) -> Iterator[World]:
    made = Second(live)
    yield made
    made.close()


def lease_file(world: World) -> Path:
    return world.root / ".datasync" / "lease.lock"


def place(world: World) -> EnginePlace:
    return world.service.engine_place


def test_a_second_process_says_that_it_does_not_lead(live: World, second: World) -> None:
    assert (place(live), place(second)) == (EnginePlace.HERE, EnginePlace.NOWHERE)
    second.service.start()
    eventually(lambda: place(second) is EnginePlace.ELSEWHERE)
    live.service.stop()
    eventually(lambda: place(second) is EnginePlace.HERE)
    assert place(live) is EnginePlace.NOWHERE


def test_removing_the_lease_file_of_a_living_leader_makes_no_second_one(
    live: World, second: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lease, "require", lambda _: None)  # the leader has not noticed yet
    lease_file(live).unlink()
    with pytest.raises(LeaseHeld):
        second.sync()
    assert live.service.leading and not second.service.leading


def test_a_leader_whose_lease_file_was_removed_takes_a_new_lease(
    live: World, second: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "TURN_SECONDS", 0.01)
    lease_file(live).unlink()
    live.service.wake()
    eventually(lambda: live.service.last_problem)
    assert "lease.lock was removed" in str(live.service.last_problem)
    eventually(lambda: live.service.leading and lease_file(live).exists())
    live.bucket.put("a", b"x")
    assert live.perform().status is RunStatus.SUCCESS
    with pytest.raises(LeaseHeld):
        second.sync()


@pytest.mark.parametrize("error", [TooManyOpenFiles("none is left"), OSError(errno.EIO, "")])
def test_a_lease_that_cannot_be_looked_at_is_kept(world: World, error: Exception) -> None:
    refusals = list[Exception]()

    @contextmanager
    def folder() -> Iterator[int]:
        if refusals:
            raise refusals.pop()
        descriptor = os.open(world.root / ".datasync", os.O_RDONLY)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    lease = Lease(folder)
    lease.acquire()
    refusals.append(error)
    lease.require()
    assert refusals == [] and lease.held
    lease_file(world).unlink()
    with pytest.raises(MirrorError, match="was removed"):
        lease.require()
    lease.release()


def test_a_lease_file_that_is_removed_as_it_is_taken_gives_no_lease(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def opened_too_late(path: str, flags: int, *given: int, **named: int) -> int:
        descriptor = opened(path, flags, *given, **named)
        if path == "lease.lock":
            os.unlink(path, dir_fd=named["dir_fd"])
        return descriptor

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", opened_too_late)
        with pytest.raises(MirrorError, match="was removed"):
            world.sync()
    assert not world.service.leading
    assert world.sync().status is RunStatus.SUCCESS
