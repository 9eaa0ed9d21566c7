"""W8: as many events as keys, beside a `datasync sync` of the same bucket.

One event a request, as functions and bucket notifications send them, or many in one.

Its time begins with the first request and ends when every file is durable, verified and in the
ledger. Each side begins with an empty folder; they take turns at who comes first.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import psutil

from benchmarks.compare import Comparison, Serving
from benchmarks.figures import Result
from benchmarks.files import check
from benchmarks.goals import OURS
from benchmarks.light import BUCKET, Item
from benchmarks.load import send
from benchmarks.measure import Memory, cpu_of
from benchmarks.service import URL, LedgerWatch, body, cpu, service
from benchmarks.site import Site
from benchmarks.workloads import EVENTS, Workload
from tests.support.s3_server import S3Server
from tests.support.service_process import ServiceProcess

CONNECTIONS = 50
LOOK_SECONDS = 0.02
LIMIT_SECONDS = 600.0


def results(workload: Workload, server: Serving, site: Site, rounds: int) -> Iterator[Result]:
    """A warm-up that does not count, then so many rounds."""
    alone = Comparison(workload, server, site, aws=None)
    sync = next(each for each in alone.contestants if each.name == OURS)
    for number in range(rounds + 1):
        items = workload.items(number)
        with server.serving(items) as s3:
            steps: list[Callable[[], Result]] = [
                partial(_burst, number, items, s3, server, site, workload.records),
                partial(alone.run, sync, number, items, s3),
            ]
            for step in steps if number % 2 else reversed(steps):
                found = step()
                each = found.values["wall"] * 1000 / len(items)
                if number:
                    yield Result(found.contestant, number, {**found.values, "each": each})


def _burst(
    number: int, items: Sequence[Item], s3: S3Server, server: Serving, site: Site, records: int
) -> Result:
    folder = site.folder / "service"
    keys, size = [item.key for item in items], items[0].size
    starts = range(0, len(keys), records)
    bodies = [body(BUCKET, *keys[start : start + records], size=size) for start in starts]
    with service(s3, BUCKET, folder, ENABLE_PERIODIC_SYNC="false") as running:
        os.sync()
        values = _told(running, bodies, len(keys), psutil.Process(s3.pid))
        check(EVENTS, running.root, items, server.pool)
    site.put_away(folder)
    return Result(EVENTS, number, values)


def _told(
    running: ServiceProcess, bodies: Sequence[bytes], files: int, server: psutil.Process
) -> dict[str, float]:
    spent, served, memory = cpu(running), cpu_of([server]), Memory()
    answered = list[float]()

    def tell() -> None:
        load = send(running.port, URL, bodies, CONNECTIONS)
        if set(load.statuses) - {202, 503}:
            raise SystemExit(f"the service answered {dict(load.statuses)} to events")
        answered.append(time.perf_counter() - began)

    with LedgerWatch(running.root) as ledger:
        began = time.perf_counter()
        teller = threading.Thread(target=tell)
        teller.start()
        while not ledger.changed() or ledger.durable() < files:
            if time.perf_counter() - began > LIMIT_SECONDS:
                raise SystemExit("the service did not mirror all that it was told of")
            memory.look(running.process.pid)
            time.sleep(LOOK_SECONDS)
        teller.join()
        wall = time.perf_counter() - began
    return {
        "wall": wall,
        "taken": answered[0],
        "cpu": cpu(running) - spent,
        "peak": memory.peak,
        "server": cpu_of([server]) - served,
    }
