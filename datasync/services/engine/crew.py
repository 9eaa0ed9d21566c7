"""Worker processes for the small downloads of runs: one interpreter is not fast enough for them.

They are started when many wait and end when none have come for a while. What a worker cannot do
is done in this process, and so is everything when there are none: a worker that ends early costs
time only. Knows no ledger and publishes nothing.
"""

import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from datasync.errors import CredentialsRejected, DataSyncError, InternalFault
from datasync.models.sync_models import SyncOptions
from datasync.services.engine.levels import MAXIMUM, START
from datasync.services.engine.parcels import (
    Order,
    Outfit,
    Parcel,
    Report,
    pack,
    name_of,
    number_of,
    packed_task,
    unpack,
    unpacked_other,
    unpacked_staged,
)
from datasync.services.engine.tasks import Result, Task
from datasync.services.storage.bucket import BucketElsewhere
from datasync.services.storage.mirror import MirrorElsewhere

if TYPE_CHECKING:
    from datasync.services.engine.transfer import TransferPool

MOST_WORKERS = 2  # beyond them the commit, which stays in one process, is what takes the time
MANY = 400  # light tasks that wait: fewer are done before a worker has started
AHEAD = 2 * MAXIMUM  # tasks that a worker has at most
PORTION = 64  # that are handed over together, where so many wait
BEHIND_SECONDS = 0.02  # the commit is behind: look again soon
IDLE_SECONDS = 5.0
FAREWELL_SECONDS = 2.0
MOST_LOST = 3  # workers that ended early, before no more are started
_WORKER = "datasync.services.engine.worker"


def worker_count(options: SyncOptions) -> int:
    """How many worker processes are worth their memory on this machine, with these options."""
    if options.concurrency is not None and options.concurrency < START:
        return 0
    return max(0, min(MOST_WORKERS, len(os.sched_getaffinity(0)) - 1))


class Crew:
    """The workers of a pool. Safe to use from threads; results arrive on threads of its own."""

    def __init__(self, pool: "TransferPool", count: int) -> None:
        self.pool = pool
        self.stopping = False
        self._count = count
        self._named = 0
        self._lost = 0
        self._lock = threading.Lock()
        self._mates: list[Mate] = []

    def look(self) -> None:
        """Tasks may have come: start workers when there are many, wake those there are."""
        with self._lock:
            if (
                not self._mates
                and self._count
                and not self.stopping
                and self.pool.queues.light >= MANY
            ):
                self._mates = [self._mate() for _ in range(self._count)]
                for mate in self._mates:
                    mate.start()
            mates = list(self._mates)
        for mate in mates:
            mate.wake()

    def _mate(self) -> "Mate":
        self._named += 1
        return Mate(self, self._named)

    def withdraw(self, run_id: int) -> list[Task]:
        """Take back the tasks of a run; what still comes of them is dropped."""
        return [task for mate in self._all() for task in mate.withdraw(run_id)]

    def forget(self, run_id: int) -> None:
        """The run is over."""
        for mate in self._all():
            mate.tell(Order(forget=run_id))

    def stop(self, timeout_seconds: float) -> None:
        """Begin nothing more, end every worker; what it has not handed over is removed."""
        self.stopping = True
        mates = self._all()
        for mate in mates:
            mate.wake()
        for mate in mates:
            mate.join(timeout_seconds)

    def _all(self) -> "list[Mate]":
        with self._lock:
            return list(self._mates)

    # What the mates tell

    def useless(self) -> None:
        """Nobody else can read this bucket."""
        self._count = 0

    def over(self, mate: "Mate", left: Sequence[Task], *, lost: bool) -> None:
        """A worker has ended: what it has not done is done here."""
        with self._lock:
            self._mates.remove(mate)
            self._lost += lost
            if self._lost >= MOST_LOST:
                self._count = 0
            if not self._mates:
                self.pool.queues.reserved = False
        self.give_back(left)

    def give_back(self, tasks: Sequence[Task]) -> None:
        """What a worker could not do is for the loops of this process."""
        for task in tasks:
            task.here = True
        self.pool.queues.put(tasks)
        self.pool.wake()


@dataclass(slots=True)
class _Begun:
    """A task that a worker has; `generation` is the staging folder's when it was handed over."""

    task: Task
    generation: int


