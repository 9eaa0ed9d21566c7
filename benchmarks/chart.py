"""A bar chart of what was measured, as SVG: no library is needed for bars. Pure.

One group a workload, one bar a contestant: its median wall time as a multiple of the fastest
peer's. The line at 1 is that peer, so a bar of ours that ends before it is a workload won.
"""

import statistics
from collections.abc import Iterator, Sequence
from html import escape

from benchmarks.goals import OURS, is_ours, names
from benchmarks.record import Section

WIDTH, LEFT, RIGHT, TOP = 820, 170, 110, 64
BAR, GAP, GROUP = 15, 3, 42
CLIPPED = 4.0  # longer bars are cut off, with their length in words
OUR_COLOUR, BARE_COLOUR, PEER_COLOUR = "#1f6f54", "#8cbfa9", "#a9b4bd"
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#24292f}.small{fill:#57606a;font-size:11px}"
    ".title{font-size:15px;font-weight:600}.group{font-weight:600}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.small{fill:#9aa4ae}}"
)


def chart(title: str, sections: Sequence[Section]) -> str:
    """The sections in which several programs mirrored the same, one below the other."""
    shown = [section for section in sections if _peers(section)]
    body: list[str] = []
    top = TOP
    for section in shown:
        body += _group(section, top)
        top += GROUP + len(names(section.results)) * (BAR + GAP)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            f'<text class="title" x="12" y="24">{escape(title)}</text>',
            '<text class="small" x="12" y="42">Wall time as a multiple of the fastest peer’s, '
            "median of the rounds; shorter is better.</text>",
            *body,
            "</svg>",
            "",
        ]
    )


def _peers(section: Section) -> list[str]:
    """Those that are measured beside ours in wall time."""
    found = names([each for each in section.results if "wall" in each.values])
    return [name for name in found if not is_ours(name)]


def _group(section: Section, top: int) -> Iterator[str]:
    best = min(_wall(section, name) for name in _peers(section))
    heading = f"{section.workload}: {section.text}; {section.where}"
    yield f'<text class="group" x="12" y="{top + 4}">{escape(heading)}</text>'
    for number, name in enumerate(names(section.results)):
        yield from _bar(name, _wall(section, name), best, top + 12 + number * (BAR + GAP))
    line = LEFT + _length(1.0)
    end = top + 12 + len(names(section.results)) * (BAR + GAP)
    yield (
        f'<line x1="{line:.1f}" y1="{top + 9}" x2="{line:.1f}" y2="{end}" '
        'stroke="#cf222e" stroke-dasharray="3 3"/>'
    )


def _bar(name: str, wall: float, best: float, top: int) -> Iterator[str]:
    times = wall / best
    length = _length(times)
    cut = " …" if times > CLIPPED else ""
    baseline = top + BAR - 3
    yield (
        f'<text class="small" x="{LEFT - 8}" y="{baseline}" text-anchor="end">{escape(name)}</text>'
    )
    yield (
        f'<rect x="{LEFT}" y="{top}" width="{length:.1f}" height="{BAR}" rx="2" '
        f'fill="{_colour(name)}"/>'
    )
    yield (
        f'<text class="small" x="{LEFT + length + 6:.1f}" y="{baseline}">'
        f"{cut}{times:.2f} x, {wall:.2f} s</text>"
    )


def _colour(name: str) -> str:
    if name == OURS:
        return OUR_COLOUR
    return BARE_COLOUR if is_ours(name) else PEER_COLOUR


def _length(times: float) -> float:
    return min(times, CLIPPED) / CLIPPED * (WIDTH - LEFT - RIGHT)


def _wall(section: Section, name: str) -> float:
    return statistics.median(
        each.values["wall"] for each in section.results if each.contestant == name
    )
