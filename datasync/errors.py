"""Every error DataSync raises, in one tree.

    DataSyncError
    ├── ConfigurationError          a setting is missing or bad
    ├── AddressInUse                API_PORT is taken by another program
    ├── BucketError                 S3 or the way to it
    │   ├── ObjectMissing           S3 answered 404 NoSuchKey for this key, and only then
    │   ├── BucketMissing           404 NoSuchBucket
    │   ├── AccessDenied            403
    │   │   └── CredentialsRejected   no, unknown, expired or badly signed credentials
    │   │       ├── ClockSkewed         our clock is off; learned from the server, try again
    │   │       └── CredentialsOutdated their source is asked for newer ones; try again
    │   ├── ObjectArchived          403 InvalidObjectState: a cold storage class
    │   ├── PreconditionFailed      412: the object is no longer the version asked for
    │   ├── RangeUnsatisfiable      416
    │   ├── RedirectRefused         3xx: wrong region or endpoint; never followed
    │   ├── SlowDown                429, 503: the server asks for less
    │   ├── ServerFault             5xx
    │   ├── NetworkFailure          refused, reset, DNS, TLS, cut short
    │   │   └── TransferStalled     nothing moved for too long
    │   ├── ListingBroken           a page that is no proof of anything
    │   └── UnexpectedAnswer        any other answer
    ├── QueueError                  SQS or the way to it
    │   ├── QueueMissing            there is no such queue
    │   ├── QueueDenied             these credentials lack a permission on it
    │   │   └── QueueCredentialsRejected   no, unknown, expired or badly signed credentials
    │   ├── QueueSlowDown           too many requests, or too many messages in flight
    │   ├── QueueUnreachable        refused, reset, DNS, TLS, no answer in time, 5xx
    │   └── PoisonMessage           a message that no further try makes readable
    ├── IntegrityError              the bytes are not the object
    │   ├── LengthMismatch
    │   ├── ChecksumMismatch
    │   └── TornRead                the answer belongs to another version or range
    ├── ObjectTooLarge              over MAX_FILE_SIZE_MB
    ├── KeyRejected                 not a legal S3 key, or no home for it on this disk
    ├── MirrorError                 the disk
    │   ├── MirrorUnavailable       the root is missing, replaced, unmounted or read-only
    │   ├── DiskFull                ENOSPC, EDQUOT, or below MIN_FREE_DISK_PERCENT
    │   ├── TooManyOpenFiles        EMFILE, ENFILE
    │   ├── PathConflict            something that is not ours is in the way
    │   ├── FileMissing             the ledger does not hold the key, or its file is gone
    │   └── FileDrifted             the file on disk is not the one that was synced
    ├── LedgerError                 the database
    │   ├── LedgerBusy              locked or unreachable for now
    │   │   └── JournalFull           more events wait to be written than are let in
    │   └── LedgerTaken             it belongs to another directory by now
    ├── RunError
    │   ├── RunMissing              no run with this id
    │   ├── RunNotHeld              approve or cancel on a run that is over
    │   │   └── PlanOutdated          a held plan that is too old to be approved
    │   └── LeaseHeld               another process runs the engine
    ├── RequestRefused              the caller's request
    │   ├── MalformedRequest
    │   ├── PageMissing             no such page of the dashboard
    │   ├── UnprocessableRequest    well-formed, but not what the route takes
    │   ├── PayloadTooLarge
    │   ├── UnsupportedMedia
    │   ├── ForeignBucket           an event of a bucket that is not ours
    │   ├── Unauthorized
    │   ├── Forbidden               the caller is known, and may not do this
    │   ├── TooManyRequests         more than one client may ask in a while
    │   └── ProofUnavailable        what proves the sender cannot be had now
    ├── InternalFault               a mistake in DataSync itself
    └── Interrupted                 work stopped by shutdown or cancellation

`retryable` says whether the same step may succeed if it is tried again soon;
`hint` says what the operator can do. HTTP status codes live in `api/error_responses.py` only.
"""

from typing import ClassVar


