"""Programs of the machine that some tests need, and no package of Python brings."""

import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import pytest


def needed(name: str, way: str) -> str:
    """Where the program is; beside Python, or on the PATH. `way` is how to get it."""
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    return found or missing(f"{name} is not installed: {way}")


def missing(what: str) -> NoReturn:
    """Ends the test: as skipped where somebody works without it, as failed in CI."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)
