"""Whether the benchmark's goals hold is decided by rules, not by who reads the report."""

from collections.abc import Mapping

import pytest

from benchmarks.contestants import OURS_BARE, RCLONE_BEST, S5CMD_CP
from benchmarks.figures import Result
from benchmarks.goals import EVERY_PEER, OURS, AnyGoal, Bound, Goal, Growth, judge, ratios
from benchmarks.workloads import QUICK, WORKLOADS


def measured(walls: Mapping[str, list[float]], metric: str = "wall") -> list[Result]:
    """Each contestant's figures, round by round from 1 on."""
    return [
        Result(name, number, {metric: value})
        for name, values in walls.items()
        for number, value in enumerate(values, 1)
    ]


def test_a_ratio_is_that_of_one_round_and_the_median_of_the_rounds_counts() -> None:
    results = measured({OURS: [1, 10, 3], RCLONE_BEST: [2, 40, 2]})
    assert ratios(results, OURS, RCLONE_BEST, "wall") == [0.5, 0.25, 1.5]
    assert Goal(RCLONE_BEST, "wall", 0.5).judge(results, {}).value == 0.5


def test_rounds_that_a_slow_peer_left_out_do_not_count() -> None:
    results = measured({OURS: [1, 9, 9], S5CMD_CP: [4]})
    verdict = Goal(S5CMD_CP, "wall", 0.3).judge(results, {})
    assert (verdict.value, verdict.holds) == (0.25, True)


def test_every_peer_is_the_hardest_of_them_and_never_ours() -> None:
    results = measured({OURS: [1], OURS_BARE: [0.1], RCLONE_BEST: [2], S5CMD_CP: [1.25]})
    verdict = Goal(EVERY_PEER, "wall", 0.6, 0.35).judge(results, {})
    assert (verdict.value, verdict.beside) == (0.8, S5CMD_CP)
    assert (verdict.holds, verdict.then_holds) == (False, False)


@pytest.mark.parametrize(
    "ours, holds, then_holds", [(0.3, True, True), (0.5, True, False), (0.61, False, False)]
)
def test_the_first_goal_and_the_one_after_it(ours: float, holds: bool, then_holds: bool) -> None:
    verdict = Goal(EVERY_PEER, "wall", 0.6, 0.35).judge(measured({OURS: [ours], S5CMD_CP: [1]}), {})
    assert (verdict.holds, verdict.then_holds) == (holds, then_holds)


def test_a_goal_without_a_later_one_has_no_opinion_of_it() -> None:
    verdict = Goal(EVERY_PEER, "wall", 0.6).judge(measured({OURS: [0.1], S5CMD_CP: [1]}), {})
    assert verdict.then_holds is None


@pytest.mark.parametrize("present", [[], [OURS], [S5CMD_CP]])
def test_what_was_not_measured_neither_holds_nor_fails(present: list[str]) -> None:
    verdict = Goal(S5CMD_CP, "wall", 0.6).judge(measured({name: [1.0] for name in present}), {})
    assert (verdict.value, verdict.holds) == (None, None)


def test_a_bound_is_that_of_the_worst_round() -> None:
    results = measured({OURS: [100, 119, 110]}, "peak")
    assert Bound("peak", 119).judge(results, {}).holds is True
    assert Bound("peak", 118).judge(results, {}).holds is False
    assert Bound("peak", 118).judge([], {}).holds is None


def test_growth_is_what_it_takes_more_than_in_another_workload() -> None:
    few, many = measured({OURS: [100, 110]}, "peak"), measured({OURS: [138, 130]}, "peak")
    verdict = Growth("W4a", "peak", 30).judge(many, {"W4a": few})
    assert (verdict.value, verdict.holds) == (28, True)
    assert Growth("W4a", "peak", 27).judge(many, {"W4a": few}).holds is False
    assert Growth("W4a", "peak", 30).judge(many, {}).holds is None


@pytest.mark.parametrize("workload", [*WORKLOADS, *QUICK], ids=lambda each: each.name)
def test_every_goal_speaks_of_who_takes_part_and_of_what_is_measured(workload: object) -> None:
    """A goal beside somebody who is left out would never be judged."""
    assert isinstance(workload, type(WORKLOADS[0]))
    assert workload.goals
    for goal in workload.goals:
        assert goal.metric in {metric.name for metric in workload.metrics}
        if isinstance(goal, Goal):
            assert workload.takes(goal.peers)


def test_verdicts_come_in_the_order_of_the_goals() -> None:
    goals: list[AnyGoal] = [Bound("wall", 5), Goal(S5CMD_CP, "wall", 1)]
    verdicts = judge(goals, measured({OURS: [4], S5CMD_CP: [8]}), {})
    assert [verdict.value for verdict in verdicts] == [4, 0.5]
