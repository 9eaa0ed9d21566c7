"""Judges what SQS tells of a queue in GetQueueAttributes. Pure.

Attributes are SQS's own texts, by its names. SQS does not tell the age of what waits there, only
CloudWatch does; so a backlog is judged by its size.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from datasync.doctor.findings import Finding, failed, passed, skipped, warned

SHORT_SECONDS = 10
LONG_SECONDS = 900
SHORT_RETENTION_SECONDS = 86_400
FEW_TRIES = 3
LARGE_BACKLOG = 1_000

Attributes = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Redrive:
    """Where messages go that were received `tries` times and never deleted."""

    target_arn: str
    tries: int


def number(attributes: Attributes, name: str) -> int | None:
    """A number that SQS tells, None when it does not."""
    text = attributes.get(name, "")
    return int(text) if text.isdecimal() else None


def arn_of(queue_url: str, region: str) -> str:
    """The ARN behind a queue's URL, as far as the URL tells it."""
    *_, account, name = ["", *urlsplit(queue_url).path.strip("/").split("/")]
    host = urlsplit(queue_url).hostname or ""
    partition = "aws-cn" if host.endswith(".cn") else "aws"
    return f"arn:{partition}:sqs:{region}:{account}:{name}"


def redrive_of(attributes: Attributes) -> Redrive | None:
    """The queue's redrive policy, None when there is none or it cannot be read."""
    try:
        policy = json.loads(attributes.get("RedrivePolicy", ""))
        return Redrive(str(policy["deadLetterTargetArn"]), int(policy["maxReceiveCount"]))
    except (ValueError, KeyError, TypeError):
        return None


def judge_queue(attributes: Attributes, name: str) -> Finding:
    """Whether S3's events can be in this queue."""
    if attributes.get("FifoQueue") == "true" or name.endswith(".fifo"):
        return failed(
            f"queue {name!r} is a FIFO queue, and S3 sends to none of those",
            "Make a standard queue and name it in SQS_QUEUE_URL.",
        )
    retention = number(attributes, "MessageRetentionPeriod")
    if retention is not None and retention < SHORT_RETENTION_SECONDS:
        return warned(
            f"queue {name!r} drops messages after {retention:,} s, also when the service is down",
            "Set MessageRetentionPeriod to a day or more (345600: four days).",
        )
    return passed(f"queue {name!r} answers, sqs:GetQueueAttributes is allowed")


def judge_receiving(attributes: Attributes) -> Finding:
    """What cannot be tried: a message that is received is one receive nearer to be given up."""
    key = attributes.get("KmsMasterKeyId")
    needed = f"sqs:ReceiveMessage and kms:Decrypt on {key}" if key else "sqs:ReceiveMessage"
    return skipped(f"{needed}: not tried, which would take a message; the service's log tells")


def judge_visibility(attributes: Attributes) -> Finding:
    """How long a received message stays hidden from the other consumers."""
    seconds = number(attributes, "VisibilityTimeout")
    if seconds is None:
        return skipped("the queue does not tell its visibility timeout")
    text = f"visibility timeout {seconds} s"
    if seconds < SHORT_SECONDS:
        return warned(
            f"{text}: messages come again while they are still being taken",
            f"Set it to {SHORT_SECONDS} s or more; 60 is a good value.",
        )
    if seconds > LONG_SECONDS:
        return warned(
            f"{text}: what a consumer held when it died comes again only after that",
            "Set it to 60 s; the service asks for more where it needs more.",
        )
    return passed(text)


def judge_redrive(attributes: Attributes) -> Finding:
    """Where a message goes that nobody can read."""
    redrive = redrive_of(attributes)
    if redrive is None:
        return warned(
            "no redrive policy: a message that cannot be read comes again until it is too old",
            "Give the queue a dead-letter queue; lambda/queue-template.yaml shows how.",
        )
    queue = redrive.target_arn.rpartition(":")[2]
    text = f"dead-letter queue {queue!r} after {redrive.tries} receives"
    if redrive.tries < FEW_TRIES:
        return warned(text, "Raise maxReceiveCount to 5: a restart costs a receive, too.")
    return passed(text)


def judge_backlog(attributes: Attributes) -> Finding:
    """How much waits in the queue."""
    waiting = number(attributes, "ApproximateNumberOfMessages")
    hidden = number(attributes, "ApproximateNumberOfMessagesNotVisible") or 0
    if waiting is None:
        return skipped("the queue does not tell how many messages it has")
    text = f"{waiting:,} messages wait, {hidden:,} are being taken"
    if waiting > LARGE_BACKLOG:
        return warned(text, "See that the service runs, and that it reads this queue.")
    return passed(text)


def judge_dead_letters(attributes: Attributes) -> Finding:
    """How many messages were given up."""
    count = number(attributes, "ApproximateNumberOfMessages")
    if count is None:
        return skipped("the dead-letter queue does not tell how many messages it has")
    if count:
        return warned(
            f"{count:,} messages were given up",
            "Look at them and redrive them; what they told of comes with the next comparison.",
        )
    return passed("the dead-letter queue is empty")
