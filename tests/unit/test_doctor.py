"""What the doctor makes of what it is told: notifications, clocks, regions, questions that hang."""

import threading
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from datasync.config.settings import Settings
from datasync.doctor import cloud, examination, place
from datasync.doctor.coverage import judge
from datasync.doctor.examination import Check, examine
from datasync.doctor.lines import Level, Line, failed, passed
from datasync.errors import AccessDenied

EVENTS = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]
FUNCTION = "arn:aws:lambda:eu-central-1:123456789012:function:forwarder"
QUEUE = "arn:aws:sqs:eu-central-1:123456789012:events"
QUEUE_URL = "https://sqs.eu-central-1.amazonaws.com/123456789012/events"
TOPIC = "arn:aws:sns:eu-central-1:123456789012:events"


def to_function(events: list[str], **rules: str) -> dict[str, Any]:
    named = [{"Name": name, "Value": value} for name, value in rules.items()]
    entry = {"LambdaFunctionArn": FUNCTION, "Events": events}
    return {**entry, **({"Filter": {"Key": {"FilterRules": named}}} if named else {})}


def told(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"LambdaFunctionConfigurations": list(entries)}


@pytest.mark.parametrize(
    ("configuration", "prefix", "level", "words"),
    [
        ({}, "", Level.WARN, "tells nobody"),
        (told(to_function(EVENTS)), "", Level.PASS, "ObjectRestore"),
        (told(to_function([*EVENTS, "s3:ObjectRestore:*"])), "", Level.PASS, "LifecycleExpiration"),
        (told(to_function(["s3:ObjectCreated:*"])), "", Level.WARN, "s3:ObjectRemoved:* is not"),
        (told(to_function(["s3:ObjectCreated:Put", EVENTS[1]])), "", Level.WARN, "ObjectCreated:*"),
        (told(*(to_function([event]) for event in EVENTS)), "", Level.PASS, FUNCTION),
        (told(to_function(EVENTS, Prefix="a/")), "a/b/", Level.PASS, FUNCTION),
        (told(to_function(EVENTS, prefix="a/")), "", Level.WARN, "below S3_PREFIX"),
        (told(to_function(EVENTS, suffix=".csv")), "", Level.WARN, "below S3_PREFIX"),
        ({"EventBridgeConfiguration": {}}, "", Level.PASS, "EventBridge"),
    ],
)
def test_notifications_are_judged(
    configuration: dict[str, Any], prefix: str, level: Level, words: str
) -> None:
    line = judge(configuration, prefix, None, ())
    assert line.level is level and words in line.found
    assert bool(line.advice) == (level is Level.WARN)


@pytest.mark.parametrize(
    ("kind", "arn", "url", "topics", "level"),
    [
        ("Queue", QUEUE, QUEUE_URL, (), Level.PASS),
        ("Queue", QUEUE, None, (), Level.WARN),
        ("Queue", QUEUE, QUEUE_URL + "2", (), Level.WARN),
        ("Topic", TOPIC, None, (TOPIC,), Level.PASS),
        ("Topic", TOPIC, QUEUE_URL, (), Level.PASS),
        ("Topic", TOPIC, None, (), Level.WARN),
    ],
)
def test_a_queue_and_a_topic_are_ours_when_a_setting_names_them(
    kind: str, arn: str, url: str | None, topics: tuple[str, ...], level: Level
) -> None:
    configuration = {f"{kind}Configurations": [{f"{kind}Arn": arn, "Events": EVENTS}]}
    line = judge(configuration, "", url, topics)
    assert line.level is level and arn in line.found


@pytest.mark.parametrize(
    ("ahead", "level"),
    [(0, Level.PASS), (-59, Level.PASS), (61, Level.WARN), (-300, Level.WARN), (901, Level.FAIL)],
)
def test_clocks_are_compared(ahead: int, level: Level) -> None:
    assert (
        cloud.clock({"date": formatdate(1_000_000, usegmt=True)}, 1_000_000.0 + ahead).level
        is level
    )


@pytest.mark.parametrize("date", ["", "yesterday"])
def test_a_server_without_a_clock_is_skipped(date: str) -> None:
    assert cloud.clock({"date": date}, 0.0).level is Level.SKIP