class DataSyncError(Exception):
    """The root of the tree. `str(error)` names the thing and the problem, without secrets."""

    retryable: ClassVar[bool] = False
    hint: str = ""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        if hint is not None:
            self.hint = hint


class ConfigurationError(DataSyncError):
    """Its text has one line for each bad setting: variable, problem, example."""


class AddressInUse(DataSyncError):
    """Nothing is wrong with the settings: another program listens there, for now."""

    retryable = True
    hint = "Stop it, or choose another port. Example: API_PORT=8889"


class BucketError(DataSyncError):
    """S3, or the way to it, did not give what was asked for."""


class ObjectMissing(BucketError):
    """S3 itself answered 404 for this key; the only proof that allows a delete."""


class BucketMissing(BucketError):
    hint = "Check S3_BUCKET_NAME, AWS_REGION and the endpoint."


class AccessDenied(BucketError):
    hint = "Grant s3:GetObject and s3:ListBucket on the bucket to these credentials."


class CredentialsRejected(AccessDenied):
    hint = "Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, the profile or role, and the clock."


class ClockSkewed(CredentialsRejected):
    """The server's clock and ours differ too much. The client has learned the server's by now."""

    retryable = True
    hint = "Set this machine's clock, with NTP for example."


class CredentialsOutdated(CredentialsRejected):
    """Refused, but their source may have newer ones: the next request is signed with those."""

    retryable = True


class ObjectArchived(BucketError):
    hint = "Restore the object in S3; it is picked up when the restore is complete."


class PreconditionFailed(BucketError):
    """412: the object changed since its version was pinned. Start again from the new one."""

    retryable = True
    hint = "The object changed while it was read; DataSync tries again by itself."


class RangeUnsatisfiable(BucketError):
    retryable = True
    hint = PreconditionFailed.hint


class RedirectRefused(BucketError):
    hint = "Set AWS_REGION to the region of the bucket."


class SlowDown(BucketError):
    retryable = True
    hint = "S3 asks for fewer requests; DataSync slows down by itself."


class ServerFault(BucketError):
    retryable = True
    hint = "The fault is the server's or a gateway's; DataSync tries again by itself."


class NetworkFailure(BucketError):
    retryable = True
    hint = "Check the network, the proxy settings and the endpoint."


class TransferStalled(NetworkFailure):
    hint = "Raise DOWNLOAD_TIMEOUT_SECONDS if the connection is known to be slow."


class ListingBroken(BucketError):
    """A listing page that is cut, foreign or contradicts itself. Never read as 'empty'."""

    retryable = True
    hint = "Nothing was deleted. Check the endpoint, and what proxy or cache may have answered."


class UnexpectedAnswer(BucketError):
    retryable = True
    hint = "Check the endpoint, and what proxy or cache may have answered in S3's place."


class QueueError(DataSyncError):
    """SQS, or the way to it, did not give what was asked for."""


class QueueMissing(QueueError):
    hint = "Check SQS_QUEUE_URL; a queue made just now may take a minute to be found."


class QueueDenied(QueueError):
    hint = (
        "Grant sqs:ReceiveMessage, sqs:DeleteMessage, sqs:ChangeMessageVisibility and "
        "sqs:GetQueueAttributes on the queue to these credentials."
    )


class QueueCredentialsRejected(QueueDenied):
    hint = (
        "Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, the profile or role, the queue's region "
        "and the clock."
    )


class QueueSlowDown(QueueError):
    retryable = True
    hint = "SQS asks for fewer requests or has too many messages in flight; it passes by itself."


class QueueUnreachable(QueueError):
    retryable = True
    hint = "Check the network, the proxy settings, SQS_QUEUE_URL and AWS_ENDPOINT_URL_SQS."


class PoisonMessage(QueueError):
    """Left to the queue: its redrive policy moves the message to a dead-letter queue."""

    hint = (
        "Look at it in the queue's dead-letter queue; without one it comes again until it expires."
    )


class IntegrityError(DataSyncError):
    """The bytes that arrived are not the object S3 described. The old file stays."""

    retryable = True
    hint = (
        "Nothing was replaced, and DataSync tries again by itself. If this lasts, compare the "
        "object in S3, and look for a proxy or cache on the way."
    )


