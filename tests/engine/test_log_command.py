"""`datasync logs`: the latest entries, chosen by importance, and those that follow."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from datasync.cli import log_commands
from datasync.cli.log_commands import Follower, entry_level
from tests.support.command_line import CommandLine
from tests.support.world import eventually

ENTRIES = [
    "2026-01-01T00:00:00.001Z INFO     run ended run_id=1",
    '2026-01-01T00:00:01.001Z WARNING  something odd key="a b"',
    "2026-01-01T00:00:02.001Z ERROR    a mistake\n    | Traceback\n    | ValueError",
    '{"timestamp": "2026-01-01T00:00:03.001Z", "level": "error", "event": "in JSON"}',
    '{"timestamp": "2026-01-01T00:00:04.001Z", "level": "info", "event": "the last"}',
]


@pytest.fixture
def log_file(command_line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "service.log"
    path.write_text("\n".join(ENTRIES) + "\n")
    monkeypatch.setenv("LOG_FILE", str(path))
    return path


def test_the_latest_entries_are_shown_whole(command_line: CommandLine, log_file: Path) -> None:
    assert command_line("logs").out == "\n".join(ENTRIES) + "\n"
    assert command_line("logs", "-n", "3").out == "\n".join(ENTRIES[-3:]) + "\n"
    assert command_line("logs", "-n", "0").out == ""


def test_they_can_be_chosen(command_line: CommandLine, log_file: Path) -> None:
    important = command_line("logs", "--level", "error").out
    assert important == "\n".join(ENTRIES[2:4]) + "\n"
    assert command_line("logs", "--match", "ValueError").out == ENTRIES[2] + "\n"
    assert command_line("logs", "--level", "warning", "-n", "1").out == ENTRIES[3] + "\n"


def test_without_a_log_file_it_says_where_to_look(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOG_FILE", "")
    refused = command_line("logs")
    assert refused.code == 2 and "journalctl" in refused.err


def test_a_log_that_nobody_wrote_is_no_error(command_line: CommandLine, log_file: Path) -> None:
    log_file.unlink()
    shown = command_line("logs")
    assert (shown.code, shown.out) == (0, "") and "not there yet" in shown.err


@pytest.mark.parametrize(
    "entry, level",
    [
        *zip(ENTRIES, ["INFO", "WARNING", "ERROR", "ERROR", "INFO"], strict=True),
        ("what another program wrote", "INFO"),
        ("", "INFO"),
    ],
)
def test_the_level_of_an_entry(entry: str, level: str) -> None:
    assert entry_level(entry) == level


@pytest.fixture
def followed(tmp_path: Path) -> Iterator[tuple[Path, list[str]]]:
    path, seen = tmp_path / "followed.log", list[str]()
    path.write_text("first\n")
    follower = Follower(path)
    assert list(follower.so_far()) == ["first"]

    def follow() -> None:
        for entry in follower.from_now_on():
            seen.append(entry)
            if entry == "end":
                return

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    yield path, seen
    with open(path, "a") as file:
        file.write("end\n")
    thread.join(10)
    assert not thread.is_alive()
    follower.close()


def test_what_is_appended_is_followed_line_by_line(followed: tuple[Path, list[str]]) -> None:
    path, seen = followed
    with open(path, "a") as file:
        file.write("second\nhalf")
        file.flush()
        eventually(lambda: seen == ["second"])
        file.write(" and whole\n")
    eventually(lambda: seen == ["second", "half and whole"])


def test_a_file_that_is_rotated_is_followed_on(followed: tuple[Path, list[str]]) -> None:
    path, seen = followed
    with open(path, "a") as file:
        file.write("last of the old one\n")
    path.rename(path.with_suffix(".log.1"))
    path.write_text("first of the new one\n")
    eventually(lambda: seen == ["last of the old one", "first of the new one"])


def test_a_log_that_cannot_be_read_says_why(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(log_commands, "read", lambda: SimpleNamespace(log_file=tmp_path))
    refused = command_line("logs")
    assert refused.code == 2
    assert f"LOG_FILE cannot be read: {tmp_path}: Is a directory" in refused.err
    assert "internal error" not in refused.err


def test_in_a_pipe_each_line_is_seen_as_it_is_written(log_file: Path) -> None:
    """A pipe is written in large pieces otherwise: hours later, on a quiet service."""
    command = [sys.executable, "-m", "datasync", "logs", "-f", "-n", "1"]
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == ENTRIES[-1] + "\n"
            with open(log_file, "a") as log:
                log.write(f"{ENTRIES[0]}\n")
            assert process.stdout.readline() == ENTRIES[0] + "\n"
        finally:
            process.kill()
