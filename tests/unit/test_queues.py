"""What the loops are given, and together with what."""

from datasync.models.sync_models import FileStat, ListedObject, Operation
from datasync.services.engine.queues import SHARED_BYTES, TOGETHER, TaskQueues
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
