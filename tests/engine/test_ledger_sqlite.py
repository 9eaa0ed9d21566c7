"""The SQLite ledger alone: damage, removal, full disks, durability, bad URLs, the spool."""

import os
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, event

from datasync.errors import DiskFull, LedgerBusy, LedgerError
from datasync.models.sync_models import ListedObject, RunKind, Settlement, State
from datasync.services.storage.ledger import Ledger, migrating, opening, spool, sqlite_url
from datasync.services.storage.ledger.tables import successor
from tests.engine.test_ledger_objects import KEYS, SHARED, put, row


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / ".datasync" / "ledger.db"


@pytest.fixture
def ledger(file: Path) -> Iterator[Ledger]:
    ledger = Ledger.open(f"sqlite:///{file}")
    yield ledger
    ledger.close()


@contextmanager
def listening(name: str, function: Any) -> Iterator[None]:
    """Hear an event of every SQLAlchemy engine for a while."""
    event.listen(Engine, name, function)
    try:
        yield
    finally:
        event.remove(Engine, name, function)


def filled(file: Path, count: int = 2_000) -> None:
    ledger = Ledger.open(f"sqlite:///{file}")
    put(ledger, *(row(f"k{number:05d}") for number in range(count)))
    ledger.close()


def aside(file: Path) -> list[str]:
    return sorted(path.name for path in file.parent.glob("ledger.db.corrupt-*"))


