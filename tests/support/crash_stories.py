"""What happens to a mirror in the crash tests: a state before, and the changes that follow.

`stop_at` runs the changes in a process that ends itself at a given step, as by `kill -9`.
Everything goes one by one and in the same order each time: one transfer loop, one group to commit.
"""

import itertools
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from datasync.models.sync_models import RunStatus
from datasync.services.engine import reconcile
from datasync.services.engine.commit import Committer
from datasync.services.engine.tasks import Result
from datasync.services.storage.mirror import conflict_path_for, path_for
from tests.support.fake_bucket import FakeBucket
from tests.support.steps import watched
from tests.support.world import OPTIONS, World

STOPPED = 77
IN_ORDER = replace(OPTIONS, concurrency=1, delete_limit_percent=100.0)
FOREIGN = b"not ours"
CHANGED = b"somebody changed it"
BEFORE = {
    "kept": b"stays as it is",
    "over": b"the version before" * 300,  # two blocks
    "drift": b"somebody will change it",
    "gone/deep/a": b"deleted from its folder",
    "gone/b": b"deleted too",
    "way": b"is in the way of a folder",
}
AFTER = {
    "kept": BEFORE["kept"],
    "over": b"the version after" * 600,  # three blocks
    "drift": b"the version after the change",
    "way": BEFORE["way"],
    "way/new": b"needs a folder of that name",
    "new/deep/a": b"new in a new folder",
    "foreign": b"comes where somebody's file is",
}
TOLD = ("over", "gone/b", "new/deep/a")  # keys that events have told of


GROUPS = (5, 2)  # the downloads, then the deletes
STEPS = "steps.log"
ACCEPTED = "accepted"  # a line among the steps: the events were


def prepare(folder: Path) -> None:
    """Make a mirror in sync with the bucket of before, changed by somebody at two places."""
    world = World(folder, IN_ORDER)
    for key, body in BEFORE.items():
        world.bucket.put(key, body)
    world.sync()
    world.close()
    (world.root / "drift").write_bytes(CHANGED)
    (world.root / "foreign").write_bytes(FOREIGN)


def bucket_after() -> FakeBucket:
    """The bucket once it has changed; versions that stay are the same as before."""
    bucket = FakeBucket()
    for key, body in BEFORE.items():
        bucket.put(key, body)
    for key in sorted(BEFORE.keys() - AFTER.keys()):
        bucket.delete(key)
    for key, body in AFTER.items():
        if BEFORE.get(key) != body:
            bucket.put(key, body)
    return bucket


def perform(folder: str, stop_at: int) -> int:
    """Open the mirror, hear of events, follow the bucket, close; end before that step (from 0).

    The names of the steps go to a file in the folder, as they come.
    """
    done, log = itertools.count(), os.open(Path(folder) / STEPS, os.O_WRONLY | os.O_CREAT)

    def before(name: str) -> None:
        if next(done) == stop_at:
            os._exit(STOPPED)
        tell(name)

    def tell(name: str) -> None:
        os.write(log, f"{name}\n".encode())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reconcile, "TICK_SECONDS", 1e6)  # nothing is done by the clock
        _gather(patch)
        with watched(before):
            follow(Path(folder), lambda: tell(ACCEPTED)).close()
    return 0


def follow(folder: Path, accepted: Callable[[], None]) -> World:
    """Open the mirror, hear of events, and make it equal to the bucket of after."""
    world = World(folder, IN_ORDER, bucket_after())
    world.service.mark([(key, "event") for key in TOLD])
    accepted()
    assert world.sync().status is RunStatus.SUCCESS
    return world


def assert_names_are_whole(tree: Mapping[str, bytes]) -> None:
    """Promise 2: each name is the old file or the new one, and no name is empty in between."""
    assert len({"way", conflict_path_for("way")} & tree.keys()) == 1
    allowed = {path_for(key): {BEFORE.get(key), AFTER.get(key)} for key in BEFORE | AFTER}
    allowed["drift"] = {CHANGED, AFTER["drift"]}
    allowed["foreign"] = {FOREIGN, AFTER["foreign"]}
    allowed["way"] = allowed[conflict_path_for("way")] = {BEFORE["way"], None}
    found = {path: tree.get(path) for path in allowed.keys() | tree.keys()}
    assert {path: body for path, body in found.items() if body not in allowed[path]} == {}


def _gather(patch: pytest.MonkeyPatch) -> None:
    """Nothing is committed before its whole group is there, in order: it is the same each time."""
    put, waiting, sizes = Committer.put, list[Result](), deque(GROUPS)

    def put_whole(committer: Committer, results: Sequence[Result]) -> None:
        waiting.extend(results)
        if not sizes or len(waiting) >= sizes[0]:
            group = sorted(waiting, key=lambda result: result.task.key)
            waiting.clear()
            if sizes:
                sizes.popleft()
            put(committer, group)

    patch.setattr(Committer, "put", put_whole)
