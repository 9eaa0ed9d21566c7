"""A SQLite ledger in long use: its log and its memory stay bounded, whoever reads meanwhile."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from datasync.services.storage.ledger import Ledger, sqlite_backend, sqlite_url
from tests.engine.test_ledger_objects import put, row

LIMIT = 256 * 1024
ROWS = 500  # about 60 KiB of log


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / ".datasync" / "ledger.db"


@pytest.fixture
def ledger(file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    monkeypatch.setattr(sqlite_backend, "LOG_BYTES", LIMIT)
    ledger = Ledger.open(sqlite_url(file))
    yield ledger
    ledger.close()


def log_bytes(file: Path) -> int:
    return file.with_name(file.name + "-wal").stat().st_size


def write(ledger: Ledger, number: int) -> None:
    put(ledger, *(row(f"k{number:03d}{index:05d}") for index in range(ROWS)))


def read_without_a_gap(file: Path, over: threading.Event, begun: threading.Event) -> None:
    """At every moment one of two readers is in a transaction, none of them for long."""
    with ExitStack() as stack:
        readers = [
            stack.enter_context(closing(sqlite3.connect(file, isolation_level=None)))
            for _ in range(2)
        ]
        turn = 0
        while not over.wait(0.005):
            turn += 1
            now, before = readers[turn % 2], readers[(turn + 1) % 2]
            now.execute("BEGIN")
            now.execute("SELECT count(*) FROM runs").fetchone()
            if before.in_transaction:
                before.execute("COMMIT")
                begun.set()


def test_the_log_is_bounded_although_somebody_reads_at_every_moment(
    ledger: Ledger, file: Path
) -> None:
    over, begun = threading.Event(), threading.Event()
    reader = threading.Thread(target=read_without_a_gap, args=(file, over, begun))
    reader.start()
    try:
        assert begun.wait(10)
        sizes = []
        for number in range(60):
            write(ledger, number)
            sizes.append(log_bytes(file))
    finally:
        over.set()
        reader.join()
    assert max(sizes) < 4 * LIMIT


def test_a_reader_that_stays_keeps_no_write_from_its_commit(ledger: Ledger, file: Path) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM objects").fetchone()
        for number in range(20):
            write(ledger, number)
        assert log_bytes(file) > 2 * LIMIT
        assert ledger.count() == 20 * ROWS

    for number in range(20, 40):
        write(ledger, number)

    assert log_bytes(file) < 2 * LIMIT
    assert ledger.count() == 40 * ROWS


def test_a_log_that_cannot_be_emptied_leaves_the_connection_its_patience(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(ledger, row("a"), row("b"))
    monkeypatch.setattr(sqlite_backend, "LOG_BYTES", 1)
    monkeypatch.setattr(ledger._database.backend, "_log_limit", 1)
    with ledger._database.write() as connection:
        raw = connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        unfinished = raw.execute("SELECT key FROM objects")  # "database table is locked"
    unfinished.close()

    assert raw.execute("PRAGMA busy_timeout").fetchone() == (10_000,)


def test_one_reader_at_a_time_needs_one_connection_and_its_cache(ledger: Ledger) -> None:
    database = ledger._database
    with ExitStack() as stack:
        for _ in range(6):
            stack.enter_context(database.read())

    used = set()
    for _ in range(12):
        with database.read() as connection:
            used.add(connection.connection.driver_connection)

    assert len(used) == 1
