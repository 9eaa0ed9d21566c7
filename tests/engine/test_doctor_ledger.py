"""The doctor and what else is in the mirror's folder: ledger and lease; and the log file."""

import fcntl
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from datasync.doctor.findings import Level
from datasync.doctor.ledger_checks import LedgerCheck, look_at_lease
from datasync.doctor.rounds import looked
from datasync.doctor.settings_checks import look_at_log_file
from datasync.services.storage.ledger import Ledger, sqlite_url
from datasync.services.storage.mirror import Mirror
from tests.support.doctor import Patient, settings_of
from tests.support.servers import free_ports

# -- ledger and lease ----------------------------------------------------------------------------


def test_a_ledger_that_is_not_there_is_not_made(patient: Patient) -> None:
    check = LedgerCheck(patient.settings)
    assert "none yet (SQLite)" in check.look().found
    assert not check.is_current
    assert not patient.root.exists()


def test_a_ledger_tells_its_version(patient: Patient) -> None:
    patient.prepare()
    Ledger.open(patient.settings.ledger_url()).close()
    check = LedgerCheck(patient.settings)
    finding = check.look()
    assert finding.level is Level.PASS
    assert finding.found.startswith("SQLite, version 0")
    assert check.is_current


@pytest.mark.parametrize(
    "version, level, words",
    [("0001", "pass", "the next start brings it to"), ("9999", "fail", "newer DataSync")],
)
def test_a_ledger_of_another_version_is_not_migrated(
    patient: Patient, version: str, level: str, words: str
) -> None:
    patient.prepare()
    file = patient.root / ".datasync" / "ledger.db"
    Ledger.open(patient.settings.ledger_url()).close()
    set_version(file, version)
    check = LedgerCheck(patient.settings)
    finding = looked(check.look)
    assert finding.level == level
    assert words in finding.found
    assert not check.is_current
    assert read_version(file) == version


def set_version(file: Path, version: str) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE ledger_version SET version_num = ?", (version,))


def read_version(file: Path) -> str:
    with closing(sqlite3.connect(file)) as connection:
        return str(connection.execute("SELECT version_num FROM ledger_version").fetchone()[0])


def test_a_ledger_that_is_no_database(patient: Patient) -> None:
    patient.prepare()
    (patient.root / ".datasync" / "ledger.db").write_bytes(b"no database at all, " * 100)
    finding = looked(LedgerCheck(patient.settings).look)
    assert finding.level is Level.FAIL
    assert "Restart DataSync" in finding.advice


def test_a_ledger_in_postgresql(patient: Patient, postgres_url: str) -> None:
    patient.settings = settings_of(patient.root, database_url=postgres_url)
    assert "none yet (PostgreSQL)" in LedgerCheck(patient.settings).look().found
    Ledger.open(postgres_url).close()
    assert LedgerCheck(patient.settings).look().found.startswith("PostgreSQL, version 0")


def test_a_ledger_of_another_directory(patient: Patient, tmp_path: Path) -> None:
    patient.prepare()
    url = sqlite_url(tmp_path / "elsewhere.db")
    patient.settings = settings_of(patient.root, database_url=url)
    ledger = Ledger.open(url)
    ledger.claim("another", "/data/another")
    finding = LedgerCheck(patient.settings).look()
    assert finding.level is Level.FAIL
    assert "another directory, /data/another" in finding.found and "--adopt" in finding.advice
    ledger.claim("another", str(patient.root))
    finding = LedgerCheck(patient.settings).look()
    assert finding.level is Level.FAIL
    assert "is not the directory" in finding.found and "Mount" in finding.advice
    marked = Mirror(patient.root).marked_id()
    assert marked is not None
    ledger.claim(marked, str(patient.root), over=True)
    ledger.close()
    assert LedgerCheck(patient.settings).look().level is Level.PASS


def test_a_postgresql_that_is_not_there(patient: Patient) -> None:
    url = f"postgresql://user:hidden-password@127.0.0.1:{free_ports(1)[0]}/datasync"
    patient.settings = settings_of(patient.root, database_url=url)
    finding = looked(LedgerCheck(patient.settings).look)
    assert finding.level is Level.FAIL
    assert "hidden-password" not in finding.found + finding.advice


@pytest.mark.parametrize("served, level", [(False, "pass"), (True, "warn")])
def test_nobody_holds_the_lease(patient: Patient, served: bool, level: str) -> None:
    assert look_at_lease(patient.root, lambda: served).level == level
    patient.prepare()
    lease = patient.root / ".datasync" / "lease.lock"
    lease.touch()
    finding = look_at_lease(patient.root, lambda: served)
    assert finding.level == level
    assert "no process runs the engine" in finding.found
    with lease.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # it was given back


def test_the_holder_of_the_lease_is_named(patient: Patient) -> None:
    patient.prepare()
    with (patient.root / ".datasync" / "lease.lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        finding = look_at_lease(patient.root, lambda: True)
    assert finding.level is Level.PASS
    assert finding.found.startswith("held by ")


def test_a_holder_that_is_a_program_on_the_command_line_is_told_in_one_line(
    patient: Patient,
) -> None:
    """So does the launcher that `make` installs start the service."""
    patient.prepare()
    code = "import fcntl, sys\nfcntl.flock(sys.stdin, fcntl.LOCK_EX)\nprint(flush=True)\ninput()"
    with (
        (patient.root / ".datasync" / "lease.lock").open("wb") as file,
        subprocess.Popen(
            [sys.executable, "-c", code.replace("sys.stdin", str(file.fileno())), "serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(file.fileno(),),
        ) as process,
    ):
        assert process.stdout
        process.stdout.readline()  # it has the lock
        finding = look_at_lease(patient.root, lambda: True)
        process.communicate(b"\n")
    told = f"{sys.executable} -c ... serve"[:100]
    assert f"process {process.pid} ({told})" in finding.found


# -- the log file --------------------------------------------------------------------------------


def test_a_log_file_that_can_be_written_is_not_made(patient: Patient, tmp_path: Path) -> None:
    path = tmp_path / "logs" / "service.log"
    finding = look_at_log_file(settings_of(patient.root, log_file=path))
    assert (finding.level, finding.found) == (Level.PASS, str(path))
    assert list(tmp_path.iterdir()) == []


def test_log_files_that_cannot_be_written(patient: Patient, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "service.log"):
        finding = look_at_log_file(settings_of(patient.root, log_file=path))
        assert finding.level is Level.FAIL
        assert "LOG_FILE" in finding.advice
