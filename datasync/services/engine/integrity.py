"""What proves that a body is the object: which digest to expect and how to compute it.

Pure: knows no disk, network, clock or settings. Sources: S3 user guide, "Checking object
integrity" (ETags, composite and full-object checksums).
"""

import base64
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from datasync.errors import ChecksumMismatch, LengthMismatch, TornRead
from datasync.models.sync_models import ListedObject, ObjectHead, ObjectRow, Verdict
from datasync.models.values import value

PLAIN_ETAG = re.compile(r"[0-9a-f]{32}\Z")
PARTS_COUNT = re.compile(r"[1-9][0-9]{0,4}\Z")
MULTIPART_ETAG = re.compile(r"([0-9a-f]{32})-([1-9][0-9]{0,4})\Z")

# From here on a stored CRC64NVME replaces MD5: both prove the bytes, one costs a sixteenth.
LARGE_BYTES = 8 * 2**20

_STRONGEST_FIRST = (
    Verdict.SHA256,
    Verdict.CRC64NVME,
    Verdict.SHA1,
    Verdict.CRC32C,
    Verdict.CRC32,
)
_CRC_BYTES = {Verdict.CRC64NVME: 8, Verdict.CRC32C: 4, Verdict.CRC32: 4}


@value(frozen=True, slots=True)
class Expectation:
    """The digest a body must have.

    `digest` is raw bytes. `count` > 0 means a digest of the digests of that many parts, whose
    sizes are in `parts` once they are known (`needs_parts` until then).
    """

    verdict: Verdict
    digest: bytes = b""
    count: int = 0
    parts: tuple[int, ...] = ()

    @property
    def needs_parts(self) -> bool:
        return self.count > 0 and not self.parts

    def with_parts(self, sizes: Sequence[int]) -> "Expectation":
        return replace(self, parts=tuple(sizes))


SIZE_ONLY = Expectation(Verdict.SIZE)


def expect(head: ObjectHead, *, verify: bool = True) -> Expectation:
    """The strongest affordable proof that the head of an answer offers.

    A plain ETag is the MD5 of the content unless KMS or customer keys encrypted the object.
    """
    if not verify:
        return SIZE_ONLY
    stored = _stored(head, composite=False)
    plain = PLAIN_ETAG.match(head.etag) is not None and not _opaque(head)
    cheap = stored is not None and stored.verdict is Verdict.CRC64NVME
    if plain and not (cheap and head.size >= LARGE_BYTES):
        return Expectation(Verdict.MD5, bytes.fromhex(head.etag))
    if stored is not None:
        return stored
    return _multipart(head.etag, head.size, head) or _stored(head, composite=True) or SIZE_ONLY


def check_listed(head: ObjectHead, listed: ListedObject, row: ObjectRow | None) -> None:
    """Check an answer against the listing that came before it; `row` is what we hold.

    The object may have been replaced since, by a newer version: then the ETag is another one. An
    older version comes from a cache on the way, and the mirror would be called equal with it.

    Raises: TornRead (an older version), LengthMismatch (the listed version in another size).
    """
    if head.etag != listed.etag:
        modified = head.last_modified
        if not modified and row is not None and row.etag == head.etag:  # a 304 brings no date
            modified = row.last_modified
        if 0 < modified < listed.last_modified:
            raise TornRead(f"{listed.key!r}: the answer is of an older version than was listed")
    elif head.status != 304 and head.size != listed.size:
        raise LengthMismatch(
            f"{listed.key!r}: {head.size} bytes were announced, {listed.size} were listed"
        )


def expect_listed(listed: ListedObject) -> Expectation | None:
    """The proof that a listing alone offers: a plain ETag, or a multipart one of a single part."""
    if PLAIN_ETAG.match(listed.etag):
        return Expectation(Verdict.MD5, bytes.fromhex(listed.etag))
    found = _multipart(listed.etag, listed.size, None)
    return found if found is not None and not found.needs_parts else None


def _opaque(head: ObjectHead) -> bool:
    return head.encryption.startswith("aws:kms") or head.encryption == "SSE-C"


def _multipart(etag: str, size: int, head: ObjectHead | None) -> Expectation | None:
    match = MULTIPART_ETAG.match(etag)
    if match is None or (head is not None and _opaque(head)):
        return None
    count = int(match[2])
    parts = (size,) if count == 1 else ()
    return Expectation(Verdict.MULTIPART_MD5, bytes.fromhex(match[1]), count, parts)


def _stored(head: ObjectHead, *, composite: bool) -> Expectation | None:
    if not head.checksums:
        return None
    for verdict in _STRONGEST_FIRST:
        text = head.checksums.get(verdict.value)
        if not text:
            continue
        value, dash, count = text.partition("-")
        if (bool(dash) or head.checksum_type == "COMPOSITE") != composite:
            continue
        digest = _decoded(value, verdict)
        parts_count = int(count) if PARTS_COUNT.match(count) else (head.parts_count or 0)
        if digest is None or (composite and not parts_count):
            continue
        parts = (head.size,) if composite and parts_count == 1 else ()
        return Expectation(verdict, digest, parts_count if composite else 0, parts)
    return None


