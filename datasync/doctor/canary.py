"""A real round trip: an object is put, its event brings the file, it is deleted, the file goes.

Needs s3:PutObject and s3:DeleteObject, and a running service. What was put is removed again,
also when the wait was in vain or was cut short.
"""

import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from datasync.config.settings import Settings
from datasync.doctor.cloud import client
from datasync.doctor.lines import Line, failed, passed, skipped, warned
from datasync.services.storage.ledger import Ledger
from datasync.services.storage.mirror import path_for

PREFIX = "datasync-canary/"  # below S3_PREFIX
THERE, GONE = "canary arrives", "canary leaves"
POLL_SECONDS = 0.02
_NO_EVENT = "See 'bucket notifications' above, the function's log and its dead-letter queue."


class Canary:
    """One object with a random name; `fly` once."""

    def __init__(self, settings: Settings, timeout_seconds: float) -> None:
        self._settings = settings
        self._timeout = timeout_seconds
        self._s3 = client(settings, "s3")
        self._key = f"{settings.s3_prefix}{PREFIX}{secrets.token_hex(8)}.txt"
        self._file: Path = settings.root / path_for(self._key)
        self._versions: list[str] = []
        self._there = False

    def fly(self) -> Iterator[Line]:
        """The lines of the round trip, as they come about."""
        try:
            yield from self._round_trip()
        except (ClientError, BotoCoreError) as error:
            yield failed(
                THERE,
                str(error),
                "The canary needs s3:PutObject and s3:DeleteObject; else leave it.",
            )
        finally:
            yield from self._clean_up()

    def _round_trip(self) -> Iterator[Line]:
        body = f"canary of {time.time():.3f}\n".encode()
        self._there = True  # from here on it may be
        self._remember(self._s3.put_object(**self._target(), Body=body))
        seconds = self._wait(lambda: self._content() == body)
        if seconds is None:
            yield failed(THERE, f"no file after {self._timeout:g} seconds", _NO_EVENT)
            yield skipped(GONE, "it never came")
            return
        yield self._arrived(seconds)
        self._remember(self._s3.delete_object(**self._target()))
        self._there = False
        seconds = self._wait(lambda: self._content() is None)
        if seconds is None:
            found = f"the file is still there after {self._timeout:g} seconds"
            yield failed(GONE, found, "Let the bucket tell of s3:ObjectRemoved:* as well.")
        else:
            yield passed(GONE, f"{seconds:.2f} seconds after the delete")

    def _arrived(self, seconds: float) -> Line:
        """By an event, or only because a run found it."""
        opened = Ledger.open(self._settings.ledger_url())
        try:
            outcomes = opened.outcomes(key=self._key, limit=1, failures_first=False)
        finally:
            opened.close()
        told = f"{seconds:.2f} seconds after the put"
        if outcomes and outcomes[0].run_id is not None:
            return warned(THERE, f"{told}, but a run found it, and no event told of it", _NO_EVENT)
        return passed(THERE, told)

    def _wait(self, condition: Callable[[], bool]) -> float | None:
        """How long it took until the condition held; None when it did not in time."""
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > self._timeout:
                return None
            time.sleep(POLL_SECONDS)
        return time.monotonic() - began

    def _content(self) -> bytes | None:
        try:
            return self._file.read_bytes()
        except OSError:
            return None

    def _target(self) -> dict[str, Any]:
        return {"Bucket": self._settings.s3_bucket_name, "Key": self._key}

    def _remember(self, answer: dict[str, Any]) -> None:
        """Of a versioned bucket: what has to be removed by its version."""
        if answer.get("VersionId"):
            self._versions.append(answer["VersionId"])

    def _clean_up(self) -> Iterator[Line]:
        try:
            if self._there and not self._versions:
                self._s3.delete_object(**self._target())
            for version in reversed(self._versions):
                self._s3.delete_object(**self._target(), VersionId=version)
        except (ClientError, BotoCoreError) as error:
            yield warned(
                "canary", f"{self._key} is left in the bucket: {error}", "Remove it by hand."
            )
