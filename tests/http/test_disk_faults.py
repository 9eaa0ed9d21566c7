"""What the API answers while the disk fails: clearly, with a hint, and never a path or a trace."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from anyio import AsyncFile

from datasync.api.downloads import Download
from datasync.errors import DiskFull
from datasync.services.storage.ledger import Ledger
from tests.support.disk import Space
from tests.support.fake_bucket import FakeBucket
from tests.support.service import Service, Starter

MIB = 2**20


@pytest.fixture
def one(start_service: Starter) -> Service:
    bucket = FakeBucket()
    bucket.put("data.bin", b"x" * 3000)
    service = start_service(bucket)
    assert service.sync()["in_sync"] is True
    return service


def tells_nothing(service: Service, text: str) -> bool:
    return str(service.folder) not in text and "Traceback" not in text and "/dev/fd" not in text


@pytest.mark.parametrize(
    "number, status, error",
    [(errno.EMFILE, 503, "TooManyOpenFiles"), (errno.EIO, 500, "MirrorError")],
)
@pytest.mark.parametrize("step", ["the mirror", "the answer"])
def test_a_file_that_cannot_be_opened_now(
    one: Service, monkeypatch: pytest.MonkeyPatch, step: str, number: int, status: int, error: str
) -> None:
    with monkeypatch.context() as patch:
        if step == "the mirror":
            _refuse_open(patch, number)
        else:
            _refuse_file_objects(patch, number)
        answer = one.api.get("/sync/download/data.bin")
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert os.strerror(number) in answer.json()["detail"]
    assert ("Retry-After" in answer.headers) == (status == 503)
    assert tells_nothing(one, answer.text)
    assert one.api.get("/sync/download/data.bin").content == b"x" * 3000
    assert one.api.head("/sync/download/data.bin").headers["content-length"] == "3000"


def _refuse_open(patch: pytest.MonkeyPatch, number: int) -> None:
    real = os.open

    def refuse(path: bytes, *given: int, **named: int) -> int:
        if path == b"data.bin":
            raise OSError(number, os.strerror(number), path)
        return real(path, *given, **named)

    patch.setattr(os, "open", refuse)


def _refuse_file_objects(patch: pytest.MonkeyPatch, number: int) -> None:
    """As when the last descriptor goes between the two opens of a download."""

    async def refuse(path: str, *_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), path)

    patch.setattr("anyio.open_file", refuse)


def test_a_disk_that_fails_in_the_middle_cuts_the_answer(
    one: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never a short file that looks complete."""
    monkeypatch.setattr(Download, "chunk_size", 1000)
    with _failing_reads(monkeypatch, after=1):
        status, head, body = one.get_raw("/sync/download/data.bin")
    assert (status, body) == (200, b"x" * 1000)
    assert "content-length: 3000" in head


@contextmanager
def _failing_reads(monkeypatch: pytest.MonkeyPatch, after: int) -> Iterator[None]:
    real, reads = AsyncFile.read, iter(range(99))

    async def read(file: AsyncFile[bytes], size: int = -1) -> bytes:
        if next(reads) >= after:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return await real(file, size)

    with monkeypatch.context() as patch:
        patch.setattr(AsyncFile, "read", read)
        yield


def test_health_and_failures_say_why_downloads_are_paused(
    start_service: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, bucket = Space(monkeypatch, MIB - 1), FakeBucket()
    bucket.put("data.bin", b"x" * 3000)
    service = start_service(bucket)
    assert service.sync()["status"] in ("failed", "partial")
    health = service.get("/sync/health")
    assert (health["status"], health["in_sync"]) == ("degraded", False)
    assert health["directory_writable"] is True
    assert "downloads are paused: 1.0 MiB are free" in health["message"]
    [failure] = service.get("/sync/failures")["failures"]
    assert failure["key"] == "data.bin"
    assert (
        "1 % (1.0 MiB) must stay free" in failure["reason"] and "Free disk space" in failure["hint"]
    )
    assert service.get("/sync/files")["files"][0]["state"] == "failed"
    assert service.get("/sync/download/data.bin", 404)["error"] == "FileMissing"
    space.free = 50 * MIB
    assert service.sync()["status"] == "success"


def test_a_ledger_on_a_full_disk_is_507_and_reading_goes_on(
    one: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise DiskFull("ledger.db: database or disk is full (the disk of the ledger)")

    with monkeypatch.context() as patch:
        for write in ("request_run", "mark", "journal"):
            patch.setattr(Ledger, write, full)
        answer = one.post("/sync/trigger", 507)
        assert answer["error"] == "DiskFull" and "Free disk space" in answer["hint"]
        event = {
            "Records": [
                {
                    "eventName": "ObjectCreated:Put",
                    "s3": {"bucket": {"name": "bkt"}, "object": {"key": "data.bin"}},
                }
            ]
        }
        assert one.post("/sync/s3-notification", 507, json=event)["error"] == "DiskFull"
        assert one.get("/sync/files")["files"][0]["key"] == "data.bin"
        assert one.api.get("/sync/download/data.bin").content == b"x" * 3000


def test_a_directory_that_was_replaced_is_not_written_to_and_comes_back(one: Service) -> None:
    away = one.folder / "away"
    one.root.rename(away)
    one.root.mkdir()  # the bare mount point
    answer = one.api.get("/sync/download/data.bin")
    assert answer.status_code == 503
    assert tells_nothing(one, answer.text)
    for path in ("/sync/files", "/sync/health"):
        answer = one.api.get(path)
        assert answer.status_code == 503
        said = answer.json()
        assert tells_nothing(one, said.get("detail") or said["message"])
    assert list(one.root.iterdir()) == []
    shutil.rmtree(one.root)
    away.rename(one.root)
    assert one.api.get("/sync/download/data.bin").content == b"x" * 3000
    assert one.sync()["status"] == "success"
