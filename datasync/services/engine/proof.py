"""Hashes files on disk: staged ones behind the writes, and those that were there before us."""

import os
from collections.abc import Callable

from datasync.errors import BucketError, FileMissing, Interrupted
from datasync.models.sync_models import FileStat, ListedObject, Verdict
from datasync.services.engine.integrity import (
    SIZE_ONLY,
    Digest,
    Expectation,
    digest_for,
    expect,
    expect_listed,
    matches,
    prove,
)
from datasync.services.storage.bucket import Bucket
from datasync.services.storage.mirror import Mirror, StagedFile

READ_BYTES = 2**20


class ReadBack:
    """Hashes a staged file up to where it is complete, on another thread than the writer's.

    A multipart object's part sizes are asked for when the first bytes are hashed; when S3 cannot
    tell them, only the length proves the object.
    """

    def __init__(
        self,
        staged: StagedFile,
        expectation: Expectation,
        find_parts: Callable[[], tuple[int, ...]],
    ) -> None:
        self._staged = staged
        self._expectation = expectation
        self._find_parts = find_parts
        self._digest: Digest | None = None
        self.position = 0

    def advance(self, upto: int) -> None:
        """Hash the bytes from the last position to `upto`.

        Raises: BucketError from the question for part sizes, MirrorError.
        """
        digest = self._digest or self._begin()
        while self.position < upto:
            if self._expectation.verdict is Verdict.SIZE:
                self.position = upto
                return
            data = self._staged.read_at(self.position, min(READ_BYTES, upto - self.position))
            if not data:
                return  # a short file: the digest will not match
            digest.update(data)
            self.position += len(data)

    def verdict(self, key: str) -> Verdict:
        """Raises: ChecksumMismatch."""
        return prove(self._expectation, self._digest or self._begin(), key)

    def _begin(self) -> Digest:
        if self._expectation.needs_parts:
            parts = self._find_parts()
            self._expectation = self._expectation.with_parts(parts) if parts else SIZE_ONLY
        self._digest = digest_for(self._expectation)
        return self._digest


def prove_local(
    bucket: Bucket,
    mirror: Mirror,
    file: FileStat,
    listed: ListedObject,
    interrupted: Callable[[], bool] = lambda: False,
) -> Verdict | None:
    """The verdict if the file at `file.path` holds exactly the listed object, else None.

    `Verdict.SIZE` means that S3 offers nothing to prove it by. Asks S3 only when the listing
    offers no proof by itself, or one that fails: it does not tell which ETags are no MD5.

    Raises: BucketError, Interrupted.
    """
    if file.size != listed.size:
        return None
    verdict = prove_listed(mirror.open, file, listed, interrupted)
    return verdict or prove_asked(bucket, mirror, file, listed, interrupted)


def prove_asked(
    bucket: Bucket,
    mirror: Mirror,
    file: FileStat,
    listed: ListedObject,
    interrupted: Callable[[], bool] = lambda: False,
) -> Verdict | None:
    """The verdict of a file of the listed size that the listing did not prove. Asks S3.

    Raises: BucketError, Interrupted.
    """
    by_listing = expect_listed(listed)
    try:
        offered = _offered(bucket, listed)
    except BucketError:
        if by_listing is None:
            raise
        return None  # all that is known says that it is another file
    if offered is None or offered == by_listing:
        return None
    return offered.verdict if _file_matches(mirror.open, file, offered, interrupted) else None


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
    return expectation.verdict if _file_matches(open_file, file, expectation, interrupted) else None


def _offered(bucket: Bucket, listed: ListedObject) -> Expectation | None:
    """The proof that S3 offers when it is asked; None when it has another version by now.

    Raises: BucketError.
    """
    head = bucket.head(listed.key)
    if head.etag != listed.etag:
        return None
    expectation = expect(head)
    if expectation.needs_parts:
        parts = bucket.parts(listed.key, listed.etag, expectation.count)
        return expectation.with_parts(parts) if parts else SIZE_ONLY
    return expectation


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
