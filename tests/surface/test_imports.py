"""The direction of imports: the contracts in pyproject.toml hold."""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_import_contracts_are_kept() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_contracts_cover_what_the_design_demands() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    linter = settings["tool"]["importlinter"]
    assert linter["root_package"] == "datasync"
    kinds = [contract["type"] for contract in linter["contracts"]]
    assert kinds.count("layers") >= 2
    assert kinds.count("independence") >= 1
    forbidden = {name for c in linter["contracts"] for name in c.get("forbidden_modules", [])}
    assert {"pycurl", "fastapi", "datasync.config", "sqlalchemy", "os"} <= forbidden