def test_the_region_is_compared() -> None:
    fields = {"x-amz-bucket-region": "eu-central-1"}
    assert cloud.region(fields, "eu-central-1").level is Level.PASS
    other = cloud.region(fields, "us-east-1")
    assert other.level is Level.FAIL and "AWS_REGION=eu-central-1" in other.advice
    assert cloud.region({}, "us-east-1").level is Level.SKIP


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(s3_bucket_name="bkt", local_download_dir=tmp_path / "mirror")


@pytest.mark.parametrize(
    ("changes", "level"),
    [
        ({}, Level.WARN),
        ({"api_host": "127.0.0.1"}, Level.PASS),
        ({"api_keys": ("k",)}, Level.PASS),
        ({"notification_secret": "s"}, Level.PASS),
        ({"sqs_queue_url": QUEUE_URL}, Level.PASS),
    ],
)
def test_who_is_let_in_is_told(settings: Settings, changes: dict[str, Any], level: Level) -> None:
    assert place.access(settings.model_copy(update=changes)).level is level


class TestThePlace:
    def test_a_good_one(self, settings: Settings) -> None:
        for check in (place.directory, place.space, place.file_system, place.ledger):
            assert check(settings).level is Level.PASS, check
        assert place.engine(settings).level is Level.WARN
        assert list(settings.root.glob(".datasync/doctor-*")) == []

    def test_a_full_disk(self, settings: Settings) -> None:
        place.directory(settings)
        full = settings.model_copy(update={"min_free_disk_percent": 100.0})
        assert place.space(full).level is Level.FAIL

    def test_a_file_system_that_cannot_do_all(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(_: Path) -> None:
            raise OSError(22, "Invalid argument")

        place.directory(settings)
        monkeypatch.setitem(place._NEEDS, "fsync", refuse)
        line = place.file_system(settings)
        assert line.level is Level.FAIL and "fsync (Invalid argument)" in line.found

    def test_a_port_of_somebody_else(self, settings: Settings) -> None:
        nobody = settings.model_copy(update={"api_port": 1})
        assert place.service(nobody).level is Level.WARN


class TestTheOrder:
    """Questions of the test's own, asked in the real order."""

    @pytest.fixture
    def gate(self) -> Iterator[threading.Event]:
        gate = threading.Event()
        yield gate
        gate.set()

    def test_what_needs_something_that_failed_is_skipped(self, settings: Settings) -> None:
        checks = (
            Check("a", lambda _: failed("a", "broken", "mend it")),
            Check("b", lambda _: passed("b", "never asked"), ("a",)),
            Check("c", lambda _: [passed("c", "1"), passed("d", "2")]),
        )
        lines = list(examine(settings, checks=checks))
        assert [(line.name, line.level.value) for line in lines] == [
            ("a", "fail"),
            ("b", "skip"),
            ("c", "pass"),
            ("d", "pass"),
        ]
        assert "a is not well" in lines[1].found

    def test_an_error_is_a_line_with_its_hint(self, settings: Settings) -> None:
        def refuse(_: Settings) -> Line:
            raise AccessDenied("403")

        def stumble(_: Settings) -> Line:
            raise ZeroDivisionError("oh")

        known, mistake = examine(settings, checks=(Check("a", refuse), Check("b", stumble)))
        assert (known.level, known.found, bool(known.advice)) == (Level.FAIL, "403", True)
        assert mistake.level is Level.FAIL and "ZeroDivisionError" in mistake.found

    def test_a_question_that_hangs_hides_no_other(
        self, settings: Settings, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def hang(_: Settings) -> Line:
            gate.wait(30)
            return passed("a", "late")

        monkeypatch.setattr(examination, "CHECK_SECONDS", 0.05)
        lines = list(
            examine(settings, checks=(Check("a", hang), Check("b", lambda _: passed("b", ""))))
        )
        assert [line.level for line in lines] == [Level.FAIL, Level.PASS]
        assert "no answer" in lines[0].found

    def test_no_canary_flies_where_it_cannot_arrive(self, settings: Settings) -> None:
        checks = (Check("bucket", lambda _: failed("bucket", "gone", "make it")),)
        *_, last = examine(settings, 1.0, checks)
        assert (last.name, last.level) == ("canary arrives", Level.SKIP)
