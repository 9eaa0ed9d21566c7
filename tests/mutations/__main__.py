"""`python -m tests.mutations [--jobs N] [WORD ...]`: break each promise, see the tests go red.

Each break is made in a copy of the tree, where only the tests that should notice it run; before
that they must be green without it. Prints a table; fails when a mutation survives.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutations.catalogue import MUTATIONS
from tests.mutations.mutation import ROOT, Mutation

GREEN, RED = 0, 1  # exit codes of pytest
TIMEOUT_SECONDS = 300
COPIED = ("datasync", "tests", "lambda", "server.py", "pyproject.toml")


def main(arguments: Sequence[str] | None = None) -> int:
    """How many mutations were not noticed, or could not be tried."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("--jobs", "-n", type=int, default=(os.cpu_count() or 1) + 1)
    parser.add_argument("words", nargs="*", help="only mutations whose name has one of them")
    asked = parser.parse_args(arguments)
    chosen = [m for m in MUTATIONS if not asked.words or any(w in m.name for w in asked.words)]
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        tests = sorted({test for mutation in chosen for test in mutation.tests})
        code, text = run_tests(copied(Path(folder) / "unbroken"), tests)
        if code != GREEN:
            print(text, "\nThe tests fail without any mutation.", sep="")
            return 1
        with ThreadPoolExecutor(asked.jobs) as pool:
            tried = pool.map(lambda pair: attempt(Path(folder) / str(pair[0]), pair[1]),
                             enumerate(chosen))  # fmt: skip
            return report(chosen, list(tried))


def attempt(folder: Path, mutation: Mutation) -> tuple[str, float]:
    """What became of a mutation, and in how many seconds. Raises: TextNotFound."""
    began = time.monotonic()
    mutation.apply(copied(folder))
    code, text = run_tests(folder, mutation.tests)
    shutil.rmtree(folder)
    words = {RED: "noticed", GREEN: "SURVIVED"}
    if code not in words:
        print(text)
    return words.get(code, f"not tried: pytest ended with {code}"), time.monotonic() - began


def copied(folder: Path) -> Path:
    """A copy of the tree, as far as tests need it."""
    folder.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder


def run_tests(folder: Path, tests: Sequence[str]) -> tuple[int, str]:
    """The exit code of pytest and what it said."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header"]
    done = subprocess.run(
        [*command, *(f"tests/{test}" for test in tests)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    return done.returncode, done.stdout


def report(mutations: Sequence[Mutation], results: Sequence[tuple[str, float]]) -> int:
    """Print the table; how many were not noticed."""
    width = max(len(mutation.name) for mutation in mutations)
    print(f"promise  {'broken on purpose':{width}}  seconds  outcome")
    for mutation, (outcome, seconds) in zip(mutations, results, strict=True):
        print(f"{mutation.promise:7}  {mutation.name:{width}}  {seconds:7.1f}  {outcome}")
    missed = sum(outcome != "noticed" for outcome, _ in results)
    print(f"{len(mutations) - missed} of {len(mutations)} mutations were noticed")
    return missed


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
