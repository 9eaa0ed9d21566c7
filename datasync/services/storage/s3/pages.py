"""One page of ListObjectsV2, from XML to values. Pure; whatever is doubtful is `ListingBroken`.

A page that is cut, foreign or contradicts itself proves nothing, least of all that a key is gone.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from lxml import etree

from datasync.errors import ListingBroken
from datasync.models.sync_models import ListedObject
from datasync.services.storage.paths import MAX_KEY_BYTES
from datasync.services.storage.s3.answers import bare_etag
from datasync.services.storage.s3.dates import from_iso
from datasync.services.storage.s3.refusals import has_document_type, safe_parser
from datasync.services.storage.s3.usual_entries import usual_entries

_SIZE = re.compile(r"\d{1,18}", re.ASCII)  # what a signed 64-bit number surely holds
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_TRUTH = {"true": True, "false": False}
# What is read of a page and of an entry. Anything else is not ours to judge: S3 adds to it.
_PAGE_FIELDS = frozenset(
    {"EncodingType", "IsTruncated", "KeyCount", "Name", "NextContinuationToken", "Prefix"}
)
_ENTRY_FIELDS = frozenset({"Key", "Size", "ETag", "LastModified", "StorageClass"})
_OPEN, _CLOSE = b"<Contents>", b"</Contents>"
_STAND_IN = b"entries-that-were-cut-out-here"
# A document in UTF-8: in some other encodings the bytes of an entry may mean something else.
_UTF_8 = re.compile(
    rb"""(<\?xml version=["']1\.0["']( encoding=["'](?i:utf-8)["'])? ?\?>\s*)?<[A-Za-z]"""
)


@dataclass(frozen=True, slots=True)
class Page:
    """A page that passed every check. `token` is None on the last one only."""

    objects: Sequence[ListedObject]
    token: str | None


def parse_page(body: bytes, bucket: str, prefix: str) -> Page:
    """Read a page that was asked for with this bucket and prefix. Raises: ListingBroken."""
    return _usual_page(body, bucket, prefix) or parse_any_page(body, bucket, prefix)


def parse_any_page(body: bytes, bucket: str, prefix: str) -> Page:
    """What `parse_page` gives, for every page there can be. Raises: ListingBroken."""
    fields, entries, _ = _children(_root(body))
    encoded = _check(fields, bucket, prefix, len(entries))
    objects = tuple([_listed(entry, prefix, encoded) for entry in entries])
    return Page(objects, _token(fields))


def _usual_page(body: bytes, bucket: str, prefix: str) -> Page | None:
    """A page whose entries are all in the usual form; None when it may be anything else.

    The parser reads what is around the entries, and shows that they stand in the root itself:
    an element of a name that is nowhere else in the page stands in for them.
    """
    start, end = body.find(_OPEN), body.rfind(_CLOSE) + len(_CLOSE)
    head, tail = body[: max(start, 0)], body[end:]
    if not _UTF_8.match(head) or _STAND_IN in head or _STAND_IN in tail:
        return None
    try:
        fields, others, stand_ins = _children(_root(b"%b<%b/>%b" % (head, _STAND_IN, tail)))
        if others or stand_ins != 1:
            return None
        entries = usual_entries(body[start:end], fields.get("EncodingType") == "url")
        if entries is None or not _are_below(entries.keys, prefix):
            return None
        _check(fields, bucket, prefix, len(entries))
        return Page(entries, _token(fields))
    except ListingBroken:  # whether it is, and why, is told of the whole page
        return None


def _are_below(keys: Sequence[str], prefix: str) -> bool:
    return not prefix or all(key.startswith(prefix) for key in keys)


def _children(root: etree._Element) -> tuple[dict[str, str], list[dict[str, str]], int]:
    """Fields and entries of a page, and how many stand-ins for entries it has."""
    fields: dict[str, str] = {}
    entries: list[dict[str, str]] = []
    stand_ins = 0
    for child in root:
        name = _local(child.tag)
        if name == "Contents":
            entries.append(_entry(child))
        elif name == "CommonPrefixes":
            raise ListingBroken("the listing hides keys behind common prefixes")
        elif name in _PAGE_FIELDS:
            if name in fields or len(child):
                raise _doubtful(name)
            fields[name] = child.text or ""
        elif name == _STAND_IN.decode():
            stand_ins += 1
    return fields, entries, stand_ins


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


def _root(body: bytes) -> etree._Element:
    try:
        root = etree.fromstring(body, safe_parser())
    except (etree.XMLSyntaxError, ValueError) as error:
        raise ListingBroken(f"the listing is no whole XML document: {str(error)[:200]}") from None
    if has_document_type(root):
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
        if name in _ENTRY_FIELDS:
            if name in entry or len(child):
                raise _doubtful(name)
            entry[name] = child.text or ""
        elif name == "RestoreStatus":
            restore = child.findall("{*}IsRestoreInProgress")
            if name in entry or len(restore) > 1 or any(map(len, restore)):
                raise _doubtful(name)
            entry[name] = restore[0].text or "" if restore else ""
    return entry


def _doubtful(name: str) -> ListingBroken:
    """A field that must come once and hold nothing but text, not even a comment."""
    return ListingBroken(f"the listing has {name} twice, or more than text in it")


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
    if not _SIZE.fullmatch(size):
        raise ListingBroken(f"the listing has {size[:60]!r} as a size")
    if not etag.isprintable():
        raise ListingBroken(f"the listing has {etag[:60]!r} as an ETag")
    return ListedObject(
        key=key,
        size=int(size),
        etag=bare_etag(etag),
        last_modified=_date(date),
        storage_class=entry.get("StorageClass") or "STANDARD",
        restored=entry.get("RestoreStatus") == "false",
        problem=problem,
    )


def _date(text: str) -> int:
    try:
        return from_iso(text)
    except ValueError:
        raise ListingBroken(f"the listing has {text[:60]!r} as a date") from None
