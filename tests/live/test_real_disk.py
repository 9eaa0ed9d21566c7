"""The kernel's own refusals: a small file system in a mount namespace, limits of a process."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.support.small_disk import STORIES, in_namespace

PROJECT = Path(__file__).parents[2]
# What proves nearly the same where no file system can be mounted.
INSTEAD = {name: "file_size" for name in STORIES if name.startswith("tmpfs_")}

_words = cache(in_namespace)


@pytest.mark.parametrize("story", sorted(STORIES))
@pytest.mark.timeout(120)
def test_what_the_kernel_refuses(story: str, tmp_path: Path) -> None:
    words: list[str] | None = []
    if story in INSTEAD:
        words = _words()
        story = story if words is not None else INSTEAD[story]
    done = subprocess.run(
        [*(words or []), sys.executable, "-m", "tests.support.small_disk", str(tmp_path), story],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
