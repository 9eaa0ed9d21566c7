"""Links planted where the ledger belongs: nothing outside the mirror is made or changed."""

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from datasync.errors import LedgerError
from datasync.services.storage.ledger import Ledger, sqlite_url
from tests.engine.test_ledger_objects import put, row


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / ".datasync" / "ledger.db"


@pytest.fixture
def ledger(file: Path) -> Iterator[Ledger]:
    ledger = Ledger.open(sqlite_url(file))
    yield ledger
    ledger.close()


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "outside"
    folder.mkdir()
    Ledger.open(sqlite_url(folder / "other.db")).close()
    before = sorted((path.name, path.read_bytes()) for path in folder.iterdir())
    yield folder
    assert sorted((path.name, path.read_bytes()) for path in folder.iterdir()) == before


@pytest.mark.parametrize("target", ["other.db", "new.db"])
@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal", ".lock", ".damaged"])
def test_a_link_planted_before_the_start_is_refused(
    file: Path, outside: Path, suffix: str, target: str
) -> None:
    file.parent.mkdir()
    Path(f"{file}{suffix}").symlink_to(outside / target)
    with pytest.raises(LedgerError, match=f"'ledger.db{suffix}' of the ledger is a link"):
        Ledger.open(sqlite_url(file))
    assert os.listdir(file.parent) == [f"ledger.db{suffix}"]


@pytest.mark.parametrize("target", ["", "new"])
def test_a_folder_that_is_a_link_is_refused(file: Path, outside: Path, target: str) -> None:
    file.parent.symlink_to(outside / target)
    with pytest.raises(LedgerError, match="'.datasync' of the ledger is a link"):
        Ledger.open(sqlite_url(file))


def test_a_link_that_takes_the_ledgers_place_while_it_is_in_use(file: Path, ledger: Ledger) -> None:
    file.rename(file.with_name("elsewhere.db"))
    file.symlink_to("elsewhere.db")
    with pytest.raises(LedgerError, match="removed or replaced"):
        ledger.mark({"a": "put"}, 1.0)


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
def test_a_side_file_that_becomes_a_link_is_not_followed(
    file: Path, outside: Path, suffix: str
) -> None:
    ledger = Ledger.open(sqlite_url(file))
    ledger._database._engine.dispose()  # the next use opens the files anew
    Path(f"{file}{suffix}").unlink(missing_ok=True)
    Path(f"{file}{suffix}").symlink_to(outside / "new.db")
    with pytest.raises(LedgerError):
        ledger.mark({"a": "put"}, 1.0)
    ledger.close()


def test_damage_is_not_noted_through_a_link(file: Path, ledger: Ledger, outside: Path) -> None:
    fault = sqlite3.DatabaseError("database disk image is malformed")
    fault.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    Path(f"{file}.damaged").symlink_to(outside / "new.db")
    with pytest.raises(LedgerError, match="so is its folder"):
        raise ledger._database.backend.translate(fault)


def test_elsewhere_a_link_is_the_operators_own(tmp_path: Path) -> None:
    (tmp_path / "large disk").mkdir()
    link = tmp_path / "ledger.db"
    link.symlink_to(tmp_path / "large disk" / "ledger.db")
    ledger = Ledger.open(sqlite_url(link))
    put(ledger, row("a"))
    assert ledger.rows() == [row("a")]
    ledger.close()
    assert (tmp_path / "large disk" / "ledger.db").stat().st_size > 0
