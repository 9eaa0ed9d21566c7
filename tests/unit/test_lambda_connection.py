"""The Lambda forwarder on the wire: it tries again, ends in time and keeps its connection."""

import email.utils
import json
import select
import socket
import threading
import time
from types import ModuleType

import pytest

from tests.support.forwarding import (
    S3_EVENT,
    Clock,
    Context,
    accept,
    accept_and_close,
    endless_beginning,
    message,
    refuse,
)
from tests.support.scripted_server import (
    Peer,
    Reply,
    ScriptedServer,
    Seen,
    answer,
    head,
    raw,
    stall_before_head,
)


class TestRetries:
    @pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
    def test_it_tries_again(
        self, status: int, handler: ModuleType, service: ScriptedServer, clock: Clock
    ) -> None:
        service.script(refuse(status), refuse(status), accept())
        assert handler.lambda_handler(S3_EVENT, Context())["attempts"] == 3
        assert 0.2 <= clock.pauses[0] <= 0.4 <= clock.pauses[1] <= 0.8

    def test_pauses_stop_growing(
        self,
        handler: ModuleType,
        service: ScriptedServer,
        clock: Clock,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("RETRY_ATTEMPTS", "8")
        monkeypatch.setenv("TIMEOUT_SECONDS", "60")
        service.script(*[refuse(503)] * 7, accept())
        handler.lambda_handler(S3_EVENT, Context(900_000))
        assert len(clock.pauses) == 7
        assert all(2.5 <= pause <= 5 for pause in clock.pauses[-3:])

    def test_it_gives_up_loudly(
        self,
        handler: ModuleType,
        service: ScriptedServer,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        service.script(refuse(503))
        with pytest.raises(handler.DeliveryFailed, match=r"answered 503: it is so \(try 3\)"):
            handler.lambda_handler(S3_EVENT, Context())
        assert len(service.requests) == 3
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [line["message"] for line in lines] == [*["trying again"] * 2, "delivery failed"]

    def test_the_number_of_tries_is_a_setting(
        self, handler: ModuleType, service: ScriptedServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RETRY_ATTEMPTS", "1")
        service.script(refuse(500))
        with pytest.raises(handler.DeliveryFailed):
            handler.lambda_handler(S3_EVENT, Context())
        assert len(service.requests) == 1

    def test_retry_after_is_respected(
        self, handler: ModuleType, service: ScriptedServer, clock: Clock
    ) -> None:
        service.script(refuse(503, Retry_After="7"), accept())
        handler.lambda_handler(S3_EVENT, Context())
        assert clock.pauses == [7.0]

    def test_a_date_to_retry_after_is_respected(
        self, handler: ModuleType, service: ScriptedServer, clock: Clock
    ) -> None:
        date = email.utils.formatdate(time.time() + 9, usegmt=True)
        service.script(refuse(429, Retry_After=date), accept())
        handler.lambda_handler(S3_EVENT, Context())
        assert 5 < clock.pauses[0] <= 9

    @pytest.mark.parametrize("value", ["soon", "-1", "\u00b2", "Wed, 21 Oct 2015 07:28:00 GMT"])
    def test_a_retry_after_that_says_nothing_is_none(
        self, value: str, handler: ModuleType, service: ScriptedServer, clock: Clock
    ) -> None:
        service.script(refuse(503, Retry_After=value), accept())
        assert handler.lambda_handler(S3_EVENT, Context())["attempts"] == 2
        assert 0.2 <= clock.pauses[0] <= 0.4

    @pytest.mark.parametrize("seconds", ["7", "999999999999"])
    def test_it_does_not_wait_beyond_lambdas_deadline(
        self, seconds: str, handler: ModuleType, service: ScriptedServer, clock: Clock
    ) -> None:
        service.script(refuse(503, Retry_After=seconds), accept())
        with pytest.raises(handler.DeliveryFailed):
            handler.lambda_handler(S3_EVENT, Context(remaining_millis=5_000))
        assert clock.pauses == []

    def test_a_refused_connection_is_tried_again(
        self, handler: ModuleType, monkeypatch: pytest.MonkeyPatch, clock: Clock
    ) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            monkeypatch.setenv("API_ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
            with pytest.raises(handler.DeliveryFailed, match="no answer: .*refused"):
                handler.lambda_handler(S3_EVENT, Context())
        assert len(clock.pauses) == 2

    @pytest.mark.parametrize(
        "reply",
        [
            raw(b"SSH-2.0-hello\r\n\r\n"),
            raw(b""),
            raw(b"HTTP/1.1 2"),
            lambda peer, seen: peer.reset(),
        ],
        ids=["no-http", "end", "cut", "reset"],
    )
    def test_a_broken_answer_is_tried_again(
        self, reply: Reply, handler: ModuleType, service: ScriptedServer, clock: Clock
    ) -> None:
        service.script(reply)
        with pytest.raises(handler.DeliveryFailed, match="no answer: "):
            handler.lambda_handler(S3_EVENT, Context())
        assert (len(service.requests), len(clock.pauses)) == (3, 2)

    def test_a_refusal_that_breaks_off_is_tried_again(
        self, handler: ModuleType, service: ScriptedServer
    ) -> None:
        service.script(
            raw(b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ncut"), accept()
        )
        assert handler.lambda_handler(S3_EVENT, Context())["attempts"] == 2

    def test_an_acceptance_that_breaks_off_is_one(
        self, handler: ModuleType, service: ScriptedServer
    ) -> None:
        service.script(raw(head("202 Accepted", 100) + b"{"))
        assert handler.lambda_handler(S3_EVENT, Context())["attempts"] == 1

    def test_an_answer_before_the_end_of_the_body_is_heard(
        self, handler: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A server that refuses by the announced length reads no further."""
        with HastyServer() as url:
            monkeypatch.setenv("API_ENDPOINT", url)
            monkeypatch.setattr(handler, "MAX_BODY_BYTES", 10**9)
            with pytest.raises(handler.Refused, match="answered 413"):
                handler.lambda_handler({"Records": [message("large", 20_000_000)]}, Context())


class TestTime:
    def test_a_silent_server_ends_in_time(
        self, handler: ModuleType, service: ScriptedServer
    ) -> None:
        service.script(stall_before_head())
        started = time.monotonic()
        with pytest.raises(handler.DeliveryFailed, match="timed out"):
            handler.lambda_handler(S3_EVENT, Context(remaining_millis=1_000))
        assert time.monotonic() - started < 3

    def test_a_server_that_never_stops_beginning_ends_in_time(
        self, handler: ModuleType, service: ScriptedServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each byte comes in time, the first line never does."""
        monkeypatch.setenv("RETRY_ATTEMPTS", "1")
        service.script(endless_beginning)
        started = time.monotonic()
        with pytest.raises(handler.DeliveryFailed, match="timed out"):
            handler.lambda_handler(S3_EVENT, Context(remaining_millis=1_500))
        assert 0.9 <= time.monotonic() - started < 4

    def test_of_an_endless_answer_only_the_start_is_read(
        self, handler: ModuleType, service: ScriptedServer
    ) -> None:
        service.script(_endless_body, accept())
        started = time.monotonic()
        assert handler.lambda_handler(S3_EVENT, Context())["attempts"] == 1
        assert time.monotonic() - started < 5, "it was read until its share of the time was over"
        handler.lambda_handler(S3_EVENT, Context())
        assert service.connections == 2

    def test_each_try_has_its_share_of_the_time(
        self, handler: ModuleType, service: ScriptedServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TIMEOUT_SECONDS", "3")
        service.script(stall_before_head(), accept())
        assert handler.lambda_handler(S3_EVENT, Context())["attempts"] == 2

    def test_without_lambdas_clock_its_own_setting_holds(
        self, handler: ModuleType, service: ScriptedServer
    ) -> None:
        assert handler.lambda_handler(S3_EVENT, None)["statusCode"] == 202


class TestKeptConnection:
    def test_invocations_share_a_connection(
        self, handler: ModuleType, service: ScriptedServer
    ) -> None:
        for _ in range(3):
            handler.lambda_handler(S3_EVENT, Context())
        assert (len(service.requests), service.connections) == (3, 1)

    def test_one_that_was_closed_meanwhile_costs_no_try(
        self, handler: ModuleType, service: ScriptedServer
    ) -> None:
        service.script(accept_and_close, accept())
        for _ in range(2):
            assert handler.lambda_handler(S3_EVENT, Context())["attempts"] == 1
        assert (len(service.requests), service.connections) == (2, 2)

    def test_nothing_is_sent_where_the_other_side_has_said_goodbye(
        self, handler: ModuleType, service: ScriptedServer
    ) -> None:
        """It would take the request and could not say so: the event would arrive twice."""
        service.script(_accept_and_say_goodbye, accept())
        assert handler.lambda_handler(S3_EVENT, Context())["attempts"] == 1
        (connection, *_), *_ = handler._kept
        assert select.select([connection.sock], [], [], 10)[0]  # its goodbye is here
        assert handler.lambda_handler(S3_EVENT, Context())["attempts"] == 1
        assert (len(service.requests), service.connections) == (2, 2)

    @pytest.mark.parametrize("reply", [raw(b""), lambda peer, seen: peer.reset()])
    def test_one_that_ends_at_the_next_request_costs_no_try(
        self, reply: Reply, handler: ModuleType, service: ScriptedServer, clock: Clock
    ) -> None:
        service.script(accept(), reply, accept())
        for _ in range(2):
            assert handler.lambda_handler(S3_EVENT, Context())["attempts"] == 1
        assert (len(service.requests), service.connections) == (3, 2)
        assert clock.pauses == []

    def test_one_that_hangs_costs_one_try(
        self, handler: ModuleType, service: ScriptedServer
    ) -> None:
        service.script(accept(), stall_before_head(), accept())
        handler.lambda_handler(S3_EVENT, Context())
        assert handler.lambda_handler(S3_EVENT, Context(4_000))["attempts"] == 2

    def test_one_that_was_idle_for_long_is_not_used(
        self, handler: ModuleType, service: ScriptedServer, clock: Clock
    ) -> None:
        handler.lambda_handler(S3_EVENT, Context())
        clock.ahead += 60
        handler.lambda_handler(S3_EVENT, Context())
        assert service.connections == 2

    def test_one_leads_only_to_its_own_target(
        self, handler: ModuleType, service: ScriptedServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        handler.lambda_handler(S3_EVENT, Context())
        with ScriptedServer() as other:
            other.script(accept())
            monkeypatch.setenv("API_ENDPOINT", other.url)
            handler.lambda_handler(S3_EVENT, Context())
            assert (len(service.requests), len(other.requests)) == (1, 1)

    @pytest.mark.parametrize(
        "first",
        [refuse(503), answer("202 Accepted", b"{}", Connection="close")],
        ids=["refused", "close"],
    )
    def test_some_are_not_kept(
        self, first: Reply, handler: ModuleType, service: ScriptedServer
    ) -> None:
        service.script(first, accept())
        handler.lambda_handler(S3_EVENT, Context())
        handler.lambda_handler(S3_EVENT, Context())
        assert service.connections == 2


def _accept_and_say_goodbye(peer: Peer, seen: Seen) -> bool:
    accept()(peer, seen)
    peer.socket.shutdown(socket.SHUT_WR)
    return True


def _endless_body(peer: Peer, seen: Seen) -> bool:
    peer.send(head("202 Accepted", 10**12) + b"x" * 100_000)
    while not peer.over.wait(0.05):
        peer.send(b"x")
    return False


class HastyServer:
    """Answers 413 to the first bytes of one request and closes, with the rest of it unread.

    The rest fits in no buffer, so that it is still being sent.
    """

    def __init__(self) -> None:
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        with self._listener.accept()[0] as connection:
            connection.recv(100)
            connection.sendall(head("413 Too Large", 0))
            connection.shutdown(socket.SHUT_WR)
