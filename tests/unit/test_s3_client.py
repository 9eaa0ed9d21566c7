"""The S3 adapter against a server that does wrong whatever a server can do wrong."""

import os
import resource
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from datasync.errors import (
    AccessDenied,
    BucketMissing,
    ClockSkewed,
    CredentialsOutdated,
    CredentialsRejected,
    DataSyncError,
    Interrupted,
    LengthMismatch,
    NetworkFailure,
    ObjectArchived,
    ObjectMissing,
    ObjectTooLarge,
    PreconditionFailed,
    RangeUnsatisfiable,
    RedirectRefused,
    ServerFault,
    SlowDown,
    TornRead,
    TransferStalled,
    UnexpectedAnswer,
)
from datasync.models.sync_models import ObjectHead, ObjectRequest
from datasync.services.storage.bucket import S3Bucket
from datasync.services.storage.channel import S3Channel
from datasync.services.storage.s3 import client, loop
from datasync.services.storage.s3.client import S3Client
from datasync.services.storage.s3.credentials import source
from datasync.services.storage.s3.endpoint import S3Config
from tests.support.receivers import Collector, drain, fetch
from tests.support.rotation import guarded, outdated_chain
from tests.support.scripted_server import (
    DATE,
    Peer,
    Reply,
    ScriptedServer,
    Seen,
    answer,
    drip,
    end_after,
    error_document,
    etag,
    good,
    head,
    object_head,
    raw,
    refuse,
    reset_after,
    stall_after,
    stall_before_head,
)

PEM = Path(__file__).parent.parent / "support" / "loopback.pem"
BODY = bytes(range(256)) * 4
BIG = BODY * 2048
WHEN = 1795420800
GET = ObjectRequest("a")
HEAD = ObjectRequest("a", method="HEAD")
RANGE = ObjectRequest("a", first=10, last=19)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def config(server: ScriptedServer) -> S3Config:
    keys = source("AKIDEXAMPLE", "hush-secret", "hush-token")
    return S3Config("bucket", "us-east-1", server.url, keys, timeout_seconds=0.3)


@pytest.fixture
def bucket(config: S3Config) -> Iterator[S3Bucket]:
    bucket = S3Bucket(config)
    yield bucket
    bucket.close()


def ranged(told: str, body: bytes = BODY[10:20], **fields: str) -> Reply:
    given = {"ETag": f'"{etag(BODY)}"', "Content_Range": told, **fields}
    return answer("206 Partial Content", body, **given)


# What a good answer says


def test_a_whole_object(server: ScriptedServer, bucket: S3Bucket) -> None:
    server.script(good(BODY))

    found, receiver = fetch(bucket, GET)

    assert found.error is None and found.token == "token" and found.seconds > 0
    assert found.head == ObjectHead(200, etag(BODY), 1024, 1024, last_modified=WHEN)
    assert receiver.heads == [found.head]
    assert receiver.body == BODY


def test_everything_a_head_can_say(server: ScriptedServer, bucket: S3Bucket) -> None:
    fields = {
        "ETag": 'W/"e1-3"',
        "x_amz_version_id": "v7",
        "x_amz_storage_class": "GLACIER",
        "x_amz_restore": 'ongoing-request="false", expiry-date="Fri, 21 Dec 2029 00:00:00 GMT"',
        "x_amz_server_side_encryption": "aws:kms",
        "x_amz_checksum_crc64nvme": "AAAAAAAAAAA=",
        "x_amz_checksum_sha256": "c2hh-3",
        "x_amz_checksum_type": "COMPOSITE",
        "x_amz_mp_parts_count": "3",
    }
    server.script(good(BODY, **fields))

    assert bucket.head("a") == ObjectHead(
        status=200,
        etag="e1-3",
        size=1024,
        length=1024,
        last_modified=WHEN,
        version_id="v7",
        storage_class="GLACIER",
        restored=True,
        encryption="aws:kms",
        checksums={"crc64nvme": "AAAAAAAAAAA=", "sha256": "c2hh-3"},
        checksum_type="COMPOSITE",
        parts_count=3,
    )


def test_customer_keys_are_named(server: ScriptedServer, bucket: S3Bucket) -> None:
    server.script(good(BODY, x_amz_server_side_encryption_customer_algorithm="AES256"))

    assert bucket.head("a").encryption == "SSE-C"


