"""The threads that carry the ranges of large objects: shared out, given up, and never lost."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from datasync.errors import DataSyncError, InternalFault, ServerFault
from datasync.models.sync_models import ObjectHead, ObjectRequest
from datasync.services.engine.carriers import CARRIERS, Carried, Carriers
from datasync.services.storage.channel import Answer
from tests.support import fail
from tests.support.fake_bucket import FakeBucket
from tests.support.fake_channel import FakeChannel
from tests.support.world import eventually

BODY = bytes(range(256)) * 40


@dataclass
class Part:
    """A receiver that remembers what it got, and on which thread."""

    data: bytes = b""
    threads: set[str] = field(default_factory=set)

    def begin(self, head: ObjectHead) -> None:
        self.threads.add(threading.current_thread().name)

    def write(self, data: bytes) -> None:
        self.data += data


class Owner:
    """Whose ranges they are."""

    def __init__(self) -> None:
        self.told: dict[Carried, Answer] = {}
        self.over: set[Carried] = set()

    def range_answered(self, carried: Carried, answer: Answer) -> None:
        assert carried not in self.over  # told once
        self.over.add(carried)
        if not carried.dropped:
            self.told[carried] = answer

    @property
    def errors(self) -> list[DataSyncError | None]:
        return [answer.error for answer in self.told.values()]


@dataclass
class Pool:
    bucket: FakeBucket
    carriers: Carriers
    owner: Owner
    problems: list[Exception]
    stopping: threading.Event

    def stop(self) -> None:
        self.stopping.set()
        self.carriers.wake()

    def start(self, first: int = 0, last: int = 99) -> tuple[Carried, Part]:
        part = Part()
        request = ObjectRequest("big", first=first, last=last)
        return self.carriers.start(request, part, "token", self.owner), part


@pytest.fixture
def pool() -> Iterator[Pool]:
    bucket, problems, stopping = FakeBucket(), list[Exception](), threading.Event()
    bucket.put("big", BODY)
    carriers = Carriers(bucket, stopping.is_set, problems.append)
    made = Pool(bucket, carriers, Owner(), problems, stopping)
    made.carriers.begin()
    yield made
    made.stop()
    made.carriers.join(5)


def running() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("ranges-")]


def test_ranges_are_shared_out(pool: Pool, never: threading.Event) -> None:
    pool.bucket.script("big", fail.pause_until(never), fail.pause_until(never))
    started = [pool.start() for _ in range(CARRIERS)]
    eventually(lambda: pool.bucket.counts["get"] == CARRIERS)
    never.set()
    eventually(lambda: len(pool.owner.told) == CARRIERS)
    assert [part.data for _, part in started] == [BODY[:100]] * CARRIERS
    assert set.union(*(part.threads for _, part in started)) == set(running())
    assert pool.owner.errors == [None] * CARRIERS


def test_the_answer_names_what_it_is_the_answer_to(pool: Pool) -> None:
    one, first = pool.start(0, 9)
    other, second = pool.start(10, 19)
    eventually(lambda: pool.owner.told.keys() == {one, other})
    assert pool.owner.told[other].request.first == 10 and other.token == "token"
    assert (first.data, second.data) == (BODY[:10], BODY[10:20])


def test_an_error_is_an_answer(pool: Pool) -> None:
    pool.bucket.script("big", fail.error(ServerFault("503")))
    pool.start()
    eventually(lambda: pool.owner.told)
    assert isinstance(pool.owner.errors[0], ServerFault)


def test_what_is_dropped_is_told_to_be_over_and_has_no_answer(
    pool: Pool, never: threading.Event
) -> None:
    pool.bucket.script("big", *[fail.pause_until(never)] * CARRIERS)
    dropped = [pool.start()[0] for _ in range(CARRIERS)]
    eventually(lambda: pool.bucket.counts["get"] == CARRIERS)
    for each in dropped:
        each.drop()
    eventually(lambda: pool.owner.over == set(dropped))
    later, _ = pool.start()
    eventually(lambda: later in pool.owner.told)
    never.set()
    assert pool.owner.told.keys() == {later}


def test_what_is_dropped_at_once_is_not_asked_for(
    pool: Pool, never: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Event()
    poll = FakeChannel.poll

    def slow(channel: FakeChannel, seconds: float) -> list[Answer]:
        begun.set()
        never.wait()
        return poll(channel, seconds)

    monkeypatch.setattr(FakeChannel, "poll", slow)
    pool.start()
    assert begun.wait(10)
    for each in [pool.start()[0] for _ in range(3)]:
        each.drop()
    never.set()
    eventually(lambda: len(pool.owner.told) == 1)
    assert pool.bucket.counts["get"] <= CARRIERS


def test_a_mistake_fails_what_is_carried_there_and_the_thread_goes_on(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    poll = FakeChannel.poll

    def broken(channel: FakeChannel, seconds: float) -> list[Answer]:
        monkeypatch.setattr(FakeChannel, "poll", poll)
        raise ZeroDivisionError

    monkeypatch.setattr(FakeChannel, "poll", broken)
    pool.start()
    eventually(lambda: pool.owner.told)
    assert isinstance(pool.owner.errors[0], InternalFault)
    assert [type(problem) for problem in pool.problems] == [ZeroDivisionError]
    later, part = pool.start()
    eventually(lambda: later in pool.owner.told)
    assert part.data == BODY[:100]


def test_no_thread_is_there_after_the_stop(pool: Pool) -> None:
    assert len(running()) == CARRIERS
    pool.stop()
    pool.carriers.join(5)
    assert running() == []


def test_a_stop_waits_once_for_all_threads_that_hang(pool: Pool, never: threading.Event) -> None:
    for _ in range(CARRIERS):
        _, part = pool.start()
        part.write = lambda _: never.wait()  # type: ignore[assignment,method-assign]
    eventually(lambda: pool.bucket.counts["get"] == CARRIERS)
    pool.stop()
    began = time.monotonic()
    pool.carriers.join(1)
    assert 0.9 < time.monotonic() - began < 1.8
    never.set()
    eventually(lambda: not running())


def test_one_that_was_never_begun_is_only_cleared() -> None:
    carriers = Carriers(FakeBucket(), lambda: True, lambda _: None)
    carriers.wake()
    carriers.join(5)


def test_a_stop_tells_nobody(pool: Pool, never: threading.Event) -> None:
    pool.bucket.script("big", fail.pause_until(never))
    pool.start()
    eventually(lambda: pool.bucket.counts["get"] == 1)
    pool.stop()
    pool.carriers.join(5)
    pool.start()[0].drop()
    assert pool.owner.told == {} and running() == []
