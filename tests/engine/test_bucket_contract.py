"""What every `Bucket` does, the real adapter and the fake alike.

`TestFakeBucket` runs it in memory here; `tests/live/test_s3_live.py` runs it on real servers.
"""

import hashlib
import threading
import time
from typing import Protocol

import pytest

from datasync.errors import (
    ObjectMissing,
    ObjectTooLarge,
    PreconditionFailed,
    RangeUnsatisfiable,
)
from datasync.models.sync_models import ObjectHead, ObjectRequest
from datasync.services.storage.bucket import Bucket
from tests.support.fake_bucket import FakeBucket
from tests.support.receivers import Collector, drain, fetch

BODY = bytes(range(256)) * 40
MIB = 2**20
ODD_KEYS = ["a b", "a+b", "a%20b", "%2B", "x&y<z>", "q?=;#", "é/ü", "tab\tx", "~!*'()", "dir/z"]


class Arranged(Protocol):
    """A bucket under test and the other side's means to fill it."""

    bucket: Bucket

    def put(self, key: str, body: bytes) -> None: ...

    def put_parts(self, key: str, parts: list[bytes]) -> None: ...

    def delete(self, key: str) -> None: ...


def md5(body: bytes) -> str:
    return hashlib.md5(body).hexdigest()


def listed(bucket: Bucket, prefix: str = "", start_after: str = "") -> dict[str, tuple[int, str]]:
    pages = list(bucket.list(prefix, start_after))
    assert [page.last for page in pages] == [False] * (len(pages) - 1) + [True]
    return {each.key: (each.size, each.etag) for page in pages for each in page.objects}


