"""The fake's scripted faults: each does what its line says, once, unless told otherwise."""

import threading
import time

import pytest

from datasync.errors import (
    AccessDenied,
    DataSyncError,
    NetworkFailure,
    ObjectArchived,
    ServerFault,
    SlowDown,
    TransferStalled,
)
from datasync.models.sync_models import ListedObject, ObjectRequest
from tests.support.fake_bucket import FakeBucket, fail
from tests.support.fake_objects import etag_of
from tests.support.receivers import Collector, drain, fetch

BODY = b"0123456789"
GET = ObjectRequest("a")


@pytest.fixture
def bucket() -> FakeBucket:
    bucket = FakeBucket(chunk_bytes=4)
    bucket.put("a", BODY)
    return bucket


@pytest.mark.parametrize(
    ("fault", "error", "arrived"),
    [
        (fail.reset_after(5), NetworkFailure, BODY[:5]),
        (fail.refused(), NetworkFailure, b""),
        (fail.status(503), SlowDown, b""),
        (fail.status(403), AccessDenied, b""),
        (fail.short(by=3), NetworkFailure, BODY[:7]),
        (fail.stall(at=4), TransferStalled, BODY[:4]),
        (fail.wrong_byte(at=0), type(None), b"\xcf" + BODY[1:]),
        (fail.error(ServerFault("x"), at=2), ServerFault, BODY[:2]),
    ],
)
def test_a_fault_strikes_once(
    bucket: FakeBucket, fault: fail.Fault, error: type[DataSyncError], arrived: bytes
) -> None:
    bucket.script("a", fault)

    first, broken = fetch(bucket, GET)
    second, whole = fetch(bucket, GET)

    assert type(first.error) is error and broken.body == arrived
    assert second.error is None and whole.body == BODY


def test_faults_strike_in_order_and_as_often_as_told(bucket: FakeBucket) -> None:
    bucket.script("a", fail.status(500, times=2), fail.status(429))

    kinds = [type(fetch(bucket, GET)[0].error) for _ in range(4)]

    assert kinds == [ServerFault, ServerFault, SlowDown, type(None)]
    assert bucket.counts["get"] == 4 and bucket.requests == [GET] * 4


def test_a_script_may_be_for_one_method(bucket: FakeBucket) -> None:
    bucket.script("a", fail.status(403), method="HEAD")

    assert fetch(bucket, GET)[0].error is None
    with pytest.raises(AccessDenied):
        bucket.head("a")


def test_a_wrong_byte_waits_for_its_range(bucket: FakeBucket) -> None:
    bucket.script("a", fail.wrong_byte(at=6))

    _, first = fetch(bucket, ObjectRequest("a", first=0, last=4))
    _, second = fetch(bucket, ObjectRequest("a", first=5, last=9))

    assert (first.body, second.body) == (b"01234", b"5" + bytes([ord("6") ^ 0xFF]) + b"789")


def test_hooks_run_before_and_during_a_request(bucket: FakeBucket) -> None:
    bucket.script(
        "a",
        fail.before(lambda: bucket.put("a", b"new")),
        fail.before(lambda: bucket.put("a", b"newer"), at=2),
    )

    bodies = [fetch(bucket, GET)[1].body for _ in range(3)]

    assert bodies == [b"new", b"new", b"newer"]


def test_a_pause_lasts_until_its_event(bucket: FakeBucket) -> None:
    event = threading.Event()
    bucket.put("b", b"other")
    bucket.script("a", fail.pause_until(event, at=4))
    channel, receiver = bucket.channel(2), Collector()
    channel.start(GET, receiver, "paused")
    channel.start(ObjectRequest("b"), None, "other")

    assert [answer.token for answer in channel.poll(5.0)] == ["other"]
    assert channel.poll(0.02) == [] and receiver.body == BODY[:4]
    event.set()
    assert [answer.token for answer in drain(channel)] == ["paused"]
    assert receiver.body == BODY
    channel.close()


