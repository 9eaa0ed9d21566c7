"""Looks at the bucket: its server, clock and region, and each permission that the service needs.

Reads only. What the service's own adapter does is asked through it, the rest through boto3. One
check leaves for the next what it has found: an answer of the server, an object to try.
"""

import time
from email.utils import parsedate_to_datetime

from botocore.exceptions import ClientError

from datasync.config.settings import Settings
from datasync.doctor import bucket_rules
from datasync.doctor.aws import Aws, asking_s3, is_unknown
from datasync.doctor.findings import Finding, passed, skipped, warned
from datasync.errors import (
    AccessDenied,
    BucketError,
    CredentialsRejected,
    DataSyncError,
    ObjectMissing,
    TransferStalled,
)
from datasync.models.sync_models import ListedObject, ObjectHead, ObjectRequest
from datasync.services.storage.bucket import Bucket

READ_SECONDS = 15.0
EMPTY_ADVICE = "Put an object there, and run this again to see whether it can be read."
ATTRIBUTES_NOTE = (
    "without it, objects uploaded in parts of uneven size and without a stored checksum are "
    "verified with more requests, or by their length only"
)


class BucketChecks:
    """Checks of one bucket. Each method is one check; `server` and `listing` come first."""

    def __init__(self, settings: Settings, bucket: Bucket, aws: Aws) -> None:
        self._settings = settings
        self._bucket = bucket
        self._aws = aws
        self._name = settings.s3_bucket_name
        self._date: float | None = None  # the server's time when it answered...
        self._asked_at = 0.0  # ...and ours
        self._told_region: str | None = None
        self._can_list = False
        self._sample: ListedObject | None = None

    def server(self) -> Finding:
        """Any answer counts: refusals are other checks' business."""
        with asking_s3("the server", "s3:ListBucket"):
            client = self._aws.anonymous_s3()
            before = time.time()
            try:
                fields = client.head_bucket(Bucket=self._name)["ResponseMetadata"]["HTTPHeaders"]
            except ClientError as error:
                fields = error.response["ResponseMetadata"]["HTTPHeaders"]
            self._asked_at = (before + time.time()) / 2
        self._date = _seconds(fields.get("date"))
        self._told_region = fields.get("x-amz-bucket-region")
        return passed(f"{client.meta.endpoint_url} answers")

    def clock(self) -> Finding:
        return bucket_rules.judge_clock(self._date, self._asked_at)

    def listing(self) -> Finding:
        """What a reconciliation begins with: the first page below S3_PREFIX."""
        prefix = self._settings.s3_prefix
        page = next(iter(self._bucket.list(prefix)))
        self._can_list = True
        self._sample = bucket_rules.pick_sample(page.objects)
        place = f"{self._name!r} below {prefix!r}" if prefix else repr(self._name)
        return bucket_rules.judge_listing(len(page.objects), page.last, place)

    def region(self) -> Finding:
        """By the header that every answer of S3 has, else by GetBucketLocation."""
        told = self._told_region or self._location()
        if told is None:
            return passed("the server does not tell one")
        return bucket_rules.judge_region(self._settings.aws_region, told, can_list=self._can_list)

    def _location(self) -> str | None:
        """None where the answer says nothing: other servers have one region, whatever its name."""
        try:
            with asking_s3("the bucket's location", "s3:GetBucketLocation"):
                answer = self._aws.s3().get_bucket_location(Bucket=self._name)
        except BucketError:
            return None
        constraint = answer.get("LocationConstraint")
        if constraint is None and self._settings.endpoint_url is not None:
            return None
        return bucket_rules.region_of_location(constraint)

    def reading(self) -> Finding:
        """Read the first byte of an object."""
        sample = self._sample
        if sample is None:
            return warned("there is no object to try s3:GetObject on", EMPTY_ADVICE)
        error = self._read(sample)
        if error is None:
            return passed(f"s3:GetObject is allowed ({sample.key!r})")
        if isinstance(error, ObjectMissing):
            return warned("the object that was tried went away meanwhile", "Run this again.")
        return bucket_rules.judge_refused_read(error, *self._encryption(sample.key))

    def _read(self, sample: ListedObject) -> DataSyncError | None:
        channel = self._bucket.channel(1)
        try:
            whole = ObjectRequest(sample.key)
            part = ObjectRequest(sample.key, first=0, last=0)
            channel.start(part if sample.size else whole, _Nowhere(), None)
            answers = channel.poll(READ_SECONDS)
        finally:
            channel.close()
        return answers[0].error if answers else TransferStalled("reading an object: no answer")

    def _encryption(self, key: str) -> tuple[str, str]:
        """How an object is encrypted and with which key; its head needs no kms:Decrypt."""
        try:
            with asking_s3("the object's head", "s3:GetObject"):
                head = self._aws.s3().head_object(Bucket=self._name, Key=key)
        except BucketError:
            return "", ""
        return str(head.get("ServerSideEncryption", "")), head.get("SSEKMSKeyId", "")

    def proofs(self) -> Finding:
        """Whether the server shows what downloads can be checked with."""
        if self._sample is None:
            return skipped("there is no object to try it on")
        head = self._bucket.head(self._sample.key)
        return bucket_rules.judge_proof(head, self._settings.verify_file_integrity)

    def attributes(self) -> Finding:
        """GetObjectAttributes: useful, never needed."""
        if self._sample is None:
            return skipped("there is no object to try it on")
        try:
            with asking_s3("the object's attributes", "s3:GetObjectAttributes"):
                self._aws.s3().get_object_attributes(
                    Bucket=self._name, Key=self._sample.key, ObjectAttributes=["ObjectParts"]
                )
        except BucketError as error:
            return self._without_attributes(error)
        return passed("s3:GetObjectAttributes is allowed")

    @staticmethod
    def _without_attributes(error: BucketError) -> Finding:
        if is_unknown(error):
            return skipped("the server does not know GetObjectAttributes, which is optional")
        if isinstance(error, AccessDenied) and not isinstance(error, CredentialsRejected):
            return passed(f"s3:GetObjectAttributes is not allowed, and optional: {ATTRIBUTES_NOTE}")
        raise error


class _Nowhere:
    """Takes an answer and keeps nothing of it."""

    def begin(self, head: ObjectHead) -> None:
        """Nothing to prepare."""

    def write(self, data: bytes) -> None:
        """Nothing to keep."""


def _seconds(date: str | None) -> float | None:
    """An HTTP date in seconds since the epoch, None when it is none."""
    try:
        return parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return None
