"""Large bodies, each on a thread of its own: from the socket into a buffer, and from there on.

libcurl hands a body out in pieces of 16 KiB, every one an object of the interpreter's: to make,
pass on and join them takes more of the processor than all that the kernel does for the same
bytes. Here a body comes in steps of 256 KiB, which the interpreter hardly notices. Only for a
server that is reached without a proxy: which one is used when, libcurl alone knows.
Knows HTTP's frame only: no S3, no signing, no object.
"""

import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from datasync.errors import DataSyncError, Interrupted, NetworkFailure, TransferStalled
from datasync.services.storage.s3.loop import USER_AGENT, LoopOptions
from datasync.services.storage.s3.refusals import not_http, untrusted

if TYPE_CHECKING:
    from http.client import HTTPResponse

STEP_BYTES = 256 * 1024
# How long a connection is kept while nothing large is fetched.
KEPT_SECONDS = 10.0
_JOIN_SECONDS = 1.0


class Line:
    """A connection to the server, with the buffer that bodies pass through."""

    def __init__(self, host: str, options: LoopOptions, tls: ssl.SSLContext | None) -> None:
        from http.client import HTTPConnection, HTTPSConnection  # slow to load

        self.buffer = memoryview(bytearray(STEP_BYTES))
        self.kept = False  # it has brought a whole answer before, and may be dead by now
        self._host = host
        self._is_cut = False
        self._patience = min(options.connect_timeout_seconds, options.timeout_seconds)
        self._timeout = options.timeout_seconds
        self._socket: socket.socket | None = None  # the connection gives it away with an answer
        self._connection = (
            HTTPConnection(host) if tls is None else HTTPSConnection(host, context=tls)
        )

    def ask(self, target: str, headers: list[str]) -> "HTTPResponse":
        """Send a GET and read the head of its answer.

        Raises: OSError, HTTPException, Interrupted (it was cut).
        """
        connection = self._connection
        if connection.sock is None:
            self._connect()
        if self._is_cut:
            raise Interrupted("nobody waits for it any more")
        connection.putrequest("GET", target, skip_host=True, skip_accept_encoding=True)
        for line in (f"Host:{self._host}", f"User-Agent:{USER_AGENT}", "Accept:*/*", *headers):
            name, _, text = line.partition(":")
            connection.putheader(name, text.strip())
        connection.endheaders()
        return connection.getresponse()

    def cut(self) -> None:
        """End what another thread waits for on this line.

        That thread closes it. TLS has no say: it would go on with what it has not decrypted.
        """
        self._is_cut = True
        if self._socket is not None:
            with suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        self.kept = False
        self._connection.close()

    def _connect(self) -> None:
        connection = self._connection
        connection.timeout = self._patience
        try:
            connection.connect()
        except TimeoutError as error:
            raise OSError("the connection was not made in time") from error
        self._socket = connection.sock
        connection.sock.settimeout(self._timeout)
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


class Stream(threading.Thread):
    """One GET and what came back so far. `lines` are raw header lines, blank one included."""

    def __init__(
        self,
        streams: "Streams",
        target: str,
        headers: list[str],
        owner: object,
        sink: Callable[["Stream"], None],
        fresh: bool,
    ) -> None:
        super().__init__(name="stream", daemon=True)
        self.owner: Any = owner
        self.lines: list[bytes] = []
        self.received = 0
        self._streams = streams
        self._target = target
        self._headers = headers
        self._sink = sink
        self._fresh = fresh
        self._pieces: list[memoryview] = []
        self._line: Line | None = None  # while it is this stream's
        self._line_lock = threading.Lock()
        self._stopped = self._late = False
        self._asked = time.monotonic()

    def take(self) -> list[memoryview]:
        """The bytes that arrived since the last call; good until the sink returns."""
        pieces, self._pieces = self._pieces, []
        return pieces

    def run(self) -> None:
        error: Exception | None = None
        try:
            self._exchange(self._streams.line(self._fresh))
        except Exception as caught:  # the edge of this thread: its owner is told
            error = TimeoutError("no head in time") if self._late else caught
        self._streams.over(self, error)

    def stop(self) -> None:
        """Nothing of it is handed on any more. Safe from any thread."""
        self._stopped = True
        with self._line_lock:
            if self._line is not None:
                self._line.cut()

    def expect(self, seconds: float) -> None:
        """Stop it if its head has not come in that time.

        A server that sends one interim answer after the other is never silent.
        """
        if not self.lines and time.monotonic() - self._asked > seconds:
            self._late = True
            self.stop()

    def _exchange(self, line: Line) -> None:
        self._line = line
        try:
            with closing(self._answer(line)) as response:
                self._read(response, line.buffer)
        except BaseException:
            line.close()
            raise
        finally:
            with self._line_lock:
                self._line = None
        self._streams.keep(line, whole=not response.will_close)

    def _read(self, response: "HTTPResponse", buffer: memoryview) -> None:
        from http.client import HTTPException

        self.lines = _head_lines(response)
        if len(set(response.headers.get_all("content-length", ()))) > 1:
            raise HTTPException("two lengths")
        self._hand_on()
        while count := response.readinto(buffer):
            self.received += count
            self._pieces.append(buffer[:count])
            self._hand_on()
        if response.length:
            raise OSError(f"the connection ended, {response.length} bytes were missing")

    def _answer(self, line: Line) -> "HTTPResponse":
        """The head of the answer; a kept connection that turns out to be dead is replaced."""
        try:
            return line.ask(self._target, self._headers)
        except ConnectionError:
            if not line.kept or self._stopped:
                raise
            line.close()
            return line.ask(self._target, self._headers)

    def _hand_on(self) -> None:
        if self._stopped:
            raise Interrupted("nobody waits for it any more")
        self._sink(self)


