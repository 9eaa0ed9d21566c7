"""The objects of a `FakeBucket` over HTTP, as S3 serves them, and every way to spoil an answer.

    front.script("a", Spoilt(flip(3)))                          every request of the key from now on
    front.script("a", refuse("500 X", "InternalError"), TRULY)  the next one only
    front.script_list(TRULY, answer("200 OK"))                  all pages but the first

So the real adapter and the whole engine can be tested against a server that does wrong. The
answers that need no object come from `scripted_server`; those that spoil a right one are here.
"""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from urllib.parse import parse_qsl, quote, unquote

from datasync.errors import (
    BucketError,
    ObjectMissing,
    PreconditionFailed,
    RangeUnsatisfiable,
)
from datasync.models.sync_models import ListedObject, ObjectHead, ObjectRequest
from tests.support import xml_pages
from tests.support.fake_bucket import FakeBucket
from tests.support.scripted_server import DATE, Peer, Reply, ScriptedServer, Seen, answer, refuse

_STATUS = {200: "200 OK", 206: "206 Partial Content", 304: "304 Not Modified"}
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_REFUSALS: dict[type[BucketError], tuple[str, str]] = {
    ObjectMissing: ("404 Not Found", "NoSuchKey"),
    PreconditionFailed: ("412 Precondition Failed", "PreconditionFailed"),
    RangeUnsatisfiable: ("416 Range Not Satisfiable", "InvalidRange"),
}


@dataclass
class Told:
    """An answer about an object before it is sent; spoilers change it.

    Of the body `sent` bytes go out (None: all), of the whole answer no more than `limit`, then
    `ending` says whether the connection stays.
    """

    status: str
    fields: dict[str, str]
    body: bytes
    before: bytes = b""
    protocol: str = "HTTP/1.1"
    sent: int | None = None
    limit: int | None = None
    ending: Callable[[Peer], bool] = lambda peer: True

    def rendered(self) -> bytes:
        lines = [f"{name}: {text}" for name, text in self.fields.items()]
        head = "\r\n".join([f"{self.protocol} {self.status}", *lines, "", ""])
        return self.before + head.encode("latin-1") + self.body[: self.sent]

    def send(self, peer: Peer) -> bool:
        peer.send(self.rendered()[: self.limit])
        return self.ending(peer)


Spoiler = Callable[[Told], object]


class Spoilt:
    """A reply: the right answer, spoilt before it is sent if it brings an object."""

    def __init__(self, *spoilers: Spoiler) -> None:
        self.spoilers = spoilers


TRULY = Spoilt()
Script = Reply | Spoilt


