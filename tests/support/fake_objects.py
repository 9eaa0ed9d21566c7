"""The objects that `FakeBucket` holds, with what S3 would say of them.

Pure values: no scripts, no requests, no time.
"""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from awscrt import checksums as crt

from datasync.models.sync_models import ListedObject, ObjectHead

ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})


def _crc(function: Callable[[bytes], int], width: int) -> Callable[[bytes], bytes]:
    return lambda data: function(data).to_bytes(width, "big")


DIGESTS: dict[str, Callable[[bytes], bytes]] = {
    "crc64nvme": _crc(crt.crc64nvme, 8),
    "crc32": _crc(crt.crc32, 4),
    "crc32c": _crc(crt.crc32c, 4),
    "sha1": lambda data: hashlib.sha1(data).digest(),
    "sha256": lambda data: hashlib.sha256(data).digest(),
}


@dataclass(frozen=True, slots=True)
class FakeObject:
    """One version of one object."""

    body: bytes
    etag: str
    last_modified: int
    version_id: str
    part_sizes: tuple[int, ...] = ()
    checksums: dict[str, str] = field(default_factory=dict)
    checksum_type: str = ""
    storage_class: str = "STANDARD"
    restored: bool = False
    encryption: str = ""

    @property
    def readable(self) -> bool:
        return self.storage_class not in ARCHIVES or self.restored

    def listed(self, key: str) -> ListedObject:
        """The object's entry in a listing."""
        return ListedObject(
            key=key,
            size=len(self.body),
            etag=self.etag,
            last_modified=self.last_modified,
            storage_class=self.storage_class,
            restored=self.restored,
        )

    def head(self, status: int, first: int, length: int, part: int | None) -> ObjectHead:
        """The head of an answer that carries `length` bytes from `first`.

        Stored checksums come with whole objects and single parts, not with free ranges.
        """
        whole = length == len(self.body)
        return ObjectHead(
            status=status,
            etag=self.etag,
            size=len(self.body),
            length=length,
            first=first,
            last_modified=self.last_modified,
            version_id=self.version_id,
            storage_class=self.storage_class,
            restored=self.restored,
            encryption=self.encryption,
            checksums=self.checksums if whole else {},
            checksum_type=self.checksum_type if whole else "",
            parts_count=len(self.part_sizes) or None if part is not None else None,
        )


def split(body: bytes, sizes: tuple[int, ...]) -> list[bytes]:
    """The body's parts. Raises: ValueError when the sizes do not add up to it."""
    if sum(sizes) != len(body):
        raise ValueError(f"parts of {sum(sizes)} bytes for a body of {len(body)}")
    parts, offset = [], 0
    for size in sizes:
        parts.append(body[offset : offset + size])
        offset += size
    return parts


def even_parts(size: int, part_size: int) -> tuple[int, ...]:
    """Part sizes as upload tools make them: all equal, the last one shorter."""
    full, rest = divmod(size, part_size)
    return (part_size,) * full + ((rest,) if rest else ())


def etag_of(body: bytes, sizes: tuple[int, ...]) -> str:
    """The MD5, or for multipart objects the MD5 of the parts' MD5s and their count."""
    if not sizes:
        return hashlib.md5(body).hexdigest()
    digests = b"".join(hashlib.md5(part).digest() for part in split(body, sizes))
    return f"{hashlib.md5(digests).hexdigest()}-{len(sizes)}"


def checksum_of(algorithm: str, kind: str, body: bytes, sizes: tuple[int, ...]) -> str:
    """S3's base64 text; a COMPOSITE one is taken over the parts' checksums and ends in `-count`."""
    digest = DIGESTS[algorithm]
    if kind != "COMPOSITE":
        return base64.b64encode(digest(body)).decode()
    joined = b"".join(digest(part) for part in split(body, sizes))
    return f"{base64.b64encode(digest(joined)).decode()}-{len(sizes)}"