class Streams:
    """The large bodies of one thread's channel; what its owner must not do is said there."""

    def __init__(
        self, host: str, secure: bool, options: LoopOptions, wake: Callable[[], None]
    ) -> None:
        """`host` as in a URL; `wake` is called, on any thread, when one has ended."""
        self._host = host
        self._secure = secure
        self._options = options
        self._wake = wake
        self._tls: ssl.SSLContext | None = None
        self._running: set[Stream] = set()
        self._spare: list[Line] = []
        self._last = 0.0
        self._ended: deque[tuple[Stream, Exception | None]] = deque()
        self._lock = threading.Lock()

    @property
    def active(self) -> int:
        return len(self._running)

    def begin(
        self,
        target: str,
        headers: list[str],
        owner: object,
        sink: Callable[[Stream], None],
        *,
        fresh: bool = False,
    ) -> Stream | None:
        """Start a GET of a path and query. None: there is no thread to be had.

        `sink` is called on a thread of the stream's: once when the head is there, then with all
        that arrives. What it raises ends the stream.
        """
        stream = Stream(self, target, headers, owner, sink, fresh)
        with self._lock:
            self._running.add(stream)
        try:
            stream.start()
        except RuntimeError:  # the machine's or the container's limit
            with self._lock:
                self._running.discard(stream)
            return None
        return stream

    def ended(self) -> list[tuple[Stream, Exception | None]]:
        """Those that are over since the last call, with what ended them before their time.

        To be asked now and then: what takes too long ends here.
        """
        for stream in tuple(self._running):
            stream.expect(self._options.timeout_seconds)
        if self._spare and not self._running and time.monotonic() - self._last > KEPT_SECONDS:
            self._close_spare()
        found = []
        while self._ended:
            found.append(self._ended.popleft())
        return found

    def close(self) -> None:
        """Stop every stream and close the connections."""
        for stream in tuple(self._running):
            stream.stop()
        for stream in tuple(self._running):
            stream.join(_JOIN_SECONDS)
        self._close_spare()

    # For the streams, on their threads

    def line(self, fresh: bool) -> Line:
        with self._lock:
            if self._spare and not fresh:
                return self._spare.pop()
            if self._secure and self._tls is None:
                self._tls = ssl.create_default_context(cafile=self._options.ca_file)
            return Line(self._host, self._options, self._tls)

    def keep(self, line: Line, *, whole: bool) -> None:
        """Take a line back for the next stream, if its answer left it `whole`."""
        if not whole:
            line.close()
            return
        line.kept = True
        with self._lock:
            self._spare.append(line)

    def over(self, stream: Stream, error: Exception | None) -> None:
        """The last that a stream does."""
        with self._lock:
            self._running.discard(stream)
            self._ended.append((stream, error))
            self._last = time.monotonic()
        self._wake()

    def _close_spare(self) -> None:
        with self._lock:
            spare, self._spare = self._spare, []
        for line in spare:
            line.close()


def error_for_stream(error: Exception, what: str) -> DataSyncError:
    """What ended a stream as an error of the bucket; `what` names the object."""
    from http.client import HTTPException, IncompleteRead

    if isinstance(error, DataSyncError):
        return error
    if isinstance(error, TimeoutError):
        return TransferStalled(f"{what}: nothing moved for too long")
    if isinstance(error, ssl.SSLCertVerificationError):
        return untrusted(what)
    if isinstance(error, OSError | IncompleteRead):
        return NetworkFailure(f"{what}: {error or 'the connection failed'}")
    if isinstance(error, HTTPException):
        return not_http(what)
    return own_fault(error)


def own_fault(error: Exception) -> DataSyncError:
    """What is no failure of the network or the server, but must not end other requests."""
    wrapped = DataSyncError(f"{type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped


def _head_lines(response: "HTTPResponse") -> list[bytes]:
    """The head as libcurl would hand it out."""
    fields = [f"{name}: {text}\r\n".encode("latin-1") for name, text in response.headers.items()]
    return [f"HTTP/1.1 {response.status} \r\n".encode(), *fields, b"\r\n"]
