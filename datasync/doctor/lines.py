"""What the doctor says: one line for each thing it looked at. Pure."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How well a thing is."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Line:
    """One thing: its name, how well it is, what was found, and what to do if it is not well."""

    name: str
    level: Level
    found: str
    advice: str = ""


def passed(name: str, found: str) -> Line:
    return Line(name, Level.PASS, found)


def warned(name: str, found: str, advice: str) -> Line:
    return Line(name, Level.WARN, found, advice)


def failed(name: str, found: str, advice: str) -> Line:
    return Line(name, Level.FAIL, found, advice)


def skipped(name: str, why: str) -> Line:
    return Line(name, Level.SKIP, why)
