"""Worker processes: what they fetch is equal; whatever happens to one costs nothing but time."""

import os
import random
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

import psutil
import pytest

from datasync.composition import Components, compose, s3_bucket
from datasync.errors import MirrorUnavailable
from datasync.models.sync_models import ListedObject, RunKind, RunStatus, SyncOptions
from datasync.services.engine import mate, queues, workshop
from datasync.services.engine.crew import Crew
from datasync.services.engine.mate import MOST_TOO_LARGE, Mate
from datasync.services.engine.parcels import Order, Outfit, Report, pack, packed_task
from datasync.services.engine.queues import PORTION, SHARED_BYTES, TaskQueues
from datasync.services.engine.tasks import Task, TooLargeForWorker
from datasync.services.storage.mirror import Mirror
from datasync.services.storage.s3.client import S3Client
from datasync.services.storage.s3.credentials import GivenCredentials
from datasync.services.storage.s3.endpoint import S3Config
from datasync.services.storage.s3.signing import Credentials
from tests.support.real import settings_for
from tests.support.s3_server import S3Server
from tests.support.world import eventually

COUNT = 1_200


@pytest.fixture(scope="module")
def objects() -> dict[str, bytes]:
    chance = random.Random(5)
    sizes = (0, 1, 4_096, 300_000)
    return {
        f"{n % 7}/{n:04} ü": chance.randbytes(sizes[n % 50 if n % 50 < 4 else 2])
        for n in range(COUNT)
    }


@pytest.fixture(scope="module")
def bucket(seaweed: S3Server, objects: dict[str, bytes]) -> str:
    name, client = seaweed.make_bucket(), seaweed.client()
    with ThreadPoolExecutor(8) as pool:
        put = client.put_object
        list(pool.map(lambda item: put(Bucket=name, Key=item[0], Body=item[1]), objects.items()))
    return name


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[Report]:
    """What workers tell; they alone have small downloads as soon as they are started."""
    told: list[Report] = []
    take, look = Mate._take, Crew.look

    def taking(self: Mate, report: Report) -> None:
        told.append(report)
        take(self, report)

    def looking(crew: Crew) -> None:
        look(crew)
        waiting = crew.pool.queues
        waiting.reserved = any(not mate.retired for mate in crew._all())
        waiting.bursts_reserved = waiting.reserved and crew._has_events()

    monkeypatch.setattr(workshop, "worker_count", lambda options: 1)
    monkeypatch.setattr(queues, "TAKEN_SECONDS", 60.0)
    monkeypatch.setattr(Mate, "_take", taking)
    monkeypatch.setattr(Crew, "look", looking)
    return told


@pytest.fixture
def parts(seaweed: S3Server, bucket: str, tmp_path: Path) -> Iterator[Components]:
    parts = compose(settings_for(seaweed, bucket, tmp_path), make_bucket=s3_bucket)
    try:
        yield parts
        parts.service.stop()
        assert parts.mirror.staging().room.promised == 0
    finally:
        parts.service.stop()
        parts.close()
    assert workers() == []


def workers() -> list[psutil.Process]:
    children = psutil.Process().children()
    return [child for child in children if any("engine.worker" in part for part in child.cmdline())]


def staged_by(reports: list[Report]) -> int:
    return sum(len(report.staged) for report in reports)


def content(root: Path) -> dict[str, bytes]:
    paths = [path for path in root.rglob("*") if path.is_file()]
    inside = [path for path in paths if ".datasync" not in path.parts]
    return {str(path.relative_to(root)): path.read_bytes() for path in inside}


def left(root: Path) -> list[str]:
    """What is staged."""
    names = os.listdir(root / ".datasync/staging")
    return [name for name in names if not name.endswith(".owner")]


def run(parts: Components) -> RunStatus:
    return parts.service.run(RunKind.RECONCILE, "").status


def by_a_run(parts: Components, keys: Iterable[str]) -> None:
    assert run(parts) is RunStatus.SUCCESS


def by_events(parts: Components, keys: Iterable[str]) -> None:
    """All at once, as after an upload of many files."""
    parts.service.mark([(key, "event") for key in keys])
    parts.service.start()
    eventually(lambda: parts.controller.stats().pending == 0, 60)


Bring = Callable[[Components, Iterable[str]], None]
either_way = pytest.mark.parametrize("bring", [by_a_run, by_events])


