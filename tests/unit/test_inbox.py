"""The inbox: every envelope, and everything a hostile sender can put in."""

import json
from typing import Any

import pytest

from datasync.errors import ForeignBucket, MalformedRequest, UnprocessableRequest
from datasync.services.events import inbox
from datasync.services.events.inbox import EventStatus, KeyEvent, Source, parse
from datasync.services.events.kinds import EventKind
from tests.support import envelopes
from tests.support.envelopes import ENVELOPES, GREETINGS

QUEUED, IGNORED, REJECTED = EventStatus.QUEUED, EventStatus.IGNORED, EventStatus.REJECTED


def record(key: Any = "a.txt", event: Any = "ObjectCreated:Put", bucket: Any = "bkt") -> Any:
    """As little as a record can have; the key is taken as it is."""
    return {
        "eventSource": "aws:s3",
        "eventName": event,
        "s3": {"bucket": {"name": bucket}, "object": {"key": key, "size": 3}},
    }


def body(*records: Any) -> bytes:
    return json.dumps({"Records": list(records)}).encode()


def read(document: Any, prefix: str = "") -> list[KeyEvent]:
    return parse(json.dumps(document).encode(), "bkt", prefix)


def parse_one(*records: Any, prefix: str = "") -> KeyEvent:
    [event] = parse(body(*records), "bkt", prefix)
    return event


# Keys


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
        ("%41" * 1024, "A" * 1024),
    ],
)
def test_a_key_of_s3_is_decoded_exactly_once(raw: str, key: str) -> None:
    found = parse_one(record(raw))
    assert found == KeyEvent(key, QUEUED, "queued", "ObjectCreated:Put", EventKind.CHANGES)


@pytest.mark.parametrize("name", ENVELOPES)
@pytest.mark.parametrize("key", ["a/b.txt", "a+b", "a%20b", "100%", "a b", "ü/🎉", "a\x00b", "/"])
def test_a_key_comes_through_every_envelope_as_it_is(name: str, key: str) -> None:
    [found] = read(ENVELOPES[name](key))
    assert (found.key, found.status, found.kind) == (key, QUEUED, EventKind.CHANGES)
    assert found.happened == envelopes.SECONDS


@pytest.mark.parametrize(
    "name, source, event",
    [
        ("s3", Source.S3, "ObjectCreated:Put"),
        ("minio", Source.MINIO, "ObjectCreated:Put"),
        ("ceph", Source.CEPH, "ObjectCreated:Put"),
        ("ceph of old", Source.CEPH, "ObjectCreated:Put"),
        ("eventbridge", Source.EVENTBRIDGE, "Object Created"),
        ("s3 in sns in sqs by lambda", Source.S3, "ObjectCreated:Put"),
        ("eventbridge in sqs by pipes", Source.EVENTBRIDGE, "Object Created"),
    ],
)
def test_the_source_is_who_made_the_event(name: str, source: Source, event: str) -> None:
    [found] = read(ENVELOPES[name]("a"))
    assert (found.source, found.event) == (source, event)


def test_a_later_s3_with_one_member_of_ceph_is_still_s3() -> None:
    later = envelopes.s3_record("a b") | {"eventId": "1"}
    assert parse_one(later).key == "a b"


# Records


@pytest.mark.parametrize("version", ["2.0", "2.1", "2.2", "2.3", "2.4", "2.5", "2.6", "2.99"])
def test_minor_versions_and_new_members_change_nothing(version: str) -> None:
    made = envelopes.s3_record("a b", version=version)
    made["s3"]["object"]["new"] = made["new"] = {"deep": [1, None]}
    assert parse_one(made).key == "a b"


@pytest.mark.parametrize("version", ["1.0", "3.0", "", "21"])
def test_another_major_version_is_rejected(version: str) -> None:
    good, found = parse(body(record("good"), envelopes.s3_record("a", version=version)), "bkt", "")
    assert (found.status, found.reason, found.kind) == (REJECTED, "eventVersion is not 2.x", None)