def test_an_empty_object_has_a_head(server: ScriptedServer, bucket: S3Bucket) -> None:
    server.script(good(b""))

    found, receiver = fetch(bucket, GET)

    assert found.error is None
    assert receiver.heads == [found.head]
    assert receiver.chunks == []


def test_a_range(server: ScriptedServer, bucket: S3Bucket) -> None:
    server.script(good(BODY))

    found, receiver = fetch(bucket, replace(RANGE, if_match=etag(BODY)))

    assert found.head is not None
    assert (found.head.status, found.head.first, found.head.length) == (206, 10, 10)
    assert found.head.size == 1024
    assert receiver.body == BODY[10:20]
    assert server.requests[0].headers["range"] == "bytes=10-19"
    assert server.requests[0].headers["if-match"] == f'"{etag(BODY)}"'


def test_not_modified(server: ScriptedServer, bucket: S3Bucket) -> None:
    server.script(raw(head("304 Not Modified", None, ETag='"e1"')))

    found, receiver = fetch(bucket, replace(GET, if_none_match="e1"))

    assert found.head is not None and (found.head.status, found.head.etag) == (304, "e1")
    assert receiver.heads == [] and server.requests[0].headers["if-none-match"] == '"e1"'


def test_bodies_are_not_decoded(server: ScriptedServer, bucket: S3Bucket) -> None:
    server.script(good(BODY, Content_Encoding="gzip"))

    assert fetch(bucket, GET)[1].body == BODY
    assert "accept-encoding" not in server.requests[0].headers


@pytest.mark.parametrize(
    ("key", "target"),
    [
        ("a b", "/bucket/a%20b"),
        ("a+b%2B", "/bucket/a%2Bb%252B"),
        ("a//b/../c/./d", "/bucket/a//b/../c/./d"),
        ("/lead", "/bucket//lead"),
        ("dir/", "/bucket/dir/"),
        ("ü\x01\n?#", "/bucket/%C3%BC%01%0A%3F%23"),
    ],
)
def test_keys_go_out_as_they_are(
    server: ScriptedServer, bucket: S3Bucket, key: str, target: str
) -> None:
    server.script(good(BODY))

    assert fetch(bucket, ObjectRequest(key))[0].error is None
    assert server.requests[0].target == target


def test_requests_are_signed_and_ask_for_checksums(
    server: ScriptedServer, bucket: S3Bucket
) -> None:
    server.script(good(BODY))

    fetch(bucket, ObjectRequest("a", part_number=1))

    (seen,) = server.requests
    assert seen.target == "/bucket/a?partNumber=1"
    assert seen.headers["x-amz-checksum-mode"] == "ENABLED"
    assert seen.headers["x-amz-security-token"] == "hush-token"
    assert seen.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")


def test_an_unsigned_bucket_sends_no_credentials(config: S3Config, server: ScriptedServer) -> None:
    bucket = S3Bucket(replace(config, credentials=source("k", "s", unsigned=True)))
    server.script(good(BODY))

    assert bucket.head("a").size == 1024
    names = set(server.requests[0].headers)
    assert names == {"host", "user-agent", "accept", "x-amz-checksum-mode"}
    bucket.close()


# What goes wrong

