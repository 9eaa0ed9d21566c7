"""Fixtures of the whole suite: each lives in its own module below `tests/support`."""

pytest_plugins = [
    "tests.support.seaweed",
    "tests.support.ministack",
    "tests.support.postgres",
    "tests.support.world",
    "tests.support.forwarding",
    "tests.support.doctor",
]
