"""Puts the results of full runs into docs/PERFORMANCE.md, so that its figures never drift.

    python -m benchmarks.publish FOLDER [FOLDER ...]

Several runs stand side by side, with every goal that one of them has. Without folders, those that
the page names already are put in again.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.chart import chart
from benchmarks.contestants import PROJECT
from benchmarks.record import Record, Section
from benchmarks.report import hold, measured

PAGE = PROJECT / "docs" / "PERFORMANCE.md"
IMAGE = PROJECT / "docs" / "images" / "benchmark.svg"
RESULTS = PROJECT / "benchmarks" / "results"
BETWEEN = re.compile(r"(?s)<!-- results:([^>]*) -->\n.*<!-- end of results -->\n")
SHOWN = ("disk", "light")  # the chart's setting: what most have


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.publish", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folders", nargs="*", type=Path)
    given = parser.parse_args().folders
    text = PAGE.read_text()
    records = [Record.load(each) for each in given] or named(text)
    PAGE.write_text(filled(text, records))
    IMAGE.parent.mkdir(parents=True, exist_ok=True)
    IMAGE.write_text(drawn(records))


def named(page: str) -> list[Record]:
    """The runs that a page shows, out of benchmarks/results."""
    found = BETWEEN.search(page)
    return [Record.load(RESULTS / name) for name in found.group(1).split()] if found else []


def filled(page: str, records: Sequence[Record]) -> str:
    """The page with these runs between its marks. Raises: ValueError when they are not there."""
    if not BETWEEN.search(page):
        raise ValueError("the page has no marks for the results")
    folders = "".join(f" {record.folder.name}" for record in records)
    told = f"<!-- results:{folders} -->\n{_results(records)}<!-- end of results -->\n"
    return BETWEEN.sub(lambda _: told, page)


def drawn(records: Sequence[Record]) -> str:
    """The chart, of the last run that has each: files on disk, from the light server."""
    title = f"DataSync and others, {records[-1].began[:10]}" if records else "Not measured yet"
    shown = {
        section.workload: section
        for record in records
        for section in record.sections
        if (section.place, section.server) == SHOWN
    }
    return chart(title, list(shown.values()))


def _results(records: Sequence[Record]) -> str:
    if not records:
        return "\nNo full run is committed yet.\n\n"
    runs = [f"`{record.folder.name}`" for record in records]
    lines = [
        "",
        f"From {' and '.join(runs)} in `benchmarks/results/`; every figure is there.",
        "",
        "![Wall time of each workload beside the fastest peer's](images/benchmark.svg)",
        "",
        "| | server, files | goal | at most | " + " | ".join(["measured", "holds"] * len(runs)),
        "| --- | --- | --- | --- |" + " --- | --- |" * len(runs),
    ]
    lines[-2] += " |"
    lines += [_row(records, section, number) for section, number in _goals(records)]
    notes = [f"`{record.folder.name}`: {note}" for record in records for note in record.notes]
    return "\n\n".join(["\n".join(lines), *_machines(records), *notes]) + "\n\n"


def _goals(records: Sequence[Record]) -> list[tuple[Section, int]]:
    sections: dict[tuple[str, str, str], Section] = {}
    for record in records:
        for section in record.sections:
            sections.setdefault(section.key, section)
    return [
        (section, number)
        for section in sections.values()
        for number in range(len(section.verdicts))
    ]


def _row(records: Sequence[Record], section: Section, number: int) -> str:
    goal = section.verdicts[number]
    cells = [section.workload, f"{section.server}, {section.place}", goal.goal]
    cells.append(f"{goal.at_most:g}")
    for record in records:
        there = record.section(section.workload, *section.setting)
        found = [each for each in (there.verdicts if there else []) if each.goal == goal.goal]
        cells += [measured(found[0]), hold(found[0].holds)] if found else ["not measured", "-"]
    return f"| {' | '.join(cells)} |"


def _machines(records: Sequence[Record]) -> list[str]:
    """Said once when all ran on the same."""
    told = list(
        dict.fromkeys(
            ", ".join(f"{name}: {value}" for name, value in record.machine.items())
            for record in records
        )
    )
    return [f"Measured on {each}." for each in told]


if __name__ == "__main__":
    main()
