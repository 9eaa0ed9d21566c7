"""A worker process: a transfer pool of its own, fed with small downloads by the engine's process.

It stages in the engine's name, proves and retries as the engine itself would, and hands what it
has staged over. It ends when its socket does: also when the engine's process is killed.
"""

import gc
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection

from datasync.services.engine.parcels import (
    Order,
    Outfit,
    Parcel,
    Report,
    pack,
    packed_other,
    packed_staged,
    unpack,
    unpacked_task,
)
from datasync.services.engine.tasks import Found, Result, Task
from datasync.services.engine.transfer import TransferPool

STOP_SECONDS = 5.0
PULSE_SECONDS = 5.0
GARBAGE = 20_000  # objects between two looks for cycles: an object of S3 leaves none


class Worker:
    """The worker's end of the socket."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._numbers: dict[Task, int] = {}
        self._sending = threading.Lock()
        outfit = unpack(connection.recv_bytes())
        assert isinstance(outfit, Outfit)
        self._mirror = outfit.mirror.open(outfit.guest)
        self._bucket = outfit.bucket.open()
        self._pool = TransferPool(
            self._bucket,
            self._mirror,
            outfit.options,
            self._deliver,
            lambda: True,
            self._problem,
            loops=1,
        )
        self._pool.level.bound(outfit.most)

    def serve(self) -> None:
        """Work until the engine closes the socket, or is gone."""
        self._pool.start()
        threading.Thread(target=self._tell_of_itself, name="pulse", daemon=True).start()
        try:
            self._send(Report())  # ready
            while True:
                order = unpack(self._connection.recv_bytes())
                assert isinstance(order, Order)
                self._follow(order)
        except (EOFError, OSError):
            pass  # nobody is there any more
        finally:
            self._pool.stop(STOP_SECONDS)
            self._bucket.close()
            self._mirror.close()

    def _tell_of_itself(self) -> None:
        """Say every few seconds that the loop turns: one that hangs is to be noticed."""
        turns = -1
        while True:
            time.sleep(PULSE_SECONDS)
            if self._pool.turns != turns:
                turns = self._pool.turns
                self._send(Report())

    def _follow(self, order: Order) -> None:
        if order.level is not None:
            self._pool.level.begin(order.level)
        tasks = []
        for parcel in order.tasks:
            number, task = unpacked_task(parcel)
            self._numbers[task] = number
            tasks.append(task)
        self._pool.submit(tasks)
        if order.withdraw is not None:
            for task in self._pool.withdraw(order.withdraw):
                del self._numbers[task]  # the engine counts them as given back
        if order.forget is not None:
            self._pool.forget(order.forget)

    def _deliver(self, results: Sequence[Result]) -> None:
        try:
            sent = self._send(self._report(results))
        except Exception:
            _discard(results)
            traceback.print_exc()
            os._exit(1)  # a mistake of ours: the engine does without this worker
        if not sent:
            _discard(results)

    def _report(self, results: Sequence[Result]) -> Report:
        staged: list[Parcel] = []
        others: list[Parcel] = []
        for result in results:
            number = self._numbers.pop(result.task)
            if result.found is Found.STAGED:
                staged.append(packed_staged(number, result))
            else:
                others.append(packed_other(number, result))
        return Report(staged, others)

    def _problem(self, error: Exception) -> None:
        self._send(Report(problems=["".join(traceback.format_exception(error))]))

    def _send(self, report: Report) -> bool:
        """Whether it was sent: the engine may be gone."""
        try:
            with self._sending:
                self._connection.send_bytes(pack(report))
        except OSError:
            return False
        return True


def _discard(results: Sequence[Result]) -> None:
    for result in results:
        if result.staged is not None:
            result.staged.discard()


def main() -> None:
    """Serve the engine on the other side of the socket whose descriptor is the first argument."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the engine says when; it ends by the same signal
    gc.freeze()
    gc.set_threshold(GARBAGE)
    with socket.socket(fileno=int(sys.argv[1])) as end:
        connection = Connection(end.detach())
    try:
        worker = Worker(connection)
    except (EOFError, OSError):
        return
    worker.serve()


if __name__ == "__main__":
    main()
    os._exit(0)  # threads that wait for a server need not be waited for
