"""How a command starts, in processes of their own: what it loads, and when it looks for garbage."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from datasync.cli import garbage

ROOT = Path(__file__).parents[2]
VARIABLES = {"S3_BUCKET_NAME": "my-bucket", "AWS_NO_SIGN_REQUEST": "true", "LOG_FILE": ""}


def _said(code: str, folder: Path, **variables: str) -> list[str]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **VARIABLES, **variables}
    ran = subprocess.run(
        [sys.executable, "-c", f"import gc\n{code}"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in ran.stderr, ran.stderr
    return ran.stdout.splitlines()


def test_what_was_loaded_is_left_alone_and_the_rest_is_not(tmp_path: Path) -> None:
    code = """
from datasync.cli import garbage
print(gc.get_threshold()[0])
garbage.put_off()
print(gc.get_threshold()[0], gc.get_freeze_count())
garbage.resume()
print(gc.get_threshold()[0], gc.get_freeze_count() > 1000, gc.isenabled())
kept, new = gc.get_freeze_count(), [[] for _ in range(1000)]
garbage.resume()
print(gc.get_freeze_count() == kept)
"""
    usual, *others = _said(code, tmp_path)
    assert int(usual) < garbage.AT_WORK
    assert others == [f"{garbage.WHILE_LOADING} 0", f"{garbage.AT_WORK} True True", "True"]


def test_a_process_that_did_not_put_it_off_keeps_its_own_pace(tmp_path: Path) -> None:
    code = """
from datasync.cli import garbage
before = gc.get_threshold()
garbage.resume()
print(gc.get_threshold() == before, gc.get_freeze_count())
"""
    assert _said(code, tmp_path) == ["True 0"]


@pytest.mark.parametrize(
    "command, place",
    [
        ("runs", "datasync.services.storage.ledger.Ledger.runs"),
        ("doctor", "datasync.doctor.visit.visit"),
        ("serve", "datasync.app.serve"),
        ("demo", "datasync.demo.run_demo"),
    ],
)
def test_every_command_that_may_take_long_looks_for_garbage_at_work(
    command: str, place: str, tmp_path: Path
) -> None:
    # The work itself is no matter here; only how the process is when it begins.
    code = f"""
from unittest.mock import patch
from datasync.cli import main
pace = []
with patch({place!r}, lambda *_, **__: pace.append(gc.get_threshold()[0]) or []):
    try:
        main([{command!r}])
    finally:
        print(*pace)
"""
    assert _said(code, tmp_path)[-1:] == [str(garbage.AT_WORK)]


# -- what is loaded ------------------------------------------------------------------------------

RUNS = """
import os, sys
from datasync.cli import main
try:
    main(["runs", "--json"])
finally:
    for name in ("structlog", "rich", "colorama", "attr"):
        print(name, name in sys.modules)
    import rich.console
    print(os.environ["PYDANTIC_DISABLE_PLUGINS"])
"""


def test_a_command_loads_no_printer_that_it_does_not_use(tmp_path: Path) -> None:
    told = _said(RUNS, tmp_path)[-5:]
    assert told[:-1] == ["structlog True", "rich False", "colorama False", "attr False"]
    assert told[-1] == "__all__"


def test_who_wants_plugins_of_pydantic_keeps_them(tmp_path: Path) -> None:
    assert _said(RUNS, tmp_path, PYDANTIC_DISABLE_PLUGINS="other")[-1] == "other"


def test_what_was_loaded_before_is_kept(tmp_path: Path) -> None:
    code = """
import sys, rich
from datasync.cli import lean
lean.load_less()
import structlog.dev
print(sys.modules["rich"] is rich, structlog.dev.rich is rich, "colorama" in sys.modules)
"""
    assert _said(code, tmp_path) == ["True True False"]


def test_a_program_that_imports_the_package_keeps_its_libraries(tmp_path: Path) -> None:
    code = """
import os
import datasync.cli.entry, structlog.dev, rich
print(structlog.dev.rich is rich, os.environ.get("PYDANTIC_DISABLE_PLUGINS"))
"""
    assert _said(code, tmp_path) == ["True None"]