def test_workers_fetch_what_is_small_and_end_with_the_service(
    parts: Components, objects: dict[str, bytes], reports: list[Report]
) -> None:
    assert run(parts) is RunStatus.SUCCESS
    assert content(parts.mirror.root) == objects
    fetched = staged_by(reports)
    assert COUNT - 10 <= fetched <= COUNT  # a loop may be faster than the look for a worker
    verdicts = {row.verdict.value for row in parts.ledger.rows(limit=COUNT) if row.verdict}
    assert verdicts == {"md5"}
    assert run(parts) is RunStatus.SUCCESS  # and finds nothing to do
    assert staged_by(reports) == fetched
    assert left(parts.mirror.root) == []


def test_workers_have_the_events_of_a_burst(
    parts: Components,
    objects: dict[str, bytes],
    reports: list[Report],
) -> None:
    """What is small they fetch, what is gone they say; what is larger is left to the engine."""
    by_events(parts, [*objects, *(f"never/{number}" for number in range(400))])
    assert content(parts.mirror.root) == objects
    large = sum(len(data) > SHARED_BYTES for data in objects.values())
    others = [parcel for report in reports for parcel in report.others]
    assert staged_by(reports) > COUNT / 2 and len(others) > 200
    told = [parcel[4] for parcel in others if isinstance(parcel[4], TooLargeForWorker)]
    assert 0 < len(told) <= large < MOST_TOO_LARGE
    verdicts = {row.verdict.value for row in parts.ledger.rows(limit=COUNT) if row.verdict}
    assert verdicts == {"md5"}
    assert parts.controller.stats().failed == 0
    parts.service.stop()
    assert left(parts.mirror.root) == []


def test_a_burst_that_changes_and_deletes_what_is_held(
    parts: Components,
    bucket: str,
    seaweed: S3Server,
    objects: dict[str, bytes],
    reports: list[Report],
) -> None:
    """A worker asks for no more than what is new, and a key that is gone goes."""
    by_a_run(parts, objects)
    before = staged_by(reports)
    gone, changed = sorted(objects)[:3], sorted(objects)[3:6]
    client = seaweed.client()
    try:
        for key in gone:
            client.delete_object(Bucket=bucket, Key=key)
        for key in changed:
            client.put_object(Bucket=bucket, Key=key, Body=b"new " + key.encode())
        by_events(parts, objects)
        now = {key: data for key, data in objects.items() if key not in gone}
        assert content(parts.mirror.root) == {
            **now,
            **{key: b"new " + key.encode() for key in changed},
        }
        assert staged_by(reports) - before <= len(changed)
    finally:
        for key in (*gone, *changed):
            client.put_object(Bucket=bucket, Key=key, Body=objects[key])


def test_a_burst_of_what_is_not_small_is_soon_given_to_no_worker(
    seaweed: S3Server, tmp_path: Path, reports: list[Report]
) -> None:
    """A worker is given a sample first; what it is found to be holds for the next bursts, too."""
    name, client = seaweed.make_bucket(), seaweed.client()
    objects = {f"{number:03}": bytes([number % 256]) * (SHARED_BYTES + 1) for number in range(600)}
    with ThreadPoolExecutor(8) as pool:
        put = client.put_object
        list(pool.map(lambda item: put(Bucket=name, Key=item[0], Body=item[1]), objects.items()))
    parts = compose(settings_for(seaweed, name, tmp_path), make_bucket=s3_bucket)
    with closing(parts):
        by_events(parts, objects)
        assert content(parts.mirror.root) == objects
        told = sum(len(report.others) for report in reports)
        assert MOST_TOO_LARGE <= told < MOST_TOO_LARGE + PORTION
        by_events(parts, objects)
        parts.service.stop()
    assert sum(len(report.others) for report in reports) == told


