"""The table: what goes wrong on the way to S3, and what comes of it.

`ANSWERS` are replies to any request: for an object, for a range of it, for the question whether
an object that is no longer listed is gone, for a page of a listing. `BODIES` spoil the answer that
brings a small object, `RANGES` those that bring the ranges of a large one, `PAGES` are listings.
`HARMLESS` looks like a fault and is none: the object arrives, with one request.

A key whose fault lasts fails with `error`, after `tries` requests, and says what to do (`hint`).
What is tried only once cannot get better by asking again.
"""

from dataclasses import dataclass

from datasync.errors import (
    AccessDenied,
    BucketMissing,
    ChecksumMismatch,
    ClockSkewed,
    CredentialsRejected,
    DataSyncError,
    LengthMismatch,
    ListingBroken,
    NetworkFailure,
    ObjectArchived,
    RedirectRefused,
    ServerFault,
    SlowDown,
    TornRead,
    TransferStalled,
    UnexpectedAnswer,
)
from tests.support import s3_front as front
from tests.support.network import ATTEMPTS
from tests.support.s3_front import Script, Spoiler, Spoilt
from tests.support.scripted_server import (
    Peer,
    Reply,
    Seen,
    answer,
    drip,
    error_document,
    etag,
    head,
    raw,
    refuse,
    stall_before_head,
)
from tests.support.world import OPTIONS
from tests.support.xml_pages import entry, page, truncated

HTML = b"<!DOCTYPE html><html><body>Please log in</body></html>"
SHORT_SECONDS = 0.5
OLD = b"old"  # what is held when a small object meets its fault


@dataclass(frozen=True)
class Fault:
    """A reply and what comes of it while it lasts. `patience` is DOWNLOAD_TIMEOUT_SECONDS.

    `repeats`: what a kept connection takes without a byte of an answer, libcurl asks on another
    one, up to five times in a try.
    """

    reply: Script
    error: type[DataSyncError]
    hint: str
    tries: int = ATTEMPTS
    patience: float = OPTIONS.timeout_seconds
    repeats: int = 0

    def allows(self, requests: int) -> bool:
        """Whether so many were sent; one that was given up soon may never have been read."""
        least = self.tries if self.patience == OPTIONS.timeout_seconds else 1
        return least <= requests <= self.tries + self.repeats


def reset(peer: Peer, seen: Seen) -> bool:
    return peer.reset()


def endless(line: bytes) -> Reply:
    """This line again and again, until the client has had enough."""

    def reply(peer: Peer, seen: Seen) -> bool:
        peer.send(b"HTTP/1.1 200 OK\r\n" if b":" in line else b"")
        while not peer.over.is_set():
            peer.send(line * 100)
        return False

    return reply


def stalled(data: bytes) -> Reply:
    """These bytes, then nothing more."""

    def reply(peer: Peer, seen: Seen) -> bool:
        peer.send(data)
        return peer.hold()

    return reply


KEYS = "AWS_ACCESS_KEY_ID"
NETWORK, ENDPOINT, SERVER = "Check the network", "proxy", "tries again"
SLOWER, CLOCK, REGION, GRANT = "slows down", "clock", "AWS_REGION", "Grant s3:GetObject"
PATIENCE = "DOWNLOAD_TIMEOUT_SECONDS"

