"""How many worker processes help."""

import os
from types import SimpleNamespace
from typing import Any, cast

import pytest

from datasync.models.sync_models import SyncOptions
from datasync.services.engine import crew
from datasync.services.engine.crew import MOST_WORKERS, WORKERS_SHARE, Crew, worker_count
from datasync.services.engine.levels import MAXIMUM, ConcurrencyLevel
from datasync.services.engine.mate import Mate
from datasync.services.engine.parcels import Order, Report
from datasync.services.engine.queues import TaskQueues
from datasync.services.engine.worker import Worker


@pytest.mark.parametrize("cores, workers", [(1, 0), (2, 1), (3, MOST_WORKERS), (64, MOST_WORKERS)])
def test_one_core_is_left_to_the_engine(
    monkeypatch: pytest.MonkeyPatch, cores: int, workers: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    assert worker_count(SyncOptions("bucket")) == workers


def test_a_fixed_number_of_requests_is_the_engines_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert worker_count(SyncOptions("bucket", concurrency=200)) == 0


class TestWhatIsKept:
    """Small downloads and bursts are the workers' as long as one of them takes any."""

    @pytest.fixture
    def crew_of_two(self) -> Crew:
        level = ConcurrencyLevel(None, 0.0)
        pool: Any = SimpleNamespace(queues=TaskQueues(lambda: True), level=level, wake=lambda: None)
        made = Crew(pool, 2)
        made._mates = [cast(Any, SimpleNamespace(serves=False, retired=False)) for _ in range(2)]
        return made

    def kept(self, crew_of_two: Crew) -> tuple[bool, bool]:
        return crew_of_two.pool.queues.reserved, crew_of_two.pool.queues.bursts_reserved

    def test_until_the_last_one_takes_no_more(self, crew_of_two: Crew) -> None:
        one, other = cast(Any, crew_of_two._mates)
        assert self.kept(crew_of_two) == (False, False)
        one.serves = True
        crew_of_two.ready()
        assert self.kept(crew_of_two) == (True, True)
        other.serves, one.serves = True, False
        crew_of_two.ready()
        crew_of_two.retired()
        assert self.kept(crew_of_two) == (True, True)
        crew_of_two.over(other, [], lost=True)
        assert self.kept(crew_of_two) == (False, False)

    def test_requests_from_when_one_is_there_until_none_is(self, crew_of_two: Crew) -> None:
        level = crew_of_two.pool.level
        level.begin(MAXIMUM)
        crew_of_two._review()
        assert level.current == MAXIMUM
        crew_of_two.ready()
        assert level.current == MAXIMUM - WORKERS_SHARE
        for mate in list(crew_of_two._mates):
            level.begin(MAXIMUM)
            assert level.current == MAXIMUM - WORKERS_SHARE
            crew_of_two.over(mate, [], lost=False)
        level.begin(MAXIMUM)
        assert level.current == MAXIMUM

    def test_the_level_goes_over_to_a_worker_that_is_there(self, crew_of_two: Crew) -> None:
        crew_of_two.pool.level.begin(MAXIMUM)
        mate = Mate(crew_of_two, 1, 96)
        with mate._waker, mate._sleeper:
            mate._take(Report())
            mate._take(Report())
        assert mate._orders == [Order(level=96)]  # as much as it may have of what there was
        worker, theirs = object.__new__(Worker), ConcurrencyLevel(None, 0.0)
        worker._pool = cast(Any, SimpleNamespace(level=theirs, submit=lambda tasks: None))
        worker._follow(mate._orders[0])
        worker._follow(Order())
        assert theirs.current == 96

    def test_a_worker_is_awaited_until_the_last_one_takes_no_more(self, crew_of_two: Crew) -> None:
        one, other = cast(Any, crew_of_two._mates)
        queues = crew_of_two.pool.queues
        crew_of_two.ready()  # it may be any
        assert queues.awaited
        one.retired = other.retired = True
        crew_of_two.retired()
        assert not queues.awaited

    def test_events_not_for_a_while_after_many_that_were_large(
        self, crew_of_two: Crew, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cast(Any, crew_of_two._mates[0]).serves = True
        crew_of_two.ready()
        crew_of_two.too_large()
        assert self.kept(crew_of_two) == (True, False)
        crew_of_two.ready()
        assert self.kept(crew_of_two) == (True, False)
        monkeypatch.setattr(crew, "LARGE_SECONDS", 0.0)
        crew_of_two.too_large()
        assert self.kept(crew_of_two) == (True, True)
