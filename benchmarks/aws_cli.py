"""The AWS CLI, of one version, in an environment of its own.

Its pins must not meet those of the project, so it is installed into the user's cache, once.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

PINS = Path(__file__).parent / "awscli.txt"
INSTALL_SECONDS = 600
STAMP = ".installed"


class NoAwsCli(Exception):
    """It could not be installed; says why."""


def installed() -> Path:
    """The program, installed when it is not there yet. Raises: NoAwsCli."""
    home = _home()
    if not (home / STAMP).exists():
        _install(home)
    return home / "bin" / "aws"


def _home() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    version = next(line for line in PINS.read_text().splitlines() if line.startswith("awscli=="))
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return cache / "datasync-benchmarks" / f"{version.replace('==', '-')}-{python}"


def _install(home: Path) -> None:
    """The stamp comes last: an environment that was left half made is made anew."""
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(home, ignore_errors=True)
        _run(sys.executable, "-m", "venv", str(home))
        quiet = ("--quiet", "--disable-pip-version-check")
        _run(str(home / "bin" / "python"), "-m", "pip", "install", *quiet, "-r", str(PINS))
        _run(str(home / "bin" / "aws"), "--version")
        (home / STAMP).touch()
    except OSError as error:
        raise NoAwsCli(str(error)) from error


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        raise NoAwsCli(f"{command[0]} took more than {INSTALL_SECONDS} seconds") from None
    except subprocess.CalledProcessError as error:
        last = error.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise NoAwsCli(" ".join(last) or f"{command[0]} failed") from None