WRONG: dict[str, tuple[ObjectRequest, Reply, type[DataSyncError]]] = {
    # on the way
    "reset before the body": (GET, reset_after(0, of=BODY), NetworkFailure),
    "reset in the body": (GET, reset_after(1000, of=BODY), NetworkFailure),
    "ended early": (GET, end_after(1000, of=BODY), NetworkFailure),
    "no answer at all": (GET, raw(b""), NetworkFailure),
    "silence": (GET, stall_before_head(), TransferStalled),
    "silence in the head": (GET, stall_after(0, of=BODY), TransferStalled),
    "silence in the body": (GET, stall_after(1000, of=BODY), TransferStalled),
    "garbage": (GET, raw(b"SSH-2.0-OpenSSH_9.2\r\n"), UnexpectedAnswer),
    "garbage among the fields": (
        GET,
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"),
        UnexpectedAnswer,
    ),
    "two lengths": (
        GET,
        raw(object_head(BODY)[:-2] + b"Content-Length: 9\r\n\r\n" + BODY),
        UnexpectedAnswer,
    ),
    # heads that do not fit
    "no etag": (GET, good(BODY, ETag=""), UnexpectedAnswer),
    "no length": (GET, raw(head("200 OK", None, ETag='"e"') + BODY), UnexpectedAnswer),
    "a date that is none": (GET, good(BODY, Last_Modified="tomorrow"), UnexpectedAnswer),
    "no content": (GET, raw(head("204 No Content", None)), UnexpectedAnswer),
    "too large": (replace(GET, max_bytes=1023), good(BODY), ObjectTooLarge),
    "too large for nothing": (replace(GET, max_bytes=0), good(b"x"), ObjectTooLarge),
    "another version": (replace(GET, if_match="e0"), good(BODY), TornRead),
    "not modified, of another version": (
        replace(GET, if_none_match="e0"),
        raw(head("304 Not Modified", None, ETag='"e1"')),
        TornRead,
    ),
    "not modified, unasked": (
        GET,
        raw(head("304 Not Modified", None, ETag='"e1"')),
        UnexpectedAnswer,
    ),
    "a part that was not asked for": (GET, ranged("bytes 10-19/1024"), TornRead),
    "range ignored": (RANGE, answer("200 OK", BODY, ETag='"e"'), TornRead),
    "part ignored": (
        ObjectRequest("a", part_number=2),
        answer("200 OK", BODY, ETag='"e"'),
        TornRead,
    ),
    "range shifted": (RANGE, ranged("bytes 11-20/1024"), TornRead),
    "range shortened": (RANGE, ranged("bytes 10-18/1024", BODY[10:19]), TornRead),
    "range not told": (RANGE, ranged(""), TornRead),
    "range of an unknown whole": (RANGE, ranged("bytes 10-19/*"), TornRead),
    "range beyond the whole": (RANGE, ranged("bytes 10-19/15"), TornRead),
    "range in other units": (RANGE, ranged("lines 10-19/1024"), TornRead),
    "range of another length": (RANGE, ranged("bytes 10-19/1024", BODY[:9]), LengthMismatch),
    # refusals
    "missing": (GET, refuse("404 Not Found", "NoSuchKey"), ObjectMissing),
    "missing version": (GET, refuse("404 Not Found", "NoSuchVersion"), UnexpectedAnswer),
    "delete marker": (
        GET,
        refuse("404 Not Found", "NoSuchKey", x_amz_delete_marker="true"),
        ObjectMissing,
    ),
    "delete marker without a word": (
        GET,
        answer("404 Not Found", b"<html>", x_amz_delete_marker="true"),
        UnexpectedAnswer,
    ),
    "no bucket": (GET, refuse("404 Not Found", "NoSuchBucket"), BucketMissing),
    "404 without a word": (GET, answer("404 Not Found"), UnexpectedAnswer),
    "404 of a proxy": (GET, answer("404 Not Found", b"<html>NoSuchKey</html>"), UnexpectedAnswer),
    "404 that is cut": (
        GET,
        answer("404 Not Found", error_document("NoSuchKey")[:-8]),
        UnexpectedAnswer,
    ),
    "404 cut on the way": (
        GET,
        raw(head("404 Not Found", 500) + error_document("NoSuchKey")),
        NetworkFailure,
    ),
    "404 with another code": (GET, refuse("404 Not Found", "NoSuchUpload"), UnexpectedAnswer),
    "missing with another status": (GET, refuse("410 Gone", "NoSuchKey"), UnexpectedAnswer),
    "an endless refusal": (GET, answer("404 Not Found", b" " * 10**6), UnexpectedAnswer),
    "denied": (GET, refuse("403 Forbidden", "AccessDenied"), AccessDenied),
    "denied without a word": (GET, answer("403 Forbidden"), AccessDenied),
    "missing, says a 403": (GET, refuse("403 Forbidden", "NoSuchKey"), AccessDenied),
    "unauthorized": (GET, answer("401 Unauthorized"), AccessDenied),
    "archived": (GET, refuse("403 Forbidden", "InvalidObjectState"), ObjectArchived),
    "unknown key id": (GET, refuse("403 Forbidden", "InvalidAccessKeyId"), CredentialsRejected),
    "bad signature": (GET, refuse("403 Forbidden", "SignatureDoesNotMatch"), CredentialsRejected),
    "expired token": (GET, refuse("400 Bad Request", "ExpiredToken"), CredentialsRejected),
    "bad token": (GET, refuse("400 Bad Request", "InvalidToken"), CredentialsRejected),
    "moved": (GET, refuse("301 Moved Permanently", "PermanentRedirect"), RedirectRefused),
    "moved for now": (GET, refuse("307 Temporary Redirect", "TemporaryRedirect"), RedirectRefused),
    "wrong region": (
        GET,
        refuse("400 Bad Request", "AuthorizationHeaderMalformed"),
        RedirectRefused,
    ),
    "changed": (GET, refuse("412 Precondition Failed", "PreconditionFailed"), PreconditionFailed),
    "no such range": (
        GET,
        refuse("416 Range Not Satisfiable", "InvalidRange"),
        RangeUnsatisfiable,
    ),
    "too many": (GET, answer("429 Too Many Requests"), SlowDown),
    "slow down": (GET, refuse("503 Slow Down", "SlowDown"), SlowDown),
    "slow down, says a 500": (GET, refuse("500 Internal Server Error", "SlowDown"), SlowDown),
    "unavailable": (GET, answer("503 Service Unavailable", b"<html>"), SlowDown),
    "broken": (GET, refuse("500 Internal Server Error", "InternalError"), ServerFault),
    "bad gateway": (GET, answer("502 Bad Gateway", b"<html>"), ServerFault),
    "not implemented": (GET, refuse("501 Not Implemented", "NotImplemented"), UnexpectedAnswer),
    "not implemented, without a word": (GET, answer("501 Not Implemented"), UnexpectedAnswer),
    "too slow for the server": (GET, refuse("400 Bad Request", "RequestTimeout"), ServerFault),
    "bad request": (GET, refuse("400 Bad Request", "InvalidArgument"), UnexpectedAnswer),
    "an entity": (
        GET,
        answer("404 X", b'<!DOCTYPE a [<!ENTITY e "NoSuchKey">]><Error><Code>&e;</Code></Error>'),
        UnexpectedAnswer,
    ),
    "a document type": (
        GET,
        answer("404 X", b"<!DOCTYPE Error><Error><Code>NoSuchKey</Code></Error>"),
        UnexpectedAnswer,
    ),
    "two codes": (
        GET,
        answer("404 X", b"<Error><Code>NoSuchBucket</Code><Code>NoSuchKey</Code></Error>"),
        UnexpectedAnswer,
    ),
    "a code further down": (
        GET,
        answer("404 X", b"<Error><Cause><Code>NoSuchKey</Code></Cause></Error>"),
        UnexpectedAnswer,
    ),
    "a comment in the code": (
        GET,
        answer("404 X", b"<Error><Code>NoSuchKey<!-- not -->Found</Code></Error>"),
        UnexpectedAnswer,
    ),
    "a length no disk holds": (
        GET,
        raw(object_head(BODY, length=9223372036854775808)),
        UnexpectedAnswer,
    ),
    "a range no disk holds": (
        RANGE,
        ranged("bytes 10-19/9223372036854775808"),
        TornRead,
    ),
}


