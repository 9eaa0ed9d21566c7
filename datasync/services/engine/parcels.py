"""Tasks and results as they cross from one process to another: plain tuples, packed in batches.

Pure. Only small downloads cross: what they need is little, and so is what comes of it. How large
the object of an event is shows only when it is asked for: beyond `SHARED_BYTES` it comes back.
"""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from datasync.models.sync_models import (
    ListedObject,
    ObjectHead,
    ObjectRow,
    State,
    SyncOptions,
    Verdict,
)
from datasync.services.engine.queues import SHARED_BYTES
from datasync.services.engine.tasks import Found, Result, Task
from datasync.services.storage.bucket import BucketElsewhere
from datasync.services.storage.mirror import MirrorElsewhere, Staging

Parcel = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Outfit:
    """All that a worker needs before its first task.

    `guest` is its name in the staging folder, `most` the requests in flight that it may come to.
    """

    bucket: BucketElsewhere
    mirror: MirrorElsewhere
    guest: bytes
    options: SyncOptions
    most: int


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is told: tasks to do, a run to give up, a run that is over.

    `level`: the requests in flight to begin with, which this process has come to meanwhile.
    """

    tasks: Sequence[Parcel] = ()
    withdraw: int | None = None
    forget: int | None = None
    level: int | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker tells: files it has staged, other results, mistakes of ours."""

    staged: Sequence[Parcel] = ()
    others: Sequence[Parcel] = ()
    problems: Sequence[str] = ()


def pack(message: Outfit | Order | Report) -> bytes:
    return pickle.dumps(message, pickle.HIGHEST_PROTOCOL)


def unpack(data: bytes) -> Any:
    """A message of our own other half: it comes over a socket that nobody else has."""
    return pickle.loads(data)


def packed_task(number: int, task: Task) -> Parcel:
    listed, row = task.listed, task.row
    version = None if row is None else (row.etag, row.last_modified)
    told = () if listed is None else (listed.size, listed.etag, listed.last_modified)
    return (number, task.key, task.run_id, task.intact, version, *told)


def unpacked_task(parcel: Parcel) -> tuple[int, Task]:
    number, key, run_id, intact, version, *told = parcel
    row = None if version is None else ObjectRow(key, version[0], 0, version[1], State.SYNCED)
    if told:
        listed = ListedObject(key, *told)
        return number, Task(key, row=row, listed=listed, run_id=run_id, intact=intact)
    return number, Task(key, row=row, urgent=True, intact=intact, most=SHARED_BYTES)


def promised(task: Task) -> int:
    """The room on the disk, in bytes, that a worker needs for it."""
    return task.nbytes if task.listed is not None else SHARED_BYTES


def packed_staged(number: int, result: Result) -> Parcel:
    """A file that the worker has staged; from now on it is the owner's."""
    head, staged, verdict = result.head, result.staged, result.verdict
    assert head is not None and staged is not None and verdict is not None
    file = (staged.name, staged.identity, staged.size, staged.mtime)
    version = (head.etag, head.last_modified, head.version_id)
    return (number, result.seconds, verdict.value, file, version)


def unpacked_staged(task: Task, parcel: Parcel, staging: Staging, generation: int) -> Result:
    """`generation` is the staging folder's of the time when the task was handed over."""
    _, seconds, verdict, file, (etag, modified, version_id) = parcel
    name, identity, size, mtime = file
    head = ObjectHead(200, etag, size, size, 0, modified, version_id)
    staged = staging.take_over(name, identity, size, generation, mtime)
    return Result(task, Found.STAGED, head, staged, None, _VERDICTS[verdict], None, seconds)


def number_of(parcel: Parcel) -> int:
    """The number that a task was handed over with."""
    number: int = parcel[0]
    return number


def name_of(parcel: Parcel) -> bytes:
    """The name of a file that was staged."""
    name: bytes = parcel[3][0]
    return name


def packed_other(number: int, result: Result) -> Parcel:
    return (number, result.found.value, result.head, result.verdict, result.error, result.seconds)


def unpacked_other(task: Task, parcel: Parcel) -> Result:
    _, found, head, verdict, error, seconds = parcel
    return Result(task, Found(found), head, None, None, verdict, error, seconds)


_VERDICTS = {verdict.value: verdict for verdict in Verdict}
