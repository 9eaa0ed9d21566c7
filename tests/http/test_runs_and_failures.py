"""The routes of runs and of failures: paging, progress, approve, cancel, retry."""

import threading

import pytest

from datasync.models.sync_models import RunStatus
from tests.support import fail
from tests.support.fake_bucket import FakeBucket
from tests.support.service import Service, Starter
from tests.support.world import eventually


@pytest.fixture
def failing(start_service: Starter) -> Service:
    bucket = FakeBucket()
    for key in ("bad1", "bad2", "bad3", "good"):
        bucket.put(key, key.encode())
    for key in ("bad1", "bad2", "bad3"):
        bucket.script(key, fail.status(403, times=1000))
    service = start_service(bucket, retry_attempts=1)
    assert service.sync()["status"] == "partial"
    return service


def heal(bucket: FakeBucket) -> None:
    bucket._scripts.clear()


def test_runs_are_paged_newest_first(service: Service) -> None:
    ids = [service.sync()["run_id"] for _ in range(5)]
    first = service.get("/sync/runs?limit=2")
    assert [run["id"] for run in first["runs"]] == ids[:2:-1]
    second = service.get(f"/sync/runs?limit=2&before={first['next_before']}")
    third = service.get(f"/sync/runs?limit=2&before={second['next_before']}")
    assert [run["id"] for run in second["runs"] + third["runs"]] == ids[2::-1]
    assert third["next_before"] is None


def test_a_run_shows_its_counts_and_details(failing: Service) -> None:
    [run] = failing.get("/sync/runs")["runs"]
    assert (run["status"], run["kind"], run["prefix"]) == ("partial", "reconcile", "")
    assert (run["listed"], run["downloaded"], run["failed"]) == (4, 1, 3)
    assert run["finished"] >= run["started"] >= run["requested"]
    detail = failing.get(f"/sync/runs/{run['id']}")
    assert [entry["status"] for entry in detail["sync_details"]] == ["failed"] * 3 + ["success"]
    assert detail["planned_deletes"] == []


def test_a_running_run_shows_progress_and_can_be_cancelled(start_service: Starter) -> None:
    bucket, gate = FakeBucket(), threading.Event()
    for i in range(20):
        bucket.put(f"k{i:02}", b"x" * 100)
    bucket.script("k19", fail.pause_until(gate))
    service = start_service(bucket)
    try:
        run_id = service.post("/sync/trigger?background=true", 202)["run_id"]

        def nearly() -> bool:
            progress = service.get(f"/sync/runs/{run_id}")["progress"]
            return bool(progress["files_done"] == 19 and progress["files_planned"] == 20)

        eventually(nearly)
        shown = service.get(f"/sync/runs/{run_id}")
        assert shown["status"] == "running"
        assert shown["progress"]["percent"] == 95.0
        assert shown["progress"]["bytes_planned"] == 2000
        assert shown["progress"]["bytes_per_second"] > 0
        assert service.post(f"/sync/runs/{run_id}/cancel")["cancel_requested"] is True
    finally:
        gate.set()
    assert service.run_ended(run_id).status in (RunStatus.CANCELLED, RunStatus.SUCCESS)


def test_a_run_that_is_over_can_be_neither_approved_nor_cancelled(service: Service) -> None:
    run_id = service.sync()["run_id"]
    for verb in ("approve", "cancel"):
        assert service.post(f"/sync/runs/{run_id}/{verb}", 409)["error"] == "RunNotHeld"
        assert service.post(f"/sync/runs/9999/{verb}", 404)["error"] == "RunMissing"


def test_a_held_run_can_be_cancelled(start_service: Starter) -> None:
    bucket = FakeBucket()
    for i in range(20):
        bucket.put(f"k{i:02}", b"x")
    service = start_service(bucket)
    service.sync()
    bucket.objects.clear()
    bucket.put("other", b"x")
    held = service.sync()
    assert held["status"] == "held"
    assert service.post(f"/sync/runs/{held['run_id']}/cancel")["status"] == "cancelled"
    assert service.get("/sync/health")["held_run"] is None
    assert len(list(service.root.glob("k*"))) == 20


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "before=-1", "before=x"])
def test_bad_run_pages_are_refused(service: Service, query: str) -> None:
    assert service.get(f"/sync/runs?{query}", 422)["error"] == "UnprocessableRequest"