ANSWERS = {
    # on the way
    "a reset at once": Fault(reset, NetworkFailure, NETWORK, repeats=5 * ATTEMPTS),
    "no answer at all": Fault(raw(b""), NetworkFailure, NETWORK, repeats=5 * ATTEMPTS),
    "a head that is cut": Fault(raw(b"HTTP/1.1 200 OK\r\nETa"), UnexpectedAnswer, ENDPOINT),
    "silence": Fault(stall_before_head(), TransferStalled, PATIENCE, patience=SHORT_SECONDS),
    "silence in the head": Fault(
        stalled(b"HTTP/1.1 200 OK\r\nETa"), TransferStalled, PATIENCE, patience=SHORT_SECONDS
    ),
    "no HTTP": Fault(raw(b"SSH-2.0-OpenSSH_9.2\r\n"), UnexpectedAnswer, ENDPOINT),
    "HTTP/0.9": Fault(raw(b"the bytes, and no head"), UnexpectedAnswer, ENDPOINT),
    "another HTTP": Fault(raw(b"HTTP/2 200\r\n\r\n"), UnexpectedAnswer, ENDPOINT),
    "a head without end": Fault(endless(b"X-Field: text\r\n"), NetworkFailure, NETWORK),
    "a field without end": Fault(
        raw(b"HTTP/1.1 200 OK\r\nX-Field: " + b"x" * 500_000), NetworkFailure, NETWORK
    ),
    "interim answers without end": Fault(
        endless(b"HTTP/1.1 100 Continue\r\n\r\n"), NetworkFailure, NETWORK
    ),
    "another protocol": Fault(
        raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n"), NetworkFailure, NETWORK
    ),
    # the server has a fault, or had enough
    "500": Fault(refuse("500 Internal Server Error", "InternalError"), ServerFault, SERVER),
    "502 of a gateway": Fault(answer("502 Bad Gateway", HTML), ServerFault, SERVER),
    "503 SlowDown": Fault(refuse("503 Slow Down", "SlowDown"), SlowDown, SLOWER),
    "503 of a gateway": Fault(answer("503 Service Unavailable", HTML), SlowDown, SLOWER),
    "429": Fault(answer("429 Too Many Requests"), SlowDown, SLOWER),
    # who asks, when, and where
    "403": Fault(refuse("403 Forbidden", "AccessDenied"), AccessDenied, GRANT, 1),
    "403 without a word": Fault(answer("403 Forbidden"), AccessDenied, GRANT, 1),
    "403 that says missing": Fault(refuse("403 Forbidden", "NoSuchKey"), AccessDenied, GRANT, 1),
    "unknown credentials": Fault(
        refuse("403 Forbidden", "InvalidAccessKeyId"), CredentialsRejected, KEYS, 1
    ),
    "expired credentials": Fault(
        refuse("400 Bad Request", "ExpiredToken"), CredentialsRejected, KEYS, 1
    ),
    "a bad signature": Fault(
        refuse("403 Forbidden", "SignatureDoesNotMatch"), CredentialsRejected, KEYS, 1
    ),
    "a clock that stays wrong": Fault(
        refuse("403 Forbidden", "RequestTimeTooSkewed", Date=""), ClockSkewed, CLOCK
    ),
    "301": Fault(refuse("301 Moved Permanently", "PermanentRedirect"), RedirectRefused, REGION, 1),
    "307": Fault(refuse("307 Temporary Redirect", "TemporaryRedirect"), RedirectRefused, REGION, 1),
    "302 to a login page": Fault(
        answer("302 Found", HTML, Location="http://127.0.0.1:9/login"), RedirectRefused, REGION, 1
    ),
    "another region": Fault(
        answer(
            "400 Bad Request",
            error_document("AuthorizationHeaderMalformed", extra="<Region>eu-west-3</Region>"),
        ),
        RedirectRefused,
        "AWS_REGION=eu-west-3",
        1,
    ),
    "no such bucket": Fault(
        refuse("404 Not Found", "NoSuchBucket"), BucketMissing, "S3_BUCKET_NAME", 1
    ),
    # what proves nothing
    "404 of a proxy": Fault(answer("404 Not Found", HTML), UnexpectedAnswer, ENDPOINT),
    "404 without a word": Fault(answer("404 Not Found"), UnexpectedAnswer, ENDPOINT),
    "404 that is cut": Fault(
        answer("404 Not Found", error_document("NoSuchKey")[:-8]), UnexpectedAnswer, ENDPOINT
    ),
    "404 about another key": Fault(
        answer("404 Not Found", error_document("NoSuchKey", extra="<Key>other</Key>")),
        UnexpectedAnswer,
        ENDPOINT,
    ),
    "410": Fault(refuse("410 Gone", "NoSuchKey"), UnexpectedAnswer, ENDPOINT),
    "400": Fault(refuse("400 Bad Request", "InvalidArgument"), UnexpectedAnswer, ENDPOINT),
    "204": Fault(raw(head("204 No Content", None)), UnexpectedAnswer, ENDPOINT),
}