@pytest.mark.parametrize(("request_", "reply", "error"), WRONG.values(), ids=WRONG)
def test_every_wrong_answer_has_its_error(
    server: ScriptedServer,
    bucket: S3Bucket,
    request_: ObjectRequest,
    reply: Reply,
    error: type[DataSyncError],
) -> None:
    server.script(reply)

    found, receiver = fetch(bucket, request_)

    assert type(found.error) is error, repr(found.error)
    assert found.head is None and len(receiver.body) < len(BODY)
    assert "hush" not in str(found.error) + found.error.hint


def test_another_http_than_was_asked_in_is_called_so(
    server: ScriptedServer, bucket: S3Bucket
) -> None:
    server.script(raw(b"HTTP/2 200\r\n\r\n"))

    assert "does not answer in HTTP" in str(fetch(bucket, GET)[0].error)


def test_extra_bytes_are_not_of_the_object(server: ScriptedServer, bucket: S3Bucket) -> None:
    server.script(raw(object_head(BODY) + BODY + b"extra"), good(BODY))

    assert fetch(bucket, GET)[1].body == BODY


def test_a_slow_body_is_no_stall(server: ScriptedServer, bucket: S3Bucket) -> None:
    server.script(drip(b"slowly", 0.1))

    found, receiver = fetch(bucket, GET)

    assert found.error is None and receiver.body == b"slowly"
    assert found.seconds > 0.5


