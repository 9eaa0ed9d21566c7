"""Part sizes from whoever can tell them, and an honest "unknown" from everyone else."""

from collections.abc import Iterator
from itertools import accumulate

import pytest

from datasync.errors import NetworkFailure, ObjectMissing, PreconditionFailed
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


UNTOLD: dict[str, Reply] = {
    "parts not supported": answer("200 OK", b"x" * 15, ETag='"e-n"'),
    "another count": multipart([5, 5]),
    "no ranges told": answer("206 Partial Content", b"x" * 5, ETag='"e-n"'),
    "nothing allowed": DENIED,
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


@pytest.mark.parametrize(
    ("reply", "error"),
    [
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

    with pytest.raises(error):
        bucket.parts("m", "e-n", 3)
