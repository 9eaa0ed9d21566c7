"""The inbox: every envelope, every event name, and everything a hostile sender can put in."""

import json
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasync.errors import (
    DataSyncError,
    ForeignBucket,
    MalformedRequest,
    RequestRefused,
    UnprocessableRequest,
)
from datasync.services.events.inbox import EventStatus, KeyEvent, parse


def record(key: Any = "a.txt", event: Any = "ObjectCreated:Put", bucket: Any = "bkt") -> Any:
    return {
        "eventSource": "aws:s3",
        "eventName": event,
        "s3": {"bucket": {"name": bucket}, "object": {"key": key, "size": 3}},
    }


def body(*records: Any) -> bytes:
    return json.dumps({"Records": list(records)}).encode()


def parse_one(*records: Any, prefix: str = "") -> KeyEvent:
    [event] = parse(body(*records), "bkt", prefix)
    return event


@pytest.mark.parametrize(
    "raw, key",
    [
        ("a.txt", "a.txt"),
        ("my+file.txt", "my file.txt"),
        ("a%2Bb", "a+b"),
        ("100%2525", "100%25"),  # once, not twice
        ("%2B%2525+x", "+%25 x"),
        ("caf%C3%A9", "café"),
        ("café", "café"),  # some servers leave it unencoded
        ("a%00b", "a\x00b"),
        ("..%2F..%2Fetc", "../../etc"),
        ("a//b/", "a//b/"),
        ("100%", "100%"),
        ("%F0%9F%8E%89", "🎉"),
    ],
)
def test_a_key_is_decoded_exactly_once(raw: str, key: str) -> None:
    assert parse_one(record(raw)) == KeyEvent(
        key, EventStatus.QUEUED, "queued", "ObjectCreated:Put"
    )


@given(st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=200))
def test_what_s3_encodes_comes_back(key: str) -> None:
    assert parse_one(record(quote_plus(key))).key == key


@pytest.mark.parametrize("scheme", ["", "s3:"])
@pytest.mark.parametrize(
    "event",
    [
        "ObjectCreated:Put",
        "ObjectCreated:Post",
        "ObjectCreated:Copy",
        "ObjectCreated:CompleteMultipartUpload",
        "ObjectRemoved:Delete",
        "ObjectRemoved:DeleteMarkerCreated",
        "ObjectRestore:Completed",
        "LifecycleExpiration:Delete",
        "LifecycleExpiration:DeleteMarkerCreated",
        "LifecycleTransition",
        "ObjectLifecycle:Expiration:Current",
        "ObjectSynced:Create",
        "ObjectTransition:Complete",
    ],
)
def test_events_that_may_change_the_object_mark_it(scheme: str, event: str) -> None:
    found = parse_one(record(event=scheme + event))
    assert (found.status, found.event) == (EventStatus.QUEUED, event)


@pytest.mark.parametrize(
    "event, reason",
    [
        ("ObjectTagging:Put", "does not change the content"),
        ("ObjectAcl:Put", "does not change the content"),
        ("s3:ObjectAcl:Put", "does not change the content"),
        ("ObjectRestore:Post", "does not change the content"),
        ("ObjectRestore:Delete", "does not change the content"),
        ("Replication:OperationFailedReplication", "does not change the content"),
        ("IntelligentTiering", "does not change the content"),
        ("ObjectInvented:Tomorrow", "unknown event type"),
        ("", "unknown event type"),
        ("objectcreated:put", "unknown event type"),
    ],
)
def test_other_events_are_ignored_and_say_why(event: str, reason: str) -> None:
    found = parse_one(record(event=event))
    assert (found.status, found.reason) == (EventStatus.IGNORED, reason)


def test_the_greeting_is_acknowledged() -> None:
    greeting = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "bkt"}
    [event] = parse(json.dumps(greeting).encode(), "bkt", "")
    assert (event.status, event.key) == (EventStatus.IGNORED, "")
    assert "acknowledged" in event.reason