class TestDamage:
    @pytest.mark.parametrize("content", [b"not a database at all " * 100, os.urandom(8192)])
    def test_a_file_that_is_no_database_is_set_aside(self, file: Path, content: bytes) -> None:
        file.parent.mkdir()
        file.write_bytes(content)
        ledger = Ledger.open(f"sqlite:///{file}")
        assert ledger.rebuilt
        put(ledger, row("a"))
        ledger.close()
        (kept,) = aside(file)
        assert (file.parent / kept).read_bytes() == content
        again = Ledger.open(f"sqlite:///{file}")
        assert not again.rebuilt and again.rows() == [row("a")]
        again.close()

    def test_a_broken_schema_is_found_at_the_start(self, file: Path) -> None:
        filled(file)
        with open(file, "r+b") as stream:
            stream.seek(100)
            stream.write(b"\xff" * 3_996)
        ledger = Ledger.open(f"sqlite:///{file}")
        assert ledger.rebuilt and ledger.rows() == []
        ledger.close()

    def test_damage_found_later_is_repaired_by_the_next_start(self, file: Path) -> None:
        filled(file)
        with open(file, "r+b") as stream:
            stream.seek(0, os.SEEK_END)
            pages = stream.tell() // 4096
            for page in range(pages // 2, pages):  # not those that an opening looks at
                stream.seek(page * 4096)
                stream.write(b"\xa5" * 4096)
        ledger = Ledger.open(f"sqlite:///{file}")
        assert not ledger.rebuilt
        with pytest.raises(LedgerError, match="malformed") as caught:
            ledger.rows(limit=5_000)
        assert "Restart" in caught.value.hint and not isinstance(caught.value, LedgerBusy)
        ledger.close()
        again = Ledger.open(f"sqlite:///{file}")
        assert again.rebuilt and again.rows() == []
        again.close()
        assert aside(file)
        third = Ledger.open(f"sqlite:///{file}")
        assert not third.rebuilt
        third.close()

    def test_damage_twice_in_a_second_keeps_both_files(self, file: Path) -> None:
        file.parent.mkdir()
        for content in (b"first" * 1000, b"second" * 1000, b"third" * 1000):
            file.write_bytes(content)
            ledger = Ledger.open(f"sqlite:///{file}")
            assert ledger.rebuilt
            ledger.close()
        assert len([name for name in aside(file) if not name.endswith(("-wal", "-shm"))]) == 3

    def test_damage_in_a_folder_that_is_gone_is_still_an_error_of_ours(
        self, file: Path, ledger: Ledger
    ) -> None:
        fault = sqlite3.DatabaseError("database disk image is malformed")
        fault.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        file.parent.rename(file.parent.with_name("moved"))
        with pytest.raises(LedgerError, match="so is its folder"):
            raise ledger._database.backend.translate(fault)
        file.parent.with_name("moved").rename(file.parent)

    @pytest.mark.parametrize("replace", [False, True])
    def test_a_ledger_removed_while_in_use_takes_no_more_marks(
        self, file: Path, ledger: Ledger, replace: bool
    ) -> None:
        ledger.mark({"a": "put"}, 1.0)
        file.unlink()
        if replace:
            file.write_bytes(b"")
        with pytest.raises(LedgerError, match="removed or replaced") as caught:
            ledger.mark({"b": "put"}, 1.0)
        assert "Restart" in caught.value.hint


class TestDisk:
    def test_a_full_disk_is_named_and_loses_nothing(self, file: Path) -> None:
        filled(file, 10)

        def shrink(connection: Any, _record: object) -> None:
            connection.execute("PRAGMA max_page_count=40")

        with listening("connect", shrink):
            ledger = Ledger.open(f"sqlite:///{file}")
            with pytest.raises(DiskFull, match="full"):
                put(ledger, *(row(f"more{number}") for number in range(5_000)))
            with pytest.raises(DiskFull):
                ledger.mark({f"more{number}": "put" for number in range(5_000)}, 1.0)
            assert len(ledger.rows()) == 10
            assert ledger.mark({"one": "put"}, 1.0)
            ledger.close()

    def test_marks_reach_the_disk_before_the_answer_and_settlements_later(
        self, ledger: Ledger
    ) -> None:
        levels: list[int] = []

        def note(connection: Any) -> None:
            cursor = connection.connection.cursor()
            levels.append(cursor.execute("PRAGMA synchronous").fetchone()[0])
            cursor.close()

        normal, full = 1, 2
        with listening("begin", note):
            ledger.mark({"a": "put"}, 1.0)
            put(ledger, row("a"))
            run, _ = ledger.request_run(RunKind.RECONCILE, "", 1.0)
            ledger.cancel(run.id, 2.0)
        assert levels == [full, normal, full, full]

    def test_it_is_kept_in_wal_mode_and_scans_no_table_for_its_figures(
        self, file: Path, ledger: Ledger
    ) -> None:
        seen: list[str] = []
        few = 0

        def note(statement: str) -> None:
            if statement.startswith("SELECT"):
                seen.append(statement)

        def watch(connection: sqlite3.Connection, *_: object) -> None:
            connection.set_trace_callback(note)

        put(ledger, *(row(f"k{n}", State.FAILED if n % 2 else State.SYNCED) for n in range(50)))
        ledger.mark({"k1": "put"}, 1.0)
        ledger.settle(Settlement())
        with listening("checkout", watch):
            ledger.totals()
            ledger.failures()
            ledger.rows(after="k1", states=[State.ARCHIVED, State.OVERSIZE])
            ledger.outcomes(run_id=3)
            ledger.due(1.0, 5)
            ledger.forget_outside("k")
        with sqlite3.connect(file) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            for statement in seen:
                plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
                steps = [step[3] for step in plan]
                assert not {"SCAN objects", "SCAN dirty", "SCAN outcomes"} & set(steps), statement
                if State.ARCHIVED.value in statement:
                    assert steps == ["SEARCH objects USING INDEX objects_unsynced (key>?)"]
                    few += 1
        connection.close()
        assert few == 1
        assert len(seen) > 8 and any("FROM dirty" in statement for statement in seen)

    def test_a_folder_that_cannot_be_made_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(LedgerError, match="cannot be made") as caught:
            Ledger.open(f"sqlite:///{tmp_path}/not/mounted/ledger.db")
        assert "LOCAL_DOWNLOAD_DIR" in caught.value.hint
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_in_the_place_of_the_file_is_an_error(self, file: Path) -> None:
        file.mkdir(parents=True)
        with pytest.raises(LedgerError, match="ledger.db"):
            Ledger.open(f"sqlite:///{file}")
        assert file.is_dir()

    def test_a_folder_in_the_place_of_the_lock_is_an_error(self, file: Path) -> None:
        file.with_name("ledger.db.lock").mkdir(parents=True)
        with pytest.raises(LedgerError, match="lock cannot be opened"):
            Ledger.open(f"sqlite:///{file}")

    def test_a_path_that_became_unreadable_is_an_error(self, file: Path, ledger: Ledger) -> None:
        file.parent.rename(file.parent.with_name("moved"))
        file.parent.write_bytes(b"")
        with pytest.raises(LedgerError, match="cannot be read"):
            ledger.get("a")

    def test_another_process_that_opens_forever_is_waited_for_only_so_long(
        self, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(opening, "OPEN_SECONDS", 0.05)
        file.parent.mkdir()
        with opening._alone(file), pytest.raises(LedgerBusy, match="opening"):
            Ledger.open(f"sqlite:///{file}")

    def test_what_sqlite_refuses_is_an_error_of_ours(self, ledger: Ledger) -> None:
        with pytest.raises(LedgerError, match="nonsense"), ledger._database.read() as connection:
            connection.exec_driver_sql("SELECT nonsense")

    def test_a_ledger_that_cannot_be_written_says_what_to_do(self, file: Path) -> None:
        def for_reading(*_: object) -> sqlite3.Connection:
            return sqlite3.connect(f"file:{file}?mode=ro", uri=True, check_same_thread=False)

        filled(file, 3)
        with (
            listening("do_connect", for_reading),
            pytest.raises(LedgerError, match="readonly") as caught,
        ):
            Ledger.open(f"sqlite:///{file}")
        assert "writable" in caught.value.hint
        ledger = Ledger.open(f"sqlite:///{file}")
        assert not ledger.rebuilt and len(ledger.rows()) == 3
        ledger.close()

    def test_a_thread_that_writes_too_long_makes_others_busy(self, file: Path) -> None:
        ledger = Ledger.open(f"sqlite:///{file}", busy_seconds=0.05)
        with ledger._database.write(), pytest.raises(LedgerBusy, match="another thread"):
            ledger.mark({"a": "put"}, 1.0)
        ledger.close()


class TestUrl:
    @pytest.mark.parametrize(
        "url",
        [
            "",
            "nonsense hunter2",
            "mysql://joe:hunter2@db/x",
            "postgresql+asyncpg://joe:hunter2@db/x",
            "postgresql://joe:hunter2@db:port/x",
            "sqlite://",
            "sqlite:///:memory:",
            "sqlite:///file:x?mode=memory&uri=true",
        ],
    )
    def test_a_url_of_nothing_usable_is_refused_without_repeating_it(self, url: str) -> None:
        with pytest.raises(LedgerError) as caught:
            Ledger.open(url)
        assert "hunter2" not in str(caught.value) + caught.value.hint
        assert caught.value.__cause__ is None and "example" in caught.value.hint

    def test_a_relative_path_stays_what_it_was_at_the_start(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        ledger = Ledger.open("sqlite:///ledger.db")
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        put(ledger, row("a"))
        ledger.close()
        assert (tmp_path / "ledger.db").exists()
        assert list((tmp_path / "elsewhere").iterdir()) == []

    def test_a_path_with_signs_of_its_own_is_only_a_path(self, tmp_path: Path) -> None:
        for name in ("50% full", "a b?c#d", "%(here)s"):
            (tmp_path / name).mkdir()
            ledger = Ledger.open(sqlite_url(tmp_path / name / "ledger.db"))
            ledger.close()
            assert (tmp_path / name / "ledger.db").exists()


def listed(key: str, size: int = 1, problem: str | None = None) -> ListedObject:
    return ListedObject(key, size, "etag", 1_700_000_000, "GLACIER", size > 1, problem)


class TestSpool:
    @SHARED
    @given(keys=st.lists(KEYS, max_size=30))
    def test_any_order_comes_out_in_byte_order_without_duplicates(
        self, ledger: Ledger, keys: list[str]
    ) -> None:
        with ledger.spool() as spool:
            for size, key in enumerate(keys):
                spool.add([listed(key, size)])
            found = [entry for page in spool.pages() for entry in page]
        last = {key: listed(key, size) for size, key in enumerate(keys)}
        assert found == [last[key] for key in sorted(last, key=str.encode)]

    def test_pages_are_bounded_and_nothing_is_left(self, file: Path, ledger: Ledger) -> None:
        keys = [f"k{number:05d}" for number in range(4_500)]
        random.Random(7).shuffle(keys)
        before = sorted(os.listdir(file.parent))
        with ledger.spool() as spool:
            spool.add([listed(key, problem="too long") for key in keys])
            assert sorted(os.listdir(file.parent)) == before
            pages = list(spool.pages())
        assert [len(page) for page in pages] == [1000, 1000, 1000, 1000, 500]
        assert [entry.key for page in pages for entry in page] == sorted(keys)
        assert pages[0][0].problem == "too long"
        assert sorted(os.listdir(file.parent)) == before

    def test_it_works_in_its_context_only(self, ledger: Ledger) -> None:
        spool = ledger.spool()
        with pytest.raises(LedgerError, match="not open"):
            spool.add([listed("a")])
        with spool:
            spool.add([listed("a")])
        with pytest.raises(LedgerError, match="not open"):
            list(spool.pages())

    def test_a_folder_that_is_gone_is_an_error(self, file: Path, ledger: Ledger) -> None:
        file.parent.rename(file.parent.with_name("moved"))
        with pytest.raises(LedgerError, match="scratch"), ledger.spool():
            pass

    def test_one_that_cannot_be_prepared_leaves_nothing_open(
        self, file: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(spool, "_TABLE", "CREATE nonsense")
        before = sorted(os.listdir(file.parent)), len(os.listdir("/proc/self/fd"))
        with pytest.raises(LedgerError, match="cannot be sorted") as caught, ledger.spool():
            pass
        assert (sorted(os.listdir(file.parent)), len(os.listdir("/proc/self/fd"))) == before
        assert caught.value.__cause__ is not None  # its frames are alive still

    def test_a_full_disk_is_named(self, ledger: Ledger) -> None:
        with ledger.spool() as spool:
            spool._open().execute("PRAGMA max_page_count=10")
            with pytest.raises(DiskFull, match="sorted"):
                spool.add([listed(f"key{number}") for number in range(5_000)])

    def test_what_sqlite_refuses_is_an_error_of_ours(self, ledger: Ledger) -> None:
        with ledger.spool() as spool:
            spool._open().execute("DROP TABLE listed")
            with pytest.raises(LedgerError, match="cannot be sorted"):
                list(spool.pages())


@pytest.mark.parametrize(
    ("prefix", "end"),
    [(b"", None), (b"a", b"b"), (b"a\xff", b"b"), (b"\xff\xff", None), (b"a\x00", b"a\x01")],
)
def test_the_successor_of_a_prefix(prefix: bytes, end: bytes | None) -> None:
    assert successor(prefix) == end


def _made_of(path: Path) -> list[tuple[object, ...]]:
    """Every table and index of a file as SQLite has it, but for the spaces between words."""
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
        versions = connection.execute("SELECT version_num FROM ledger_version").fetchall()
    return [*sorted((*row[:3], "".join((row[3] or "").split())) for row in found), *versions]


def test_a_new_ledger_is_what_the_migrations_make(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, migrated = tmp_path / "new.db", tmp_path / "migrated.db"
    Ledger.open(sqlite_url(new)).close()
    monkeypatch.setattr(migrating, "_made", lambda database: False)
    Ledger.open(sqlite_url(migrated)).close()
    assert _made_of(new) == _made_of(migrated)
    assert len(_made_of(new)) > 15


def test_a_file_with_tables_is_migrated_from_where_it_is(tmp_path: Path) -> None:
    """An interrupted downgrade leaves a version table without a version, beside other tables."""
    path = tmp_path / "ledger.db"
    Ledger.open(sqlite_url(path)).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM ledger_version")
    with pytest.raises(LedgerError, match="already exists"):
        Ledger.open(sqlite_url(path))


def test_the_latest_version_is_the_last_step(file: Path) -> None:
    """Else each start would load Alembic for nothing, or leave the last step undone."""
    head = ScriptDirectory(str(migrating.MIGRATIONS)).get_current_head()
    assert migrating.LATEST == head
    assert migrating.LATEST in migrating.known_versions()
    Ledger.open(f"sqlite:///{file}").close()
    assert opening.inspect_database(f"sqlite:///{file}", 1.0).found == head
