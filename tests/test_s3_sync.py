"""The whole story once: a bucket, an empty folder, the service as its users run it.

Everything is real: SeaweedFS, the process, the disk, HTTP and the command line. Each chapter
leaves the mirror equal to the bucket, and says how it got there.
"""

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import httpx
import pytest
from boto3.s3.transfer import TransferConfig

from tests.support.s3_server import S3Server
from tests.support.service_process import ServiceProcess
from tests.support.world import eventually

MIB = 2**20
LARGE = bytes(range(256)) * (20 * MIB // 256) + b"an uneven end"
OBJECTS = {
    "reports/2026/november.csv": b"day,visits\n1,37\n",
    "reports/empty.csv": b"",
    "names/with space, a + and 100%25.txt": b"odd for others, ordinary for S3\n",
    "names/Gr\u00fc\u00dfe/\u6771\u4eac \U0001f680.txt": b"unicode\n",
    "todo.txt": b"buy milk\n",
}
ARCHIVE = {f"archive/{number:02}.log": b"line\n" * number for number in range(30)}


class Story:
    """The bucket, and the service that mirrors it."""

    def __init__(self, server: S3Server, folder: Path) -> None:
        self._server = server
        self._folder = folder
        self._s3 = server.client()
        self.bucket = server.make_bucket()
        self.content: dict[str, bytes] = {}  # what the bucket holds
        self.service: ServiceProcess

    @contextmanager
    def running_service(self) -> Iterator[None]:
        """Start the service; its first reconciliation is over when this is entered."""
        with ServiceProcess(self._server, self.bucket, self._folder) as self.service:
            self.service.wait_until_up()
            eventually(self.service.caught_up, 30)
            yield
            assert self.service.terminate() == 0

    # What happens to the bucket

    def put(self, *objects: tuple[str, bytes]) -> None:
        config = TransferConfig(multipart_threshold=8 * MIB, multipart_chunksize=8 * MIB)
        for key, body in objects:
            self._s3.upload_fileobj(io.BytesIO(body), self.bucket, key, Config=config)
            self.content[key] = body

    def delete(self, *keys: str) -> None:
        for key in keys:
            self._s3.delete_object(Bucket=self.bucket, Key=key)
            del self.content[key]

    # What people and programs do

    def notify(self, event: str, key: str) -> Any:
        """Tell the service of an event as S3 would, and wait for what comes of it."""
        entity = {"bucket": {"name": self.bucket}, "object": {"key": quote_plus(key, safe="/")}}
        records = [{"eventName": event, "s3": entity}]
        return self.service.post("/sync/s3-notification?wait=20", json={"Records": records})

    def reconcile(self) -> Any:
        return self.service.post("/sync/trigger")

    def path(self, key: str) -> Path:
        return self.service.root / key

    def trashed(self) -> set[str]:
        listed = self.service.datasync("trash", "list")
        return {entry["path"] for entry in listed["entries"]}

    def assert_equal(self) -> None:
        """The folder is the bucket, nothing is under way, and the service says so."""
        assert self.service.files() == self.content
        assert self.service.staged() == []
        health = self.service.get("/sync/health")
        assert (health["status"], health["in_sync"]) == ("healthy", True)
        assert (health["pending"], health["failed"], health["held_run"]) == (0, 0, None)


@pytest.mark.timeout(120)
def test_the_story_of_a_mirror(seaweed: S3Server, tmp_path: Path) -> None:
    story = Story(seaweed, tmp_path)
    story.put(*OBJECTS.items(), *ARCHIVE.items(), ("large.bin", LARGE))
    with story.running_service():
        the_first_reconciliation_brings_everything(story)
        a_change_that_an_event_told_of_is_there_at_once(story)
        a_change_that_nobody_told_of_is_found_by_reconciliation(story)
        what_somebody_did_to_the_files_is_repaired(story)
        a_deleted_object_goes_to_the_trash(story)
        a_lying_event_deletes_nothing(story)
        a_mass_delete_is_held_until_it_is_approved(story)
        what_was_deleted_comes_back_from_the_trash(story)
        every_view_tells_the_truth(story)
        runs_before = story.service.get("/sync/runs")["runs"]
    while_it_is_stopped_the_bucket_changes(story)
    with story.running_service():
        story.assert_equal()
        runs = story.service.get("/sync/runs")["runs"]
        assert runs[1:] == runs_before
        assert (runs[0]["downloaded"], runs[0]["deleted"]) == (2, 1)


def the_first_reconciliation_brings_everything(story: Story) -> None:
    story.assert_equal()
    (run,) = story.service.get("/sync/runs")["runs"]
    assert (run["status"], run["downloaded"]) == ("success", len(story.content))
    again = story.reconcile()
    assert (again["processed_files"], again["skipped_files"]) == (0, len(story.content))


def a_change_that_an_event_told_of_is_there_at_once(story: Story) -> None:
    key = "names/with space, a + and 100%25.txt"
    story.put((key, b"changed, and told of\n"), ("new/from an event.txt", b"new\n"))
    for changed in (key, "new/from an event.txt"):
        answer = story.notify("ObjectCreated:Put", changed)
        (detail,) = answer["sync_details"]
        assert (answer["status"], detail["operation"]) == ("success", "download")
        assert (detail["file_key"], detail["status"]) == (changed, "success")
    story.assert_equal()
    assert story.notify("ObjectCreated:Put", key)["skipped_files"] == 1  # told twice


def a_change_that_nobody_told_of_is_found_by_reconciliation(story: Story) -> None:
    story.put(("todo.txt", b"buy beer\n"))  # of the same size
    assert story.path("todo.txt").read_bytes() == b"buy milk\n"
    answer = story.reconcile()
    assert (answer["status"], answer["processed_files"]) == ("success", 1)
    assert answer["message"].startswith("Synced 1 of 1 files in ")
    assert story.service.get("/sync/stats")["drift"] == 1
    story.assert_equal()


def what_somebody_did_to_the_files_is_repaired(story: Story) -> None:
    secret = story.service.folder / "secret.txt"
    secret.write_text("not of the mirror")
    story.path("todo.txt").write_text("scribble")
    story.path("reports/2026/november.csv").unlink()
    story.path("archive/07.log").unlink()
    story.path("archive/07.log").symlink_to(secret)
    answer = story.reconcile()
    assert (answer["status"], answer["successful_operations"]) == ("success", 3)
    assert not story.path("archive/07.log").is_symlink()
    assert secret.read_text() == "not of the mirror"
    story.assert_equal()
    assert {"todo.txt", "archive/07.log"} <= story.trashed()


def a_deleted_object_goes_to_the_trash(story: Story) -> None:
    story.delete("new/from an event.txt")
    answer = story.notify("ObjectRemoved:Delete", "new/from an event.txt")
    assert answer["sync_details"][0]["operation"] == "delete"
    assert not story.path("new").exists()
    assert "new/from an event.txt" in story.trashed()
    story.assert_equal()


def a_lying_event_deletes_nothing(story: Story) -> None:
    answer = story.notify("ObjectRemoved:Delete", "large.bin")
    assert (answer["status"], answer["skipped_files"]) == ("success", 1)
    story.assert_equal()


def a_mass_delete_is_held_until_it_is_approved(story: Story) -> None:
    before = story.service.files()
    story.delete(*ARCHIVE)
    answer = story.reconcile()
    run = f"/sync/runs/{answer['run_id']}"
    assert (answer["status"], answer["in_sync"]) == ("held", False)
    assert story.service.files() == before
    health = story.service.get("/sync/health")
    assert (health["status"], health["held_run"]) == ("degraded", answer["run_id"])
    assert story.service.get(run)["planned_deletes"] == sorted(ARCHIVE)

    story.service.post(f"{run}/approve")
    eventually(lambda: story.service.get(run)["status"] == "success", 30)
    assert story.service.get(run)["deleted"] == len(ARCHIVE)
    story.assert_equal()


def what_was_deleted_comes_back_from_the_trash(story: Story) -> None:
    """First only here, as files of ours that no run touches; then they are objects again."""
    story.service.datasync("trash", "restore", "--prefix", "archive/")
    assert story.reconcile()["processed_files"] == 0
    assert story.service.files() == {**story.content, **ARCHIVE}
    story.put(*ARCHIVE.items())
    answer = story.reconcile()
    assert {detail["operation"] for detail in answer["sync_details"]} == {"adopt"}
    assert answer["successful_operations"] == len(ARCHIVE)
    story.assert_equal()


def every_view_tells_the_truth(story: Story) -> None:
    stats = story.service.get("/sync/stats")
    assert (stats["objects"], stats["failed"]) == (len(story.content), 0)
    assert stats["bytes"] == sum(map(len, story.content.values()))
    held = list(pages_of_files(story.service))
    assert [file["key"] for file in held] == sorted(story.content, key=str.encode)
    assert {file["state"] for file in held} == {"synced"}
    for file in held:
        check_file(story, file)
    assert story.service.get("/sync/failures")["failures"] == []
    assert download(story.service, "absent").status_code == 404
    statuses = [run["status"] for run in story.service.get("/sync/runs")["runs"]]
    assert set(statuses) == {"success"}


def pages_of_files(service: ServiceProcess) -> Iterator[dict[str, Any]]:
    page = service.get("/sync/files?limit=7")
    yield from page["files"]
    while token := page["next_token"]:
        page = service.get(f"/sync/files?limit=7&token={quote(token)}")
        yield from page["files"]


def check_file(story: Story, file: dict[str, Any]) -> None:
    """What the listing says of a file, and its download, against the object itself."""
    body = story.content[file["key"]]
    assert (file["path"], file["size"]) == (file["key"], len(body))
    if file["key"] == "large.bin":
        assert file["verdict"] == "multipart-md5"
    else:
        assert (file["verdict"], file["etag"]) == ("md5", hashlib.md5(body).hexdigest())
    answer = download(story.service, file["key"])
    assert (answer.status_code, answer.content) == (200, body)
    assert answer.headers["etag"] == f'"{file["etag"]}"'


def download(service: ServiceProcess, key: str) -> httpx.Response:
    return httpx.get(f"{service.url}/sync/download/{quote(key)}", trust_env=False, verify=False)


def while_it_is_stopped_the_bucket_changes(story: Story) -> None:
    story.put(("todo.txt", b"read a book\n"), ("written/while stopped.txt", b"here\n"))
    story.delete("reports/empty.csv")
