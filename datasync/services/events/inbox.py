"""Reads a notification's body: any known envelope becomes a list of key events.

An event is a hint that a key changed, never an instruction, so only its key matters here.
Pure: knows no HTTP, journal, bucket or settings; the sender is hostile until proved otherwise.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NoReturn
from urllib.parse import unquote_to_bytes

from datasync.errors import ForeignBucket, KeyRejected, MalformedRequest, UnprocessableRequest

MAX_KEY_BYTES = 1024

# Event names (without "s3:") after which an object's content or readability may differ.
# The last four are how Ceph and MinIO name what AWS calls lifecycle and replication.
MARKING_EVENTS = (
    "ObjectCreated:",
    "ObjectRemoved:",
    "ObjectRestore:Completed",
    "LifecycleExpiration:",
    "LifecycleTransition",
    "ObjectLifecycle:Expiration",
    "ObjectLifecycle:Transition",
    "ObjectSynced:",
    "ObjectTransition:",
)
# Known, and without effect on what a mirror holds.
SILENT_EVENTS = (
    "TestEvent",
    "ObjectTagging:",
    "ObjectAcl:",
    "ObjectAccessed:",
    "ObjectRestore:",
    "ObjectRetention:",
    "ObjectLegalHold:",
    "Replication:",
    "IntelligentTiering",
    "ReducedRedundancyLostObject",
)


class EventStatus(StrEnum):
    """What becomes of one event."""

    QUEUED = "queued"
    IGNORED = "ignored"
    REJECTED = "rejected"


class EventKind(StrEnum):
    """What an event's name says of the object."""

    CHANGES = "changes"
    SILENT = "silent"
    UNKNOWN = "unknown"


class Source(StrEnum):
    """Whose format the event has."""

    S3 = "s3"
    EVENTBRIDGE = "eventbridge"
    MINIO = "minio"
    CEPH = "ceph"


@dataclass(frozen=True, slots=True)
class KeyEvent:
    """One record of a notification: its key, decoded once, and what becomes of it.

    `key` of a rejected event is printable text for the answer, not a key to work with.
    """

    key: str
    status: EventStatus
    reason: str
    event: str
    kind: EventKind | None = None
    source: Source = Source.S3
    happened: float | None = None


def parse(body: bytes, bucket: str, prefix: str) -> list[KeyEvent]:
    """The events in `body`, one a record, in their order; empty for an empty envelope.

    Records of other buckets and unreadable ones are `rejected`; an envelope in which no record
    at all was understood is refused as a whole.

    Raises: MalformedRequest (no JSON, or only unreadable records), UnprocessableRequest (JSON
    that is no known envelope), ForeignBucket (only records of other buckets).
    """
    document = _decode(body)
    for recognised, events_of in _ENVELOPES:
        if recognised(document):
            events = events_of(document, bucket, prefix)
            _refuse_if_all_rejected(events)
            return events
    raise UnprocessableRequest(
        "the body is JSON, but no S3 event notification",
        hint='Send the notification as S3 made it: {"Records": [...]}.',
    )


def sns_message(body: bytes) -> Mapping[str, str] | None:
    return None


