"""What the command line shows: speed, figures, lines, tables, plans. No engine, no settings."""

import io
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
from rich.console import Console
from rich.text import Text

from datasync.cli.bar import Bar
from datasync.cli.display import LINE_EVERY_SECONDS, Lines, Silence, display_for, figures
from datasync.cli.pace import WINDOW_SECONDS, Pace, objects_done
from datasync.cli.plan_report import print_plan, print_plan_json
from datasync.cli.run_commands import RUN_COLUMNS, _run_cells
from datasync.cli.terminal import (
    Column,
    iso_time,
    plain,
    pretty,
    print_error,
    print_line,
    print_table,
    remark,
    time_text,
)
from datasync.controllers.plan import PlanReport, held_because, summarise
from datasync.controllers.views import run_report
from datasync.models.words import byte_text, duration_text
from datasync.models.sync_models import (
    Action,
    ListedObject,
    ObjectRow,
    Operation,
    Run,
    RunCounts,
    RunKind,
    RunStatus,
    State,
    SyncOptions,
)
from datasync.services.engine.scan import Step

HOSTILE = "a[red]\x1b[31m\n\u202egpj.exe[/red]"


class _TerminalStream(io.StringIO):
    def isatty(self) -> bool:
        return True


NOTHING = RunCounts()


def _run(counts: RunCounts = NOTHING, status: RunStatus = RunStatus.RUNNING) -> Run:
    return Run(1, RunKind.RECONCILE, "", status, 0.0, counts)


def _ticks(*times: float) -> Iterator[float]:
    yield from times


def _terminal(monkeypatch: pytest.MonkeyPatch) -> _TerminalStream:
    """stdout as a terminal of 200 columns."""
    stream = _TerminalStream()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return stream


# -- speed ---------------------------------------------------------------------------------------


def test_pace_measures_objects_and_bytes_a_second() -> None:
    pace = Pace()
    pace.add(10.0, RunCounts(planned=100, bytes_planned=1000))
    pace.add(12.0, RunCounts(planned=100, downloaded=20, bytes=500, bytes_planned=1000))
    assert pace.objects_per_second == 10.0
    assert pace.bytes_per_second == 250.0


def test_pace_forgets_what_is_older_than_its_window() -> None:
    pace = Pace()
    pace.add(0.0, RunCounts())
    pace.add(1.0, RunCounts(planned=9999, downloaded=1000))
    pace.add(1.0 + WINDOW_SECONDS, RunCounts(planned=9999, downloaded=1000))
    assert pace.objects_per_second == 0.0


def test_the_slower_of_objects_and_bytes_says_when_it_is_over() -> None:
    pace = Pace()
    pace.add(0.0, RunCounts(planned=100, bytes_planned=1000))
    counts = RunCounts(planned=100, downloaded=50, bytes=100, bytes_planned=1000)
    pace.add(10.0, counts)
    assert pace.seconds_left(counts) == 90.0  # 50 objects: 10 s; 900 bytes at 10 a second: 90 s


def test_nothing_that_moves_is_no_estimate() -> None:
    pace = Pace()
    assert pace.seconds_left(RunCounts(planned=5)) is None
    pace.add(0.0, RunCounts(planned=5))
    pace.add(5.0, RunCounts(planned=5))
    assert pace.seconds_left(RunCounts(planned=5)) is None


def test_a_clock_that_stands_still_is_no_speed() -> None:
    pace = Pace()
    pace.add(1.0, RunCounts())
    pace.add(1.0, RunCounts(downloaded=5))
    assert pace.objects_per_second == 0.0


def test_done_counts_every_way_to_end_and_never_more_than_planned() -> None:
    counts = RunCounts(planned=9, downloaded=1, deleted=1, adopted=1, skipped=1, failed=1)
    assert objects_done(counts) == 5
    assert objects_done(RunCounts(planned=3, downloaded=5)) == 3


# -- progress ------------------------------------------------------------------------------------


def test_figures_name_objects_bytes_speed_time_and_failures() -> None:
    pace = Pace()
    pace.add(0.0, RunCounts(planned=100, bytes_planned=4096))
    counts = RunCounts(planned=100, downloaded=49, failed=1, bytes=2048, bytes_planned=4096)
    pace.add(2.0, counts)
    assert figures(counts, pace) == (
        "50 of 100 objects, 2.0 KiB of 4.0 KiB, 1.0 KiB/s, 0:02 left, 1 failed"
    )


def test_figures_of_work_that_moves_no_bytes() -> None:
    assert figures(RunCounts(planned=9, skipped=3), Pace()) == "3 of 9 objects, 0 failed"


def test_figures_before_anything_is_planned() -> None:
    assert figures(RunCounts(), Pace()) == "listing the bucket"
    assert figures(RunCounts(listed=1), Pace()) == "1 key compared, nothing to do so far"
    assert figures(RunCounts(listed=12345), Pace()) == (
        "12,345 keys compared, nothing to do so far"
    )


