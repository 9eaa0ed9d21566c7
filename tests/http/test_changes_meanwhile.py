"""What a client gets when the bucket, or its neighbours, act at the same moment."""

import threading
from typing import Any

import pytest

from tests.support import fail
from tests.support.fake_bucket import FakeBucket
from tests.support.service import Service, Starter
from tests.support.world import eventually

SIZE = 8_000_000  # more than the buffers on the way hold
OLD, NEW = b"o" * SIZE, b"n" * (SIZE + 1)
TRIGGERS = 20


@pytest.fixture
def big(start_service: Starter) -> Service:
    bucket = FakeBucket()
    bucket.put("big", OLD, last_modified=1_700_000_000)
    service = start_service(bucket)
    assert service.sync()["in_sync"] is True
    return service


def replace(service: Service) -> str:
    """A newer version of the same second comes into the mirror; the ETag of the older one."""
    older = service.bucket.objects["big"].etag
    service.bucket.put("big", NEW, last_modified=1_700_000_000)
    assert service.sync()["successful_operations"] == 1
    return f'"{older}"'


@pytest.mark.parametrize(
    ("asked", "first", "length"),
    [(None, 0, SIZE), ("bytes=0-", 0, SIZE), ("bytes=1000-", 1000, SIZE - 1000)],
)
def test_a_download_is_of_one_version_although_the_file_is_replaced(
    big: Service, asked: str | None, first: int, length: int
) -> None:
    headers = {"Range": asked} if asked else {}
    with big.api.stream("GET", "/sync/download/big", headers=headers) as answer:
        pieces = answer.iter_raw(100_000)
        begin = next(pieces)
        older = replace(big)
        whole = begin + b"".join(pieces)

    assert whole == OLD[first:] and answer.headers["content-length"] == str(length)
    assert answer.headers["etag"] == older
    assert big.api.get("/sync/download/big").content == NEW


@pytest.mark.parametrize("by", ["etag", "last-modified"])
def test_a_download_that_goes_on_after_a_replacement_begins_anew(big: Service, by: str) -> None:
    """What was there before must not be joined to what is there now, be it of the same second."""
    begun = big.api.get("/sync/download/big", headers={"Range": "bytes=0-999"})
    assert begun.status_code == 206
    replace(big)

    headers = {"Range": "bytes=1000-", "If-Range": begun.headers[by]}
    answer = big.api.get("/sync/download/big", headers=headers)

    assert (answer.status_code, answer.content == NEW) == (200, True)
    assert "content-range" not in answer.headers


def test_a_download_that_goes_on_gets_the_rest_of_its_version(big: Service) -> None:
    begun = big.api.get("/sync/download/big", headers={"Range": "bytes=0-999"})
    headers = {"Range": "bytes=1000-", "If-Range": begun.headers["etag"]}

    answer = big.api.get("/sync/download/big", headers=headers)

    assert (answer.status_code, begun.content + answer.content) == (206, OLD)


def test_a_file_that_is_deleted_is_served_to_its_end(big: Service) -> None:
    with big.api.stream("GET", "/sync/download/big") as answer:
        pieces = answer.iter_raw(100_000)
        begin = next(pieces)
        big.bucket.delete("big")
        big.post("/sync/s3-notification?wait=10", json=removed("big"))
        assert big.api.get("/sync/download/big").status_code == 404
        assert begin + b"".join(pieces) == OLD


def removed(key: str) -> dict[str, Any]:
    s3 = {"bucket": {"name": "bkt"}, "object": {"key": key}}
    return {"Records": [{"eventSource": "aws:s3", "eventName": "ObjectRemoved:Delete", "s3": s3}]}


def test_triggers_at_once_are_one_run_with_an_answer_for_each(
    start_service: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing runs when they come; the run cannot end before the last of them has asked."""
    bucket, gate, together = FakeBucket(), threading.Event(), threading.Barrier(TRIGGERS)
    bucket.put("a", b"a")
    bucket.script("a", fail.pause_until(gate))
    service = start_service(bucket)
    asked: list[int] = []
    request_run = service.parts.service.request_run

    def counted(*call: Any, **more: Any) -> Any:
        found = request_run(*call, **more)
        asked.append(found[0].id)
        return found

    monkeypatch.setattr(service.parts.service, "request_run", counted)
    answers: list[Any] = []

    def trigger() -> None:
        together.wait(20)
        answers.append(service.post("/sync/trigger"))

    threads = [threading.Thread(target=trigger) for _ in range(TRIGGERS)]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: len(asked) == TRIGGERS, 20)
    finally:
        gate.set()
    for thread in threads:
        thread.join(20)

    assert len(set(asked)) == 1
    assert [answer["run_id"] for answer in answers] == [asked[0]] * TRIGGERS
    assert {answer["status"] for answer in answers} == {"success"}
    assert len(service.get("/sync/runs")["runs"]) == 1 and bucket.counts["get"] == 1
