"""Takes messages from a queue into the journal, and deletes them once they are in it.

A few threads poll, more while there is a backlog. What is in a message only `take` knows.
Must not know: boto3, envelopes, the ledger, settings. Every failure is followed by a pause and
another try; nothing ends a consumer but `stop`.
"""

import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from datasync.errors import DataSyncError, InternalFault, PoisonMessage, RequestRefused
from datasync.services.events.sqs import MAX_BATCH, Message, Queue
from datasync.services.events.sqs_hiding import STRETCH, Hiding

POLL_SECONDS = 20  # the longest that SQS has
LOOK_SECONDS = 1  # the poll of a receiver that is there for a backlog only
HIDDEN_SECONDS = 30
# What is given back is not visible at once: our own polls under way would take it again, one after
# the other, and a queue moves what was received too often among its dead letters.
GIVEN_BACK_SECONDS = 2
RECEIVERS = 8
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
# A problem that neither went away nor came again for so long is no longer told.
STALE_SECONDS = STRETCH * HIDDEN_SECONDS + LONGEST_PAUSE_SECONDS
REMEMBERED = 1000  # ids of poison messages

RECEIVING = "the queue cannot be read"
JOURNALING = "messages wait for the journal"
HIDING = "messages cannot be kept hidden in the queue"
DELETING = "messages cannot be deleted from the queue"

Take = Callable[[Sequence[bytes]], Sequence[DataSyncError | None]]
Verdict = DataSyncError | None


def pause_seconds(failures: int, chance: float) -> float:
    """How long to wait after so many failures in a row: doubles from 1 s to 60 s.

    `chance` in [0, 1) spreads it over the upper half, so that consumers do not march in step.
    """
    longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(failures, 16))
    return longest * (0.5 + chance / 2)


