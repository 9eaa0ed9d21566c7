"""The PostgreSQL ledger's own troubles: servers that are away, wrong or full; passwords."""

import socket

import psycopg
import pytest
from sqlalchemy import Connection, Engine, event, text

from datasync.errors import DataSyncError, DiskFull, LedgerBusy, LedgerError
from datasync.models.sync_models import RunKind
from datasync.services.storage.ledger import Ledger
from tests.engine.test_ledger_objects import put, row
from tests.support.postgres import PostgresServer

pytest_plugins = ["tests.support.postgres"]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def raised(url: str, state: str) -> DataSyncError:
    """Our error for one that the server raises with a SQLSTATE."""
    ledger = Ledger.open(url)
    statement = f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END $$"
    try:
        with pytest.raises(DataSyncError) as caught, ledger._database.write() as connection:
            connection.exec_driver_sql(statement)
        assert ledger.rows() == []
        return caught.value
    finally:
        ledger.close()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_name_of_postgresql_is_understood(postgres_url: str, scheme: str) -> None:
    ledger = Ledger.open(postgres_url.replace("postgresql+psycopg", scheme))
    put(ledger, row("a"))
    assert ledger.rows() == [row("a")]
    assert not ledger.rebuilt
    with ledger.spool() as spool:
        assert list(spool.pages()) == []
    ledger.close()


def test_a_server_that_is_away_is_busy_and_no_password_is_told() -> None:
    url = f"postgresql://joe:hunter2@127.0.0.1:{free_port()}/x"
    with pytest.raises(LedgerBusy) as caught:
        Ledger.open(url, busy_seconds=1.0)
    told = repr(caught.value) + caught.value.hint + repr(caught.value.__cause__)
    assert "hunter2" not in told
    assert "DATABASE_URL" in caught.value.hint


def test_a_password_in_what_the_driver_says_is_hidden(postgres_url: str) -> None:
    ledger = Ledger.open(postgres_url.replace("postgres@", "postgres:hunter2@"))
    backend = ledger._database.backend
    assert "hunter2" not in str(backend.translate(psycopg.DataError("what is hunter2?")))
    ledger.close()


def test_an_unknown_database_or_user_is_an_error(postgres_server: PostgresServer) -> None:
    with pytest.raises(LedgerError, match="nowhere"):
        Ledger.open(postgres_server.url("nowhere"))
    with pytest.raises(LedgerError, match="nobody_known"):
        Ledger.open(postgres_server.url("postgres").replace("postgres@", "nobody_known@"))


def test_a_lost_connection_is_busy_and_the_next_call_works(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    ledger = Ledger.open(postgres_url)
    with pytest.raises(LedgerBusy), ledger._database.write() as connection:
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        postgres_server.run(f"SELECT pg_terminate_backend({pid}, 5000)")
        connection.execute(text("SELECT 1"))
    assert ledger.mark({"a": "put"}, 1.0)
    ledger.close()


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("53100", DiskFull),
        ("40001", LedgerBusy),
        ("40P01", LedgerBusy),
        ("53300", LedgerBusy),
        ("08006", LedgerBusy),
        ("28P01", LedgerError),
        ("42P01", LedgerError),
    ],
)
def test_what_the_server_says_becomes_our_error(
    postgres_url: str, state: str, kind: type[DataSyncError]
) -> None:
    assert type(raised(postgres_url, state)) is kind


def test_marks_wait_for_the_servers_disk_and_settlements_do_not(postgres_url: str) -> None:
    ledger = Ledger.open(postgres_url)
    levels: list[str] = []

    def note(connection: Connection) -> None:
        cursor = connection.connection.cursor()
        cursor.execute("SHOW synchronous_commit")
        levels.extend(cursor.fetchone() or ())
        cursor.close()

    event.listen(Engine, "commit", note)
    try:
        ledger.mark({"a": "put"}, 1.0)
        put(ledger, row("a"))
        run, _ = ledger.request_run(RunKind.RECONCILE, "", 1.0)
        ledger.cancel(run.id, 2.0)
    finally:
        event.remove(Engine, "commit", note)
    assert levels == ["on", "off", "on", "on"]
    ledger.close()


def test_keys_are_in_byte_order_whatever_the_collation(postgres_url: str) -> None:
    ledger = Ledger.open(postgres_url)
    keys = ["a", "B", "é", "Z", "_", "ä", "\x00", "\U0001f600", "\uffff"]
    put(ledger, *map(row, keys))
    assert [held.key for held in ledger.rows()] == sorted(keys, key=str.encode)
    ledger.close()
