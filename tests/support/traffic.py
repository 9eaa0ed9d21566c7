"""A bucket that never stops changing, and a reader of the mirror that never stops looking.

`History` knows every version that every key ever had, so that a file tells which one it is.
"""

import random
import threading
from collections.abc import Callable
from hashlib import md5
from pathlib import Path

import httpx

from tests.support import envelopes
from tests.support.s3_server import S3Server

KEPT = tuple(f"kept/{number:02}" for number in range(20))  # never deleted
LOOSE = tuple(f"loose/{number % 5}/{number:02}" for number in range(30))
SIZES = (0, 10, 3_000, 60_000, 300_000, 9_000_000)
OFTEN = (5, 60, 60, 20, 5, 1)


def etag(body: bytes) -> str:
    return md5(body, usedforsecurity=False).hexdigest()


class History:
    """The versions of each key in their order: ETags, None for a delete. One thread writes."""

    def __init__(self) -> None:
        self._versions: dict[str, list[str | None]] = {}
        self.accepted: dict[str, int] = {}  # by key, the newest version a sender was thanked for

    def add(self, key: str, version: str | None) -> int:
        """The number of a new version of the key."""
        known = self._versions.setdefault(key, [])
        known.append(version)
        return len(known) - 1

    def latest(self) -> dict[str, str]:
        newest = {key: versions[-1] for key, versions in self._versions.items()}
        return {key: version for key, version in newest.items() if version is not None}

    def number(self, key: str, body: bytes) -> int:
        """Which version of the key a file is. Fails for one that is none."""
        found, versions = etag(body), self._versions.get(key, [])
        assert found in versions, f"{key} is no version of its object: {len(body)} bytes"
        return len(versions) - 1 - versions[::-1].index(found)

    def number_of(self, key: str, version: str) -> int:
        versions = self._versions[key]
        return len(versions) - 1 - versions[::-1].index(version)

    def deleted_since(self, key: str, number: int) -> bool:
        """Whether a delete is among the versions from that number on."""
        return None in self._versions[key][number:]

    def is_at_least(self, key: str, file: Path, number: int) -> bool:
        """Whether a file, which need not be there, is as new as that version of its key."""
        try:
            return self.number(key, file.read_bytes()) >= number
        except FileNotFoundError:
            return self.deleted_since(key, number)


class Busy:
    """A thread that does one thing over and over until it is stopped; its error is not lost."""

    def __init__(self, work: Callable[[], None], pause_seconds: float) -> None:
        self._work = work
        self._pause_seconds = pause_seconds
        self._stopping = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Busy":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        self.check()

    def check(self) -> None:
        """Raises: what the work raised."""
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while not self._stopping.wait(self._pause_seconds):
                self._work()
        except Exception as error:
            self._error = error


class Writer:
    """Puts, overwrites and deletes objects and tells the service of most of it, while it is up."""

    def __init__(self, server: S3Server, bucket: str, history: History, seed: int) -> None:
        self._client = server.client()
        self._bucket = bucket
        self._history = history
        self._random = random.Random(seed)
        self.steps = 0
        self._http = httpx.Client(trust_env=False, verify=False, timeout=5)
        self.url: str | None = None  # where the service is to be told

    def close(self) -> None:
        self._http.close()
        self._client.close()

    def step(self) -> None:
        key = self._random.choice(KEPT + LOOSE)
        if key in LOOSE and self._random.random() < 0.4:
            number = self._history.add(key, None)
            self._client.delete_object(Bucket=self._bucket, Key=key)
        else:
            (size,) = self._random.choices(SIZES, OFTEN)
            body = self._random.randbytes(size)
            number = self._history.add(key, etag(body))
            self._client.put_object(Bucket=self._bucket, Key=key, Body=body)
        if self._random.random() < 0.8 and self._is_told(key):
            self._history.accepted[key] = number
        self.steps += 1

    def _is_told(self, key: str) -> bool:
        record = envelopes.records(envelopes.s3_record(key, bucket=self._bucket))
        try:
            url = f"{self.url}/sync/s3-notification"
            return self.url is not None and self._http.post(url, json=record).status_code == 202
        except httpx.TransportError:
            return False


class Reader:
    """Looks at every file: each is whole, none becomes older, and none that is kept goes."""

    def __init__(self, root: Path, history: History) -> None:
        self._root = root
        self._history = history
        self._seen: dict[str, int] = {}
        self.looks = 0

    def step(self) -> None:
        for key in KEPT + LOOSE:
            try:
                body = (self._root / key).read_bytes()
            except FileNotFoundError:
                assert key in LOOSE or key not in self._seen, f"{key} was there, and is no more"
                continue
            number = self._history.number(key, body)
            assert number >= self._seen.get(key, 0), f"{key} became an older version"
            self._seen[key] = number
            self.looks += 1
