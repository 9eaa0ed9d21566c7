"""A ledger that was lost, damaged or replaced is built anew from files and bucket.

Whatever became of it: no file goes, none is downloaded needlessly, and the next run is equal.
"""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from datasync.errors import LedgerError
from datasync.models.sync_models import RunStatus
from datasync.services.storage.ledger import Ledger, sqlite_url
from datasync.utils.logger import close_logging, configure_logging
from tests.support import fail
from tests.support.command_line import CommandLine
from tests.support.world import World

COUNT = 40


def filled(world: World) -> None:
    for number in range(COUNT):
        world.bucket.put(f"data/{number:02}", b"x" * (number + 1))
    world.bucket.put("parts", os.urandom(5000), part_size=1000)
    assert world.sync().status is RunStatus.SUCCESS


def ledger_file(world: World) -> Path:
    return world.root / ".datasync" / "ledger.db"


def cut_log(file: Path) -> None:
    """Leave the latest commits in a log that ends in the middle of one, as a crash does."""
    log = file.with_name("ledger.db-wal")
    os.truncate(log, log.stat().st_size * 2 // 3 + 100)


def lose_log(file: Path) -> None:
    file.with_name("ledger.db-wal").unlink()


def spoil_pages(file: Path) -> None:
    with open(file, "r+b") as stream:
        stream.seek(4096)
        stream.write(b"\xa5" * 4096 * 30)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "removed": Path.unlink,
    "empty": lambda file: os.truncate(file, 0),
    "cut in half": lambda file: os.truncate(file, file.stat().st_size // 2),
    "no database": lambda file: file.write_bytes(b"<html>quota exceeded</html>" * 500),
    "log cut": cut_log,
    "log lost": lose_log,
    "pages spoiled": spoil_pages,
}


def crashed_copy(world: World) -> None:
    """Stop as `kill -9` does: the database and its log stay as they are, the log not merged."""
    folder = world.root / ".datasync"
    kept = world.folder / "kept"
    kept.mkdir()
    for path in folder.glob("ledger.db*"):
        shutil.copy(path, kept)
    world.close()
    for path in folder.glob("ledger.db*"):
        path.unlink()
    for path in kept.iterdir():
        shutil.copy(path, folder)


@pytest.mark.parametrize("damage", DAMAGES)
def test_it_is_rebuilt_without_a_delete_or_a_download(world: World, damage: str) -> None:
    filled(world)
    tree, gets = world.tree(), world.bucket.counts["get"]
    if damage.startswith("log"):
        crashed_copy(world)
    else:
        world.close()  # all of it is in the one file: no log makes good what is damaged
    DAMAGES[damage](ledger_file(world))
    world.open()
    for _ in range(2):  # damage that is found only later takes one start more
        try:
            run = world.sync()
            if run.status is RunStatus.SUCCESS:
                break
        except LedgerError as error:
            assert "Restart" in error.hint
        world.reopen()
    world.assert_equal()
    assert (world.tree(), world.trash()) == (tree, [])
    assert world.bucket.counts["get"] == gets
    assert world.sync().counts.planned == 0
    assert world.in_sync


def test_objects_that_went_meanwhile_leave_their_files_which_are_nobodys(world: World) -> None:
    filled(world)
    world.bucket.delete("data/00")
    world.lose_ledger()
    assert world.sync().status is RunStatus.SUCCESS
    assert world.file("data/01").exists() and (world.root / "data/00").exists()
    assert world.trash() == []


def test_a_ledger_that_is_removed_under_a_service_deletes_nothing(world: World) -> None:
    filled(world)
    tree = world.tree()
    for number in range(5):
        world.bucket.delete(f"data/{number:02}")
    ledger_file(world).unlink()
    with pytest.raises(LedgerError, match="removed or replaced"):
        world.sync()
    assert world.tree() == tree
    world.reopen()
    assert world.sync().status is RunStatus.SUCCESS
    assert (world.tree(), world.trash()) == (tree, [])


def test_a_ledger_that_is_removed_while_a_run_plans_its_deletes(world: World) -> None:
    filled(world)
    tree = world.tree()
    world.bucket.put("late", b"x")
    world.bucket.delete("data/00")
    world.bucket.script("late", fail.before(ledger_file(world).unlink))
    with pytest.raises(LedgerError):
        world.sync()
    assert tree.items() <= world.tree().items()
    assert world.trash() == []


def test_an_old_backup_of_it_deletes_nothing_that_came_since(world: World) -> None:
    filled(world)
    world.close()
    backup = world.folder / "backup.db"
    shutil.copy(ledger_file(world), backup)
    world.open()
    world.bucket.put("data/00", b"changed since the backup")
    world.bucket.put("new", b"came since")
    world.bucket.delete("data/01")
    assert world.sync().status is RunStatus.SUCCESS
    tree, gets = world.tree(), world.bucket.counts["get"]
    world.close()
    for path in ledger_file(world).parent.glob("ledger.db*"):
        path.unlink()
    shutil.copy(backup, ledger_file(world))
    world.open()
    run = world.sync()
    assert run.status is RunStatus.SUCCESS
    assert (world.tree(), world.trash()) == (tree, ["data/01"])  # that one went before
    assert world.bucket.counts["get"] - gets <= 1  # `data/01` is asked for, and gone
    world.assert_equal()


def test_the_database_of_another_program_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "app.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE objects (id INTEGER, theirs TEXT)")
        connection.execute("INSERT INTO objects VALUES (1, 'precious')")
        connection.commit()
    before = file.read_bytes()
    with pytest.raises(LedgerError, match="of another program") as caught:
        Ledger.open(sqlite_url(file))
    assert "DATABASE_URL" in caught.value.hint
    assert file.read_bytes() == before
    assert not list(tmp_path.glob("*.corrupt-*"))


def test_that_it_was_built_anew_is_told(
    command_line: CommandLine, capsys: pytest.CaptureFixture[str]
) -> None:
    command_line.bucket.put("a", b"x")
    assert command_line("sync").code == 0
    (command_line.root / ".datasync" / "ledger.db").write_bytes(b"no database" * 999)
    configure_logging("INFO", None, "json")
    try:
        capsys.readouterr()
        command_line.parts().close()
    finally:
        close_logging()
    assert "the ledger was damaged" in capsys.readouterr().err