class QueueConsumer:
    """Drains one queue. Any number of them, in any number of processes, may share it.

    `take` gets the bodies of a batch (at most 10) as UTF-8 and journals them durably, all at
    once. It gives for each body None (journaled, or there was nothing to do) or the error that
    makes it poison, and raises when nothing was journaled: then the batch is kept hidden and
    tried again. Called from several threads. `told` hears of each new problem and of each
    poison message, once. `clock` gives seconds of a steady clock; `wait(event, seconds)` waits
    for the event, at most so long, and gives whether it is set.
    """

    def __init__(
        self,
        queue: Queue,
        take: Take,
        told: Callable[[Exception], None],
        *,
        receivers: int = RECEIVERS,
        hidden_seconds: int = HIDDEN_SECONDS,
        poll_seconds: int = POLL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Event, float], bool] = threading.Event.wait,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._queue = queue
        self._take = take
        self._told = told
        self._most_receivers = receivers
        self._hidden_seconds = hidden_seconds
        self._poll_seconds = poll_seconds
        self._clock = clock
        self._wait = wait
        self._chance = chance
        self._hiding = Hiding(queue, hidden_seconds, clock)
        self._problems = Problems(told, clock)
        self._poison: OrderedDict[str, None] = OrderedDict()
        self._receivers = 0
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._started = False
        self._at_work = 0

    @property
    def problem(self) -> str | None:
        """What is wrong now, in a sentence; None when all is well."""
        return self._problems.current()

    @property
    def receivers(self) -> int:
        """How many threads poll now."""
        return self._receivers

    def start(self) -> None:
        """Begin to poll; returns at once. A consumer is started once, and stopped once."""
        with self._changed:
            if self._started or self._stopping.is_set():
                return
            self._started = True
        self._run(self._keep_hidden, "sqs-keeper")
        self._add_receiver(patient=True)

    def stop(self, timeout_seconds: float) -> None:
        """Take nothing more; wait, at most so long, for what is in hand.

        Messages that did not get into the journal are visible again two seconds later. A poll
        under way is not waited for: nothing it may still bring is lost, it is given back or comes
        again.
        """
        self._stopping.set()
        with self._changed:
            self._changed.wait_for(lambda: self._at_work == 0, timeout_seconds)

    # The receivers

    def _run(self, target: Callable[[], None], name: str) -> None:
        # A daemon: a poll under way must not keep the process from ending.
        threading.Thread(target=target, name=name, daemon=True).start()

    def _add_receiver(self, patient: bool) -> None:
        """One receiver is patient: it polls for ever. Others end when there is nothing left."""
        with self._changed:
            number = self._receivers + 1
            if number > self._most_receivers or self._stopping.is_set():
                return
            self._receivers = number
        try:
            self._run(lambda: self._receive_all(patient), f"sqs-receiver-{number}")
        except RuntimeError:  # no more threads to be had: those that are there go on
            with self._changed:
                self._receivers -= 1
            if patient:
                raise

    def _receive_all(self, patient: bool) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                came = self._receive(self._poll_seconds if patient else LOOK_SECONDS)
                failures = 0
            except Exception as error:  # the edge of this thread
                if not isinstance(error, StepFailed):
                    self._told(error)
                came = False
                failures += 1
                if patient:
                    self._wait(self._stopping, pause_seconds(failures, self._chance()))
            if not came and not patient:
                break
        with self._changed:
            self._receivers -= 1

    def _receive(self, wait_seconds: int) -> bool:
        """One batch, from the queue to its end; whether there was one."""
        began = self._clock()
        with self._problems.watch(RECEIVING):
            messages = self._queue.receive(MAX_BATCH, wait_seconds, self._hidden_seconds)
        if not messages and self._clock() < began + wait_seconds / 2:
            # A server that does not wait would be asked without end.
            self._wait(self._stopping, FIRST_PAUSE_SECONDS)
        with self._working():
            if self._stopping.is_set():
                self._give_back(messages)
            elif messages:
                self._deliver(messages)
        return bool(messages)

    @contextmanager
    def _working(self) -> Iterator[None]:
        """What `stop` waits for."""
        with self._changed:
            self._at_work += 1
        try:
            yield
        finally:
            with self._changed:
                self._at_work -= 1
                self._changed.notify_all()

    # A batch

    def _deliver(self, messages: Sequence[Message]) -> None:
        with self._hiding.hold(messages):
            verdicts = self._journal(messages)
        if verdicts is None:
            self._give_back(messages)
            return
        for message, verdict in zip(messages, verdicts, strict=True):
            if verdict is not None:
                self._leave(message, verdict)
        self._delete([m for m, verdict in zip(messages, verdicts, strict=True) if verdict is None])
        if all(isinstance(verdict, InternalFault) for verdict in verdicts):
            with self._problems.watch(JOURNALING):  # rather the journal's fault: do not hurry
                raise InternalFault("the journal stumbles over every message")
        if len(messages) == MAX_BATCH:
            self._add_receiver(patient=False)  # all is well, and more may be waiting

    def _journal(self, messages: Sequence[Message]) -> list[Verdict] | None:
        """The verdict on each message, however long it takes; None when it is time to stop."""
        # SQS lets no lone surrogate through; another server's would make the body no UTF-8, which
        # is for `take` to refuse.
        bodies = [message.body.encode("utf-8", "surrogatepass") for message in messages]
        failures = 0
        while True:
            try:
                with self._problems.watch(JOURNALING):
                    return self._judge(bodies)
            except StepFailed:
                failures += 1
            if self._wait(self._stopping, pause_seconds(failures, self._chance())):
                return None

    def _judge(self, bodies: Sequence[bytes]) -> list[Verdict]:
        """What `take` says. What it stumbles over is poison, and must not hold up the others."""
        try:
            verdicts = list(self._take(bodies))
            if len(verdicts) != len(bodies):
                raise InternalFault(f"{len(verdicts)} verdicts on {len(bodies)} messages")
            return verdicts
        except (RequestRefused, InternalFault) as error:
            mistake: DataSyncError = error
        except DataSyncError:
            raise
        except Exception as error:
            if len(bodies) == 1:
                self._told(error)
            mistake = InternalFault(f"unexpected {type(error).__name__}")
        if len(bodies) == 1:
            return [mistake]
        return [verdict for body in bodies for verdict in self._judge([body])]

    def _delete(self, messages: Sequence[Message]) -> None:
        """They are journaled: one that cannot be deleted comes again, and does no harm."""
        if messages:
            with self._problems.watch(DELETING):
                self._queue.delete(messages)

    def _leave(self, message: Message, reason: DataSyncError) -> None:
        """A poison message stays as it is: the queue's redrive policy counts its receipts."""
        with self._changed:
            if message.id in self._poison:
                self._poison.move_to_end(message.id)
                return
            self._poison[message.id] = None
            if len(self._poison) > REMEMBERED:
                self._poison.popitem(last=False)
        text = f"message {message.id} cannot be read: {type(reason).__name__}: {reason}"
        self._told(PoisonMessage(text))

    def _give_back(self, messages: Sequence[Message]) -> None:
        with suppress(DataSyncError):  # else they are visible again when their time is over
            self._queue.extend(messages, GIVEN_BACK_SECONDS)

    # The keeper

    def _keep_hidden(self) -> None:
        while not self._wait(self._stopping, self._hiding.turn_seconds):
            with suppress(StepFailed), self._problems.watch(HIDING):
                self._hiding.renew()


class StepFailed(Exception):
    """A step failed for the error that is its cause, which has been told."""


class Problems:
    """What is wrong with each step, until it succeeds again or is not heard of any more."""

    def __init__(self, told: Callable[[Exception], None], clock: Callable[[], float]) -> None:
        self._told = told
        self._clock = clock
        self._lock = threading.Lock()
        self._found: dict[str, tuple[str, float]] = {}

    def current(self) -> str | None:
        """All of it as one text; None when there is nothing."""
        now = self._clock()
        with self._lock:
            return "; ".join(text for text, until in self._found.values() if now < until) or None

    @contextmanager
    def watch(self, step: str) -> Iterator[None]:
        """The step fails, or succeeds, by what happens inside. Tells only of what is new.

        Raises: StepFailed.
        """
        try:
            yield
        except Exception as error:
            if self._add(step, _sentence(step, error)):
                self._told(error)
            raise StepFailed(step) from error
        with self._lock:
            self._found.pop(step, None)

    def _add(self, step: str, text: str) -> bool:
        now = self._clock()
        with self._lock:
            known, until = self._found.get(step, ("", 0.0))
            self._found[step] = text, now + STALE_SECONDS
            return text != known or now >= until


def _sentence(step: str, error: Exception) -> str:
    if isinstance(error, DataSyncError):
        return f"{step}: {error}. {error.hint}".rstrip(". ")
    return f"{step}: unexpected {type(error).__name__}"