def test_a_busy_caller_is_no_stall(server: ScriptedServer, bucket: S3Bucket) -> None:
    arrived, go = threading.Event(), threading.Event()

    def slow(peer: Peer, seen: Seen) -> bool:
        arrived.set()
        go.wait(30)
        return good(BODY)(peer, seen)

    server.script(slow)
    channel, receiver = bucket.channel(1), Collector()
    channel.start(GET, receiver, None)
    deadline = time.monotonic() + 10
    while not arrived.is_set() and time.monotonic() < deadline:
        channel.poll(0)
    threading.Event().wait(0.7)  # over twice the stall time without a single poll
    go.set()

    (found,) = drain(channel)

    assert found.error is None and receiver.body == BODY
    channel.close()


def test_refused_connections(config: S3Config, server: ScriptedServer) -> None:
    server.close()
    bucket = S3Bucket(config)

    assert type(fetch(bucket, GET)[0].error) is NetworkFailure
    with pytest.raises(NetworkFailure):
        bucket.check(5.0)
    bucket.close()


def test_a_redirect_is_not_followed_and_names_the_region(
    server: ScriptedServer, bucket: S3Bucket
) -> None:
    with ScriptedServer() as elsewhere:
        elsewhere.script(good(BODY))
        server.script(
            refuse(
                "307 Temporary Redirect",
                "TemporaryRedirect",
                Location=f"{elsewhere.url}/bucket/a",
                x_amz_bucket_region="eu-west-1",
            )
        )
        found, _ = fetch(bucket, GET)

        assert elsewhere.requests == []
    assert isinstance(found.error, RedirectRefused)
    assert found.error.hint == "Set AWS_REGION=eu-west-1."


def test_the_region_may_come_in_the_body(server: ScriptedServer, bucket: S3Bucket) -> None:
    document = error_document("AuthorizationHeaderMalformed", extra="<Region>eu-west-3</Region>")
    server.script(answer("400 Bad Request", document))

    error = fetch(bucket, GET)[0].error

    assert error is not None and "eu-west-3" in error.hint


# A HEAD cannot say why

WHY: dict[str, tuple[str, Reply, type[DataSyncError]]] = {
    "missing": ("404 Not Found", refuse("404 Not Found", "NoSuchKey"), ObjectMissing),
    "no bucket": ("404 Not Found", refuse("404 Not Found", "NoSuchBucket"), BucketMissing),
    "a proxy's 404": ("404 Not Found", answer("404 Not Found", b"<html>"), UnexpectedAnswer),
    "there after all": ("404 Not Found", good(BODY), UnexpectedAnswer),
    "there, range ignored": ("404 Not Found", answer("200 OK", BIG, ETag='"e"'), UnexpectedAnswer),
    "there and empty": (
        "404 Not Found",
        refuse("416 Range Not Satisfiable", "InvalidRange"),
        UnexpectedAnswer,
    ),
    "archived": ("403 Forbidden", refuse("403 Forbidden", "InvalidObjectState"), ObjectArchived),
    "expired": ("400 Bad Request", refuse("400 Bad Request", "ExpiredToken"), CredentialsRejected),
}


@pytest.mark.parametrize(("status", "reply", "error"), WHY.values(), ids=WHY)
def test_a_refused_head_is_asked_again_for_the_reason(
    server: ScriptedServer,
    bucket: S3Bucket,
    status: str,
    reply: Reply,
    error: type[DataSyncError],
) -> None:
    server.script(answer(status), reply, answer(status), reply)

    found, _ = fetch(bucket, HEAD)
    with pytest.raises(DataSyncError) as caught:
        bucket.head("a")

    assert type(found.error) is type(caught.value) is error
    assert [seen.method for seen in server.requests] == ["HEAD", "GET"] * 2
    assert server.requests[1].headers["range"] == "bytes=0-0"


def test_the_reason_is_asked_for_without_the_condition(
    server: ScriptedServer, bucket: S3Bucket
) -> None:
    """Or the answer could be a 304, which says nothing of why the HEAD was refused."""

    def reply(peer: Peer, seen: Seen) -> bool:
        if "if-none-match" in seen.headers and seen.method == "GET":
            return raw(head("304 Not Modified", None, ETag=f'"{etag(BODY)}"'))(peer, seen)
        return refuse("403 Forbidden", "AccessDenied")(peer, seen)

    server.script(reply)

    found, _ = fetch(bucket, replace(HEAD, if_none_match=etag(BODY)))

    assert type(found.error) is AccessDenied


def test_a_head_that_fails_says_so_at_once(server: ScriptedServer, bucket: S3Bucket) -> None:
    server.script(answer("503 Slow Down"))

    assert type(fetch(bucket, HEAD)[0].error) is SlowDown
    assert len(server.requests) == 1


