"""The server's side of one connection: what may be open, how long it may take, how large its head.

A request is not seen by the application before its head is whole, so what an attacker does before
that is met here: connections that say nothing, heads and bodies that come by the byte or never
end, readers that stop reading, more connections than there are descriptors. Knows no route.
"""

import asyncio
import fcntl
import functools
import itertools
import resource
import struct
import termios
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from datasync.api.error_responses import bare_answer
from datasync.api.middleware import SAFE_HEADERS

HEAD_SECONDS = 20.0  # from the connection, or from a request's first byte, to the end of its head
BODY_SECONDS = 30.0  # from there to the end of its body, which is at most 1 MiB
STALL_SECONDS = 60.0  # in which a client must take something of the answer that waits for it
LINGER_SECONDS = 5.0  # what is still sent after the answer is read that long, and thrown away
MAX_HEAD_BYTES = 64 * 1024
MOST_CONNECTIONS = 4096
_order = itertools.count()
_FRAMING = (b"content-length", b"transfer-encoding")


@functools.cache
def most_connections() -> int:
    """How many a process holds: a quarter of its descriptors, so that files can be opened too."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = descriptors == resource.RLIM_INFINITY
    return MOST_CONNECTIONS if unlimited else max(8, min(MOST_CONNECTIONS, descriptors // 4))


class _HeadTooLarge(Exception):
    pass


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with bounds. One beyond the most takes the place of the idlest ones."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._deadline: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._waiting_bytes = 0
        self._head_bytes = 0
        self._in_head = False
        self._in_body = False
        self._replayed = False
        self._refused = False
        self._quiet_since = next(_order)

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect(HEAD_SECONDS)
        if len(self.connections) > most_connections():
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect(None)
        self._watch_reader(False)
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    @property
    def _works(self) -> bool:
        """Whether an answer is due."""
        return self.cycle is not None and not self.cycle.response_complete

    def _make_room(self) -> None:
        """Close the tenth that was quiet for longest; a newcomer asks at once."""
        others = [c for c in self.connections if isinstance(c, Connection) and c is not self]
        idle = [c for c in others if not c._works and not c.transport.is_closing()]
        idle.sort(key=lambda connection: connection._quiet_since)
        for connection in idle[: max(1, len(self.connections) // 10)]:
            connection.transport.abort()
        if not idle:
            self._refuse(503)

    # What comes

    def data_received(self, data: bytes) -> None:
        if self._refused or self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        self._feed(data)
        if self._refused:
            return
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(431)
                return
        if self._deadline is None and (self._in_head or not self._works):
            self._expect(HEAD_SECONDS)

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._refuse(431 if isinstance(error.__context__, _HeadTooLarge) else 400)
        except httptools.HttpParserUpgrade as upgrade:
            self._go_on_without_upgrade(data[upgrade.args[0] :])

    def _go_on_without_upgrade(self, rest: bytes) -> None:
        """Read the body behind a request to upgrade, which is ignored (RFC 9110, section 7.8).

        The parser takes what follows for another protocol. So a new one is told how the body is
        framed, and goes on from there.
        """
        self.parser = httptools.HttpRequestParser(self)
        framing = [b"%s: %s\r\n" % pair for pair in self.headers if pair[0] in _FRAMING]
        if self.scope["method"] == "CONNECT":
            framing, self.cycle.keep_alive = [], False
        self._replayed = True
        self._feed(b"".join([b"POST / HTTP/1.1\r\n", *framing, b"\r\n"]))
        if rest and not self._refused:
            self._feed(rest)

    def on_message_begin(self) -> None:
        if self._replayed:
            return
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self._replayed:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._replayed:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._replayed:
            self._replayed = False
            return
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > (
            MAX_HEAD_BYTES
        ):
            raise _HeadTooLarge  # however it came: in one piece or in many
        super().on_headers_complete()
        self._in_head, self._in_body = False, True
        self._expect(BODY_SECONDS)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return  # its body is still to come
        super().on_message_complete()
        self._in_body = False
        self._expect(None)

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing is wrong: what was asked for need not be given."""

    # What takes too long

    def _expect(self, seconds: float | None) -> None:
        """What is to come now must have come in so many seconds; None: nothing has to."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self._late)

    def _late(self) -> None:
        self._deadline = None
        if self._refused or self.transport.is_closing():
            self.transport.abort()
        elif self.flow.read_paused or (self._works and not self._in_body):
            self._expect(HEAD_SECONDS)  # it is not the client that is waited for
        elif self._in_head or (self._works and not self.cycle.response_started):
            self._refuse(408)
        else:
            self.transport.abort()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._quiet_since = next(_order)
        if self._in_body and not self.transport.is_closing():
            self._expect(LINGER_SECONDS)
        if self.transport.get_write_buffer_size():
            self._watch_reader(True)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader(True)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._watch_reader(False)

    def _watch_reader(self, watched: bool) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
        if watched:
            self._waiting_bytes = self._unread()
            self._stall = self.loop.call_later(STALL_SECONDS, self._stalled)

    def _stalled(self) -> None:
        left = self._unread()
        if left and left >= self._waiting_bytes:
            self.transport.abort()
        else:
            self._watch_reader(bool(left))

    def _unread(self) -> int:
        """Bytes that the client has not taken: ours, and those the system holds for it.

        The system takes none of ours before a good part of its own is gone, which may be megabytes.
        """
        connection = self.transport.get_extra_info("socket")
        try:
            held = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
        except (AttributeError, OSError):  # closed, or a system that does not tell
            return self.transport.get_write_buffer_size()
        return self.transport.get_write_buffer_size() + int(struct.unpack("i", held)[0])

    # What is refused

    def send_400_response(self, msg: str) -> None:
        self._refuse(400)

    def _refuse(self, status: int) -> None:
        """Answer in the shape of every error, read no more, and close."""
        self._refused = True
        if self._works:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if self.cycle.response_started:
                self.transport.abort()  # never a second head in the middle of a body
                return
        self.transport.write(_refusal(status))
        self._expect(LINGER_SECONDS)
        # Closed at once with something unread, the answer would be lost on its way.
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()


@functools.cache
def _refusal(status: int) -> bytes:
    answer = bare_answer(status)
    headers = {**SAFE_HEADERS, **answer.headers, "Connection": "close"}
    lines = [f"{name.lower()}: {value}\r\n".encode("latin-1") for name, value in headers.items()]
    return b"".join([STATUS_LINE[status], *lines, b"\r\n", answer.body])
