"""The thread that serves one worker process: hands tasks over, takes what came of them.

A task is the engine's until its result has come: whatever becomes of the worker, it is not lost.
"""

import os
import select
import socket
import struct
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
from datasync.services.engine.levels import MAXIMUM
from datasync.services.engine.parcels import (
    Order,
    Outfit,
    Parcel,
    Report,
    name_of,
    number_of,
    pack,
    packed_task,
    promised,
    unpack,
    unpacked_other,
    unpacked_staged,
)
from datasync.services.engine.queues import PORTION
from datasync.services.engine.tasks import Result, Task, TooLargeForWorker
from datasync.services.storage.bucket import BucketElsewhere
from datasync.services.storage.mirror import MirrorElsewhere, Room

if TYPE_CHECKING:
    from datasync.services.engine.crew import Crew

AHEAD = 2 * MAXIMUM  # tasks that a worker has at most
BEHIND_SECONDS = 0.02  # the commit is behind: look again soon
IDLE_SECONDS = 5.0
FAREWELL_SECONDS = 2.0
SILENT_SECONDS = 30.0  # a worker tells of itself more often
MOST_TOO_LARGE = 32  # objects of events asked for twice, before workers are given no more
_LOST_HINT = "Look for the kernel's out-of-memory killer (dmesg), or a limit of the container."
_WORKER = "datasync.services.engine.worker"


@dataclass(slots=True)
class _Begun:
    """A task that a worker has, and whose bytes are promised to it of the room of this process.

    `generation` is the staging folder's when it was handed over.
    """

    task: Task
    generation: int
    room: Room

    def over(self) -> Task:
        """The task, which has no promise any more."""
        self.room.release(promised(self.task))
        return self.task


