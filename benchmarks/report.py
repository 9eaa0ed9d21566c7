"""What a record holds, in Markdown."""

import statistics
from collections.abc import Sequence
from itertools import chain

from benchmarks.figures import Metric
from benchmarks.goals import Verdict, names, ratios
from benchmarks.record import Record, Section

PART = "- "  # what is told of another line, not a contestant


def report(record: Record) -> str:
    """The whole of it: machine, goals, then one table a workload."""
    machine = [f"| {name} | {value} |" for name, value in record.machine.items()]
    notes = [f"- {note}" for note in record.notes]
    lines = [
        f"# Measured {record.began}, {record.kind}",
        "",
        f"It took {sum(each.seconds for each in record.sections) / 60:.0f} minutes.",
        "",
        "| | |",
        "| --- | --- |",
        *machine,
        "",
        *([*notes, ""] if notes else []),
        "## Goals",
        "",
        *goals(record.sections),
        "",
        "## Figures",
        "",
        "Median (least - most) of the counted rounds. A ratio is ours to its, in the same round.",
        "",
    ]
    return "\n".join(lines) + "\n" + "\n".join(map(table, record.sections))


def goals(sections: Sequence[Section]) -> list[str]:
    """Every goal, and whether it holds: the lines of a table."""
    return [
        "| | server, files | goal | at most | measured | holds | then |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *chain.from_iterable(_goals(section) for section in sections),
    ]


def _goals(section: Section) -> list[str]:
    where = f"{section.server}, {section.place}"
    return [
        f"| {section.workload} | {where} | {verdict.goal} | {verdict.at_most:g} "
        f"| {measured(verdict)} | {hold(verdict.holds)} | {_then(verdict)} |"
        for verdict in section.verdicts
    ]


def measured(verdict: Verdict) -> str:
    """The value, and whose it is compared with."""
    if verdict.value is None:
        return "not measured"
    beside = f" beside {verdict.beside}" if verdict.beside else ""
    return f"{verdict.value:.2f}{beside}"


def hold(holds: bool | None) -> str:
    """Whether a goal holds, in a word."""
    return {True: "yes", False: "**no**", None: "-"}[holds]


def _then(verdict: Verdict) -> str:
    if verdict.then_at_most is None:
        return ""
    return f"{verdict.then_at_most:g}: {hold(verdict.then_holds)}"


def table(section: Section) -> str:
    """One workload in one setting; ratios are ours to the peer's in the same round."""
    compared = [metric for metric in section.metrics if metric.compared]
    titles = ["", *(metric.title for metric in section.metrics), "rounds"]
    titles += [f"ratio of {metric.title}" for metric in compared]
    lines = [
        f"### {section.workload}: {section.text}; {section.where}",
        "",
        *[f"- {note}" for note in section.notes],
        *([""] if section.notes else []),
    ]
    if not section.complete:
        lines += ["It was interrupted: these are the rounds until then.", ""]
    if section.results:
        lines += [_line(titles), _line(["---"] * len(titles))]
        lines += [_row(section, name, compared) for name in names(section.results)]
    return "\n".join(lines) + "\n"


def _row(section: Section, name: str, compared: Sequence[Metric]) -> str:
    found = [result for result in section.results if result.contestant == name]
    cells = [name]
    for metric in section.metrics:
        values = [each.values[metric.name] for each in found if metric.name in each.values]
        cells.append(spread(values, metric.digits))
    cells.append(str(len(found)))
    for metric in compared:
        is_peer = name != section.ours and not name.startswith(PART)
        given = ratios(section.results, section.ours, name, metric.name) if is_peer else []
        cells.append(spread(given, 2))
    return _line(cells)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def spread(values: Sequence[float], digits: int) -> str:
    """Median, and between which values; only the value when there is one; empty without any."""
    if not values:
        return ""
    middle = f"{statistics.median(values):.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):.{digits}f} - {max(values):.{digits}f})"
