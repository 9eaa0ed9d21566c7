"""Which prefixes and keys belong to what is mirrored."""

import pytest

from datasync.controllers.scope import Scope
from datasync.errors import MalformedRequest


@pytest.mark.parametrize(
    ("scope", "asked", "within", "of_run"),
    [
        ("", "", "", ""),
        ("", "a/", "a/", "a/"),
        ("in/", "", "in/", ""),
        ("in/", "in/", "in/", ""),
        ("in/", "in/a", "in/a", "in/a"),
    ],
)
def test_a_prefix_within_the_scope(scope: str, asked: str, within: str, of_run: str) -> None:
    assert Scope(scope).within(asked) == within
    assert Scope(scope).of_run(asked) == of_run


@pytest.mark.parametrize("asked", ["i", "in", "out/", "/in/"])
def test_a_prefix_outside_the_scope_is_refused(asked: str) -> None:
    for ask in (Scope("in/").within, Scope("in/").of_run):
        with pytest.raises(MalformedRequest, match="in/"):
            ask(asked)


def test_a_key_is_held_or_not() -> None:
    assert Scope("in/").holds("in/") and Scope("").holds("a")
    assert not Scope("in/").holds("in") and not Scope("in/").holds("out/in/")
