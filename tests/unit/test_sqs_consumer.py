"""The consumer of a queue: nothing is lost, nothing is deleted early, nothing stops it for good."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from datasync.errors import (
    DataSyncError,
    LedgerBusy,
    LedgerError,
    MalformedRequest,
    PoisonMessage,
    QueueCredentialsRejected,
    QueueDenied,
    QueueMissing,
    QueueUnreachable,
)
from datasync.services.events import sqs_consumer
from datasync.services.events.sqs_consumer import (
    GIVEN_BACK_SECONDS,
    QueueConsumer,
    pause_seconds,
)
from tests.support.fake_queue import FakeQueue, TurnedClock
from tests.support.world import eventually

MINUTE = 60.0
POISON = MalformedRequest("the body is not JSON")


class Journal:
    """What `take` leads to: keeps each body, but for those with "poison" in them."""

    def __init__(self) -> None:
        self.kept: Counter[bytes] = Counter()
        self.batches: list[int] = []
        self.problem: Exception | None = None
        self.stumbles_over: bytes | None = None
        self.before_each: Callable[[], object] = lambda: None
        self.tries = 0
        self._open = threading.Event()
        self._open.set()

    def take(self, bodies: Sequence[bytes]) -> list[DataSyncError | None]:
        self.tries += 1
        self.before_each()
        self._open.wait()
        if self.problem is not None:
            raise self.problem
        if self.stumbles_over in bodies:
            raise ZeroDivisionError("a mistake")
        self.batches.append(len(bodies))
        self.kept.update(body for body in bodies if b"poison" not in body)
        return [POISON if b"poison" in body else None for body in bodies]

    @contextmanager
    def hanging(self) -> Iterator[None]:
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()


class Scene:
    """A queue, a journal and a consumer between them, on a clock that stands still."""

    def __init__(self, most_receipts: int | None = None) -> None:
        self.clock = TurnedClock()
        self.queue = FakeQueue(self.clock, most_receipts)
        self.journal = Journal()
        self.told: list[Exception] = []
        self.consumer = self.another()

    def another(self) -> QueueConsumer:
        return QueueConsumer(
            self.queue,
            self.journal.take,
            self.told.append,
            clock=self.clock,
            wait=self.clock.wait,
            chance=random.Random(7).random,
        )

    def kept(self) -> list[str]:
        return sorted(body.decode() for body in self.journal.kept)


def poison(told: Sequence[Exception]) -> int:
    """How many of what was told are poison messages."""
    return sum(isinstance(error, PoisonMessage) for error in told)


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene(most_receipts=3)
    yield made
    made.consumer.stop(5)
    made.queue.close()
    eventually(lambda: made.consumer.receivers == 0)
    eventually(lambda: not [one for one in threading.enumerate() if one.name.startswith("sqs")])


class TestTaking:
    def test_messages_are_journaled_and_deleted(self, scene: Scene) -> None:
        scene.queue.send("a", "b", "c")
        scene.consumer.start()

        eventually(lambda: len(scene.queue.deleted) == 3)
        scene.queue.send("d")
        eventually(lambda: len(scene.queue.deleted) == 4)

        assert scene.kept() == ["a", "b", "c", "d"] and scene.queue.stored == []
        assert scene.journal.batches == [3, 1]
        assert scene.consumer.receivers == 1
        assert scene.consumer.problem is None and scene.told == []

    @pytest.mark.parametrize("body", ["é 東京 🚀", '{"Records": []}', "\x00", " \n"])
    def test_a_body_is_given_as_its_utf8_bytes(self, scene: Scene, body: str) -> None:
        scene.queue.send(body)
        scene.consumer.start()

        eventually(lambda: scene.queue.deleted)
        assert list(scene.journal.kept) == [body.encode()]

    def test_half_a_character_is_given_too(self, scene: Scene) -> None:
        """Which is no UTF-8: it is for the reader to refuse, and no reason to stumble."""
        scene.queue.send("half \ud800")
        scene.consumer.start()

        eventually(lambda: scene.queue.deleted)
        assert list(scene.journal.kept) == [b"half \xed\xa0\x80"]

    def test_nothing_is_deleted_before_the_journal_has_it(self, scene: Scene) -> None:
        scene.queue.send("a")
        with scene.journal.hanging():
            scene.consumer.start()
            eventually(lambda: scene.journal.tries == 1)
            assert scene.queue.counts["delete"] == 0 and len(scene.queue.stored) == 1
        eventually(lambda: scene.queue.deleted == ["a"])

    def test_two_consumers_share_a_queue(self, scene: Scene) -> None:
        other = scene.another()
        scene.queue.send(*(f"{number:03}" for number in range(500)))
        scene.consumer.start()
        other.start()

        eventually(lambda: len(scene.queue.deleted) == 500)
        other.stop(5)

        assert scene.journal.kept == Counter(f"{number:03}".encode() for number in range(500))

    def test_it_is_started_once(self, scene: Scene) -> None:
        scene.consumer.start()
        scene.consumer.start()
        eventually(lambda: scene.queue.polling == 1)
        assert scene.consumer.receivers == 1


class TestBacklog:
    def test_more_receivers_come_and_go(self, scene: Scene) -> None:
        bodies = [f"{number:05}" for number in range(10_000)]
        scene.queue.send(*bodies)
        most = 0
        scene.consumer.start()

        def drained() -> bool:
            nonlocal most
            most = max(most, scene.consumer.receivers)
            return len(scene.queue.deleted) == len(bodies)

        eventually(drained, 60)
        assert scene.kept() == bodies
        assert most == sqs_consumer.RECEIVERS
        scene.clock.turn_until(lambda: scene.consumer.receivers == 1)
        assert scene.queue.polling == 1

    def test_no_more_threads_to_be_had(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        start = threading.Thread.start

        def limited(thread: threading.Thread) -> None:
            if thread.name == "sqs-receiver-2":
                raise RuntimeError("can't start new thread")
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", limited)
        scene.queue.send(*(f"{number:03}" for number in range(100)))
        scene.consumer.start()

        eventually(lambda: len(scene.queue.deleted) == 100)
        assert scene.consumer.receivers == 1 and scene.told == []

    def test_a_queue_that_fails_is_asked_by_one_only(self, scene: Scene) -> None:
        scene.queue.send(*(f"{number:04}" for number in range(3_000)))
        scene.consumer.start()
        eventually(lambda: scene.consumer.receivers == sqs_consumer.RECEIVERS)
        scene.queue.fail("receive", QueueUnreachable("no answer"))

        eventually(lambda: scene.consumer.receivers == 1)
        scene.queue.heal("receive")
        scene.clock.turn_until(lambda: len(scene.queue.deleted) == 3_000)

    @pytest.mark.parametrize("call", ["delete", "receive"])
    def test_a_queue_that_fails_is_not_hurried(self, scene: Scene, call: str) -> None:
        scene.queue.fail(call, QueueUnreachable("no answer"))
        scene.queue.send(*(f"{number:03}" for number in range(300)))
        scene.consumer.start()
        eventually(lambda: scene.consumer.problem)

        scene.clock.turn(MINUTE)
        assert scene.queue.counts["receive"] < 10


class TestPoison:
    def test_it_is_left_to_the_queue(self, scene: Scene) -> None:
        scene.queue.send("a", "poison", "b")
        scene.consumer.start()
        eventually(lambda: scene.queue.deleted == ["a", "b"])

        scene.clock.turn_until(lambda: scene.queue.dead == ["poison"])

        assert scene.queue.receipts["poison"] == 3
        assert (scene.queue.deleted, scene.queue.counts["extend"]) == (["a", "b"], 0)
        assert scene.kept() == ["a", "b"]

    def test_it_is_told_and_counted_once(self, scene: Scene) -> None:
        scene.queue.send("poison")
        scene.consumer.start()

        scene.clock.turn_until(lambda: scene.queue.dead == ["poison"])

        (told,) = scene.told
        assert isinstance(told, PoisonMessage) and "dead-letter" in told.hint
        assert "m1" in str(told) and "MalformedRequest: the body is not JSON" in str(told)
        assert scene.queue.deleted == []
        assert scene.consumer.problem is None

    def test_what_is_remembered_of_it_is_bounded(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sqs_consumer, "REMEMBERED", 5)
        scene.queue.send(*(f"poison {number}" for number in range(8)))
        scene.consumer.start()

        scene.clock.turn_until(lambda: len(scene.queue.dead) == 8)

        assert len(scene.consumer._poison) == 5
        assert poison(scene.told) == len(scene.told) > 8

    def test_what_the_journal_stumbles_over_does_not_hold_up_the_others(self, scene: Scene) -> None:
        scene.journal.stumbles_over = b"b"
        scene.queue.send("a", "b", "c")
        scene.consumer.start()

        eventually(lambda: scene.queue.deleted == ["a", "c"])
        scene.clock.turn_until(lambda: scene.queue.dead == ["b"])

        assert "ZeroDivisionError" in {type(told).__name__ for told in scene.told}
        assert any("InternalFault" in str(told) for told in scene.told)

    def test_a_journal_that_stumbles_over_everything_is_not_hurried(self, scene: Scene) -> None:
        """Else it would carry the whole queue into the dead-letter queue in no time."""
        scene.journal.problem = ZeroDivisionError("a mistake")
        scene.queue.send(*(f"{number:03}" for number in range(200)))
        scene.consumer.start()
        eventually(lambda: "stumbles" in str(scene.consumer.problem))

        scene.clock.turn(5 * MINUTE)
        assert scene.queue.counts["receive"] < 20
        scene.journal.problem = None
        scene.clock.turn_until(lambda: len(scene.queue.deleted + scene.queue.dead) == 200)
        assert scene.consumer.problem is None and len(scene.queue.dead) < 50

    @pytest.mark.parametrize("problem", [POISON, MalformedRequest("x")])
    def test_a_refusal_that_is_raised_counts_for_each_body(
        self, scene: Scene, problem: Exception
    ) -> None:
        scene.journal.problem = problem
        scene.queue.send("a", "b")
        scene.consumer.start()

        scene.clock.turn_until(lambda: sorted(scene.queue.dead) == ["a", "b"])
        assert poison(scene.told) == 2

    def test_a_verdict_too_few_is_nobody_elses(self) -> None:
        queue, told = FakeQueue(), list[Exception]()
        consumer = QueueConsumer(queue, lambda bodies: [None] * (len(bodies) - 1), told.append)
        queue.send("a", "b")
        consumer.start()

        eventually(lambda: poison(told) == 2)
        consumer.stop(5)
        queue.close()

        assert queue.deleted == [] and len(queue.stored) == 2
        assert sum("0 verdicts on 1 messages" in str(one) for one in told) == 2


class TestJournal:
    @pytest.mark.parametrize("problem", [LedgerBusy("locked"), LedgerError("no such disk")])
    def test_it_fails_for_an_hour(self, scene: Scene, problem: DataSyncError) -> None:
        scene.journal.problem = problem
        scene.queue.send("a", "b")
        scene.consumer.start()
        eventually(lambda: scene.journal.tries == 1)

        for _ in range(60):
            scene.clock.turn(MINUTE)
            assert scene.queue.visible() == []
            assert str(scene.consumer.problem).startswith(f"{sqs_consumer.JOURNALING}: {problem}")
        assert scene.queue.receipts == {"a": 1, "b": 1}
        assert 60 <= scene.journal.tries <= 140
        scene.journal.problem = None
        scene.clock.turn_until(lambda: len(scene.queue.deleted) == 2)

        assert scene.kept() == ["a", "b"] and scene.consumer.problem is None
        assert [type(told) for told in scene.told] == [type(problem)]

    def test_it_hangs_for_an_hour(self, scene: Scene) -> None:
        scene.queue.send("a")
        with scene.journal.hanging():
            scene.consumer.start()
            eventually(lambda: scene.journal.tries == 1)
            for _ in range(60):
                scene.clock.turn(MINUTE)
                assert scene.queue.visible() == []
        eventually(lambda: scene.queue.deleted == ["a"])
        assert scene.queue.receipts["a"] == 1 and scene.queue.counts["extend"] < 60

    def test_extensions_come_in_time_although_every_second_one_fails(self, scene: Scene) -> None:
        scene.queue.send("a")
        with scene.journal.hanging():
            scene.consumer.start()
            eventually(lambda: scene.journal.tries == 1)
            for _ in range(100):
                scene.queue.fail("extend", QueueUnreachable("no answer"))
                scene.clock.turn(5.0)
                scene.queue.heal("extend")
                scene.clock.turn(5.0)
                assert scene.queue.visible() == []

    def test_queue_and_journal_down_together_lose_nothing(self, scene: Scene) -> None:
        scene.journal.problem = LedgerBusy("locked")
        scene.queue.fail("extend", QueueUnreachable("no answer"))
        scene.queue.send("a")
        scene.consumer.start()
        eventually(lambda: scene.journal.tries == 1)

        scene.clock.turn_until(lambda: scene.queue.counts["extend"])
        eventually(lambda: "kept hidden" in str(scene.consumer.problem))
        scene.clock.turn_until(lambda: scene.queue.visible() == ["a"])
        scene.journal.problem = None
        scene.queue.heal("extend")
        scene.clock.turn_until(lambda: scene.queue.deleted == ["a"])

        assert scene.journal.kept[b"a"] >= 1
        scene.clock.turn_until(lambda: scene.consumer.problem is None)

    def test_what_waits_is_not_more_than_the_receivers_can_hold(self, scene: Scene) -> None:
        def fail_when_all_are_there() -> None:
            if scene.consumer.receivers == sqs_consumer.RECEIVERS:
                scene.journal.problem = LedgerBusy("locked")

        scene.journal.before_each = fail_when_all_are_there
        scene.queue.send(*(f"{number:04}" for number in range(3_000)))
        scene.consumer.start()
        eventually(lambda: scene.consumer.problem)

        scene.clock.turn(10 * MINUTE)
        waiting = len(scene.queue.stored) - len(scene.queue.visible())
        assert 10 <= waiting <= 10 * sqs_consumer.RECEIVERS
        scene.journal.before_each = lambda: None
        scene.journal.problem = None
        scene.clock.turn_until(lambda: len(scene.queue.deleted) == 3_000)
        assert set(scene.queue.receipts.values()) == {1}

    def test_a_journal_that_fails_gets_no_more_to_hold(self, scene: Scene) -> None:
        scene.journal.problem = LedgerBusy("locked")
        scene.queue.send(*(f"{number:03}" for number in range(300)))
        scene.consumer.start()
        eventually(lambda: scene.consumer.problem)

        scene.clock.turn(10 * MINUTE)
        assert len(scene.queue.visible()) == 290
        scene.journal.problem = None
        scene.clock.turn_until(lambda: len(scene.queue.deleted) == 300)


class TestQueue:
    @pytest.mark.parametrize(
        "problem",
        [
            QueueMissing("no such queue"),
            QueueCredentialsRejected("unknown key"),
            QueueDenied("not allowed", hint="Grant sqs:ReceiveMessage"),
            QueueUnreachable("no answer"),
            RuntimeError("nobody foresaw this"),
        ],
    )
    def test_it_fails_and_is_well_again(self, scene: Scene, problem: Exception) -> None:
        scene.queue.fail("receive", problem)
        scene.queue.send("a")
        scene.consumer.start()
        eventually(lambda: scene.consumer.problem)

        text = str(scene.consumer.problem)
        assert text.startswith(sqs_consumer.RECEIVING)
        assert getattr(problem, "hint", "RuntimeError").rstrip(".") in text
        scene.clock.turn(30 * MINUTE)
        assert scene.consumer.problem == text
        assert 30 <= scene.queue.counts["receive"] <= 75
        scene.queue.heal("receive")
        scene.clock.turn_until(lambda: scene.queue.deleted == ["a"])

        assert scene.consumer.problem is None
        assert [type(told) for told in scene.told] == [type(problem)]

    def test_it_is_made_after_the_start(self, scene: Scene) -> None:
        scene.queue.exists = False
        scene.consumer.start()
        eventually(lambda: scene.consumer.problem)
        scene.queue.exists = True
        scene.queue.send("a")

        scene.clock.turn_until(lambda: scene.queue.deleted == ["a"])
        assert scene.consumer.problem is None

    def test_it_goes_away_in_the_middle_of_a_poll(self, scene: Scene) -> None:
        scene.consumer.start()
        eventually(lambda: scene.queue.polling == 1)
        scene.queue.exists = False
        eventually(lambda: scene.consumer.problem)
        scene.queue.exists = True

        scene.clock.turn_until(lambda: scene.queue.polling == 1 and scene.consumer.problem is None)

    def test_one_that_does_not_wait_is_not_asked_without_end(self, scene: Scene) -> None:
        scene.queue.hasty = True
        scene.consumer.start()
        eventually(lambda: scene.queue.counts["receive"] == 1)

        scene.clock.turn(MINUTE)
        assert 50 <= scene.queue.counts["receive"] <= 61

    def test_pauses_grow_and_are_spread(self) -> None:
        assert [pause_seconds(n, 0.0) for n in (1, 2, 3, 10, 10**6)] == [1.0, 2.0, 4.0, 30.0, 30.0]
        assert pause_seconds(1, 0.999) < 2.0 and 59.0 < pause_seconds(50, 0.999) < 60.0

    def test_pauses_begin_anew_after_a_success(self, scene: Scene) -> None:
        scene.queue.fail("receive", QueueUnreachable("no answer"))
        scene.consumer.start()
        eventually(lambda: scene.consumer.problem)
        scene.clock.turn(10 * MINUTE)
        scene.queue.heal("receive")
        scene.queue.send("a")
        scene.clock.turn_until(lambda: scene.queue.deleted and scene.queue.polling)
        scene.clock.waits.clear()
        scene.queue.fail("receive", QueueUnreachable("no answer"))
        eventually(lambda: [seconds for seconds in scene.clock.waits if seconds != 5.0])

        assert all(seconds < 2.0 for seconds in scene.clock.waits if seconds != 5.0)


class TestDeleting:
    def test_a_delete_that_fails_is_harmless(self, scene: Scene) -> None:
        scene.queue.fail("delete", QueueDenied("no", hint="Grant sqs:DeleteMessage"))
        scene.queue.send("a")
        scene.consumer.start()
        eventually(lambda: scene.consumer.problem)
        assert "sqs:DeleteMessage" in str(scene.consumer.problem)

        scene.clock.turn_until(lambda: scene.journal.kept[b"a"] == 2)
        scene.queue.heal("delete")
        scene.clock.turn_until(lambda: scene.queue.deleted == ["a"])

        assert scene.consumer.problem is None and scene.queue.dead == []
        assert len(scene.told) == 1

    def test_one_that_another_consumer_repaired_is_forgotten(self, scene: Scene) -> None:
        scene.queue.fail("delete", QueueUnreachable("no answer"))
        scene.queue.send("a")
        scene.consumer.start()
        eventually(lambda: scene.consumer.problem)
        scene.queue.stored.clear()

        scene.clock.turn_until(lambda: scene.consumer.problem is None)

    def test_messages_that_the_queue_does_not_delete_come_again(self, scene: Scene) -> None:
        scene.queue.send("a")
        with scene.queue.holding("delete"):
            scene.consumer.start()
            eventually(lambda: scene.queue.counts["delete"] == 1)
            scene.clock.turn(40.0)
            assert scene.queue.visible() == ["a"]
            other = scene.queue.receive(1, 0, 30)
        scene.queue.extend(other, 0)

        scene.clock.turn_until(lambda: scene.queue.deleted == ["a"])
        assert scene.journal.kept[b"a"] == 2


class TestStop:
    def test_before_the_start_and_twice(self, scene: Scene) -> None:
        scene.queue.send("a")
        scene.consumer.stop(5)
        scene.consumer.start()
        scene.consumer.stop(5)

        assert scene.consumer.receivers == 0 and scene.queue.visible() == ["a"]

    def test_a_poll_does_not_hold_it(self, scene: Scene) -> None:
        scene.consumer.start()
        eventually(lambda: scene.queue.polling == 1)

        scene.consumer.stop(60)

        assert scene.queue.polling == 1  # still under way: the clock stands still

    def test_what_a_poll_brings_afterwards_is_given_back(self, scene: Scene) -> None:
        scene.consumer.start()
        eventually(lambda: scene.queue.polling == 1)
        scene.consumer.stop(60)
        scene.queue.send("a")

        eventually(lambda: scene.queue.receipts["a"] == 1)
        eventually(lambda: scene.consumer.receivers == 0)
        assert scene.queue.visible() == []  # or another poll of ours would take it once more
        scene.clock.turn(GIVEN_BACK_SECONDS)
        assert scene.queue.visible() == ["a"]
        assert scene.journal.tries == 0

    def test_while_the_queue_fails(self, scene: Scene) -> None:
        scene.queue.fail("receive", QueueUnreachable("no answer"))
        scene.consumer.start()
        eventually(lambda: scene.consumer.problem)

        scene.consumer.stop(60)
        eventually(lambda: scene.consumer.receivers == 0)

    def test_while_messages_wait_for_the_journal(self, scene: Scene) -> None:
        scene.journal.problem = LedgerBusy("locked")
        scene.queue.send("a", "b")
        scene.consumer.start()
        eventually(lambda: scene.journal.tries == 1)

        scene.consumer.stop(60)

        scene.clock.turn(GIVEN_BACK_SECONDS)
        assert scene.queue.visible() == ["a", "b"] and scene.queue.deleted == []

    def test_while_they_cannot_even_be_given_back(self, scene: Scene) -> None:
        scene.journal.problem = LedgerBusy("locked")
        scene.queue.fail("extend", QueueUnreachable("no answer"))
        scene.queue.send("a")
        scene.consumer.start()
        eventually(lambda: scene.journal.tries == 1)

        scene.consumer.stop(60)

        assert scene.queue.visible() == []
        scene.clock.turn(31.0)
        assert scene.queue.visible() == ["a"]

    def test_while_the_journal_hangs(self, scene: Scene) -> None:
        scene.queue.send("a")
        with scene.journal.hanging():
            scene.consumer.start()
            eventually(lambda: scene.journal.tries == 1)
            scene.consumer.stop(0.05)
            assert scene.queue.deleted == []
        eventually(lambda: scene.queue.deleted == ["a"])

    def test_while_messages_are_deleted(self, scene: Scene) -> None:
        scene.queue.send("a")
        with scene.queue.holding("delete"):
            scene.consumer.start()
            eventually(lambda: scene.queue.counts["delete"] == 1)
            scene.consumer.stop(0.05)
        scene.consumer.stop(60)
        assert scene.queue.deleted == ["a"]

    def test_while_messages_are_extended(self, scene: Scene) -> None:
        scene.queue.send("a")
        with scene.queue.holding("extend"), scene.journal.hanging():
            scene.consumer.start()
            eventually(lambda: scene.journal.tries == 1)
            scene.clock.turn(16.0)
            eventually(lambda: scene.queue.counts["extend"] == 1)
            scene.consumer.stop(0.05)
        scene.consumer.stop(60)
        assert scene.queue.deleted == ["a"]

    def test_in_the_middle_of_a_backlog(self, scene: Scene) -> None:
        """Whatever is in the journal is deleted, whatever is not is visible: nothing in between."""

        def stop_in_between() -> None:
            if scene.journal.tries >= 30:
                scene.consumer.stop(0)

        scene.journal.before_each = stop_in_between
        scene.queue.send(*(f"{number:04}" for number in range(2_000)))
        scene.consumer.start()
        eventually(lambda: scene.journal.tries >= 30)

        scene.consumer.stop(60)
        eventually(lambda: scene.consumer.receivers == 0)
        scene.clock.turn(GIVEN_BACK_SECONDS)

        assert max(scene.queue.receipts.values()) == 1  # a stop sends nothing to the dead letters
        assert sorted(scene.queue.deleted) == scene.kept()
        assert len(scene.queue.deleted) + len(scene.queue.visible()) == 2_000
        assert 200 < len(scene.queue.deleted) < 1_000
