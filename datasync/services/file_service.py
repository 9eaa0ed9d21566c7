"""The read side: lists what we hold, or what the bucket holds, and opens one file of ours.

Speaks keys; paths come from the ledger only. Changes nothing, knows no HTTP and no settings.
"""

import base64
import binascii
import os
import time
import zlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datasync.errors import FileDrifted, FileMissing, MalformedRequest, MirrorError
from datasync.models.sync_models import ListedObject, ObjectRow, State, Verdict

if TYPE_CHECKING:
    from datasync.services.storage.bucket import Bucket
    from datasync.services.storage.ledger import Ledger
    from datasync.services.storage.mirror import Mirror

OPEN_ATTEMPTS = 6
PAUSE_SECONDS = 0.05  # the ledger follows the disk within one group commit
_CHECK_BYTES = 4


@dataclass(frozen=True, slots=True)
class FileFact:
    """One key: how the source describes it, and the ledger's row if there is one."""

    key: str
    size: int
    last_modified: int
    etag: str
    row: ObjectRow | None


@dataclass(frozen=True, slots=True)
class FileSlice:
    """One page of keys. `token` asks for the next one; None on the last."""

    facts: tuple[FileFact, ...]
    token: str | None


@dataclass(frozen=True, slots=True)
class OpenFile:
    """An open descriptor that pins one version, and the row that describes it.

    Whoever gets it closes `descriptor`.
    """

    descriptor: int
    row: ObjectRow
    stat: os.stat_result


class FileService:
    """Lists and opens files. Thread-safe, as its parts are."""

    def __init__(
        self,
        ledger: "Ledger",
        mirror: "Mirror",
        bucket: "Bucket",
        *,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._ledger = ledger
        self._mirror = mirror
        self._bucket = bucket
        self._pause = pause

    def held(
        self,
        prefix: str,
        token: str | None,
        limit: int,
        *,
        states: Sequence[State] | None = None,
        verdict: Verdict | None = None,
        least_bytes: int = 0,
    ) -> FileSlice:
        """A page of the ledger's keys below `prefix`, in byte order; only such, if it is said.

        Raises: MalformedRequest (the token), LedgerError.
        """
        rows = self._ledger.rows(
            prefix,
            read_token(token, prefix),
            limit=limit + 1,
            states=states,
            verdict=verdict,
            least_bytes=least_bytes,
        )
        facts = tuple(map(fact_of, rows[:limit]))
        return FileSlice(facts, make_token(facts[-1].key) if len(rows) > limit else None)

    def listed(self, prefix: str, token: str | None, limit: int) -> FileSlice:
        """A page of the bucket's own keys below `prefix`, as S3 lists them now.

        Raises: MalformedRequest (the token), BucketError, LedgerError.
        """
        objects, more = self._first_listed(prefix, read_token(token, prefix), limit)
        legal = [entry.key for entry in objects if entry.problem is None]
        rows = self._ledger.get_many(legal)
        facts = tuple(
            FileFact(entry.key, entry.size, entry.last_modified, entry.etag, rows.get(entry.key))
            for entry in objects
        )
        return FileSlice(facts, make_token(legal[-1]) if more else None)

    def _first_listed(
        self, prefix: str, after: str, limit: int
    ) -> tuple[tuple[ListedObject, ...], bool]:
        """The objects of a page of `limit` legal keys, and whether there are more.

        An illegal key is listed under an escaped form, which is no place to go on from: such
        keys come along with the legal one after them.
        """
        found: list[ListedObject] = []
        legal = 0
        pages = self._bucket.list(prefix, after)
        try:
            for page in pages:
                for entry in page.objects:
                    if legal == limit:
                        return tuple(found), True
                    legal += entry.problem is None
                    found.append(entry)
                if legal == limit and not page.last:
                    return tuple(found), True
        finally:
            if isinstance(pages, Generator):
                pages.close()  # asks S3 for no further page
        return tuple(found), False

    def open(self, key: str) -> OpenFile:
        """Open the file of a key; the descriptor is of exactly the version that its row says.

        A file that is replaced at this moment is ahead of its row: the row is read again.

        Raises: FileMissing, FileDrifted, PathConflict, MirrorError, LedgerError.
        """
        problem: MirrorError = FileMissing("no file is held for this key")
        for attempt in range(OPEN_ATTEMPTS):
            if attempt:
                self._pause(PAUSE_SECONDS)
            row = self._ledger.get(key)
            if row is None or row.path is None:
                raise FileMissing("no file is held for this key")
            try:
                return self._open_row(row, row.path)
            except (FileMissing, FileDrifted) as error:
                problem = error
        raise problem

    def _open_row(self, row: ObjectRow, path: str) -> OpenFile:
        descriptor = self._mirror.open(path)
        try:
            stat = os.fstat(descriptor)
            if (stat.st_size, stat.st_mtime_ns) != (row.local_size, row.mtime_ns):
                raise FileDrifted("the file on disk is not the one that was synced")
        except BaseException:
            os.close(descriptor)
            raise
        return OpenFile(descriptor, row, stat)


def fact_of(row: ObjectRow) -> FileFact:
    """A key as the ledger describes it."""
    return FileFact(row.key, row.size, row.last_modified, row.etag, row)


def make_token(key: str) -> str:
    """An opaque token for 'after this key', with a checksum against slips of the pen."""
    data = key.encode("utf-8")
    check = zlib.crc32(data).to_bytes(_CHECK_BYTES, "big")
    return base64.urlsafe_b64encode(check + data).decode("ascii").rstrip("=")


def read_token(token: str | None, prefix: str) -> str:
    """The key in a token, "" for none.

    Raises: MalformedRequest when we did not make it, or for another prefix.
    """
    if token is None:
        return ""
    try:
        padded = token.encode("ascii") + b"=" * (-len(token) % 4)
        data = base64.b64decode(padded, altchars=b"-_", validate=True)
        key = data[_CHECK_BYTES:].decode("utf-8")
    except (UnicodeError, binascii.Error):
        key = ""
    if not key or make_token(key) != token or not key.startswith(prefix):
        raise MalformedRequest(
            "the token is not one of this listing",
            hint="Send next_token of the previous page unchanged, with the same prefix.",
        )
    return key