# Clock and credentials


def test_the_clock_is_learned_from_the_server(server: ScriptedServer, config: S3Config) -> None:
    client = S3Client(config, clock=lambda: WHEN - 3600.0)
    server.script(refuse("403 Forbidden", "RequestTimeTooSkewed"))

    with pytest.raises(ClockSkewed) as caught:
        client.head(HEAD)
    assert caught.value.retryable

    server.script(good(BODY))
    assert client.head(HEAD).size == 1024
    assert server.requests[-1].headers["x-amz-date"] == "20261123T080000Z"
    client.close()


def test_all_that_was_under_way_with_a_wrong_clock_may_be_repeated(
    server: ScriptedServer, config: S3Config
) -> None:
    server.script(refuse("403 Forbidden", "RequestTimeTooSkewed"))
    channel = S3Channel(S3Client(config, clock=lambda: WHEN - 3600.0), 4)
    for number in range(4):
        channel.start(GET, None, number)

    answers = drain(channel)

    assert [type(found.error) for found in answers] == [ClockSkewed] * 4
    channel.close()


def test_a_clock_that_somebody_sets_right_is_learned_again(
    server: ScriptedServer, config: S3Config
) -> None:
    now = [WHEN - 3600.0]
    client = S3Client(config, clock=lambda: now[0])
    server.script(refuse("403 Forbidden", "RequestTimeTooSkewed"))
    for moment in (WHEN - 3600.0, WHEN + 10.0):
        now[0] = moment
        with pytest.raises(ClockSkewed):
            client.head(HEAD)

    server.script(good(BODY))
    client.head(HEAD)

    assert server.requests[-1].headers["x-amz-date"] == "20261123T080000Z"
    client.close()


def test_a_complaint_without_a_date_teaches_nothing(
    server: ScriptedServer, config: S3Config
) -> None:
    client = S3Client(config, clock=lambda: float(WHEN))
    skewed = refuse("403 Forbidden", "RequestTimeTooSkewed", Date="yesterday")
    server.script(skewed, skewed, good(BODY))

    with pytest.raises(ClockSkewed):
        client.head(HEAD)
    client.head(HEAD)

    assert {seen.headers["x-amz-date"] for seen in server.requests} == {"20261123T080000Z"}
    client.close()


@pytest.mark.parametrize(
    ("status", "code"),
    [("400 Bad Request", "ExpiredToken"), ("403 Forbidden", "InvalidAccessKeyId")],
)
def test_credentials_that_expire_during_a_run_are_replaced(
    server: ScriptedServer, config: S3Config, status: str, code: str
) -> None:
    server.script(guarded(good(BODY), refuse(status, code)))
    bucket = S3Bucket(replace(config, credentials=outdated_chain()[0]))
    channel = bucket.channel(3)
    for token in range(3):
        channel.start(GET, None, token)
    errors = [found.error for found in drain(channel)]

    assert [type(error) for error in errors] == [CredentialsOutdated] * 3
    assert all(error is not None and error.retryable for error in errors)
    assert fetch(bucket, GET)[1].body == BODY
    assert server.requests[-1].headers["x-amz-security-token"] == "t2"
    channel.close()
    bucket.close()


# The channel


def test_connections_are_kept_and_bounded(server: ScriptedServer, bucket: S3Bucket) -> None:
    server.script(good(BODY))
    channel = bucket.channel(3)
    for number in range(50):
        channel.start(ObjectRequest(f"k{number}"), Collector(), number)
    assert channel.in_flight == 50

    answers = drain(channel)

    assert sorted(str(found.token) for found in answers) == sorted(map(str, range(50)))
    assert all(found.error is None for found in answers)
    assert server.connections <= 3
    channel.close()


def test_a_kept_connection_that_the_server_closed_is_replaced(
    server: ScriptedServer, bucket: S3Bucket
) -> None:
    server.script(raw(object_head(BODY) + BODY), good(BODY))
    channel = bucket.channel(1)
    for token in (1, 2):
        channel.start(GET, None, token)
        (found,) = drain(channel)
        assert found.error is None
    channel.close()


