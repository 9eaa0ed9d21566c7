"""POST /sync/s3-notification: what is taken, what is refused, and what `wait` tells."""

import json
import threading
from typing import Any

import pytest

from datasync.controllers import intake, views
from datasync.controllers.intake import Intake
from datasync.errors import JournalFull, LedgerBusy
from datasync.models.s3_models import SyncDetail
from datasync.services.events import inbox
from datasync.services.events.inbox import KeyEvent
from datasync.services.storage.ledger import Ledger
from tests.support import envelopes, fail
from tests.support.fake_bucket import FakeBucket
from tests.support.service import BUCKET, Service, Starter
from tests.support.world import eventually

URL = "/sync/s3-notification"


def record(key: str, event: str = "ObjectCreated:Put", bucket: str = BUCKET) -> Any:
    return {"eventName": event, "s3": {"bucket": {"name": bucket}, "object": {"key": key}}}


def records(*made: Any) -> Any:
    return {"Records": list(made)}


def test_an_event_is_queued_and_its_file_arrives(service: Service) -> None:
    service.bucket.put("my file.txt", b"content")
    answer = service.post(URL, 202, json=records(record("my+file.txt")))
    assert answer["status"] == "accepted"
    [detail] = answer["sync_details"]
    assert (detail["file_key"], detail["status"]) == ("my file.txt", "queued")
    assert detail["operation"] == "download"
    eventually((service.root / "my file.txt").exists)
    assert (service.root / "my file.txt").read_bytes() == b"content"


def test_each_record_has_its_detail(service: Service) -> None:
    answer = service.post(
        URL,
        202,
        json=records(
            record("gone", "s3:ObjectRemoved:Delete"),
            record("a", "ObjectTagging:Put"),
            record("b", bucket="other"),
            record("c", "ObjectNew:Kind"),
            7,
        ),
    )
    details = [(d["file_key"], d["status"], d["operation"]) for d in answer["sync_details"]]
    assert sorted(details) == [
        ("", "rejected", "reject"),
        ("a", "ignored", "skip"),
        ("b", "rejected", "reject"),
        ("c", "ignored", "skip"),
        ("gone", "queued", "delete"),
    ]
    assert [d["status"] for d in answer["sync_details"]][:2] == ["rejected", "rejected"]
    events = service.get("/sync/stats")["events"]
    assert events == {"queued": 1, "ignored": 2, "rejected": 2}


@pytest.mark.parametrize(
    "made",
    [
        envelopes.bridge_event("my+file.txt", "Object Deleted", BUCKET),
        [envelopes.bridge_event("my+file.txt", "Object Deleted", BUCKET)],
        records(envelopes.sqs_record(records(record("my%2Bfile.txt", "ObjectRemoved:Delete")))),
    ],
)
def test_every_envelope_is_taken(service: Service, made: Any) -> None:
    answer = service.post(URL, 202, json=made)
    [detail] = answer["sync_details"]
    assert (detail["file_key"], detail["status"]) == ("my+file.txt", "queued")
    assert detail["operation"] == "delete"


def test_a_mark_is_in_the_ledger_before_the_answer(start_service: Starter) -> None:
    bucket, gate = FakeBucket(), threading.Event()
    bucket.put("a", b"a")
    bucket.script("a", fail.pause_until(gate))
    service = start_service(bucket)
    try:
        service.post(URL, 202, json=records(record("a")))
        assert service.parts.ledger.dirty(["a"])["a"].reason == "ObjectCreated:Put"
        assert service.get("/sync/health")["pending"] == 1
    finally:
        gate.set()


def test_wait_answers_with_the_outcomes(service: Service) -> None:
    service.bucket.put("a", b"aaa")
    answer = service.post(URL, json=records(record("a"), record("missing")), params={"wait": "20"})
    assert answer["status"] == "success"
    found = {d["file_key"]: (d["operation"], d["status"]) for d in answer["sync_details"]}
    assert found["a"] == ("download", "success")
    assert found["missing"][1] in ("skipped", "success")
    assert (answer["processed_files"], answer["failed_operations"]) == (
        answer["successful_operations"],
        0,
    )
    assert (service.root / "a").read_bytes() == b"aaa"


