"""Many HTTP transfers on one thread: libcurl's multi handle driven by epoll.

A transfer collects header lines and body chunks with bound C methods, so libcurl calls no Python
code of ours; what arrived is handed out between turns. Knows HTTP's frame only: no S3, no
signing, no object. libcurl is used through `socket_action`, because its own waiting can neither
be woken from another thread nor take descriptors over 1024.
"""

import contextlib
import select
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any

import pycurl

from datasync.models.values import value

STALLED = -1  # our own code, beside libcurl's
RECEIVE_BYTES = 64 * 1024
EVENTS_PER_TURN = 64
# What arrives in a turn waits in memory, and in the processor's caches, to be taken. While one
# socket alone brings so many pieces, of 16 KiB each, it has a turn for itself.
HEAVY_PIECES = 32
HEAVY_TURNS = 64
# Nobody knows before how much a socket brings; a turn that takes so long has brought enough.
LONG_SECONDS = 0.001
USER_AGENT = "datasync"

_EPOLL_MASKS = {
    pycurl.POLL_NONE: 0,
    pycurl.POLL_IN: select.EPOLLIN,
    pycurl.POLL_OUT: select.EPOLLOUT,
    pycurl.POLL_INOUT: select.EPOLLIN | select.EPOLLOUT,
}


def _ready_bits(events: int) -> int:
    bits = pycurl.CSELECT_IN if events & (select.EPOLLIN | select.EPOLLHUP) else 0
    bits |= pycurl.CSELECT_OUT if events & select.EPOLLOUT else 0
    return bits | (pycurl.CSELECT_ERR if events & select.EPOLLERR else 0)


_READY_BITS = [_ready_bits(events) for events in range(32)]


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """What is the same for every transfer. `ca_file` of None: no TLS here. Times in seconds."""

    timeout_seconds: float
    connect_timeout_seconds: float
    ca_file: str | None = None


class Transfer:
    """One request and what came back so far. `lines` are raw header lines, blank one included."""

    __slots__ = (
        "easy",
        "lines",
        "chunks",
        "owner",
        "bodyless",
        "fresh",
        "received",
        "seen",
        "quiet",
    )

    def __init__(self, easy: pycurl.Curl) -> None:
        self.easy = easy
        self.lines: list[bytes] = []
        self.chunks: list[bytes] = []
        self.owner: Any = None
        self.bodyless = self.fresh = False
        self.received = 0
        self.seen = 0
        self.quiet = 0.0

    def take(self) -> list[bytes]:
        """The bytes that arrived since the last call, in the pieces that they came in."""
        pieces = self.chunks.copy()
        self.chunks.clear()
        self.received += sum(map(len, pieces))
        return pieces


@value(frozen=True, slots=True)
class Ended:
    """A transfer that is over. `code` is 0, a libcurl code or STALLED."""

    transfer: Transfer
    code: int
    text: str