class BucketContract:
    """Subclasses give the fixture `arranged`: a fresh, empty bucket."""

    def test_an_empty_bucket_has_one_empty_page(self, arranged: Arranged) -> None:
        assert listed(arranged.bucket) == {}

    def test_lists_what_is_there(self, arranged: Arranged) -> None:
        for key in ODD_KEYS:
            arranged.put(key, key.encode())

        expected = {key: (len(key.encode()), md5(key.encode())) for key in ODD_KEYS}
        assert listed(arranged.bucket) == expected

    def test_lists_below_a_prefix_and_after_a_key(self, arranged: Arranged) -> None:
        for key in ("a1", "a2", "a3", "b1"):
            arranged.put(key, b"x")

        assert set(listed(arranged.bucket, "a")) == {"a1", "a2", "a3"}
        assert set(listed(arranged.bucket, "a", "a1")) == {"a2", "a3"}
        assert set(listed(arranged.bucket, "", "a3")) == {"b1"}
        assert set(listed(arranged.bucket, "zz")) == set()

    def test_lists_many_pages(self, arranged: Arranged) -> None:
        keys = {f"k{number:04}" for number in range(1100)}
        for key in keys:
            arranged.put(key, b"")

        assert set(listed(arranged.bucket)) == keys

    @pytest.mark.parametrize("key", ODD_KEYS)
    def test_gets_an_object(self, arranged: Arranged, key: str) -> None:
        arranged.put(key, BODY)

        answer, receiver = fetch(arranged.bucket, ObjectRequest(key))

        assert answer.error is None and answer.head is not None
        assert (answer.head.status, answer.head.etag) == (200, md5(BODY))
        assert (answer.head.size, answer.head.length, answer.head.first) == (10240, 10240, 0)
        assert abs(answer.head.last_modified - time.time()) < 10**8
        assert receiver.heads == [answer.head]
        assert receiver.body == BODY

    def test_gets_an_empty_object(self, arranged: Arranged) -> None:
        arranged.put("empty", b"")

        answer, receiver = fetch(arranged.bucket, ObjectRequest("empty"))

        assert answer.error is None
        assert [head.size for head in receiver.heads] == [0]
        assert receiver.body == b""

    def test_a_new_version_is_seen_at_once(self, arranged: Arranged) -> None:
        arranged.put("a", b"one")
        arranged.put("a", b"two")

        assert fetch(arranged.bucket, ObjectRequest("a"))[1].body == b"two"
        assert listed(arranged.bucket) == {"a": (3, md5(b"two"))}

    @pytest.mark.parametrize(
        ("first", "last", "expected"),
        [
            (0, 0, BODY[:1]),
            (10, 19, BODY[10:20]),
            (10000, None, BODY[10000:]),
            (9, 10**6, BODY[9:]),
        ],
    )
    def test_gets_a_range(
        self, arranged: Arranged, first: int, last: int | None, expected: bytes
    ) -> None:
        arranged.put("a", BODY)

        request = ObjectRequest("a", first=first, last=last, if_match=md5(BODY))
        answer, receiver = fetch(arranged.bucket, request)

        assert answer.error is None and answer.head is not None
        assert (answer.head.status, answer.head.size) == (206, 10240)
        assert (answer.head.first, answer.head.length) == (first, len(expected))
        assert receiver.body == expected

    def test_a_range_beyond_the_end(self, arranged: Arranged) -> None:
        arranged.put("a", BODY)

        answer, receiver = fetch(arranged.bucket, ObjectRequest("a", first=10240, last=10250))

        assert type(answer.error) is RangeUnsatisfiable and receiver.heads == []

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_a_missing_object(self, arranged: Arranged, method: str) -> None:
        arranged.put("a", BODY)
        arranged.delete("a")

        answer, receiver = fetch(arranged.bucket, ObjectRequest("a", method=method))

        assert type(answer.error) is ObjectMissing and receiver.heads == []
        with pytest.raises(ObjectMissing):
            arranged.bucket.head("a")

    def test_if_none_match(self, arranged: Arranged) -> None:
        arranged.put("a", BODY)

        same, receiver = fetch(arranged.bucket, ObjectRequest("a", if_none_match=md5(BODY)))
        other, _ = fetch(arranged.bucket, ObjectRequest("a", if_none_match=md5(b"")))

        assert same.head is not None and (same.head.status, same.head.etag) == (304, md5(BODY))
        assert receiver.heads == [] and receiver.body == b""
        assert other.head is not None and other.head.status == 200

    def test_if_match(self, arranged: Arranged) -> None:
        arranged.put("a", BODY)

        answer, receiver = fetch(arranged.bucket, ObjectRequest("a", if_match=md5(b"")))

        assert type(answer.error) is PreconditionFailed and receiver.heads == []

    def test_a_cap_on_the_body(self, arranged: Arranged) -> None:
        arranged.put("a", BODY)

        under, _ = fetch(arranged.bucket, ObjectRequest("a", max_bytes=10240))
        over, receiver = fetch(arranged.bucket, ObjectRequest("a", max_bytes=10239))
        part = ObjectRequest("a", first=0, last=9, max_bytes=10)

        assert under.error is None
        assert type(over.error) is ObjectTooLarge and receiver.heads == []
        assert fetch(arranged.bucket, part)[0].error is None

    def test_a_head(self, arranged: Arranged) -> None:
        arranged.put("a", BODY)

        answer, receiver = fetch(arranged.bucket, ObjectRequest("a", method="HEAD"))
        head = arranged.bucket.head("a")

        assert answer.error is None and answer.head == head
        assert (head.status, head.etag, head.size, head.length) == (200, md5(BODY), 10240, 10240)
        assert receiver.body == b""

    @pytest.mark.parametrize("sizes", [(5, 5, 1), (5, 6, 1), (6, 5, 7, 1)])
    def test_parts(self, arranged: Arranged, sizes: tuple[int, ...]) -> None:
        arranged.put_parts("m", [bytes([size]) * (size * MIB) for size in sizes])
        whole = arranged.bucket.head("m")

        request = ObjectRequest("m", part_number=2, if_match=whole.etag)
        answer, receiver = fetch(arranged.bucket, request)

        assert whole.etag.endswith(f"-{len(sizes)}")
        expected = tuple(size * MIB for size in sizes)
        assert arranged.bucket.parts("m", whole.etag, len(sizes)) == expected
        assert answer.head is not None and answer.head.first == expected[0]
        assert receiver.body == bytes([sizes[1]]) * expected[1]

    def test_parts_of_another_version(self, arranged: Arranged) -> None:
        arranged.put_parts("m", [b"x" * 5 * MIB, b"y"])

        with pytest.raises(PreconditionFailed):
            arranged.bucket.parts("m", "0123-2", 2)
        with pytest.raises(ObjectMissing):
            arranged.bucket.parts("no", "0123-2", 2)

    def test_a_large_body_comes_in_order(self, arranged: Arranged) -> None:
        body = hashlib.shake_128(b"large").digest(3 * MIB)
        arranged.put("a", body)

        _, receiver = fetch(arranged.bucket, ObjectRequest("a"))

        assert receiver.body == body

    def test_many_at_once(self, arranged: Arranged) -> None:
        bodies = {f"k{number}": f"body {number}".encode() * 50 for number in range(60)}
        for key, body in bodies.items():
            arranged.put(key, body)
        channel = arranged.bucket.channel(8)
        receivers = {key: Collector() for key in bodies}
        for key, receiver in receivers.items():
            channel.start(ObjectRequest(key), receiver, key)
        assert channel.in_flight == 60

        answers = drain(channel)

        assert sorted(str(answer.token) for answer in answers) == sorted(bodies)
        assert all(answer.error is None for answer in answers)
        assert {key: receiver.body for key, receiver in receivers.items()} == bodies
        channel.close()

    def test_what_a_receiver_raises_is_the_answer(self, arranged: Arranged) -> None:
        arranged.put("a", BODY)

        def enough(head: ObjectHead) -> None:
            raise ObjectTooLarge("enough")

        channel, receiver = arranged.bucket.channel(2), Collector(on_begin=enough)
        channel.start(ObjectRequest("a"), receiver, "refused")
        channel.start(ObjectRequest("a"), None, "fine")

        errors = {answer.token: type(answer.error) for answer in drain(channel)}

        assert errors == {"refused": ObjectTooLarge, "fine": type(None)}
        assert receiver.body == b""
        channel.close()

    def test_cancel(self, arranged: Arranged) -> None:
        arranged.put("a", BODY)
        channel = arranged.bucket.channel(1)
        for token in ("mine", "other", "mine"):
            channel.start(ObjectRequest("a"), None, token)

        channel.cancel("mine")

        assert channel.in_flight == 1
        assert [answer.token for answer in drain(channel)] == ["other"]
        channel.close()

    def test_wake(self, arranged: Arranged) -> None:
        channel = arranged.bucket.channel(1)
        waker = threading.Timer(0.05, channel.wake)
        waker.start()
        started = time.monotonic()

        assert channel.poll(30.0) == []

        assert time.monotonic() - started < 10
        waker.join()
        assert channel.poll(0.01) == []
        channel.close()
        channel.wake()

    def test_close_with_requests_in_flight(self, arranged: Arranged) -> None:
        arranged.put("a", BODY)
        channel = arranged.bucket.channel(1)
        channel.start(ObjectRequest("a"), Collector(), None)
        channel.start(ObjectRequest("a"), Collector(), None)

        channel.close()

        assert channel.in_flight == 0

    def test_check(self, arranged: Arranged) -> None:
        arranged.bucket.check(10.0)


class FakeArranged:
    """The fake is its own other side."""

    def __init__(self) -> None:
        self.fake = FakeBucket(chunk_bytes=4096)
        self.bucket: Bucket = self.fake

    def put(self, key: str, body: bytes) -> None:
        self.fake.put(key, body)

    def put_parts(self, key: str, parts: list[bytes]) -> None:
        self.fake.put(key, b"".join(parts), part_sizes=tuple(map(len, parts)))

    def delete(self, key: str) -> None:
        self.fake.delete(key)


class TestFakeBucket(BucketContract):
    @pytest.fixture
    def arranged(self) -> FakeArranged:
        return FakeArranged()