def test_lines_come_every_few_seconds_and_only_when_something_changed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    step = LINE_EVERY_SECONDS
    times = _ticks(0.0, step / 2, step, 2 * step, 3 * step)
    lines = Lines(clock=lambda: next(times))
    first, later = RunCounts(listed=5), RunCounts(listed=9)
    with lines:
        for counts in (first, first, first, first, later):
            lines.show(_run(counts))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "syncing: 5 keys compared, nothing to do so far",
        "syncing: 9 keys compared, nothing to do so far",
    ]


def test_the_bar_shows_figures_and_remarks_and_cleans_up() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=160, highlight=False)
    times = _ticks(0.0, 1.0)
    bar = Bar(console, clock=lambda: next(times))
    with bar:
        bar.show(_run(status=RunStatus.QUEUED))
        bar.show(_run(RunCounts(planned=4, downloaded=2, bytes=10, bytes_planned=20)))
        bar.say("run 7 [bold]")
    text = stream.getvalue()
    assert "2 of 4 objects" in text
    assert "run 7 [bold]" in text
    assert text.endswith("\x1b[2K")  # the bar's line is erased


@pytest.mark.parametrize(
    "counts",
    [
        RunCounts(planned=100, downloaded=50, failed=1, bytes=2048, bytes_planned=4096),
        RunCounts(
            planned=12_345_678,
            downloaded=1_234_567,
            failed=99_999,
            bytes=5 * 2**40,
            bytes_planned=9 * 2**40,
        ),
    ],
)
def test_the_bar_is_not_cut_on_a_narrow_terminal(counts: RunCounts) -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80, highlight=False)
    times = _ticks(0.0, 1.0, 2.0)
    with Bar(console, clock=lambda: next(times)) as bar:
        bar.show(replace(_run(RunCounts(planned=counts.planned)), kind=RunKind.VERIFY))
        bar.show(replace(_run(counts), kind=RunKind.VERIFY))
        bar._progress.refresh()
    plain = [Text.from_ansi(line).plain for line in stream.getvalue().splitlines()]
    assert all(len(line) <= 80 for line in plain)
    shown = [line for line in plain if f"{counts.planned:,} objects" in line]
    assert shown and f"{counts.failed:,} failed" in shown[-1]
    assert "…" not in stream.getvalue()


def test_the_display_suits_where_stderr_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert type(display_for(json_wanted=False)) is Lines
    assert type(display_for(json_wanted=True)) is Silence
    monkeypatch.setattr(sys, "stderr", _TerminalStream())
    monkeypatch.setenv("TERM", "xterm")
    assert type(display_for(json_wanted=True)) is Bar


# -- tables and lines ----------------------------------------------------------------------------

COLUMNS = (Column("key"), Column("size", "bytes"), Column("at", "time"))


def test_a_pipe_gets_tab_separated_lines(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(COLUMNS, [("a b", 2048, 0.0), ("c", None, None)])
    assert capsys.readouterr().out == "a b\t2048\t1970-01-01T00:00:00Z\nc\t\t\n"


def test_a_hostile_key_can_neither_break_a_line_nor_steer_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table((Column("key"),), [(HOSTILE,)])
    print_line(HOSTILE)
    remark(HOSTILE)
    print_error(f"cannot read {HOSTILE}", HOSTILE)
    captured = capsys.readouterr()
    for text in (captured.out, captured.err):
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "[red]" in text  # shown as it is, not taken for markup
    assert len(captured.out.splitlines()) == 2


def test_a_terminal_gets_a_table_with_the_key_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _terminal(monkeypatch)
    print_table(COLUMNS, [(HOSTILE, 2048, 0.0)])
    text = terminal.getvalue()
    assert "[red]" in text
    assert "2.0 KiB" in text
    assert "\x1b[31m" not in text
    assert "\u202e" not in text


def test_words_stay_whole_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _terminal(monkeypatch)
    monkeypatch.setenv("COLUMNS", "80")
    counts = RunCounts(planned=12_345, downloaded=12_300, failed=45, bytes=2**34)
    runs = [
        replace(_run(counts, status), id=123, started=0.0, finished=7000.0, prefix="some/prefix/")
        for status in RunStatus
        if status is not RunStatus.QUEUED
    ]
    print_table(RUN_COLUMNS, [_run_cells(run_report(run, 0.0)) for run in runs])
    lines = [Text.from_ansi(line).plain for line in terminal.getvalue().splitlines()]
    assert all(len(line) <= 80 for line in lines)
    rows = [line for line in lines if line.startswith("123 ")]
    assert [line.split()[1:3] for line in rows] == [["reconcile", run.status] for run in runs]
    for line in rows:
        assert "Jan 01 1970" in line and "12345/12345" in line and "16.0 GiB" in line


def test_a_time_is_short_and_not_ambiguous() -> None:
    assert re.fullmatch(r"[A-Z][a-z]{2} \d\d \d\d:\d\d", time_text(1e9, now=1e9 + 60))
    assert re.fullmatch(r"Sep 0[89] 2001", time_text(1e9, now=2e9))


def test_no_colour_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _terminal(monkeypatch)
    print_line("styled", style="bold red")
    assert "\x1b[1;31m" in terminal.getvalue()
    terminal.seek(0)
    terminal.truncate()
    monkeypatch.setenv("NO_COLOR", "1")
    print_line("plain", style="red")
    assert terminal.getvalue() == "plain\n"


def test_cells_for_people_and_for_programs() -> None:
    size, at = Column("size", "bytes"), Column("at", "time")
    assert (pretty(size, 1536), plain(size, 1536)) == ("1.5 KiB", "1536")
    assert (pretty(size, None), plain(size, None)) == ("-", "")
    assert plain(at, 1.5) == iso_time(1.5) == "1970-01-01T00:00:01Z"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (5 * 2**30, "5.0 GiB"),
        (2**60, "1024.0 PiB"),
    ],
)
def test_bytes_in_words(count: int, text: str) -> None:
    assert byte_text(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (61, "1:01"), (3723, "1:02:03")])