def test_wait_tells_of_failures(start_service: Starter) -> None:
    bucket = FakeBucket()
    bucket.put("a", b"a")
    bucket.script("a", fail.status(403, times=100))
    service = start_service(bucket, retry_attempts=1)
    answer = service.post(URL, json=records(record("a")), params={"wait": "20"})
    assert (answer["status"], answer["failed_operations"]) == ("failed", 1)
    assert answer["sync_details"][0]["status"] == "failed"


def test_wait_ends_in_time_with_what_is_still_queued(start_service: Starter) -> None:
    bucket, gate = FakeBucket(), threading.Event()
    bucket.put("a", b"a")
    bucket.script("a", fail.pause_until(gate))
    service = start_service(bucket)
    try:
        answer = service.post(URL, json=records(record("a")), params={"wait": "0.3"})
        assert answer["status"] == "accepted"
        assert answer["sync_details"][0]["status"] == "queued"
    finally:
        gate.set()


def test_the_greeting_is_acknowledged(service: Service) -> None:
    greeting = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": BUCKET}
    answer = service.post(URL, 202, json=greeting)
    assert answer["sync_details"][0]["status"] == "ignored"


def test_an_empty_envelope_is_accepted(service: Service) -> None:
    answer = service.post(URL, 202, json=records())
    assert (answer["status"], answer["sync_details"]) == ("accepted", [])


@pytest.mark.parametrize("kind", ["application/json", "text/plain; charset=UTF-8", None])
def test_the_content_types_of_the_senders_are_taken(service: Service, kind: str | None) -> None:
    headers = {"Content-Type": kind} if kind else {}
    service.post(URL, 202, content=json.dumps(records()).encode(), headers=headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/xml"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
def test_other_types_are_refused(service: Service, headers: dict[str, str]) -> None:
    refused = service.post(URL, 415, content=b'{"Records": []}', headers=headers)
    assert refused["error"] == "UnsupportedMedia"


@pytest.mark.parametrize(
    "content, status, error",
    [
        (b"", 400, "MalformedRequest"),
        (b"{", 400, "MalformedRequest"),
        (b"\xff\xff", 400, "MalformedRequest"),
        (b"[" * 100_000, 400, "MalformedRequest"),
        (b'{"Records": [' + b"7" * 10_000 + b"]}", 400, "MalformedRequest"),
        (b'{"Records": [1e999]}', 400, "MalformedRequest"),
        (b'{"Records": [{}]}', 400, "MalformedRequest"),
        (b'{"Records": "x"}', 422, "UnprocessableRequest"),
        (b"null", 422, "UnprocessableRequest"),
        (b"7", 422, "UnprocessableRequest"),
        (json.dumps(records(record("\ud800"))).encode(), 400, "MalformedRequest"),
        (json.dumps(records(record("a", bucket="other"))).encode(), 400, "ForeignBucket"),
    ],
)
def test_malformed_bodies_are_refused_with_a_reason(
    service: Service, content: bytes, status: int, error: str
) -> None:
    refused = service.post(URL, status, content=content)
    assert set(refused) == {"error", "detail", "hint"}
    assert refused["error"] == error
    assert refused["detail"]
    assert service.parts.ledger.dirty_count() == 0


def test_a_rejected_surrogate_beside_a_good_record_is_answered(service: Service) -> None:
    body = json.dumps(records(record("\ud800"), record("a", "ObjectAcl:Put")))
    answer = service.post(URL, 202, content=body)
    assert answer["sync_details"][0]["file_key"] == "\\ud800"


def test_a_body_over_the_cap_is_refused_announced_or_not(service: Service) -> None:
    body = b" " * (2**20 + 1)
    assert service.post(URL, 413, content=body)["error"] == "PayloadTooLarge"
    pieces = (b" " * 65536 for _ in range(17))
    assert service.api.post(URL, content=pieces).status_code == 413


def test_a_large_notification_is_bounded_in_details(service: Service) -> None:
    made = [record(f"k{i}", "ObjectAcl:Put") for i in range(3000)]
    answer = service.post(URL, 202, json=records(*made))
    assert len(answer["sync_details"]) == 1000
    assert "3000 ignored" in answer["message"]


@pytest.mark.parametrize("wait", ["-1", "301", "nan", "inf", "soon"])
def test_a_bad_wait_is_refused(service: Service, wait: str) -> None:
    refused = service.post(f"{URL}?wait={wait}", 422, json=records())
    assert refused["error"] == "UnprocessableRequest"


def test_keys_outside_the_prefix_are_ignored(start_service: Starter) -> None:
    service = start_service(s3_prefix="in/")
    answer = service.post(URL, 202, json=records(record("in/a"), record("out/a")))
    assert [d["status"] for d in answer["sync_details"]] == ["queued", "ignored"]


def test_a_busy_journal_is_503_with_retry_after(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: Any, **__: Any) -> None:
        raise LedgerBusy("the ledger is locked")

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "journal", busy)
        answer = service.api.post(URL, json=records(record("a")))
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["error"] == "LedgerBusy"


