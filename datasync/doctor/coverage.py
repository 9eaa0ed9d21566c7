"""Judges a bucket's notifications: does anything point at us, and does it tell enough? Pure.

Source: S3 API reference, GetBucketNotificationConfiguration.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from datasync.doctor.lines import Line, passed, warned

NAME = "bucket notifications"
# What a mirror has to hear of. The last two are rare, and a reconciliation finds them as well.
WANTED = ("s3:ObjectCreated:*", "s3:ObjectRemoved:*")
USEFUL = ("s3:ObjectRestore:Completed", "s3:LifecycleExpiration:*")
_GUIDE = "lambda/README.md shows how to set them up."
_TARGETS = {
    "LambdaFunctionConfigurations": "LambdaFunctionArn",
    "QueueConfigurations": "QueueArn",
    "TopicConfigurations": "TopicArn",
}


def judge(
    configuration: Mapping[str, Any], prefix: str, queue_url: str | None, topics: Sequence[str]
) -> Line:
    """One line about a notification configuration, as S3 gives it.

    A function cannot be followed to us from here, so any one may be ours; a queue and a topic
    are ours when the settings name them.
    """
    if "EventBridgeConfiguration" in configuration:
        return passed(NAME, "EventBridge is told of every change; its rule decides what we hear")
    every = [
        (entry, entry.get(member, ""))
        for kind, member in _TARGETS.items()
        for entry in configuration.get(kind, ())
    ]
    if not every:
        return warned(NAME, "the bucket tells nobody of changes", _GUIDE)
    ours = [(entry, arn) for entry, arn in every if _may_be_ours(arn, queue_url, topics)]
    if not ours:
        targets = ", ".join(sorted({arn for _, arn in every}))
        return warned(
            NAME,
            f"they go to {targets}, and no setting names it",
            "Set SQS_QUEUE_URL or SNS_TOPIC_ARNS to it, or add a notification that comes here.",
        )
    return _judge_ours(ours, prefix)


def _judge_ours(ours: Sequence[tuple[Mapping[str, Any], str]], prefix: str) -> Line:
    heard = [entry for entry, _ in ours if _covers(_filter(entry), prefix)]
    told = {event for entry in heard for event in entry.get("Events", ())}
    missing = [event for event in WANTED if not _is_told(event, told)]
    if missing:
        narrow = "" if len(heard) == len(ours) else " for all keys below S3_PREFIX"
        return warned(NAME, f"{', '.join(missing)} is not told{narrow}", _GUIDE)
    targets = ", ".join(sorted({arn for _, arn in ours}))
    quiet = [event for event in USEFUL if not _is_told(event, told)]
    more = f"; not told, and found by the next reconciliation: {', '.join(quiet)}" if quiet else ""
    return passed(NAME, f"they go to {targets}{more}")


def _may_be_ours(arn: str, queue_url: str | None, topics: Sequence[str]) -> bool:
    service = arn.split(":")[2] if arn.count(":") >= 5 else ""
    if service == "lambda":
        return True
    if service == "sqs":
        name = (queue_url or "").rstrip("/").rpartition("/")[2]
        return bool(name) and arn.rpartition(":")[2] == name
    # A topic may also feed a queue of ours, or a function.
    return service == "sns" and (arn in topics or queue_url is not None)


def _filter(entry: Mapping[str, Any]) -> dict[str, str]:
    rules = entry.get("Filter", {}).get("Key", {}).get("FilterRules", ())
    return {rule["Name"].lower(): rule["Value"] for rule in rules}


def _covers(rules: Mapping[str, str], prefix: str) -> bool:
    return not rules.get("suffix") and prefix.startswith(rules.get("prefix", ""))


def _is_told(wanted: str, told: set[str]) -> bool:
    family = wanted.rpartition(":")[0]
    return wanted in told or f"{family}:*" in told
