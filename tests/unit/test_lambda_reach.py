"""The Lambda forwarder on its way to the service: the addresses of its name, and TLS."""

import socket
import ssl
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

import pytest

from tests.support.forwarding import (
    S3_EVENT,
    Context,
    accept,
    accept_and_close,
    endless_beginning,
)
from tests.support.scripted_server import ScriptedServer, raw

PEM = Path(__file__).resolve().parents[1] / "support" / "loopback.pem"


class TestAddresses:
    def test_addresses_that_do_not_answer_share_the_time(
        self, handler: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RETRY_ATTEMPTS", "1")
        with Silent(4) as addresses:
            resolve_to(monkeypatch, addresses)
            started = time.monotonic()
            with pytest.raises(handler.DeliveryFailed, match="timed out"):
                handler.lambda_handler(S3_EVENT, Context(remaining_millis=1_500))
        assert 0.9 <= time.monotonic() - started < 2.5

    def test_behind_addresses_that_do_not_answer_comes_one_that_does(
        self, handler: ModuleType, service: ScriptedServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        port = urlsplit(service.url).port
        assert port is not None
        with Silent(3) as addresses:
            resolve_to(monkeypatch, [*addresses, ("127.0.0.1", port)])
            started = time.monotonic()
            assert handler.lambda_handler(S3_EVENT, Context(3_500))["attempts"] == 1
        assert time.monotonic() - started < 2.5, "one of them had all of the time"


class TestTls:
    @pytest.fixture
    def secure(self, handler: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ScriptedServer:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(PEM)
        server = ScriptedServer(context)
        server.script(accept())
        monkeypatch.setenv("API_ENDPOINT", server.url)
        return server

    def test_a_trusted_service_gets_the_event_over_one_connection(
        self, secure: ScriptedServer, handler: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(PEM))
        with secure:
            for _ in range(2):
                assert handler.lambda_handler(S3_EVENT, Context())["attempts"] == 1
            assert (len(secure.requests), secure.connections) == (2, 1)

    def test_a_kept_connection_that_ends_costs_no_try(
        self, secure: ScriptedServer, handler: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(PEM))
        with secure:
            secure.script(accept(), raw(b""), accept_and_close, accept())
            for _ in range(3):
                assert handler.lambda_handler(S3_EVENT, Context())["attempts"] == 1
            assert (len(secure.requests), secure.connections) == (4, 3)

    def test_a_slow_answer_is_cut_off(
        self, secure: ScriptedServer, handler: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(PEM))
        monkeypatch.setenv("RETRY_ATTEMPTS", "1")
        with secure:
            secure.script(endless_beginning)
            with pytest.raises(handler.DeliveryFailed, match="timed out"):
                handler.lambda_handler(S3_EVENT, Context(1_500))

    def test_a_handshake_that_never_ends_is_cut_off(
        self, handler: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RETRY_ATTEMPTS", "1")
        with DrippingServer() as url:
            monkeypatch.setenv("API_ENDPOINT", url)
            started = time.monotonic()
            with pytest.raises(handler.DeliveryFailed, match="timed out"):
                handler.lambda_handler(S3_EVENT, Context(1_500))
            assert 0.9 <= time.monotonic() - started < 2.5

    def test_a_stranger_gets_nothing(
        self, secure: ScriptedServer, handler: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        with secure:
            with pytest.raises(handler.DeliveryFailed, match="CERTIFICATE_VERIFY_FAILED"):
                handler.lambda_handler(S3_EVENT, Context())
            assert secure.requests == []


class Silent:
    """Addresses at which a connection is neither made nor refused: their queues are full."""

    def __init__(self, count: int) -> None:
        self._listeners = [socket.socket() for _ in range(count)]
        self._waiting: list[socket.socket] = []

    def __enter__(self) -> list[tuple[str, int]]:
        for listener in self._listeners:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            for _ in range(3):
                waiting = socket.socket()
                waiting.setblocking(False)
                waiting.connect_ex(listener.getsockname())
                self._waiting.append(waiting)
        return [listener.getsockname() for listener in self._listeners]

    def __exit__(self, *_: object) -> None:
        for each in self._waiting + self._listeners:
            each.close()


def resolve_to(monkeypatch: pytest.MonkeyPatch, addresses: list[tuple[str, int]]) -> None:
    """Give the service's name these addresses; no name server of the tests could."""
    real = socket.getaddrinfo

    def resolve(host: str, port: int, *more: int) -> list[tuple[object, ...]]:
        if host != "service.example":
            return [*real(host, port, *more)]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setenv("API_ENDPOINT", "http://service.example")


class DrippingServer:
    """Begins the handshake of TLS and never ends it, one byte at a time."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> str:
        self._thread.start()
        return f"https://127.0.0.1:{self._listener.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        with self._listener.accept()[0] as connection, suppress(OSError):
            connection.sendall(b"\x16\x03\x03\x40\x00")  # 16 KiB of handshake follow
            connection.settimeout(0.05)
            while True:
                with suppress(TimeoutError):
                    if not connection.recv(4096):
                        return
                connection.sendall(b"\x02")