def at_the_first(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Do this when a worker has staged files for the first time, before they are taken."""
    take = Mate._take
    done: list[object] = []

    def taking(self: Mate, report: Report) -> None:
        if report.staged and not done:
            done.append(act())
        take(self, report)

    monkeypatch.setattr(Mate, "_take", taking)


@either_way
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_the_tasks_of_a_worker_that_is_lost_are_done_without_it(
    parts: Components,
    objects: dict[str, bytes],
    reports: list[Report],
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    bring: Bring,
) -> None:
    """One that is stopped says nothing any more."""

    def lose() -> None:
        monkeypatch.setattr(mate, "SILENT_SECONDS", 1.0)  # its start may take longer
        workers()[0].send_signal(number)

    at_the_first(monkeypatch, lose)
    bring(parts, objects)
    assert content(parts.mirror.root) == objects
    assert 0 < staged_by(reports) < COUNT


@either_way
def test_nothing_is_lost_when_the_staging_folder_is_gone_at_a_hand_over(
    parts: Components,
    objects: dict[str, bytes],
    reports: list[Report],
    monkeypatch: pytest.MonkeyPatch,
    bring: Bring,
) -> None:
    hand_over, refused = Mate._hand_over, []

    def gone(mirror: Mirror) -> NoReturn:
        refused.append(mirror)
        raise MirrorUnavailable("gone for a moment")

    def handing(self: Mate, connection: Connection) -> None:
        if refused:
            hand_over(self, connection)
            return
        with monkeypatch.context() as patched:
            patched.setattr(Mirror, "staging", gone)
            hand_over(self, connection)

    monkeypatch.setattr(Mate, "_hand_over", handing)
    bring(parts, objects)
    assert refused and content(parts.mirror.root) == objects


def test_a_run_that_is_cancelled_takes_its_tasks_back(
    parts: Components,
    objects: dict[str, bytes],
    reports: list[Report],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_the_first(monkeypatch, lambda: parts.service.cancel(parts.ledger.runs(1)[0].id))
    assert run(parts) is RunStatus.CANCELLED
    assert set(content(parts.mirror.root)) <= set(objects)
    assert run(parts) is RunStatus.SUCCESS
    assert content(parts.mirror.root) == objects
    parts.service.stop()
    assert left(parts.mirror.root) == []


def test_a_run_that_is_cancelled_at_a_hand_over_ends(
    parts: Components, reports: list[Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tasks are in the queue or with the worker, whenever somebody looks for them."""
    take_light, withdraw, looked = TaskQueues.take_light, TaskQueues.withdraw, threading.Event()
    withdrawn: list[Task] = []

    def taking(queues: TaskQueues, room: int, events: int) -> list[Task]:
        taken = take_light(queues, room, events)
        if taken and not looked.is_set():
            parts.service.cancel(parts.ledger.runs(1)[0].id)
            assert looked.wait(30)  # the queue was looked through: what was taken is not there
        return taken

    def looking(queues: TaskQueues, run_id: int) -> list[Task]:
        found = withdraw(queues, run_id)
        looked.set()
        return found

    def taking_back(self: Mate, run_id: int) -> list[Task]:
        withdrawn.extend(found := take_back(self, run_id))
        return found

    take_back = Mate.withdraw
    monkeypatch.setattr(TaskQueues, "take_light", taking)
    monkeypatch.setattr(TaskQueues, "withdraw", looking)
    monkeypatch.setattr(Mate, "withdraw", taking_back)
    assert run(parts) is RunStatus.CANCELLED
    assert withdrawn


@either_way
def test_what_a_worker_has_no_right_to_is_asked_for_with_the_credentials_of_now(
    parts: Components,
    objects: dict[str, bytes],
    reports: list[Report],
    monkeypatch: pytest.MonkeyPatch,
    bring: Bring,
) -> None:
    frozen = S3Client.frozen

    def outdated(client: S3Client) -> S3Config:
        return replace(frozen(client), credentials=GivenCredentials(Credentials("old", "key")))

    monkeypatch.setattr(S3Client, "frozen", outdated)
    bring(parts, objects)
    assert content(parts.mirror.root) == objects
    assert any(report.others for report in reports) and staged_by(reports) == 0


def test_workers_that_cannot_be_started_are_done_without(
    parts: Components,
    objects: dict[str, bytes],
    reports: list[Report],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mate, "_WORKER", "datasync.no_such_module")
    assert run(parts) is RunStatus.SUCCESS
    assert content(parts.mirror.root) == objects
    assert reports == []


def test_a_worker_ends_when_the_engine_is_gone(
    seaweed: S3Server, bucket: str, objects: dict[str, bytes], tmp_path: Path
) -> None:
    """As kill -9 leaves it: with its socket closed, in the middle of its work."""
    settings = settings_for(seaweed, bucket, tmp_path)
    with Mirror(tmp_path / "mirror") as mirror, closing(s3_bucket(settings)) as source:
        mirror.prepare(bucket_identity="s3://bucket")
        elsewhere = source.elsewhere()
        assert elsewhere is not None
        ours, theirs = socket.socketpair()
        with theirs:
            process = mate._started(theirs.fileno())
        with closing(Connection(ours.detach())) as connection:
            outfit = Outfit(elsewhere, mirror.elsewhere(), b"w1.", SyncOptions("bucket"), 64)
            connection.send_bytes(pack(outfit))
            listed = [item for page in source.list() for item in page.objects]
            tasks = [packed_task(n, _task(item)) for n, item in enumerate(listed)]
            connection.send_bytes(pack(Order(tasks)))
            eventually(lambda: any("-w1." in name for name in left(mirror.root)), 30)
        assert process.wait(30) == 0


def _task(listed: ListedObject) -> Task:
    return Task(listed.key, listed=listed)
