"""`datasync top`: the mirror at a glance, drawn again every second.

Asks the ledger only, so it works beside a running service and without one.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from datasync.cli import exits
from datasync.cli.run_commands import Json
from datasync.cli.session import opened
from datasync.cli.terminal import output, print_json, time_text
from datasync.cli.verdict import noted
from datasync.models.words import byte_text, duration_text
from datasync.utils.logger import escape_key

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from datasync.composition import Components
    from datasync.models.s3_models import (
        ActivityReport,
        OutcomeEntry,
        RunReport,
        StatsReport,
        TransferEntry,
    )

REFRESH_SECONDS = 1.0
LATEST = 8  # outcomes shown
MOVING = 6  # downloads shown
BAR = 20
_BLOCKS = "▁▂▃▄▅▆▇█"
_STYLES = {"success": "green", "failed": "red", "rejected": "red"}


@dataclass(frozen=True, slots=True)
class Frame:
    """All that one picture shows."""

    in_sync: bool
    concerns: list[str]
    stats: "StatsReport"
    running: "list[RunReport]"
    transfers: "list[TransferEntry]"
    activity: "ActivityReport"
    outcomes: "list[OutcomeEntry]"

    def document(self) -> dict[str, object]:
        """For `--json`."""
        return {
            "in_sync": self.in_sync,
            "concerns": self.concerns,
            "stats": self.stats.model_dump(mode="json"),
            "runs": [run.model_dump(mode="json") for run in self.running],
            "transfers": [each.model_dump(mode="json") for each in self.transfers],
            "outcomes": [each.model_dump(mode="json") for each in self.outcomes],
            "activity": self.activity.model_dump(mode="json"),
        }


def top(
    once: Annotated[bool, typer.Option("--once", help="Draw one picture and end.")] = False,
    json: Json = False,
) -> int:
    """Watch the mirror: state, transfers, runs, what was done last. Ctrl-C ends it.

    In a pipe, and with --json, it is one picture.
    """
    console = output()
    with opened() as parts:
        if json:
            print_json(taken(parts).document())
        elif once or not console.is_terminal:
            console.print(drawn(taken(parts), console), soft_wrap=False)
        else:
            _watch(parts, console)
    return exits.DONE


def _watch(parts: "Components", console: "Console") -> None:
    from rich.live import Live

    with Live(console=console, screen=True, auto_refresh=False) as live:
        try:
            while True:
                live.update(drawn(taken(parts), console), refresh=True)
                time.sleep(REFRESH_SECONDS)
        except KeyboardInterrupt:
            pass  # how it is meant to end


def taken(parts: "Components") -> Frame:
    """The picture of now. Raises: LedgerError."""
    from datasync.controllers.equality import in_sync
    from datasync.controllers.views import run_report
    from datasync.models.s3_models import Span

    controller, now = parts.controller, time.time()
    facts = controller.facts()
    return Frame(
        in_sync=in_sync(facts),
        concerns=noted(facts),
        stats=controller.stats(),
        running=[run_report(run, now) for run in facts.unfinished],
        transfers=controller.transfers().transfers,
        activity=controller.activity(Span.HOUR),
        outcomes=controller.outcomes(None, None, None, None, LATEST).outcomes,
    )


def drawn(frame: Frame, console: "Console") -> "RenderableType":
    """The picture as lines that fit the terminal."""
    from rich.console import Group
    from rich.text import Text

    state = Text("● in sync", "green") if frame.in_sync else Text("● not in sync", "yellow")
    lines: list[RenderableType] = [Text.assemble("DataSync  ", state, style="bold")]
    lines += [Text(f"  {escape_key(concern)}", "yellow") for concern in frame.concerns]
    lines += [Text(), _facts(frame.stats), Text()]
    plain = not (console.encoding or "").lower().startswith("utf")
    steps = frame.activity.steps
    for title, values, total in (
        ("bytes", [step.bytes for step in steps], byte_text(sum(step.bytes for step in steps))),
        ("files", [step.downloaded for step in steps], f"{sum(s.downloaded for s in steps):,}"),
    ):
        room = max(10, console.width - 32)
        lines.append(Text(f"{title:6} {spark(values, room, plain)} {total} in an hour"))
    lines += [Text(), *map(_run_line, frame.running)]
    lines += [_transfer_line(each, plain) for each in frame.transfers[:MOVING]]
    if frame.running or frame.transfers:
        lines.append(Text())
    lines += [_outcome_line(each) for each in frame.outcomes]
    for line in lines:
        if isinstance(line, Text):
            line.no_wrap, line.overflow = True, "ellipsis"
    return Group(*lines)


def spark(values: Sequence[int], room: int, plain: bool = False) -> str:
    """The latest values, as many as there is room for, as a line of blocks."""
    blocks = " .:-=+*#" if plain else _BLOCKS
    latest = values[-room:]
    most = max(latest, default=0) or 1
    return "".join(
        " " if not value else blocks[min(len(blocks) - 1, value * (len(blocks) - 1) // most)]
        for value in latest
    )


def bar(share: float, plain: bool = False) -> str:
    """How much of something is done, 0 to 1."""
    done = round(max(0.0, min(1.0, share)) * BAR)
    full, empty = ("#", ".") if plain else ("█", "░")
    return full * done + empty * (BAR - done)


def _facts(stats: "StatsReport") -> "RenderableType":
    from rich.text import Text

    lag = "-" if stats.lag_p99 is None else f"{stats.lag_p50:.2f} / {stats.lag_p99:.2f} s"
    pairs = [
        ("objects", f"{stats.objects:,} ({byte_text(stats.bytes)})"),
        ("pending", f"{stats.pending:,}"),
        ("failed", f"{stats.failed:,}"),
        ("lag p50 / p99", lag),
    ]
    return Text("   ").join(Text.assemble((f"{name} ", "dim"), value) for name, value in pairs)


def _run_line(run: "RunReport") -> "RenderableType":
    from rich.text import Text

    progress = run.progress
    share = f"{progress.percent:.0f} %" if progress.percent is not None else "listing"
    left = f", {duration_text(progress.eta_seconds)} left" if progress.eta_seconds else ""
    done = f"{progress.files_done:,} of {progress.files_planned:,}"
    return Text(f"{run.kind} {run.id} {run.status}: {share}, {done}{left}")


def _transfer_line(moving: "TransferEntry", plain: bool) -> "RenderableType":
    from rich.text import Text

    share = moving.received / moving.size if moving.size else 0.0
    size = byte_text(moving.size) if moving.size is not None else "?"
    text = f"{bar(share, plain)} {byte_text(moving.received)} of {size}  "
    return Text(text + escape_key(moving.key))


def _outcome_line(outcome: "OutcomeEntry") -> "RenderableType":
    from rich.text import Text

    return Text.assemble(
        (time_text(outcome.at.timestamp()) + "  ", "dim"),
        (f"{outcome.operation:9}", _STYLES.get(outcome.status, "")),
        escape_key(outcome.key),
        (f"  {escape_key(outcome.message)}", "dim"),
    )
