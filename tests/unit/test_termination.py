"""How a command hears that it shall end."""

import signal
from collections.abc import Iterator

import pytest

from datasync.cli.termination import Termination

SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Whatever the test does to the handlers of this process is undone."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_both_signals_end_what_is_inside(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), Termination() as termination:
        signal.raise_signal(number)
    assert termination.came
    assert {signal.getsignal(each) for each in SIGNALS} == {signal.SIG_DFL}


def test_a_hang_up_after_it_does_not_cut_the_cleaning_up_short() -> None:
    cleaned = False
    with pytest.raises(KeyboardInterrupt), Termination():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGHUP)
            cleaned = True
    assert cleaned


def test_a_hang_up_that_is_ignored_stays_so() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Termination() as termination:
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        signal.raise_signal(signal.SIGHUP)
    assert not termination.came


def test_a_hang_up_is_heard_by_who_has_taken_over_sigterm() -> None:
    """The service ends in its own good order."""
    heard: list[int] = []
    with Termination() as termination:
        before = signal.signal(signal.SIGTERM, lambda number, _frame: heard.append(number))
        signal.raise_signal(signal.SIGHUP)
        signal.signal(signal.SIGTERM, before)
    assert (heard, termination.came) == ([signal.SIGTERM], False)
