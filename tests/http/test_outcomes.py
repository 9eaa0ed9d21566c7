"""What was done, key by key and minute by minute, and what is on its way."""

import threading
from typing import Any

import pytest

from tests.support import fail
from tests.support.service import Service
from tests.support.world import eventually

MIB = 2**20


def outcomes(service: Service, **asked: Any) -> list[tuple[str, str, str]]:
    page = service.get("/sync/outcomes", params=asked)
    return [(each["key"], each["operation"], each["status"]) for each in page["outcomes"]]


def test_the_history_of_a_key_is_its_own_newest_first(service: Service) -> None:
    service.bucket.put("a", b"one")
    service.bucket.put("b", b"other")
    service.sync()
    service.bucket.delete("a")
    service.sync()
    assert outcomes(service, key="a") == [("a", "delete", "success"), ("a", "download", "success")]
    (first,) = service.get("/sync/outcomes", params={"key": "b"})["outcomes"]
    assert (first["bytes"], first["verdict"], first["run_id"]) == (5, "md5", 1)
    assert outcomes(service, run_id=2) == [("a", "delete", "success")]
    assert outcomes(service, key="never") == []


def test_pages_go_on_and_what_is_new_can_be_followed(service: Service) -> None:
    for number in range(5):
        service.bucket.put(f"{number}", b"x")
    service.sync()
    seen, before = list[int](), None
    while True:
        asked = {"limit": 2} | ({"before": before} if before is not None else {})
        page = service.get("/sync/outcomes", params=asked)
        seen += [each["id"] for each in page["outcomes"]]
        before = page["next_before"]
        if before is None:
            break
    assert seen == sorted(seen, reverse=True) and len(seen) == 5
    service.bucket.put("new", b"x")
    service.sync()
    assert outcomes(service, after=max(seen)) == [("new", "download", "success")]


def test_a_failure_comes_with_its_reason_and_hint(service: Service) -> None:
    service.bucket.put("a", b"x")
    service.bucket.script("a", *[fail.status(403)] * 9)
    service.sync()
    (told,) = service.get("/sync/outcomes", params={"key": "a"})["outcomes"]
    assert (told["status"], told["error"]) == ("failed", "AccessDenied")
    assert "s3:GetObject" in told["hint"]


@pytest.mark.parametrize("span, step", [("hour", 60), ("day", 900), ("week", 3600)])
def test_activity_ends_now_and_has_every_step(service: Service, span: str, step: int) -> None:
    service.bucket.put("a", b"abc")
    service.sync()
    report = service.get("/sync/activity", params={"span": span})
    assert report["step_seconds"] == step
    assert sum(each["bytes"] for each in report["steps"]) == 3
    assert sum(each["downloaded"] for each in report["steps"][-2:]) == 1
    assert len(report["steps"]) in (61, 97, 169)


def test_a_download_on_its_way_is_shown_until_it_is_over(service: Service) -> None:
    going_on = threading.Event()
    service.bucket.put("large", bytes(3 * MIB))
    service.bucket.script("large", fail.pause_until(going_on, at=MIB))
    try:
        run = service.post("/sync/trigger", 202, params={"background": "true"})["run_id"]
        eventually(lambda: service.get("/sync/transfers")["transfers"], 20)
        (moving,) = service.get("/sync/transfers")["transfers"]
        assert (moving["key"], moving["size"], moving["run_id"]) == ("large", 3 * MIB, run)
        assert 0 < moving["received"] < 3 * MIB
    finally:
        going_on.set()
    eventually(lambda: not service.get("/sync/transfers")["transfers"], 20)


@pytest.mark.parametrize(
    "path", ["/sync/outcomes?limit=0", "/sync/outcomes?before=x", "/sync/activity?span=year"]
)
def test_what_is_not_a_question_is_refused(service: Service, path: str) -> None:
    assert service.get(path, 422)["error"] == "UnprocessableRequest"
