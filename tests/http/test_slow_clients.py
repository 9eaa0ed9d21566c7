"""Clients that say nothing, go slowly, never end or never read; and too many of them at once.

The bounds are shortened, not waited for.
"""

import os
import resource
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from datasync.api import connections
from tests.http.test_process import GUNICORN, ROOT, SERVER, started, working
from tests.support import fail
from tests.support.attacks import CLOSE, HOST, Route, request
from tests.support.fake_bucket import FakeBucket
from tests.support.raw_http import Answer, answers, connect, exchange, received
from tests.support.servers import free_ports
from tests.support.service import Service, Starter
from tests.support.world import eventually

SOON = 0.15
PING = request(Route("GET", "/ping"))
KEPT = PING.replace(CLOSE, b"")
Shorten = Callable[..., None]


@pytest.fixture
def shorten(monkeypatch: pytest.MonkeyPatch) -> Shorten:
    """Makes bounds of the connections pass soon."""

    def to(seconds: float = SOON, *names: str) -> None:
        for name in names:
            monkeypatch.setattr(connections, f"{name}_SECONDS", seconds)

    return to


def trickled(port: int, start: bytes, drip: bytes = b"a") -> list[Answer]:
    """What is answered while one drip after the other is sent, for as long as there is a reader."""
    with connect(port) as connection:
        connection.sendall(start)
        connection.settimeout(0.01)
        deadline, data = time.monotonic() + 10, b""
        while time.monotonic() < deadline:
            try:
                connection.sendall(drip)
                if not (piece := connection.recv(65536)):
                    return list(answers(data))
                data += piece
            except TimeoutError:
                continue
            except ConnectionError:
                return list(answers(data))
    raise AssertionError("it may go on for ever")


def assert_refused(found: list[Answer], status: int, name: str) -> None:
    [answer] = found
    assert (answer.status, answer.json()["error"]) == (status, name)
    assert set(answer.json()) == {"error", "detail", "hint"}
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["connection"] == "close"


def test_a_head_that_comes_by_the_byte_is_given_up(service: Service, shorten: Shorten) -> None:
    shorten(SOON, "HEAD")
    for start in (b"GET /", b"GET /ping HTTP/1.1\r\nHost: localhost\r\nX-A: "):
        assert_refused(trickled(service.port, start), 408, "RequestTimeout")


def test_a_connection_that_says_nothing_is_closed(service: Service, shorten: Shorten) -> None:
    shorten(SOON, "HEAD")
    with connect(service.port) as connection:
        assert received(connection) == b""


def test_empty_lines_do_not_keep_a_connection(service: Service, shorten: Shorten) -> None:
    shorten(SOON, "HEAD")
    assert trickled(service.port, b"\r\n", b"\r\n") == []
    [answer] = trickled(service.port, KEPT, b"\r\n")
    assert answer.status == 200


def test_a_second_head_has_its_bound_as_well(service: Service, shorten: Shorten) -> None:
    shorten(SOON, "HEAD")
    first, second = trickled(service.port, KEPT + b"GET /ping HTTP/1.1\r\nX-A: ")
    assert (first.status, second.status) == (200, 408)


@pytest.mark.parametrize("path", ["/sync/s3-notification", "/sync/failures/retry", "/sync/trigger"])
def test_a_body_that_comes_by_the_byte_is_given_up(
    service: Service, shorten: Shorten, path: str
) -> None:
    shorten(SOON, "BODY")
    start = request(Route("POST", path), b"Content-Length: 100000")
    assert_refused(trickled(service.port, start), 408, "RequestTimeout")
    chunked = request(Route("POST", path), b"Transfer-Encoding: chunked")
    assert_refused(trickled(service.port, chunked, b"1\r\na\r\n"), 408, "RequestTimeout")
    eventually(lambda: service.answered(499) == 2)
    assert "unexpected error" not in service.log()


def test_what_follows_a_refused_body_is_not_read_for_ever(
    start_service: Starter, shorten: Shorten
) -> None:
    shorten(SOON, "LINGER")
    service = start_service(api_keys=("key",))
    start = request(Route("POST", "/sync/s3-notification"), b"Transfer-Encoding: chunked")
    [answer] = trickled(service.port, start.replace(CLOSE, b""), b"1\r\na\r\n")
    assert answer.status == 401


def test_a_head_without_end_is_refused(service: Service) -> None:
    start = b"GET /ping?" + b"a" * 1000 + b" HTTP/1.1\r\n" + HOST
    line = b"X-A: " + b"b" * 1000 + b"\r\n"
    assert_refused(trickled(service.port, start, line), 431, "HeadTooLarge")
    assert_refused(trickled(service.port, b"GET /", b"a" * 1000), 431, "HeadTooLarge")


def test_a_body_without_end_is_refused(service: Service) -> None:
    chunk = b"10000\r\n" + b"a" * 65536 + b"\r\n"
    for path in ("/sync/s3-notification", "/sync/failures/retry", "/sync/trigger"):
        start = request(Route("POST", path), b"Transfer-Encoding: chunked")
        [answer] = trickled(service.port, start, chunk)
        assert (answer.status, answer.json()["error"]) == (413, "PayloadTooLarge")


def test_who_waits_for_an_answer_is_not_late(start_service: Starter, shorten: Shorten) -> None:
    """Neither is one whose next request came in half meanwhile."""
    shorten(SOON, "HEAD", "BODY")
    bucket, gate = FakeBucket(), threading.Event()
    bucket.script_list(fail.pause_until(gate))
    service = start_service(bucket)
    with connect(service.port) as connection:
        connection.sendall(request(Route("POST", "/sync/trigger")).replace(CLOSE, b""))
        connection.sendall(PING[:20])
        connection.settimeout(6 * SOON)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        gate.set()
        connection.settimeout(10)
        connection.sendall(PING[20:])
        assert [answer.status for answer in answers(received(connection))] == [200, 200]


