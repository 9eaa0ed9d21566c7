"""Looks at AWS, or the server in its place: credentials, bucket, permissions, queue, clock.

Only reads. Knows boto3 for the questions that the service itself never asks.
"""

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from datasync.composition import s3_bucket, sqs_queue
from datasync.config.settings import Settings
from datasync.doctor import coverage
from datasync.doctor.lines import Line, failed, passed, skipped, warned
from datasync.errors import AccessDenied, ObjectArchived, ObjectMissing

ANSWER_SECONDS = 5.0
SKEW_WARNING_SECONDS, SKEW_LIMIT_SECONDS = 60.0, 900.0  # S3 refuses requests beyond the latter


def client(settings: Settings, name: str) -> Any:
    """A boto3 client made as the service would make it."""
    key, secret = settings.aws_access_key_id, settings.aws_secret_access_key
    token = settings.aws_session_token
    session = boto3.Session(
        aws_access_key_id=key.get_secret_value() if key else None,
        aws_secret_access_key=secret.get_secret_value() if secret else None,
        aws_session_token=token.get_secret_value() if token else None,
        profile_name=settings.aws_profile if key is None else None,
        region_name=settings.aws_region,
    )
    endpoint = settings.queue_endpoint_url if name == "sqs" else settings.endpoint_url
    config = Config(
        connect_timeout=ANSWER_SECONDS,
        read_timeout=ANSWER_SECONDS,
        retries={"total_max_attempts": 1},
        s3={"addressing_style": "path" if endpoint else "auto"},
        **({"signature_version": UNSIGNED} if settings.aws_no_sign_request else {}),
    )
    return session.client(
        name,  # type: ignore[call-overload]  # the name is not a literal here
        endpoint_url=endpoint,
        config=config,
        verify=str(settings.aws_ca_bundle) if settings.aws_ca_bundle else None,
    )


def credentials(settings: Settings) -> Line:
    """Where credentials come from; never what they are."""
    if settings.aws_no_sign_request:
        return passed("credentials", "none: the bucket is read unsigned")
    if settings.aws_access_key_id:
        return passed("credentials", "AWS_ACCESS_KEY_ID and its secret")
    try:
        found = boto3.Session(profile_name=settings.aws_profile).get_credentials()
    except BotoCoreError as error:
        return failed("credentials", str(error), "Correct AWS_PROFILE or the shared AWS files.")
    if found is None:
        return failed(
            "credentials",
            "none were found",
            "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role.",
        )
    return passed("credentials", f"from the AWS chain: {found.method}")


def bucket(settings: Settings) -> Line:
    """Whether the bucket can be listed: s3:ListBucket."""
    asked = s3_bucket(settings)
    try:
        asked.check(ANSWER_SECONDS)
    finally:
        asked.close()
    return passed("bucket", f"s3://{settings.s3_bucket_name} can be listed")


def objects(settings: Settings) -> Line:
    """Whether objects can be read: s3:GetObject, asked of the first one."""
    asked = s3_bucket(settings)
    try:
        page = next(iter(asked.list(settings.s3_prefix)))
        first = next((item.key for item in page.objects if item.problem is None), None)
        if first is None:
            return skipped("objects", "there is none to try to read")
        head = asked.head(first)
    except ObjectArchived:
        return skipped("objects", "the first one is archived")
    except ObjectMissing:
        return skipped("objects", "the first one has gone meanwhile")
    except AccessDenied as error:
        return failed(
            "objects", str(error), "Allow s3:GetObject, and kms:Decrypt where KMS keys are used."
        )
    finally:
        asked.close()
    proof = ", ".join(sorted(head.checksums)) or "no stored checksum"
    return passed("objects", f"they can be read; the first has {proof}")


def region_and_clock(settings: Settings) -> list[Line]:
    """The bucket's region, and how far apart the clocks are: one question answers both."""
    try:
        answer = client(settings, "s3").head_bucket(Bucket=settings.s3_bucket_name)
        fields = answer["ResponseMetadata"]["HTTPHeaders"]
    except ClientError as error:
        fields = error.response["ResponseMetadata"].get("HTTPHeaders", {})
    except BotoCoreError as error:
        return [skipped(name, f"S3 cannot be asked: {error}") for name in ("region", "clock")]
    return [region(fields, settings.aws_region), clock(fields, time.time())]


def region(fields: Mapping[str, str], ours: str) -> Line:
    """What the header of an answer says of the bucket's region."""
    theirs = fields.get("x-amz-bucket-region")
    if theirs is None:
        return skipped("region", "the server does not tell its region")
    if theirs != ours:
        return failed("region", f"the bucket is in {theirs}", f"Set AWS_REGION={theirs}.")
    return passed("region", theirs)


def clock(fields: Mapping[str, str], now: float) -> Line:
    """How far our clock is from the server's, which tells full seconds only."""
    try:
        theirs = parsedate_to_datetime(fields.get("date", "")).timestamp()
    except (TypeError, ValueError):
        return skipped("clock", "the server does not tell its time")
    skew = now - theirs
    told = f"{abs(skew):.0f} seconds {'ahead of' if skew > 0 else 'behind'} the server's"
    if abs(skew) >= SKEW_LIMIT_SECONDS:
        return failed("clock", told, "Set this machine's clock: S3 refuses what is signed so.")
    if abs(skew) >= SKEW_WARNING_SECONDS:
        return warned("clock", told, "Set this machine's clock, with NTP for example.")
    return passed("clock", "close to the server's")


def notifications(settings: Settings) -> Line:
    """Whether the bucket tells of its changes, and us: s3:GetBucketNotification."""
    try:
        told = client(settings, "s3").get_bucket_notification_configuration(
            Bucket=settings.s3_bucket_name
        )
    except (ClientError, BotoCoreError) as error:
        return warned(
            coverage.NAME,
            f"they cannot be read: {error}",
            "Allow s3:GetBucketNotification to have them checked; the service does not need it.",
        )
    return coverage.judge(told, settings.s3_prefix, settings.sqs_queue_url, settings.sns_topic_arns)


def queue(settings: Settings) -> Line:
    """Whether the queue can be read, and where its poison messages go."""
    asked = sqs_queue(settings)
    if asked is None:
        return skipped("queue", "SQS_QUEUE_URL is not set")
    try:
        state = asked.check(ANSWER_SECONDS)
    finally:
        asked.close()
    told = f"{state.waiting} messages wait, {state.hidden} are being worked on"
    if not state.redrives:
        return warned(
            "queue",
            f"{told}; it has no dead-letter queue",
            "Set a redrive policy: a message that cannot be read comes back for ever otherwise.",
        )
    return passed("queue", told)
