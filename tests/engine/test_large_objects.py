"""Large objects beside all others: who waits for the disk, and when it begins to write."""

import threading
import time
from collections.abc import Callable

import pytest

from datasync.models.sync_models import ObjectRequest, RunStatus, Verdict
from datasync.services.engine import fetch, integrity, ranges, transfer_loop
from datasync.services.storage.mirror import Mirror
from datasync.services.storage.staged_file import StagedFile
from datasync.utils.file_utils import DiskCalls
from tests.support import fail
from tests.support.disk import RecordingCalls
from tests.support.world import World, eventually

KIB = 2**10
BODY = bytes(range(256)) * 4 * 40  # 40 KiB


@pytest.fixture(autouse=True)
def small_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """An object is large from 8 KiB on, and comes in ranges of 16, the first of them of 4."""
    monkeypatch.setattr(fetch, "MEMORY_BYTES", KIB)
    for module in (fetch, transfer_loop):
        monkeypatch.setattr(module, "LARGE_BYTES", 8 * KIB)
    monkeypatch.setattr(ranges, "RANGE_BYTES", 16 * KIB)
    monkeypatch.setattr(ranges, "FIRST_BYTES", 4 * KIB)


def asked(world: World, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int | None, int | None]]:
    """The ranges that are asked for from now on."""
    told: list[tuple[int | None, int | None]] = []
    take = world.bucket.take

    def taken(request: ObjectRequest) -> fail.Fault | None:
        told.append((request.first, request.last))
        return take(request)

    monkeypatch.setattr(world.bucket, "take", taken)
    return told


