"""Hashes files on disk: staged ones behind the writes, and those that were there before us."""

import os
from collections.abc import Callable

from datasync.errors import BucketError, FileMissing, Interrupted
from datasync.models.sync_models import FileStat, ListedObject, Verdict
from datasync.services.engine.integrity import (
    SIZE_ONLY,
    Expectation,
    digest_for,
    expect,
    expect_listed,
    matches,
    prove,
)
from datasync.services.storage.bucket import Bucket
from datasync.services.storage.mirror import StagedFile

READ_BYTES = 2**20


class ReadBack:
    """Hashes a staged file up to where it is complete, on another thread than the writer's."""

    def __init__(self, staged: StagedFile, expectation: Expectation) -> None:
        self._staged = staged
        self._expectation = expectation
        self._digest = digest_for(expectation)
        self.position = 0

    def advance(self, upto: int) -> None:
        """Hash the bytes from the last position to `upto`. Raises: MirrorError."""
        while self.position < upto:
            if self._expectation.verdict is Verdict.SIZE:
                self.position = upto
                return
            data = self._staged.read_at(self.position, min(READ_BYTES, upto - self.position))
            if not data:
                return  # a short file: the digest will not match
            self._digest.update(data)
            self.position += len(data)

    def verdict(self, key: str) -> Verdict:
        """Raises: ChecksumMismatch."""
        return prove(self._expectation, self._digest, key)


def prove_listed(
    open_file: Callable[[str], int],
    file: FileStat,
    listed: ListedObject,
    interrupted: Callable[[], bool] = lambda: False,
) -> Verdict | None:
    """The verdict if the listing alone proves that this file holds the listed object, else None.

    Raises: MirrorError, Interrupted.
    """
    expectation = expect_listed(listed)
    if expectation is None or file.size != listed.size:
        return None
    return prove_offered(open_file, file, expectation, interrupted)


def offered(bucket: Bucket, listed: ListedObject) -> Expectation | None:
    """What S3 offers, when it is asked, to prove a file by that the listing did not prove.

    None: it has another version by now, or offers what the listing did. The listing does not tell
    which ETags are no MD5, so one that fails is no answer yet.

    Raises: BucketError.
    """
    by_listing = expect_listed(listed)
    try:
        found = _asked(bucket, listed)
    except BucketError:
        if by_listing is None:
            raise
        return None  # all that is known says that it is another file
    return None if found == by_listing else found


def _asked(bucket: Bucket, listed: ListedObject) -> Expectation | None:
    head = bucket.head(listed.key)
    if head.etag != listed.etag:
        return None
    expectation = expect(head)
    if expectation.needs_parts:
        parts = bucket.parts(listed.key, listed.etag, expectation.count)
        return expectation.with_parts(parts) if parts else SIZE_ONLY
    return expectation


def prove_offered(
    open_file: Callable[[str], int],
    file: FileStat,
    expectation: Expectation,
    interrupted: Callable[[], bool] = lambda: False,
) -> Verdict | None:
    """The verdict if this file is what is expected, else None.

    `Verdict.SIZE` means that there is nothing to prove it by.

    Raises: MirrorError, Interrupted.
    """
    return expectation.verdict if _file_matches(open_file, file, expectation, interrupted) else None


def _file_matches(
    open_file: Callable[[str], int],
    file: FileStat,
    expectation: Expectation,
    interrupted: Callable[[], bool],
) -> bool:
    try:
        descriptor = open_file(file.path)
    except FileMissing:
        return False
    digest = digest_for(expectation)
    step = min(READ_BYTES, file.size + 1)  # room for more than there is costs more than reading
    try:
        with open(descriptor, "rb", buffering=0) as stream:
            while data := stream.read(step):
                digest.update(data)
                if interrupted():
                    raise Interrupted("the proof was stopped")
            now = os.fstat(stream.fileno())
    except OSError:  # a file that cannot be read proves nothing and is fetched anew
        return False
    same = (now.st_size, now.st_mtime_ns) == (file.size, file.mtime_ns)
    return same and matches(expectation, digest)