@pytest.mark.parametrize(
    "time, seconds",
    [
        ("1970-01-01T00:00:01.500Z", 1.5),
        ("2018-10-26T11:18:32Z", 1540552712.0),
        ("2021-02-19 02:03:08.330496Z", 1613700188.330496),
        ("2021-02-19T02:03:08", 1613700188.0),
        ("0001-01-01T00:00:00+23:59", -62135683140.0),
        ("yesterday", None),
        ("", None),
        (1613700188, None),
        (None, None),
        ("9" * 10_000, None),
    ],
)
def test_the_time_of_an_event_is_read_or_left_out(time: Any, seconds: float | None) -> None:
    assert parse_one(record() | {"eventTime": time}).happened == seconds


# Envelopes


@pytest.mark.parametrize("name", GREETINGS)
def test_the_greeting_is_acknowledged_in_every_wrapping(name: str) -> None:
    [found] = read(GREETINGS[name]("bkt"))
    assert (found.status, found.key, found.kind) == (IGNORED, "", None)
    assert "acknowledged" in found.reason
    with pytest.raises(ForeignBucket):
        read(GREETINGS[name]("other"))


@pytest.mark.parametrize("kind", ["SubscriptionConfirmation", "UnsubscribeConfirmation"])
def test_confirmations_of_sns_are_ignored(kind: str) -> None:
    confirmation = envelopes.sns("You have chosen to subscribe...", kind)
    for document in (confirmation, envelopes.records(envelopes.sqs_record(confirmation))):
        [found] = read(document)
        assert (found.status, found.event, found.kind) == (IGNORED, kind, None)
        assert "no event of a key" in found.reason


def test_records_of_all_sorts_stand_side_by_side() -> None:
    mixed = envelopes.records(
        envelopes.s3_record("a b"),
        envelopes.sqs_record(envelopes.bridge_event("c+d")),
        *envelopes.lambda_sns(envelopes.records(envelopes.ceph_record("e%20f")))["Records"],
        envelopes.minio_record("g/h"),
        envelopes.sqs_record("no event"),
        envelopes.sqs_record(envelopes.greeting()),
        7,
    )
    found = read(mixed)
    assert [event.key for event in found] == ["a b", "c+d", "e%20f", "g/h", "", "", ""]
    assert [event.status for event in found[4:]] == [REJECTED, IGNORED, REJECTED]


def test_what_pipes_have_parsed_already_is_read() -> None:
    parsed = envelopes.sqs_record(None) | {"body": envelopes.bridge_event("a b")}
    assert [event.key for event in read([parsed])] == ["a b"]


def test_an_unsigned_member_beside_a_message_of_sns_says_nothing() -> None:
    forged = envelopes.sns(envelopes.records(envelopes.s3_record("signed")))
    forged |= envelopes.records(envelopes.s3_record("forged")) | envelopes.bridge_event("forged")
    assert [event.key for event in read(forged | {"s3": {}})] == ["signed"]


def test_wrapping_ends_somewhere() -> None:
    deep: Any = envelopes.records(envelopes.s3_record("a"))
    for _ in range(3):
        deep = envelopes.records(envelopes.sqs_record(deep))
    assert [event.key for event in read(deep)] == ["a"]
    for _ in range(2):
        deep = envelopes.records(envelopes.sqs_record(deep))
    with pytest.raises(MalformedRequest, match="wrapped too many times"):
        read(deep)


def test_more_events_than_a_body_can_hold_are_refused() -> None:
    small = [record("k", "ObjectAcl:Put")] * inbox.MAX_EVENTS
    assert len(parse(body(*small), "bkt", "")) == inbox.MAX_EVENTS
    with pytest.raises(UnprocessableRequest, match="more than"):
        parse(body(*small, record()), "bkt", "")


def test_keys_outside_the_prefix_are_ignored() -> None:
    events = parse(body(record("in/a"), record("out/a"), record("in")), "bkt", "in/")
    assert [event.status for event in events] == [QUEUED, IGNORED, IGNORED]
    assert events[1].reason == "outside S3_PREFIX"


@pytest.mark.parametrize("document", [{"Records": []}, envelopes.sns({"Records": []})])
def test_an_empty_envelope_is_an_empty_list(document: Any) -> None:
    assert read(document) == []


# What is refused


