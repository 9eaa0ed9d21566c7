"""Numbers in words that people read at a glance: bytes, durations. Pure; wherever people read."""

from collections.abc import Mapping

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def byte_text(count: float) -> str:
    """Bytes in the largest unit that shows at least one: "1.4 GiB", never "1024.0 MiB"."""
    unit = 0
    while count >= 1023.95 and unit < len(_UNITS) - 1:
        count /= 1024
        unit += 1
    return f"{count:.0f} B" if unit == 0 else f"{count:.1f} {_UNITS[unit]}"


def duration_text(seconds: float) -> str:
    """A duration as a clock shows it: "0:42", "1:02:03"."""
    minutes, second = divmod(round(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}" if hour else f"{minute}:{second:02}"


def second_text(seconds: float | None) -> str:
    """A short time with the digits that matter: "3 ms", "0.42 s", "12 s"; "–" for none."""
    if seconds is None:
        return "–"
    if seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"


def amounts_text(counts: Mapping[str, int]) -> str:
    """ "1,204 archived, 3 oversize": what there is any of."""
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