def test_a_foreign_greeting_is_refused() -> None:
    with pytest.raises(ForeignBucket):
        parse(b'{"Event": "s3:TestEvent", "Bucket": "other"}', "bkt", "")


def test_keys_outside_the_prefix_are_ignored() -> None:
    events = parse(body(record("in/a"), record("out/a"), record("in")), "bkt", "in/")
    assert [event.status for event in events] == [
        EventStatus.QUEUED,
        EventStatus.IGNORED,
        EventStatus.IGNORED,
    ]
    assert events[1].reason == "outside S3_PREFIX"


def test_an_empty_envelope_is_an_empty_list() -> None:
    assert parse(b'{"Records": []}', "bkt", "") == []


def test_one_foreign_record_does_not_spoil_the_rest() -> None:
    events = parse(body(record("a"), record("b", bucket="other")), "bkt", "")
    assert [event.status for event in events] == [EventStatus.QUEUED, EventStatus.REJECTED]


def test_only_foreign_records_are_refused_as_a_whole() -> None:
    with pytest.raises(ForeignBucket):
        parse(body(record(bucket="other"), record(bucket="")), "bkt", "")


@pytest.mark.parametrize(
    "bad",
    [
        None,
        7,
        "text",
        [],
        {},
        {"eventName": "ObjectCreated:Put"},
        record(key=None),
        record(key=7),
        record(key=["a"]),
        record(key=""),
        record(key="%FF%FE"),
        record(key="\ud800"),
        record(key="k" * 1025),
        record(bucket=None),
        record(bucket={"a": 1}),
        record(event=None),
        record(event=5),
        {"eventName": "ObjectCreated:Put", "s3": [1]},
        {"eventName": "ObjectCreated:Put", "s3": {"bucket": "bkt", "object": "a"}},
    ],
)
def test_an_unreadable_record_is_rejected_alone(bad: Any) -> None:
    good, rejected = parse(body(record("good"), bad), "bkt", "")
    assert good.status is EventStatus.QUEUED
    assert rejected.status is EventStatus.REJECTED
    assert rejected.reason
    json.dumps(rejected.key).encode("utf-8")
    with pytest.raises(MalformedRequest):
        parse(body(bad), "bkt", "")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" ",
        b"{",
        b"not json",
        b"\xff\xfe{}",
        b"{'Records': []}",
        b'{"Records": [NaN]}',
        b'{"Records": [' + b"9" * 5000 + b"]}",
        b"[" * 200_000,
        b'{"Records":' * 100_000,
    ],
)
def test_what_is_not_json_is_malformed(content: bytes) -> None:
    with pytest.raises(MalformedRequest):
        parse(content, "bkt", "")


@pytest.mark.parametrize(
    "content", [b"null", b"7", b'"x"', b"[]", b"{}", b'{"Records": {}}', b'{"Records": null}']
)
def test_json_that_is_no_notification_is_unprocessable(content: bytes) -> None:
    with pytest.raises(UnprocessableRequest):
        parse(content, "bkt", "")


def test_a_byte_order_mark_is_no_fault() -> None:
    assert len(parse(b"\xef\xbb\xbf" + body(record()), "bkt", "")) == 1


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
_members = st.sampled_from(["eventName", "s3", "bucket", "object", "key", "name", "Records"])
_shaped = st.recursive(
    _json, lambda inner: st.dictionaries(_members, inner, max_size=4), max_leaves=12
)


@given(st.lists(_shaped, max_size=3))
def test_no_shape_of_json_escapes_the_error_tree(records: list[Any]) -> None:
    try:
        events = parse(json.dumps({"Records": records}).encode(), "bkt", "")
    except DataSyncError as error:
        assert isinstance(error, RequestRefused)
    else:
        assert len(events) == len(records)


@given(st.binary(max_size=100))
def test_no_bytes_escape_the_error_tree(content: bytes) -> None:
    with pytest.raises(RequestRefused):
        parse(content, "bkt", "")