def test_the_first_range_is_small_and_the_others_follow(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = asked(world, monkeypatch)
    world.bucket.put("big", BODY)
    assert world.sync().status is RunStatus.SUCCESS
    spans = [(None, None), (4 * KIB, 20 * KIB - 1), (20 * KIB, 36 * KIB - 1)]
    assert sorted(told, key=lambda span: span[0] or 0) == [*spans, (36 * KIB, 40 * KIB - 1)]
    world.assert_equal()


def test_an_object_of_one_range_comes_in_one_answer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = asked(world, monkeypatch)
    world.bucket.put("one", BODY[: 16 * KIB])
    assert world.sync().status is RunStatus.SUCCESS
    assert told == [(None, None)]
    world.assert_equal()


def hanging_disk(monkeypatch: pytest.MonkeyPatch, until: threading.Event) -> list[str]:
    """What is written behind a file's first range waits; the threads that do."""
    waiting: list[str] = []
    write_at = DiskCalls.write_at

    def waits(calls: DiskCalls, descriptor: int, data: bytes, offset: int) -> None:
        if offset >= 4 * KIB:
            waiting.append(threading.current_thread().name)
            until.wait(20)
        write_at(calls, descriptor, data, offset)

    monkeypatch.setattr(DiskCalls, "write_at", waits)
    return waiting


@pytest.mark.parametrize("by", ["event", "run"])
def test_no_event_waits_for_the_disk_with_large_objects(
    live: World, never: threading.Event, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    waiting = hanging_disk(monkeypatch, never)
    large = [f"big/{number}" for number in range(8)]
    for key in large:
        live.bucket.put(key, BODY)
    if by == "event":
        live.service.mark([(key, "event") for key in large])
    else:
        live.service.request_run()
    eventually(lambda: len(set(waiting)) == 2)
    small = [f"small/{number}" for number in range(20)]
    for key in small:
        live.bucket.put(key, b"small")
        live.service.mark([(key, "event")])
    eventually(lambda: live.tree().keys() == set(small))
    never.set()
    eventually(lambda: all(live.ledger.get(key) for key in (*small, *large)))
    live.assert_equal()


def test_a_stop_leaves_nothing_of_ranges_that_wait_for_the_disk(
    live: World, never: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = hanging_disk(monkeypatch, never)
    live.bucket.put("big", BODY)
    live.service.mark([("big", "event")])
    eventually(lambda: waiting)
    threading.Timer(0.2, never.set).start()
    live.service.stop(10)
    assert live.tree() == {}
    live.assert_nothing_staged()


def test_a_cancelled_run_ends_the_ranges_that_others_carry(
    live: World, never: threading.Event
) -> None:
    live.bucket.put("big", BODY)
    live.bucket.script("big", fail.head(), *[fail.pause_until(never)] * 10)
    run, _ = live.service.request_run()
    eventually(lambda: live.bucket.counts["get"] > 1)
    live.service.cancel(run.id)
    eventually(lambda: live.status(run.id) is RunStatus.CANCELLED)
    live.assert_nothing_staged()


def test_the_proof_waits_for_a_sum_that_another_thread_still_makes(
    live: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bytes are in the file before they are in the sum."""
    update, threads = integrity._Crc.update, list[str]()

    def slowly(crc: integrity._Crc, data: bytes) -> None:
        threads.append(threading.current_thread().name)
        if len(threads) == 3:
            time.sleep(0.3)  # the last range: the other one is answered meanwhile
        update(crc, data)

    monkeypatch.setattr(integrity._Crc, "update", slowly)
    live.bucket.put("big", BODY[: 36 * KIB], part_size=9 * KIB, checksum="crc64nvme")
    live.service.mark([("big", "event")])
    eventually(lambda: live.ledger.get("big"))
    assert live.row("big").verdict is Verdict.CRC64NVME
    assert len(set(threads)) == 3 and live.bucket.counts["get"] == 3


def test_a_stop_waits_no_longer_for_ranges_that_wait_for_the_disk(
    live: World, never: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = hanging_disk(monkeypatch, never)
    for number in range(4):
        live.bucket.put(f"big/{number}", BODY)
        live.service.mark([(f"big/{number}", "event")])
    eventually(lambda: len(set(waiting)) == 2)
    began = time.monotonic()
    live.service.stop(4)
    assert time.monotonic() - began < 4
    never.set()


# When the disk begins


class RecordedWorld(World):
    """A world whose disk calls are kept."""

    durable = True

    def make_mirror(self) -> Mirror:
        self.calls = RecordingCalls()
        return Mirror(self.root, durable=self.durable, calls=self.calls)

    @property
    def written_out(self) -> set[str]:
        return {call for call in self.calls.calls if call.startswith("write_out")}


@pytest.fixture
def recorded(
    tmp_path: object, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> RecordedWorld:
    monkeypatch.setattr(RecordedWorld, "durable", getattr(request, "param", True))
    made = RecordedWorld(tmp_path)  # type: ignore[arg-type]
    request.addfinalizer(made.close)
    made.bucket.put("big", BODY)
    made.bucket.put("small", b"small")
    return made


def test_the_disk_begins_with_each_range_but_the_first(recorded: RecordedWorld) -> None:
    assert recorded.sync().status is RunStatus.SUCCESS
    spans = [(4, 16), (20, 16), (36, 4)]
    told = {f"write_out {start * KIB} {size * KIB}" for start, size in spans}
    assert recorded.written_out == told
    recorded.assert_equal()


@pytest.mark.parametrize("recorded", [False], indirect=True)
def test_it_does_not_where_nothing_has_to_be_durable(recorded: RecordedWorld) -> None:
    assert recorded.sync().status is RunStatus.SUCCESS
    assert recorded.written_out == set()
    recorded.assert_equal()


def test_a_file_that_is_gone_meanwhile_fails_as_in_every_other_step(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_out: Callable[..., None] = Mirror.write_out
    gone: list[StagedFile] = []

    def too_late(mirror: Mirror, staged: StagedFile, offset: int, nbytes: int) -> None:
        if not gone:
            gone.append(staged)
            staged.discard()
        write_out(mirror, staged, offset, nbytes)

    monkeypatch.setattr(Mirror, "write_out", too_late)
    world.bucket.put("big", BODY)
    assert world.sync().status is RunStatus.PARTIAL
    world.assert_nothing_staged()
    assert world.sync().status is RunStatus.SUCCESS
    world.assert_equal()
