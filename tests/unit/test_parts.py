"""Part sizes from whoever can tell them, and an honest "unknown" from everyone else."""

import hashlib
from collections.abc import Iterator
from itertools import accumulate

import pytest

from datasync.errors import (
    AccessDenied,
    ClockSkewed,
    CredentialsRejected,
    NetworkFailure,
    ObjectMissing,
    PreconditionFailed,
    ServerFault,
    SlowDown,
)
from datasync.models.sync_models import ListedObject
from datasync.services.engine.integrity import SIZE_ONLY
from datasync.services.engine.proof import offered
from datasync.services.storage.bucket import S3Bucket
from datasync.services.storage.s3.credentials import source
from datasync.services.storage.s3.endpoint import S3Config
from tests.support.scripted_server import (
    Peer,
    Reply,
    ScriptedServer,
    Seen,
    answer,
    raw,
    refuse,
)

DENIED = refuse("403 Forbidden", "AccessDenied")
FAULT = refuse("500 Internal Server Error", "InternalError")
UNKNOWN = refuse("501 Not Implemented", "NotImplemented")
WHOLE = answer("200 OK", b"x" * 15, ETag='"e-n"')  # what a server without parts sends


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def bucket(server: ScriptedServer) -> Iterator[S3Bucket]:
    bucket = S3Bucket(S3Config("bucket", "us-east-1", server.url, source("key", "secret")))
    yield bucket
    bucket.close()


def multipart(sizes: list[int], attributes: Reply = DENIED, *, count: bool = True) -> Reply:
    """A server that knows this object's parts; `attributes` answers GetObjectAttributes."""
    ends = list(accumulate(sizes))

    def reply(peer: Peer, seen: Seen) -> bool:
        if "attributes" in seen.target:
            return attributes(peer, seen)
        number = int(seen.target.rpartition("=")[2])
        first, last = ends[number - 1] - sizes[number - 1], ends[number - 1] - 1
        fields = {"ETag": '"e-n"', "Content_Range": f"bytes {first}-{last}/{ends[-1]}"}
        if count:
            fields["x_amz_mp_parts_count"] = str(len(sizes))
        return answer("206 Partial Content", b"x" * sizes[number - 1], **fields)(peer, seen)

    return reply


def attributes(sizes: dict[int, int], etag: str = "e-n") -> Reply:
    parts = [
        f"<Part><PartNumber>{number}</PartNumber><Size>{size}</Size></Part>"
        for number, size in sizes.items()
    ]
    document = (
        '<GetObjectAttributesResponse xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<ETag>{etag}</ETag><ObjectParts><PartsCount>9</PartsCount>{''.join(parts)}"
        "</ObjectParts></GetObjectAttributesResponse>"
    )
    return answer("200 OK", document.encode())


def asked(parts: Reply, attributes: Reply = DENIED) -> Reply:
    """A server that answers questions for a part, for the parts, and for the object."""

    def reply(peer: Peer, seen: Seen) -> bool:
        if "attributes" in seen.target:
            return attributes(peer, seen)
        return (parts if "partNumber" in seen.target else WHOLE)(peer, seen)

    return reply


def once(first: Reply, later: Reply) -> Reply:
    """The first request meets one reply, all later ones the other."""
    replies = [first]
    return lambda peer, seen: (replies.pop() if replies else later)(peer, seen)


def paged(pages: dict[str, Reply]) -> Reply:
    """GetObjectAttributes in pages, by the marker asked for."""
    return lambda peer, seen: pages[seen.headers["x-amz-part-number-marker"]](peer, seen)


TOLD: dict[str, tuple[list[int], Reply]] = {
    "one part": ([7], DENIED),
    "two parts": ([5, 9], DENIED),
    "even parts": ([5, 5, 5, 2], DENIED),
    "even to the last byte": ([5, 5, 5], DENIED),
    "uneven parts, recorded": ([5, 9, 1, 2], attributes({1: 5, 2: 9, 3: 1, 4: 2})),
    "parts that only look even": ([6, 5, 7, 1], attributes({1: 6, 2: 5, 3: 7, 4: 1})),
    "recorded with gaps in the numbers": ([5, 9, 2], attributes({2: 5, 7: 9, 9: 2})),
    "recorded in pages": (
        [5, 9, 2],
        paged({"0": attributes({1: 5, 2: 9}), "2": attributes({3: 2})}),
    ),
    "uneven parts, not recorded": ([5, 9, 1, 2], attributes({})),
    "recorded wrongly": ([5, 9, 1], answer("200 OK", b"<html>")),
    "a server that knows no attributes": ([5, 9, 1, 2], refuse("404 Not Found", "NoSuchKey")),
    "a server that stumbles over attributes": ([5, 9, 1, 2], FAULT),
    "recorded with odd numbers": ([5, 9, 1], attributes({1: 5, 2: 11, 3: -1})),
    "recorded for no version": ([5, 9, 1], attributes({1: 5, 2: 9, 3: 1}, etag="")),
}


