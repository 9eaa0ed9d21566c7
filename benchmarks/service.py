"""The service under measurement: started, told of events, and watched without asking it.

How far it is, the ledger says: a row of an object is written only when its file is durable and
verified, and a reader of SQLite sees a transaction only when it is on the disk. The API answers
from the same rows. Asking it over and over would take its processor from what is measured.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

import psutil

from benchmarks.measure import children, cpu_of
from tests.support.s3_server import S3Server
from tests.support.service_process import ServiceProcess

URL = "/sync/s3-notification"
SERVE = ("-m", "datasync", "serve")


@contextmanager
def service(
    server: S3Server,
    bucket: str,
    folder: Path,
    command: Sequence[str] = SERVE,
    **variables: str,
) -> Iterator[ServiceProcess]:
    """A service that answers, until the block ends."""
    folder.mkdir(exist_ok=True)
    told = {"LOG_LEVEL": "WARNING", **variables}
    with ServiceProcess(server, bucket, folder, command, **told) as running:
        running.wait_until_up()
        yield running
        running.terminate()


def body(bucket: str, *keys: str, size: int = 4, etag: str = "0" * 32) -> bytes:
    """What S3 sends for objects that were put: one message with a record for each."""
    records = [
        {
            "eventVersion": "2.1",
            "eventName": "ObjectCreated:Put",
            "s3": {
                "bucket": {"name": bucket},
                "object": {"key": key, "size": size, "eTag": etag},
            },
        }
        for key in keys
    ]
    return json.dumps({"Records": records}).encode()


def family(running: ServiceProcess) -> list[psutil.Process]:
    """All living processes of a service."""
    found = []
    for pid in (running.process.pid, *children(running.process.pid)):
        with suppress(psutil.NoSuchProcess):
            found.append(psutil.Process(pid))
    return found


def cpu(running: ServiceProcess) -> float:
    """CPU seconds that the service has spent so far."""
    return cpu_of(family(running))


class LedgerWatch:
    """A reader of the service's ledger (SQLite); to look costs some microseconds."""

    def __init__(self, root: Path) -> None:
        place = f"file:{root}/.datasync/ledger.db?mode=ro"
        self._database = sqlite3.connect(place, uri=True, isolation_level=None)
        self._version = -1

    def __enter__(self) -> "LedgerWatch":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def changed(self) -> bool:
        """Whether anything was committed since it was asked last."""
        before, self._version = self._version, self._number("PRAGMA data_version")
        return before != self._version

    def is_durable(self, key: str) -> bool:
        """Whether the key's file is there, verified, and nothing is left to do for it."""
        return bool(
            self._number(
                "SELECT count(*) FROM objects WHERE key = ? AND verdict IS NOT NULL"
                " AND verdict != 'size' AND key NOT IN (SELECT key FROM dirty)",
                key.encode(),
            )
        )

    def durable(self) -> int:
        """How many keys have their verified file, when nothing is left to do; else 0."""
        return self._number(
            "SELECT count(*) FROM objects WHERE verdict IS NOT NULL AND verdict != 'size'"
            " AND NOT EXISTS (SELECT 1 FROM dirty)"
        )

    def _number(self, query: str, *values: bytes) -> int:
        return int(self._database.execute(query, values).fetchone()[0])