def test_one_bad_answer_does_not_touch_the_others(server: ScriptedServer, bucket: S3Bucket) -> None:
    def mixed(peer: Peer, seen: Seen) -> bool:
        bad = seen.target.endswith("bad")
        return (reset_after(5, of=BIG) if bad else good(BIG))(peer, seen)

    server.script(mixed)
    channel = bucket.channel(4)
    receivers = {name: Collector() for name in ("one", "bad", "two")}
    for name, receiver in receivers.items():
        channel.start(ObjectRequest(name), receiver, name)

    errors = {found.token: found.error for found in drain(channel)}

    assert isinstance(errors.pop("bad"), NetworkFailure)
    assert errors == {"one": None, "two": None}
    assert receivers["one"].body == receivers["two"].body == BIG
    channel.close()


def test_wake_ends_a_poll(server: ScriptedServer, bucket: S3Bucket) -> None:
    server.script(stall_before_head())
    channel = bucket.channel(1)
    channel.start(GET, None, None)
    thread = threading.Thread(target=channel.wake)
    thread.start()

    assert channel.poll(0.25) == []

    thread.join()
    channel.close()
    channel.wake()


def test_an_idle_channel_waits_and_wakes(bucket: S3Bucket) -> None:
    channel = bucket.channel(1)
    started = time.monotonic()
    assert channel.poll(0.05) == []
    assert time.monotonic() - started >= 0.05

    channel.wake()
    started = time.monotonic()
    assert channel.poll(30.0) == []
    assert time.monotonic() - started < 10
    channel.close()


def test_a_receiver_may_refuse(server: ScriptedServer, bucket: S3Bucket) -> None:
    server.script(good(BIG))

    def refuse_head(head: ObjectHead) -> None:
        raise ObjectTooLarge("enough")

    channel, receiver = bucket.channel(1), Collector(on_begin=refuse_head)
    channel.start(GET, receiver, None)
    (found,) = drain(channel)

    assert type(found.error) is ObjectTooLarge and receiver.body == b""
    channel.close()


def test_a_receiver_that_breaks_spoils_its_own_request_only(
    server: ScriptedServer, bucket: S3Bucket
) -> None:
    server.script(good(BODY))

    def fail(data: bytes) -> None:
        raise OSError(28, "No space left on device")

    channel, fine = bucket.channel(1), Collector()
    channel.start(GET, Collector(on_write=fail), "bad")
    channel.start(GET, fine, "good")
    errors = {found.token: found.error for found in drain(channel)}

    assert isinstance(errors["bad"], DataSyncError) and "No space left" in str(errors["bad"])
    assert isinstance(errors["bad"].__cause__, OSError)
    assert errors["good"] is None and fine.body == BODY
    channel.close()


def test_cancel_drops_requests_in_every_state(server: ScriptedServer, bucket: S3Bucket) -> None:
    server.script(good(BODY))
    channel = bucket.channel(1)
    receiver = Collector(on_begin=lambda head: channel.cancel("mine"))
    for token in ("mine", "mine", "other", "mine"):
        channel.start(GET, receiver if token == "mine" else None, token)

    assert [found.token for found in drain(channel)] == ["other"]
    assert receiver.chunks == [] and len(receiver.heads) == 1
    channel.close()


def test_a_receiver_may_start_requests(server: ScriptedServer, bucket: S3Bucket) -> None:
    server.script(good(BODY))
    channel, second = bucket.channel(8), Collector()
    first = Collector(on_begin=lambda head: channel.start(RANGE, second, "second"))
    channel.start(GET, first, "first")

    assert {found.token for found in drain(channel)} == {"first", "second"}
    assert first.body == BODY and second.body == BODY[10:20]
    channel.close()


def test_closing_a_channel_drops_what_is_in_flight(
    server: ScriptedServer, bucket: S3Bucket
) -> None:
    server.script(stall_after(10, of=BODY))
    channel = bucket.channel(2)
    for _ in range(4):
        channel.start(GET, Collector(), None)
    channel.poll(0.05)

    channel.close()

    assert channel.in_flight == 0


def test_an_etag_no_header_can_carry_is_not_sent(server: ScriptedServer, bucket: S3Bucket) -> None:
    server.script(good(BODY))

    found, _ = fetch(bucket, replace(GET, if_match='x"\r\nx-evil: 1'))

    assert type(found.error) is UnexpectedAnswer
    assert server.requests == []


def test_descriptors_over_1024_are_fine(server: ScriptedServer, bucket: S3Bucket) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    filler = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        server.script(good(BODY))
        assert fetch(bucket, GET)[1].body == BODY
    finally:
        for descriptor in filler:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# The end of a bucket


