"""W7: one event at a time to an idle service, beside the least that a file can cost.

An event's time begins just before its POST is sent and ends when the ledger has the verified,
durable file and the answer has come. Told beside it: when the answer came (the event is kept),
when the file was seen (renamed into place, its folder perhaps not yet durable), and how long the
answer with `?wait=` took, which looks every 80 ms and so says more of that than of the file.

The bare client gets the same object over a kept-alive connection and makes the file durable as
the service has to: a temporary file, fsync, rename, fsync of the folder. It verifies nothing and
remembers nothing. The two take turns at each key, and at who comes first.
"""

import http.client
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.compare import Serving
from benchmarks.figures import Result
from benchmarks.files import check
from benchmarks.light import BUCKET, Item
from benchmarks.service import URL, LedgerWatch, body, cpu, service
from benchmarks.site import Site
from benchmarks.workloads import BARE_GET, ONE_EVENT, Workload
from tests.support.s3_server import S3Server
from tests.support.service_process import ServiceProcess

REST_SECONDS = 0.01
LOOK_SECONDS = 0.0002
LIMIT_SECONDS = 30.0
SHARE_WAITED = 7  # one of so many events is sent with `?wait=`
ANSWERED, SEEN, WAITED = "- its answer", "- its file seen", "- with ?wait="


def results(workload: Workload, server: Serving, site: Site, rounds: int) -> Iterator[Result]:
    """A warm-up that does not count, then so many rounds, all on one service."""
    items = [workload.items(number) for number in range(rounds + 1)]
    everything = [item for each in items for item in each]
    with (
        server.serving(everything) as s3,
        service(s3, BUCKET, site.folder / "service", ENABLE_PERIODIC_SYNC="false") as running,
        LedgerWatch(running.root) as ledger,
    ):
        turns = _Turns(running, ledger, _Bare(s3, site.folder / "bare"))
        for number, given in enumerate(items):
            found = list(turns.round(number, given))
            done = [item for each in items[: number + 1] for item in each]
            check(ONE_EVENT, running.root, done, server.pool)
            check(BARE_GET, site.folder / "bare", turns.bare.done, server.pool)
            if number:
                yield from found


class _Turns:
    """Event and bare GET, one key after the other."""

    def __init__(self, running: ServiceProcess, ledger: LedgerWatch, bare: "_Bare") -> None:
        self.bare = bare
        self._running = running
        self._ledger = ledger
        self._service = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)

    def round(self, number: int, items: Sequence[Item]) -> Iterator[Result]:
        """The last of the items are for `?wait=`. Connections are fresh: old ones may be closed."""
        self._service.close()
        self.bare.connection.close()
        waited = len(items) // SHARE_WAITED
        times: dict[str, list[float]] = {ONE_EVENT: [], ANSWERED: [], SEEN: [], BARE_GET: []}
        before = cpu(self._running)
        for turn, item in enumerate(items[:-waited]):
            steps = (self._event, self._bare)
            for step in steps if turn % 2 else reversed(steps):
                time.sleep(REST_SECONDS)
                step(item, times)
        spent = cpu(self._running) - before
        times[WAITED] = [self._waited(item) for item in items[-waited:]]
        for name, seconds in times.items():
            values = _spread(seconds)
            if name == ONE_EVENT:
                values["cpu"] = spent * 1000 / len(seconds)
            yield Result(name, number, values)

    def _event(self, item: Item, times: dict[str, list[float]]) -> None:
        path = self._running.root / item.key
        began = time.perf_counter()
        self._post(URL, item)
        answered = time.perf_counter() - began
        seen = None
        while True:
            past = time.perf_counter() - began
            if seen is None and os.path.exists(path):
                seen = past
            if self._ledger.changed() and self._ledger.is_durable(item.key):
                break
            if past > LIMIT_SECONDS:
                raise SystemExit(f"the service did not mirror {item.key}")
            time.sleep(LOOK_SECONDS)
        durable = time.perf_counter() - began
        times[ANSWERED].append(answered)
        times[SEEN].append(durable if seen is None else seen)
        times[ONE_EVENT].append(durable)

    def _bare(self, item: Item, times: dict[str, list[float]]) -> None:
        times[BARE_GET].append(self.bare.fetch(item))

    def _waited(self, item: Item) -> float:
        time.sleep(REST_SECONDS)
        began = time.perf_counter()
        self._post(f"{URL}?wait={LIMIT_SECONDS}", item)
        taken = time.perf_counter() - began
        if not self._ledger.is_durable(item.key):
            raise SystemExit(f"the service had not mirrored {item.key} when it said so")
        return taken

    def _post(self, path: str, item: Item) -> None:
        told = body(BUCKET, item.key, size=item.size)
        self._service.request("POST", path, told, {"Content-Type": "application/json"})
        answer = self._service.getresponse()
        answer.read()
        if answer.status not in (200, 202):
            raise SystemExit(f"the service answered {answer.status} to an event")


class _Bare:
    """The least: GET, write, fsync, rename, fsync of the folder."""

    def __init__(self, server: S3Server, folder: Path) -> None:
        self.done: list[Item] = []
        self._folder = folder
        self._client = server.client()
        address = urlsplit(server.endpoint_url)
        self.connection = http.client.HTTPConnection(str(address.hostname), address.port)

    def fetch(self, item: Item) -> float:
        """Seconds from the request to the durable file."""
        signed = self._client.generate_presigned_url(
            "get_object", Params={"Bucket": BUCKET, "Key": item.key}, HttpMethod="GET"
        )
        path = self._folder / item.key
        path.parent.mkdir(parents=True, exist_ok=True)
        began = time.perf_counter()
        self.connection.request("GET", signed[signed.index("/", len("http://")) :])
        answer = self.connection.getresponse()
        data = answer.read()
        if answer.status != 200:
            raise SystemExit(f"the server answered {answer.status} to a bare GET")
        _keep(path, data)
        taken = time.perf_counter() - began
        self.done.append(item)
        return taken


def _keep(path: Path, data: bytes) -> None:
    staged = f"{path}.part"
    file = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    os.write(file, data)
    os.fsync(file)
    os.close(file)
    os.rename(staged, path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(folder)
    os.close(folder)


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    """Median, 99th percentile and worst, in milliseconds."""
    ordered = sorted(seconds)
    return {
        "p50": ordered[len(ordered) // 2] * 1000,
        "p99": ordered[len(ordered) * 99 // 100] * 1000,
        "worst": ordered[-1] * 1000,
    }
