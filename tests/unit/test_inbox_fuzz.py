"""Whatever comes in, the inbox answers with events or with one of its three errors, and soon.

A short run by default; `FUZZ_SECONDS=600` divides ten minutes between the tests of this file.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from datasync.errors import ForeignBucket, MalformedRequest, UnprocessableRequest
from datasync.services.events.inbox import EventStatus, KeyEvent, parse, sns_message
from datasync.services.events.kinds import kind_of
from tests.support.envelopes import BUCKET, ENVELOPES, GREETINGS
from tests.support.envelopes import bridge_event, ceph_record, records, s3_record

REFUSALS = (MalformedRequest, UnprocessableRequest, ForeignBucket)
SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
TESTS = 6
EXAMPLES = 300 if not SECONDS else 3000
LONGEST_SECONDS = 10  # for one body; far above what it takes, also on a busy machine

pytestmark = [pytest.mark.timeout(300 + SECONDS), pytest.mark.no_cover]
T = TypeVar("T")


def fuzz(strategy: st.SearchStrategy[T], check: Callable[[T], None]) -> None:
    """Run the check once over EXAMPLES, then again and again while this test has time."""
    end = time.monotonic() + SECONDS / TESTS
    limits = settings(
        max_examples=EXAMPLES,
        deadline=timedelta(seconds=LONGEST_SECONDS),
        database=None,
        print_blob=True,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=[HealthCheck.too_slow],
    )
    limits(given(strategy)(check))()
    while time.monotonic() < end:
        limits(given(strategy)(check))()


def events_of(body: bytes, prefix: str = "") -> list[KeyEvent] | None:
    """The events; None for a body that was refused, which only three errors may do."""
    members = sns_message(body)
    assert members is None or all(isinstance(value, str) for value in members.values())
    try:
        events = parse(body, BUCKET, prefix)
    except REFUSALS as refusal:
        str(refusal).encode("utf-8")
        return None
    for event in events:
        check_event(event)
    return events


def check_event(event: KeyEvent) -> None:
    event.key.encode("utf-8")
    assert event.reason
    assert event.event.isprintable() and len(event.event) <= 64
    assert event.happened is None or isinstance(event.happened, float)
    if event.status is EventStatus.QUEUED:
        assert 0 < len(event.key.encode()) <= 1024
        assert event.kind is kind_of(event.event)
    if event.status is EventStatus.REJECTED:
        assert event.kind is None


# What JSON can hold, with the members that envelopes have

NAMES = st.sampled_from(
    "Records eventName eventSource EventSource eventVersion eventTime s3 bucket object key name id "
    "eventId Sns Message Type TopicArn Signature SignatureVersion body detail detail-type source "
    "time Event Bucket Key EventName".split()
)
WORDS = st.sampled_from(
    "aws:s3 aws:sqs aws:sns aws.s3 minio:s3 ceph:s3 ObjectCreated:Put s3:ObjectRemoved:Delete "
    "s3:TestEvent Notification SubscriptionConfirmation 2.1 3.0 bkt other %FF %zz + a%2Bb".split()
    + ["Object Created", "Object Deleted", "{", "[]", '{"Records": []}', "\ud800", "\x00"]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=()), max_size=20)
    | WORDS
)
JSON: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=5)
    | inner.map(json.dumps),
    max_leaves=20,
)
KEYS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=300).filter(
    lambda key: len(key.encode()) <= 1024
)
# Where decoding twice, or by the wrong rule, would show
HARD_KEYS = st.text(st.sampled_from("a/+ %25B2F&=?#\\\"'\x00\n\u00e9\u2028🎉"), min_size=1)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A real envelope in which some parts were replaced, dropped or doubled, at any depth."""
    makers = list(ENVELOPES.values()) + list(GREETINGS.values())
    document = draw(st.sampled_from(makers))(draw(st.just(BUCKET) | KEYS))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(_paths(document))))
        document = _changed(draw, document, path)
    return json.dumps(document).encode()


def _paths(value: Any) -> Iterator[tuple[Any, ...]]:
    """The way to every part: member names, positions, and None for "the JSON in this text"."""
    yield ()
    inside = _inside(value)
    steps: list[tuple[Any, Any]] = [(None, inside)] if inside else []
    steps += list(value.items()) if isinstance(value, dict) else []
    steps += list(enumerate(value)) if isinstance(value, list) else []
    for step, part in steps:
        yield from ((step, *rest) for rest in _paths(part))


def _changed(draw: st.DrawFn, value: Any, path: tuple[Any, ...]) -> Any:
    if not path:
        return draw(WORDS | LEAVES | JSON)
    step, *rest = path
    if step is None:
        return json.dumps(_changed(draw, _inside(value), tuple(rest)))
    parts = dict(value) if isinstance(value, dict) else list(value)
    if not rest and not draw(st.integers(0, 3)):
        del parts[step]
    elif isinstance(parts, dict) or draw(st.booleans()):
        parts[step] = _changed(draw, parts[step], tuple(rest))
    else:
        parts.append(_changed(draw, parts[step], tuple(rest)))
    return parts


def _inside(value: Any) -> Any:
    """The envelope in a text of an envelope, None if there is none."""
    try:
        return json.loads(value) if isinstance(value, str) else None
    except ValueError:
        return None


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A real body in which some bytes were changed, cut or put in."""
    body = bytearray(json.dumps(draw(st.sampled_from(list(ENVELOPES.values())))("a+b")).encode())
    for _ in range(draw(st.integers(1, 5))):
        start = draw(st.integers(0, len(body)))
        body[start : start + draw(st.integers(0, 3))] = draw(st.binary(max_size=4))
    return bytes(body)


def look(body: bytes) -> None:
    events_of(body)
    events_of(body, "a")


def look_at_json(value: Any) -> None:
    look(json.dumps(value).encode())
    look(json.dumps({"Records": [value, {"eventSource": "aws:sqs", "body": value}]}).encode())


def test_no_bytes_get_out_of_hand() -> None:
    fuzz(st.binary(max_size=300), look)


def test_no_json_gets_out_of_hand() -> None:
    fuzz(JSON, look_at_json)


def test_no_mutation_of_an_envelope_gets_out_of_hand() -> None:
    fuzz(mutated(), look)


def test_no_key_and_no_name_gets_out_of_hand() -> None:
    """Texts as JSON can hold them, raw: any escape, any surrogate, any length."""

    def check(texts: tuple[str, str]) -> None:
        for record in (s3_record("a"), ceph_record("a")):
            record["eventName"], record["s3"]["object"]["key"] = texts
            look(json.dumps(records(record)).encode())
        look(json.dumps(bridge_event(texts[1], texts[0])).encode())

    raw = st.text(st.characters(exclude_categories=()) | st.sampled_from("%25+F0:"), max_size=1100)
    fuzz(st.tuples(WORDS | raw, raw | st.just("")), check)


def test_no_damage_to_a_body_gets_out_of_hand() -> None:
    fuzz(damaged(), look)


def test_every_legal_key_comes_through_every_envelope() -> None:
    def check(key: str) -> None:
        for name, make in ENVELOPES.items():
            events = events_of(json.dumps(make(key)).encode()) or []
            assert [(event.key, event.status) for event in events] == [
                (key, EventStatus.QUEUED)
            ], name

    fuzz(KEYS | HARD_KEYS, check)
