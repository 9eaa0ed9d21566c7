"""The PostgreSQL ledger's own troubles: servers that are away, wrong or full; passwords."""

import os
import socket
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest
from sqlalchemy import Connection, Engine, event, make_url, select, text

from datasync.errors import DataSyncError, DiskFull, LedgerBusy, LedgerError
from datasync.models.sync_models import RunKind
from datasync.services.storage.ledger import Ledger
from datasync.services.storage.ledger.database import Prepared
from datasync.services.storage.ledger.patience import PatientConnection
from datasync.services.storage.ledger.tables import dirty
from tests.engine.test_ledger_objects import put, row
from tests.support.postgres import HangingProxy, PostgresServer

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


@pytest.mark.parametrize("kind", ["read", "write"])
@pytest.mark.parametrize(
    "ask",
    [
        lambda connection: connection.execute(text("SELECT 1")),
        Prepared(select(dirty.c.key)).fetch,  # by the driver itself
    ],
)
def test_a_lost_connection_is_busy_and_the_next_call_works(
    postgres_server: PostgresServer,
    postgres_url: str,
    caplog: pytest.LogCaptureFixture,
    kind: str,
    ask: Callable[[Connection], object],
) -> None:
    ledger = Ledger.open(postgres_url)
    with pytest.raises(LedgerBusy, match="administrator"):
        with getattr(ledger._database, kind)() as connection:
            pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
            postgres_server.run(f"SELECT pg_terminate_backend({pid}, 5000)")
            ask(connection)
    assert ledger.mark({"a": "put"}, 1.0)
    ledger.close()
    assert caplog.records == []


# A server that does not answer

BUSY_SECONDS = 0.5  # so that a statement may take 1.5 s, and silence 2 s


@pytest.fixture
def distant(hanging_proxy: HangingProxy, postgres_url: str) -> Iterator[Ledger]:
    """A ledger whose way to the server may hang."""
    database = make_url(postgres_url).database
    assert database is not None
    ledger = Ledger.open(hanging_proxy.url(database), busy_seconds=BUSY_SECONDS)
    yield ledger
    hanging_proxy.go_on()
    ledger.close()


def driver(connection: Connection) -> PatientConnection:
    found = connection.connection.driver_connection
    assert isinstance(found, PatientConnection)
    return found


def seconds_until_busy(work: Callable[[], object]) -> float:
    began = time.monotonic()
    with pytest.raises(LedgerBusy):
        work()
    return time.monotonic() - began


def test_a_server_that_stops_answering_is_busy_and_works_again_later(
    distant: Ledger, hanging_proxy: HangingProxy
) -> None:
    distant.mark({"a": "put"}, 1.0)
    hanging_proxy.hang()

    assert seconds_until_busy(lambda: distant.mark({"b": "put"}, 1.0)) < 10

    hanging_proxy.go_on()
    assert distant.mark({"c": "put"}, 1.0)
    assert "c" in distant.dirty(["c"])


def test_a_server_that_stops_answering_within_a_transaction(
    distant: Ledger, hanging_proxy: HangingProxy
) -> None:
    def work() -> None:
        with distant._database.write() as connection:
            hanging_proxy.hang()
            connection.execute(text("SELECT 1"))

    assert seconds_until_busy(work) < 10

    hanging_proxy.go_on()
    assert distant.mark({"a": "put"}, 1.0)


def test_a_server_that_hangs_from_the_start(hanging_proxy: HangingProxy, postgres_url: str) -> None:
    hanging_proxy.hang()

    url = hanging_proxy.url("postgres")
    assert seconds_until_busy(lambda: Ledger.open(url, busy_seconds=BUSY_SECONDS)) < 20


def test_a_statement_may_take_longer_than_a_server_may_be_away(distant: Ledger) -> None:
    for _ in range(2):
        with distant._database.read() as connection:
            connection.execute(text("SELECT pg_sleep(1)"))


def test_a_statement_that_takes_too_long_is_ended_by_the_server(distant: Ledger) -> None:
    def work() -> None:
        with distant._database.read() as connection:
            connection.execute(text("SELECT pg_sleep(60)"))

    assert seconds_until_busy(work) < 10
    assert distant.rows() == []


def test_a_migration_may_take_its_time_and_nothing_after_it(
    distant: Ledger, hanging_proxy: HangingProxy
) -> None:
    with distant._database.write(turn="migrate") as connection:
        used = driver(connection)
        connection.execute(text("SELECT pg_sleep(2.5)"))
    assert used.patience_seconds == BUSY_SECONDS  # for the ping before its next use
    with distant._database.write() as connection:
        assert driver(connection) is used
        limit = connection.execute(text("SHOW statement_timeout")).scalar_one()

    assert limit == "1500ms"
    hanging_proxy.hang()
    assert seconds_until_busy(distant.rows) < 10


def test_a_peer_that_is_gone_is_found_by_tcp(
    distant: Ledger, hanging_proxy: HangingProxy, postgres_url: str
) -> None:
    with distant._database.read() as connection:
        with socket.socket(fileno=os.dup(driver(connection).fileno())) as ours:
            options = [
                ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
                ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
                ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
                ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
            ]
    assert options == [1, 1, 1, 3, 1000]


def test_what_the_url_says_of_connections_wins(postgres_url: str) -> None:
    ledger = Ledger.open(f"{postgres_url}&keepalives_idle=77&connect_timeout=33")
    with ledger._database.read() as connection:
        said = driver(connection).info.get_parameters()
    ledger.close()
    assert (said["keepalives_idle"], said["connect_timeout"]) == ("77", "33")
    assert said["tcp_user_timeout"] == "20000"


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("53100", DiskFull),
        ("40001", LedgerBusy),
        ("40P01", LedgerBusy),
        ("53300", LedgerBusy),
        ("57014", LedgerBusy),
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
