"""POST /sync/trigger: waiting, joining, background, dry run, and what the answer says."""

import threading
import time
from typing import Any

import httpx
import pytest

from datasync.models.sync_models import RunStatus
from tests.support import fail
from tests.support.fake_bucket import FakeBucket
from tests.support.service import Service, Starter
from tests.support.world import eventually

FIELDS = {
    "status",
    "message",
    "processed_files",
    "successful_operations",
    "failed_operations",
    "skipped_files",
    "run_id",
    "in_sync",
    "sync_details",
    "joined",
}


def filled(*keys: str) -> FakeBucket:
    bucket = FakeBucket()
    for key in keys:
        bucket.put(key, key.encode())
    return bucket


def test_a_trigger_answers_when_the_run_is_over(start_service: Starter) -> None:
    service = start_service(filled("a.txt", "d/b.txt"))
    answer = service.post("/sync/trigger")
    assert set(answer) == FIELDS
    assert answer["status"] == "success"
    assert answer["in_sync"] is True
    assert (answer["processed_files"], answer["successful_operations"]) == (2, 2)
    assert (answer["failed_operations"], answer["skipped_files"]) == (0, 0)
    assert answer["message"].startswith("Synced 2 of 2 files in ")
    assert answer["message"].endswith(" seconds")
    assert {detail["file_key"] for detail in answer["sync_details"]} == {"a.txt", "d/b.txt"}
    first = answer["sync_details"][0]
    assert set(first) == {"operation", "file_key", "status", "message"}
    assert (first["operation"], first["status"]) == ("download", "success")
    assert first["message"].startswith("Downloaded successfully in ")
    assert (service.root / "d/b.txt").read_bytes() == b"d/b.txt"


def test_unchanged_files_are_counted_as_skipped_only(start_service: Starter) -> None:
    service = start_service(filled("a", "b", "c"))
    service.sync()
    service.bucket.put("d", b"new")
    answer = service.sync()
    assert (answer["processed_files"], answer["skipped_files"]) == (1, 3)


def test_failures_come_first_and_make_it_partial(start_service: Starter) -> None:
    bucket = filled("a", "b", "z")
    bucket.script("z", fail.status(403, times=50))
    service = start_service(bucket, retry_attempts=1)
    answer = service.sync()
    assert answer["status"] == "partial"
    assert (answer["processed_files"], answer["failed_operations"]) == (3, 1)
    assert answer["sync_details"][0]["file_key"] == "z"
    assert answer["sync_details"][0]["status"] == "failed"
    assert answer["in_sync"] is False
    assert answer["message"].startswith("Synced 2 of 3 files in ")


def test_a_run_whose_listing_fails_is_answered_with_200_and_failed(
    start_service: Starter,
) -> None:
    bucket = filled("a")
    bucket.outage = None
    bucket.script_list(*[fail.at_page(1) for _ in range(20)])
    service = start_service(bucket, retry_attempts=1)
    answer = service.sync()
    assert answer["status"] == "failed"
    assert answer["in_sync"] is False
    assert "failed" in answer["message"]


def test_details_are_bounded(start_service: Starter) -> None:
    service = start_service(filled(*(f"k{i:04}" for i in range(1100))))
    answer = service.sync()
    assert answer["processed_files"] == 1100
    assert len(answer["sync_details"]) == 1000


def test_a_prefix_is_honoured(start_service: Starter) -> None:
    service = start_service(filled("in/a", "out/b"))
    answer = service.post("/sync/trigger", params={"prefix": "in/"})
    assert [detail["file_key"] for detail in answer["sync_details"]] == ["in/a"]
    assert answer["in_sync"] is False  # nothing is known of the rest
    assert not (service.root / "out").exists()


def test_a_prefix_outside_the_scope_is_refused(start_service: Starter) -> None:
    service = start_service(filled("in/a"), s3_prefix="in/")
    for prefix in ("out/", "i", "in"):
        refused = service.post("/sync/trigger", 400, params={"prefix": prefix})
        assert refused["error"] == "MalformedRequest"
    assert service.post("/sync/trigger")["in_sync"] is True
    assert service.post("/sync/trigger", params={"prefix": "in/"})["status"] == "success"


