"""Reads a notification's body: any known envelope becomes a list of key events.

The shape of the body says what it is, never configuration: records of S3, MinIO or Ceph, events
of EventBridge, and what SNS, SQS, Lambda and Pipes wrap around them. An event is a hint that a
key changed, never an instruction: its key matters, not its size, ETag, time or order.
Pure: knows no HTTP, journal, bucket or settings; the sender is hostile until proved otherwise.

Sources of the shapes: "Event message structure" and "EventBridge event message structure" in
the S3 user guide; `cmd/event-notification.go` of MinIO; `rgw_pubsub.cc` of Ceph.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NoReturn
from urllib.parse import unquote_to_bytes

from datasync.errors import ForeignBucket, KeyRejected, MalformedRequest, UnprocessableRequest
from datasync.services.events.kinds import EventKind, kind_of
from datasync.services.storage.paths import MAX_KEY_BYTES

MAX_EVENT_CHARACTERS = 64
# A real record has 500 bytes or more, so 1 MiB of them is well below this.
MAX_EVENTS = 10_000
# The deepest real one is 4: Lambda's records > SQS body > SNS message > records.
MAX_NESTING = 8


class EventStatus(StrEnum):
    """What becomes of one event."""

    QUEUED = "queued"
    IGNORED = "ignored"
    REJECTED = "rejected"


class Source(StrEnum):
    """Who made an event; whoever carried it (SNS, SQS, Lambda) is not of interest."""

    S3 = "s3"
    EVENTBRIDGE = "eventbridge"
    MINIO = "minio"
    CEPH = "ceph"


@dataclass(frozen=True, slots=True)
class KeyEvent:
    """One event of a notification: its key, decoded once, and what becomes of it.

    `key` of an event that is not queued is printable text for the answer, not a key to work with.
    `event` is the type without "s3:", printable, at most 64 characters. `kind` is None when
    there is none: rejected events, greetings. `happened` is the sender's time in seconds since
    the epoch, for statistics only; None when it is absent or unreadable.
    """

    key: str
    status: EventStatus
    reason: str
    event: str
    kind: EventKind | None = None
    source: Source = Source.S3
    happened: float | None = None


_SOURCES = {"minio:s3": Source.MINIO, "ceph:s3": Source.CEPH}
_VERBATIM = (Source.EVENTBRIDGE, Source.CEPH)  # the others encode keys as forms do
_FOREIGN = "of another bucket"
_SIGNED = {"Type", "TopicArn", "Signature", "SignatureVersion"}
_NO_RECORD = "no eventName, s3.bucket.name or s3.object.key"


def parse(body: bytes, bucket: str, prefix: str) -> list[KeyEvent]:
    """The events in `body`, in their order; empty for an empty envelope.

    Events of other buckets and unreadable ones are `rejected`; a body in which no event at all
    was understood is refused as a whole.

    Raises: MalformedRequest (no JSON, or only unreadable events), UnprocessableRequest (JSON
    that is no known envelope, or over MAX_EVENTS), ForeignBucket (only events of other buckets).
    """
    reader = _Reader(bucket, prefix)
    if not reader.read(_decoded(body), 0):
        raise UnprocessableRequest(
            "the body is JSON, but no S3 event notification",
            hint="Send it as it was made, by S3, EventBridge, SNS, SQS, MinIO or Ceph.",
        )
    _refuse_if_all_rejected(reader.events)
    return reader.events


def sns_message(body: bytes) -> Mapping[str, str] | None:
    """The text members of a message that SNS signed and sent over HTTP; None for other bodies.

    Nothing is proved by this: `sns.SnsGate` does that.
    """
    if b'"TopicArn"' not in body or b'"Signature"' not in body:  # cheap for all others
        return None
    try:
        document = _decoded(body)
    except MalformedRequest:
        return None
    members = document.items() if isinstance(document, dict) else ()
    found = {name: value for name, value in members if isinstance(value, str)}
    return found if _SIGNED <= found.keys() else None


def _decoded(content: bytes | str) -> Any:
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
        return _JSON.decode(text)
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


_JSON = json.JSONDecoder(parse_constant=_refuse_constant)


def _refuse_if_all_rejected(events: list[KeyEvent]) -> None:
    if not events or any(event.status is not EventStatus.REJECTED for event in events):
        return
    if all(event.reason == _FOREIGN for event in events):
        raise ForeignBucket("every record is of another bucket")
    raise MalformedRequest(f"no record can be read; the first: {events[0].reason}")


# Envelopes


class _Reader:
    """Collects the events of one body, of whatever shape each part of it is."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self.events: list[KeyEvent] = []

    def read(self, value: Any, depth: int) -> bool:
        """Add the events in `value`; False when it has no known shape."""
        if depth > MAX_NESTING:
            self._reject("", "wrapped too many times", "")
        elif isinstance(value, list):  # a batch of Pipes
            return self._each(value, depth) > 0
        elif not isinstance(value, dict):
            return False
        # Before all others: what else stands in a message of SNS is not signed.
        elif isinstance(value.get("TopicArn"), str) and isinstance(value.get("Type"), str):
            self._message(value, depth)
        elif isinstance(value.get("Records"), list):
            self._each(value["Records"], depth)
        elif "s3" in value:
            self._record(value)
        else:
            return self._wrapped(value, depth)
        return True

    def _wrapped(self, value: dict[str, Any], depth: int) -> bool:
        if isinstance(value.get("requestPayload"), dict):  # a Lambda destination: what failed
            return self.read(value["requestPayload"], depth + 1)
        if isinstance(value.get("detail-type"), str) and isinstance(value.get("source"), str):
            self._bridged(value, depth)
        elif value.get("eventSource") == "aws:sqs":
            self._open(value.get("body"), depth)
        elif isinstance(value.get("Sns"), dict):
            self._message(value["Sns"], depth)
        elif value.get("Event") == "s3:TestEvent":
            self._greeting(value)
        else:
            return False
        return True

    def _each(self, values: list[Any], depth: int) -> int:
        for value in values:
            if not self.read(value, depth + 1):
                self._reject("", _NO_RECORD, _event_name(text_at(value, ("eventName",)) or ""))
        return len(values)

    def _open(self, content: Any, depth: int) -> None:
        """Read a message's content: JSON in a text, or what Pipes made of it already."""
        try:
            value = _decoded(content) if isinstance(content, str) else content
        except MalformedRequest as error:
            return self._reject("", f"a message's content: {error}", "")
        if not self.read(value, depth + 1):
            self._reject("", "a message whose content is no S3 event notification", "")

    def _message(self, message: dict[str, Any], depth: int) -> None:
        """SNS: a notification holds an envelope; confirmations are about the subscription."""
        kind = message.get("Type", "Notification")
        if kind in ("SubscriptionConfirmation", "UnsubscribeConfirmation"):
            reason = "a confirmation of SNS, no event of a key"
            self._add(KeyEvent("", EventStatus.IGNORED, reason, kind))
        else:
            self._open(message.get("Message"), depth)

    # Events

    def _record(self, record: dict[str, Any]) -> None:
        name = text_at(record, ("eventName",))
        bucket = text_at(record, ("s3", "bucket", "name"))
        key = text_at(record, ("s3", "object", "key"))
        event = _event_name(name or "")
        unclear = key is None and kind_of(event) is EventKind.CHANGES
        if name is None or bucket is None or unclear:
            return self._reject(key or "", _NO_RECORD, event)
        version = record.get("eventVersion")
        if isinstance(version, str) and version.partition(".")[0] != "2":
            return self._reject(key or "", "eventVersion is not 2.x", event)
        happened = _seconds(record.get("eventTime"))
        self._settle(bucket, key or "", event, _source(record), happened)

    def _bridged(self, value: dict[str, Any], depth: int) -> None:
        event = _event_name(value["detail-type"])
        if value["source"] == "lambda" and self.read(value.get("detail"), depth + 1):
            return
        if value["source"] != "aws.s3":
            return self._reject("", "an event of EventBridge, but not of aws.s3", event)
        bucket = text_at(value, ("detail", "bucket", "name"))
        key = text_at(value, ("detail", "object", "key"))
        if (bucket is None or key is None) and kind_of(event) is EventKind.CHANGES:
            return self._reject(key or "", "no detail.bucket.name or detail.object.key", event)
        # What changes nothing may name no bucket, as the events of CloudTrail do.
        owner = self._bucket if bucket is None else bucket
        happened = _seconds(value.get("time"))
        self._settle(owner, key or "", event, Source.EVENTBRIDGE, happened)

    def _greeting(self, value: dict[str, Any]) -> None:
        owner = text_at(value, ("Bucket",))
        if owner is not None and owner != self._bucket:
            return self._reject("", _FOREIGN, "TestEvent")
        self._add(KeyEvent("", EventStatus.IGNORED, "test event acknowledged", "TestEvent"))

    def _settle(self, bucket: str, raw: str, event: str, source: Source, at: float | None) -> None:
        kind = kind_of(event)
        if bucket != self._bucket:
            return self._reject(raw, _FOREIGN, event, source)
        try:
            key = checked_key(raw) if source in _VERBATIM else decoded_key(raw)
        except KeyRejected as error:
            if kind is EventKind.CHANGES:
                return self._reject(raw, str(error), event, source)
            key = printable(raw)  # of a bucket or a prefix, perhaps: nothing is done with it
        status, reason = self._decision(key, kind)
        self._add(KeyEvent(key, status, reason, event, kind, source, at))

    def _decision(self, key: str, kind: EventKind) -> tuple[EventStatus, str]:
        if kind is EventKind.SILENT:
            return EventStatus.IGNORED, "does not change the content"
        if kind is EventKind.UNKNOWN:
            return EventStatus.IGNORED, "unknown event type"
        if key.startswith(self._prefix):
            return EventStatus.QUEUED, "queued"
        return EventStatus.IGNORED, "outside S3_PREFIX"

    def _reject(self, key: str, reason: str, event: str, source: Source = Source.S3) -> None:
        rejected = EventStatus.REJECTED
        self._add(KeyEvent(printable(key), rejected, reason, event, source=source))

    def _add(self, event: KeyEvent) -> None:
        if len(self.events) == MAX_EVENTS:
            raise UnprocessableRequest(
                f"the body holds more than {MAX_EVENTS} events", hint="Send fewer in one request."
            )
        self.events.append(event)


