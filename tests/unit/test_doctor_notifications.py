"""How the doctor judges a bucket's notifications: do all come here, as far as one can tell?"""

from dataclasses import replace
from typing import Any

import pytest

from datasync.doctor.findings import Level, passed
from datasync.doctor.notification_rules import NEEDED, Us, judge_notifications

FUNCTION = "arn:aws:lambda:eu-west-1:123456789012:function:forwarder"
QUEUE = "arn:aws:sqs:eu-west-1:123456789012:events"
TOPIC = "arn:aws:sns:eu-west-1:123456789012:changes"
ALL = list(NEEDED)
OURS = Us(queue_arn=QUEUE)


def function(*events: str, **filters: str) -> dict[str, Any]:
    return {
        "LambdaFunctionConfigurations": [target("LambdaFunctionArn", FUNCTION, events, filters)]
    }


def target(
    field: str, arn: str, events: tuple[str, ...], filters: dict[str, str]
) -> dict[str, Any]:
    rules = [{"Name": name.title(), "Value": value} for name, value in filters.items()]
    found: dict[str, Any] = {field: arn, "Events": list(events)}
    return found | ({"Filter": {"Key": {"FilterRules": rules}}} if rules else {})


def test_a_bucket_that_sends_nothing() -> None:
    assert judge_notifications({}, Us()).found == "the bucket sends no events"
    assert judge_notifications({}, Us()).level is Level.WARN


def queue(*events: str, **filters: str) -> dict[str, Any]:
    return {"QueueConfigurations": [target("QueueArn", QUEUE, events, filters)]}


@pytest.mark.parametrize(
    "given, name",
    [(function(*ALL), "Lambda function forwarder"), ({"EventBridgeConfiguration": {}}, "EventB")],
)
def test_what_may_be_somebody_elses_is_a_warning(given: dict[str, Any], name: str) -> None:
    """Whose function it is, and whether EventBridge has a rule for us, only a canary tells."""
    finding = judge_notifications(given, Us(prefix="in/"))
    assert finding.level is Level.WARN
    assert finding.found.startswith(f"events go to {name}")
    assert finding.found.endswith("the bucket does not tell")
    assert "--canary" in finding.advice


@pytest.mark.parametrize(
    "prefix, is_aws, level",
    [
        ("data/year%3D2026/", True, Level.PASS),
        ("data/year=2026/", True, Level.WARN),
        ("data/year=2026/", False, Level.PASS),
        ("data/", True, Level.PASS),
    ],
)
def test_aws_compares_a_filter_percent_encoded(prefix: str, is_aws: bool, level: Level) -> None:
    us = Us("data/year=2026/", QUEUE, is_aws=is_aws)
    finding = judge_notifications(queue(*ALL, prefix=prefix), us)
    assert finding.level is level
    assert ("which S3 wants percent-encoded" in finding.found) == (level is Level.WARN)


def test_our_queue_alone_must_have_every_kind() -> None:
    assert judge_notifications(queue(*ALL), OURS).level is Level.PASS
    finding = judge_notifications(queue(ALL[0]), OURS)
    assert finding.level is Level.WARN
    assert finding.found.startswith("events go to queue events, but not s3:ObjectRemoved:*")


@pytest.mark.parametrize(
    "others, helping",
    [
        (function(*ALL[1:]), "Lambda function forwarder"),
        ({"EventBridgeConfiguration": {}}, "EventBridge"),
        (function(ALL[0]), None),
        (function(ALL[0], prefix="in/"), None),
    ],
)
def test_the_function_of_others_does_not_fill_the_gaps_of_our_queue(
    others: dict[str, Any], helping: str | None
) -> None:
    finding = judge_notifications(queue(ALL[0]) | others, OURS)
    assert finding.level is Level.WARN
    missed = "but not s3:ObjectRemoved:*, s3:ObjectRestore:Completed, s3:LifecycleExpiration:*"
    assert finding.found == f"events go to queue events, {missed}" + (
        f" (unless {helping} leads here)" if helping else ""
    )


def test_what_others_get_beside_our_whole_queue_does_not_matter() -> None:
    finding = judge_notifications(queue(*ALL) | function(ALL[0], suffix=".jpg"), OURS)
    assert finding == passed("events of every kind go to queue events")