def test_a_paused_poll_does_not_spin(bucket: FakeBucket) -> None:
    bucket.script("a", fail.pause_until(threading.Event()))
    channel = bucket.channel(1)
    channel.start(GET, None, None)
    used = time.thread_time()

    channel.poll(0.5)

    assert time.thread_time() - used < 0.25
    channel.close()


def test_a_head_may_lie(bucket: FakeBucket) -> None:
    bucket.script("a", fail.head(etag="other", size=99))

    head = fetch(bucket, GET)[0].head

    assert head is not None and (head.etag, head.size, head.length) == ("other", 99, 10)


def test_a_fault_that_cannot_strike_is_a_mistake_in_the_test(bucket: FakeBucket) -> None:
    bucket.script("a", fail.reset_after(11))

    with pytest.raises(ValueError, match="never strikes"):
        fetch(bucket, GET)


def test_a_listing_fails_at_its_page() -> None:
    bucket = FakeBucket(page_size=1)
    bucket.put("a")
    bucket.put("b")
    bucket.script_list(fail.at_page(2))

    pages = bucket.list()
    assert [each.key for each in next(pages).objects] == ["a"]
    with pytest.raises(ServerFault):
        next(pages)
    assert len(list(bucket.list())) == 2


def test_a_listing_may_be_empty_unordered_or_have_strange_entries(bucket: FakeBucket) -> None:
    bucket.put("b")
    bucket.list_empty()
    assert [page.objects for page in bucket.list()] == [()]

    bucket.list_unordered()
    bucket.list_also(ListedObject("x\\xff", 1, "e", 0, problem="its key is not UTF-8"))
    (page,) = bucket.list()
    assert [each.key for each in page.objects] == ["b", "a", "x\\xff"]


def test_archived_objects_can_be_asked_about_but_not_read(bucket: FakeBucket) -> None:
    bucket.put("cold", b"x", storage_class="GLACIER")
    told = bucket.head("cold")
    assert (told.status, told.storage_class, told.etag) == (200, "GLACIER", etag_of(b"x", ()))
    for known in (None, told.etag):  # a refusal tells nothing, not even that nothing changed
        request = ObjectRequest("cold", if_none_match=known)
        assert type(fetch(bucket, request)[0].error) is ObjectArchived

    bucket.put("cold", b"x", storage_class="GLACIER", restored=True)
    assert fetch(bucket, ObjectRequest("cold"))[1].body == b"x"


def test_an_outage_spares_nothing(bucket: FakeBucket) -> None:
    bucket.outage = NetworkFailure("cable cut")

    assert type(fetch(bucket, GET)[0].error) is NetworkFailure
    for ask in (
        lambda: list(bucket.list()),
        lambda: bucket.head("a"),
        lambda: bucket.parts("a", "e", 1),
        lambda: bucket.check(1.0),
    ):
        with pytest.raises(NetworkFailure):
            ask()


def test_a_check_may_hang_or_fail(bucket: FakeBucket) -> None:
    bucket.script_check(fail.stall(), fail.status(403))

    with pytest.raises(TransferStalled):
        bucket.check(0.02)
    with pytest.raises(AccessDenied):
        bucket.check(1.0)
    bucket.check(1.0)


@pytest.mark.parametrize(
    ("algorithm", "kind", "text"),
    [
        ("crc64nvme", "FULL_OBJECT", "rosUhgp5mIg="),
        ("crc32", "FULL_OBJECT", "y/Q5Jg=="),
        ("sha256", "FULL_OBJECT", "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="),
    ],
)
def test_stored_checksums_are_real(algorithm: str, kind: str, text: str) -> None:
    bucket = FakeBucket()
    bucket.put("a", b"123456789", checksum=algorithm, checksum_type=kind)

    head = bucket.head("a")

    assert (head.checksums, head.checksum_type) == ({algorithm: text}, kind)
