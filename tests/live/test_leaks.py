"""A thousand failures cost nothing that stays: descriptors, threads, memory, staged files.

The service is a process of its own, so that what it holds can be counted from outside; its S3
is a scripted server that fails in turns.
"""

import os
import re
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import httpx

from tests.support import envelopes
from tests.support.fork_server import ForkServer
from tests.support.s3_server import S3Server
from tests.support.scripted_server import (
    Peer,
    Reply,
    ScriptedServer,
    Seen,
    end_after,
    etag,
    good,
    object_head,
    raw,
    refuse,
    reset_after,
)
from tests.support.service_process import ForkedService, ServiceProcess
from tests.support.world import eventually

SMALL, LARGE = os.urandom(200_000), os.urandom(2**20)
MIB = 2**20
TRANSFERS, LISTINGS, REFUSALS = 1_000, 200, 200
FAULTS: tuple[Reply, ...] = (
    reset_after(0, of=SMALL),
    reset_after(150_000, of=SMALL),
    reset_after(700_000, of=LARGE),
    end_after(199_999, of=SMALL),
    end_after(900_000, of=LARGE),
    good(SMALL, ETag=f'"{etag(b"another body")}"'),
    good(LARGE, ETag=f'"{etag(b"another body")}"'),
    raw(object_head(SMALL, length=10**9) + SMALL),
    raw(b"not HTTP at all\r\n\r\n"),
    refuse("500 Internal Server Error", "InternalError"),
    refuse("503 Slow Down", "SlowDown"),
    refuse("403 Forbidden", "AccessDenied"),
    refuse("301 Moved Permanently", "PermanentRedirect"),
)
BAD_BODIES = (b"", b"{", b"[]", b'"text"', b"\xff\xfe", b'{"Records": 1}', b'{"Records": [{}]}')


@dataclass(frozen=True, slots=True)
class Held:
    """What a process holds."""

    descriptors: int
    threads: int
    resident_bytes: int

    @classmethod
    def by(cls, pid: int) -> "Held":
        status = Path(f"/proc/{pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB.*Threads:\s+(\d+)", status, re.DOTALL)
        assert found is not None
        return cls(len(os.listdir(f"/proc/{pid}/fd")), int(found[2]), int(found[1]) * 1024)


class Failing:
    """A service whose S3 never succeeds, and what is asked of it."""

    def __init__(self, service: ServiceProcess, s3: ScriptedServer) -> None:
        self.service = service
        self._s3 = s3
        self._faults = cycle(FAULTS)
        self._asked: set[str] = set()
        self._keys = 0
        self._http = httpx.Client(base_url=service.url, trust_env=False, verify=False, timeout=30)
        s3.script(self._reply)

    def close(self) -> None:
        self._http.close()

    def _reply(self, peer: Peer, seen: Seen) -> bool:
        if "list-type" in seen.target:
            return refuse("403 Forbidden", "AccessDenied")(peer, seen)
        self._asked.add(seen.target)
        return next(self._faults)(peer, seen)

    def transfers(self, count: int) -> None:
        keys = [f"k/{self._keys + number}" for number in range(count)]
        self._keys += count
        records = [envelopes.s3_record(key, bucket="bucket") for key in keys]
        answer = self._http.post("/sync/s3-notification", json=envelopes.records(*records))
        assert answer.status_code == 202
        eventually(lambda: len(self._asked) == self._keys, 60)
        eventually(lambda: self.health()["failed"] == self._keys, 60)

    def health(self) -> dict[str, int]:
        found: dict[str, int] = self._http.get("/sync/health").json()
        return found

    def listings(self, count: int) -> None:
        for _ in range(count):
            answer = self._http.post("/sync/trigger").json()
            assert answer["status"] == "failed", answer

    def refusals(self, count: int) -> None:
        for _, body in zip(range(count), cycle(BAD_BODIES), strict=False):
            answer = self._http.post("/sync/s3-notification", content=body)
            assert 400 <= answer.status_code < 500, (body, answer.text)


def test_failures_leave_nothing_behind(fork_server: ForkServer, tmp_path: Path) -> None:
    with ScriptedServer() as s3:
        server = S3Server(s3.url, "key", "secret", "us-east-1", 0)
        settings = {"RETRY_ATTEMPTS": "1", "LOG_LEVEL": "ERROR", "ENABLE_PERIODIC_SYNC": "false"}
        with ForkedService(fork_server, server, "bucket", tmp_path, **settings) as service:
            service.wait_until_up()
            failing = Failing(service, s3)
            failing.listings(20)
            failing.refusals(20)
            failing.transfers(300)  # as many at once as there will be later
            before = Held.by(service.process.pid)
            failing.listings(LISTINGS)
            failing.refusals(REFUSALS)
            failing.transfers(TRANSFERS)  # last: they are tried again and again
            after = Held.by(service.process.pid)
            failing.close()
            # Connections that are kept come and go; a leak would be one for each failure.
            assert after.descriptors <= before.descriptors + 100, (before, after)
            assert after.threads <= before.threads + 4, (before, after)
            # The bodies of those transfers that are taken in memory are more than 60 MiB.
            assert after.resident_bytes <= before.resident_bytes + 32 * MIB, (before, after)
            assert service.terminate() == 0
    assert service.files() == {} and os.listdir(service.root / ".datasync" / "staging") == []
