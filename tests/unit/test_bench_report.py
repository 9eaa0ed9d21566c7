"""What the benchmark's report, its chart and the page say is what was measured."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.chart import CLIPPED, chart
from benchmarks.contestants import RCLONE_BEST, S5CMD_CP
from benchmarks.figures import Result
from benchmarks.goals import OURS, Verdict
from benchmarks.publish import BETWEEN, IMAGE, PAGE, drawn, filled, named
from benchmarks.record import Record, Section
from benchmarks.report import report, spread, table

BLANK = "Before\n\n<!-- results: -->\nstale words\n<!-- end of results -->\n\nAfter\n"


def section(ours: list[float], theirs: list[float], name: str = "W1") -> Section:
    results = [
        Result(who, number, {"wall": wall, "cpu": wall / 2, "peak": 90.4, "server": 0.1})
        for who, walls in ((OURS, ours), (RCLONE_BEST, theirs))
        for number, wall in enumerate(walls, 1)
    ]
    return Section(name, "light", "disk", "some files", results=results, complete=True)


def record(folder: Path, *sections: Section, kind: str = "full") -> Record:
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    fresh = Record.new(folder, kind, {"cores": "2"}, now)
    fresh.sections += sections
    return fresh


def test_a_table_has_medians_spreads_and_ratios_of_rounds() -> None:
    rows = table(section([1, 2, 4], [4, 4, 4])).splitlines()
    (ours,) = [row for row in rows if row.startswith(f"| {OURS}")]
    (peer,) = [row for row in rows if row.startswith(f"| {RCLONE_BEST}")]
    assert "| 2.00 (1.00 - 4.00) | 1.00 (0.50 - 2.00) | 90 (90 - 90) |" in ours
    assert peer.endswith("| 3 | 0.50 (0.25 - 1.00) | 0.50 (0.25 - 1.00) |")
    assert ours.endswith("| 3 |  |  |")


@pytest.mark.parametrize(
    "values, said", [([], ""), ([1.234], "1.23"), ([3.0, 1.0, 2.0], "2.00 (1.00 - 3.00)")]
)
def test_a_spread(values: list[float], said: str) -> None:
    assert spread(values, 2) == said


def test_what_was_broken_off_or_left_out_is_said() -> None:
    broken = section([1], [2])
    broken.complete = False
    broken.notes.append("Left out: no room")
    said = table(broken)
    assert "It was interrupted" in said
    assert "- Left out: no room" in said


def test_the_report_says_of_each_goal_whether_it_holds(tmp_path: Path) -> None:
    measured = section([1], [2])
    measured.verdicts = [
        Verdict("first", 0.6, 0.5, RCLONE_BEST, 0.35),
        Verdict("second", 0.4, 0.5),
        Verdict("third", 0.4),
    ]
    rows = report(record(tmp_path, measured)).splitlines()
    said = [row for row in rows if row.startswith("| W1 ")]
    assert [row.split(" | ")[2:] for row in said] == [
        ["first", "0.6", f"0.50 beside {RCLONE_BEST}", "yes", "0.35: **no** |"],
        ["second", "0.4", "0.50", "**no**", " |"],
        ["third", "0.4", "not measured", "-", " |"],
    ]


def test_the_chart_is_drawn_to_scale_and_cuts_what_is_too_long() -> None:
    drawn = ElementTree.fromstring(chart("<a & b>", [section([3], [2]), section([50], [2])]))
    widths = [
        float(each.attrib["width"]) for each in drawn.iter("{http://www.w3.org/2000/svg}rect")
    ]
    ours, peer, clipped, _ = widths
    assert ours / peer == pytest.approx(1.5, abs=0.01)
    assert clipped / peer == pytest.approx(CLIPPED, abs=0.01)


def test_who_is_alone_is_not_drawn() -> None:
    alone = Section("W9", "light", "disk", results=[Result(OURS, 1, {"wall": 1.0})])
    assert "<rect" not in chart("some", [alone])
    assert "<rect" not in chart("some", [Section("W9", "light", "disk")])


def test_two_runs_stand_side_by_side_on_the_page(tmp_path: Path) -> None:
    first, second = section([1], [2]), section([1], [1])
    first.verdicts = [Verdict("wall", 0.6, 0.5, S5CMD_CP)]
    second.verdicts = [Verdict("wall", 0.6, 1.0, S5CMD_CP)]
    page = filled(BLANK, [record(tmp_path, first), record(tmp_path, second)])
    assert "| 0.6 | 0.50 beside s5cmd cp | yes | 1.00 beside s5cmd cp | **no** |" in page
    assert page.startswith("Before\n\n<!-- results: 2026-03-01-120000-full 2026-03-01-120000-full")
    assert page.endswith("<!-- end of results -->\n\nAfter\n")
    assert "stale words" not in page


def test_what_only_a_later_run_has_is_there_and_so_are_the_notes(tmp_path: Path) -> None:
    first, second = section([1], [2]), replace(section([1], [2]), workload="W99")
    first.verdicts = second.verdicts = [Verdict("wall", 0.6, 0.5)]
    later = record(tmp_path, second)
    later.note("Interrupted, went on later.")
    page = filled(BLANK, [record(tmp_path, first), later])
    assert "| not measured | - | 0.50 | yes |" in page
    assert f"`{later.folder.name}`: Interrupted, went on later." in page
    assert "W99" in drawn([later, record(tmp_path, first)])


def test_a_workload_that_one_run_has_not_is_said_so(tmp_path: Path) -> None:
    first = section([1], [2])
    first.verdicts = [Verdict("wall", 0.6, 0.5)]
    page = filled(BLANK, [record(tmp_path, first), record(tmp_path)])
    assert "| 0.50 | yes | not measured | - |" in page


def test_to_fill_a_page_again_changes_nothing(tmp_path: Path) -> None:
    records = [record(tmp_path, section([1], [2]))]
    once = filled(BLANK, records)
    assert filled(once, records) == once


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="no marks"):
        filled("Before\n", [])


def test_the_page_and_its_chart_are_those_of_the_results_in_the_project() -> None:
    """`python -m benchmarks.publish` makes them so."""
    page = PAGE.read_text()
    assert BETWEEN.search(page)
    assert filled(page, named(page)) == page
    assert IMAGE.read_text() == drawn(named(page))
