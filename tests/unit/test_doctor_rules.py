"""How the doctor judges what it was answered: each rule on plain values."""

import json
from dataclasses import replace
from typing import Any

import pytest

from datasync.doctor import bucket_rules, disk_rules, queue_rules
from datasync.doctor.findings import Finding, Level, Line, failed, masked, passed, skipped, warned
from datasync.doctor.findings import worst
from datasync.errors import AccessDenied, CredentialsRejected, DataSyncError, NetworkFailure
from datasync.models.sync_models import ListedObject, ObjectHead

QUEUE = "arn:aws:sqs:eu-west-1:123456789012:events"


# -- findings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "findings, level",
    [
        ([], Level.PASS),
        ([passed("a"), skipped("b")], Level.PASS),
        ([passed("a"), warned("b", "c")], Level.WARN),
        ([failed("a", "b"), warned("b", "c"), passed("d")], Level.FAIL),
    ],
)
def test_the_worst_finding_counts(findings: list[Finding], level: Level) -> None:
    assert worst([Line("x", finding) for finding in findings]) is level


def test_secrets_are_masked_wherever_they_stand_and_ordinary_words_are_not() -> None:
    line = Line("x", failed("the key wJalrXUtnFEMI is bad", "not wJalrXUtnFEMI, a test"), 1.5)
    shown = masked(line, ["wJalrXUtnFEMI", "test", ""])
    assert shown == Line("x", failed("the key [redacted] is bad", "not [redacted], a test"), 1.5)


# -- the bucket ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "off, level",
    [(0, "pass"), (-60, "pass"), (61, "warn"), (-900, "warn"), (901, "fail"), (-90_000, "fail")],
)
def test_the_clock(off: float, level: str) -> None:
    finding = bucket_rules.judge_clock(1_000_000.0, 1_000_000.0 + off)
    assert finding.level == level
    assert ("ahead of" in finding.found) == (off > 60)
    assert ("behind" in finding.found) == (off < -60)


def test_a_server_without_a_date_tells_nothing_of_the_clock() -> None:
    assert bucket_rules.judge_clock(None, 1.0).level is Level.SKIP


@pytest.mark.parametrize(
    "constraint, region",
    [(None, "us-east-1"), ("", "us-east-1"), ("EU", "eu-west-1"), ("eu-west-3", "eu-west-3")],
)
def test_the_region_of_a_location(constraint: str | None, region: str) -> None:
    assert bucket_rules.region_of_location(constraint) == region


def test_another_region_is_a_failure_unless_the_server_does_not_mind() -> None:
    assert bucket_rules.judge_region("eu-west-1", "eu-west-1", can_list=False).level == "pass"
    assert bucket_rules.judge_region("us-east-1", "eu-west-1", can_list=True).level == "warn"
    refused = bucket_rules.judge_region("us-east-1", "eu-west-1", can_list=False)
    assert refused == failed(
        "the bucket is in eu-west-1, AWS_REGION is us-east-1", "Set AWS_REGION=eu-west-1."
    )


def listed(key: str, size: int = 1, **more: Any) -> ListedObject:
    return ListedObject(key, size, "etag", 0, **more)


@pytest.mark.parametrize(
    "objects, chosen",
    [
        ((), None),
        ((listed("bad", problem="too long"), listed("cold", storage_class="GLACIER")), None),
        ((listed("cold", storage_class="DEEP_ARCHIVE", restored=True),), "cold"),
        ((listed("empty", 0), listed("large", 9), listed("small", 2)), "small"),
        ((listed("empty", 0),), "empty"),
    ],
)
def test_the_object_to_try(objects: tuple[ListedObject, ...], chosen: str | None) -> None:
    sample = bucket_rules.pick_sample(objects)
    assert (sample.key if sample else None) == chosen


@pytest.mark.parametrize(
    "error, encryption, wanted",
    [
        (AccessDenied("403"), "", "Grant s3:GetObject"),
        (AccessDenied("403"), "AES256", "Grant s3:GetObject"),
        (AccessDenied("403"), "aws:kms", "Grant kms:Decrypt on arn:key"),
        (AccessDenied("403"), "aws:kms:dsse", "Grant kms:Decrypt on arn:key"),
        (AccessDenied("not authorized to perform: kms:Decrypt"), "", "Grant kms:Decrypt"),
        (CredentialsRejected("403 ExpiredToken"), "aws:kms", CredentialsRejected.hint),
        (NetworkFailure("reset"), "aws:kms", NetworkFailure.hint),
    ],
)
def test_a_refused_read_names_the_permission_that_is_missing(
    error: DataSyncError, encryption: str, wanted: str
) -> None:
    finding = bucket_rules.judge_refused_read(error, encryption, "arn:key")
    assert finding.level is Level.FAIL
    assert finding.advice.startswith(wanted)


MD5 = "0" * 32
HEAD = ObjectHead(200, MD5, 1, 1)


