"""What was measured, for people (Markdown) and programs (JSON)."""

import json
import os
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.compare import Result
from benchmarks.contestants import OURS
from benchmarks.measure import Figure
from benchmarks.workloads import Setting, Workload


def machine() -> dict[str, str]:
    """What it was measured on."""
    with open("/proc/cpuinfo") as lines:
        models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": str(os.cpu_count()),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def table(workload: Workload, setting: Setting, results: Sequence[Result]) -> str:
    """One workload as a Markdown table; ratios are ours to the peer's in the same round."""
    names = list(dict.fromkeys(result.contestant for result in results))
    lines = [
        f"### {workload.name}: {workload.text}; {setting}",
        "",
        f"Goal: {workload.goals}. Seconds: median (least - most).",
        "",
        "| | wall | CPU | peak MB | server CPU | our wall / its | our CPU / its |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [_row(name, results) for name in names]
    return "\n".join(lines) + "\n"


def _row(name: str, results: Sequence[Result]) -> str:
    figures = [result.figure for result in results if result.contestant == name]
    ours = [result.figure for result in results if result.contestant == OURS]
    peak = max(figure.peak for figure in figures)
    server = statistics.median(figure.server for figure in figures)
    cells = [
        name,
        _spread([figure.wall for figure in figures]),
        _spread([figure.cpu for figure in figures]),
        f"{peak:.0f}",
        f"{server:.2f}",
        "" if name == OURS else _ratio(ours, figures, lambda figure: figure.wall),
        "" if name == OURS else _ratio(ours, figures, lambda figure: figure.cpu),
    ]
    return f"| {' | '.join(cells)} |"


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} - {max(values):.2f})"


def _ratio(ours: Sequence[Figure], theirs: Sequence[Figure], of: Callable[[Figure], float]) -> str:
    ratios = [of(our) / of(their) for our, their in zip(ours, theirs, strict=True)]
    return f"{statistics.median(ratios):.2f}"


def save(folder: Path, sections: Sequence[str], results: dict[str, list[Result]]) -> None:
    """Write `results.md` and `results.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    place = ", ".join(f"{name}: {value}" for name, value in machine().items())
    (folder / "results.md").write_text(f"# Measured\n\n{place}\n\n" + "\n".join(sections))
    told = {name: [asdict(result) for result in found] for name, found in results.items()}
    document = {"machine": machine(), "workloads": told}
    (folder / "results.json").write_text(json.dumps(document, indent=1) + "\n")
