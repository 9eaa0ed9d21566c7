"""What the loops are given, and together with what."""

import pytest

from datasync.models.sync_models import (
    DirtyKey,
    FileStat,
    ListedObject,
    ObjectRow,
    Operation,
    State,
)
from datasync.services.engine.integrity import LARGE_BYTES
from datasync.services.engine.queues import (
    BURST,
    GATHER_SECONDS,
    MANY,
    PORTION,
    SHARED_BYTES,
    TAKEN_SECONDS,
    TOGETHER,
    TaskQueues,
)
from datasync.services.engine.tasks import Task


def to_prove(key: str, size: int) -> Task:
    listed = ListedObject(key=key, size=size, etag="e", last_modified=0)
    file = FileStat(path=key, size=size, mtime_ns=0)
    return Task(key, Operation.ADOPT, listed=listed, found=file)


def errands(*sizes: int) -> list[list[int]]:
    queues = TaskQueues(lambda: True)
    queues.put([to_prove(f"{number}", size) for number, size in enumerate(sizes)])
    return [[task.nbytes for task in errand] for errand in queues.take_proofs(100)]


def test_small_files_are_proved_many_together() -> None:
    assert [len(errand) for errand in errands(*[5] * (TOGETHER + 1))] == [TOGETHER, 1]


def test_a_large_file_is_proved_by_itself() -> None:
    large = SHARED_BYTES + 1
    assert errands(5, 5, large, large, 5) == [[5, 5], [large], [large], [5]]
    assert errands(SHARED_BYTES, SHARED_BYTES) == [[SHARED_BYTES, SHARED_BYTES]]


def test_where_there_is_no_file_there_is_nothing_to_prove() -> None:
    queues = TaskQueues(lambda: True)
    queues.put([Task("a", Operation.ADOPT)])
    assert queues.take_proofs(100) == []
    assert [task.key for task in queues.take(0, 10, 10, 1)] == ["a"]


def event(number: int, attempts: int = 0, held_bytes: int = 0, *, here: bool = False) -> Task:
    key = f"{number:03}"
    mark = DirtyKey(key, "event", number, number, number, attempts=attempts)
    row = ObjectRow(key, "e", held_bytes, 0, State.SYNCED) if held_bytes else None
    return Task(key, row=row, mark=mark, urgent=True, here=here)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def with_a_worker(*tasks: Task, accepting: bool = False, clock: Clock | None = None) -> TaskQueues:
    """Events are begun also while the commit is behind, and nothing else is accepted."""
    queues = TaskQueues(lambda: accepting, clock or Clock())
    queues.reserved = queues.bursts_reserved = True
    queues.put(tasks)
    return queues


def taken(queues: TaskQueues, room: int = 100) -> list[str]:
    """By a loop."""
    return [task.key for task in queues.take(room, room, 100, 1)]


def handed(queues: TaskQueues, room: int = 100) -> list[str]:
    """To a worker."""
    return [task.key for task in queues.take_light(room, room)]


def test_a_few_events_are_the_loops_even_where_there_is_a_worker() -> None:
    queues = with_a_worker(*map(event, range(BURST)))
    assert queues.offered == 0 and not queues.empty and handed(queues) == []
    assert len(taken(queues)) == BURST


def test_of_a_burst_the_worker_has_all_but_the_last_few() -> None:
    queues = with_a_worker(*map(event, range(BURST + 2)))
    assert queues.offered == BURST + 2 and queues.empty and not queues.fresh_wait
    assert taken(queues) == []
    assert handed(queues, 2) == ["000", "001"]
    assert handed(queues) == [] and not queues.empty and queues.fresh_wait
    assert len(taken(queues)) == BURST


def test_what_a_worker_has_no_part_in_is_the_loops_in_a_burst_too() -> None:
    """What failed before, what is known to be large, what a worker gave back."""
    ours = [event(900, attempts=1), event(901, held_bytes=SHARED_BYTES + 1), event(902, here=True)]
    queues = with_a_worker(*ours, *map(event, range(BURST + 1)))
    assert set(taken(queues)) == {"900", "901", "902"}
    assert handed(queues)[0] == "000"


