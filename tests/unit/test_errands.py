"""Threads that do errands: how many there are, whose turn it is, and how they end."""

import threading
from collections.abc import Callable, Iterator

import pytest

from datasync.services.engine import errands
from datasync.services.engine.errands import ErrandThreads
from tests.support.threads import no_threads

PATIENCE = 10.0


class Desk:
    """Sends errands that wait for their gate, and hears how they ended."""

    def __init__(self, most: int, reserved: int = 0) -> None:
        self.threads = ErrandThreads("errand", most, reserved)
        self.gate = threading.Event()
        self.begun: list[str] = []
        self.ended: list[tuple[str, Exception | None]] = []
        self._news = threading.Condition()

    def send(self, *names: str, urgent: bool = False, error: Exception | None = None) -> None:
        for name in names:
            self.threads.submit(self._work(name, error), self._then(name), urgent=urgent)

    def hear(self, *names: str) -> None:
        """Wait until these have begun, in any order, and no other."""
        with self._news:
            assert self._news.wait_for(lambda: len(self.begun) >= len(names), PATIENCE)
            assert sorted(self.begun) == sorted(names)

    def hear_the_end(self, count: int) -> None:
        with self._news:
            assert self._news.wait_for(lambda: len(self.ended) >= count, PATIENCE)

    def _work(self, name: str, error: Exception | None) -> Callable[[], None]:
        def work() -> None:
            with self._news:
                self.begun.append(name)
                self._news.notify_all()
            assert self.gate.wait(PATIENCE)
            if error is not None:
                raise error

        return work

    def _then(self, name: str) -> Callable[[Exception | None], None]:
        def then(error: Exception | None) -> None:
            with self._news:
                self.ended.append((name, error))
                self._news.notify_all()

        return then


@pytest.fixture
def desk(request: pytest.FixtureRequest) -> Iterator[Desk]:
    made = Desk(*request.param)
    made.threads.start()
    yield made
    made.gate.set()
    made.threads.stop()
    made.threads.join(PATIENCE)


def alive() -> int:
    return sum(thread.name.startswith("errand-") for thread in threading.enumerate())


def with_threads(*numbers: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("desk", [numbers], indirect=True)


@with_threads(3)
def test_there_are_as_many_threads_as_are_needed(desk: Desk) -> None:
    assert alive() == 1
    desk.send("a", "b")
    desk.hear("a", "b")
    assert alive() == 2
    desk.send("c", "d", "e")
    desk.hear("a", "b", "c")
    assert alive() == 3
    desk.gate.set()
    desk.hear_the_end(5)
    desk.send("f")
    desk.hear_the_end(6)
    assert alive() == 3


@with_threads(1)
def test_urgent_errands_go_first(desk: Desk) -> None:
    desk.send("a")
    desk.hear("a")
    desk.send("b", "c")
    desk.send("d", "e", urgent=True)
    desk.gate.set()
    desk.hear_the_end(5)
    assert [name for name, _ in desk.ended] == ["a", "d", "e", "b", "c"]


@with_threads(1)
def test_a_stream_of_urgent_errands_leaves_a_turn_to_the_others(desk: Desk) -> None:
    desk.send("first")
    desk.hear("first")
    desk.send("other", "another")
    urgent = [f"{number}" for number in range(2 * errands.IN_A_ROW + 1)]
    desk.send(*urgent, urgent=True)
    desk.gate.set()
    desk.hear_the_end(len(urgent) + 3)
    order = [name for name, _ in desk.ended[1:]]
    assert order.index("other") == errands.IN_A_ROW
    assert order.index("another") == 2 * errands.IN_A_ROW + 1


@with_threads(3, 1)
def test_some_threads_are_for_urgent_errands_alone(desk: Desk) -> None:
    desk.send("a", "b", "c", "d")
    desk.hear("a", "b")
    assert alive() == 2
    desk.send("e", urgent=True)
    desk.hear("a", "b", "e")
    desk.gate.set()
    desk.hear_the_end(5)


@with_threads(1)
def test_an_error_is_told_and_ends_nothing_else(desk: Desk) -> None:
    problem = ZeroDivisionError("a mistake")
    desk.gate.set()
    desk.send("a", error=problem)
    desk.send("b")
    desk.hear_the_end(2)
    assert desk.ended == [("a", problem), ("b", None)]


@with_threads(2)
def test_where_no_more_threads_are_to_be_had_those_that_are_go_on(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.send("a")
    desk.hear("a")
    with no_threads(monkeypatch, "errand-"):
        desk.send("b")
    desk.gate.set()
    desk.hear_the_end(2)
    assert alive() == 1


@with_threads(1)
def test_after_a_stop_nothing_begins(desk: Desk) -> None:
    desk.send("a")
    desk.hear("a")
    desk.send("b")
    desk.threads.stop()
    desk.threads.join(0.01)  # does not wait for what hangs
    assert alive() == 1
    desk.gate.set()
    desk.threads.join(PATIENCE)
    assert alive() == 0
    assert [name for name, _ in desk.ended] == ["a"]


def test_threads_that_cannot_even_begin_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = ErrandThreads("errand", 1)
    with no_threads(monkeypatch, "errand-"), pytest.raises(RuntimeError):
        threads.start()
    threads.stop()
    threads.join(PATIENCE)