class Mate(threading.Thread):
    """The thread that serves one worker."""

    def __init__(self, crew: "Crew", number: int, most: int) -> None:
        """`most` requests in flight are its worker's."""
        super().__init__(name=f"crew-{number}", daemon=True)
        self.retired = False  # it does what it has begun, and ends
        self._most = most
        self._crew = crew
        self._pool = crew.pool
        self._guest = b"w%d." % number
        self._begun: dict[int, _Begun] = {}
        self._numbered = 0
        self._lock = threading.Lock()
        self._orders: list[Order] = []
        self._ready = False
        self._small = self._large = 0  # objects of events, as they were found to be
        self._unknown = 0  # those that it has now
        self._closed = False
        self._heard_at = time.monotonic()
        self._waker, self._sleeper = socket.socketpair()
        self._waker.setblocking(False)

    # From any thread

    @property
    def serves(self) -> bool:
        """Whether it takes tasks."""
        return self._ready and not self.retired

    def wake(self) -> None:
        with self._lock, suppress(BlockingIOError):  # woken already
            if not self._closed:
                self._waker.send(b"\0")

    def tell(self, order: Order) -> None:
        with self._lock:
            self._orders.append(order)
        self.wake()

    def withdraw(self, run_id: int) -> list[Task]:
        with self._lock:
            ours = [number for number, begun in self._begun.items() if begun.task.run_id == run_id]
            tasks = [self._begun.pop(number).over() for number in ours]
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
                left = [begun.over() for begun in self._begun.values()]
                self._begun.clear()
                self._closed = True
                self._waker.close()
            self._sleeper.close()
            self._crew.over(self, left, lost=lost)

    def _is_lost(self) -> bool:
        """Serve a worker to its end; whether that came early."""
        bucket, mirror = self._pool.bucket.elsewhere(), self._pool.mirror.elsewhere()
        if bucket is None:
            self._crew.useless()
            return False
        ours, theirs = socket.socketpair()
        with ours:
            # A worker that does not read, or stops in the middle of a word, is none to wait for.
            patience = struct.pack("ll", int(SILENT_SECONDS), 0)
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
            with theirs:
                process = _started(theirs.fileno())
            connection = Connection(os.dup(ours.fileno()))
            try:
                self._send(connection, self._outfit(bucket, mirror))
                with suppress(DataSyncError):  # of credentials, of the folder: the loops will tell
                    self._serve(connection, bucket, mirror)
                ours.shutdown(socket.SHUT_WR)
                self._take_leave(connection)
            except (EOFError, OSError):
                self._pool.problem(InternalFault(_told(process), hint=_LOST_HINT))
                return True
            finally:
                with suppress(OSError):
                    ours.shutdown(socket.SHUT_RDWR)
                connection.close()
                _ended(process)
        return False

    def _outfit(self, bucket: BucketElsewhere, mirror: MirrorElsewhere) -> Outfit:
        return Outfit(bucket, mirror, self._guest, self._pool.options, self._most)

    def _serve(
        self, connection: Connection, bucket: BucketElsewhere, mirror: MirrorElsewhere
    ) -> None:
        """Raises: EOFError or OSError when the worker is gone."""
        poll, idle_since = select.poll(), time.monotonic()
        for descriptor in (connection.fileno(), self._sleeper.fileno()):
            poll.register(descriptor, select.POLLIN)
        while not self._crew.stopping and not (self.retired and not self._begun):
            for descriptor, _ in poll.poll(self._patience() * 1000):
                if descriptor == connection.fileno():
                    self._take(unpack(connection.recv_bytes()))
                else:
                    self._sleeper.recv(4096)
            now = time.monotonic()
            if now - self._heard_at > SILENT_SECONDS:
                raise EOFError
            self._give_orders(connection)
            if self._wants_more():
                if self._is_current(bucket, mirror):
                    self._hand_over(connection)
                else:
                    self._retire()
            if self._begun or not self._ready:
                idle_since = now
            elif now - idle_since >= IDLE_SECONDS:
                self._retire()

    def _retire(self) -> None:
        if not self.retired:
            self.retired = True
            self._crew.retired()

    def _wants_more(self) -> bool:
        """Whether there are tasks that it could be given."""
        room = len(self._begun) <= AHEAD - PORTION
        return self.serves and room and self._pool.queues.offered > 0

    def _patience(self) -> float:
        return BEHIND_SECONDS if self._wants_more() else 1.0

    def _is_current(self, bucket: BucketElsewhere, mirror: MirrorElsewhere) -> bool:
        """Whether the worker has the credentials and the staging folder of now."""
        return self._pool.bucket.elsewhere() == bucket and self._pool.mirror.elsewhere() == mirror

    def _hand_over(self, connection: Connection) -> None:
        room = AHEAD - len(self._begun)
        staging = self._pool.mirror.staging()  # before anything is taken: it may be gone
        parcels, refused = [], []
        with self._lock:  # whoever withdraws finds each task in the queue, or here
            for task in self._pool.queues.take_light(room, self._events_more(room)):
                try:
                    staging.room.reserve(promised(task))
                except (DataSyncError, OSError):
                    refused.append(task)
                    continue
                self._numbered += 1
                self._begun[self._numbered] = _Begun(task, staging.generation, staging.room)
                self._unknown += task.urgent
                parcels.append(packed_task(self._numbered, task))
        if refused:  # there is no room for them: the loops tell of it
            self._crew.give_back(refused)
        if parcels:
            self._send(connection, Order(parcels))
        if self._pool.queues.fresh_wait:  # the last few of a burst are the loops'
            self._pool.wake()

    def _events_more(self, room: int) -> int:
        """How many events it may have more: a sample, until it shows that they are small."""
        return room if self._small > self._large else PORTION - self._unknown

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
        self._heard_at = time.monotonic()
        if not self._ready:
            self._ready = True
            self.tell(Order(level=min(self._pool.level.current, self._most)))
            self._crew.ready()
        results: list[Result] = []
        if report.staged:
            staging = self._pool.mirror.staging()
            for begun, parcel in self._taken_out(report.staged):
                if begun is None:  # taken back meanwhile
                    staging.remove(name_of(parcel))
                else:
                    results.append(unpacked_staged(begun.task, parcel, staging, begun.generation))
        refused, large = list[Task](), list[Task]()
        for begun, parcel in self._taken_out(report.others):
            if begun is not None:
                result = unpacked_other(begun.task, parcel)
                if isinstance(result.error, CredentialsRejected):
                    refused.append(begun.task)  # there may be newer ones, here
                elif isinstance(result.error, TooLargeForWorker):
                    large.append(begun.task)
                else:
                    results.append(result)
        if refused:
            self._retire()
        self._large += len(large)
        if large and self._large >= max(MOST_TOO_LARGE, self._small):
            self._crew.too_large()
        if refused or large:
            self._crew.give_back(refused + large)
        self._small += sum(result.task.urgent for result in results)
        if results:
            self._pool.deliver(results)
        for text in report.problems:
            self._pool.problem(InternalFault(f"in a transfer worker: {text}"))

    def _taken_out(self, parcels: Sequence[Parcel]) -> list[tuple[_Begun | None, Parcel]]:
        with self._lock:
            taken = [(self._begun.pop(number_of(parcel), None), parcel) for parcel in parcels]
        for begun, _ in taken:
            if begun is not None:
                self._unknown -= begun.over().urgent
        return taken


def _started(descriptor: int) -> "subprocess.Popen[bytes]":
    """A worker process that has the socket of this descriptor. Raises: OSError."""
    paths = [path or os.getcwd() for path in sys.path]
    return subprocess.Popen(
        [sys.executable, "-P", "-m", _WORKER, str(descriptor)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=(descriptor,),
        process_group=0,  # Ctrl-C is for the engine, which ends its workers
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )


def _ended(process: "subprocess.Popen[bytes]") -> None:
    """Wait for a worker that has nothing more to do; one that hangs is killed."""
    try:
        process.wait(FAREWELL_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _told(process: "subprocess.Popen[bytes]") -> str:
    """How a worker was lost; one that is still there is killed."""
    try:
        code = process.wait(FAREWELL_SECONDS)
        how = f"was ended by signal {-code}" if code < 0 else f"ended early, with exit code {code}"
    except subprocess.TimeoutExpired:
        process.kill()
        how = f"said nothing for {SILENT_SECONDS:g} seconds and was killed"
    return f"a transfer worker {how}; its objects are fetched without it"
