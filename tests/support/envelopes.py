"""Events as their senders write them: one key, every envelope."""

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote_plus

Made = Callable[[str, str, str], bytes]  # bucket, key, event name without "s3:"

TIME = "2026-11-25T12:00:00.000Z"
_DETAIL_TYPES = {"ObjectCreated": "Object Created", "ObjectRemoved": "Object Deleted"}


def s3(bucket: str, key: str, event: str = "ObjectCreated:Put") -> bytes:
    return _json({"Records": [_record(bucket, quote_plus(key, safe="/"), event)]})


def minio(bucket: str, key: str, event: str = "ObjectCreated:Put") -> bytes:
    record = _record(bucket, quote_plus(key, safe=""), f"s3:{event}", source="minio:s3")
    return _json({"EventName": f"s3:{event}", "Key": f"{bucket}/{key}", "Records": [record]})


def ceph(bucket: str, key: str, event: str = "ObjectCreated:Put") -> bytes:
    record = _record(bucket, key, f"s3:{event}", source="ceph:s3")
    record["s3"]["object"] |= {"size": "4", "versionId": ""}
    return _json({"Records": [record]})


def eventbridge(bucket: str, key: str, event: str = "ObjectCreated:Put") -> bytes:
    detail = {"bucket": {"name": bucket}, "object": {"key": key, "size": 4, "sequencer": "0A"}}
    kind = _DETAIL_TYPES[event.partition(":")[0]]
    return _json({"source": "aws.s3", "detail-type": kind, "time": TIME, "detail": detail})


def sqs(inner: Made) -> Made:
    """As Lambda is given messages of a queue."""

    def made(bucket: str, key: str, event: str = "ObjectCreated:Put") -> bytes:
        body = inner(bucket, key, event).decode()
        return _json({"Records": [{"messageId": "1", "eventSource": "aws:sqs", "body": body}]})

    return made


def sns(inner: Made) -> Made:
    """As Lambda is given messages of a topic."""

    def made(bucket: str, key: str, event: str = "ObjectCreated:Put") -> bytes:
        message = {"Type": "Notification", "Message": inner(bucket, key, event).decode()}
        return _json({"Records": [{"EventSource": "aws:sns", "Sns": message}]})

    return made


EVERY: Mapping[str, Made] = {
    "s3": s3,
    "minio": minio,
    "ceph": ceph,
    "eventbridge": eventbridge,
    "sqs+s3": sqs(s3),
    "sns+s3": sns(s3),
    "sqs+eventbridge": sqs(eventbridge),
}


def _record(bucket: str, key: str, event: str, source: str = "aws:s3") -> dict[str, Any]:
    told = {"key": key, "size": 4, "eTag": "0" * 32, "versionId": "x", "sequencer": "0A"}
    return {
        "eventVersion": "2.1",
        "eventSource": source,
        "eventTime": TIME,
        "eventName": event,
        "s3": {"s3SchemaVersion": "1.0", "bucket": {"name": bucket}, "object": told},
    }


def _json(document: object) -> bytes:
    return json.dumps(document).encode()