class Mate(threading.Thread):
    """The thread that serves one worker."""

    def __init__(self, crew: Crew, number: int) -> None:
        super().__init__(name=f"crew-{number}", daemon=True)
        self._crew = crew
        self._pool = crew.pool
        self._guest = b"w%d." % number
        self._begun: dict[int, _Begun] = {}
        self._numbered = 0
        self._lock = threading.Lock()
        self._orders: list[Order] = []
        self._retired = False  # it does what it has begun, and ends
        self._ready = False
        self._waker, self._sleeper = socket.socketpair()
        self._waker.setblocking(False)

    # From any thread

    def wake(self) -> None:
        with suppress(OSError):  # woken already, or over
            self._waker.send(b"\0")

    def tell(self, order: Order) -> None:
        with self._lock:
            self._orders.append(order)
        self.wake()

    def withdraw(self, run_id: int) -> list[Task]:
        with self._lock:
            ours = [number for number, begun in self._begun.items() if begun.task.run_id == run_id]
            tasks = [self._begun.pop(number).task for number in ours]
        self.tell(Order(withdraw=run_id))
        return tasks

    # The thread

    def run(self) -> None:
        lost = True
        try:
            lost = self._is_lost()
        except DataSyncError:
            lost = False  # no credentials, or no folder: what comes of that is told of each task
        except Exception as error:  # the edge of this thread: the loops do what is left
            self._pool.problem(error)
        finally:
            with self._lock:
                left = [begun.task for begun in self._begun.values()]
                self._begun.clear()
            self._crew.over(self, left, lost=lost)
            self._waker.close()
            self._sleeper.close()

    def _is_lost(self) -> bool:
        """Serve a worker to its end; whether that came early."""
        bucket, mirror = self._pool.bucket.elsewhere(), self._pool.mirror.elsewhere()
        if bucket is None:
            self._crew.useless()
            return False
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                process = _started(theirs.fileno())
            connection = Connection(os.dup(ours.fileno()))
            try:
                level = self._pool.level.current
                outfit = Outfit(bucket, mirror, self._guest, self._pool.options, level)
                self._send(connection, outfit)
                self._serve(connection, bucket, mirror)
                ours.shutdown(socket.SHUT_WR)
                self._take_leave(connection)
            except (EOFError, OSError):
                self._pool.problem(_lost(process))
                return True
            finally:
                connection.close()
                _ended(process)
        return False

    def _serve(
        self, connection: Connection, bucket: BucketElsewhere, mirror: MirrorElsewhere
    ) -> None:
        """Raises: EOFError or OSError when the worker is gone."""
        poll, idle_since = select.poll(), time.monotonic()
        for descriptor in (connection.fileno(), self._sleeper.fileno()):
            poll.register(descriptor, select.POLLIN)
        while not self._crew.stopping and not (self._retired and not self._begun):
            for descriptor, _ in poll.poll(self._patience() * 1000):
                if descriptor == connection.fileno():
                    self._take(unpack(connection.recv_bytes()))
                else:
                    self._sleeper.recv(4096)
            now = time.monotonic()
            self._give_orders(connection)
            if self._ready and not self._retired:
                if self._pool.queues.light and not self._is_current(bucket, mirror):
                    self._retired = True
                else:
                    self._hand_over(connection)
            if self._begun or not self._ready:
                idle_since = now
            self._retired = self._retired or now - idle_since >= IDLE_SECONDS

    def _patience(self) -> float:
        behind = self._ready and not self._retired and self._pool.queues.light > 0
        return BEHIND_SECONDS if behind and len(self._begun) <= AHEAD - PORTION else 1.0

    def _is_current(self, bucket: BucketElsewhere, mirror: MirrorElsewhere) -> bool:
        """Whether the worker has the credentials and the staging folder of now."""
        return self._pool.bucket.elsewhere() == bucket and self._pool.mirror.elsewhere() == mirror

    def _hand_over(self, connection: Connection) -> None:
        room = AHEAD - len(self._begun)
        if room < PORTION:
            return
        tasks = self._pool.queues.take_light(room)
        if not tasks:
            return
        generation = self._pool.mirror.staging().generation
        parcels = []
        with self._lock:
            for task in tasks:
                self._numbered += 1
                self._begun[self._numbered] = _Begun(task, generation)
                parcels.append(packed_task(self._numbered, task))
        self._send(connection, Order(parcels))

    def _give_orders(self, connection: Connection) -> None:
        with self._lock:
            orders, self._orders = self._orders, []
        for order in orders:
            self._send(connection, order)

    def _send(self, connection: Connection, message: Outfit | Order) -> None:
        connection.send_bytes(pack(message))

    def _take_leave(self, connection: Connection) -> None:
        """Take what the worker still has to hand over, before it ends."""
        deadline = time.monotonic() + FAREWELL_SECONDS
        with suppress(EOFError):
            while connection.poll(max(0.0, deadline - time.monotonic())):
                self._take(unpack(connection.recv_bytes()))

    # Reports

    def _take(self, report: Report) -> None:
        if not self._ready:
            self._ready = True
            self._pool.queues.reserved = True
        results: list[Result] = []
        if report.staged:
            staging = self._pool.mirror.staging()
            for begun, parcel in self._taken_out(report.staged):
                if begun is None:  # taken back meanwhile
                    staging.remove(name_of(parcel))
                else:
                    results.append(unpacked_staged(begun.task, parcel, staging, begun.generation))
        refused: list[Task] = []
        for begun, parcel in self._taken_out(report.others):
            if begun is not None:
                result = unpacked_other(begun.task, parcel)
                if isinstance(result.error, CredentialsRejected):
                    refused.append(begun.task)  # there may be newer ones, here
                else:
                    results.append(result)
        if refused:
            self._retired = True
            self._crew.give_back(refused)
        if results:
            self._pool.deliver(results)
        for text in report.problems:
            self._pool.problem(InternalFault(f"in a transfer worker: {text}"))

    def _taken_out(self, parcels: Sequence[Parcel]) -> list[tuple[_Begun | None, Parcel]]:
        with self._lock:
            return [(self._begun.pop(number_of(parcel), None), parcel) for parcel in parcels]


def _started(descriptor: int) -> "subprocess.Popen[bytes]":
    """A worker process that has the socket of this descriptor. Raises: OSError."""
    paths = [path or os.getcwd() for path in sys.path]
    return subprocess.Popen(
        [sys.executable, "-P", "-m", _WORKER, str(descriptor)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=(descriptor,),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )


def _ended(process: "subprocess.Popen[bytes]") -> None:
    """Wait for a worker that has nothing more to do; one that hangs is killed."""
    try:
        process.wait(FAREWELL_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _lost(process: "subprocess.Popen[bytes]") -> InternalFault:
    with suppress(subprocess.TimeoutExpired):
        process.wait(FAREWELL_SECONDS)
    how = "with its socket closed" if process.returncode is None else f"with {process.returncode}"
    return InternalFault(
        f"a transfer worker ended early, {how}; its objects are fetched without it",
        hint="Look for the kernel's out-of-memory killer (dmesg), or a limit of the container.",
    )
