"""What a check finds: pass, warn, fail or skip, in words for an operator. Pure."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from datasync.errors import DataSyncError

SHORTEST_SECRET = 8  # shorter ones are parts of ordinary words


class Level(StrEnum):
    """How bad a finding is. `SKIP`: it was not looked at, and the finding says why."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, and for a warning or a failure what to do about it."""

    level: Level
    found: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """The finding of one check, and how many seconds it took."""

    name: str
    finding: Finding
    seconds: float = 0.0


Tell = Callable[[Line], None]


def passed(found: str) -> Finding:
    return Finding(Level.PASS, found)


def warned(found: str, advice: str) -> Finding:
    return Finding(Level.WARN, found, advice)


def failed(found: str, advice: str) -> Finding:
    return Finding(Level.FAIL, found, advice)


def skipped(why: str) -> Finding:
    return Finding(Level.SKIP, why)


def failed_by(error: DataSyncError) -> Finding:
    """The failure that an error of ours tells of, with its hint."""
    return failed(str(error), error.hint)


def worst(lines: Iterable[Line]) -> Level:
    """FAIL if anything failed, else WARN if anything warned, else PASS."""
    levels = {line.finding.level for line in lines}
    return next((level for level in (Level.FAIL, Level.WARN) if level in levels), Level.PASS)


def masked(line: Line, secrets: Iterable[str]) -> Line:
    """The line without any of the secrets, wherever a server or a library repeated one."""
    found, advice = line.finding.found, line.finding.advice
    for secret in filter(lambda each: len(each) >= SHORTEST_SECRET, secrets):
        found, advice = (text.replace(secret, "[redacted]") for text in (found, advice))
    return Line(line.name, Finding(line.finding.level, found, advice), line.seconds)
