"""What one run of one contestant gave, and what its figures are called."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """One counted run: its figures by the names of metrics."""

    contestant: str
    round_number: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Metric:
    """A column of the report; `compared`: with our ratio to each peer."""

    name: str
    title: str
    digits: int = 2
    compared: bool = False


RUN: Sequence[Metric] = (
    Metric("wall", "wall s", compared=True),
    Metric("cpu", "CPU s", compared=True),
    Metric("peak", "peak MB", 0),
    Metric("server", "server CPU s"),
)
LATENCY: Sequence[Metric] = (
    Metric("p50", "p50 ms", compared=True),
    Metric("p99", "p99 ms", compared=True),
    Metric("worst", "worst ms"),
    Metric("cpu", "CPU ms an event"),
)
BURST: Sequence[Metric] = (
    Metric("wall", "wall s", compared=True),
    Metric("each", "ms a file", 3),
    Metric("taken", "all answered s"),
    Metric("cpu", "CPU s", compared=True),
    Metric("peak", "peak MB", 0),
    Metric("server", "server CPU s"),
)
IDLE: Sequence[Metric] = (
    Metric("busy", "CPU, % of a core", 3),
    Metric("memory", "memory MB", 1),
    Metric("processes", "processes", 0),
)
