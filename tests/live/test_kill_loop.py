"""kill -9 at any moment of a service under load, again and again: promises 1 to 3 hold.

A writer puts, overwrites and deletes objects all the while and tells the service of most of it;
a reader looks at the files all the while. `KILL_ROUNDS=300` kills so often, `KILL_SEED` repeats.
"""

import fcntl
import os
import random
import secrets
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.support.fork_server import ForkServer
from tests.support.s3_server import S3Server
from tests.support.service_process import ForkedService, ServiceProcess
from tests.support.traffic import Busy, History, Reader, Writer, etag
from tests.support.world import eventually

ROUNDS = int(os.environ.get("KILL_ROUNDS", "20"))
pytestmark = pytest.mark.timeout(120 + 10 * ROUNDS)


class Loop:
    """One mirror and its bucket, one life of the service after the other."""

    def __init__(self, server: S3Server, forks: ForkServer, folder: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.history = History()
        self.root = folder / "mirror"
        self._server, self._forks, self._folder = server, forks, folder
        self._bucket = server.make_bucket()
        self.writer = Writer(server, self._bucket, self.history, seed)
        self.reader = Reader(self.root, self.history)

    @contextmanager
    def service(self, *, runs: bool) -> Iterator[ServiceProcess]:
        """A service that reconciles as it starts, or follows events alone."""
        with ForkedService(
            self._forks,
            self._server,
            self._bucket,
            self._folder,
            ENABLE_PERIODIC_SYNC=str(runs),
            DELETE_LIMIT_PERCENT="100",
        ) as service:
            try:
                yield service
            finally:
                self.writer.url = None

    def live_and_die(self) -> None:
        """One life: what was accepted before becomes current; then it ends at some moment."""
        with self.service(runs=self.random.random() < 0.5) as service:
            if self.random.random() < 0.2:  # not even up, or just so
                self._let_pass(self.random.randrange(40))
            else:
                self._catch_up(service)
                self._let_pass(self.random.choice([0, 1, 7, 20]))
            service.kill()
        self.assert_ledger_follows()

    def _let_pass(self, steps: int) -> None:
        """Wait until the writer has done so much more."""
        until = self.writer.steps + steps
        eventually(lambda: self.writer.steps >= until, 30)

    def _catch_up(self, service: ServiceProcess) -> None:
        accepted = dict(self.history.accepted)
        service.wait_until_up()
        self.writer.url = service.url
        eventually(lambda: self._holds(accepted), 30)
        eventually(lambda: orphans(self.root / ".datasync" / "staging") == [], 10)

    def _holds(self, accepted: dict[str, int]) -> bool:
        """Promise 3: every file is as new as what was accepted of it."""
        return all(
            self.history.is_at_least(key, self.root / key, number)
            for key, number in accepted.items()
        )

    def assert_ledger_follows(self) -> None:
        """Promise 2: no row tells of a version that the disk does not have yet."""
        for key, version, path in rows(self.root / ".datasync", self._folder / "copy"):
            number = self.history.number_of(key, version)
            assert self.history.is_at_least(key, self.root / path, number), key


def rows(internal: Path, copy: Path) -> list[tuple[str, str, str]]:
    """Key, ETag and path of each file that the ledger tells of; of a copy, so that the next
    start finds what the last one left."""
    copy.mkdir()
    try:
        for file in internal.glob("ledger.db*"):
            shutil.copy(file, copy)
        with closing(sqlite3.connect(copy / "ledger.db")) as connection:
            try:
                found = connection.execute("SELECT key, etag, path FROM objects WHERE path <> ''")
                return [(key.decode(), version, path.decode()) for key, version, path in found]
            except sqlite3.OperationalError as error:
                assert "no such table" in str(error)  # it died before it had made any
                return []
    finally:
        shutil.rmtree(copy)


def orphans(staging: Path) -> list[str]:
    """What is staged by nobody who lives."""
    names = [path.name for path in staging.iterdir()]
    tokens = {name.partition("-")[0].removesuffix(".owner") for name in names}
    dead = {token for token in tokens if not is_held(staging / f"{token}.owner")}
    return [name for name in names if name.partition("-")[0].removesuffix(".owner") in dead]


def is_held(owner: Path) -> bool:
    try:
        with owner.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


def test_kills_at_any_moment_under_load(
    seaweed: S3Server, fork_server: ForkServer, tmp_path: Path
) -> None:
    seed = int(os.environ.get("KILL_SEED") or secrets.randbelow(10**9))
    print(f"KILL_SEED={seed}")
    loop = Loop(seaweed, fork_server, tmp_path, seed)
    with Busy(loop.reader.step, 0.04) as reading:
        with Busy(loop.writer.step, 0.01) as writing:
            for _ in range(ROUNDS):
                loop.live_and_die()
                reading.check()
                writing.check()
        with loop.service(runs=True) as service:
            service.wait_until_up()
            eventually(service.caught_up, 60)
            found = {key: etag(body) for key, body in service.files().items()}
            assert found == loop.history.latest()
            assert service.terminate() == 0
    loop.writer.close()
    assert os.listdir(loop.root / ".datasync" / "staging") == []
    assert loop.reader.looks > ROUNDS
