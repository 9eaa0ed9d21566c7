"""Answers with the bytes of one open file: ranges, validators, names; nothing that a browser runs.

The descriptor pins one version: a file that is replaced meanwhile is served to its end as it was.
"""

import errno
import os
import re
from collections.abc import Mapping
from email.utils import formatdate, parsedate_to_datetime
from mimetypes import guess_type
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import FileResponse
from starlette.types import Message, Receive, Scope, Send

from datasync.api.error_responses import http_answer
from datasync.api.requests import without_range
from datasync.errors import MirrorError, TooManyOpenFiles
from datasync.models.sync_models import ObjectRow
from datasync.services.file_service import OpenFile

# A file of the mirror is foreign content: it must not act in the name of this origin.
FOREIGN_CONTENT_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cache-Control": "private, no-cache",
}
_RANGE = re.compile(
    r"bytes=[ \t]*(\d{1,19}-\d{0,19}|-\d{1,19})([ \t]*,[ \t]*(\d{1,19}-\d{0,19}|-\d{1,19}))*"
)
_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)
_ETAG = re.compile(r'(?:W/)?("[^"]*")')
_UNSAFE = re.compile(r"[\x00-\x1f\x7f]")
_NOT_QUOTABLE = re.compile(r"[^ !#$&\'()+,\-.0-9;=@A-Z\[\]^_`a-z{}~]")


class Download(FileResponse):
    """One open file as an answer; closes its descriptor however the answer ends."""

    chunk_size = 256 * 1024

    def __init__(self, opened: OpenFile) -> None:
        self._descriptor = opened.descriptor
        row = opened.row
        super().__init__(
            f"/dev/fd/{opened.descriptor}",
            headers=file_headers(row),
            media_type=media_type(row.key),
            stat_result=opened.stat,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            asked = Headers(scope=scope)
            if is_another(asked, self.headers):
                await http_answer(412, self._validators())(scope, receive, send)
            elif is_unchanged(asked, self.headers):
                await self._send_unchanged(send)
            else:
                await self._send_file(_with_valid_range(scope), receive, send)
        finally:
            os.close(self._descriptor)

    async def _send_file(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Begin the answer only when the disk has given the first bytes.

        Raises: MirrorError when it does not; when it gives up later, the connection is cut.
        """
        late = _LateStart(_refusing(scope, send))
        try:
            await super().__call__(scope, receive, late.send)
        except OSError as error:
            if late.started:
                raise
            kind = TooManyOpenFiles if error.errno in _NO_DESCRIPTOR else MirrorError
            raise kind(f"the file cannot be read: {os.strerror(error.errno or 0)}") from error

    def _validators(self) -> dict[str, str]:
        return {
            name: self.headers[name] for name in ("etag", "last-modified") if name in self.headers
        }

    async def _send_unchanged(self, send: Send) -> None:
        headers = MutableHeaders(raw=list(self.raw_headers))
        for name in ("content-length", "content-type", "content-disposition"):
            del headers[name]
        await send({"type": "http.response.start", "status": 304, "headers": headers.raw})
        await send({"type": "http.response.body", "body": b""})


class _LateStart:
    """Holds the head of an answer back until its first bytes are there."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._head: Message | None = None
        self.started = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._head = message
            return
        head, self._head = self._head, None
        self.started = True
        if head is not None:
            await self._send(head)
        await self._send(message)


def file_headers(row: ObjectRow) -> dict[str, str]:
    """The headers that describe a row's file."""
    headers = {
        **FOREIGN_CONTENT_HEADERS,
        "Content-Disposition": disposition(row.key),
        "Last-Modified": formatdate(row.last_modified, usegmt=True),
    }
    if re.fullmatch(r"[!#-~]+", row.etag):
        headers["ETag"] = f'"{row.etag}"'
    return headers


def media_type(key: str) -> str:
    """A guess by the key's ending; a compressed file is its container, not what is in it."""
    kind, encoding = guess_type(f"file:///{quote(file_name(key))}")
    return "application/octet-stream" if encoding or kind is None else kind


def file_name(key: str) -> str:
    """The last part of a key with a name, without control characters."""
    name = key.rstrip("/").rpartition("/")[2]
    return _UNSAFE.sub("_", name) or "file"


def disposition(key: str) -> str:
    """`attachment` with the file's name for old and new clients (RFC 6266, RFC 8187)."""
    name = file_name(key)
    plain = _NOT_QUOTABLE.sub("_", name)
    if plain == name:
        return f'attachment; filename="{plain}"'
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def is_another(asked: Headers, have: Mapping[str, str]) -> bool:
    """Whether the caller insists on a version that is not the present one (RFC 9110, 13.1.1).

    If-Match compares strongly: a weak tag is never enough for it.
    """
    tags = _whole(asked, "if-match")
    if tags is not None:
        strong = [match[0] for match in _ETAG.finditer(tags) if match[0] == match[1]]
        return tags.strip() != "*" and have.get("etag") not in strong
    since = asked.get("if-unmodified-since")
    return since is not None and _is_later(have["last-modified"], since) is True


def is_unchanged(asked: Headers, have: Mapping[str, str]) -> bool:
    """Whether the caller's copy is the present one (RFC 9110, section 13.2.2)."""
    tags = _whole(asked, "if-none-match")
    if tags is not None:
        return tags.strip() == "*" or have.get("etag") in _ETAG.findall(tags)
    since = asked.get("if-modified-since")
    return since is not None and _is_later(have["last-modified"], since) is False


def _whole(asked: Headers, name: str) -> str | None:
    """A list that may be spread over several lines of the head (RFC 9110, section 5.3)."""
    return ", ".join(asked.getlist(name)) if name in asked else None


def _is_later(one: str, other: str) -> bool | None:
    """Whether an HTTP date is after another; None when one of them is no date."""
    try:
        return parsedate_to_datetime(one) > parsedate_to_datetime(other)
    except (TypeError, ValueError, OverflowError):
        return None


def _with_valid_range(scope: Scope) -> Scope:
    """The same request without a Range that a server ignores (RFC 9110, section 14.2).

    An If-Range that is a date ignores it too: two versions of one second have the same date, and
    a client would join the bytes of both.
    """
    headers = Headers(scope=scope)
    asked, by_etag = headers.get("range"), headers.get("if-range", '"').startswith('"')
    if asked is None or (scope["method"] == "GET" and by_etag and _is_range(asked)):
        return scope
    return without_range(scope)


def _is_range(asked: str) -> bool:
    if _RANGE.fullmatch(asked.strip().lower()) is None:
        return False
    pairs = re.findall(r"(\d+)-(\d+)", asked)
    return all(int(first) <= int(last) for first, last in pairs)


def _refusing(scope: Scope, send: Send) -> Send:
    """Passes an answer on, except a refused range: that gets the shape of every other error."""
    refused = False

    async def passed(message: Message) -> None:
        nonlocal refused
        if message["type"] == "http.response.start" and message["status"] in (400, 416):
            refused = True
            size = Headers(raw=message["headers"]).get("content-range")
            headers = {"Content-Range": size} if size else None
            await http_answer(416, headers)(scope, _no_more, send)
        elif not refused:
            await send(message)

    return passed


async def _no_more() -> Message:
    return {"type": "http.disconnect"}
