"""Every kind of change, on every way: from the answer of S3 to the file, with nothing else to help.

The median and the worst time from S3's answer to the file are printed for each way.
"""

import itertools
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.event_routes import KEY, ROUTES, Route, Scene
from tests.support.s3_server import S3Server
from tests.support.service_process import ServiceProcess
from tests.support.world import eventually

MIB = 2**20
SECONDS = 30.0
_numbers = itertools.count(1)


class Play:
    """A bucket with a service at the end of a route; `times` are seconds to each file."""

    def __init__(self, scene: Scene, service: ServiceProcess) -> None:
        self.scene = scene
        self.service = service
        self.s3 = scene.client("s3")
        self.times: list[float] = []

    def do(self, change: Callable[..., Any], key: str, content: bytes | None, **more: Any) -> Any:
        """Make a change, and wait until the file of its key has this content (None: is gone)."""
        answer = change(Bucket=self.scene.bucket, Key=key, **more)
        began = time.perf_counter()
        eventually(lambda: self.file(key) == content, SECONDS)
        self.times.append(time.perf_counter() - began)
        return answer

    def file(self, key: str) -> bytes | None:
        try:
            return (self.service.root / key).read_bytes()
        except FileNotFoundError:
            return None

    def put(self, key: str, body: bytes, **more: Any) -> str:
        return str(self.do(self.s3.put_object, key, body, Body=body, **more)["VersionId"])

    def events(self) -> int:
        return sum(self.stats()["events"].values())

    def stats(self) -> Any:
        return self.service.get("/sync/stats", headers={"X-API-Key": KEY})


@pytest.fixture(params=ROUTES.items(), ids=list(ROUTES))
def route(request: pytest.FixtureRequest) -> tuple[str, Route]:
    found: tuple[str, Route] = request.param
    return found


@pytest.fixture
def play(route: tuple[str, Route], ministack: S3Server, tmp_path: Path) -> Iterator[Play]:
    scene = Scene(ministack, f"route-{route[0]}-{next(_numbers)}", tmp_path)
    s3 = scene.client("s3")
    s3.create_bucket(Bucket=scene.bucket)
    versioned = {"Status": "Enabled"}
    s3.put_bucket_versioning(Bucket=scene.bucket, VersioningConfiguration=versioned)
    route[1].prepare(scene)
    with scene.ends, scene.service() as service:
        service.wait_until_up()
        route[1].connect(scene, service)
        yield Play(scene, service)
        assert service.terminate() == 0
        assert service.staged() == []


def test_every_change_arrives(
    play: Play, route: tuple[str, Route], record_property: Callable[[str, object], None]
) -> None:
    first = play.put("a/ü +%20.txt", b"one")
    play.put("a/ü +%20.txt", b"two, overwritten")
    play.put("empty", b"")
    upload_in_parts(play, "parts.bin")
    source = {"Bucket": play.scene.bucket, "Key": "parts.bin"}
    parts = play.file("parts.bin")
    play.do(play.s3.copy_object, "copy.bin", parts, CopySource=source)
    # A delete marker, its removal, and the removal of an old version, which changes nothing here
    marker = play.do(play.s3.delete_object, "a/ü +%20.txt", None)["VersionId"]
    play.do(play.s3.delete_object, "a/ü +%20.txt", b"two, overwritten", VersionId=marker)
    told = play.events()
    play.s3.delete_object(Bucket=play.scene.bucket, Key="a/ü +%20.txt", VersionId=first)
    eventually(lambda: play.events() > told and play.stats()["pending"] == 0, SECONDS)
    assert play.file("a/ü +%20.txt") == b"two, overwritten"
    only = play.put("gone for good", b"x")
    play.do(play.s3.delete_object, "gone for good", None, VersionId=only)
    restore(play)
    stats = play.stats()
    assert set(stats["events_by_source"]) <= {route[1].source, "http.s3", "sqs.s3"}
    assert stats["events_by_source"][route[1].source] >= 10
    assert stats["failed"] == 0
    record_property(
        "figure",
        f"{route[0]}: {len(play.times)} changes, from S3's answer to the file "
        f"median {statistics.median(play.times) * 1000:.0f} ms, "
        f"worst {max(play.times) * 1000:.0f} ms",
    )


def upload_in_parts(play: Play, key: str) -> None:
    bodies = (os.urandom(5 * MIB), b"the end")
    target = {"Bucket": play.scene.bucket, "Key": key}
    target["UploadId"] = play.s3.create_multipart_upload(**target)["UploadId"]
    sent = []
    for number, body in enumerate(bodies, start=1):
        part = play.s3.upload_part(**target, PartNumber=number, Body=body)
        sent.append({"PartNumber": number, "ETag": part["ETag"]})

    def complete(**_: Any) -> Any:
        return play.s3.complete_multipart_upload(**target, MultipartUpload={"Parts": sent})

    play.do(complete, key, b"".join(bodies))


def restore(play: Play) -> None:
    """An archived object has no file until it is restored; the restore takes its own time."""
    target = {"Bucket": play.scene.bucket, "Key": "cold"}
    play.s3.put_object(**target, Body=b"from the cold", StorageClass="GLACIER")
    eventually(lambda: play.stats()["archived"] == 1, SECONDS)
    assert play.file("cold") is None
    play.s3.restore_object(**target, RestoreRequest={"Days": 1})
    eventually(lambda: play.file("cold") == b"from the cold", SECONDS)