@pytest.mark.parametrize(("sizes", "reply"), TOLD.values(), ids=TOLD)
def test_the_sizes_are_told(
    server: ScriptedServer, bucket: S3Bucket, sizes: list[int], reply: Reply
) -> None:
    server.script(multipart(sizes, reply))

    assert bucket.parts("m", "e-n", len(sizes)) == tuple(sizes)
    assert all("if-match" in seen.headers for seen in server.requests if seen.method == "HEAD")


def test_even_parts_cost_few_requests(server: ScriptedServer, bucket: S3Bucket) -> None:
    server.script(multipart([5] * 999 + [1]))

    assert bucket.parts("m", "e-n", 1000) == (5,) * 999 + (1,)
    assert len(server.requests) == 5


@pytest.mark.parametrize("parts", [FAULT, UNKNOWN])
def test_attributes_tell_what_a_server_cannot_tell_of_a_part(
    server: ScriptedServer, bucket: S3Bucket, parts: Reply
) -> None:
    server.script(asked(parts, attributes({1: 5, 2: 9, 3: 1})))

    assert bucket.parts("m", "e-n", 3) == (5, 9, 1)


UNTOLD: dict[str, Reply] = {
    "parts not supported": WHOLE,
    "neither question known": asked(UNKNOWN, UNKNOWN),
    "neither question liked": asked(refuse("400 Bad Request", "InvalidArgument")),
    "another count": multipart([5, 5]),
    "no ranges told": answer("206 Partial Content", b"x" * 5, ETag='"e-n"'),
    "sizes that do not add up": multipart([5, 9, 1], attributes({1: 5, 2: 9, 3: 2})),
}


@pytest.mark.parametrize("reply", UNTOLD.values(), ids=UNTOLD)
def test_nobody_can_tell(server: ScriptedServer, bucket: S3Bucket, reply: Reply) -> None:
    server.script(reply)

    assert bucket.parts("m", "e-n", 3) == ()


def test_too_many_uneven_parts_are_not_asked_for(server: ScriptedServer, bucket: S3Bucket) -> None:
    server.script(multipart([5, 9] * 501))

    assert bucket.parts("m", "e-n", 1002) == ()
    assert len(server.requests) < 10


EXPIRED = refuse("400 Bad Request", "ExpiredToken")
SKEWED = refuse("403 Forbidden", "RequestTimeTooSkewed")
MANY = multipart([5, 9] * 501, FAULT)  # too many for a HEAD each


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (DENIED, AccessDenied),
        (FAULT, ServerFault),
        (EXPIRED, CredentialsRejected),
        (SKEWED, ClockSkewed),
        (refuse("503 Slow Down", "SlowDown"), SlowDown),
        (asked(WHOLE, FAULT), ServerFault),
        (asked(WHOLE, EXPIRED), CredentialsRejected),
        (asked(WHOLE, SKEWED), ClockSkewed),
        (asked(FAULT, DENIED), ServerFault),
        (MANY, ServerFault),
        (refuse("404 Not Found", "NoSuchKey"), ObjectMissing),
        (refuse("412 Precondition Failed", "PreconditionFailed"), PreconditionFailed),
        (multipart([5, 9, 1], attributes({1: 5, 2: 9, 3: 1}, etag="other")), PreconditionFailed),
        (raw(b""), NetworkFailure),
    ],
)
def test_what_is_no_matter_of_parts_is_raised(
    server: ScriptedServer, bucket: S3Bucket, reply: Reply, error: type[Exception]
) -> None:
    server.script(reply)

    with pytest.raises(error) as caught:
        bucket.parts("m", "e-n", 1002 if reply is MANY else 3)

    assert type(caught.value) is error


def test_a_refusal_that_only_the_head_met_is_no_answer(
    server: ScriptedServer, bucket: S3Bucket
) -> None:
    first, good = answer("400 Bad Request"), multipart([5, 5, 5, 2])

    def reply(peer: Peer, seen: Seen) -> bool:
        return (WHOLE if seen.method == "GET" else good)(peer, seen)

    server.script(once(first, reply))

    assert bucket.parts("m", "e-n", 4) == (5, 5, 5, 2)


def test_a_fault_is_no_leave_to_prove_nothing(server: ScriptedServer, bucket: S3Bucket) -> None:
    body = b"A" * 15
    parts = hashlib.md5(hashlib.md5(b"A" * 5).digest() * 3).hexdigest()
    listed = ListedObject("k", 15, f"{parts}-3", 0)
    head = answer("200 OK", body, ETag=f'"{listed.etag}"')

    def reply(peer: Peer, seen: Seen) -> bool:
        return (FAULT if "?" in seen.target else head)(peer, seen)

    server.script(reply)
    with pytest.raises(ServerFault) as caught:
        offered(bucket, listed)

    assert caught.value.retryable and "VERIFY_FILE_INTEGRITY" in caught.value.hint


def test_a_server_without_parts_leaves_the_size(server: ScriptedServer, bucket: S3Bucket) -> None:
    listed = ListedObject("k", 15, f"{'0' * 32}-3", 0)
    server.script(answer("200 OK", b"x" * 15, ETag=f'"{listed.etag}"'))
    assert offered(bucket, listed) == SIZE_ONLY
