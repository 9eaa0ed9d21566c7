"""From raw header lines to an `ObjectHead`, checked against what was asked. Pure.

A head that contradicts the request is an error here, before a byte of the body is believed.
"""

import re

from datasync.errors import LengthMismatch, TornRead, UnexpectedAnswer
from datasync.models.sync_models import ObjectHead, ObjectRequest
from datasync.services.storage.s3.dates import from_http

Fields = dict[str, str]  # lower-case names

CHECKSUMS = ("crc64nvme", "crc32", "crc32c", "sha1", "sha256")
_CHECKSUM_HEADERS = tuple((f"x-amz-checksum-{name}", name) for name in CHECKSUMS)
# 18 digits: what a signed 64-bit number surely holds, here and in every database.
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.ASCII)
_BLANK = (b"\r\n", b"\n")
_LENGTH = re.compile(r"\d{1,18}", re.ASCII)


def parse_lines(lines: list[bytes]) -> tuple[int, Fields]:
    """Status and fields of the final answer among header lines as libcurl hands them out.

    Interim answers and a proxy's own come before it, the trailers of a chunked body after it;
    both are left out. Raises: UnexpectedAnswer when there is no HTTP answer in them.
    """
    start = len(lines) - 1
    while start > 0 and not lines[start].startswith(b"HTTP/"):
        start -= 1
    try:
        status = int(lines[start].removeprefix(b"HTTP/1.")[2:5])
    except (IndexError, ValueError):
        raise UnexpectedAnswer("the server does not answer in HTTP") from None
    fields: Fields = {}
    for line in lines[start + 1 :]:
        name, colon, text = line.decode("latin-1").partition(":")
        if not colon and line in _BLANK:
            break
        fields[name.lower()] = text.strip()
    return status, fields


def bare_etag(etag: str) -> str:
    """An ETag without quotes and without the mark of a weak one."""
    return etag.removeprefix("W/").strip('"')


def object_head(status: int, fields: Fields, request: ObjectRequest) -> ObjectHead:
    """The head of a 200, 206 or 304, once it fits the request.

    Raises: TornRead (another range or version than asked for), LengthMismatch, UnexpectedAnswer.
    """
    if status == 304 and request.if_none_match is None:
        raise UnexpectedAnswer(f"{request.key!r}: 'not modified' answers a question nobody asked")
    etag = _etag(status, fields, request)
    if status == 304:
        return ObjectHead(status=304, etag=etag, size=0, length=0, version_id=_version(fields))
    length = _length(fields, request)
    first, size = _extent(status, fields, request, length)
    parts = fields.get("x-amz-mp-parts-count", "")
    return ObjectHead(
        status=status,
        etag=etag,
        size=size,
        length=length,
        first=first,
        last_modified=_last_modified(fields, request),
        version_id=_version(fields),
        storage_class=fields.get("x-amz-storage-class", "STANDARD"),
        restored='ongoing-request="false"' in fields.get("x-amz-restore", ""),
        encryption=_encryption(fields),
        checksums={name: fields[header] for header, name in _CHECKSUM_HEADERS if header in fields},
        checksum_type=fields.get("x-amz-checksum-type", ""),
        parts_count=int(parts) if _LENGTH.fullmatch(parts) else None,
    )


def _last_modified(fields: Fields, request: ObjectRequest) -> int:
    """Seconds since the epoch, 0 when there is no such field."""
    text = fields.get("last-modified", "")
    try:
        return from_http(text) if text else 0
    except ValueError:
        raise UnexpectedAnswer(f"{request.key!r}: the answer has {text[:60]!r} as a date") from None


def _etag(status: int, fields: Fields, request: ObjectRequest) -> str:
    etag = bare_etag(fields.get("etag", ""))
    pinned = request.if_none_match if status == 304 else request.if_match
    if status == 304 and not etag:
        etag = pinned or ""
    if not etag:
        raise UnexpectedAnswer(f"{request.key!r}: the answer has no ETag")
    if pinned not in (None, etag, "*"):
        raise TornRead(f"{request.key!r}: the answer is of version {etag!r}, not {pinned!r}")
    return etag


def _length(fields: Fields, request: ObjectRequest) -> int:
    text = fields.get("content-length", "")
    if not _LENGTH.fullmatch(text):
        raise UnexpectedAnswer(f"{request.key!r}: the answer has no length that can be one")
    return int(text)


def _extent(status: int, fields: Fields, request: ObjectRequest, length: int) -> tuple[int, int]:
    """Offset of the body's first byte and size of the whole object."""
    name = repr(request.key)
    if status == 200:
        if request.first is not None or (request.part_number or 1) > 1:
            raise TornRead(
                f"{name}: a range was asked for, the answer has 200 as for the whole object"
            )
        return 0, length
    found = _CONTENT_RANGE.fullmatch(fields.get("content-range", ""))
    if found is None or (request.first is None and request.part_number is None):
        raise TornRead(f"{name}: the answer is of a range that is not told or was not asked for")
    first, last, size = map(int, found.groups())
    if not first <= last < size:
        raise TornRead(f"{name}: the range {first}-{last} of {size} bytes makes no sense")
    if last - first + 1 != length:
        raise LengthMismatch(f"{name}: {length} bytes for the range {first}-{last}")
    if request.first is not None and (first, last) != _asked(request.first, request.last, size):
        raise TornRead(f"{name}: the range {first}-{last} came, another one was asked for")
    return first, size


def _asked(first: int, last: int | None, size: int) -> tuple[int, int]:
    return first, size - 1 if last is None else min(last, size - 1)


def _version(fields: Fields) -> str | None:
    version = fields.get("x-amz-version-id")
    return None if version == "null" else version


def _encryption(fields: Fields) -> str:
    if "x-amz-server-side-encryption-customer-algorithm" in fields:
        return "SSE-C"
    return fields.get("x-amz-server-side-encryption", "")