@pytest.mark.parametrize(
    "arn, us, level",
    [
        (QUEUE, Us(queue_arn=QUEUE), "pass"),
        (QUEUE, Us(queue_arn=f"{QUEUE}-other"), "warn"),
        (QUEUE, Us(), "warn"),
        ("arn:minio:sqs::1:kafka", Us(), "warn"),
    ],
)
def test_a_queue_must_be_ours(arn: str, us: Us, level: str) -> None:
    finding = judge_notifications(
        {"QueueConfigurations": [target("QueueArn", arn, (*ALL,), {})]}, us
    )
    assert finding.level == level
    assert ("elsewhere only" in finding.found) == (level == "warn")


def test_a_webhook_of_minio_may_lead_here() -> None:
    arn = "arn:minio:sqs::DATASYNC:webhook"
    given = {"QueueConfigurations": [target("QueueArn", arn, (*ALL,), {})]}
    assert "does not tell" in judge_notifications(given, Us()).found


@pytest.mark.parametrize(
    "us, level, words",
    [
        (Us(topic_arns=(TOPIC,)), "pass", "of every kind"),
        (Us(topic_arns=(f"{TOPIC}-2",)), "warn", "elsewhere only"),
        (Us(queue_arn=QUEUE), "warn", "does not tell"),  # the queue may be its subscriber
        (Us(), "warn", "elsewhere only"),
    ],
)
def test_a_topic_must_be_one_of_ours_or_may_lead_to_our_queue(
    us: Us, level: str, words: str
) -> None:
    given = {"TopicConfigurations": [target("TopicArn", TOPIC, (*ALL,), {})]}
    finding = judge_notifications(given, us)
    assert finding.level == level
    assert words in finding.found


@pytest.mark.parametrize(
    "events, missing",
    [
        (ALL[:1], "not s3:ObjectRemoved:*, s3:ObjectRestore:Completed, s3:LifecycleExpiration:*"),
        (ALL[:2], "not s3:ObjectRestore:Completed, s3:LifecycleExpiration:*"),
        (
            ["s3:ObjectCreated:Put", *ALL[1:]],
            "not s3:ObjectCreated:Post, s3:ObjectCreated:Copy, "
            "s3:ObjectCreated:CompleteMultipartUpload",
        ),
        (
            [ALL[0], "s3:ObjectRemoved:Delete", *ALL[2:]],
            "not s3:ObjectRemoved:DeleteMarkerCreated",
        ),
        ([*ALL[:2], "s3:ObjectRestore:*", ALL[3]], None),
        (["s3:*"], None),
    ],
)
def test_kinds_of_events_that_are_missing(events: list[str], missing: str | None) -> None:
    finding = judge_notifications(queue(*events), OURS)
    assert finding.level is (Level.PASS if missing is None else Level.WARN)
    assert missing is None or finding.found.endswith(missing)
    theirs = judge_notifications(function(*events), Us()).found
    assert theirs.endswith(missing or "does not tell")


def test_two_targets_of_ours_together_may_have_everything() -> None:
    both = queue(*ALL[1:]) | {
        "TopicConfigurations": [target("TopicArn", TOPIC, (ALL[0],), {})],
    }
    us = replace(OURS, topic_arns=(TOPIC,))
    assert judge_notifications(both, us).level is Level.PASS
    assert judge_notifications(both, OURS).level is Level.WARN


@pytest.mark.parametrize(
    "mirrored, filters, words",
    [
        ("", {"prefix": "in/"}, "not of every key"),
        ("in/", {"prefix": "in/"}, None),
        ("in/2026/", {"prefix": "in/"}, None),
        ("in/", {"prefix": "in/2026/"}, "not of every key"),
        ("in/", {"prefix": "out/"}, "not s3:ObjectCreated:*"),
        ("", {"suffix": ".csv"}, "not of every key"),
        ("in/", {"prefix": "in/", "suffix": ".csv"}, "takes only 'in/'...'.csv'"),
        ("a b/", {"prefix": "a+b/"}, None),
        ("ü/", {"prefix": "%C3%BC/"}, None),
        ("", {"prefix": ""}, None),
    ],
)
def test_filters_that_miss_a_part_of_what_is_mirrored(
    mirrored: str, filters: dict[str, str], words: str | None
) -> None:
    us = replace(OURS, prefix=mirrored)
    finding = judge_notifications(queue(*ALL, **filters), us)
    assert finding.level is (Level.PASS if words is None else Level.WARN)
    assert words is None or words in finding.found


def test_a_filtered_target_beside_one_that_takes_all_does_no_harm() -> None:
    given = queue(*ALL)
    given["QueueConfigurations"] += queue(*ALL, suffix=".csv")["QueueConfigurations"]
    assert judge_notifications(given, OURS).level is Level.PASS
