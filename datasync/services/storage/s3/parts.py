"""The sizes of the parts a multipart object was uploaded in, from whoever can tell them.

GetObjectAttributes tells them exactly, where it is allowed and the parts were recorded. Otherwise
a few parts tell it for evenly cut objects, a HEAD for every part for the others.
Every request is pinned to the version asked about.
"""

from lxml import etree

from datasync.errors import (
    AccessDenied,
    IntegrityError,
    ObjectMissing,
    PreconditionFailed,
    RangeUnsatisfiable,
    ServerFault,
    UnexpectedAnswer,
)
from datasync.models.sync_models import ObjectHead, ObjectRequest
from datasync.services.storage.s3.answers import bare_etag
from datasync.services.storage.s3.client import S3Client
from datasync.services.storage.s3.refusals import safe_parser

MAX_HEADS = 1000
PAGE_PARTS = 1000
MAX_PAGE_BYTES = 4 * 1024 * 1024
CANNOT_TELL = (AccessDenied, RangeUnsatisfiable, UnexpectedAnswer, IntegrityError, ServerFault)


def part_sizes(client: S3Client, key: str, etag: str, count: int) -> tuple[int, ...]:
    """See `Bucket.parts`."""
    first = _part(client, key, etag, 1)
    if first is None:
        return _by_attributes(client, key, etag, count) or ()
    if first.parts_count not in (None, count):
        return ()
    rest = first.size - (count - 1) * first.length
    even = (first.length,) * (count - 1) + (rest,)
    if rest > 0 and count <= 2:
        return even
    sizes = _by_attributes(client, key, etag, count)
    if not sizes and 0 < rest <= first.length and _is_even(client, key, etag, even):
        sizes = even
    sizes = sizes or _by_heads(client, key, etag, count)
    return sizes if sum(sizes) == first.size else ()


def _part(client: S3Client, key: str, etag: str, number: int) -> ObjectHead | None:
    """The head of one part, None when the server knows no parts.

    Raises: ObjectMissing, PreconditionFailed, NetworkFailure, SlowDown.
    """
    request = ObjectRequest(key=key, method="HEAD", part_number=number, if_match=etag)
    try:
        head = client.head(request)
    except CANNOT_TELL:
        return None
    return head if head.status == 206 else None


def _is_even(client: S3Client, key: str, etag: str, even: tuple[int, ...]) -> bool:
    """Whether the second, a middle and the last part lie where even parts would."""
    count = len(even)
    for number in sorted({2, count // 2 + 1, count}):
        head = _part(client, key, etag, number)
        expected = ((number - 1) * even[0], even[number - 1])
        if head is None or (head.first, head.length) != expected:
            return False
    return True


def _by_heads(client: S3Client, key: str, etag: str, count: int) -> tuple[int, ...]:
    sizes: list[int] = []
    for number in range(1, count + 1 if count <= MAX_HEADS else 1):
        head = _part(client, key, etag, number)
        if head is None:
            return ()
        sizes.append(head.length)
    return tuple(sizes)


def _by_attributes(client: S3Client, key: str, etag: str, count: int) -> tuple[int, ...]:
    """What GetObjectAttributes says; empty when it says too little."""
    sizes: dict[int, int] = {}
    marker = 0
    while len(sizes) < count:
        page = _attributes(client, key, etag, marker)
        later = {number: size for number, size in page.items() if number > marker}
        if not later:
            return ()
        sizes.update(later)
        marker = max(later)
    return tuple(size for _, size in sorted(sizes.items())) if len(sizes) == count else ()


def _attributes(client: S3Client, key: str, etag: str, marker: int) -> dict[int, int]:
    """One page of parts by number. Raises: PreconditionFailed, NetworkFailure, SlowDown.

    A 404 to this question proves nothing of the object: not every server knows the question.
    """
    headers = {
        "x-amz-object-attributes": "ETag,ObjectParts",
        "x-amz-max-parts": str(PAGE_PARTS),
        "x-amz-part-number-marker": str(marker),
    }
    what = f"the parts of {key!r}"
    call = client.bucket_call(key, {"attributes": ""}, headers)
    try:
        answer = client.ask(call, what, max_bytes=MAX_PAGE_BYTES)
        if answer.status != 200:
            raise client.refuse(answer.status, answer.fields, answer.body, what)
        return _parse(answer.body, etag)
    except (*CANNOT_TELL, ObjectMissing):
        return {}


def _parse(body: bytes, etag: str) -> dict[int, int]:
    try:
        root = etree.fromstring(body, safe_parser())
        if etree.QName(root).localname != "GetObjectAttributesResponse":
            return {}
        parts = root.iterfind("{*}ObjectParts/{*}Part")
        found = [
            (part.findtext("{*}PartNumber", ""), part.findtext("{*}Size", "")) for part in parts
        ]
        sizes = {int(number): int(size) for number, size in found}
    except (etree.XMLSyntaxError, ValueError):
        return {}
    if bare_etag(root.findtext("{*}ETag", "")) != etag:
        raise PreconditionFailed("the object is another version by now")
    return sizes
