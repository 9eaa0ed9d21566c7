"""`datasync doctor`: is everything there that the service needs, and what to do if not."""

from typing import TYPE_CHECKING, Annotated

import typer

from datasync.cli import exits
from datasync.cli.run_commands import Json
from datasync.cli.terminal import print_json, print_line

if TYPE_CHECKING:
    from datasync.doctor.lines import Line

STYLES = {"pass": "green", "warn": "yellow", "fail": "bold red", "skip": "dim"}
WIDTH = 22


def doctor(
    canary: Annotated[
        bool,
        typer.Option(
            "--canary", help="Put an object, wait for its event and its file, delete it again."
        ),
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=1, max=3600, help="Seconds to wait for the canary, each way.")
    ] = 30.0,
    json: Json = False,
) -> int:
    """Look at settings, disk, S3, events and the running service. Exits with 1 if any fails."""
    from datasync.cli.session import prepared
    from datasync.doctor.examination import examine

    lines = []
    for line in examine(prepared(), timeout if canary else None):
        lines.append(line)
        if not json:
            _print(line)
    if json:
        print_json(
            [
                {"name": x.name, "level": x.level.value, "found": x.found, "advice": x.advice}
                for x in lines
            ]
        )
    return exits.FAILED if any(line.level == "fail" for line in lines) else exits.DONE


def _print(line: "Line") -> None:
    level = line.level.value
    print_line(f"{level.upper():5}{line.name:{WIDTH}}{line.found}", STYLES[level])
    if line.advice:
        print_line(f"{'':5}{'':{WIDTH}}-> {line.advice}")
