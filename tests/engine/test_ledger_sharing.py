"""What every ledger does for many threads and processes at once, and how it starts and ends."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text
from sqlalchemy.pool import QueuePool

from datasync.errors import LedgerBusy, LedgerError
from datasync.models.sync_models import EventNote, RunKind, Settlement
from datasync.services.storage.ledger import Ledger
from datasync.services.storage.ledger.sqlite_backend import SqliteBackend
from datasync.services.storage.ledger.tables import metadata
from tests.engine.test_ledger_objects import put, row

OPEN_AND_MARK = """
import sys
from datasync.models.sync_models import EventNote, RunKind
from datasync.services.storage.ledger import Ledger
url, name = sys.argv[1:]
ledger = Ledger.open(url)
for number in range(20):
    ledger.journal(
        [EventNote(key, name, 1.0) for key in (f"{name}/{number}", "shared")], {"event.queued": 2}
    )
run, new = ledger.request_run(RunKind.RECONCILE, "", 1.0)
ledger.close()
print(run.id, new)
"""
MARK_AND_DIE = """
import os, signal, sys
from datasync.services.storage.ledger import Ledger
ledger = Ledger.open(sys.argv[1])
ledger.mark({"a": "put"}, 1.0)
os.kill(os.getpid(), signal.SIGKILL)
"""
USE_AFTER_FORK = """
import os, sys
from datasync.errors import LedgerError
from datasync.services.storage.ledger import Ledger
ledger = Ledger.open(sys.argv[1])
child = os.fork()
if not child:
    try:
        ledger.get("a")
    except LedgerError as error:
        os._exit(7 if "forked" in str(error) else 8)
    os._exit(9)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
