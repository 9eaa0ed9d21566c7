"""`datasync top`: one picture of the mirror, whatever is in it."""

import pytest

from datasync.cli.top_command import bar, spark
from datasync.models.figures import Moving
from tests.support.command_line import CommandLine

ODD = "a\x1b[31m\n日本"


def test_an_empty_mirror_has_a_picture(command_line: CommandLine) -> None:
    shown = command_line("top", "--once")
    assert shown.code == 0
    assert "not in sync" in shown.out and "pending 0" in shown.out


def test_what_was_done_and_what_moves_is_in_it(command_line: CommandLine) -> None:
    command_line.bucket.put(ODD, b"x" * 2048)
    command_line("sync")
    parts = command_line.parts()
    try:
        parts.ledger.note_transfers([Moving("large", 4096, 1024, 1.0, 1)], 2**33)
    finally:
        parts.close()
    shown = command_line("top").out  # in a pipe it is one picture
    assert "in sync" in shown and "2.0 KiB in an hour" in shown
    assert "1.0 KiB of 4.0 KiB  large" in shown
    assert "download " in shown and "\x1b" not in shown
    assert "Downloaded successfully" in shown


def test_the_document_has_the_same(command_line: CommandLine) -> None:
    command_line.bucket.put("a", b"x")
    command_line("sync")
    document = command_line("top", "--json").json
    assert document["in_sync"] is True
    assert [each["key"] for each in document["outcomes"]] == ["a"]
    assert document["stats"]["objects"] == 1
    assert document["transfers"] == document["runs"] == []


@pytest.mark.parametrize(
    "values, line",
    [
        ([], ""),
        ([0, 0], "  "),
        ([0, 1, 7], " ▂█"),
        ([5, 5, 5], "███"),
        (list(range(100)), "▇▇█"),
    ],
)
def test_the_latest_values_are_a_line_of_blocks(values: list[int], line: str) -> None:
    assert spark(values, 3) == line


def test_a_bar_is_as_full_as_the_share() -> None:
    assert bar(0.5) == "█" * 10 + "░" * 10
    assert bar(2.0, plain=True) == "#" * 20
    assert bar(-1.0, plain=True) == "." * 20
