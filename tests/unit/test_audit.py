"""The audit of the dependencies: what was not looked up is never told as harmless."""

import json
import subprocess
from typing import Any

import pytest

from scripts.audit import NOT_DONE, Ask, audit

PINS = (
    "a==1.0 ; python_version >= '3.11' \\\n    --hash=sha256:00\nb==2.0 \\\n    --hash=sha256:00\n"
)
CLEAN = [{"name": "a", "version": "1.0", "vulns": []}, {"name": "b", "version": "2.0", "vulns": []}]
FLAW = {"id": "PYSEC-1", "fix_versions": ["2.1", "3.0"], "aliases": [], "description": "x"}
BAD = [CLEAN[0], {"name": "b", "version": "2.0", "vulns": [FLAW]}]
UNKNOWN = [{"name": name, "skip_reason": "not found"} for name in ("a", "b")]


def says(**by_source: Any) -> Ask:
    """Stands in for pip-audit, which needs a network."""

    def ask(source: str, requirements: str) -> str:
        assert requirements in ("a==1.0", "a==1.0\nb==2.0")
        given = by_source[source]
        if isinstance(given, Exception):
            raise given
        if isinstance(given, str):
            return given
        return json.dumps({"dependencies": given[: len(requirements.split())], "fixes": []})

    return ask


@pytest.mark.parametrize(
    "silent",
    ["requests.exceptions.ConnectionError: ...", "", "{}", "[]", "null", UNKNOWN]
    + [subprocess.TimeoutExpired("pip-audit", 1)],
)
def test_a_source_that_is_not_there_is_no_audit_and_no_failure(silent: Any) -> None:
    lines, code = audit(PINS, says(osv=silent, pypi=silent))
    assert (lines[0], code) == (NOT_DONE, 0)
    assert [line.split()[1] for line in lines[1:]] == ["osv:", "pypi:"]


def test_the_second_source_stands_in_for_the_first() -> None:
    lines, code = audit(PINS, says(osv="gone", pypi=CLEAN))
    assert (lines, code) == (["audit: 2 packages looked up in pypi, 0 vulnerabilities"], 0)


def test_a_vulnerability_fails_and_is_named() -> None:
    lines, code = audit(PINS, says(osv=BAD))
    assert code == 1
    assert lines[1] == "audit: VULNERABLE b 2.0: PYSEC-1, mended in 2.1, 3.0"


def test_what_the_source_does_not_know_is_named() -> None:
    lines, code = audit(PINS, says(osv=[CLEAN[0], UNKNOWN[1]]))
    assert (lines[1], code) == ("audit: NOT KNOWN to osv: b", 0)


def test_pip_audit_that_is_not_installed_is_said() -> None:
    lines, code = audit(PINS, says(osv="/bin/python: No module named pip_audit", pypi=""))
    assert code == 0
    assert "No module named pip_audit" in lines[1]
