"""What is running and how it is: /, /ping, health, stats, config, metrics, and the aliases."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from datasync import __version__
from datasync.errors import LedgerError, MirrorUnavailable, NetworkFailure
from datasync.services.storage.ledger import Ledger
from datasync.services.storage.mirror import Mirror
from tests.support import fail
from tests.support.fake_bucket import FakeBucket
from tests.support.service import BUCKET, Service, Starter
from tests.support.world import eventually

HEALTHY = "S3 Sync Service is running and all connections are active"


def test_the_root_names_the_service_and_every_route(service: Service) -> None:
    info = service.get("/")
    assert info["service"] == "DataSync"
    named = {(route["method"], route["path"]) for route in info["endpoints"]}
    assert {("GET", "/ping"), ("POST", "/sync/trigger"), ("GET", "/metrics")} <= named
    assert all(route["summary"] for route in info["endpoints"])


def test_ping_answers_pong(service: Service) -> None:
    assert service.get("/ping") == {"message": "pong"}
    assert service.api.head("/ping").status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/", "/ping", "/docs", "/openapi.json", "/docs-assets/favicon.png", "/metrics"]
    + ["/sync/health", "/sync/stats", "/sync/config", "/sync/files", "/sync/runs"]
    + ["/sync/failures", "/api/v1/health", "/nothing", "/sync/runs/7", "/sync/trigger"],
)
def test_head_is_answered_like_get_without_the_body(service: Service, path: str) -> None:
    service.get("/sync/health")  # probes are fresh now: both see the same
    full, head = service.api.get(path), service.api.head(path)
    assert (head.status_code, head.content) == (full.status_code, b"")
    changing = ("date", "x-request-id", "content-length")
    assert {k: v for k, v in head.headers.items() if k not in changing} == {
        k: v for k, v in full.headers.items() if k not in changing
    }
    assert int(head.headers["content-length"]) > 0
    eventually(lambda: '"method": "HEAD"' in service.log())
    status, _, body = service.get_raw(path, method="HEAD")
    assert (status, body) == (full.status_code, b"")


def test_head_needs_the_key_as_get_does(start_service: Starter) -> None:
    service = start_service(api_keys=("one",))
    assert service.api.head("/sync/health").status_code == 401
    answer = service.api.head("/sync/health", headers={"X-API-Key": "one"})
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("path", ["/sync/health", "/api/v1/health"])
def test_a_healthy_service_says_so(start_service: Starter, path: str) -> None:
    bucket = FakeBucket()
    bucket.put("a", b"a")
    service = start_service(bucket)
    service.sync()
    health = service.get(path)
    assert (health["status"], health["message"]) == ("healthy", HEALTHY)
    assert (health["s3_connection"], health["directory_writable"]) == (True, True)
    assert health["download_directory"] == str(service.root)
    assert (health["in_sync"], health["pending"], health["failed"]) == (True, 0, 0)
    assert (health["lag_seconds"], health["held_run"]) == (0.0, None)
    moment = datetime.fromisoformat(health["timestamp"])
    assert moment.tzinfo is not None
    assert abs((datetime.now(UTC) - moment).total_seconds()) < 60
    assert health["engine"] == "here"
    assert len(health) == 12


def test_before_the_first_run_nothing_is_proved(service: Service) -> None:
    health = service.get("/sync/health")
    assert (health["status"], health["in_sync"]) == ("healthy", False)


def test_a_bucket_out_of_reach_is_unhealthy_and_said_why(start_service: Starter) -> None:
    bucket = FakeBucket()
    bucket.script_check(fail.status(403, times=9))
    service = start_service(bucket)
    health = service.get("/sync/health", 503)
    assert (health["status"], health["s3_connection"]) == ("unhealthy", False)
    assert health["directory_writable"] is True
    assert "S3 is not reachable: scripted answer 403" in health["message"]


def test_a_bucket_that_hangs_does_not_hang_health(start_service: Starter) -> None:
    bucket, gate = FakeBucket(), threading.Event()
    bucket.script_check(fail.before(lambda: gate.wait(20), times=9))
    service = start_service(bucket)
    started = time.monotonic()
    try:
        answers = [service.api.get("/sync/health")]
        assert time.monotonic() - started < 3.0
        with ThreadPoolExecutor(12) as pool:
            answers += pool.map(lambda _: service.api.get("/sync/health"), range(12))
    finally:
        gate.set()
    assert {answer.status_code for answer in answers} == {503}
    for answer in answers:  # and what does answer is told
        assert answer.json()["message"] == "S3 is not reachable: no answer in time"
        assert answer.json()["directory_writable"] is True
    assert bucket.counts["check"] == 1  # shared by all who asked


def test_health_asks_the_bucket_once_in_a_while_only(service: Service) -> None:
    for _ in range(5):
        service.get("/sync/health")
    assert service.bucket.counts["check"] == 1


def test_a_directory_out_of_use_is_unhealthy(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(_: Mirror) -> None:
        raise MirrorUnavailable("the root is read-only")

    monkeypatch.setattr(Mirror, "check", unavailable)
    health = service.get("/sync/health", 503)
    assert (health["directory_writable"], health["s3_connection"]) == (False, True)
    assert "read-only" in health["message"]


def test_a_directory_that_was_taken_away_is_unhealthy(service: Service) -> None:
    service.root.rename(service.folder / "elsewhere")
    health = service.get("/sync/health", 503)
    assert health["directory_writable"] is False
    assert str(service.folder) not in health["message"]


def test_a_ledger_out_of_reach_is_unhealthy(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Ledger) -> Any:
        raise LedgerError("the database is gone")

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "totals", broken)
        health = service.get("/sync/health", 503)
        assert service.get("/sync/stats", 503)["error"] == "LedgerError"
    assert (health["status"], health["in_sync"]) == ("unhealthy", False)
    assert "the database is gone" in health["message"]


def test_work_that_cannot_be_recorded_makes_it_degraded_until_it_can(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise LedgerError("the database is read-only")

    service.bucket.put("a", b"a")
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "settle", broken)
        service.parts.service.mark([("a", "put")])
        eventually(lambda: service.get("/sync/health")["status"] == "degraded")
        message = service.get("/sync/health")["message"]
        assert "cannot be recorded" in message and "the database is read-only" in message
    eventually(lambda: service.get("/sync/health")["status"] == "healthy")
    assert service.parts.ledger.get("a") is not None


def test_failed_keys_make_it_degraded(start_service: Starter) -> None:
    bucket = FakeBucket()
    bucket.put("a", b"a")
    bucket.script("a", fail.status(403, times=99))
    service = start_service(bucket, retry_attempts=1)
    service.sync()
    health = service.get("/sync/health")
    assert (health["status"], health["failed"], health["in_sync"]) == ("degraded", 1, False)
    assert "1 key failed" in health["message"]


def test_a_pending_key_is_not_in_sync_and_lags(start_service: Starter) -> None:
    bucket, gate = FakeBucket(), threading.Event()
    bucket.put("a", b"a")
    service = start_service(bucket)
    assert service.sync()["in_sync"] is True
    bucket.put("a", b"b")
    bucket.script("a", fail.pause_until(gate))
    record = {
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": BUCKET}, "object": {"key": "a"}},
    }
    try:
        service.post("/sync/s3-notification", 202, json={"Records": [record]})
        eventually(lambda: service.get("/sync/health")["lag_seconds"] > 0.05)
        health = service.get("/sync/health")
        assert (health["in_sync"], health["pending"]) == (False, 1)
    finally:
        gate.set()
    eventually(lambda: service.get("/sync/health")["in_sync"])


@pytest.mark.parametrize("path", ["/sync/stats", "/api/v1/stats"])
def test_stats_have_every_figure(start_service: Starter, path: str) -> None:
    bucket = FakeBucket()
    bucket.put("a", b"aaa")
    service = start_service(bucket)
    run_id = service.sync()["run_id"]
    stats = service.get(path)
    assert set(stats) == {
        "objects",
        "bytes",
        "pending",
        "failed",
        "archived",
        "oversize",
        "rejected",
        "last_run",
        "events",
        "events_by_source",
        "events_by_type",
        "duplicates",
        "last_event",
        "oldest_pending_seconds",
        "lag_p50",
        "lag_p90",
        "lag_p99",
        "delays",
        "drift",
        "deleted_last_hour",
        "delete_flood",
    }
    assert (stats["objects"], stats["bytes"]) == (1, 3)
    assert stats["last_run"]["id"] == run_id
    assert (stats["events"], stats["lag_p50"]) == ({}, None)


@pytest.mark.parametrize("path", ["/sync/config", "/api/v1/config"])
def test_config_shows_settings_and_no_secret(start_service: Starter, path: str) -> None:
    service = start_service(
        aws_access_key_id="AKIAVISIBLE",
        aws_secret_access_key="wJalrVERYSECRET",
        api_keys=("first-secret-key",),
        database_url=None,
    )
    answer = service.api.get(path, headers={"X-API-Key": "first-secret-key"})
    shown = answer.json()
    assert shown["s3_bucket_name"] == BUCKET
    assert shown["api_port"] == 8888
    for secret in ("AKIAVISIBLE", "wJalr", "first-secret", "VISIBLE"):
        assert secret not in answer.text
    assert shown["aws_secret_access_key"] == "set"


def test_metrics_tell_what_the_ledger_says(start_service: Starter) -> None:
    bucket = FakeBucket()
    bucket.put("a", b"aaa")
    service = start_service(bucket)
    service.sync()
    answer = service.api.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert samples["datasync_in_sync",] == 1
    assert samples["datasync_doubt", "pending"] == 0
    assert (samples["datasync_files",], samples["datasync_files_bytes",]) == (1, 3)
    assert samples["datasync_objects", "synced"] == 1
    assert samples["datasync_objects", "failed"] == 0
    assert samples["datasync_events_total", "queued"] == 0
    assert samples["datasync_last_run", "success"] == 1
    assert samples["datasync_last_run_downloaded",] == 1
    assert samples["datasync_lag_seconds_count",] == 0
    assert samples["datasync_outcomes_total", "download", "success"] == 1
    assert samples["datasync_transfer_seconds_count",] == 1
    assert samples["datasync_transfer_bytes_sum",] == 3
    assert samples["datasync_transfer_bytes_bucket", "1024"] == 1
    assert 0 < samples["datasync_disk_free_bytes",] < samples["datasync_disk_size_bytes",]
    floor = samples["datasync_disk_size_bytes",] * service.settings.min_free_disk_percent / 100
    assert samples["datasync_disk_min_free_bytes",] == pytest.approx(floor, abs=1)
    assert samples["datasync_build_info", __version__] == 1


def test_metrics_tell_why_it_is_not_in_sync(start_service: Starter) -> None:
    bucket = FakeBucket()
    for number in range(20):
        bucket.put(f"k{number:02}", b"x")
    service = start_service(bucket)
    before = service.api.get("/metrics").text
    assert 'datasync_doubt{reason="no_run"} 1.0' in before
    assert "datasync_last_run" not in before
    service.sync()
    for number in range(20):
        bucket.delete(f"k{number:02}")
    service.sync()
    text = service.api.get("/metrics").text
    for line in (
        "datasync_in_sync 0.0",
        'datasync_doubt{reason="held"} 1.0',
        'datasync_doubt{reason="no_run"} 0.0',
        "datasync_held_run 1.0",
        "datasync_held_run_deletes 20.0",
        'datasync_last_run{status="held"} 1.0',
    ):
        assert line in text.splitlines()


def test_events_are_counted_and_their_way_is_measured(service: Service) -> None:
    service.bucket.put("a", b"aaa")
    happened = datetime.fromtimestamp(time.time() - 5.0, UTC).isoformat().replace("+00:00", "Z")
    told: dict[str, Any] = {"eventName": "ObjectCreated:Put", "eventTime": happened}
    told["s3"] = {"bucket": {"name": BUCKET}, "object": {"key": "a"}}
    unknown = {**told, "eventName": "Made:Up" * 9}
    service.post("/sync/s3-notification?wait=20", json={"Records": [told, told, unknown]})
    eventually(lambda: service.get("/sync/stats")["delays"]["arrival_to_journal"]["p50"])
    stats = service.get("/sync/stats")
    assert stats["events"] == {"queued": 2, "ignored": 1}
    assert stats["events_by_source"] == {"http.s3": 3}
    assert stats["events_by_type"] == {"ObjectCreated:Put": 2, "unknown": 1}
    assert stats["duplicates"] == 1
    delays = stats["delays"]
    assert 4.0 < delays["change_to_arrival"]["p50"] < 60.0
    assert delays["change_to_file"]["p99"] > delays["arrival_to_file"]["p99"] > 0
    assert stats["lag_p90"] == pytest.approx(delays["arrival_to_file"]["p90"], abs=0.001)
    text = service.api.get("/metrics").text
    for line in (
        'datasync_events_by_source_total{source="http.s3"} 3.0',
        'datasync_events_by_type_total{type="unknown"} 1.0',
        "datasync_event_duplicates_total 1.0",
        "datasync_lag_seconds_count 1.0",
        "datasync_journal_seconds_count 1.0",
    ):
        assert line in text
    assert service.log().count("unknown event type") == 1


def test_one_line_a_request_with_its_id(service: Service) -> None:
    answer = service.api.get("/sync/runs/999", headers={"X-Request-ID": "my-own.id_1"})
    assert answer.headers["x-request-id"] == "my-own.id_1"
    for bad in ("x" * 65, "a b", "a;b", "ä", '"}'):
        answer = service.api.get("/ping", headers={b"X-Request-ID": bad.encode()})
        assert answer.headers["x-request-id"] != bad
        assert answer.headers["x-request-id"].isalnum()
    eventually(lambda: service.log().count('"logger": "datasync.access"') == 6)
    lines = service.log().splitlines()
    [line] = [line for line in lines if '"path": "/sync/runs/999"' in line]
    for part in ('"request_id": "my-own.id_1"', '"method": "GET"', '"status": 404', "duration_ms"):
        assert part in line
    assert not any("uvicorn.access" in line for line in lines)


def test_a_path_cannot_forge_a_log_line(service: Service) -> None:
    service.get_raw("/sync/download/x%0A%7B%22level%22%3A%22error%22%7D%1B%5B2J%E2%80%AE")
    eventually(lambda: "sync/download/x" in service.log())
    [line] = [line for line in service.log().splitlines() if "sync/download/x" in line]
    assert "\x1b" not in line and "\u202e" not in line
    assert '"level": "info"' in line


@pytest.mark.parametrize(
    "method, path, status, error",
    [
        ("GET", "/nothing", 404, "NotFound"),
        ("GET", "/sync/health/", 404, "NotFound"),
        ("GET", "/sync/trigger", 405, "MethodNotAllowed"),
        ("DELETE", "/sync/files", 405, "MethodNotAllowed"),
        ("GET", "/docs-assets/../server.py", 404, "NotFound"),
        ("GET", "/docs-assets/none.js", 404, "NotFound"),
        ("GET", "/sync/runs/x", 422, "UnprocessableRequest"),
        ("GET", "/sync/runs/99999999999999999999", 422, "UnprocessableRequest"),
        ("GET", "/sync/runs/7", 404, "RunMissing"),
    ],
)
def test_every_error_has_one_shape(
    service: Service, method: str, path: str, status: int, error: str
) -> None:
    code, _, body = service.get_raw(path, method=method)
    assert code == status
    answer = json.loads(body)
    assert set(answer) == {"error", "detail", "hint"}
    assert answer["error"] == error


def test_an_unexpected_error_tells_nothing_and_is_logged(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(_: Ledger) -> Any:
        raise RuntimeError("secret detail of /etc/passwd")

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "totals", explode)
        answer = service.api.get("/sync/stats")
    assert answer.status_code == 500
    assert answer.json()["error"] == "InternalError"
    assert "passwd" not in answer.text
    eventually(lambda: "secret detail" in service.log())
    assert service.log().count("Traceback") == 1


def test_every_answer_has_safe_headers(service: Service) -> None:
    for path in ("/ping", "/sync/stats", "/nothing", "/docs"):
        headers = service.api.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "server" not in headers


def test_the_engine_starts_although_the_bucket_is_down(start_service: Starter) -> None:
    bucket = FakeBucket()
    bucket.put("a", b"a")
    bucket.outage = NetworkFailure("no route")
    service = start_service(bucket, enable_periodic_sync=True, retry_attempts=1)
    assert service.get("/ping")["message"] == "pong"
    eventually(lambda: service.get("/sync/runs")["runs"])
    bucket.outage = None
    assert service.sync()["status"] in ("success", "failed")
    assert service.sync()["status"] == "success"
    assert Path(service.root / "a").read_bytes() == b"a"
