"""`datasync doctor` on a whole local AWS: well, and with one thing broken at a time."""

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.event_routes import ROUTES, Scene
from tests.support.s3_server import S3Server
from tests.support.service_process import ServiceProcess

_numbers = itertools.count(1)
SECONDS = 90


class Visit:
    """A service with its bucket, and what the doctor says of it."""

    def __init__(self, scene: Scene, service: ServiceProcess) -> None:
        self.scene = scene
        self.service = service

    def doctor(self, *arguments: str, **changes: str) -> tuple[int, dict[str, dict[str, str]]]:
        """The exit code and the lines by name."""
        done = self.run(*arguments, "--json", **changes)
        assert done.stdout, done.stderr
        return done.returncode, {line["name"]: line for line in json.loads(done.stdout)}

    def run(self, *arguments: str, **changes: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "datasync", "doctor", *arguments],
            cwd=self.service.folder,
            env={**self.service.variables, **changes},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )

    def objects(self) -> list[Any]:
        """Every version and delete marker of the bucket."""
        found = self.scene.client("s3").list_object_versions(Bucket=self.scene.bucket)
        return [*found.get("Versions", ()), *found.get("DeleteMarkers", ())]


@pytest.fixture
def visit(ministack: S3Server, tmp_path: Path) -> Iterator[Visit]:
    """A service that is told of changes through its queue."""
    scene = Scene(ministack, f"doctor-{next(_numbers)}", tmp_path)
    scene.client("s3").create_bucket(Bucket=scene.bucket)
    ROUTES["sqs"].prepare(scene)
    with scene.service() as service:
        service.wait_until_up()
        yield Visit(scene, service)


def levels(lines: dict[str, dict[str, str]]) -> dict[str, str]:
    return {name: line["level"] for name, line in lines.items()}


def test_all_is_well_and_the_canary_flies(visit: Visit) -> None:
    visit.scene.client("s3").put_object(Bucket=visit.scene.bucket, Key="a", Body=b"a")
    code, lines = visit.doctor("--canary")
    found = levels(lines)
    assert (code, found.pop("queue")) == (0, "warn")  # it has no dead-letter queue
    assert set(found.values()) <= {"pass", "skip"}, lines
    for name in ("canary arrives", "canary leaves", "bucket notifications", "engine", "service"):
        assert found[name] == "pass", lines
    assert [each["Key"] for each in visit.objects()] == ["a"]
    assert list(visit.service.root.glob("datasync-canary/*")) == []


def test_a_versioned_bucket_is_left_as_it_was(visit: Visit) -> None:
    s3 = visit.scene.client("s3")
    s3.put_bucket_versioning(
        Bucket=visit.scene.bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    code, lines = visit.doctor("--canary")
    assert (code, lines["canary leaves"]["level"]) == (0, "pass"), lines
    assert visit.objects() == []


def test_without_events_the_canary_does_not_arrive_and_is_taken_away(visit: Visit) -> None:
    visit.scene.notify()
    code, lines = visit.doctor("--canary", "--timeout", "2")
    assert code == 1
    assert lines["bucket notifications"]["level"] == "warn"
    assert (lines["canary arrives"]["level"], lines["canary leaves"]["level"]) == ("fail", "skip")
    assert lines["canary arrives"]["advice"]
    assert visit.objects() == []


def test_a_bucket_that_is_not_there(visit: Visit, tmp_path: Path) -> None:
    elsewhere = {"S3_BUCKET_NAME": "no-such-bucket", "LOCAL_DOWNLOAD_DIR": str(tmp_path / "new")}
    code, lines = visit.doctor("--canary", **elsewhere)
    found = levels(lines)
    assert (code, found["bucket"], found["objects"]) == (1, "fail", "skip")
    assert (found["canary arrives"], found["file system"]) == ("skip", "pass")


def test_the_mirror_of_another_bucket(visit: Visit) -> None:
    other = visit.scene.server.make_bucket()
    code, lines = visit.doctor(S3_BUCKET_NAME=other)
    assert (code, lines["directory"]["level"], lines["ledger"]["level"]) == (1, "fail", "skip")
    assert "--adopt" in lines["directory"]["advice"]


def test_a_queue_that_is_not_there(visit: Visit) -> None:
    code, lines = visit.doctor(SQS_QUEUE_URL=visit.service.variables["SQS_QUEUE_URL"] + "-gone")
    assert (code, lines["queue"]["level"]) == (1, "fail")
    assert lines["queue"]["advice"]


def test_a_server_that_does_not_answer(visit: Visit, tmp_path: Path) -> None:
    nowhere = {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}
    code, lines = visit.doctor(**nowhere, LOCAL_DOWNLOAD_DIR=str(tmp_path / "new"))
    found = levels(lines)
    assert (code, found["bucket"], found["queue"], found["ledger"]) == (1, "fail", "warn", "pass")


def test_the_text_says_what_to_do(visit: Visit) -> None:
    visit.scene.notify()
    done = visit.run()
    assert done.returncode == 0
    assert "WARN bucket notifications" in done.stdout
    assert "-> lambda/README.md" in done.stdout
    assert visit.service.variables["AWS_SECRET_ACCESS_KEY"] not in done.stdout.split()
    bad = visit.run(S3_BUCKET_NAME="s3://x")
    assert bad.returncode == 2 and "S3_BUCKET_NAME" in bad.stderr
