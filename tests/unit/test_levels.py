"""How hard to try: the level of concurrency and the pauses, on a turned clock."""

from datasync.errors import ServerFault, SlowDown
from datasync.services.engine.levels import (
    MAXIMUM,
    START,
    ConcurrencyLevel,
    defer_seconds,
    pause_seconds,
)


def drive(
    level: ConcurrencyLevel, seconds: float, delay: float, ceiling: float, since: float = 0.0
) -> float:
    """Answer requests as a server with this delay and this most requests a second would."""
    now = since
    while now < seconds:
        rate = min(level.current / delay, ceiling)
        now += 1 / rate
        level.completed(4096, now, in_flight=level.current)
    return now


def test_it_grows_to_the_maximum_where_each_step_brings_more() -> None:
    level = ConcurrencyLevel(None, 0.0)
    drive(level, seconds=5, delay=0.02, ceiling=1e9)
    assert level.current == MAXIMUM


def test_it_never_grows_beyond_its_bound_and_does_when_that_is_lifted() -> None:
    level = ConcurrencyLevel(None, 0.0)
    level.bound(64)
    now = drive(level, seconds=5, delay=0.02, ceiling=1e9)
    assert level.current == 64
    level.bound(16)
    assert level.current == 16
    level.bound(MAXIMUM)
    drive(level, seconds=now + 60, delay=0.02, ceiling=1e9, since=now)
    assert level.current > 64


def test_it_goes_on_from_where_another_one_is() -> None:
    level = ConcurrencyLevel(None, 0.0)
    level.bound(64)
    level.begin(48)
    assert level.current == 48
    level.begin(128)
    assert level.current == 64


def test_it_stays_low_where_the_server_is_the_limit() -> None:
    level = ConcurrencyLevel(None, 0.0)
    drive(level, seconds=5, delay=0.001, ceiling=8_000)
    assert START <= level.current <= 4 * START


def test_it_halves_on_slow_down_at_most_once_a_second() -> None:
    level = ConcurrencyLevel(None, 0.0)
    level.slow_down(10.0)
    level.slow_down(10.5)
    assert level.current == START // 2
    level.slow_down(11.0)
    assert level.current == START // 4
    for second in range(20):
        level.slow_down(20.0 + second)
    assert level.current == 1


def test_it_does_not_grow_from_idle_traffic() -> None:
    level = ConcurrencyLevel(None, 0.0)
    for tick in range(10_000):
        level.completed(4096, tick * 0.01, in_flight=1)
    assert level.current == START


def test_a_fixed_level_does_not_grow() -> None:
    level = ConcurrencyLevel(7, 0.0)
    drive(level, seconds=3, delay=0.02, ceiling=1e9)
    assert level.current == 7


def test_a_fixed_level_comes_back_after_slow_down() -> None:
    level = ConcurrencyLevel(7, 0.0)
    level.slow_down(0.0)
    assert level.current == 3
    drive(level, seconds=30, delay=0.02, ceiling=1e9)
    assert level.current == 7


def test_pauses_double_within_bounds_and_are_longer_for_slow_down() -> None:
    fault, slow = ServerFault("x"), SlowDown("x")
    assert [pause_seconds(fault, n, 0.0) for n in (1, 2, 3)] == [0.1, 0.2, 0.4]
    assert pause_seconds(fault, 50, 0.999) <= 10.0
    assert pause_seconds(slow, 1, 0.0) > pause_seconds(fault, 1, 0.999)


def test_deferred_keys_wait_from_seconds_to_an_hour() -> None:
    assert defer_seconds(1, 0.5) == 5.0
    assert defer_seconds(2, 0.5) == 10.0
    assert defer_seconds(1000, 0.5) == 3600.0
