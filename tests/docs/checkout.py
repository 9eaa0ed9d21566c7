"""Copies of what a checkout holds: what a test changes is no file of the checkout itself."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from tests.docs.pages import ROOT


def copied(names: Iterable[str], folder: Path) -> None:
    """Copy these files and folders of the checkout, all that they hold included."""
    folder.mkdir(exist_ok=True)
    for name in names:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / name)