@pytest.mark.parametrize("events, on_the_loop", [(1, True), (2_000, False)])
def test_only_a_small_notification_is_worked_on_in_the_event_loop(
    service: Service, monkeypatch: pytest.MonkeyPatch, events: int, on_the_loop: bool
) -> None:
    """There it is fastest, but holds up everybody else."""
    seen: dict[str, bool] = {}

    def watch(owner: Any, name: str) -> None:
        whole = getattr(owner, name)

        def watched(*given: Any) -> Any:
            seen[name] = service.on_the_loop()
            return whole(*given)

        monkeypatch.setattr(owner, name, watched)

    watch(inbox, "parse")
    watch(intake, "_figures")
    watch(views, "marks_response")
    watch(Intake, "record")
    made = [record(f"k{number}") for number in range(events)]
    service.post(URL, 202, json=records(*made))
    assert seen.pop("record")  # which only hands over
    assert seen == dict.fromkeys(("parse", "_figures", "marks_response"), on_the_loop)


def test_no_more_details_are_made_than_are_shown(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, whole = [], views.event_detail

    def detail(event: KeyEvent) -> SyncDetail:
        made.append(event)
        return whole(event)

    monkeypatch.setattr(views, "event_detail", detail)
    events = [record(f"k{number}", "ObjectAcl:Put") for number in range(3_000)]
    answer = service.post(URL, 202, json=records(*events, record("b", bucket="other")))
    assert answer["sync_details"][0]["status"] == "rejected"
    assert len(answer["sync_details"]) == len(made) == 1_000


class TestTheShortWay:
    """What nobody waits for goes past the framework's layers: nobody can tell by the answer."""

    @pytest.mark.parametrize(
        ("content", "headers"),
        [
            (json.dumps(records(record("a"), record("b", "ObjectTagging:Put"))), {}),
            (json.dumps(records(record("a", bucket="other"))), {}),
            (json.dumps({"Event": "s3:TestEvent", "Bucket": BUCKET}), {}),
            (json.dumps(records(*(record(f"{n}") for n in range(200)))), {}),
            ("", {}),
            ("{", {}),
            ("[1]", {}),
            ("{}", {"Content-Type": "text/csv"}),
            ("{}", {"Content-Encoding": "gzip"}),
            (" " * (2**20 + 1), {}),
            ("{}", {"X-DataSync-Signature": "v1=0", "X-DataSync-Timestamp": "0"}),
            ("{}", {"Host": "elsewhere.example"}),
        ],
    )
    def test_its_answers_are_the_routes(
        self, service: Service, content: str, headers: dict[str, str]
    ) -> None:
        assert self._answer(service, "", content, headers) == self._answer(
            service, "?wait=0", content, headers
        )

    @pytest.mark.parametrize(
        "error", [LedgerBusy("busy"), JournalFull("full"), RuntimeError("nobody foresaw it")]
    )
    def test_so_are_its_failures(
        self, service: Service, monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        def fails(*_: object) -> None:
            raise error

        monkeypatch.setattr(Intake, "record", fails)
        content = json.dumps(records(record("a")))
        short, route = (self._answer(service, query, content, {}) for query in ("", "?wait=0"))
        assert short == route and short[0] >= 500
        eventually(lambda: service.answered(short[0]) == 2)  # and both are in the log

    def test_only_a_post_to_the_very_path_takes_it(self, service: Service) -> None:
        assert service.api.get(URL).status_code == 405
        assert service.api.post(f"{URL}/", content="{}").status_code == 404

    @staticmethod
    def _answer(
        service: Service, query: str, content: str, headers: dict[str, str]
    ) -> tuple[int, Any, dict[str, str]]:
        answer = service.api.post(f"{URL}{query}", content=content.encode(), headers=headers)
        told = {k: v for k, v in answer.headers.items() if k not in ("date", "x-request-id")}
        return answer.status_code, answer.json(), told