@pytest.mark.parametrize(
    "head, level, words",
    [
        (HEAD, "pass", "by md5; stored checksums: none"),
        (replace(HEAD, checksums={"crc32": "jNwWgw=="}), "pass", "stored checksums: crc32"),
        (replace(HEAD, encryption="aws:kms"), "warn", "encryption: aws:kms"),
        (replace(HEAD, etag="opaque"), "warn", "only its length"),
        (replace(HEAD, encryption="aws:kms", checksums={"crc32": "jNwWgw=="}), "pass", "by crc32"),
        (replace(HEAD, etag=f"{MD5}-3"), "pass", "by multipart-md5"),
    ],
)
def test_what_downloads_can_be_verified_by(head: ObjectHead, level: str, words: str) -> None:
    head = replace(head, checksum_type="FULL_OBJECT" if head.checksums else "")
    finding = bucket_rules.judge_proof(head, verify=True)
    assert finding.level == level
    assert words in finding.found


def test_verification_that_is_switched_off_is_a_warning() -> None:
    assert bucket_rules.judge_proof(HEAD, verify=False).level is Level.WARN


# -- the queue -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url, arn",
    [
        ("https://sqs.eu-west-1.amazonaws.com/123456789012/events", QUEUE),
        (
            "https://sqs.cn-north-1.amazonaws.com.cn/123456789012/events",
            "arn:aws-cn:sqs:eu-west-1:123456789012:events",
        ),
        ("http://127.0.0.1:4566/000000000000/q", "arn:aws:sqs:eu-west-1:000000000000:q"),
    ],
)
def test_the_arn_behind_a_url(url: str, arn: str) -> None:
    assert queue_rules.arn_of(url, "eu-west-1") == arn


@pytest.mark.parametrize(
    "attributes, name, level",
    [
        ({"MessageRetentionPeriod": "345600"}, "events", "pass"),
        ({}, "events", "pass"),
        ({"MessageRetentionPeriod": "60"}, "events", "warn"),
        ({"FifoQueue": "true"}, "events", "fail"),
        ({}, "events.fifo", "fail"),
    ],
)
def test_the_kind_of_queue(attributes: dict[str, str], name: str, level: str) -> None:
    assert queue_rules.judge_queue(attributes, name).level == level


@pytest.mark.parametrize(
    "seconds, level",
    [
        (None, "skip"),
        ("0", "warn"),
        ("9", "warn"),
        ("30", "pass"),
        ("900", "pass"),
        ("43200", "warn"),
    ],
)
def test_the_visibility_timeout(seconds: str | None, level: str) -> None:
    attributes = {} if seconds is None else {"VisibilityTimeout": seconds}
    assert queue_rules.judge_visibility(attributes).level == level


@pytest.mark.parametrize(
    "policy, level",
    [
        (None, "warn"),
        ("", "warn"),
        ("{", "warn"),
        ('{"maxReceiveCount": 5}', "warn"),
        (json.dumps({"deadLetterTargetArn": f"{QUEUE}-dead", "maxReceiveCount": "5"}), "pass"),
        (json.dumps({"deadLetterTargetArn": f"{QUEUE}-dead", "maxReceiveCount": 1}), "warn"),
    ],
)
def test_the_redrive_policy(policy: str | None, level: str) -> None:
    attributes = {} if policy is None else {"RedrivePolicy": policy}
    assert queue_rules.judge_redrive(attributes).level == level


@pytest.mark.parametrize(
    "waiting, backlog, dead",
    [
        (None, "skip", "skip"),
        ("0", "pass", "pass"),
        ("3", "pass", "warn"),
        ("1001", "warn", "warn"),
    ],
)
def test_what_waits_in_a_queue(waiting: str | None, backlog: str, dead: str) -> None:
    attributes = {} if waiting is None else {"ApproximateNumberOfMessages": waiting}
    assert queue_rules.judge_backlog(attributes).level == backlog
    assert queue_rules.judge_dead_letters(attributes).level == dead


# -- the disk ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "free, minimum, level",
    [(50, 1, "pass"), (3, 1, "warn"), (15, 10, "warn"), (0.5, 1, "fail"), (0, 0, "warn")],
)
def test_the_space(free: float, minimum: float, level: str) -> None:
    space = disk_rules.Space(100 * 2**30, int(free * 2**30), 0, 0)
    assert disk_rules.judge_space(space, minimum).level == level


@pytest.mark.parametrize(
    "total, free, level", [(0, 0, "pass"), (100, 50, "pass"), (100, 4, "warn"), (100, 0, "fail")]
)
def test_the_inodes(total: int, free: int, level: str) -> None:
    assert disk_rules.judge_inodes(disk_rules.Space(1, 1, total, free)).level == level


def test_a_file_system_that_does_not_count() -> None:
    assert disk_rules.judge_space(disk_rules.Space(0, 0, 0, 0), 1).level is Level.PASS


@pytest.mark.parametrize(
    "kept, words, level",
    [
        (1_000_000_001_123_456_789, "nanosecond", "pass"),
        (1_000_000_001_123_456_000, "microsecond", "pass"),
        (1_000_000_001_000_000_000, "to the second", "pass"),
        (1_000_000_000_000_000_000, "unnoticed", "warn"),
        (1_000_000_002_000_000_000, "unnoticed", "warn"),
    ],
)
def test_the_precision_of_times(kept: int, words: str, level: str) -> None:
    finding = disk_rules.judge_times(1_000_000_001_123_456_789, kept)
    assert finding.level == level
    assert words in finding.found