def test_durations_in_words(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


# -- plans ---------------------------------------------------------------------------------------


def _download(key: str, size: int) -> Action:
    return Action(Operation.DOWNLOAD, key, "new in the bucket", ListedObject(key, size, "e", 0))


def _delete(key: str) -> Action:
    row = ObjectRow(key, "e", 7, 0, State.SYNCED, path=key)
    return Action(Operation.DELETE, key, "no longer in the bucket", None, row)


def _plan(*actions: Action, keep: int = 9, unchanged: int = 0) -> PlanReport:
    listed = unchanged + sum(action.listed is not None for action in actions)
    return summarise([Step(actions, {}, listed, unchanged)], keep)


def test_a_plan_is_counted_whole_and_kept_in_part() -> None:
    steps = (Step([_download(f"k{n}", 10)], {}, 3, 2) for n in range(500))
    report = summarise(steps, keep=3)
    assert (report.total, report.listed, report.unchanged) == (500, 1500, 1000)
    assert report.download_bytes == 5000
    assert [action.key for action in report.actions] == ["k0", "k1", "k2"]


def test_a_plan_that_deletes_too_much_would_be_held() -> None:
    options = SyncOptions(bucket="b", delete_limit_files=2, delete_limit_percent=10.0)
    report = _plan(*(_delete(f"k{n}") for n in range(3)), unchanged=1)
    assert held_because(report, mirrored=100, options=options) is None  # 3 %: under the share
    reason = held_because(report, mirrored=10, options=options)
    assert reason is not None and "3 of 10" in reason


def test_a_plan_that_deletes_everything_would_be_held_as_an_empty_listing() -> None:
    options = SyncOptions(bucket="b")
    assert held_because(_plan(_delete("k")), mirrored=1, options=options) is not None
    replaced = _plan(_delete("k"), _download("l", 1))
    assert held_because(replaced, mirrored=1, options=options) is None


def test_a_plan_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    print_plan(_plan(_download("a", 10), _delete("b"), keep=1), held="too many")
    captured = capsys.readouterr()
    assert captured.out == "download\ta\t10\tnew in the bucket\n"
    assert "and 1 more\n" in captured.err
    assert "Planned: 1 download (10 B), 1 delete. Nothing was changed." in captured.err
    assert "would be held and ask for approval: too many" in captured.err


@pytest.mark.parametrize("limit, more", [(1, "; --limit shows more"), (5, "")])
def test_a_plan_says_how_to_see_more_only_where_that_helps(
    limit: int, more: str, capsys: pytest.CaptureFixture[str]
) -> None:
    print_plan(_plan(_download("a", 10), _delete("b"), keep=1), held=None, limit=limit)
    assert f"... and 1 more{more}\n" in capsys.readouterr().err


def test_an_empty_plan_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    print_plan(_plan(), held=None)
    assert "Nothing to do: the mirror is equal" in capsys.readouterr().err


@pytest.mark.parametrize(
    "failing, words", [(1, "1 key is failing"), (2000, "2,000 keys are failing")]
)
def test_a_mirror_with_failing_keys_is_not_called_equal(
    failing: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    print_plan(_plan(), held=None, failing=failing)
    assert f"Nothing to download or delete; {words}: " in (said := capsys.readouterr().err)
    assert "equal" not in said


def test_a_plan_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_plan_json(_plan(_download("a", 10), _delete("\x1b")), held=None)
    document = json.loads(capsys.readouterr().out)
    assert document["counts"]["download"] == document["counts"]["delete"] == 1
    assert document["bytes_planned"] == 10
    assert document["held"] is None
    assert document["complete"] is True
    assert document["actions"][1] == {
        "operation": "delete",
        "key": "\x1b",
        "size": 7,
        "reason": "no longer in the bucket",
    }