def _decode(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise MalformedRequest("the body is not UTF-8 text") from None
    except RecursionError:
        raise MalformedRequest("the body is nested too deep") from None
    except json.JSONDecodeError as error:
        raise MalformedRequest(
            f"the body is not JSON: {error.msg} at character {error.pos}"
        ) from None
    except ValueError:
        raise MalformedRequest("the body holds a number that is no JSON number") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _refuse_if_all_rejected(events: list[KeyEvent]) -> None:
    if not events or any(event.status is not EventStatus.REJECTED for event in events):
        return
    if all(event.reason == _FOREIGN for event in events):
        raise ForeignBucket("every record is of another bucket")
    raise MalformedRequest(f"no record can be read; the first: {events[0].reason}")


# S3's own format: {"Records": [{"eventName": ..., "s3": {"bucket": ..., "object": ...}}]}

_FOREIGN = "of another bucket"


def _has_records(document: Any) -> bool:
    return isinstance(document, dict) and isinstance(document.get("Records"), list)


def _record_events(document: Any, bucket: str, prefix: str) -> list[KeyEvent]:
    return [_record_event(record, bucket, prefix) for record in document["Records"]]


def _record_event(record: Any, bucket: str, prefix: str) -> KeyEvent:
    name = text_at(record, ("eventName",))
    raw_key = text_at(record, ("s3", "object", "key"))
    owner = text_at(record, ("s3", "bucket", "name"))
    event = printable(name or "").removeprefix("s3:")
    if name is None or raw_key is None or owner is None:
        reason = "no eventName, s3.bucket.name or s3.object.key"
        return KeyEvent(printable(raw_key or ""), EventStatus.REJECTED, reason, event)
    if owner != bucket:
        return KeyEvent(printable(raw_key), EventStatus.REJECTED, _FOREIGN, event)
    return key_event(raw_key, event, prefix, form_encoded=True)


# S3's greeting when notifications are switched on: {"Event": "s3:TestEvent", "Bucket": ...}


def _is_greeting(document: Any) -> bool:
    return isinstance(document, dict) and document.get("Event") == "s3:TestEvent"


def _greeting_events(document: Any, bucket: str, prefix: str) -> list[KeyEvent]:
    owner = text_at(document, ("Bucket",))
    if owner is not None and owner != bucket:
        return [KeyEvent("", EventStatus.REJECTED, _FOREIGN, "TestEvent")]
    return [KeyEvent("", EventStatus.IGNORED, "test event acknowledged", "TestEvent")]


_Envelope = tuple[Callable[[Any], bool], Callable[[Any, str, str], list[KeyEvent]]]
_ENVELOPES: tuple[_Envelope, ...] = (
    (_has_records, _record_events),
    (_is_greeting, _greeting_events),
)


# What every envelope needs


def key_event(raw_key: str, event: str, prefix: str, *, form_encoded: bool) -> KeyEvent:
    """The event of one key of our bucket; `form_encoded` keys are decoded here, once."""
    try:
        key = decoded_key(raw_key) if form_encoded else checked_key(raw_key)
    except KeyRejected as error:
        return KeyEvent(printable(raw_key), EventStatus.REJECTED, str(error), event)
    if event.startswith(MARKING_EVENTS):
        if key.startswith(prefix):
            return KeyEvent(key, EventStatus.QUEUED, "queued", event, EventKind.CHANGES)
        return KeyEvent(key, EventStatus.IGNORED, "outside S3_PREFIX", event, EventKind.CHANGES)
    known = event.startswith(SILENT_EVENTS)
    reason = "does not change the content" if known else "unknown event type"
    kind = EventKind.SILENT if known else EventKind.UNKNOWN
    return KeyEvent(key, EventStatus.IGNORED, reason, event, kind)


def decoded_key(raw_key: str) -> str:
    """The key behind S3's form encoding (`+` is a space, `%2B` a plus), decoded once.

    Raises: KeyRejected.
    """
    try:
        return checked_key(unquote_to_bytes(raw_key.replace("+", " ")).decode("utf-8"))
    except UnicodeError:
        raise KeyRejected("the key is not UTF-8") from None


def checked_key(key: str) -> str:
    """The same key, if S3 could hold it.

    Raises: KeyRejected.
    """
    try:
        length = len(key.encode("utf-8"))
    except UnicodeEncodeError:
        raise KeyRejected("the key is not UTF-8") from None
    if not 0 < length <= MAX_KEY_BYTES:
        raise KeyRejected(f"the key has {length} bytes; S3 allows 1 to {MAX_KEY_BYTES}")
    return key


def text_at(value: Any, steps: Iterable[str]) -> str | None:
    """The text found by going down these member names, or None if there is none."""
    for step in steps:
        if not isinstance(value, Mapping):
            return None
        value = value.get(step)
    return value if isinstance(value, str) else None


def printable(text: str) -> str:
    """`text` cut to a key's length, with what UTF-8 cannot carry escaped."""
    return text[:MAX_KEY_BYTES].encode("utf-8", "backslashreplace").decode("utf-8")
