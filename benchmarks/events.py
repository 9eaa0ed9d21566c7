"""Bursts of events: how fast they are taken, and how long until their files are right.

    python -m benchmarks.events

Starts SeaweedFS and the service on loopback. Prints the rate at which notifications are taken
beside that of a route of the same service that does nothing (in turn, so that both meet the same
machine), how soon a single event has its file, and two bursts of 10,000 notifications in 50
connections: for 100 keys and for 10,000.
"""

import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from benchmarks import bare_app
from benchmarks.load import Load, send
from benchmarks.service import URL, body, service
from tests.support import seaweed
from tests.support.s3_server import S3Server
from tests.support.service_process import ServiceProcess
from tests.support.world import eventually

CONNECTIONS = 50
EVENTS = 10_000
ROUNDS = 5

BARE = ("-m", "benchmarks.bare_app")
WORKERS = (
    *("-m", "gunicorn", "server:app", "-w", "4", "-k", "uvicorn.workers.UvicornWorker"),
    *("--bind", "127.0.0.1:{port}"),
)


@contextmanager
def settled(
    server: S3Server, bucket: str, folder: Path, command: Sequence[str] = BARE
) -> Iterator[ServiceProcess]:
    """A service whose first run is over."""
    with service(server, bucket, folder, command) as running:
        eventually(running.caught_up, 60)
        yield running


class Watch:
    """Pings the service all along, and looks at its memory."""

    def __init__(self, running: ServiceProcess) -> None:
        self._running = running
        self._process = psutil.Process(running.process.pid)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.slowest_ping = 0.0
        self.peak_mb = 0.0

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        with httpx.Client(base_url=self._running.url, trust_env=False, timeout=30) as client:
            while not self._over.wait(0.02):
                began = time.perf_counter()
                client.get("/ping").raise_for_status()
                self.slowest_ping = max(self.slowest_ping, time.perf_counter() - began)
                self.peak_mb = max(self.peak_mb, self._process.memory_info().rss / 1e6)


def compare_rates(running: ServiceProcess, bucket: str) -> None:
    """Both routes in turn; of one key, so that the engine has next to nothing to do."""
    bodies = [body(bucket, "none")] * 3_000
    ratios = []
    for path in (bare_app.PATH, URL):
        send(running.port, path, bodies[:500], CONNECTIONS)
    for _ in range(ROUNDS):
        bare = send(running.port, bare_app.PATH, bodies, CONNECTIONS)
        real = send(running.port, URL, bodies, CONNECTIONS)
        ratios.append(real.rate / bare.rate)
        print(f"  nothing {bare.rate:6.0f}/s   journaled {real.rate:6.0f}/s   {ratios[-1]:.2f}")
    print(f"acceptance: {statistics.median(ratios):.2f} of a route that does nothing (median)")


def wake_ups(server: S3Server, folder: Path, name: str, command: Sequence[str]) -> None:
    """One event at a time, on an idle service: from the answer to the whole, durable file.

    It bounds from above how long the engine takes to begin. Each event goes over a connection
    of its own, so that any of several workers takes it.
    """
    bucket, seconds = server.make_bucket(), list[float]()
    client = server.client()
    with settled(server, bucket, folder, command) as running:
        for number in range(100):
            key = f"wake/{number:03}"
            client.put_object(Bucket=bucket, Key=key, Body=key.encode())
            httpx.post(
                f"{running.url}{URL}", content=body(bucket, key), trust_env=False
            ).raise_for_status()
            began, file = time.perf_counter(), running.root / key
            while not file.exists():
                time.sleep(0.001)
            seconds.append(time.perf_counter() - began)
    seconds.sort()
    print(
        f"{name}: from the answer to the file: median {seconds[50] * 1000:.0f} ms, "
        f"p99 {seconds[98] * 1000:.0f} ms, worst {seconds[-1] * 1000:.0f} ms"
    )


def burst(server: S3Server, folder: Path, keys: int) -> None:
    bucket = server.make_bucket()
    names = [f"burst/{number:05}" for number in range(keys)]
    with settled(server, bucket, folder) as running:
        fill(server, bucket, names)
        bodies = [body(bucket, names[number % keys]) for number in range(EVENTS)]
        with Watch(running) as watch:
            began = time.perf_counter()
            load = send(running.port, URL, bodies, CONNECTIONS)
            eventually(lambda: running.get("/sync/stats")["pending"] == 0, 300)
            whole = time.perf_counter() - began
        stats = running.get("/sync/stats")
        files = running.files()
        assert files == {name: name.encode() for name in names}, "the mirror is not equal"
        report(keys, load, whole, watch, stats)


def fill(server: S3Server, bucket: str, names: Sequence[str]) -> None:
    client = server.client()

    def put(name: str) -> None:
        client.put_object(Bucket=bucket, Key=name, Body=name.encode())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, names))


def report(keys: int, load: Load, whole: float, watch: Watch, stats: dict[str, float]) -> None:
    answers = ", ".join(f"{count} x {status}" for status, count in sorted(load.statuses.items()))
    ordered = sorted(load.latencies)
    print(
        f"{EVENTS} events for {keys} keys: {answers} in {load.seconds:.2f} s "
        f"({load.rate:.0f}/s), answer p50 {ordered[len(ordered) // 2] * 1000:.0f} ms, "
        f"p99 {ordered[len(ordered) * 99 // 100] * 1000:.0f} ms; all durable after {whole:.2f} s; "
        f"{stats['duplicates']} coalesced; slowest /ping {watch.slowest_ping * 1000:.0f} ms; "
        f"peak memory {watch.peak_mb:.0f} MB; lag p50 {stats['lag_p50']:.3f} s, "
        f"p99 {stats['lag_p99']:.3f} s"
    )


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="datasync-bench-") as name:
        folder = Path(name)
        (folder / "server").mkdir()
        process, server = seaweed.start(folder / "server")
        try:
            bucket = server.make_bucket()
            with settled(server, bucket, folder / "rates") as running:
                compare_rates(running, bucket)
            wake_ups(server, folder / "one", "one process", BARE)
            wake_ups(server, folder / "four", "four workers", WORKERS)
            for keys in (100, 10_000):
                burst(server, folder / f"keys-{keys}", keys)
        finally:
            process.stop()
    sys.stdout.flush()


if __name__ == "__main__":
    main()
