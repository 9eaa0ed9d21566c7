"""Types of events: each one that S3, MinIO, Ceph and EventBridge know has its kind."""

import json
from typing import Any

import pytest

from datasync.services.events.inbox import EventStatus, KeyEvent, parse
from datasync.services.events.kinds import KINDS, EventKind, type_of
from tests.support import envelopes

CHANGES, SILENT, UNKNOWN = EventKind.CHANGES, EventKind.SILENT, EventKind.UNKNOWN
QUEUED, IGNORED = EventStatus.QUEUED, EventStatus.IGNORED


def read_one(document: Any) -> KeyEvent:
    [event] = parse(json.dumps(document).encode(), "bkt", "")
    return event


def named(event: str, key: Any = "a.txt") -> KeyEvent:
    """What a record with this type of event becomes; the key is taken as it is."""
    facts = {"bucket": {"name": "bkt"}, "object": {"key": key}}
    return read_one(envelopes.records({"eventName": event, "s3": facts}))


# Types of events: the lists of the S3 user guide, MinIO's name.go, Ceph's
# rgw_notify_event_type.cc and EventBridge's reference of aws.s3

TYPES = {
    CHANGES: """
        ObjectCreated:Put ObjectCreated:Post ObjectCreated:Copy
        ObjectCreated:CompleteMultipartUpload ObjectRemoved:Delete
        ObjectRemoved:DeleteMarkerCreated ObjectRestore:Completed LifecycleExpiration:Delete
        LifecycleExpiration:DeleteMarkerCreated
        ObjectRemoved:DeleteAllVersions ObjectRemoved:NoOP LifecycleDelMarkerExpiration:Delete
        ObjectLifecycle:Expiration:Current ObjectLifecycle:Expiration:NonCurrent
        ObjectLifecycle:Expiration:Noncurrent ObjectLifecycle:Expiration:DeleteMarker
        ObjectSynced:Create ObjectSynced:Delete ObjectSynced:DeletionMarkerCreated
        Replication:Create Replication:Delete Replication:DeletionMarkerCreated
    """.split()
    + ["Object Created", "Object Deleted", "Object Restore Completed", "Async Copy Completion"],
    SILENT: """
        ObjectRestore:Post ObjectRestore:Delete LifecycleTransition IntelligentTiering
        ReducedRedundancyLostObject ObjectTagging:Put ObjectTagging:Delete ObjectAcl:Put
        ObjectAnnotation:Put ObjectAnnotation:Delete ObjectRetention:Put
        Replication:OperationFailedReplication Replication:OperationMissedThreshold
        Replication:OperationReplicatedAfterThreshold Replication:OperationNotTracked
        Replication:OperationCompletedReplication
        ObjectCreated:PutRetention ObjectCreated:PutLegalHold ObjectCreated:PutTagging
        ObjectCreated:DeleteTagging ObjectAccessed:Get ObjectAccessed:GetRetention
        ObjectAccessed:GetLegalHold ObjectAccessed:Head ObjectAccessed:Attributes
        ObjectTransition:Failed ObjectTransition:Complete Scanner:ManyVersions
        Scanner:LargeVersions Scanner:BigPrefix BucketCreated:* BucketRemoved:*
        ObjectLifecycle:Expiration:AbortMPU ObjectLifecycle:Expiration:AbortMultipartUpload
        ObjectLifecycle:Transition:Current ObjectLifecycle:Transition:NonCurrent
        ObjectLifecycle:Transition:Noncurrent
    """.split()
    + ["Object Restore Initiated", "Object Restore Expired", "Object Storage Class Changed"]
    + ["Object Access Tier Changed", "Object ACL Updated", "Object Tags Added"]
    + ["Object Tags Deleted"],
    UNKNOWN: ["", ":", "ObjectInvented:Tomorrow", "objectcreated:put", "INSERT", "UnknownEvent"]
    + ["Object Invented", "AWS API Call via CloudTrail"],
}
EXPECTED = {
    CHANGES: (QUEUED, "queued"),
    SILENT: (IGNORED, "does not change the content"),
    UNKNOWN: (IGNORED, "unknown event type"),
}


@pytest.mark.parametrize("scheme", ["", "s3:"])
@pytest.mark.parametrize("kind, event", [(k, e) for k, names in TYPES.items() for e in names])
def test_every_type_of_event_has_its_kind(kind: EventKind, event: str, scheme: str) -> None:
    found = named(scheme + event)
    assert (found.status, found.reason) == EXPECTED[kind]
    assert (found.kind, found.event, found.key) == (kind, event, "a.txt")


@pytest.mark.parametrize("kind, event", [(k, e) for k, names in TYPES.items() for e in names])
def test_eventbridge_types_have_their_kind(kind: EventKind, event: str) -> None:
    found = read_one(envelopes.bridge_event("a+b", event))
    assert (found.kind, found.event, found.key) == (kind, event, "a+b")


@pytest.mark.parametrize("event", ["ObjectCreated:Xyz", "ObjectRemoved:A:B", "ObjectRestore:New"])
def test_a_new_member_of_a_family_that_changes_objects_is_asked_about(event: str) -> None:
    assert named(event).status is QUEUED


@pytest.mark.parametrize("event", [e for k in (CHANGES, SILENT) for e in TYPES[k]])
def test_a_known_type_is_counted_by_its_name(event: str) -> None:
    assert type_of(event) == event


def test_made_up_types_are_counted_by_what_speaks_for_them() -> None:
    made_up = [f"{family}:{'x' * number}" for family in KINDS for number in range(50)]
    counted = {type_of(event) for event in [*made_up, *TYPES[UNKNOWN], "Invented" * 9]}
    assert counted == {f"{family}:*" for family in KINDS} | {"unknown"}
    assert max(map(len, counted)) < 55  # with what stands before it, the ledger takes 64


@pytest.mark.parametrize(
    "event, shown",
    [
        ("s3:ObjectCreated:" + "x" * 200, ("ObjectCreated:" + "x" * 200)[:64]),
        ("A\x00B\nC", "A\\x00B\\nC"),
        ("\ud800" * 40, ("\\ud800" * 40)[:64]),
    ],
)
def test_the_name_of_an_event_is_printable_and_short(event: str, shown: str) -> None:
    assert named(event).event == shown


@pytest.mark.parametrize("key", [None, "", "\ud800", "k" * 5000, 7])
@pytest.mark.parametrize("event", ["BucketRemoved:*", "Scanner:BigPrefix", "New:Event"])
def test_what_changes_no_object_needs_no_key(key: Any, event: str) -> None:
    found = named(event, key)
    assert found.status is IGNORED
    json.dumps(found.key).encode("utf-8")


def test_what_cloudtrail_tells_through_eventbridge_is_ignored() -> None:
    told = envelopes.bridge_event("a", "AWS API Call via CloudTrail")
    told["detail"] = {"eventName": "PutObject", "requestParameters": {"bucketName": "bkt"}}
    found = read_one(told)
    assert (found.status, found.kind) == (IGNORED, UNKNOWN)
