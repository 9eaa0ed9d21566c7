"""Looks every pinned package up in a source of advisories, with pip-audit: `make audit`.

pip-audit says "no known vulnerabilities" also of packages that its source does not know, and ends
with a traceback where the source cannot be reached. Neither is an audit, and both are said here.
Exit code 1 only for a vulnerability that is known.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements-dev.txt"
SOURCES = ("osv", "pypi")  # the first that answers is believed
NOT_DONE = "audit: NOT DONE, nothing is known about the packages:"
OPTIONS = ("--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json")
SECONDS = 300

Ask = Callable[[str, str], str]


@dataclass(frozen=True)
class Report:
    """What a source said; `problem` is why it said nothing."""

    dependencies: Sequence[dict[str, Any]] = ()
    problem: str = ""

    @property
    def skipped(self) -> list[str]:
        return [each["name"] for each in self.dependencies if "skip_reason" in each]

    @property
    def found(self) -> list[str]:
        """A line for each vulnerability."""
        return [
            f"{each['name']} {each['version']}: {vulnerability['id']}, "
            f"mended in {', '.join(vulnerability['fix_versions']) or 'no version yet'}"
            for each in self.dependencies
            for vulnerability in each.get("vulns", ())
        ]


def pip_audit(source: str, requirements: str) -> str:
    """What pip-audit prints about these requirements: JSON, or the end of its complaint."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(requirements)
        file.flush()
        command = [sys.executable, "-m", "pip_audit", "-s", source, "-r", file.name, *OPTIONS]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    return done.stdout or done.stderr.strip().rpartition("\n")[2]


def asked(source: str, requirements: str, ask: Ask) -> Report:
    """The report of one source."""
    try:
        output = ask(source, requirements)
        report = Report(json.loads(output)["dependencies"])
    except subprocess.TimeoutExpired:
        return Report(problem=f"{source}: no answer in {SECONDS} seconds")
    except (ValueError, KeyError, TypeError):
        return Report(problem=f"{source}: {output[-200:] or 'no answer'}")
    if len(report.skipped) == len(report.dependencies):
        return Report(problem=f"{source}: it knows none of them")
    return report


def audit(requirements: str, ask: Ask = pip_audit) -> tuple[list[str], int]:
    """What there is to say, and the exit code."""
    pins = re.findall(r"^([\w.-]+==[^\s;\\]+)", requirements, re.MULTILINE)
    problems = []
    for source in SOURCES:
        # One package first: a source that is not there is not asked for all of them.
        for wanted in (pins[:1], pins):
            report = asked(source, "\n".join(wanted), ask)
            if report.problem:
                problems.append(report.problem)
                break
        else:
            return judged(report, source)
    return [NOT_DONE, *(f"audit:   {problem}" for problem in problems)], 0


def judged(report: Report, source: str) -> tuple[list[str], int]:
    """The lines and the exit code of a report."""
    known = len(report.dependencies) - len(report.skipped)
    lines = [f"audit: {known} packages looked up in {source}, {len(report.found)} vulnerabilities"]
    lines += [f"audit: VULNERABLE {line}" for line in report.found]
    if report.skipped:
        lines.append(f"audit: NOT KNOWN to {source}: {', '.join(report.skipped)}")
    return lines, 1 if report.found else 0


if __name__ == "__main__":
    said, code = audit(REQUIREMENTS.read_text(encoding="utf-8"))
    print("\n".join(said))
    sys.exit(code)