class LengthMismatch(IntegrityError):
    pass


class ChecksumMismatch(IntegrityError):
    pass


class TornRead(IntegrityError):
    pass


class ObjectTooLarge(DataSyncError):
    hint = "Raise MAX_FILE_SIZE_MB to mirror this object."


class KeyRejected(DataSyncError):
    hint = "Rename the object in S3."


class MirrorError(DataSyncError):
    """The local directory refused a step."""


class MirrorUnavailable(MirrorError):
    hint = "Mount or create LOCAL_DOWNLOAD_DIR and make it writable for this user."


class DiskFull(MirrorError):
    hint = "Free disk space, or let the trash keep less: TRASH_RETENTION_DAYS, TRASH_MAX_PERCENT."


class TooManyOpenFiles(MirrorError):
    retryable = True
    hint = "Raise the limit of open files: LimitNOFILE= of systemd, --ulimit of Docker, ulimit -n."


class PathConflict(MirrorError):
    """`at` is the mirror path of what is in the way, None when no single thing is."""

    hint = "Move the file, link or folder that is in the way; DataSync does not touch it."

    def __init__(self, message: str, *, at: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.at = at


class FileMissing(MirrorError):
    hint = "List what is mirrored with GET /sync/files."


class FileDrifted(MirrorError):
    retryable = True
    hint = "The next reconciliation repairs it; POST /sync/trigger starts one."


class LedgerError(DataSyncError):
    """The database refused a step."""


class LedgerBusy(LedgerError):
    retryable = True
    hint = "Try again in a moment."


class JournalFull(LedgerBusy):
    hint = "Send the events again after the time in Retry-After; none of them was taken."


class LedgerTaken(LedgerError):
    hint = (
        "Stop this service, or give it a DATABASE_URL of its own; datasync doctor says whose it is."
    )


class RunError(DataSyncError):
    pass


class RunMissing(RunError):
    hint = "List the runs with GET /sync/runs."


class RunNotHeld(RunError):
    hint = "Only a held run can be approved, only a queued, running or held one cancelled."


class PlanOutdated(RunNotHeld):
    hint = "Run 'datasync sync' or POST /sync/trigger: it compares anew, and makes a plan of today."


class LeaseHeld(RunError):
    hint = "Another DataSync process serves this directory; ask it, or stop it first."


class RequestRefused(DataSyncError):
    pass


class MalformedRequest(RequestRefused):
    hint = "Correct the request; /docs shows what this route takes."


class PageMissing(RequestRefused):
    hint = "The tabs at the top lead to all pages there are."


class UnprocessableRequest(RequestRefused):
    hint = "See /docs for what this route takes."


class PayloadTooLarge(RequestRefused):
    hint = "Send fewer records in one request."


class UnsupportedMedia(RequestRefused):
    hint = "Send JSON with Content-Type: application/json."


class ForeignBucket(RequestRefused):
    hint = "Point only the configured bucket's notifications at this service."


class Unauthorized(RequestRefused):
    hint = (
        "Set API_KEYS and send one as 'Authorization: Bearer <key>' or 'X-API-Key', "
        "or call from this machine."
    )


class Forbidden(RequestRefused):
    """The caller is known, and what it may do does not include this."""

    hint = "Use a key of another role, or change this one's in API_KEYS."


class TooManyRequests(RequestRefused):
    """`retry_after_seconds` is when the same client may ask again."""

    retryable = True
    hint = "Ask again after the time in Retry-After, and less often."

    def __init__(
        self, message: str, *, retry_after_seconds: float = 1.0, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_seconds = retry_after_seconds


class ProofUnavailable(RequestRefused):
    """The sender may be who it says, but what proves it cannot be had at the moment."""

    retryable = True
    hint = "This machine must reach SNS over HTTPS; the sender tries again by itself."


class InternalFault(DataSyncError):
    hint = "This is a mistake in DataSync; the log has the traceback. Please report it."


class Interrupted(DataSyncError):
    """Shutdown or cancellation ended the work early; what was left stays dirty."""