def test_a_burst_of_which_no_worker_takes_is_the_loops_as_well() -> None:
    """It may be full of slow objects, or hang."""
    clock = Clock()
    queues = with_a_worker(*map(event, range(BURST + 3)), clock=clock)
    clock.now += TAKEN_SECONDS
    assert not queues.empty and taken(queues, 1) == ["000"]
    assert handed(queues, 1) == ["001"]  # it is there again
    assert taken(queues) == []


def test_without_a_worker_a_burst_is_the_loops() -> None:
    queues = with_a_worker(*map(event, range(BURST + 1)))
    queues.bursts_reserved = False
    assert queues.burst == BURST + 1 and queues.offered == 0  # worth starting one
    assert handed(queues) == [] and len(taken(queues)) == BURST + 1


def test_events_are_begun_in_the_order_of_their_coming_whoever_may_have_them() -> None:
    """Else a stream of events of large files would keep all others waiting for ever."""
    large = [event(number, held_bytes=SHARED_BYTES + 1) for number in (1, 3, 5)]
    queues = TaskQueues(lambda: True)
    queues.put([*large, *map(event, (0, 2, 4))])
    assert taken(queues, 4) == ["000", "001", "002", "003"]


def light(count: int, nbytes: int = 5) -> list[Task]:
    listed = [ListedObject(f"l{number}", nbytes, "e", 0) for number in range(count)]
    return [Task(each.key, listed=each, run_id=1) for each in listed]


def test_events_leave_room_for_the_light_tasks_of_a_run() -> None:
    queues = with_a_worker(*light(100), *map(event, range(200)), accepting=True)
    found = handed(queues, 40)
    assert len(found) == 40 and sum(key.startswith("l") for key in found) == 10
    assert len(queues.take_light(40, 0)) == 40  # of a worker that is given no events


class TestWhileARunCompares:
    """Every page brings a few light tasks; more are likely to come."""

    seeking = True

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def queues(self, clock: Clock) -> TaskQueues:
        return TaskQueues(lambda: True, clock, lambda: self.seeking)

    def test_a_few_wait_for_more(self, queues: TaskQueues) -> None:
        queues.put(light(MANY - 1))
        assert queues.empty and taken(queues) == []
        queues.put(light(1))
        assert not queues.empty and len(taken(queues, 1)) == 1

    def test_not_for_long(self, queues: TaskQueues, clock: Clock) -> None:
        queues.put(light(3))
        clock.now += GATHER_SECONDS - 0.01
        queues.put(light(3))
        assert queues.empty
        clock.now += 0.01
        assert not queues.empty and len(taken(queues)) == 6
        queues.put(light(3))
        assert queues.empty

    def test_not_when_everything_was_compared(self, queues: TaskQueues) -> None:
        queues.put(light(3))
        self.seeking = False
        assert not queues.empty and len(taken(queues)) == 3

    def test_for_a_worker_that_starts_more_are_kept(self, queues: TaskQueues) -> None:
        queues.awaited = True
        queues.put(light(2 * MANY - 1))
        assert queues.empty and queues.offered == 2 * MANY - 1
        queues.put(light(1))
        assert not queues.empty

    def test_a_worker_is_given_many_together(self, queues: TaskQueues, clock: Clock) -> None:
        queues.reserved = queues.awaited = True
        queues.put(light(PORTION - 1))
        assert queues.empty and queues.offered == 0
        clock.now += GATHER_SECONDS
        assert queues.offered == PORTION - 1 and len(handed(queues)) == PORTION - 1
        queues.put(light(PORTION))
        assert queues.offered == PORTION

    def test_all_else_begins_at_once(self, queues: TaskQueues) -> None:
        delete = Task("d", Operation.DELETE, run_id=1)
        queues.put([*light(3), delete, event(1), *light(1, LARGE_BYTES + 1)])
        assert set(taken(queues)) == {"d", "001", "l0"}
        assert queues.empty
