"""What a workload is to reach, and whether what was measured reaches it. Pure.

A ratio is ours to a peer's of the same round, since both met the same machine then; the median of
the rounds counts, and a goal holds when it holds beside every peer that is meant.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.figures import Result

OURS = "datasync sync"
EVERY_PEER = "every peer"
ROUND_OFF = 1e-9


@dataclass(frozen=True)
class Verdict:
    """`value` is None when it was not measured; `holds` tells of the first goal, `then` of both."""

    goal: str
    at_most: float
    value: float | None = None
    beside: str = ""
    then_at_most: float | None = None

    @property
    def holds(self) -> bool | None:
        return None if self.value is None else self.value <= self.at_most + ROUND_OFF

    @property
    def then_holds(self) -> bool | None:
        if self.value is None or self.then_at_most is None:
            return None
        return self.value <= self.then_at_most + ROUND_OFF


@dataclass(frozen=True)
class Goal:
    """Ours to a peer's in `metric`: at most that; `then` is the goal after the first one.

    `peers` is EVERY_PEER (all that is not ours) or the name of one.
    """

    peers: str
    metric: str
    at_most: float
    then: float | None = None
    ours: str = OURS

    @property
    def text(self) -> str:
        return f"{self.metric}, ours to {self.peers}"

    def judge(self, results: Sequence[Result], _others: "Others") -> Verdict:
        found = {
            peer: statistics.median(given)
            for peer in self._meant(results)
            if (given := ratios(results, self.ours, peer, self.metric))
        }
        hardest = max(found, key=lambda peer: found[peer], default="")
        value = found.get(hardest)
        return Verdict(self.text, self.at_most, value, hardest, self.then)

    def _meant(self, results: Sequence[Result]) -> list[str]:
        if self.peers != EVERY_PEER:
            return [self.peers]
        return [name for name in names(results) if not is_ours(name)]


@dataclass(frozen=True)
class Bound:
    """Ours in `metric`, in its own unit, in the worst round: at most that."""

    metric: str
    at_most: float
    ours: str = OURS

    @property
    def text(self) -> str:
        return f"{self.metric} of {self.ours}"

    def judge(self, results: Sequence[Result], _others: "Others") -> Verdict:
        return Verdict(self.text, self.at_most, _worst(results, self.ours, self.metric))


@dataclass(frozen=True)
class Growth:
    """Ours in `metric` above ours in another workload of the same setting: at most so much more."""

    than: str
    metric: str
    at_most: float
    ours: str = OURS

    @property
    def text(self) -> str:
        return f"{self.metric} of {self.ours}, more than in {self.than}"

    def judge(self, results: Sequence[Result], others: "Others") -> Verdict:
        here = _worst(results, self.ours, self.metric)
        there = _worst(others.get(self.than, ()), self.ours, self.metric)
        if here is None or there is None:
            return Verdict(self.text, self.at_most)
        return Verdict(self.text, self.at_most, here - there, self.than)


AnyGoal = Goal | Bound | Growth
Others = Mapping[str, Sequence[Result]]
"""What was measured in the same setting, by workload."""


def judge(goals: Iterable[AnyGoal], results: Sequence[Result], others: Others) -> list[Verdict]:
    return [goal.judge(results, others) for goal in goals]


def is_ours(name: str) -> bool:
    return name.startswith("datasync")


def names(results: Iterable[Result]) -> list[str]:
    """The contestants in the order in which they first came."""
    return list(dict.fromkeys(result.contestant for result in results))


def ratios(results: Iterable[Result], ours: str, peer: str, metric: str) -> list[float]:
    """Ours to the peer's, of each round in which both were measured."""
    found: dict[str, dict[int, float]] = {ours: {}, peer: {}}
    for result in results:
        if result.contestant in found and metric in result.values:
            found[result.contestant][result.round_number] = result.values[metric]
    both = found[ours].keys() & found[peer].keys()
    return [found[ours][number] / found[peer][number] for number in sorted(both)]


def _worst(results: Iterable[Result], ours: str, metric: str) -> float | None:
    values = [each.values[metric] for each in results if each.contestant == ours]
    return max(values, default=None)