def _source(record: dict[str, Any]) -> Source:
    """Who made a record. Ceph called itself aws:s3 once; its own members tell it apart."""
    name = record.get("eventSource")
    if isinstance(name, str) and name in _SOURCES:
        return _SOURCES[name]
    if "eventId" in record and "id" in record["s3"]["bucket"]:
        return Source.CEPH
    return Source.S3


def _event_name(text: str) -> str:
    name = text.removeprefix("s3:")[:MAX_EVENT_CHARACTERS]
    if name.isprintable():
        return name
    return name.encode("unicode_escape").decode("ascii")[:MAX_EVENT_CHARACTERS]


def _seconds(text: Any) -> float | None:
    """ISO 8601 in seconds since the epoch; without a zone it is UTC, as all senders mean it."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


# Keys


def decoded_key(raw_key: str) -> str:
    """The key behind S3's form encoding (`+` is a space, `%2B` a plus), decoded once.

    Raises: KeyRejected.
    """
    if len(raw_key) > 3 * MAX_KEY_BYTES:  # a byte is written in three characters at most
        raise KeyRejected(f"the key is longer than the {MAX_KEY_BYTES} bytes that S3 allows")
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


def text_at(value: Any, steps: tuple[str, ...]) -> str | None:
    """The text found by going down these member names, or None if there is none."""
    for step in steps:
        if not isinstance(value, dict):
            return None
        value = value.get(step)
    return value if isinstance(value, str) else None


def printable(text: str) -> str:
    """`text` cut to a key's length, with what UTF-8 cannot carry escaped."""
    return text[:MAX_KEY_BYTES].encode("utf-8", "backslashreplace").decode("utf-8")
