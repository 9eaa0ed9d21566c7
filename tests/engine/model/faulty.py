"""The parts of the model's world: a bucket that writes down its answers, a disk and a ledger that
fail on demand, and a process that dies at a certain step."""

import itertools
import json
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from datasync.errors import BucketError, LedgerError
from datasync.models.sync_models import ListedObject, ObjectHead, ObjectRequest, Settlement
from datasync.services.engine import commit, fetch, outcomes, ranges, reconcile, scan, transfer_loop
from datasync.services.storage.ledger import Ledger
from datasync.services.storage.mirror import Mirror
from datasync.utils.file_utils import DiskCalls
from tests.support.disk import RecordingCalls
from tests.support.fake_bucket import FakeBucket
from tests.support.world import OPTIONS, World

KIB = 2**10
MAX_BYTES = 500 * KIB
MODEL_OPTIONS = replace(
    OPTIONS,
    max_bytes=MAX_BYTES,
    attempts=2,
    timeout_seconds=5.0,
    delete_limit_files=2,
    delete_limit_percent=40.0,
)
Said = tuple[str, str]  # a key, and what was said of it


class WatchedBucket(FakeBucket):
    """Writes its answers to a file, where they outlive a process that is killed.

    Inside `at(n, hook)` the hook is called as the n-th request comes; `cut_short` listings end
    after their first page as if that were all.
    """

    def __init__(self, log: Path) -> None:
        super().__init__(page_size=3, chunk_bytes=40 * KIB, stall_seconds=0.01)
        self._log = log
        self._read = 0
        self._asked = 0
        self._hooks: dict[int, Callable[[], object]] = {}
        self.cut_short = 0
        log.touch()

    @contextmanager
    def at(self, number: int, hook: Callable[[], object]) -> Iterator[None]:
        self._hooks = {self._asked + number: hook}
        yield
        self._hooks.clear()

    def note(self, key: str, said: str) -> None:
        with open(self._log, "a", encoding="utf-8") as log:
            log.write(json.dumps([key, said]) + "\n")

    def said(self) -> list[Said]:
        """What was written down since this was last asked."""
        lines = self._log.read_text("utf-8").splitlines()
        new, self._read = lines[self._read :], len(lines)
        return [(key, said) for key, said in map(json.loads, new)]

    def serve(self, request: ObjectRequest) -> tuple[ObjectHead, bytes]:
        try:
            answer = super().serve(request)
        except BucketError as error:
            self.note(request.key, type(error).__name__)
            raise
        self.note(request.key, "there")
        return answer

    def forget_faults(self) -> None:
        self._scripts.clear()
        self._list_script.clear()
        self._empty_listings = self.cut_short = 0
        self._unordered = False

    def _count(self, kind: str, request: ObjectRequest | None) -> None:
        super()._count(kind, request)
        with self._lock:
            self._asked += 1
            hook = self._hooks.pop(self._asked, None)
        if hook is not None:
            hook()

    def _page(self, prefix: str, after: str) -> tuple[tuple[ListedObject, ...], bool]:
        objects, last = super()._page(prefix, after)
        if self.cut_short:
            self.cut_short -= 1
            return objects, True
        return objects, last


class ModelWorld(World):
    """A world on a disk that can fail. No flushes: a process that dies does not need them."""

    bucket: WatchedBucket

    def __init__(self, folder: Path) -> None:
        self.calls = RecordingCalls()
        super().__init__(folder, MODEL_OPTIONS, WatchedBucket(folder / "answers"))

    def make_mirror(self) -> Mirror:
        return Mirror(self.root, durable=False, calls=self.calls)


def small_sizes(patch: pytest.MonkeyPatch) -> None:
    """Everything that is done to large objects and long plans is done to small ones; no pauses."""
    for module in (transfer_loop, ranges, scan):
        patch.setattr(module, "pause_seconds", lambda *_: 0.0)
    patch.setattr(outcomes, "defer_seconds", lambda *_: 0.0)
    patch.setattr(fetch, "MEMORY_BYTES", 2 * KIB)
    patch.setattr(fetch, "LARGE_BYTES", 100 * KIB)
    patch.setattr(transfer_loop, "LARGE_BYTES", 100 * KIB)
    patch.setattr(ranges, "FIRST_BYTES", 20 * KIB)
    patch.setattr(ranges, "RANGE_BYTES", 60 * KIB)
    patch.setattr(commit, "GROUP", 3)
    patch.setattr(scan, "ROWS", 4)
    patch.setattr(reconcile, "TICK_SECONDS", 0.002)


class FaultyLedger:
    """Makes the next settlements fail."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.failures = 0
        settle = Ledger.settle

        def settle_or_not(ledger: Ledger, settlement: Settlement) -> None:
            if self.failures:
                self.failures -= 1
                raise LedgerError("scripted")
            settle(ledger, settlement)

        patch.setattr(Ledger, "settle", settle_or_not)


_AUDITED = frozenset(
    ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.utime", "os.link", "os.mkfifo")
)
_WRITING = os.O_CREAT | os.O_WRONLY | os.O_RDWR
_DISK = ("write_at", "rename_new", "exchange")
_LEDGER = ("settle", "start_run", "finish_run", "request_run", "plan_deletes", "plan_anew")


def killed(step: int | str, work: Callable[[], object]) -> bool:
    """Do the work in a process of its own, which is killed before one of its steps.

    A step changes the disk or the ledger: that of a number, or the first of a name. Whether it
    came so far.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads hold nothing we use
        child = os.fork()
    if not child:
        _work_and_die(step, work)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), f"the process ended with {status}"
    return status != 0


def _work_and_die(step: int | str, work: Callable[[], object]) -> None:
    status = 1
    signal.alarm(60)  # nobody would wait for it in vain
    try:
        _count_steps(step)
        work()
        status = 0
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(status)


def _count_steps(step: int | str) -> None:
    numbers = itertools.count(1)

    def take(name: str) -> None:
        if step in (name, next(numbers)):
            os.kill(os.getpid(), signal.SIGKILL)

    def audited(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _AUDITED or (event == "open" and (arguments[2] or 0) & _WRITING):
            take(event)

    sys.addaudithook(audited)
    for owner, names in ((DiskCalls, _DISK), (Ledger, _LEDGER)):
        for name in names:
            setattr(owner, name, _before(partial(take, name), getattr(owner, name)))


def _before(take: Callable[[], None], call: Callable[..., Any]) -> Callable[..., Any]:
    def taken(*arguments: Any, **more: Any) -> Any:
        take()
        return call(*arguments, **more)

    return taken