def test_closing_ends_a_listing_that_hangs_and_all_later_questions(
    server: ScriptedServer, config: S3Config
) -> None:
    asked, problems = threading.Event(), list[DataSyncError]()

    def silent(peer: Peer, seen: Seen) -> bool:
        asked.set()
        return peer.hold()

    server.script(silent)
    bucket = S3Bucket(replace(config, timeout_seconds=60.0))

    def read() -> None:
        try:
            list(bucket.list())
        except DataSyncError as error:
            problems.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    assert asked.wait(10)

    bucket.close()
    reader.join(10)

    assert not reader.is_alive()
    assert [type(problem) for problem in problems] == [Interrupted]
    with pytest.raises(Interrupted):
        bucket.head("a")
    bucket.close()


def test_a_closed_bucket_holds_no_connection(config: S3Config, server: ScriptedServer) -> None:
    server.script(good(BODY))
    before = len(os.listdir("/proc/self/fd"))
    bucket = S3Bucket(config)
    bucket.head("a")
    assert len(os.listdir("/proc/self/fd")) > before

    bucket.close()
    server.close()

    assert len(os.listdir("/proc/self/fd")) <= before


def test_few_connections_are_kept_for_later_questions(config: S3Config) -> None:
    asking = S3Client(config)
    with ExitStack() as questions:
        for _ in range(client.SPARE + 2):
            questions.enter_context(asking._borrowed())
    assert len(asking._spare) == client.SPARE
    asking.close()


def test_closing_leaves_behind_what_cannot_be_closed_now(
    config: S3Config, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As libcurl, which waits for a name server that it asked."""
    server.script(good(BODY))
    bucket, answered, closed = S3Bucket(config), threading.Event(), threading.Event()
    close = loop.TransferLoop.close

    def wait_first(spare: loop.TransferLoop) -> None:
        answered.wait(30)
        close(spare)
        closed.set()

    bucket.head("a")
    monkeypatch.setattr(loop.TransferLoop, "close", wait_first)
    monkeypatch.setattr(client, "CLOSE_SECONDS", 0.01)
    bucket.close()
    assert not closed.is_set()
    answered.set()
    assert closed.wait(10)


FORK = """
import os, sys
from datasync.errors import BucketError
from datasync.services.storage.bucket import S3Bucket
from datasync.services.storage.s3.endpoint import S3Config

bucket, unused = (S3Bucket(S3Config("bucket", endpoint_url=sys.argv[1])) for _ in range(2))
bucket.head("a")
if (child := os.fork()) == 0:
    for use in (lambda: bucket.head("a"), lambda: bucket.channel(1)):
        try:
            use()
        except BucketError as error:
            assert "forked" in str(error)
        else:
            os._exit(1)
    bucket.close()
    unused.head("a")
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
bucket.head("a")
bucket.close()
"""


def test_a_forked_process_leaves_the_connections_of_its_parent_alone(
    server: ScriptedServer,
) -> None:
    server.script(good(BODY))

    subprocess.run([sys.executable, "-c", FORK, server.url], check=True, timeout=60)

    assert server.connections == 2 and len(server.requests) == 3


# The way to the server


def test_the_environments_proxy_is_used(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    bucket = S3Bucket(S3Config("bucket", endpoint_url="http://storage.invalid:9000"))
    server.script(good(BODY))

    assert bucket.head("a").size == 1024
    assert server.requests[0].target == "http://storage.invalid:9000/bucket/a"
    bucket.close()


@pytest.fixture
def secure() -> Iterator[ScriptedServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PEM)
    with ScriptedServer(context) as server:
        server.script(good(BODY))
        yield server


def test_certificates_are_checked(secure: ScriptedServer) -> None:
    bucket = S3Bucket(S3Config("bucket", endpoint_url=secure.url))

    with pytest.raises(NetworkFailure) as caught:
        bucket.head("a")

    assert "AWS_CA_BUNDLE" in caught.value.hint and secure.requests == []
    bucket.close()


def test_a_ca_bundle_is_trusted(secure: ScriptedServer) -> None:
    bucket = S3Bucket(S3Config("bucket", endpoint_url=secure.url, ca_bundle=str(PEM)))

    assert bucket.head("a").size == 1024
    bucket.close()


def test_the_date_of_the_replies_is_the_one_expected() -> None:
    assert DATE == "Mon, 23 Nov 2026 08:00:00 GMT"
