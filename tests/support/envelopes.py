"""Notifications as their senders make them, with every member that the documents show.

Each `..._body` takes keys as they are and encodes them as its sender does.
"""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote_plus

from datasync.api.senders import signature_of

BUCKET = "bkt"
TIME = "2026-01-02T03:04:05.678Z"
SECONDS = 1767323045.678
TOPIC = "arn:aws:sns:eu-central-1:123456789012:events"


def signed(body: bytes, secret: str, age: int = 0) -> dict[str, str]:
    """The headers of a forwarder that signed this so many seconds ago."""
    timestamp = str(int(time.time()) - age)
    signature = signature_of(secret.encode(), timestamp, body)
    return {"X-DataSync-Timestamp": timestamp, "X-DataSync-Signature": signature}


def text(value: Any) -> str:
    return json.dumps(value)


def s3_record(
    key: str, event: str = "ObjectCreated:Put", bucket: str = BUCKET, version: str = "2.6"
) -> dict[str, Any]:
    """Of S3: user guide, "Event message structure"."""
    return {
        "eventVersion": version,
        "eventSource": "aws:s3",
        "awsRegion": "eu-central-1",
        "eventTime": TIME,
        "eventName": event,
        "userIdentity": {"principalId": "AWS:AIDAJDPLRKLG7UEXAMPLE"},
        "requestParameters": {"sourceIPAddress": "192.0.2.7"},
        "responseElements": {"x-amz-request-id": "C3D13FE58DE4C810", "x-amz-id-2": "FMyUVURIY8/="},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "all-changes",
            "bucket": {
                "name": bucket,
                "ownerIdentity": {"principalId": "A3NL1KOZZKExample"},
                "arn": f"arn:aws:s3:::{bucket}",
            },
            "object": {
                "key": quote_plus(key, safe="/"),
                "size": 1024,
                "eTag": "d41d8cd98f00b204e9800998ecf8427e",
                "versionId": "096fKKXTRTtl3on89fVO.nfljtsv6qko",
                "sequencer": "0055AED6DCD90281E5",
            },
        },
        "glacierEventData": {"restoreEventData": {"lifecycleRestoreStorageClass": "GLACIER"}},
    }


def minio_record(key: str, event: str = "s3:ObjectCreated:Put") -> dict[str, Any]:
    """Of MinIO: `ToEvent` in cmd/event-notification.go; Go's QueryEscape encodes the slash too."""
    return {
        "eventVersion": "2.0",
        "eventSource": "minio:s3",
        "awsRegion": "",
        "eventTime": TIME,
        "eventName": event,
        "userIdentity": {"principalId": "minio"},
        "requestParameters": {"principalId": "minio", "region": "", "sourceIPAddress": "::1"},
        "responseElements": {
            "x-amz-request-id": "15612487A9DF732C",
            "x-minio-deployment-id": "c1d9fd5e-0b4c-4a57-9d4e-1f3e3f7b7a55",
            "x-minio-origin-endpoint": "http://127.0.0.1:9000",
        },
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "Config",
            "bucket": {
                "name": BUCKET,
                "ownerIdentity": {"principalId": "minio"},
                "arn": f"arn:aws:s3:::{BUCKET}",
            },
            "object": {
                "key": quote_plus(key, safe=""),
                "size": 3,
                "eTag": "b7ce786cd89b182bfd5ae765557bbc37",
                "contentType": "text/plain",
                "userMetadata": {"content-type": "text/plain"},
                "sequencer": "15612487A9DF732C",
            },
        },
        "source": {"host": "::1", "port": "", "userAgent": "MinIO (linux; amd64) mc/2025"},
    }


def minio_body(key: str, event: str = "s3:ObjectCreated:Put") -> bytes:
    record = minio_record(key, event)
    document = {"EventName": event, "Key": f"{BUCKET}/{key}", "Records": [record]}
    return text(document).encode()


def ceph_record(
    key: str, event: str = "ObjectCreated:Put", source: str = "ceph:s3"
) -> dict[str, Any]:
    """Of Ceph: doc/radosgw/notifications.rst. The key is not encoded, the size may be a text."""
    return {
        "eventVersion": "2.2",
        "eventSource": source,
        "awsRegion": "zonegroup1",
        "eventTime": "2026-01-02 03:04:05.678000Z",
        "eventName": event,
        "userIdentity": {"principalId": "tester"},
        "requestParameters": {"sourceIPAddress": ""},
        "responseElements": {"x-amz-request-id": "503a4c37", "x-amz-id-2": "14d2-zone1"},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "mynotif1",
            "bucket": {
                "name": BUCKET,
                "ownerIdentity": {"principalId": "tester"},
                "arn": f"arn:aws:s3:zonegroup1::{BUCKET}",
                "id": "503a4c37-85eb-47cd-8681-2817e80b4281.5332.38",
            },
            "object": {
                "key": key,
                "size": "1024",
                "eTag": "37b51d194a7513e45b56f6524f2d51f2",
                "versionId": "",
                "sequencer": "F7E6D75DC742D108",
                "metadata": [{"key": "x-amz-meta-a", "val": "b"}],
                "tags": [],
            },
        },
        "eventId": "1613700188.34",
        "opaqueData": "me@example.com",
    }


