"""Plots as SVG, drawn from the ledger's minutes. Pure; no script draws anything.

Shapes have classes, not styles: the page's policy forbids styles in the markup.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from datasync.controllers.tallies import counted
from datasync.models.words import byte_text, second_text
from datasync.models.s3_models import ActivityReport, ActivityStep, Span

WIDTH, HEIGHT = 600, 150
BOTTOM, TOP = 20, 18
_FORMS = {Span.HOUR: "%H:%M", Span.DAY: "%H:%M", Span.WEEK: "%a %d"}


@dataclass(frozen=True, slots=True)
class Plots:
    throughput: Markup
    lag: Markup


def plots(report: ActivityReport) -> Plots:
    """The two plots of a span."""
    return Plots(_throughput(report), _lag(report))


def _throughput(report: ActivityReport) -> Markup:
    steps = report.steps
    rates = [step.bytes / report.step_seconds for step in steps]
    files, most = sum(step.downloaded for step in steps), max(rates, default=0.0)
    total = sum(step.bytes for step in steps)
    said = f"{byte_text(total)} in {files:,} files; at most {byte_text(most)}/s"
    body = _bars(rates, most)
    return _figure(f"Throughput in the last {report.span}: {said}", body, report, said, most, _rate)


def _lag(report: ActivityReport) -> Markup:
    steps = report.steps
    means = [step.lag_seconds for step in steps]
    mosts = [step.most_lag_seconds for step in steps]
    events = sum(step.events for step in steps)
    top = max((each for each in mosts if each is not None), default=0.0)
    if not events:
        said = "No events in this time."
    else:
        told = counted(events, "event")
        said = f"{told}; mean (line) and longest (dashes), at most {second_text(top)}"
    body = _curve(means, top, "curve") + _curve(mosts, top, "most")
    return _figure(f"Lag in the last {report.span}: {said}", body, report, said, top, second_text)


def _figure(
    label: str,
    body: Markup,
    report: ActivityReport,
    said: str,
    top: float,
    unit: Callable[[float], str],
) -> Markup:
    rules = Markup("").join(
        Markup('<line class="rule" x1="0" x2="{}" y1="{}" y2="{}"/>').format(WIDTH, y, y)
        for y in (TOP, (TOP + HEIGHT - BOTTOM) / 2, HEIGHT - BOTTOM)
    )
    most = Markup('<text x="{}" y="{}">{}</text>').format(0, TOP - 6, unit(top) if top else "")
    return Markup(
        '<figure class="plot"><svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}{}{}</svg>'
        "<figcaption>{}</figcaption></figure>"
    ).format(WIDTH, HEIGHT, label, rules, body, most, _times(report), said)


def _times(report: ActivityReport) -> Markup:
    """A few moments below the plot; the last says of which zone they are."""
    steps: Sequence[ActivityStep] = report.steps
    form, count = _FORMS[report.span], 4
    chosen = [round(place * (len(steps) - 1) / count) for place in range(count + 1)]
    anchors = ["start", *["middle"] * (count - 1), "end"]
    return Markup("").join(
        Markup('<text x="{:.1f}" y="{}" text-anchor="{}">{}</text>').format(
            _x(place, len(steps)),
            HEIGHT - 4,
            anchor,
            steps[place].at.strftime(form) + (" UTC" if anchor == "end" else ""),
        )
        for place, anchor in zip(chosen, anchors, strict=True)
    )


def _bars(values: Sequence[float], most: float) -> Markup:
    width = max(1.0, WIDTH / max(1, len(values)) * 0.7)
    return Markup("").join(
        Markup(
            '<rect class="bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="1"/>'
        ).format(
            _x(place, len(values), width), _y(value, most), width, HEIGHT - BOTTOM - _y(value, most)
        )
        for place, value in enumerate(values)
        if value
    )


def _curve(values: Sequence[float | None], most: float, kind: str) -> Markup:
    """Lines through neighbours; a value alone is a short dash."""
    path, down = [], False
    for place, value in enumerate(values):
        if value is None:
            down = False
            continue
        x, y = _x(place, len(values)), _y(value, most)
        path.append(f"{'L' if down else 'M'}{x:.1f} {y:.1f}{'' if down else 'h1.5'}")
        down = True
    if not path:
        return Markup("")
    return Markup('<path class="{}" d="{}"/>').format(kind, " ".join(path))


def _x(place: int, count: int, width: float = 0.0) -> float:
    return (WIDTH - width) * place / max(1, count - 1)


def _y(value: float, most: float) -> float:
    room = HEIGHT - BOTTOM - TOP
    return TOP + room * (1 - value / most) if most else HEIGHT - BOTTOM


def _rate(value: float) -> str:
    return f"{byte_text(value)}/s"
