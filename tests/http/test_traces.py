"""One trace from the request to the commit: over HTTP, into a real collector on loopback."""

import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from datasync.errors import LedgerError
from tests.support import fail
from tests.support.collector import Collected, Collector
from tests.support.envelopes import records, s3_record
from tests.support.fake_bucket import FakeBucket
from tests.support.service import Service, Starter
from tests.support.world import eventually

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{CALLER}-01"
ROUTE = "POST /sync/s3-notification"


@pytest.fixture
def traced(
    start_service: Starter, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Service]:
    """A service that sends its spans at once; what it logs is JSON."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    bucket = FakeBucket()
    bucket.put("a.txt", b"hello")
    yield start_service(bucket, otel_exporter_otlp_endpoint=collector.endpoint)


def tell(service: Service, *keys: str, traceparent: str | None = TRACEPARENT) -> None:
    body = records(*map(s3_record, keys))
    headers = {"traceparent": traceparent} if traceparent else {}
    service.post("/sync/s3-notification?wait=20", json=body, headers=headers)


def one(collector: Collector, name: str, trace: str = TRACE) -> Collected:
    eventually(lambda: collector.trace(trace).get(name))
    (found,) = collector.trace(trace)[name]
    return found


def test_one_trace_shows_request_journal_transfer_and_commit(
    traced: Service, collector: Collector
) -> None:
    tell(traced, "a.txt")
    server, journal = one(collector, ROUTE), one(collector, "journal")
    transfer, commit = one(collector, "transfer"), one(collector, "commit")
    assert (server.parent, server.kind) == (CALLER, "server")
    assert journal.parent == transfer.parent == server.id
    assert commit.parent == transfer.id
    assert server.started <= journal.started <= journal.ended <= transfer.started + 0.01
    assert transfer.started <= transfer.ended <= commit.started + 1e-3 <= commit.ended + 1e-3
    assert {span.error for span in (server, journal, transfer, commit)} == {None}


def test_the_spans_say_what_was_done(traced: Service, collector: Collector) -> None:
    tell(traced, "a.txt")
    assert one(collector, ROUTE).attributes == {
        "http.request.method": "POST",
        "http.route": "/sync/s3-notification",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "url.path": "/sync/s3-notification",
        "network.protocol.version": "1.1",
        "server.address": "127.0.0.1",
        "server.port": traced.port,
        "client.address": "127.0.0.1",
        "user_agent.original": traced.api.headers["user-agent"],
    }
    assert one(collector, "journal").attributes == {"datasync.keys": 1, "datasync.group": 1}
    said = one(collector, "transfer").attributes
    assert said.pop("datasync.etag")
    assert said == {
        "aws.s3.bucket": "bkt",
        "aws.s3.key": "a.txt",
        "datasync.found": "staged",
        "datasync.bytes": 5,
        "datasync.verdict": "md5",
        "datasync.attempts": 1,
        "datasync.attempts_before": 0,
    }
    commit = one(collector, "commit")
    assert commit.events == ["files are in their places"]
    assert commit.attributes == {
        "aws.s3.key": "a.txt",
        "datasync.operation": "download",
        "datasync.outcome": "success",
        "datasync.group": 1,
    }


def test_who_sends_them_is_named(traced: Service, collector: Collector) -> None:
    tell(traced, "a.txt")
    resource = one(collector, "commit").resource
    assert resource["service.name"] == "datasync"
    assert resource["service.version"] and resource["process.pid"]


def test_without_a_caller_a_trace_begins_here(traced: Service, collector: Collector) -> None:
    tell(traced, "a.txt", traceparent=None)
    eventually(lambda: collector.spans("commit") and collector.spans(ROUTE))
    (server,) = collector.spans(ROUTE)
    assert server.parent == ""
    assert {span.trace for span in collector.spans()} == {server.trace}


@pytest.mark.parametrize("bad", ["", "00-0-0-01", "x" * 3000, f"00-{'0' * 32}-{CALLER}-01"])
def test_a_traceparent_that_is_none_is_no_parent(
    traced: Service, collector: Collector, bad: str
) -> None:
    tell(traced, "a.txt", traceparent=bad)
    eventually(lambda: collector.spans("commit") and collector.spans(ROUTE))
    (server,) = collector.spans(ROUTE)
    assert server.parent == ""


def test_what_the_caller_does_not_sample_is_not_sent(traced: Service, collector: Collector) -> None:
    tell(traced, "a.txt", traceparent=f"00-{TRACE}-{CALLER}-00")
    tell(traced, "b.txt", traceparent=f"00-{'7' * 32}-{CALLER}-01")
    one(collector, "commit", "7" * 32)
    assert collector.trace(TRACE) == {}


def test_each_key_of_a_notification_has_its_own_spans(
    traced: Service, collector: Collector
) -> None:
    traced.bucket.put("b.txt", b"more")
    tell(traced, "a.txt", "b.txt", "gone.txt")
    eventually(lambda: len(collector.trace(TRACE).get("commit", [])) == 3)
    spans = collector.trace(TRACE)
    found = {span.attributes["aws.s3.key"]: span for span in spans["transfer"]}
    assert found["gone.txt"].attributes["datasync.found"] == "missing"
    commits = {span.parent: span.attributes["aws.s3.key"] for span in spans["commit"]}
    assert commits == {span.id: key for key, span in found.items()}
    assert [span.attributes["datasync.keys"] for span in spans["journal"]] == [3]


def test_a_transfer_that_fails_says_why_and_the_next_try_is_in_the_same_trace(
    traced: Service, collector: Collector
) -> None:
    traced.bucket.script("a.txt", fail.status(403))
    tell(traced, "a.txt")
    failed, commit = one(collector, "transfer"), one(collector, "commit")
    assert failed.attributes["error.type"] == commit.attributes["error.type"] == "AccessDenied"
    assert failed.error and commit.error
    assert commit.attributes["datasync.outcome"] == "failed"
    traced.post("/sync/failures/retry", 202)
    eventually(lambda: (traced.root / "a.txt").exists())


def test_the_newest_event_of_a_key_has_its_transfer(
    start_service: Starter, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two marks of one key are one look, in the trace of the second."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    service = start_service(otel_exporter_otlp_endpoint=collector.endpoint)
    service.parts.service.stop()
    for trace in ("1" * 32, "2" * 32):
        body = records(s3_record("a.txt"))
        headers = {"traceparent": f"00-{trace}-{CALLER}-01"}
        service.post("/sync/s3-notification", 202, json=body, headers=headers)
    service.parts.service.start()
    one(collector, "transfer", "2" * 32)
    assert set(collector.trace("1" * 32)) == {ROUTE, "journal"}


def test_a_journal_that_fails_is_told(
    traced: Service, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise LedgerError("no ledger today")

    monkeypatch.setattr(traced.parts.ledger, "journal", refuse)
    body = records(s3_record("a.txt"))
    headers = {"traceparent": TRACEPARENT}
    answer = traced.api.post("/sync/s3-notification", json=body, headers=headers)
    assert one(collector, "journal").error == "no ledger today"
    server = one(collector, ROUTE)
    assert server.attributes["http.response.status_code"] == answer.status_code >= 500
    assert server.error == f"answered {answer.status_code}"


class TestRuns:
    def test_a_run_is_one_span_with_its_counts(self, traced: Service, collector: Collector) -> None:
        traced.bucket.put("b.txt", b"more")
        run = traced.sync()["run_id"]
        eventually(lambda: collector.spans("run"))
        (span,) = collector.spans("run")
        assert span.attributes["datasync.run.id"] == run
        assert span.attributes["datasync.run.status"] == "success"
        assert span.attributes["datasync.run.downloaded"] == 2
        assert span.attributes["datasync.run.bytes"] == 9
        assert collector.spans("transfer") == []  # a first run may have a million files

    def test_its_failed_keys_are_in_its_trace(self, traced: Service, collector: Collector) -> None:
        traced.bucket.script("a.txt", fail.status(403))
        traced.bucket.put("b.txt", b"fine")
        traced.sync()
        eventually(lambda: collector.spans("run"))
        (run,), (transfer,) = collector.spans("run"), collector.spans("transfer")
        assert (transfer.parent, transfer.trace) == (run.id, run.trace)
        assert transfer.attributes["aws.s3.key"] == "a.txt"
        assert transfer.attributes["datasync.run.id"] == run.attributes["datasync.run.id"]

    def test_there_are_not_too_many_of_them(self, traced: Service, collector: Collector) -> None:
        for number in range(150):
            traced.bucket.put(f"{number:03}", b"x")
            traced.bucket.script(f"{number:03}", fail.status(403))
        traced.sync()
        eventually(lambda: collector.spans("run"))
        assert len(collector.spans("transfer")) == 100
        assert collector.spans("run")[0].attributes["datasync.run.failed"] == 150


class TestWhatIsLeftOut:
    @pytest.mark.parametrize("path", ["/ping", "/health/live", "/health/ready", "/metrics"])
    def test_probes_are_no_traces_unless_they_ask_for_one(
        self, traced: Service, collector: Collector, path: str
    ) -> None:
        traced.api.get(path)
        traced.api.get(path, headers={"traceparent": TRACEPARENT})
        one(collector, f"GET {path}")
        assert len(collector.spans()) == 1

    def test_no_secret_is_in_a_span(
        self, start_service: Starter, collector: Collector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20hush-token")
        service = start_service(
            otel_exporter_otlp_endpoint=collector.endpoint,
            api_keys="ops:hush-hush-key:admin",
            aws_access_key_id="AKIAEXAMPLE",
            aws_secret_access_key="hush-hush-secret",
        )
        secret = {"X-API-Key": "hush-hush-key", "traceparent": TRACEPARENT, "Cookie": "a=hush"}
        service.bucket.put("a", b"x")
        service.bucket.script("a", fail.status(403))
        service.api.get("/sync/config", headers=secret)
        for path in ("/sync/files?token=hush-hush-key", "/sync/download/hush-hush-key?x=hush"):
            service.api.get(path, headers=secret)
        service.api.post("/sync/trigger", headers=secret)
        eventually(lambda: len(collector.trace(TRACE)) == 4)
        eventually(lambda: collector.spans("run"))
        assert not [body for body in collector.raw if b"hush" in body]
        assert {each["authorization"] for each in collector.requests} == {"Bearer hush-token"}
        assert "hush" not in service.log()
        assert "hush" not in service.api.get("/sync/config", headers=secret).text

    def test_a_path_that_is_no_text_keeps_no_span_from_being_sent(
        self, traced: Service, collector: Collector
    ) -> None:
        traced.get_raw("/sync/download/%ff%00%ed%a0%80", f"traceparent: {TRACEPARENT}")
        traced.get_raw("/ui", f"traceparent: {TRACEPARENT}", method="PROPFIND")
        eventually(lambda: len(collector.trace(TRACE)) == 2)
        assert "_OTHER" in {span.attributes["http.request.method"] for span in collector.spans()}


class TestTheLog:
    def test_lines_are_found_from_the_trace(self, traced: Service, collector: Collector) -> None:
        def ours() -> dict[str, dict[str, str]]:
            lines = [json.loads(line) for line in traced.log().splitlines()]
            return {line["event"]: line for line in lines if line.get("trace_id") == TRACE}

        tell(traced, "a.txt")
        eventually(lambda: set(ours()) == {"request", "outcome"})  # after the answer
        assert ours()["request"]["span_id"] == one(collector, ROUTE).id

    def test_a_collector_that_is_away_is_told_once_and_when_it_is_back(
        self, traced: Service, collector: Collector
    ) -> None:
        collector.answer = 400
        for times in (1, 2, 3):
            traced.get("/sync/health")
            eventually(partial(lambda least: len(collector.requests) >= least, times))
        collector.answer = 200
        eventually(lambda: traced.get("/sync/health") and "traces are sent again" in traced.log())
        lines = [json.loads(line) for line in traced.log().splitlines()]
        ours = [line for line in lines if line["logger"] == "datasync.telemetry"]
        assert [line["level"] for line in ours] == ["warning", "info"]
        assert "400" in ours[0]["reason"] and ours[0]["endpoint"].endswith("/v1/traces")
        assert not [line for line in lines if line["logger"].startswith("opentelemetry")]


def test_a_collector_that_is_away_holds_up_neither_work_nor_stop(
    start_service: Starter, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    away = collector.endpoint.replace("127.0.0.1", "127.0.0.2")  # nobody listens there
    service = start_service(otel_exporter_otlp_endpoint=away)
    service.bucket.put("a.txt", b"hello")
    tell(service, "a.txt")
    assert (service.root / "a.txt").read_bytes() == b"hello"
    eventually(lambda: "traces cannot be sent" in service.log())
    began = time.monotonic()
    service.stop()
    assert time.monotonic() - began < 10


def test_off_means_off(service: Service, collector: Collector) -> None:
    service.bucket.put("a.txt", b"hello")
    tell(service, "a.txt")
    assert "trace_id" not in service.log()
    assert not service.parts.tracer.on


def test_a_mark_keeps_no_trace_while_traces_are_off(service: Service, tmp_path: Path) -> None:
    service.parts.service.stop()
    body = records(s3_record("a.txt"))
    headers = {"traceparent": TRACEPARENT}
    service.post("/sync/s3-notification", 202, json=body, headers=headers)
    assert service.parts.ledger.dirty(["a.txt"])["a.txt"].traceparent is None