# Only an object can be met by these.
OBJECT_ANSWERS = {
    "200 with HTML": Fault(answer("200 OK", HTML), UnexpectedAnswer, ENDPOINT),
    "200 and nothing": Fault(answer("200 OK"), UnexpectedAnswer, ENDPOINT),
}


def of_another_size(told: front.Told) -> None:
    """The version that was listed, and told truthfully, but for a lost end; nothing proves it."""
    front.looks_complete(told)
    front.fields(x_amz_server_side_encryption="aws:kms")(told)


def lying_checksum(told: front.Told) -> None:
    """A stored checksum that is the only proof, and is another body's."""
    front.fields(x_amz_server_side_encryption="aws:kms", x_amz_checksum_crc32="AAAAAA==")(told)


CAME = "Nothing was replaced"
BODIES = {
    "a flipped byte": Fault(Spoilt(front.flip(3)), ChecksumMismatch, CAME),
    "another body": Fault(Spoilt(front.other_bytes), ChecksumMismatch, CAME),
    "a short body that looks complete": Fault(Spoilt(front.looks_complete), LengthMismatch, CAME),
    "a short body that nothing proves": Fault(Spoilt(of_another_size), LengthMismatch, CAME),
    "a lying checksum": Fault(Spoilt(lying_checksum), ChecksumMismatch, CAME),
    "an end in the body": Fault(Spoilt(front.cut(front.end)), NetworkFailure, NETWORK),
    "a reset in the body": Fault(Spoilt(front.cut(Peer.reset)), NetworkFailure, NETWORK),
    "a reset before the body": Fault(Spoilt(front.cut(Peer.reset, at=0)), NetworkFailure, NETWORK),
    "silence in the body": Fault(
        Spoilt(front.cut(Peer.hold)), TransferStalled, PATIENCE, patience=SHORT_SECONDS
    ),
    "a slow drip": Fault(
        Spoilt(front.drip(0.1)), TransferStalled, PATIENCE, patience=SHORT_SECONDS
    ),
    "no ETag": Fault(Spoilt(front.fields(ETag="")), UnexpectedAnswer, ENDPOINT),
    "an ETag of other bytes": Fault(
        Spoilt(front.fields(ETag=f'"{"f" * 32}"')), ChecksumMismatch, CAME
    ),
    "a date that is none": Fault(
        Spoilt(front.fields(Last_Modified="tomorrow")), UnexpectedAnswer, ENDPOINT
    ),
    "chunks without a length": Fault(Spoilt(front.chunked), UnexpectedAnswer, ENDPOINT),
    "no length": Fault(Spoilt(front.fields(Content_Length="")), UnexpectedAnswer, ENDPOINT),
    "a range that was not asked for": Fault(Spoilt(front.part_of_it), TornRead, CAME),
    "an older version than was listed": Fault(
        Spoilt(front.fields(ETag='"old-1"', Last_Modified="Tue, 14 Nov 2023 00:00:00 GMT")),
        TornRead,
        CAME,
    ),
    "304 of a cache that is stale": Fault(
        raw(head("304 Not Modified", None, ETag=f'"{etag(OLD)}"')), TornRead, CAME
    ),
}

