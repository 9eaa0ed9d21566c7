"""docs/PROMISES.md names tests: each of them exists, and every promise has some."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "PROMISES.md").read_text("utf-8")
ROWS = re.findall(r"^\| (\d) \|.*$", PAGE, re.MULTILINE)
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)


def test_every_promise_is_broken_in_at_least_two_ways() -> None:
    assert {number: ROWS.count(number) >= 2 for number in ROWS} == dict.fromkeys("1234567", True)


def test_every_test_that_is_named_exists() -> None:
    missing = [
        f"{file}::{name}"
        for file, name in NAMED
        if f"def {name}(" not in (ROOT / file).read_text("utf-8")
    ]
    assert missing == []
    assert len(NAMED) >= len(ROWS)