def test_failures_are_listed_with_reasons_and_paged(failing: Service) -> None:
    page = failing.get("/sync/failures?limit=2")
    assert [entry["key"] for entry in page["failures"]] == ["bad1", "bad2"]
    rest = failing.get("/sync/failures", params={"limit": "2", "token": page["next_token"]})
    assert [entry["key"] for entry in rest["failures"]] == ["bad3"]
    assert rest["next_token"] is None
    entry = page["failures"][0]
    assert set(entry) == {"key", "state", "reason", "hint", "attempts", "next_try", "at"}
    assert entry["state"] == "failed"
    assert "403" in entry["reason"]
    assert failing.get("/sync/failures?prefix=good")["failures"] == []
    assert failing.get("/sync/failures?token=x", 400)["error"] == "MalformedRequest"


def test_retry_without_a_body_tries_every_failure_again(failing: Service) -> None:
    heal(failing.bucket)
    answer = failing.post("/sync/failures/retry", 202)
    assert answer["status"] == "accepted"
    assert {entry["file_key"] for entry in answer["sync_details"]} == {"bad1", "bad2", "bad3"}
    assert {entry["status"] for entry in answer["sync_details"]} == {"queued"}
    eventually(lambda: failing.get("/sync/failures")["failures"] == [])
    assert (failing.root / "bad2").read_bytes() == b"bad2"


def test_retry_of_named_keys_tries_only_those(failing: Service) -> None:
    heal(failing.bucket)
    failing.post("/sync/failures/retry", 202, json={"keys": ["bad1", "bad1"]})
    eventually(
        lambda: [e["key"] for e in failing.get("/sync/failures")["failures"]] == ["bad2", "bad3"]
    )


def test_retry_with_nothing_failed_is_accepted(service: Service) -> None:
    answer = service.post("/sync/failures/retry", 202, json={})
    assert answer["sync_details"] == []


@pytest.mark.parametrize(
    "content, status",
    [
        (b"{", 400),
        (b"\xff", 400),
        (b"[" * 100_000, 400),
        (b"[]", 422),
        (b'{"keys": "a"}', 422),
        (b'{"keys": [1]}', 422),
        (b'{"keys": [""]}', 422),
        (b'{"keys": ["\\ud800"]}', 422),
        (b'{"others": []}', 422),
        (b'{"keys": ["' + b"k" * 1025 + b'"]}', 422),
        (b" " * (2**20 + 1), 413),
    ],
)
def test_bad_retries_are_refused(service: Service, content: bytes, status: int) -> None:
    refused = service.post("/sync/failures/retry", status, content=content)
    assert set(refused) == {"error", "detail", "hint"}


def test_routes_that_change_things_take_nothing_that_they_do_not_know(service: Service) -> None:
    for path in ("/sync/runs/1/approve", "/sync/runs/1/cancel", "/sync/failures/retry"):
        refused = service.post(f"{path}?dry_run=true", 422)
        assert refused["detail"] == "query.dry_run: there is no such parameter"
        assert "no query parameters" in refused["hint"]
    for path in ("/sync/runs/1/approve", "/sync/runs/1/cancel"):
        assert "the body" in service.post(path, 422, json={"dry_run": True})["detail"]
        assert service.post(path, 404)["error"] == "RunMissing"


def test_retry_outside_the_prefix_is_refused(start_service: Starter) -> None:
    service = start_service(s3_prefix="in/")
    service.post("/sync/failures/retry", 422, json={"keys": ["out/a"]})


def test_retry_takes_json_only(service: Service) -> None:
    headers = {"Content-Type": "application/xml"}
    service.post("/sync/failures/retry", 415, content=b"<a/>", headers=headers)