HARMLESS: dict[str, Spoiler] = {
    "bytes after the body": front.extra_bytes,
    "interim answers": front.interim,
    "HTTP/1.0": front.http_1_0,
    "a connection that is closed": front.cut(front.end, at=10**9),
    "a weak ETag": lambda told: front.fields(ETag=f"W/{told.fields['ETag']}")(told),
    "an ETag without quotes": lambda told: front.fields(ETag=told.fields["ETag"].strip('"'))(told),
    "no date": front.fields(Last_Modified=""),
    "a date before the epoch": front.fields(Last_Modified="Thu, 01 Jan 1960 00:00:00 GMT"),
    "a date far away": front.fields(Last_Modified="Fri, 31 Dec 9999 23:59:59 GMT"),
    "a checksum that is none": front.fields(x_amz_checksum_crc32="?", x_amz_checksum_sha1="\xb2"),
    "a count of parts that is none": front.fields(
        x_amz_server_side_encryption="aws:kms", x_amz_checksum_sha256=f"c2hh-{'9' * 5000}"
    ),
    "a content encoding": front.fields(Content_Encoding="gzip"),
    "many large fields": front.fields(**{f"x_amz_meta_{n}": "x" * 2_000 for n in range(80)}),
}

RANGES = {
    "a range that is ignored": Fault(Spoilt(front.whole), TornRead, CAME),
    "a range that is shifted": Fault(Spoilt(front.ranged(shift=1)), TornRead, CAME),
    "a range that is shorter": Fault(Spoilt(front.ranged(shorten=1)), TornRead, CAME),
    "a range of another size": Fault(Spoilt(front.ranged(size=10**6)), TornRead, CAME),
    "a range of another version": Fault(Spoilt(front.fields(ETag='"other"')), TornRead, CAME),
    "no word of the range": Fault(Spoilt(front.fields(Content_Range="")), TornRead, CAME),
    "a short range that looks complete": Fault(Spoilt(front.looks_complete), LengthMismatch, CAME),
    "a flipped byte": Fault(Spoilt(front.flip(3)), ChecksumMismatch, CAME),
    "another body": Fault(Spoilt(front.other_bytes), ChecksumMismatch, CAME),
    "an end in the body": Fault(Spoilt(front.cut(front.end)), NetworkFailure, NETWORK),
    "a reset in the body": Fault(Spoilt(front.cut(Peer.reset)), NetworkFailure, NETWORK),
    "silence in the body": Fault(
        Spoilt(front.cut(Peer.hold)), TransferStalled, PATIENCE, patience=SHORT_SECONDS
    ),
    "chunks without a length": Fault(Spoilt(front.chunked), UnexpectedAnswer, ENDPOINT),
}

LISTED = entry("a")
PAGES = {
    "an empty 200": Fault(answer("200 OK"), ListingBroken, ENDPOINT),
    "HTML": Fault(answer("200 OK", HTML), ListingBroken, ENDPOINT),
    "XML that is cut": Fault(answer("200 OK", page(LISTED)[:-10]), ListingBroken, ENDPOINT),
    "an error in a 200": Fault(
        answer("200 OK", error_document("InternalError")), ListingBroken, ENDPOINT
    ),
    "truncated without a token": Fault(
        answer("200 OK", page(LISTED, IsTruncated="true")), ListingBroken, ENDPOINT
    ),
    "the same token for ever": Fault(
        answer("200 OK", truncated(LISTED, token="t")), ListingBroken, ENDPOINT, 2 * ATTEMPTS
    ),
    "the same token for ever and no key": Fault(
        answer("200 OK", truncated(token="t")), ListingBroken, ENDPOINT, 2 * ATTEMPTS
    ),
    "the name of another bucket": Fault(
        answer("200 OK", page(LISTED, bucket="other")), ListingBroken, ENDPOINT
    ),
    "another prefix": Fault(answer("200 OK", page(Prefix="x")), ListingBroken, ENDPOINT),
    "another count": Fault(answer("200 OK", page(KeyCount="7")), ListingBroken, ENDPOINT),
    "no such key": Fault(refuse("404 Not Found", "NoSuchKey"), UnexpectedAnswer, ENDPOINT),
    "a page that drips": Fault(
        drip(page(LISTED), 0.1), TransferStalled, PATIENCE, patience=SHORT_SECONDS
    ),
    "a page without end": Fault(
        answer("200 OK", b" " * (16 * 2**20 + 1)), UnexpectedAnswer, ENDPOINT
    ),
    "archived": Fault(refuse("403 Forbidden", "InvalidObjectState"), ObjectArchived, "Restore", 1),
}
