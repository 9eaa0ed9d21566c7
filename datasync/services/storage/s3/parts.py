"""The sizes of the parts a multipart object was uploaded in, from whoever can tell them.

GetObjectAttributes tells them exactly, where it is allowed and the parts were recorded. Otherwise
a few parts tell it for evenly cut objects, a HEAD for every part for the others.
Every request is pinned to the version asked about.

"Cannot tell" costs the object its proof, so nothing that may pass counts as it: not a fault of the
server, not refused credentials. A server that answers both questions with a fault for ever fails
the object by name, because a lasting fault looks like a passing one; the hint says what to do.
"""

import re

from lxml import etree

from datasync.errors import (
    AccessDenied,
    CredentialsRejected,
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
FAULT_HINT = (
    "If this lasts, the server cannot tell the parts of an object: "
    "VERIFY_FILE_INTEGRITY=false downloads it without that proof."
)
_NUMBER = re.compile(r"\d{1,18}", re.ASCII)


def part_sizes(client: S3Client, key: str, etag: str, count: int) -> tuple[int, ...]:
    """See `Bucket.parts`."""
    return _Inquiry(client, key, etag, count).sizes()


class _Inquiry:
    """Asks about the parts of one object.

    A server may stumble over a question that it does not know. So a fault leaves the answer to the
    other question, and is raised when that one cannot tell either.
    """

    def __init__(self, client: S3Client, key: str, etag: str, count: int) -> None:
        self._client = client
        self._key = key
        self._etag = etag
        self._count = count
        self._fault: ServerFault | None = None

    def sizes(self) -> tuple[int, ...]:
        """The sizes, empty when the server cannot tell. Raises: BucketError."""
        found = self._told()
        if not found and self._fault is not None:
            raise ServerFault(str(self._fault), hint=FAULT_HINT) from self._fault
        return found

    def _told(self) -> tuple[int, ...]:
        count = self._count
        try:
            first = self._part(1)
        except ServerFault as fault:
            first, self._fault = None, fault
        if first is None:
            return self._by_attributes()
        if first.parts_count not in (None, count):
            return ()
        rest = first.size - (count - 1) * first.length
        even = (first.length,) * (count - 1) + (rest,)
        if rest > 0 and count <= 2:
            return even
        sizes = self._by_attributes()
        if not sizes and 0 < rest <= first.length and self._is_even(even):
            sizes = even
        sizes = sizes or self._by_heads()
        return sizes if sum(sizes) == first.size else ()

    def _part(self, number: int) -> ObjectHead | None:
        """The head of one part, None when the server knows no parts.

        A refusal that a GET does not meet is asked about once more: credentials may have been
        renewed between the two.

        Raises: ObjectMissing, PreconditionFailed, AccessDenied, NetworkFailure, SlowDown,
        ServerFault.
        """
        request = ObjectRequest(self._key, method="HEAD", part_number=number, if_match=self._etag)
        try:
            try:
                head = self._client.head(request)
            except UnexpectedAnswer:
                head = self._client.head(request)
        except (RangeUnsatisfiable, UnexpectedAnswer, IntegrityError):
            return None
        return head if head.status == 206 else None

    def _is_even(self, even: tuple[int, ...]) -> bool:
        """Whether the second, a middle and the last part lie where even parts would."""
        count = len(even)
        for number in sorted({2, count // 2 + 1, count}):
            head = self._part(number)
            expected = ((number - 1) * even[0], even[number - 1])
            if head is None or (head.first, head.length) != expected:
                return False
        return True

    def _by_heads(self) -> tuple[int, ...]:
        sizes: list[int] = []
        for number in range(1, self._count + 1 if self._count <= MAX_HEADS else 1):
            head = self._part(number)
            if head is None:
                return ()
            sizes.append(head.length)
        return tuple(sizes)

    def _by_attributes(self) -> tuple[int, ...]:
        """What GetObjectAttributes says; empty when it says too little."""
        sizes: dict[int, int] = {}
        marker = 0
        while len(sizes) < self._count:
            page = self._attributes(marker)
            later = {number: size for number, size in page.items() if number > marker}
            if not later:
                return ()
            sizes.update(later)
            marker = max(later)
        if len(sizes) != self._count:
            return ()
        return tuple(size for _, size in sorted(sizes.items()))

    def _attributes(self, marker: int) -> dict[int, int]:
        """One page of parts by number.

        A 404 to this question proves nothing of the object: not every server knows the question.

        Raises: PreconditionFailed, CredentialsRejected, NetworkFailure, SlowDown.
        """
        headers = {
            "x-amz-object-attributes": "ETag,ObjectParts",
            "x-amz-max-parts": str(PAGE_PARTS),
            "x-amz-part-number-marker": str(marker),
        }
        what = f"the parts of {self._key!r}"
        call = self._client.bucket_call(self._key, {"attributes": ""}, headers)
        try:
            answer = self._client.ask(call, what, max_bytes=MAX_PAGE_BYTES)
            if answer.status != 200:
                raise self._client.refuse(answer.status, answer.fields, answer.body, what)
            return _parse(answer.body, self._etag)
        except CredentialsRejected:
            raise
        except ServerFault as fault:
            self._fault = fault
            return {}
        except (AccessDenied, ObjectMissing, RangeUnsatisfiable, UnexpectedAnswer):
            return {}


def _parse(body: bytes, etag: str) -> dict[int, int]:
    """Sizes by part number; empty when the document is another one, or tells no version."""
    try:
        root = etree.fromstring(body, safe_parser())
        if etree.QName(root).localname != "GetObjectAttributesResponse":
            return {}
        parts = root.iterfind("{*}ObjectParts/{*}Part")
        found = [
            (part.findtext("{*}PartNumber", ""), part.findtext("{*}Size", "")) for part in parts
        ]
    except (etree.XMLSyntaxError, ValueError):
        return {}
    told = bare_etag(root.findtext("{*}ETag", ""))
    if not told or not all(_NUMBER.fullmatch(text) for pair in found for text in pair):
        return {}
    if told != etag:
        raise PreconditionFailed("the object is another version by now")
    return {int(number): int(size) for number, size in found}
