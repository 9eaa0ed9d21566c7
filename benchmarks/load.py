"""A light HTTP/1.1 client for load: many kept-alive connections in one thread.

Knows no more of HTTP than the service's short answers need, so that it is never the bottleneck.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Load:
    """What a burst of requests met. Seconds; `latencies` in no order."""

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return sum(self.statuses.values()) / self.seconds


def send(port: int, path: str, bodies: Sequence[bytes], connections: int) -> Load:
    """Post every body once, over so many connections; a 503 is sent again after its pause."""
    return asyncio.run(_send(port, path, bodies, connections))


async def _send(port: int, path: str, bodies: Sequence[bytes], connections: int) -> Load:
    load = Load()
    waiting = list(reversed(bodies))
    started = time.perf_counter()
    await asyncio.gather(*(_speak(port, path, waiting, load) for _ in range(connections)))
    load.seconds = time.perf_counter() - started
    return load


async def _speak(port: int, path: str, waiting: list[bytes], load: Load) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    while waiting:
        body = waiting.pop()
        began = time.perf_counter()
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        status, pause = await _answer(reader)
        load.latencies.append(time.perf_counter() - began)
        load.statuses[status] += 1
        if status == 503:
            waiting.append(body)
            await asyncio.sleep(pause)
    writer.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, float]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
    await reader.readexactly(int(fields["content-length"]))
    return int(head.split(" ", 2)[1]), float(fields.get("retry-after", 0))
