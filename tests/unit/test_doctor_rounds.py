"""How checks are run: side by side, each in its own time, none hiding another."""

import threading

import pytest

from datasync.doctor.findings import Finding, Level, Line, passed, skipped, warned
from datasync.doctor.rounds import Check, Round
from datasync.errors import BucketMissing


def run(*checks: Check) -> dict[str, Finding]:
    told: list[Line] = []
    known = Round(checks, told.append).run()
    assert {line.name: line for line in told} == known
    return {line.name: line.finding for line in told}


def fine() -> Finding:
    return passed("fine")


def broken() -> Finding:
    raise BucketMissing("no such bucket")


def test_a_failure_hides_no_other() -> None:
    found = run(Check("a", broken), Check("b", fine), Check("c", lambda: passed(str(1 // 0))))
    assert found["a"] == Finding(Level.FAIL, "no such bucket", BucketMissing.hint)
    assert found["b"] == passed("fine")
    assert found["c"].found.startswith("internal error: ZeroDivisionError")
    assert found["c"].level is Level.FAIL


def test_what_needs_a_failed_check_is_skipped_with_the_reason() -> None:
    found = run(
        Check("third", fine, needs=("second",)),
        Check("second", fine, needs=("first",)),
        Check("first", broken),
    )
    assert found["second"] == skipped("'first' failed")
    assert found["third"] == skipped("'second' was skipped")


def test_a_warning_stops_nobody() -> None:
    found = run(Check("a", lambda: warned("hm", "do")), Check("b", fine, needs=("a",)))
    assert found["b"] == passed("fine")


def test_what_comes_after_a_failed_check_is_done_all_the_same() -> None:
    order: list[str] = []

    def first() -> Finding:
        order.append("first")
        return broken()

    def second() -> Finding:
        order.append("second")
        return fine()

    found = run(Check("b", second, after=("a", "not a check")), Check("a", first))
    assert found["b"] == passed("fine")
    assert order == ["first", "second"]


def test_checks_run_side_by_side() -> None:
    meeting = threading.Barrier(3, timeout=10)

    def meet() -> Finding:
        meeting.wait()
        return fine()

    found = run(*(Check(name, meet) for name in "abc"))
    assert set(found.values()) == {passed("fine")}


def test_one_that_hangs_is_left_behind_and_the_others_are_told_meanwhile(
    never: threading.Event,
) -> None:
    told: list[str] = []
    begun = threading.Event()

    def hang() -> Finding:
        begun.wait()
        never.wait()
        return fine()

    def tell(line: Line) -> None:
        told.append(line.name)
        begun.set()

    known = Round(
        [Check("hangs", hang, seconds=0.3), Check("quick", fine), Check("b", fine, ("hangs",))],
        tell,
    ).run()
    assert told == ["quick", "hangs", "b"]
    assert known["hangs"].finding.found == "no answer within 0.3 seconds"
    assert known["hangs"].seconds >= 0.3
    assert known["b"].finding == skipped("'hangs' failed")


def test_an_answer_that_comes_too_late_changes_nothing() -> None:
    late = threading.Event()

    def slow() -> Finding:
        late.wait()
        return fine()

    def release() -> Finding:
        late.set()
        for thread in threading.enumerate():
            if thread.name == "doctor slow":
                thread.join()  # it answers while this one still runs
        return fine()

    found = run(
        Check("slow", slow, seconds=0.05), Check("then", release, after=("slow",), seconds=10)
    )
    assert found["slow"].level is Level.FAIL
    assert found["then"] == passed("fine")


@pytest.mark.parametrize("count", [0, 40])
def test_any_number_of_checks(count: int) -> None:
    assert len(run(*(Check(f"n{number}", fine) for number in range(count)))) == count
