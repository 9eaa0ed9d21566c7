"""promtool, Prometheus' own tool: it checks and tries what Prometheus is to read."""

import subprocess
from pathlib import Path

from tests.support.programs import needed

WAY = (
    "'scripts/fetch_promtool .venv/bin' takes it out of Debian's package, "
    "or install Prometheus as your system does"
)


def promtool(*arguments: str, folder: Path, text: str | None = None) -> str:
    """What it says; fails unless it is content."""
    command = [needed("promtool", WAY), *arguments]
    done = subprocess.run(
        command, cwd=folder, input=text, capture_output=True, text=True, timeout=120
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said
