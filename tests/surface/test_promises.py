"""The pages of what is proved name tests: each of them exists, and every promise has some."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("PROMISES.md", "RELIABILITY.md")


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text("utf-8")


def named(name: str) -> list[tuple[str, str]]:
    """File and function of each test."""
    return re.findall(r"`(tests/[\w/]+\.py)::(?:\w+::)?(\w+)(?:\[[^]]+\])?`", page(name))


def rows(name: str) -> list[str]:
    """The promises of each row of a table."""
    return re.findall(r"^\| ([1-7](?:(?:, | - )[1-7])*) \|.*$", page(name), re.MULTILINE)


def test_every_promise_is_broken_in_at_least_two_ways() -> None:
    alone = rows("PROMISES.md")
    assert {number: alone.count(number) >= 2 for number in "1234567"} == dict.fromkeys(
        "1234567", True
    )


def test_every_promise_has_faults() -> None:
    assert {number for row in rows("RELIABILITY.md") for number in re.findall("[1-7]", row)} == set(
        "1234567"
    )


@pytest.mark.parametrize("name", PAGES)
def test_every_test_that_is_named_exists(name: str) -> None:
    tests = named(name)
    missing = [
        f"{file}::{test}"
        for file, test in tests
        if f"def {test}(" not in (ROOT / file).read_text("utf-8")
    ]
    assert missing == []
    assert len(re.findall("`tests/[^`]+::", page(name))) == len(tests) >= len(rows(name))
