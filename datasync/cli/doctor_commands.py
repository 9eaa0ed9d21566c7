"""`datasync doctor`: what the service needs, each checked, with what to do about the rest."""

from typing import Annotated, Any

import typer

from datasync.cli import exits
from datasync.cli.run_commands import Json
from datasync.cli.session import read
from datasync.cli.terminal import output, print_json, print_line_raw, remark
from datasync.cli.wording import in_commands
from datasync.doctor.findings import Level, Line, worst
from datasync.utils.logger import escape_key

NAME_WIDTH = 16
STYLES = {Level.PASS: "green", Level.WARN: "yellow", Level.FAIL: "bold red", Level.SKIP: "dim"}
WORDS = {Level.PASS: "passed", Level.WARN: "warned", Level.FAIL: "failed", Level.SKIP: "skipped"}


def doctor(
    canary: Annotated[
        bool,
        typer.Option(
            "--canary",
            help="Also put a small object into the bucket and delete it; see its file come and go.",
        ),
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=1, max=3600, help="Seconds that --canary waits for each event.")
    ] = 30,
    json: Json = False,
) -> int:
    """Check what the service needs, and say what to do. Exits with 1 when something failed."""
    settings = read()
    from datasync.doctor.visit import visit

    lines: list[Line] = []

    def tell(line: Line) -> None:
        lines.append(line)
        if not json:
            _print(line)

    try:
        visit(settings, tell, timeout if canary else None)
    except KeyboardInterrupt:
        if json:
            _say_what_failed(lines)
        raise
    if json:
        print_json(_report(lines))
    else:
        remark(_summary(lines))
    return exits.FAILED if worst(lines) is Level.FAIL else exits.DONE


def _print(line: Line) -> None:
    """One line: a row on a terminal, tab-separated for other programs."""
    finding = line.finding
    found, advice = escape_key(finding.found), escape_key(in_commands(finding.advice))
    if not output().is_terminal:
        print_line_raw("\t".join((finding.level.value, line.name, found, advice)))
        return
    from rich.text import Text

    text = Text.assemble(
        (finding.level.value, STYLES[finding.level]), f"  {line.name:<{NAME_WIDTH}}  {found}"
    )
    if advice:
        text.append(f" -> {advice}", "bold")
    output().print(text)


def _report(lines: list[Line]) -> dict[str, Any]:
    return {
        "status": worst(lines).value,
        "checks": [
            {
                "name": line.name,
                "level": line.finding.level.value,
                "found": line.finding.found,
                "advice": in_commands(line.finding.advice),
                "seconds": line.seconds,
            }
            for line in lines
        ],
    }


def _summary(lines: list[Line]) -> str:
    counts = {level: sum(line.finding.level is level for line in lines) for level in Level}
    return ", ".join(f"{counts[level]} {WORDS[level]}" for level in Level)


def _say_what_failed(lines: list[Line]) -> None:
    """Of a visit that was stopped, the failures: an object that could not be removed is one."""
    for line in lines:
        if line.finding.level is Level.FAIL:
            remark(f"{line.name}: {line.finding.found} {line.finding.advice}".rstrip())