def test_one_foreign_record_does_not_spoil_the_rest() -> None:
    events = parse(body(record("a"), record("b", bucket="other")), "bkt", "")
    assert [event.status for event in events] == [QUEUED, REJECTED]


@pytest.mark.parametrize(
    "document",
    [
        envelopes.records(record(bucket="other"), record(bucket="")),
        envelopes.bridge_event("a", bucket="other"),
        envelopes.bridge_event("a", "Object Tags Added", bucket="other"),
        envelopes.sns(envelopes.records(record(bucket="other"))),
        envelopes.records(envelopes.sqs_record(envelopes.bridge_event("a", bucket="other"))),
    ],
)
def test_only_foreign_records_are_refused_as_a_whole(document: Any) -> None:
    with pytest.raises(ForeignBucket):
        read(document)


BRIDGED = envelopes.bridge_event("a")


@pytest.mark.parametrize(
    "bad",
    [
        None,
        7,
        "text",
        [],
        {},
        {"eventName": "ObjectCreated:Put"},
        {"eventSource": "aws:dynamodb", "eventName": "INSERT", "dynamodb": {}},
        record(key=None),
        record(key=7),
        record(key=["a"]),
        record(key=""),
        record(key="%FF%FE"),
        record(key="%ED%A0%80"),  # a surrogate is no UTF-8, encoded or not
        record(key="\ud800"),
        record(key="k" * 1025),
        record(key="%41" * 1025),
        record(bucket=None),
        record(bucket={"a": 1}),
        record(event=None),
        record(event=5),
        {"eventName": "ObjectCreated:Put", "s3": [1]},
        {"eventName": "ObjectCreated:Put", "s3": {"bucket": "bkt", "object": "a"}},
        BRIDGED | {"source": "aws.ec2"},
        BRIDGED | {"detail": None},
        BRIDGED | {"detail": {"bucket": {"name": "bkt"}}},
        BRIDGED | {"detail": {"bucket": {"name": "bkt"}, "object": {"key": "\udfff"}}},
        envelopes.sqs_record(None) | {"body": "{"},
        envelopes.sqs_record(None) | {"body": 5},
        envelopes.sqs_record({"Records": "x"}),
        envelopes.sns("a text that people wrote"),
        {"EventSource": "aws:sns", "Sns": {}},
        {"EventSource": "aws:sns", "Sns": {"Message": "[" * 100_000}},
    ],
)
def test_an_unreadable_record_is_rejected_alone(bad: Any) -> None:
    good, rejected = parse(body(record("good"), bad), "bkt", "")
    assert good.status is QUEUED
    assert (rejected.status, rejected.kind) == (REJECTED, None)
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


def test_of_doubled_members_the_last_counts() -> None:
    doubled = b'{"Records": [], "Records": [' + json.dumps(record("last")).encode() + b"]}"
    assert [event.key for event in parse(doubled, "bkt", "")] == ["last"]


# The messages that SNS signs


def test_the_members_of_a_message_of_sns_are_handed_out() -> None:
    made = envelopes.sns(envelopes.greeting()) | {"Subject": None, "Extra": 7}
    found = inbox.sns_message(json.dumps(made).encode())
    assert found == {k: v for k, v in made.items() if isinstance(v, str)}


@pytest.mark.parametrize("name", [name for name in ENVELOPES if not name.endswith("in sns")])
def test_other_envelopes_are_no_message_of_sns(name: str) -> None:
    assert inbox.sns_message(json.dumps(ENVELOPES[name]("a")).encode()) is None


@pytest.mark.parametrize("missing", ["Type", "TopicArn", "Signature", "SignatureVersion"])
def test_a_message_without_a_signature_is_none_of_sns(missing: str) -> None:
    made = envelopes.sns(envelopes.greeting())
    assert inbox.sns_message(json.dumps(made | {missing: None}).encode()) is None
    del made[missing]
    assert inbox.sns_message(json.dumps(made).encode()) is None


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_what_cannot_be_read_is_no_message_of_sns(content: bytes) -> None:
    assert inbox.sns_message(content) is None
    assert inbox.sns_message(content + b'"TopicArn" "Signature"') is None
