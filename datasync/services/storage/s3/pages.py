"""One page of ListObjectsV2, from XML to values. Pure; whatever is doubtful is `ListingBroken`.

A page that is cut, foreign or contradicts itself proves nothing, least of all that a key is gone.
"""

import re
from calendar import timegm
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from lxml import etree

from datasync.errors import ListingBroken
from datasync.models.sync_models import ListedObject
from datasync.services.storage.s3.answers import bare_etag
from datasync.services.storage.s3.refusals import safe_parser

MAX_KEY_BYTES = 1024
_DATE = re.compile(
    r"(\d{4}-\d\d-\d\d)T([01]\d|2[0-3]):([0-5]\d):([0-6]\d)(?:\.\d{1,9})?Z", re.ASCII
)
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_TRUTH = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Page:
    """A page that passed every check. `token` is None on the last one only."""

    objects: tuple[ListedObject, ...]
    token: str | None


def parse_page(body: bytes, bucket: str, prefix: str) -> Page:
    """Read a page that was asked for with this bucket and prefix. Raises: ListingBroken."""
    root = _root(body)
    fields: dict[str, str] = {}
    entries: list[dict[str, str]] = []
    for child in root:
        name = _local(child.tag)
        if name == "Contents":
            entries.append(_entry(child))
        elif name == "CommonPrefixes":
            raise ListingBroken("the listing hides keys behind common prefixes")
        else:
            fields[name] = child.text or ""
    encoded = _check(fields, bucket, prefix, len(entries))
    objects = tuple([_listed(entry, prefix, encoded) for entry in entries])
    return Page(objects, _token(fields))


def decode_key(text: str, encoded: bool) -> tuple[str, str | None]:
    """A listed key, decoded exactly once, and what is wrong with it, if anything.

    In a page of EncodingType `url` a blank is `+` or `%20` and a plus sign is `%2B`, as AWS,
    MinIO, Ceph and SeaweedFS write them. A key with a problem comes back in a readable, escaped
    form.
    """
    if encoded and ("%" in text or "+" in text):
        raw = unquote_to_bytes(text.replace("+", " "))
        problem = "broken escape in its listed key" if _BROKEN_ESCAPE.search(text) else None
    else:
        raw, problem = text.encode(), None
    try:
        key = raw.decode()
    except UnicodeDecodeError:
        key, problem = raw.decode("utf-8", "backslashreplace"), "its key is not UTF-8"
    if len(raw) > MAX_KEY_BYTES:
        problem = f"its key has {len(raw)} bytes, over {MAX_KEY_BYTES}"
    return key, problem


def iso_date(text: str) -> int:
    """An ISO 8601 date of S3 as whole seconds since the epoch. Raises: ListingBroken."""
    found = _DATE.fullmatch(text)
    if found is None:
        raise ListingBroken(f"the listing has {text[:60]!r} as a date")
    day, hour, minute, second = found.groups()
    return _midnight(day) + int(hour) * 3600 + int(minute) * 60 + int(second)


@lru_cache(maxsize=512)
def _midnight(day: str) -> int:
    year, month, date = int(day[:4]), int(day[5:7]), int(day[8:])
    if year < 1970 or not 1 <= month <= 12 or not 1 <= date <= 31:
        raise ListingBroken(f"the listing has {day!r} as a day")
    return timegm((year, month, date, 0, 0, 0))


def _root(body: bytes) -> etree._Element:
    try:
        root = etree.fromstring(body, safe_parser())
    except (etree.XMLSyntaxError, ValueError) as error:
        raise ListingBroken(f"the listing is no whole XML document: {str(error)[:200]}") from None
    if b"<!DOCTYPE" in body[:1024].upper() or root is None:
        raise ListingBroken("the listing has a document type")
    name = _local(root.tag)
    if name == "Error":
        raise ListingBroken(f"the listing is an error: {root.findtext('{*}Code', '')[:64]!r}")
    if name != "ListBucketResult":
        raise ListingBroken(f"the listing is a document of another kind: {name[:64]!r}")
    return root


@lru_cache(maxsize=256)
def _local(tag: object) -> str:
    """A tag's name without its namespace; "" for comments and such."""
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def _entry(contents: etree._Element) -> dict[str, str]:
    entry: dict[str, str] = {}
    for child in contents:
        name = _local(child.tag)
        if name in entry and name != "ChecksumAlgorithm":
            raise ListingBroken(f"the listing has an entry with two of {name[:64]!r}")
        entry[name] = child.text or ""
        if name == "RestoreStatus":
            entry[name] = child.findtext("{*}IsRestoreInProgress", "")
    return entry


def _check(fields: dict[str, str], bucket: str, prefix: str, count: int) -> bool:
    """Check what the page says of itself; returns whether its keys are URL-encoded."""
    encoding = fields.get("EncodingType", "")
    if encoding not in ("", "url"):
        raise ListingBroken(f"the listing is encoded as {encoding[:64]!r}")
    if fields.get("Name") != bucket:
        raise ListingBroken(f"the listing is of {fields.get('Name', '')[:64]!r}, not {bucket!r}")
    said = fields.get("Prefix", "")
    if prefix not in (said, decode_key(said, encoding == "url")[0]):
        raise ListingBroken(f"the listing is of the prefix {said[:200]!r}, not {prefix!r}")
    if fields.get("IsTruncated") not in _TRUTH:
        raise ListingBroken("the listing does not say whether it is complete")
    if fields.get("KeyCount", str(count)).strip() != str(count):
        raise ListingBroken(f"the listing has {count} keys and says {fields['KeyCount'][:20]!r}")
    return encoding == "url"


def _token(fields: dict[str, str]) -> str | None:
    token = fields.get("NextContinuationToken", "")
    if not _TRUTH[fields["IsTruncated"]]:
        return None
    if not token:
        raise ListingBroken("the listing goes on and does not say where")
    return token


def _listed(entry: dict[str, str], prefix: str, encoded: bool) -> ListedObject:
    try:
        text, size, etag, date = entry["Key"], entry["Size"], entry["ETag"], entry["LastModified"]
    except KeyError as error:
        raise ListingBroken(f"the listing has an entry without {error.args[0]}") from None
    key, problem = decode_key(text, encoded)
    if not key or not key.startswith(prefix):
        raise ListingBroken(f"the listing of {prefix!r} has the key {key[:200]!r}")
    if not (size.isdecimal() and size.isascii() and len(size) < 20):
        raise ListingBroken(f"the listing has {size[:60]!r} as a size")
    if not etag.isprintable():
        raise ListingBroken(f"the listing has {etag[:60]!r} as an ETag")
    return ListedObject(
        key=key,
        size=int(size),
        etag=bare_etag(etag),
        last_modified=iso_date(date),
        storage_class=entry.get("StorageClass") or "STANDARD",
        restored=entry.get("RestoreStatus") == "false",
        problem=problem,
    )