def test_background_answers_at_once_with_the_run(start_service: Starter) -> None:
    bucket, gate = filled("a"), threading.Event()
    bucket.script("a", fail.pause_until(gate))
    service = start_service(bucket)
    try:
        answer = service.post("/sync/trigger", 202, params={"background": "true"})
        assert answer["status"] == "accepted"
        assert set(answer) == FIELDS
        eventually(lambda: service.get(f"/sync/runs/{answer['run_id']}")["status"] == "running")
    finally:
        gate.set()
    assert service.run_ended(answer["run_id"]).status is RunStatus.SUCCESS


def test_triggers_during_a_run_join_it(start_service: Starter) -> None:
    bucket, gate = filled("a"), threading.Event()
    bucket.script("a", fail.pause_until(gate))
    service = start_service(bucket)
    answers: list[Any] = []
    first = service.post("/sync/trigger", 202, params={"background": "true"})
    assert first["joined"] is False
    waiting = [
        threading.Thread(target=lambda: answers.append(service.post("/sync/trigger")))
        for _ in range(20)
    ]
    for thread in waiting:
        thread.start()
    try:
        eventually(lambda: service.get(f"/sync/runs/{first['run_id']}")["status"] == "running")
        late = service.post("/sync/trigger", 202, params={"background": "true"})
        assert (late["run_id"], late["joined"]) == (first["run_id"], True)
        started = time.monotonic()
        assert service.get("/ping") == {"message": "pong"}
        assert service.get("/sync/stats")["pending"] == 0
        assert time.monotonic() - started < 2.0  # the waiting ones starve nobody
        assert not answers
    finally:
        gate.set()
    for thread in waiting:
        thread.join(20)
    assert {answer["run_id"] for answer in answers} == {first["run_id"]}
    assert [answer["status"] for answer in answers] == ["success"] * 20


def test_hanging_up_ends_the_waiting_and_not_the_run(start_service: Starter) -> None:
    bucket, gate = filled("a"), threading.Event()
    bucket.script("a", fail.pause_until(gate))
    service = start_service(bucket)
    try:
        with pytest.raises(httpx.ReadTimeout):
            service.api.post("/sync/trigger", timeout=0.3)
        eventually(lambda: '"status": 499' in service.log())
        [run] = service.get("/sync/runs")["runs"]
        assert run["status"] == "running"
    finally:
        gate.set()
    assert service.run_ended(run["id"]).status is RunStatus.SUCCESS


def test_a_dry_run_tells_the_plan_and_changes_nothing(start_service: Starter) -> None:
    service = start_service(filled("a", "b", "gone"))
    service.sync()
    service.bucket.put("a", b"changed")
    service.bucket.put("new", b"new")
    service.bucket.delete("gone")
    runs = service.get("/sync/runs")
    answer = service.post("/sync/trigger", params={"dry_run": "true"})
    assert set(answer) == FIELDS
    assert answer["run_id"] is None
    assert answer["in_sync"] is False  # the plan says so, whatever was proved before
    assert answer["processed_files"] == 0
    assert "2 to download" in answer["message"]
    assert "1 to delete" in answer["message"]
    planned = {(d["operation"], d["file_key"], d["status"]) for d in answer["sync_details"]}
    assert planned == {
        ("download", "a", "queued"),
        ("download", "new", "queued"),
        ("delete", "gone", "queued"),
    }
    assert (service.root / "a").read_bytes() == b"a"
    assert (service.root / "gone").exists()
    assert service.get("/sync/runs") == runs


def test_a_dry_run_says_that_a_run_would_be_held_and_counts_what_stays(
    start_service: Starter,
) -> None:
    keys = [f"k{i:03}" for i in range(40)]
    service = start_service(filled(*keys))
    service.sync()
    for key in keys[:30]:
        service.bucket.delete(key)
    planned = service.post("/sync/trigger?dry_run=true")
    assert (planned["status"], planned["run_id"], planned["in_sync"]) == ("held", None, False)
    assert "a run would be held: 30 of 40 files (75 %) would be deleted" in planned["message"]
    assert planned["skipped_files"] == 10
    real = service.sync()
    assert (real["status"], real["skipped_files"]) == ("held", 10)
    service.bucket.list_empty()
    assert "the listing is empty" in service.post("/sync/trigger?dry_run=true")["message"]
    assert len(list(service.root.glob("k*"))) == 40


