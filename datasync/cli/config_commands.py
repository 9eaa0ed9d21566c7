"""`datasync config`: are the settings good, and which ones are in effect?"""

from typing import Annotated

import typer

from datasync.cli import exits
from datasync.cli.run_commands import Json
from datasync.cli.session import read
from datasync.cli.terminal import Column, print_json, print_line, print_table, remark

COLUMNS = (Column("setting", "word"), Column("value"), Column("what it is"))

config = typer.Typer(help="Settings: check them, show the ones in effect.")


@config.command("check")
def check(json: Json = False) -> int:
    """Read the settings as the service would, and change nothing. Exits with 2 if one is bad.

    Whether the bucket, the disk and the rest fit to them, 'datasync doctor' tries.
    """
    from datasync.app import places
    from datasync.config.loading import unknown_variables
    from datasync.telemetry import check_tracer

    settings = read()
    warnings, found = unknown_variables() + check_tracer(settings), places(settings)
    if json:
        print_json({"good": True, "warnings": warnings, "places": found})
        return exits.DONE
    for warning in warnings:
        remark(f"warning: {warning}", style="yellow")
    print_line("The settings are good.", style="green")
    print_table((Column("fact", "word"), Column("value")), list(found.items()))
    return exits.DONE


@config.command("show")
def show(
    changed: Annotated[
        bool, typer.Option("--changed", help="Only those that differ from their defaults.")
    ] = False,
    json: Json = False,
) -> int:
    """Show every setting in effect; of a secret only whether it is set."""
    from datasync.config.settings import Settings

    settings = read()
    shown = settings.redacted()
    if changed:
        fields = Settings.model_fields
        shown = {n: v for n, v in shown.items() if getattr(settings, n) != fields[n].default}
    if json:
        print_json(shown)
        return exits.DONE
    described = {name: field.description or "" for name, field in Settings.model_fields.items()}
    print_table(COLUMNS, [(name.upper(), _text(v), described[name]) for name, v in shown.items()])
    return exits.DONE


def _text(value: object) -> str | None:
    """As it would be written in `.env`; None for nothing."""
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or None
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None else str(value)
