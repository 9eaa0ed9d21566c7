"""An HTTP server on raw sockets that does wrong whatever a server can do wrong.

    with ScriptedServer() as server:
        server.script(reset_after(1_000, of=BODY), good(BODY))

Each request takes the next reply; the last one serves all later requests too. A reply is a
function that writes to the connection and says whether the connection is kept.
"""

import hashlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

DATE = "Mon, 23 Nov 2026 08:00:00 GMT"


@dataclass(frozen=True)
class Seen:
    """A request as it arrived. Header names are lower-case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Peer:
    """The client's end of a connection; `over` is set when the server is closed."""

    socket: socket.socket
    over: threading.Event

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def hold(self) -> bool:
        """Say nothing more until the server is closed."""
        self.over.wait()
        return False

    def reset(self) -> bool:
        """Close so that the client sees a reset, not an end."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False


Reply = Callable[[Peer, Seen], bool]


class ScriptedServer:
    """Loopback only, a free port or `port`, a thread a connection; `requests` keeps what came."""

    def __init__(
        self, tls: ssl.SSLContext | None = None, port: int = 0, host: str = "127.0.0.1"
    ) -> None:
        self.requests: list[Seen] = []
        self._tls = tls
        self.connections = 0
        self._replies: list[Reply] = []
        self._over = threading.Event()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family)
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._run(self._accept)

    @property
    def url(self) -> str:
        scheme = "http" if self._tls is None else "https"
        host, port = self._listener.getsockname()[:2]
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"

    def script(self, *replies: Reply) -> None:
        """The next requests get these replies; the last reply stays for all later ones."""
        with self._lock:
            self._replies = list(replies)

    def __enter__(self) -> "ScriptedServer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every connection and wait for the threads. Closing twice is fine."""
        self._over.set()
        self.stop_listening()
        with self._lock:
            for each in self._open:
                _shut(each)
            threads = list(self._threads)
        for thread in threads:
            thread.join(10)

    def stop_listening(self) -> None:
        """New connections are refused; those that are open go on."""
        _shut(self._listener)
        self._listener.close()

    def _run(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target)
        with self._lock:
            self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._open.add(connection)
                self.connections += 1
            self._run(lambda connection=connection: self._serve(connection))  # type: ignore[misc]

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self._tls is not None:
                connection = self._secured(self._tls, connection)
            while seen := _read(connection):
                with self._lock:
                    self.requests.append(seen)
                    reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
                if not reply(Peer(connection, self._over), seen):
                    return
        except OSError:
            return  # the client went away, which is its right
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def _secured(self, tls: ssl.SSLContext, plain: socket.socket) -> socket.socket:
        """The connection that takes the plain one's place, also for `close`."""
        secured = tls.wrap_socket(plain, server_side=True)
        with self._lock:
            self._open.discard(plain)
            self._open.add(secured)
        return secured


def _shut(connection: socket.socket) -> None:
    try:
        socket.socket.shutdown(connection, socket.SHUT_RDWR)  # below TLS, which is being read
    except OSError:
        pass  # already closed by the other side


def _read(connection: socket.socket) -> Seen | None:
    """The next request, with as much body as it announces."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return None
        data += more
    start, _, body = data.partition(b"\r\n\r\n")
    first, *lines = start.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    pairs = [line.partition(":") for line in lines if line]
    headers = {name.lower(): text.strip() for name, _, text in pairs}
    while len(body) < int(headers.get("content-length", 0)):
        more = connection.recv(65536)
        if not more:
            return None
        body += more
    return Seen(method, target, headers, body)


def etag(body: bytes) -> str:
    """The ETag that the replies here give a body."""
    return hashlib.md5(body).hexdigest()


def head(status: str, length: int | None, **fields: str) -> bytes:
    """The bytes of an answer's head; underscores in field names are dashes."""
    given = {"Date": DATE, "x-amz-request-id": "REQUEST", **fields}
    if length is not None:
        given["Content-Length"] = str(length)
    lines = [f"{name.replace('_', '-')}: {text}" for name, text in given.items() if text]
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode("latin-1")


def object_head(body: bytes, length: int | None = None, **fields: str) -> bytes:
    given = {"ETag": f'"{etag(body)}"', "Last-Modified": DATE, **fields}
    return head("200 OK", len(body) if length is None else length, **given)


def answer(status: str, body: bytes = b"", **fields: str) -> Reply:
    """A whole answer with this status line and body."""

    def reply(peer: Peer, seen: Seen) -> bool:
        peer.send(head(status, len(body), **fields) + (b"" if seen.method == "HEAD" else body))
        return True

    return reply


def raw(data: bytes) -> Reply:
    """Exactly these bytes, then the end."""

    def reply(peer: Peer, seen: Seen) -> bool:
        peer.send(data)
        return False

    return reply


def good(body: bytes, **fields: str) -> Reply:
    """The object as it should be, ranges included."""

    def reply(peer: Peer, seen: Seen) -> bool:
        given = {"ETag": f'"{etag(body)}"', "Last-Modified": DATE, **fields}
        wanted = seen.headers.get("range", "").removeprefix("bytes=")
        if not wanted:
            return answer("200 OK", body, **given)(peer, seen)
        first, _, last = wanted.partition("-")
        part = body[int(first) : int(last) + 1 if last else None]
        told = f"bytes {first}-{int(first) + len(part) - 1}/{len(body)}"
        return answer("206 Partial Content", part, Content_Range=told, **given)(peer, seen)

    return reply


def refuse(status: str, code: str, **fields: str) -> Reply:
    """An S3 error document."""
    return answer(status, error_document(code), Content_Type="application/xml", **fields)


def error_document(code: str, message: str = "No.", extra: str = "") -> bytes:
    text = f"<Error><Code>{code}</Code><Message>{message}</Message>{extra}</Error>"
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + text.encode()


def reset_after(count: int, *, of: bytes) -> Reply:
    """The connection is reset after `count` bytes of the body."""

    def reply(peer: Peer, seen: Seen) -> bool:
        peer.send(object_head(of) + of[:count])
        return peer.reset()

    return reply


def end_after(count: int, *, of: bytes) -> Reply:
    """The connection ends, politely, after `count` bytes of the body."""
    return lambda peer, seen: raw(object_head(of) + of[:count])(peer, seen)


def stall_before_head() -> Reply:
    return lambda peer, seen: peer.hold()


def stall_after(count: int, *, of: bytes) -> Reply:
    """Nothing more comes after `count` bytes of the body, and the connection stays open."""

    def reply(peer: Peer, seen: Seen) -> bool:
        peer.send(object_head(of) + of[:count])
        return peer.hold()

    return reply


def drip(body: bytes, pause_seconds: float) -> Reply:
    """The body comes byte by byte, slowly but without end of progress."""

    def reply(peer: Peer, seen: Seen) -> bool:
        peer.send(object_head(body))
        for index in range(len(body)):
            if peer.over.wait(pause_seconds):
                return False
            peer.send(body[index : index + 1])
        return True

    return reply
