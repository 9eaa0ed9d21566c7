"""What every `Queue` does, the adapter and the fake alike.

`TestFakeQueue` runs it in memory here; `tests/live/test_sqs_live.py` runs it on MiniStack.
"""

import time
from collections.abc import Sequence
from typing import Protocol

import pytest

from datasync.errors import Interrupted, QueueMissing
from datasync.services.events.sqs import Message, Queue
from tests.support.fake_queue import FakeQueue
from tests.support.world import eventually

ODD_BODIES = [" ", "é 東京 🚀", '{"a": "\\u0000"}', "line\nbreak\t", "<&>'\"", "x" * 100_000]


class ArrangedQueue(Protocol):
    """A queue under test and the other side's means to fill it."""

    queue: Queue

    def send(self, body: str) -> None: ...

    def remove(self) -> None:
        """Delete the queue itself."""


def bodies(messages: Sequence[Message]) -> list[str]:
    return sorted(message.body for message in messages)


def receive(queue: Queue, hidden_seconds: int = 60) -> list[Message]:
    return queue.receive(10, 0, hidden_seconds)


class QueueContract:
    """Subclasses give the fixture `arranged`: a fresh, empty queue."""

    def test_an_empty_queue_gives_nothing_when_the_wait_is_over(
        self, arranged: ArrangedQueue
    ) -> None:
        began = time.monotonic()

        assert receive(arranged.queue) == []
        assert arranged.queue.receive(10, 1, 60) == []
        assert 0.9 < time.monotonic() - began < 10

    def test_gives_what_was_sent(self, arranged: ArrangedQueue) -> None:
        arranged.send("body")

        (message,) = receive(arranged.queue)

        assert message.body == "body"
        assert message.id and message.receipt

    @pytest.mark.parametrize("body", ODD_BODIES)
    def test_a_body_comes_unchanged(self, arranged: ArrangedQueue, body: str) -> None:
        arranged.send(body)

        assert bodies(receive(arranged.queue)) == [body]

    def test_gives_at_most_what_was_asked_for(self, arranged: ArrangedQueue) -> None:
        for number in range(12):
            arranged.send(f"{number:02}")

        first = arranged.queue.receive(10, 0, 60)
        second = arranged.queue.receive(1, 0, 60)
        third = receive(arranged.queue)

        assert [len(first), len(second), len(third)] == [10, 1, 1]
        assert bodies([*first, *second, *third]) == [f"{number:02}" for number in range(12)]

    def test_what_was_received_is_hidden_and_comes_again(self, arranged: ArrangedQueue) -> None:
        arranged.send("body")
        (first,) = receive(arranged.queue, hidden_seconds=1)

        assert receive(arranged.queue) == []
        (again,) = arranged.queue.receive(10, 10, 60)
        assert (again.id, again.body) == (first.id, "body")
        assert again.receipt != first.receipt

    def test_what_is_deleted_never_comes_again(self, arranged: ArrangedQueue) -> None:
        for number in range(12):
            arranged.send(f"{number}")
        received = [*receive(arranged.queue), *receive(arranged.queue)]

        assert arranged.queue.delete(received) == []

        arranged.queue.extend(received, 0)  # which does not bring them back
        assert receive(arranged.queue) == []

    def test_what_is_extended_stays_hidden(self, arranged: ArrangedQueue) -> None:
        arranged.send("stays")
        stays = receive(arranged.queue, hidden_seconds=1)
        arranged.send("comes")
        comes = receive(arranged.queue, hidden_seconds=1)

        assert arranged.queue.extend(stays, 60) == []

        assert bodies(arranged.queue.receive(10, 10, 60)) == ["comes"]
        assert comes != stays
        assert receive(arranged.queue) == []

    def test_what_is_given_back_is_visible_at_once(self, arranged: ArrangedQueue) -> None:
        for number in range(12):
            arranged.send(f"{number}")
        received = [*receive(arranged.queue), *receive(arranged.queue)]

        assert arranged.queue.extend(received, 0) == []

        again = [*receive(arranged.queue), *receive(arranged.queue)]
        assert bodies(again) == bodies(received)

    def test_an_old_receipt_is_refused(self, arranged: ArrangedQueue) -> None:
        arranged.send("body")
        old = receive(arranged.queue)
        arranged.queue.extend(old, 0)
        new = receive(arranged.queue)

        assert arranged.queue.extend([*old, *new], 60) == old

        assert receive(arranged.queue) == []

    def test_nothing_asked_is_nothing_done(self, arranged: ArrangedQueue) -> None:
        assert arranged.queue.delete([]) == []
        assert arranged.queue.extend([], 60) == []

    def test_a_queue_that_is_gone_is_missing(self, arranged: ArrangedQueue) -> None:
        arranged.send("body")
        received = receive(arranged.queue)
        arranged.remove()

        with pytest.raises(QueueMissing):
            receive(arranged.queue)
        with pytest.raises(QueueMissing):
            arranged.queue.delete(received)
        with pytest.raises(QueueMissing):
            arranged.queue.extend(received, 0)

    def test_a_closed_queue_answers_nothing(self, arranged: ArrangedQueue) -> None:
        receive(arranged.queue)
        arranged.queue.close()
        arranged.queue.close()

        with pytest.raises(Interrupted):
            receive(arranged.queue)


class ArrangedFake:
    def __init__(self) -> None:
        self.queue: FakeQueue = FakeQueue()

    def send(self, body: str) -> None:
        self.queue.send(body)

    def remove(self) -> None:
        self.queue.exists = False


class TestFakeQueue(QueueContract):
    """In memory, on the real clock."""

    @pytest.fixture
    def arranged(self) -> ArrangedFake:
        return ArrangedFake()

    def test_a_message_that_nobody_deletes_dies(self) -> None:
        queue = FakeQueue(most_receipts=2)
        queue.send("poison")
        for _ in range(2):
            queue.extend(receive(queue), 0)

        assert receive(queue) == []
        assert queue.dead == ["poison"]

    def test_a_problem_stays_until_it_is_healed(self) -> None:
        queue = FakeQueue()
        queue.send("body")
        queue.fail("receive", QueueMissing("gone", hint="look"))
        for _ in range(2):
            with pytest.raises(QueueMissing, match="gone") as caught:
                receive(queue)
            assert caught.value.hint == "look"
        queue.heal("receive")

        assert bodies(receive(queue)) == ["body"]
        eventually(lambda: queue.polling == 0)