class TransferLoop:
    """Transfers of one thread at a time; only `wake` may come from another."""

    def __init__(self, options: LoopOptions, max_connections: int) -> None:
        self._options = options
        self._multi = pycurl.CurlMulti()
        self._sockets = SocketWatch()
        self._active: dict[pycurl.Curl, Transfer] = {}
        self._idle: list[Transfer] = []
        self._due: float | None = None
        self._running = 0
        self._heavy = 0  # turns that go on with one socket each
        self._swept = time.monotonic()
        self._sweep_seconds = min(1.0, options.timeout_seconds / 4)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)
        self._multi.setopt(pycurl.M_MAXCONNECTS, max_connections)

    @property
    def active(self) -> int:
        return len(self._active)

    def begin(
        self, url: str, headers: list[str], bodyless: bool, owner: object, *, fresh: bool = False
    ) -> Transfer:
        """Start a GET, or a HEAD when `bodyless`; it moves with the next `turn`.

        `fresh`: over a new connection, which is kept then as any other.
        """
        transfer = self._idle.pop() if self._idle else self._make()
        easy = transfer.easy
        if bodyless is not transfer.bodyless:
            easy.setopt(pycurl.NOBODY if bodyless else pycurl.HTTPGET, 1)
            transfer.bodyless = bodyless
        if fresh is not transfer.fresh:
            easy.setopt(pycurl.FRESH_CONNECT, int(fresh))
            transfer.fresh = fresh
        easy.setopt(pycurl.URL, url)
        easy.setopt(pycurl.HTTPHEADER, headers)
        transfer.owner = owner
        transfer.lines.clear()
        transfer.chunks.clear()
        transfer.received = transfer.seen = 0
        transfer.quiet = 0.0
        self._active[easy] = transfer
        self._multi.add_handle(easy)
        self._running += 1
        return transfer

    def drop(self, transfer: Transfer) -> None:
        """Give up a transfer; its connection is closed. One that is over is left alone."""
        if transfer.easy in self._active:
            self._remove(transfer)
            self.release(transfer)

    def release(self, transfer: Transfer) -> None:
        """Give back a transfer that `turn` told as ended, once its bytes and lines are read."""
        transfer.owner = None
        transfer.chunks.clear()
        self._idle.append(transfer)

    def turn(self, timeout_seconds: float) -> tuple[list[Transfer], list[Ended]]:
        """Wait until bytes arrive, a transfer ends, `wake` is called or the time is over.

        Returns the transfers with bytes to `take`, and those that ended, whose last bytes and
        lines may be read until they are given back with `release`.
        """
        deadline = time.monotonic() + timeout_seconds
        waited = False
        while True:
            now = time.monotonic()
            moved = self._moved()
            if not moved and self._due is not None and self._due <= now:
                self._due = None
                self._act(pycurl.SOCKET_TIMEOUT, 0)
                moved = self._moved()
            ended = self._collect()
            if any(len(each.chunks) >= HEAVY_PIECES for each in moved):
                self._heavy = HEAVY_TURNS
            if now - self._swept >= self._sweep_seconds:
                ended += self._sweep(now)
            if moved or ended or self._sockets.woken or (waited and now >= deadline):
                return moved, ended
            self._heavy, most = (self._heavy - 1, 1) if self._heavy else (0, EVENTS_PER_TURN)
            ready = self._sockets.wait(self._patience(deadline), most)
            until = time.monotonic() + LONG_SECONDS
            for descriptor, events in ready:
                self._act(descriptor, events)
                if time.monotonic() > until:
                    break  # the others stay ready
            waited = True

    def take_wake(self) -> bool:
        """Whether `wake` was called since the last call."""
        return self._sockets.take_wake()

    def wake(self) -> None:
        """End a waiting `turn`. Safe from any thread and after `close`."""
        self._sockets.wake()

    def close(self) -> None:
        """Give up every transfer and close the connections."""
        for transfer in list(self._active.values()):
            self.drop(transfer)
        self._multi.close()
        for transfer in self._idle:
            transfer.easy.close()
        self._idle.clear()
        self._sockets.close()

    def _moved(self) -> list[Transfer]:
        return [each for each in self._active.values() if each.chunks]

    def _patience(self, deadline: float) -> float:
        until = deadline if self._due is None else min(deadline, self._due)
        if self._active:
            until = min(until, self._swept + self._sweep_seconds)
        return max(0.0, until - time.monotonic())

    def _act(self, descriptor: int, events: int) -> None:
        _, self._running = self._multi.socket_action(descriptor, events)

    def _collect(self) -> list[Ended]:
        """The transfers libcurl is done with."""
        if self._running >= len(self._active):
            return []
        ended, queued = [], 1
        while queued:
            queued, good, bad = self._multi.info_read(len(self._active) or 1)
            ended += [self._end(easy, 0, "") for easy in good]
            ended += [self._end(easy, code, text) for easy, code, text in bad]
        return ended

    def _end(self, easy: pycurl.Curl, code: int, text: str) -> Ended:
        transfer = self._active[easy]
        self._remove(transfer)
        return Ended(transfer, code, text)

    def _remove(self, transfer: Transfer) -> None:
        del self._active[transfer.easy]
        self._multi.remove_handle(transfer.easy)
        self._running = min(self._running, len(self._active))

    def _sweep(self, now: float) -> list[Ended]:
        """End what moved nothing for too long.

        Quiet time is counted by sweeps, not by the clock: a caller that was busy elsewhere
        between two turns must not look like a server that stalled.
        """
        passed = min(now - self._swept, 2 * self._sweep_seconds)
        self._swept = now
        stalled = []
        for transfer in self._active.values():
            progress = len(transfer.lines) + transfer.received + len(transfer.chunks)
            transfer.quiet = transfer.quiet + passed if progress == transfer.seen else 0.0
            transfer.seen = progress
            if transfer.quiet > self._options.timeout_seconds:
                stalled.append(transfer)
        for transfer in stalled:
            self._remove(transfer)
        return [Ended(transfer, STALLED, "") for transfer in stalled]

    def _on_socket(self, event: int, descriptor: int, _multi: object, _data: object) -> None:
        self._sockets.watch(descriptor, event)

    def _on_timer(self, milliseconds: int) -> None:
        self._due = None if milliseconds < 0 else time.monotonic() + milliseconds / 1000

    def _make(self) -> Transfer:
        easy, options = pycurl.Curl(), self._options
        transfer = Transfer(easy)
        easy.setopt(pycurl.HEADERFUNCTION, transfer.lines.append)
        easy.setopt(pycurl.WRITEFUNCTION, transfer.chunks.append)
        easy.setopt(pycurl.NOSIGNAL, 1)
        easy.setopt(pycurl.PATH_AS_IS, 1)
        easy.setopt(pycurl.FOLLOWLOCATION, 0)
        easy.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        easy.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        easy.setopt(pycurl.HTTP_CONTENT_DECODING, 0)
        easy.setopt(pycurl.USERAGENT, USER_AGENT)
        easy.setopt(pycurl.BUFFERSIZE, RECEIVE_BYTES)
        easy.setopt(pycurl.TCP_KEEPALIVE, 1)
        patience = min(options.connect_timeout_seconds, options.timeout_seconds)
        easy.setopt(pycurl.CONNECTTIMEOUT_MS, max(1, int(patience * 1000)))
        if options.ca_file is not None:
            easy.setopt(pycurl.CAINFO, options.ca_file)
            easy.setopt(pycurl.PROXY_CAINFO, options.ca_file)
        return transfer


