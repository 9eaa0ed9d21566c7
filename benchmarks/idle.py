"""W9: what the service takes while nothing happens.

Once after the run that mirrored everything, and once after a restart, when its run found nothing
to do. The memory is what is resident at the end of the minute, of all its processes.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.compare import Serving
from benchmarks.figures import Result
from benchmarks.files import check
from benchmarks.light import BUCKET, Item
from benchmarks.service import cpu, family, service
from benchmarks.site import Site
from benchmarks.workloads import FIRST_RUN, RESTARTED, Workload
from tests.support.s3_server import S3Server
from tests.support.world import eventually

SETTLE_SHARE = 0.1  # what follows a run, such as the ledger's checkpoint, is no idling
LIMIT_SECONDS = 1800.0


def results(workload: Workload, server: Serving, site: Site, rounds: int) -> Iterator[Result]:
    """So many rounds; there is nothing to warm up."""
    for number in range(1, rounds + 1):
        items = workload.items(number)
        folder = site.folder / f"service-{number}"
        with server.serving(items) as s3:
            for name in (FIRST_RUN, RESTARTED):
                yield Result(name, number, _idle(s3, folder, workload.idle_seconds, items, server))


def _idle(
    s3: S3Server, folder: Path, seconds: float, items: Sequence[Item], server: Serving
) -> dict[str, float]:
    with service(s3, BUCKET, folder) as running:
        eventually(running.caught_up, LIMIT_SECONDS)
        time.sleep(seconds * SETTLE_SHARE)
        before, began = cpu(running), time.perf_counter()
        time.sleep(seconds)
        busy = (cpu(running) - before) / (time.perf_counter() - began)
        processes = family(running)
        memory = sum(process.memory_info().rss for process in processes) / 1e6
        check(FIRST_RUN, running.root, items, server.pool)
    return {"busy": busy * 100, "memory": memory, "processes": float(len(processes))}