def _decoded(text: str, verdict: Verdict) -> bytes | None:
    try:
        digest = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return digest if len(digest) == len(_fold(verdict).value()) else None


class Sum(Protocol):
    """What a body's bytes come to."""

    def value(self) -> bytes:
        """The raw digest of all bytes so far."""


class Digest(Sum, Protocol):
    """A digest being computed."""

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes of the body."""


class _Crc:
    def __init__(self, verdict: Verdict) -> None:
        from awscrt import checksums  # not at the top: few objects need it, and it is large

        self._function: Callable[[bytes, int], int] = getattr(checksums, verdict.value)
        self._combine: Callable[[int, int, int], int] = getattr(checksums, f"combine_{verdict}")
        self._length = _CRC_BYTES[verdict]
        self._sum = 0

    def update(self, data: bytes | memoryview) -> None:
        self._sum = self._function(data, self._sum)  # type: ignore[arg-type]

    def append(self, following: "_Crc", nbytes: int) -> None:
        """Go on as if the `nbytes` that another one was given had been given here."""
        self._sum = self._combine(self._sum, following._sum, nbytes)

    def value(self) -> bytes:
        return self._sum.to_bytes(self._length, "big")


class Assembled:
    """The CRC of a body whose pieces come in any order; `begin` gives the digest of a piece."""

    def __init__(self, verdict: Verdict, size: int) -> None:
        """Of `size` bytes in all; `verdict` is one that `can_be_assembled` says yes to."""
        self._verdict = verdict
        self._size = size
        self._pieces: dict[int, tuple[int, _Crc]] = {}  # by offset: length, digest

    def begin(self, offset: int, length: int) -> Digest:
        """A digest to be given the bytes from `offset` on, all `length` of them."""
        piece = _Crc(self._verdict)
        self._pieces[offset] = (length, piece)
        return piece

    def value(self) -> bytes:
        """Of the whole body; of no bytes, which is nothing's, while pieces are missing."""
        total, end = _Crc(self._verdict), 0
        for offset, (length, piece) in sorted(self._pieces.items()):
            if offset != end:
                return b""
            total.append(piece, length)
            end += length
        return total.value() if end == self._size else b""


def can_be_assembled(expectation: Expectation) -> bool:
    """Whether the digest of a body follows from those of its pieces."""
    return expectation.verdict in _CRC_BYTES and not expectation.count


class _Hash:
    def __init__(self, name: str) -> None:
        self._hash = hashlib.new(name, usedforsecurity=False)
        self.update = self._hash.update
        self.value = self._hash.digest


class _Nothing:
    def update(self, data: bytes | memoryview) -> None:
        pass

    def value(self) -> bytes:
        return b""


class _OfParts:
    """The digest of the digests of parts, as S3 computes multipart ETags and composite sums."""

    def __init__(self, verdict: Verdict, parts: tuple[int, ...]) -> None:
        self._verdict = verdict
        self._left = list(reversed(parts))
        self._outer = _fold(verdict)
        self._inner = _fold(verdict)
        self._excess = False

    def update(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while self._left and len(view) >= self._left[-1]:
            size = self._left.pop()
            self._inner.update(view[:size])
            self._outer.update(self._inner.value())
            self._inner = _fold(self._verdict)
            view = view[size:]
        if len(view):
            self._inner.update(view)
            self._excess = self._excess or not self._left
            if self._left:
                self._left[-1] -= len(view)

    def value(self) -> bytes:
        return b"" if self._left or self._excess else self._outer.value()


def _fold(verdict: Verdict) -> Digest:
    if verdict in _CRC_BYTES:
        return _Crc(verdict)
    if verdict is Verdict.SIZE:
        return _Nothing()
    return _Hash("md5" if verdict is Verdict.MULTIPART_MD5 else verdict.value)


def digest_for(expectation: Expectation) -> Digest:
    """A fresh digest of the kind that `expectation` speaks of."""
    if expectation.count:
        return _OfParts(expectation.verdict, expectation.parts)
    return _fold(expectation.verdict)


def matches(expectation: Expectation, digest: Sum) -> bool:
    return digest.value() == expectation.digest


def prove(expectation: Expectation, digest: Sum, key: str) -> Verdict:
    """The verdict, once the digest of the whole body is the one expected.

    Raises: ChecksumMismatch.
    """
    if not matches(expectation, digest):
        raise ChecksumMismatch(
            f"{key!r}: the {expectation.verdict} of the bytes that arrived is "
            f"{digest.value().hex() or 'incomplete'}, S3 says {expectation.digest.hex()}"
        )
    return expectation.verdict


def prove_whole(expectation: Expectation, body: bytes, key: str) -> Verdict:
    """The verdict of a body that is all there. Raises: ChecksumMismatch."""
    if expectation.verdict is Verdict.MD5:
        if hashlib.md5(body, usedforsecurity=False).digest() == expectation.digest:
            return Verdict.MD5
    digest = digest_for(expectation)
    digest.update(body)
    return prove(expectation, digest, key)