class SocketWatch:
    """The sockets libcurl waits for, and a waker. Readiness is told in libcurl's own bits."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._known: dict[int, int] = {}
        self._resting: set[int] = set()  # of connections that are kept, or closed by now
        self._waker, self._sleeper = socket.socketpair()
        self._waker.setblocking(False)
        self._sleeper.setblocking(False)
        self._sleeper_fd = self._sleeper.fileno()
        self._epoll.register(self._sleeper_fd, select.EPOLLIN)
        self._lock = threading.Lock()
        self._closed = False
        self.woken = False

    def watch(self, descriptor: int, event: int) -> None:
        """Do as libcurl's socket callback says.

        What it removes is likely to be asked for again, by the next request of the connection.
        """
        if event == pycurl.POLL_REMOVE:
            self._resting.add(descriptor)
            return
        mask = _EPOLL_MASKS[event]
        self._resting.discard(descriptor)
        if descriptor in self._known:
            try:
                self._epoll.modify(descriptor, mask)
            except FileNotFoundError:  # closed, and its number used again
                self._epoll.register(descriptor, mask)
        else:
            self._epoll.register(descriptor, mask)
        self._known[descriptor] = mask

    def wait(self, seconds: float, most: int = EVENTS_PER_TURN) -> list[tuple[int, int]]:
        """Up to `most` ready descriptors with what they are ready for, each in its turn.

        None when time is over or woken.
        """
        ready = []
        for descriptor, events in self._epoll.poll(seconds, most):
            if descriptor == self._sleeper_fd:
                self._sleeper.recv(4096)
                self.woken = True
            elif descriptor in self._resting:  # the server has closed it; libcurl sees to that
                self._resting.remove(descriptor)
                del self._known[descriptor]
                with contextlib.suppress(OSError):  # closed here, and not in a child being made
                    self._epoll.unregister(descriptor)
            else:
                ready.append((descriptor, _READY_BITS[events & 0x1F]))
        return ready

    def take_wake(self) -> bool:
        woken, self.woken = self.woken, False
        return woken

    def wake(self) -> None:
        with self._lock, contextlib.suppress(BlockingIOError):
            if not self._closed:
                self._waker.send(b"\0")

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._waker.close()
        self._sleeper.close()
        self._epoll.close()
