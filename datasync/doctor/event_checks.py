"""Looks at the ways of events: the bucket's notifications, and the queue with its dead letters.

Takes no message and changes nothing. One check leaves for the next what it has found.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from datasync.config.settings import Settings
from datasync.doctor import notification_rules, queue_rules
from datasync.doctor.aws import Aws, asking_s3, asking_sqs, is_of_receipt, is_unknown
from datasync.doctor.findings import Finding, passed, skipped, warned
from datasync.errors import AccessDenied, BucketError, CredentialsRejected, QueueError
from datasync.services.events.sqs import region_of

OPTIONAL_ADVICE = (
    "Grant s3:GetBucketNotification on the bucket to let this be checked; the service itself does "
    "not need it."
)
NO_RECEIPT = "datasync-doctor"  # names no message


class EventChecks:
    """Checks of what sends events. Each method is one check; `queue` comes first."""

    def __init__(self, settings: Settings, aws: Aws) -> None:
        self._settings = settings
        self._aws = aws
        self._queue: queue_rules.Attributes = {}

    def notifications(self) -> Finding:
        """What the bucket sends where, as far as it concerns us."""
        try:
            with asking_s3("the bucket's notifications", "s3:GetBucketNotification"):
                found = self._aws.s3().get_bucket_notification_configuration(
                    Bucket=self._settings.s3_bucket_name
                )
        except BucketError as error:
            return self._unseen(error)
        return notification_rules.judge_notifications(found, self._us())

    @staticmethod
    def _unseen(error: BucketError) -> Finding:
        if is_unknown(error):
            return skipped("the server does not tell its notifications")
        if isinstance(error, AccessDenied) and not isinstance(error, CredentialsRejected):
            return warned(
                "s3:GetBucketNotification is not allowed: cannot tell whether events come here",
                OPTIONAL_ADVICE,
            )
        raise error

    def _us(self) -> notification_rules.Us:
        settings = self._settings
        url, arn = settings.sqs_queue_url, self._queue.get("QueueArn")
        if url is not None and arn is None:
            arn = queue_rules.arn_of(url, region_of(url) or settings.aws_region)
        is_aws = settings.endpoint_url is None
        return notification_rules.Us(settings.s3_prefix, arn, settings.sns_topic_arns, is_aws)

    def queue(self) -> Finding:
        """Whether the queue answers to these credentials, and can have S3's events."""
        url = self._settings.sqs_queue_url or ""
        name = url.rpartition("/")[2]
        self._queue = self._attributes(url, name)
        return queue_rules.judge_queue(self._queue, name)

    def receiving(self) -> Finding:
        return queue_rules.judge_receiving(self._queue)

    def deleting(self) -> Finding:
        """Whether messages may be deleted, asked of one that there is not."""
        url = self._settings.sqs_queue_url or ""
        with self._asking_of_no_message("sqs:DeleteMessage"):
            self._aws.sqs().delete_message_batch(
                QueueUrl=url, Entries=[{"Id": "0", "ReceiptHandle": NO_RECEIPT}]
            )
        return passed("sqs:DeleteMessage is allowed")

    def hiding(self) -> Finding:
        """The same of keeping messages hidden while they are being taken."""
        url = self._settings.sqs_queue_url or ""
        with self._asking_of_no_message("sqs:ChangeMessageVisibility"):
            self._aws.sqs().change_message_visibility_batch(
                QueueUrl=url,
                Entries=[{"Id": "0", "ReceiptHandle": NO_RECEIPT, "VisibilityTimeout": 0}],
            )
        return passed("sqs:ChangeMessageVisibility is allowed")

    @contextmanager
    def _asking_of_no_message(self, permission: str) -> Iterator[None]:
        """SQS answers such a batch with a failure for its entry; some servers refuse it whole.

        Raises: QueueError of any other refusal.
        """
        name = (self._settings.sqs_queue_url or "").rpartition("/")[2]
        try:
            with asking_sqs(f"queue {name!r}", permission):
                yield
        except QueueError as error:
            if not is_of_receipt(error):
                raise

    def visibility(self) -> Finding:
        return queue_rules.judge_visibility(self._queue)

    def redrive(self) -> Finding:
        return queue_rules.judge_redrive(self._queue)

    def backlog(self) -> Finding:
        return queue_rules.judge_backlog(self._queue)

    def dead_letters(self) -> Finding:
        """How many messages were given up; a queue of its own, which may not be readable."""
        redrive = queue_rules.redrive_of(self._queue)
        if redrive is None:
            return skipped("the queue has no dead-letter queue")
        *_, account, name = ["", *redrive.target_arn.split(":")]
        try:
            with asking_sqs(f"queue {name!r}", "sqs:GetQueueUrl"):
                found = self._aws.sqs().get_queue_url(
                    QueueName=name, QueueOwnerAWSAccountId=account
                )
            return queue_rules.judge_dead_letters(self._attributes(found["QueueUrl"], name))
        except QueueError as error:
            return skipped(f"it cannot be looked at, and need not be: {error}")

    def _attributes(self, url: str, name: str) -> queue_rules.Attributes:
        """Raises: QueueError."""
        with asking_sqs(f"queue {name!r}", "sqs:GetQueueAttributes"):
            answer = self._aws.sqs().get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
        return {str(name): text for name, text in answer.get("Attributes", {}).items()}
