"""Fixtures of the whole suite: each lives in its own module below `tests/support`."""

import signal

import pytest

pytest_plugins = [
    "tests.support.seaweed",
    "tests.support.ministack",
    "tests.support.postgres",
    "tests.support.world",
    "tests.support.network",
    "tests.support.forwarding",
    "tests.support.command_line",
    "tests.support.clients",
    "tests.support.doctor",
    "tests.support.fork_server",
    "tests.support.collector",
]


def pytest_configure() -> None:
    """Hear the signals that tests send, also below nohup and in the background of a script.

    Those let a process, and all that it starts, ignore them.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what tests measured (`record_property("figure", ...)`), whoever ran them."""
    for report in terminalreporter.getreports("passed"):
        for name, text in report.user_properties:
            if name == "figure":
                terminalreporter.write_line(str(text))
