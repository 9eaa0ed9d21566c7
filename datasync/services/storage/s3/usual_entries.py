"""The entries of a listing's page by a regular expression: only those in the usual form.

A real XML parser would take most of an unchanged run's time. Servers write every entry in one
way: the fields in one order, values without markup. A page of nothing else is read here, and
must then be what the parser would have read; all others are left to it. Pure.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from datasync.models.entries import Entries
from datasync.services.storage.paths import MAX_KEY_BYTES
from datasync.services.storage.s3.dates import from_iso

# Printable ASCII that XML takes as it is: without `<`, `&` and `>`.
_PLAIN = r"[ -%'-;=?-~]"
_WORD = r"[0-9A-Za-z_-]*+"
_QUOTE = '(?:&quot;|&#34;|")?+'
_FIELDS = {
    "Key": f"<Key>(?P<key>{_PLAIN}++)</Key>",
    # The minute, which many share, is looked at once for all; the second is its own check.
    "LastModified": r"<LastModified>(?P<minute>[0-9T:-]{16}+):(?P<second>[0-6]\d)"
    r"(?:\.\d{1,9}+)?+Z</LastModified>",
    "ETag": f"<ETag>{_QUOTE}(?P<etag>[0-9A-Za-z=._-]++){_QUOTE}</ETag>",
    "Size": r"<Size>(?P<size>\d{1,18}+)</Size>",
    "StorageClass": f"(?:<StorageClass>(?P<kind>{_WORD})</StorageClass>)?+",
    "RestoreStatus": "(?:<RestoreStatus>"
    "<IsRestoreInProgress>(?P<restoring>true|false)</IsRestoreInProgress>"
    "(?:<RestoreExpiryDate>[0-9TZ:.-]*+</RestoreExpiryDate>)?+</RestoreStatus>)?+",
}
# What nobody reads, anywhere and in any number.
_UNREAD = (
    f"(?:<(?:ChecksumAlgorithm>{_WORD}</ChecksumAlgorithm|ChecksumType>{_WORD}</ChecksumType"
    f"|Owner>(?:<ID>{_PLAIN}*+</ID>)?+(?:<DisplayName>{_PLAIN}*+</DisplayName>)?+</Owner"
    f"|Type>{_WORD}</Type)>)*+"
)
_FIELD = re.compile(rf"<({'|'.join(_FIELDS)})>")
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_LINE_FEED = re.compile(rb"%0a", re.IGNORECASE)


def usual_entries(part: bytes, encoded: bool) -> Entries | None:
    """The entries that are this part of a page; None when it may be, or hold, anything else.

    `encoded`: keys are URL-encoded.
    """
    if not part.isascii():
        return None
    text = part.decode()
    form = _form(tuple(_FIELD.findall(text, 0, text.find("</Contents>"))))
    columns = None if form is None else _columns(form, text)
    if columns is None:
        return None
    dates = zip(columns["minute"], columns["second"], strict=True)
    try:
        return Entries(
            _decoded(columns["key"], encoded),
            list(map(int, columns["size"])),
            columns["etag"],
            [_minute(minute) + int(second) for minute, second in dates],
            [name or "STANDARD" for name in columns["kind"]],
            [word == "false" for word in columns["restoring"]],
        )
    except ValueError:
        return None


@lru_cache(maxsize=16)
def _form(order: tuple[str, ...]) -> re.Pattern[str] | None:
    """What an entry looks like whose fields come in this order; None when one comes twice."""
    if len(set(order)) != len(order):
        return None
    fields = [*order, *(name for name in _FIELDS if name not in order)]
    inner = _UNREAD.join(_FIELDS[name] for name in fields)
    return re.compile(f"<Contents>{_UNREAD}{inner}{_UNREAD}</Contents>", re.ASCII)


def _columns(form: re.Pattern[str], text: str) -> dict[str, list[str]] | None:
    """The values of each field, where the text is nothing but entries of this form."""
    pieces = form.split(text)
    stride = form.groups + 1
    if len(pieces) == 1 or any(pieces[::stride]):  # something is between or beside the entries
        return None
    return {name: pieces[number::stride] for name, number in form.groupindex.items()}


def _decoded(texts: Sequence[str], encoded: bool) -> list[str]:
    """The keys, all at once. Raises: ValueError when one has a problem."""
    raw = "\n".join(texts).encode()
    if encoded and (b"%" in raw or b"+" in raw):
        if _BROKEN_ESCAPE.search(raw) or _LINE_FEED.search(raw):
            raise ValueError
        raw = unquote_to_bytes(raw.replace(b"+", b" "))
    if max(map(len, raw.split(b"\n"))) > MAX_KEY_BYTES:
        raise ValueError
    return raw.decode().split("\n")


@lru_cache(maxsize=4096)
def _minute(text: str) -> int:
    return from_iso(f"{text}:00Z")