def test_a_dry_run_with_nothing_to_do_leaves_what_is_proved(start_service: Starter) -> None:
    service = start_service(filled("a"))
    service.bucket.objects.clear()
    assert service.post("/sync/trigger?dry_run=true")["in_sync"] is False  # nothing is proved yet
    service.sync()
    assert service.post("/sync/trigger?dry_run=true")["in_sync"] is True


def test_a_rejected_plan_of_a_part_leaves_the_mirror_out_of_sync(start_service: Starter) -> None:
    keys = [f"a/{i:03}" for i in range(40)]
    service = start_service(filled(*keys))
    assert service.sync()["in_sync"] is True
    for key in keys[:30]:
        service.bucket.delete(key)
    held = service.post("/sync/trigger?prefix=a/")
    assert held["status"] == "held"
    service.post(f"/sync/runs/{held['run_id']}/cancel")
    health = service.get("/sync/health")
    assert (health["held_run"], health["in_sync"]) == (None, False)  # 30 files are not in S3


def test_a_dry_run_that_cannot_list_is_an_error_of_the_bucket(start_service: Starter) -> None:
    bucket = filled("a")
    bucket.script_list(*[fail.at_page(1) for _ in range(20)])
    service = start_service(bucket, retry_attempts=1)
    refused = service.post("/sync/trigger", 502, params={"dry_run": "true"})
    assert refused["error"] == "ServerFault"


@pytest.mark.parametrize("query", ["background=perhaps", "dry_run=2", f"prefix={'x' * 1025}"])
def test_bad_parameters_have_the_shape_of_every_error(service: Service, query: str) -> None:
    refused = service.post(f"/sync/trigger?{query}", 422)
    assert set(refused) == {"error", "detail", "hint"}
    assert "x" * 100 not in refused["detail"]


@pytest.mark.parametrize(
    "query, body, words",
    [
        ("?dry-run=true", b"", "query.dry-run: there is no such parameter; did you mean dry_run?"),
        ("?dryrun=true", b"", "did you mean dry_run?"),
        ("?DRY_RUN=true", b"", "did you mean dry_run?"),
        ("?dry_run=true&x=" + "y" * 500, b"", "query.x: there is no such parameter"),
        ("?prefx=a/", b"", "did you mean prefix?"),
        ("", b'{"dry_run": true}', "the body: this route reads none"),
        ("", b"dry_run=true", "the body: this route reads none"),
        ("?background=true", b"{}", "the body: this route reads none"),
    ],
)
def test_a_slip_of_the_pen_does_not_do_the_real_thing(
    start_service: Starter, query: str, body: bytes, words: str
) -> None:
    service = start_service(filled("a"))
    refused = service.post(f"/sync/trigger{query}", 422, content=body)
    assert refused["error"] == "UnprocessableRequest"
    assert words in refused["detail"]
    assert "prefix, background, dry_run and no body" in refused["hint"]
    assert service.get("/sync/runs")["runs"] == []
    assert not (service.root / "a").exists()


def test_a_plan_that_looks_wrong_is_held_and_applied_by_approval(start_service: Starter) -> None:
    keys = [f"k{i:03}" for i in range(40)]
    service = start_service(filled(*keys))
    service.sync()
    for key in keys[:30]:
        service.bucket.delete(key)
    held = service.post("/sync/trigger")
    assert (held["status"], held["in_sync"]) == ("held", False)
    health = service.get("/sync/health")
    assert (health["status"], health["held_run"]) == ("degraded", held["run_id"])
    run = service.get(f"/sync/runs/{held['run_id']}")
    assert run["deletes_planned"] == 30
    assert run["planned_deletes"] == keys[:30]
    assert len(list(service.root.glob("k*"))) == 40
    service.post(f"/sync/runs/{held['run_id']}/approve")
    eventually(lambda: len(list(service.root.glob("k*"))) == 10)
    assert service.run_ended(held["run_id"]).status is RunStatus.SUCCESS
    eventually(lambda: service.get("/sync/health")["status"] == "healthy")