# Readers


@pytest.fixture
def big(start_service: Starter) -> Service:
    bucket = FakeBucket()
    bucket.put("big", b"x" * 40_000_000)
    service = start_service(bucket)
    service.sync()
    return service


def download(service: Service) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    connection.settimeout(10)
    connection.connect(("127.0.0.1", service.port))
    connection.sendall(request(Route("GET", "/sync/download/big")))
    return connection


def test_a_reader_that_stops_reading_is_cut_off(big: Service, shorten: Shorten) -> None:
    shorten(SOON, "STALL")
    before = len(os.listdir("/dev/fd"))
    with download(big) as stalled:
        eventually(lambda: '"path": "/sync/download/big"' in big.log())
        eventually(lambda: len(os.listdir("/dev/fd")) <= before + 1)  # ours is still open
        assert len(received(stalled)) < 40_000_000
    assert "unexpected error" not in big.log()


def test_a_slow_reader_is_not_cut_off(
    big: Service, shorten: Shorten, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes a little each time that it begins to be watched, and is looked at three times."""
    shorten(1.0, "STALL")
    watches, looks = list[bool](), list[None]()
    watch, look = connections.Connection._watch_reader, connections.Connection._stalled

    def watching(connection: connections.Connection, watched: bool) -> None:
        watch(connection, watched)
        if watched:
            watches.append(watched)

    def looking(connection: connections.Connection) -> None:
        looks.append(None)
        look(connection)

    def little(slow: socket.socket) -> int:
        seen = len(watches)
        pieces = [slow.recv(60_000, socket.MSG_WAITALL) for _ in range(4)]  # more than its window
        eventually(lambda: len(watches) > seen)
        return sum(map(len, pieces))

    monkeypatch.setattr(connections.Connection, "_watch_reader", watching)
    monkeypatch.setattr(connections.Connection, "_stalled", looking)
    count = 0
    with download(big) as slow:
        eventually(lambda: watches)
        while len(looks) < 3:
            count += little(slow)
        while piece := slow.recv(2**20):
            count += len(piece)
    assert count > 40_000_000


def test_garbage_behind_a_request_puts_no_second_head_into_its_body(big: Service) -> None:
    with connect(big.port) as reader:
        reader.sendall(request(Route("GET", "/sync/download/big")).replace(CLOSE, b""))
        data = reader.recv(1000)
        reader.sendall(b"garbage\r\n\r\n")
        data += received(reader)
    assert data.startswith(b"HTTP/1.1 200") and data.count(b"HTTP/1.1") == 1


# More than there is room for


@pytest.fixture
def room_for_ten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "most_connections", lambda: 10)


@pytest.fixture
def crowd() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.usefixtures("room_for_ten")
def test_the_connection_that_was_quiet_for_longest_makes_room(
    service: Service, crowd: ExitStack
) -> None:
    quiet = [crowd.enter_context(connect(service.port)) for _ in range(10)]
    eventually(lambda: len(service.server.server_state.connections) == 10)
    assert exchange(service.port, PING)[0].status == 200
    assert received(quiet[0]) == b""
    quiet[-1].sendall(PING)
    assert b"200 OK" in received(quiet[-1])


@pytest.mark.usefixtures("room_for_ten")
def test_those_that_are_served_are_not_closed_for_others(
    start_service: Starter, crowd: ExitStack
) -> None:
    bucket, gate = FakeBucket(), threading.Event()
    bucket.script_list(fail.pause_until(gate))
    service = start_service(bucket)
    busy = [crowd.enter_context(connect(service.port)) for _ in range(10)]
    for connection in busy:
        connection.sendall(request(Route("POST", "/sync/trigger")))
    eventually(lambda: len(service.server.server_state.tasks) >= 10)
    [answer] = exchange(service.port, b"")
    assert_refused([answer], 503, "TooManyConnections")
    assert int(answer.headers["retry-after"]) >= 1
    gate.set()
    for connection in busy:
        assert b"200 OK" in received(connection)


FEW = 160
LIMITED = [
    sys.executable,
    "-c",
    "import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, "
    f"({FEW}, {FEW})); os.execv(sys.argv[1], sys.argv[1:])",
]


@pytest.mark.parametrize(
    "command", [SERVER, GUNICORN + ["127.0.0.1:{port}"]], ids=["server.py", "gunicorn"]
)
def test_thousands_of_idle_connections_keep_nobody_out(
    tmp_path: Path, crowd: ExitStack, command: list[str]
) -> None:
    """More than the process has descriptors: it closes the idle ones before it lacks any."""
    with socket.create_server(("127.0.0.1", 0)) as s3:
        [port] = free_ports(1)
        settings = working(tmp_path, s3.getsockname()[1], API_PORT=port, PYTHONPATH=ROOT)
        command = [part.format(port=port) for part in command]
        with started([*LIMITED, *command], tmp_path, settings, port):
            assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 4 * FEW
            for count in range(2 * FEW):
                crowd.enter_context(connect(port))
                if count % 100 == 99:
                    began = time.monotonic()
                    assert httpx.get(
                        f"http://127.0.0.1:{port}/ping", trust_env=False, verify=False
                    ).is_success
                    assert time.monotonic() - began < 2
            [answer] = exchange(port, b"no HTTP\r\n\r\n")
            assert_refused([answer], 400, "BadRequest")
        assert "Too many open files" not in (tmp_path / "service.log").read_text()