class S3Front:
    """Serves the bucket `bucket`. A script's last reply stays for all later requests of its key."""

    def __init__(self, store: FakeBucket, server: ScriptedServer) -> None:
        self.store = store
        self.server = server
        self.server.script(self._reply)
        self._scripts: dict[str | None, list[Script]] = {}
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return self.server.url

    def script(self, key: str, *replies: Script) -> None:
        """The next requests of this key get these replies."""
        with self._lock:
            self._scripts[key] = list(replies)

    def script_list(self, *replies: Script) -> None:
        """The next pages of listings get these replies."""
        with self._lock:
            self._scripts[None] = list(replies)

    def heal(self) -> None:
        """No fault any more."""
        with self._lock:
            self._scripts.clear()

    def asked(self, key: str) -> list[Seen]:
        """The requests of a key so far."""
        return [seen for seen in self.server.requests if _key_of(seen) == key]

    def pages(self) -> int:
        """How many pages of listings were asked for so far."""
        return sum(_key_of(seen) is None for seen in self.server.requests)

    def answer_of(self, key: str) -> bytes:
        """Everything that is sent when a key is asked for, as it should be."""
        told = self._told(Seen("GET", f"/bucket/{quote(key)}", {}))
        assert isinstance(told, Told)
        return told.rendered()

    def close(self) -> None:
        self.server.close()

    def truly(self, peer: Peer, seen: Seen) -> bool:
        """The right answer, for replies that come to it in the end."""
        return self._play(TRULY, peer, seen)

    def in_ranges(self, reply: Script) -> Reply:
        """This reply to requests for a range, the right answer to all others."""
        return lambda peer, seen: self._play(
            reply if "range" in seen.headers else TRULY, peer, seen
        )

    def _reply(self, peer: Peer, seen: Seen) -> bool:
        with self._lock:
            script = self._scripts.get(_key_of(seen)) or [TRULY]
            reply = script.pop(0) if len(script) > 1 else script[0]
        return self._play(reply, peer, seen)

    def _play(self, reply: Script, peer: Peer, seen: Seen) -> bool:
        if not isinstance(reply, Spoilt):
            return reply(peer, seen)
        if _key_of(seen) is None:
            return self._list(peer, seen)
        told = self._told(seen)
        if not isinstance(told, Told):
            return told(peer, seen)
        for spoil in reply.spoilers:
            spoil(told)
        return told.send(peer)

    def _told(self, seen: Seen) -> Told | Reply:
        try:
            head, body = self.store.serve(_request(seen))
        except BucketError as error:
            return refuse(*_REFUSALS[type(error)])
        return Told(_STATUS[head.status], _fields(head), body)

    def _list(self, peer: Peer, seen: Seen) -> bool:
        asked = dict(parse_qsl(seen.target.partition("?")[2]))
        after = asked.get("continuation-token", asked.get("start-after", ""))
        page = next(iter(self.store.list(asked.get("prefix", ""), after)))
        given = {"Prefix": quote(asked.get("prefix", ""))}
        if not page.last:
            token = quote(page.objects[-1].key)
            given |= {"IsTruncated": "true", "NextContinuationToken": token}
        body = xml_pages.page(*map(entry_of, page.objects), **given)
        return answer("200 OK", body)(peer, seen)


def entry_of(listed: ListedObject) -> str:
    """The entry of an object in a listing."""
    return xml_pages.entry(
        quote(listed.key),
        ETag=f"&quot;{listed.etag}&quot;",
        Size=str(listed.size),
        LastModified=time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(listed.last_modified)),
        StorageClass=listed.storage_class,
    )


def _key_of(seen: Seen) -> str | None:
    """The key that a request is about; None for the bucket itself."""
    _, _, key = seen.target.partition("?")[0].removeprefix("/").partition("/")
    return unquote(key) or None


def _request(seen: Seen) -> ObjectRequest:
    ask = dict(parse_qsl(seen.target.partition("?")[2]))
    found = _RANGE.fullmatch(seen.headers.get("range", ""))
    first, last = found.groups() if found else (None, None)
    return ObjectRequest(
        _key_of(seen) or "",
        method=seen.method,
        first=int(first) if first else None,
        last=int(last) if last else None,
        if_match=_bare(seen.headers.get("if-match")),
        if_none_match=_bare(seen.headers.get("if-none-match")),
        part_number=int(ask["partNumber"]) if "partNumber" in ask else None,
    )


def _bare(etag: str | None) -> str | None:
    return None if etag is None else etag.strip('"')


def _fields(head: ObjectHead) -> dict[str, str]:
    fields = {
        "ETag": f'"{head.etag}"',
        "Last-Modified": formatdate(head.last_modified, usegmt=True),
        "Date": DATE,
    }
    if head.status != 304:
        fields["Content-Length"] = str(head.length)
    if head.status == 206:
        fields["Content-Range"] = f"bytes {head.first}-{head.first + head.length - 1}/{head.size}"
    if head.encryption:
        fields["x-amz-server-side-encryption"] = head.encryption
    return fields | {f"x-amz-checksum-{name}": text for name, text in head.checksums.items()}


# Spoilers


def fields(**changed: str) -> Spoiler:
    """Other header fields, underscores for dashes; an empty one is left out."""

    def spoil(told: Told) -> None:
        for name, text in changed.items():
            told.fields[name.replace("_", "-")] = text
        told.fields = {name: text for name, text in told.fields.items() if text}

    return spoil