ledger.mark({"a": "put"}, 1.0)
ledger.close()
sys.exit(status)
"""


def python(code: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True
    )


def open_connections(ledger: Ledger) -> int:
    """Of those that are not in use; a slot of the pool may have none."""
    pool = ledger._database._engine.pool
    assert isinstance(pool, QueuePool)
    records = [pool._pool.get(False) for _ in range(pool.checkedin())]
    for record in records:
        pool._pool.put(record)
    return sum(record.dbapi_connection is not None for record in records)


class SharingContract:
    def test_processes_that_start_at_once_share_one_ledger(self, url: str) -> None:
        started = [python(OPEN_AND_MARK, url, f"p{number}") for number in range(4)]
        answers = [process.communicate(timeout=60)[0].split() for process in started]
        assert [process.returncode for process in started] == [0] * 4
        ledger = Ledger.open(url)
        try:
            assert ledger.dirty_count() == 4 * 20 + 1
            assert ledger.event_totals().by_status == {"queued": 160}
            assert ledger.event_totals().duplicates == 79
            assert len({run_id for run_id, _ in answers}) == 1
            assert sorted(new for _, new in answers) == ["False"] * 3 + ["True"]
        finally:
            ledger.close()

    def test_it_relaxes_while_others_use_it(self, ledger: Ledger) -> None:
        def mark(thread: int) -> None:
            for number in range(20):
                ledger.mark({f"{thread}/{number}": "put"}, 1.0)
                assert ledger.dirty([f"{thread}/{number}"])

        with ThreadPoolExecutor(5) as threads:
            work = [threads.submit(mark, number) for number in range(4)]
            for _ in range(20):
                wait(work, 0.01)
                ledger.relax()
            for each in work:
                each.result()
        assert ledger.dirty_count() == 80

    def test_what_is_read_while_it_relaxes_is_read_to_its_end(self, ledger: Ledger) -> None:
        put(ledger, row("a"))
        with ledger._database.read(snapshot=True) as connection:
            ledger.relax()
            assert connection.execute(text("SELECT count(*) FROM objects")).scalar() == 1
        before = open_connections(ledger)
        ledger.relax()
        is_ours = isinstance(ledger._database.backend, SqliteBackend)  # a server has its own memory
        assert before and open_connections(ledger) == (0 if is_ours else before)
        assert ledger.get("a") is not None

    def test_a_mark_survives_the_death_of_its_process(self, url: str) -> None:
        with python(MARK_AND_DIE, url) as process:
            assert process.wait(60) == -9
        ledger = Ledger.open(url)
        assert set(ledger.dirty(["a"])) == {"a"}
        ledger.close()

    def test_a_forked_process_may_not_use_it(self, url: str) -> None:
        with python(USE_AFTER_FORK, url) as process:
            assert process.wait(60) == 7

    def test_threads_mark_and_settle_side_by_side(self, ledger: Ledger) -> None:
        def work(thread: int) -> None:
            for number in range(10):
                key = f"{thread}/{number}"
                notes = [EventNote(key, "put", 1.0), EventNote("shared", "put", 1.0)]
                ledger.journal(notes, {"event.queued": 1})
                mark = ledger.dirty([key])[key]
                ledger.settle(Settlement(rows=(row(key),), cleared=(mark,)))
                assert ledger.get(key) == row(key)
                ledger.totals()

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
        totals = ledger.totals()
        assert (totals.objects, totals.pending) == (80, 1)
        assert ledger.event_totals().by_status == {"queued": 80}

    def test_marks_of_threads_never_share_a_number(self, ledger: Ledger) -> None:
        with ThreadPoolExecutor(8) as pool:
            numbers = list(pool.map(lambda n: ledger.mark({"a": "put"}, 1.0)["a"], range(40)))
        assert len(set(numbers)) == 40
        assert ledger.dirty(["a"])["a"].marks == max(numbers)

    def test_one_of_many_requests_makes_the_run(self, ledger: Ledger) -> None:
        with ThreadPoolExecutor(8) as pool:
            asked = list(
                pool.map(lambda n: ledger.request_run(RunKind.RECONCILE, "", 1.0), range(24))
            )
        assert sum(new for _, new in asked) == 1
        assert len({run.id for run, _ in asked}) == 1

    def test_readers_do_not_wait_for_a_writer_nor_see_half_of_it(
        self, url: str, ledger: Ledger
    ) -> None:
        put(ledger, row("a", size=1))
        other = create_engine(url)
        with other.connect() as writer:
            writer.execute(text("UPDATE objects SET size = 2, etag = 'new'"))
            assert ledger.get("a") == row("a", size=1)
            assert ledger.totals().objects == 1
            writer.rollback()
        other.dispose()

    def test_a_writer_that_waits_too_long_is_told_so(self, url: str, ledger: Ledger) -> None:
        impatient = Ledger.open(url, busy_seconds=0.05)
        other = create_engine(url)
        with other.connect() as holder:
            holder.execute(text("DELETE FROM figures"))
            if other.dialect.name == "postgresql":
                holder.execute(text("LOCK TABLE figures, dirty"))
            with pytest.raises(LedgerBusy) as caught:
                impatient.mark({"a": "put"}, 1.0)
            assert caught.value.retryable
            holder.rollback()
        assert impatient.mark({"a": "put"}, 1.0)
        other.dispose()
        impatient.close()

    def test_a_waiting_writer_goes_on_when_the_other_is_done(
        self, url: str, ledger: Ledger
    ) -> None:
        other = create_engine(url)
        with other.connect() as holder, ThreadPoolExecutor(1) as pool:
            holder.execute(text("DELETE FROM figures"))
            entered = threading.Event()

            def mark() -> dict[str, int]:
                entered.set()
                return ledger.mark({"a": "put"}, 1.0)

            waiting = pool.submit(mark)
            assert entered.wait(10)
            holder.rollback()
            assert set(waiting.result(30)) == {"a"}
        other.dispose()

    def test_every_connection_in_use_is_busy(self, url: str) -> None:
        ledger = Ledger.open(url, busy_seconds=0.05)

        def nested(depth: int) -> None:
            with ledger._database.read() as connection:
                connection.execute(text("SELECT 1"))
                nested(depth + 1)

        with pytest.raises(LedgerBusy, match="in use"):
            nested(0)
        assert ledger.rows() == []
        ledger.close()

    def test_what_was_written_is_there_when_it_opens_again(self, url: str) -> None:
        for attempt in range(3):
            ledger = Ledger.open(url)
            assert not ledger.rebuilt
            assert len(ledger.rows()) == attempt
            put(ledger, row(f"k{attempt}"))
            ledger.close()

    def test_a_closed_ledger_says_so(self, url: str) -> None:
        ledger = Ledger.open(url)
        ledger.close()
        with pytest.raises(LedgerError, match="closed"):
            ledger.totals()

    def test_a_ledger_of_a_newer_version_is_left_alone(self, url: str, ledger: Ledger) -> None:
        put(ledger, row("a"))
        other = create_engine(url)
        with other.begin() as connection:
            connection.execute(text("UPDATE ledger_version SET version_num = '9999'"))
        with pytest.raises(LedgerError, match="another version"):
            Ledger.open(url)
        assert ledger.rows() == [row("a")]
        other.dispose()

    def test_a_ledger_without_traces_gets_their_column_and_keeps_its_marks(
        self, url: str, ledger: Ledger
    ) -> None:
        ledger.mark({"a": "put"}, 1.0)
        before = ledger.dirty(["a"])
        ledger.close()
        other = create_engine(url)
        with other.begin() as connection:
            connection.execute(text("DROP INDEX objects_unsynced"))  # of a later version
            connection.execute(text("ALTER TABLE dirty DROP COLUMN traceparent"))
            connection.execute(text("UPDATE ledger_version SET version_num = '0005'"))
        other.dispose()
        again = Ledger.open(url)
        assert again.dirty(["a"]) == before
        traced = EventNote("a", "put", 2.0, traceparent=f"00-{'1' * 32}-{'b' * 16}-01")
        again.journal([traced], {})
        assert again.dirty(["a"])["a"].traceparent == traced.traceparent
        again.close()

    def test_the_migrations_make_the_tables_that_the_code_knows(
        self, url: str, ledger: Ledger
    ) -> None:
        other = create_engine(url)
        with other.connect() as connection:
            options = {"version_table": "ledger_version"}
            context = MigrationContext.configure(connection, opts=options)
            assert compare_metadata(context, metadata) == []
        other.dispose()
