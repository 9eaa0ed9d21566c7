"""The types of events, by their names without "s3:": what each says of its object's content.

Pure. Names come from senders: `kind_of` and `type_of` know what to do with any text.
"""

from enum import StrEnum


class EventKind(StrEnum):
    """What an event's type says of its object's content."""

    CHANGES = "changes"
    SILENT = "silent"
    UNKNOWN = "unknown"


# Every type of event of S3, MinIO and Ceph (without "s3:"), and every detail-type of EventBridge.
# CHANGES: the content, or whether it can be read, may differ: ask S3. SILENT: it cannot differ.
# A family (what stands before a colon) speaks for its members that are not listed, also for those
# to come: a new member of a family that changes objects is asked about. All else is unknown.
_KINDS = (
    # S3, and what others took over from it
    (EventKind.CHANGES, "ObjectCreated, ObjectRemoved, ObjectRestore, LifecycleExpiration"),
    (EventKind.SILENT, "ObjectRestore:Post, LifecycleTransition, IntelligentTiering"),
    (EventKind.SILENT, "ObjectTagging, ObjectAnnotation, ObjectRetention, ObjectAcl"),
    (EventKind.SILENT, "ObjectRestore:Delete"),  # a temporary copy expired: our file stays right
    (EventKind.SILENT, "ReducedRedundancyLostObject"),  # lost in S3: ours may be the last copy
    # Replication, told by the bucket that is copied from: its own objects stay as they are
    (EventKind.SILENT, "Replication:OperationFailedReplication, Replication:OperationNotTracked"),
    (EventKind.SILENT, "Replication:OperationMissedThreshold"),
    (EventKind.SILENT, "Replication:OperationReplicatedAfterThreshold"),
    # MinIO (`internal/event/name.go`)
    (EventKind.CHANGES, "LifecycleDelMarkerExpiration"),
    (EventKind.SILENT, "ObjectCreated:PutRetention, ObjectCreated:PutLegalHold"),
    (EventKind.SILENT, "ObjectCreated:PutTagging, ObjectCreated:DeleteTagging"),
    (EventKind.SILENT, "ObjectAccessed, ObjectTransition, Scanner"),
    (EventKind.SILENT, "BucketCreated, BucketRemoved, Replication:OperationCompletedReplication"),
    # Ceph (`rgw_notify_event_type.cc`); its Replication is told by the zone that is copied to
    (EventKind.CHANGES, "ObjectLifecycle, ObjectSynced, Replication"),
    (EventKind.SILENT, "ObjectLifecycle:Transition, ObjectLifecycle:Expiration:AbortMPU"),
    (EventKind.SILENT, "ObjectLifecycle:Expiration:AbortMultipartUpload"),
    # EventBridge. What CloudTrail tells of aws.s3 stays unknown: it names no object as S3 does.
    (EventKind.CHANGES, "Object Created, Object Deleted, Object Restore Completed"),
    (EventKind.CHANGES, "Async Copy Completion"),
    (EventKind.SILENT, "Object Restore Initiated, Object Restore Expired, Object ACL Updated"),
    (EventKind.SILENT, "Object Storage Class Changed, Object Access Tier Changed"),
    (EventKind.SILENT, "Object Tags Added, Object Tags Deleted"),
)
KINDS = {name: kind for kind, names in _KINDS for name in names.split(", ")}
# Members that are as their families, known only so that statistics can name them.
_MEMBERS = {
    "ObjectCreated": "Put Post Copy CompleteMultipartUpload",
    "ObjectRemoved": "Delete DeleteMarkerCreated DeleteAllVersions NoOP",
    "ObjectRestore": "Completed",
    "LifecycleExpiration": "Delete DeleteMarkerCreated",
    "ObjectTagging": "Put Delete",
    "ObjectAnnotation": "Put Delete",
    "ObjectRetention": "Put",
    "ObjectAcl": "Put",
    "LifecycleDelMarkerExpiration": "Delete",
    "ObjectAccessed": "Get GetRetention GetLegalHold Head Attributes",
    "ObjectTransition": "Failed Complete",
    "Scanner": "ManyVersions LargeVersions BigPrefix",
    "ObjectLifecycle:Expiration": "Current NonCurrent Noncurrent DeleteMarker",
    "ObjectLifecycle:Transition": "Current NonCurrent Noncurrent",
    "ObjectSynced": "Create Delete DeletionMarkerCreated",
    "Replication": "Create Delete DeletionMarkerCreated",
}
_NAMED = {f"{family}:{name}" for family, names in _MEMBERS.items() for name in names.split()}
_NAMED |= KINDS.keys()
_NAMED |= {"TestEvent", "SubscriptionConfirmation", "UnsubscribeConfirmation"}  # greetings


def kind_of(event: str) -> EventKind:
    """The kind of an event by its name; a family speaks for its unlisted members."""
    found = _listed(event)
    return EventKind.UNKNOWN if found is None else KINDS[found]


def type_of(event: str) -> str:
    """The name under which an event is counted: one of a bounded number, whatever it is called.

    Its own name when it is known, "ObjectCreated:*" for an unlisted member of that family, else
    "unknown".
    """
    if event in _NAMED:
        return event
    found = _listed(event)
    return "unknown" if found is None else f"{found}:*"


def _listed(event: str) -> str | None:
    """The entry of KINDS that speaks for an event; None for one that none speaks for."""
    name = event
    while name not in KINDS:
        name, colon, _ = name.rpartition(":")
        if not colon:
            return None
    return name
