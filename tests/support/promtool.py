"""promtool, Prometheus' own tool: it checks and tries what Prometheus is to read."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MISSING = (
    "promtool is not installed, so the rules for Prometheus cannot be tried: "
    "'scripts/fetch_promtool .venv/bin' takes it out of Debian's package, "
    "or install Prometheus as your system does"
)


def promtool(*arguments: str, folder: Path, text: str | None = None) -> str:
    """What it says; fails unless it is content. Without it, only CI fails: it has to have it."""
    found = shutil.which("promtool") or shutil.which("promtool", path=_beside_python())
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    done = subprocess.run(
        [found, *arguments], cwd=folder, input=text, capture_output=True, text=True, timeout=120
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


def _beside_python() -> str:
    return str(Path(sys.executable).parent)