def bridge_event(key: str, kind: str = "Object Created", bucket: str = BUCKET) -> dict[str, Any]:
    """Of EventBridge: user guide, "EventBridge event message structure". Keys are not encoded."""
    return {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": kind,
        "source": "aws.s3",
        "account": "123456789012",
        "time": TIME,
        "region": "eu-central-1",
        "resources": [f"arn:aws:s3:::{bucket}"],
        "detail": {
            "version": "0",
            "bucket": {"name": bucket},
            "object": {"key": key, "size": 5, "etag": "b1946ac92492d2347c6235b4d2611184"},
            "request-id": "N4N7GDK58NMKJ12R",
            "requester": "123456789012",
            "source-ip-address": "192.0.2.7",
            "reason": "PutObject",
        },
    }


def records(*found: Any) -> dict[str, Any]:
    return {"Records": list(found)}


def greeting(bucket: str = BUCKET) -> dict[str, Any]:
    return {
        "Service": "Amazon S3",
        "Event": "s3:TestEvent",
        "Time": TIME,
        "Bucket": bucket,
        "RequestId": "5582815E1AEA5ADF",
        "HostId": "8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxsPzbB9wrR",
    }


def sns(message: Any, kind: str = "Notification") -> dict[str, Any]:
    """Of SNS over HTTP, and as the body of an SQS message (without raw delivery)."""
    return {
        "Type": kind,
        "MessageId": "9d2c5580-b61d-550c-8583-37a582870907",
        "TopicArn": TOPIC,
        "Subject": "Amazon S3 Notification",
        "Message": text(message),
        "Timestamp": TIME,
        "SignatureVersion": "1",
        "Signature": "kGNJ7FIM5DJxRv9bdoSJBty2WHpADFWr",
        "SigningCertURL": "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0.pem",
        "UnsubscribeURL": "https://sns.eu-central-1.amazonaws.com/?Action=Unsubscribe",
    }


def lambda_sns(*messages: Any) -> dict[str, Any]:
    """SNS as Lambda is called with it: user guide of Lambda, "Using Lambda with SNS"."""
    return records(
        *(
            {
                "EventVersion": "1.0",
                "EventSubscriptionArn": f"{TOPIC}:21be56ed",
                "EventSource": "aws:sns",
                "Sns": {**sns(message), "Subject": None, "MessageAttributes": {}},
            }
            for message in messages
        )
    )


def sqs_record(message: Any) -> dict[str, Any]:
    """An SQS message as Lambda and Pipes hand it on."""
    return {
        "messageId": "059f36b4-87a3-44ab-83d2-661975830a7d",
        "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a...",
        "body": text(message),
        "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1545082649183"},
        "messageAttributes": {},
        "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:eu-central-1:123456789012:events",
        "awsRegion": "eu-central-1",
    }


def undelivered(event: Any) -> dict[str, Any]:
    """What a failure destination of Lambda gets: user guide of Lambda, "Adding a destination"."""
    arn = "arn:aws:lambda:eu-central-1:123456789012:function:datasync-forwarder:$LATEST"
    return {
        "version": "1.0",
        "timestamp": TIME,
        "requestContext": {
            "requestId": "e4b46cbf-b738-xmpl-8880-a18cdf61200e",
            "functionArn": arn,
            "condition": "RetriesExhausted",
            "approximateInvokeCount": 3,
        },
        "requestPayload": event,
        "responseContext": {
            "statusCode": 200,
            "executedVersion": "$LATEST",
            "functionError": "Unhandled",
        },
        "responsePayload": {"errorMessage": "it was not delivered", "errorType": "NotDelivered"},
    }


def undelivered_on_bus(event: Any) -> dict[str, Any]:
    """The same, when the destination is an event bus."""
    return {
        **bridge_event("", "Lambda Function Invocation Result - Failure"),
        "source": "lambda",
        "detail": undelivered(event),
    }


# Every way in which one key reaches us: its name, and what makes the JSON from the key.
ENVELOPES: Mapping[str, Callable[[str], Any]] = {
    "s3": lambda key: records(s3_record(key)),
    "minio": lambda key: json.loads(minio_body(key)),
    "ceph": lambda key: records(ceph_record(key)),
    "ceph of old": lambda key: records(ceph_record(key, source="aws:s3")),
    "eventbridge": bridge_event,
    "eventbridge by pipes": lambda key: [bridge_event(key)],
    "s3 in sns": lambda key: sns(records(s3_record(key))),
    "eventbridge in sns": lambda key: sns(bridge_event(key)),
    "s3 in sns by lambda": lambda key: lambda_sns(records(s3_record(key))),
    "s3 in sqs by lambda": lambda key: records(sqs_record(records(s3_record(key)))),
    "eventbridge in sqs by lambda": lambda key: records(sqs_record(bridge_event(key))),
    "eventbridge in sqs by pipes": lambda key: [sqs_record(bridge_event(key))],
    "s3 in sns in sqs by lambda": lambda key: records(sqs_record(sns(records(s3_record(key))))),
    "eventbridge in sns in sqs by lambda": lambda key: records(sqs_record(sns(bridge_event(key)))),
    "s3 in lambda's failures": lambda key: undelivered(records(s3_record(key))),
    "s3 in lambda's failures in sqs by lambda": lambda key: records(
        sqs_record(undelivered(records(s3_record(key))))
    ),
    "eventbridge in lambda's failures on a bus": lambda key: undelivered_on_bus(bridge_event(key)),
}
GREETINGS: Mapping[str, Callable[[str], Any]] = {
    "s3": greeting,
    "sns": lambda bucket: sns(greeting(bucket)),
    "sns by lambda": lambda bucket: lambda_sns(greeting(bucket)),
    "sqs by lambda": lambda bucket: records(sqs_record(greeting(bucket))),
    "sns in sqs by lambda": lambda bucket: records(sqs_record(sns(greeting(bucket)))),
}
