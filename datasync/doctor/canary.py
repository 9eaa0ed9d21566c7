"""A real round trip: an object is put into the bucket, and its events bring and remove its file.

The only part of the doctor that writes to the bucket. Whatever happens, Ctrl-C, SIGTERM and a lost
terminal included, the object goes again, or what is left of it is told; only `kill -9` leaves it.
Its file goes as any other does, into the trash. Works on the calling thread. Knows no settings.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from datasync.doctor.aws import asking_s3
from datasync.doctor.findings import (
    Finding,
    Line,
    Tell,
    failed,
    failed_by,
    passed,
    skipped,
    warned,
)
from datasync.errors import AccessDenied, BucketError, DataSyncError
from datasync.models.sync_models import Operation, Outcome
from datasync.services.storage.paths import path_for

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

FOLDER = "datasync-canary/"
PUT, ARRIVAL, DELETE, REMOVAL, LEFT = (
    "canary put",
    "canary arrival",
    "canary delete",
    "canary removal",
    "canary left",
)
LOOK_SECONDS = 0.05
LEDGER_SECONDS = 3.0  # how long the ledger may lag behind the disk
RUN_ADVICE = "Look at 'notifications' above, the function's log and the dead-letter queue."

History = Callable[[str], list[Outcome]]  # the outcomes of a key, newest first


@dataclass(frozen=True, slots=True)
class Flight:
    """Where a canary flies: from the bucket, below `prefix`, to a file below `root`.

    `history` tells what was done to a key, None when no ledger can be asked.
    `timeout_seconds` bounds each of the two waits.
    """

    s3: "S3Client"
    bucket: str
    prefix: str
    root: Path
    timeout_seconds: float
    history: History | None


class Canary:
    """One object with a name and a content that nothing else has."""

    def __init__(self, flight: Flight, tell: Tell) -> None:
        self._flight = flight
        self._tell = tell
        token = secrets.token_hex(8)
        self.key = f"{flight.prefix}{FOLDER}{token}.txt"
        self._body = f"canary {token}\n".encode()
        self._file = flight.root / path_for(self.key)
        self._version: str | None = None  # where the bucket keeps versions
        self._is_put = False  # whether there may be an object by now
        self._is_known = False  # whether S3 has told how the put ended

    def fly(self) -> None:
        """Put, wait for the file, delete, wait until it is gone; tells a line for each."""
        try:
            if self._step(PUT, self._put) and self._step(ARRIVAL, self._arrive):
                if self._step(DELETE, self._delete):
                    self._step(REMOVAL, self._go)
        finally:
            self._clean_up()

    def _step(self, name: str, do: Callable[[], Finding]) -> bool:
        """Do it and tell of it; whether the next step makes sense."""
        begun = time.monotonic()
        try:
            finding = do()
        except DataSyncError as error:
            finding = failed_by(error)
        self._tell(Line(name, finding, round(time.monotonic() - begun, 3)))
        return finding.level in ("pass", "warn")

    def _put(self) -> Finding:
        flight = self._flight
        self._is_put = True
        try:
            with asking_s3(f"putting {self.key!r}", self._permission("s3:PutObject")):
                answer = flight.s3.put_object(Bucket=flight.bucket, Key=self.key, Body=self._body)
        except AccessDenied:
            self._is_put = False  # refused: there is nothing to remove
            raise
        self._is_known = True
        self._version = answer.get("VersionId")
        return passed(f"put {self.key!r}")

    def _permission(self, action: str) -> str:
        return f"{action} on {self._flight.bucket}/{self._flight.prefix}{FOLDER}*"

    def _arrive(self) -> Finding:
        begun = time.monotonic()
        if not self._wait(lambda: _content(self._file) == self._body):
            return self._absent()
        return self._told("the file came", Operation.DOWNLOAD, time.monotonic() - begun)

    def _absent(self) -> Finding:
        text = f"no file within {self._flight.timeout_seconds:g} s"
        outcome = self._latest()
        if outcome is not None:
            return failed(f"{text}: {outcome.status.value}, {outcome.message}", outcome.hint or "")
        return failed(f"{text}: no event has come", RUN_ADVICE)

    def _told(self, text: str, did: Operation, seconds: float) -> Finding:
        """That something happened to the file, how soon, and whether an event did it."""
        text = f"{text} after {seconds:.2f} s"
        if self._flight.history is None:
            return passed(f"{text}; no ledger tells whether by an event")
        self._wait(lambda: self._has_recorded(did), LEDGER_SECONDS)
        outcome = self._latest()
        if outcome is None or outcome.operation is not did:
            return passed(f"{text}; the ledger does not tell yet by what")
        if outcome.run_id is not None:
            return warned(f"{text}, but by run {outcome.run_id}, not by an event", RUN_ADVICE)
        return passed(f"{text}, by an event")

    def _has_recorded(self, did: Operation) -> bool:
        """Whether the ledger, which is written after the disk, has it by now."""
        outcome = self._latest()
        return outcome is not None and outcome.operation is did

    def _latest(self) -> Outcome | None:
        history = self._flight.history
        found = history(self.key) if history is not None else []
        return found[0] if found else None

    def _delete(self) -> Finding:
        left = self._remove()
        self._is_put = False
        if left:
            return warned(f"deleted {self.key!r}; {left}", "Remove that by hand.")
        return passed(f"deleted {self.key!r}")

    def _go(self) -> Finding:
        begun = time.monotonic()
        if not self._wait(lambda: _content(self._file) is None):
            text = f"the file is still there after {self._flight.timeout_seconds:g} s"
            return failed(f"{text}: no event has come", RUN_ADVICE)
        return self._told("the file went to the trash", Operation.DELETE, time.monotonic() - begun)

    def _wait(self, come: Callable[[], bool], seconds: float | None = None) -> bool:
        """Whether it came about in time."""
        over = time.monotonic() + (self._flight.timeout_seconds if seconds is None else seconds)
        while not come():
            if time.monotonic() >= over:
                return False
            time.sleep(LOOK_SECONDS)
        return True

    # Removing

    def _clean_up(self) -> None:
        """Remove the object if it is still there, and tell what cannot be removed."""
        if not self._is_put:
            return
        try:
            left = self._remove()
        except (DataSyncError, KeyboardInterrupt) as error:
            self._tell(Line(LEFT, self._leftover(error)))
            if isinstance(error, KeyboardInterrupt):
                raise
            return
        self._is_put = False
        gone = warned(left, "Remove that by hand.") if left else passed("nothing in the bucket")
        self._tell(Line(LEFT, gone))

    def _leftover(self, error: BaseException) -> Finding:
        version = f", version {self._version}" if self._version else ""
        why = str(error) or "interrupted"
        advice = error.hint if isinstance(error, DataSyncError) else ""
        return failed(
            f"s3://{self._flight.bucket}/{self.key}{version} could not be removed: {why}",
            f"Remove it by hand. {advice}".strip(),
        )

    def _remove(self) -> str:
        """Remove what the put made; what had to be left, in words. Raises: BucketError."""
        versions = [self._version] if self._is_known else self._versions()
        try:
            for version in versions:
                self._delete_object(version)
        except AccessDenied:
            named = [version for version in versions if version is not None]
            if not named:
                raise
            self._delete_object(None)
            return _behind_a_marker(named)
        return ""

    def _versions(self) -> list[str | None]:
        """What there is of an object whose put ended untold; it may be a version."""
        flight = self._flight
        try:
            with asking_s3("the object's versions", "s3:ListBucketVersions"):
                found = flight.s3.list_object_versions(Bucket=flight.bucket, Prefix=self.key)
        except BucketError:
            return [None]
        return [each.get("VersionId") for each in found.get("Versions", [])]

    def _delete_object(self, version: str | None) -> None:
        """Delete a version; a plain delete, with None, would keep one behind a marker."""
        flight = self._flight
        action = "s3:DeleteObjectVersion" if version else "s3:DeleteObject"
        with asking_s3(f"deleting {self.key!r}", self._permission(action)):
            if version:
                flight.s3.delete_object(Bucket=flight.bucket, Key=self.key, VersionId=version)
            else:
                flight.s3.delete_object(Bucket=flight.bucket, Key=self.key)


def _behind_a_marker(versions: list[str]) -> str:
    """What a plain delete leaves of these versions; one called "null" it replaces."""
    kept = [version for version in versions if version != "null"]
    return (
        f"its version {', '.join(kept)} stays behind a delete marker: s3:DeleteObjectVersion is "
        "not allowed"
        if kept
        else ""
    )


def _content(file: Path) -> bytes | None:
    """What a reader finds there, None when nothing."""
    try:
        return file.read_bytes()
    except OSError:
        return None


def not_flown(why: str) -> Line:
    """The line of a canary that was asked for and makes no sense."""
    return Line(PUT, skipped(why))
