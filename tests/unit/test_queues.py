"""What the loops are given, and together with what."""

from datasync.models.sync_models import (
    DirtyKey,
    FileStat,
    ListedObject,
    ObjectRow,
    Operation,
    State,
)
from datasync.services.engine.queues import BURST, SHARED_BYTES, TOGETHER, TaskQueues
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
    mark = DirtyKey(key, "event", 1, 0.0, 0.0, attempts=attempts)
    row = ObjectRow(key, "e", held_bytes, 0, State.SYNCED) if held_bytes else None
    return Task(key, row=row, mark=mark, urgent=True, here=here)


def with_a_worker(*tasks: Task) -> TaskQueues:
    queues = TaskQueues(lambda: False)  # the commit is behind: events are begun all the same
    queues.reserved = queues.bursts_reserved = True
    queues.put(tasks)
    return queues


def test_a_few_events_are_the_loops_even_where_there_is_a_worker() -> None:
    queues = with_a_worker(*map(event, range(BURST)))
    assert queues.offered == 0 and not queues.empty and queues.take_light(100) == []
    assert len(queues.take(100, 100, 100, 1)) == BURST


def test_of_a_burst_the_worker_has_all_but_the_last_few() -> None:
    queues = with_a_worker(*map(event, range(BURST + 2)))
    assert queues.offered == BURST + 2 and queues.empty and queues.fresh_wait
    assert queues.take(100, 100, 100, 1) == []
    assert [task.key for task in queues.take_light(2)] == ["000", "001"]
    assert queues.take_light(100) == []
    assert len(queues.take(100, 100, 100, 1)) == BURST


def test_what_a_worker_has_no_part_in_is_the_loops_in_a_burst_too() -> None:
    """What failed before, what is known to be large, what a worker gave back."""
    ours = [event(900, attempts=1), event(901, held_bytes=SHARED_BYTES + 1), event(902, here=True)]
    queues = with_a_worker(*ours, *map(event, range(BURST + 1)))
    assert {task.key for task in queues.take(100, 100, 100, 1)} == {"900", "901", "902"}
    assert queues.take_light(100)[0].key == "000"


def test_without_a_worker_a_burst_is_the_loops() -> None:
    queues = with_a_worker(*map(event, range(BURST + 1)))
    queues.bursts_reserved = False
    assert queues.light == BURST + 1 and queues.offered == 0  # worth starting one, if there is none
    assert queues.take_light(100) == []
    assert len(queues.take(100, 100, 100, 1)) == BURST + 1
