"""Bytes to a port and the answers that come back, with no client library in between."""

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

PATIENCE_SECONDS = 10.0


@dataclass(frozen=True)
class Answer:
    """One answer as it came. Header names are lower-case; a name that came twice counts once."""

    status: int
    head: bytes
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)


def exchange(port: int, request: bytes, method: str = "GET") -> list[Answer]:
    """Everything that is answered to these bytes until the server closes.

    The server has to close within the patience: say `Connection: close`, or be refused.
    """
    with connect(port) as connection:
        try:
            connection.sendall(request)
        except ConnectionError:
            pass  # refused before it was all said; what was answered may still be read
        return list(answers(received(connection), method))


def received(connection: socket.socket) -> bytes:
    """All that comes until the end, whether that is orderly or a reset."""
    data = bytearray()
    try:
        while piece := connection.recv(65536):
            data += piece
    except ConnectionError:
        pass
    return bytes(data)


def answers(data: bytes, method: str = "GET") -> Iterator[Answer]:
    """The answers in these bytes, interim ones left out; fails when they are not well-formed."""
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        assert end and head.startswith(b"HTTP/1.1 "), head[:200]
        first, *lines = head.split(b"\r\n")
        pairs = [line.decode("latin-1").partition(": ") for line in lines]
        assert all(colon and name for name, colon, _ in pairs), head
        headers = {name.lower(): value for name, _, value in pairs}
        status = int(first.split()[1])
        if status < 200:
            continue
        body, data = _body(headers, data, status, method)
        yield Answer(status, head, headers, body)


def _body(headers: dict[str, str], data: bytes, status: int, method: str) -> tuple[bytes, bytes]:
    if method == "HEAD" and (not data or data.startswith(b"HTTP/")) or status in (204, 304):
        return b"", data
    assert "transfer-encoding" not in headers, headers
    length = int(headers["content-length"])
    assert len(data) >= length
    return data[:length], data[length:]