def flip(at: int) -> Spoiler:
    """One bit of one byte arrives wrong."""

    def spoil(told: Told) -> None:
        told.body = told.body[:at] + bytes([told.body[at] ^ 1]) + told.body[at + 1 :]

    return spoil


def other_bytes(told: Told) -> None:
    """Another body of the same length."""
    told.body = bytes(len(told.body))


def looks_complete(told: Told) -> None:
    """The body lacks its last byte, and the length that is told agrees with that."""
    told.body = told.body[:-1]
    told.fields["Content-Length"] = str(len(told.body))


def extra_bytes(told: Told) -> None:
    """More bytes than were announced."""
    told.body += b"HTTP/1.1 404 Not Found\r\n\r\n"


def cut(ending: Callable[[Peer], bool], at: int | None = None) -> Spoiler:
    """After `at` bytes of the body (None: half of it) the connection has this ending."""

    def spoil(told: Told) -> None:
        told.sent = len(told.body) // 2 if at is None else at
        told.ending = ending

    return spoil


def paused(reached: threading.Event, go: threading.Event, at: int) -> Spoiler:
    """After `at` bytes of the body `reached` is set, and the rest comes when `go` is."""

    def spoil(told: Told) -> None:
        told.sent, rest = at, told.body[at:]

        def go_on(peer: Peer) -> bool:
            reached.set()
            while not go.wait(0.05):
                if peer.over.is_set():
                    return False
            peer.send(rest)
            return True

        told.ending = go_on

    return spoil


def break_off(ending: Callable[[Peer], bool], at: int) -> Spoiler:
    """After `at` bytes of the whole answer, its head included, the connection has this ending."""

    def spoil(told: Told) -> None:
        told.limit, told.ending = at, ending

    return spoil


def end(peer: Peer) -> bool:
    """The connection ends politely."""
    return False


def chunked(told: Told) -> None:
    """The body in chunks, and no word of its length."""
    del told.fields["Content-Length"]
    told.fields["Transfer-Encoding"] = "chunked"
    told.body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(told.body), told.body)


def drip(pause_seconds: float) -> Spoiler:
    """The body comes byte by byte, slowly but without end of progress."""

    def spoil(told: Told) -> None:
        body, told.sent = told.body, 0

        def dripping(peer: Peer) -> bool:
            for byte in body:
                if peer.over.wait(pause_seconds):
                    return False
                peer.send(bytes([byte]))
            return True

        told.ending = dripping

    return spoil


def http_1_0(told: Told) -> None:
    """An answer of HTTP/1.0, whose connection is not kept."""
    told.protocol, told.ending = "HTTP/1.0", end


def interim(told: Told) -> None:
    """Interim answers come first, one with fields of its own."""
    hints = b'HTTP/1.1 103 Early Hints\r\nETag: "none"\r\nContent-Length: 9\r\n\r\n'
    told.before = b"HTTP/1.1 100 Continue\r\n\r\n" + hints


def whole(told: Told) -> None:
    """A server that knows no ranges: 200, and bytes from the beginning of the object."""
    told.status = _STATUS[200]
    del told.fields["Content-Range"]


def part_of_it(told: Told) -> None:
    """The first half of the body, told truthfully as a range."""
    size, told.body = len(told.body), told.body[: len(told.body) // 2]
    told.status = _STATUS[206]
    told.fields["Content-Range"] = f"bytes 0-{len(told.body) - 1}/{size}"
    told.fields["Content-Length"] = str(len(told.body))


def ranged(shift: int = 0, shorten: int = 0, size: int = 0) -> Spoiler:
    """Another range than was asked for, told truthfully; or of an object of another size."""

    def spoil(told: Told) -> None:
        first, last, whole = map(int, re.findall(r"\d+", told.fields["Content-Range"]))
        told.body = told.body[: len(told.body) - shorten]
        told.fields["Content-Length"] = str(len(told.body))
        told.fields["Content-Range"] = (
            f"bytes {first + shift}-{last + shift - shorten}/{size or whole}"
        )

    return spoil
