"""What health asks, and how long it waits: probes that hang, answers that are shared."""

import threading
import time

import pytest

from datasync.controllers.health import HealthCheck, Probe
from datasync.errors import MirrorUnavailable, NetworkFailure
from datasync.models.s3_models import HealthStatus
from tests.support.threads import no_threads
from tests.support.world import eventually
from tests.unit.test_equality import EQUAL


def test_a_probe_shares_one_thread_among_all_who_wait() -> None:
    gate, asked = threading.Event(), []

    def question() -> None:
        asked.append(threading.current_thread())
        gate.wait(10)

    probe = Probe("x", question)
    answers = [probe.begin() for _ in range(5)]
    assert len({id(answer) for answer in answers}) == 1
    assert answers[0].within(time.monotonic()).problem == "no answer in time"
    gate.set()
    assert answers[0].within(time.monotonic() + 10).problem is None
    assert len(asked) == 1


def test_a_probe_keeps_its_answer_for_a_while_only() -> None:
    now, asked = [0.0], [0]

    def question() -> int:
        asked[0] += 1
        return asked[0]

    probe = Probe("x", question, fresh_seconds=5.0, clock=lambda: now[0])

    def value() -> int | None:
        return probe.begin().within(time.monotonic() + 10).value

    assert (value(), value()) == (1, 1)
    now[0] = 4.9
    assert value() == 1
    now[0] = 5.1
    assert value() == 2


def test_a_probe_that_no_thread_can_be_had_for_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    probe = Probe("x", lambda: 1, fresh_seconds=5.0, clock=lambda: now[0])
    with no_threads(monkeypatch, "probe-x"):
        problem = probe.begin().within(time.monotonic()).problem
    assert problem is not None and "can't start new thread" in problem
    now[0] = 5.1
    assert probe.begin().within(time.monotonic() + 10).value == 1


def test_a_probe_tells_the_problem_and_no_details_of_surprises() -> None:
    def refuse() -> None:
        raise NetworkFailure("no route")

    def explode() -> None:
        raise RuntimeError("secret")

    told = Probe("a", refuse).begin().within(time.monotonic() + 10).problem
    assert told is not None and told.startswith("no route")
    told = Probe("b", explode).begin().within(time.monotonic() + 10).problem
    assert told == "unexpected RuntimeError"


def test_an_answer_that_was_asked_for_before_is_asked_for_again() -> None:
    gates = [threading.Event(), threading.Event()]
    asked: list[int] = []

    def question() -> int:
        asked.append(len(asked) + 1)
        number = asked[-1]
        gates[min(number, 2) - 1].wait(10)
        return number

    probe = Probe("x", question, fresh_seconds=0.0)
    early = probe.begin()
    answers: list[int | None] = []
    arrived = time.monotonic()

    def ask() -> None:
        answers.append(probe.finish(early, arrived, time.monotonic() + 10).value)

    late = [threading.Thread(target=ask) for _ in range(3)]
    for thread in late:
        thread.start()
    gates[0].set()
    eventually(lambda: len(asked) == 2)
    gates[1].set()
    for thread in late:
        thread.join(10)
    assert early.within(0.0).value == 1
    assert len(answers) == 3 and 1 not in answers  # nothing from before they asked
    assert None not in answers


def test_an_answer_that_does_not_come_is_not_asked_for_again() -> None:
    gate, asked = threading.Event(), []

    def question() -> None:
        asked.append(1)
        gate.wait(10)

    probe = Probe("x", question, fresh_seconds=0.0)
    early = probe.begin()
    finding = probe.finish(early, time.monotonic(), time.monotonic())
    gate.set()
    assert finding.problem == "no answer in time"
    assert len(asked) == 1


def test_an_answer_that_ages_while_others_are_waited_for_is_as_good() -> None:
    now, asked = [0.0], []
    probe = Probe("x", lambda: asked.append(1), clock=lambda: now[0])
    begun = probe.begin()
    assert begun.within(time.monotonic() + 10).problem is None
    now[0] = 60.0
    assert probe.finish(begun, arrived=5.0, deadline=0.0).problem is None
    assert len(asked) == 1


def test_a_directory_out_of_use_is_equal_to_nothing() -> None:
    def gone() -> str | None:
        raise MirrorUnavailable("the root is not mounted")

    report = HealthCheck(lambda: EQUAL, "mirror", lambda _: None, gone).report()
    assert (report.status, report.in_sync) == (HealthStatus.UNHEALTHY, False)
    report = HealthCheck(lambda: EQUAL, "mirror", lambda _: None, lambda: None).report()
    assert (report.status, report.in_sync) == (HealthStatus.HEALTHY, True)
