"""Each run and each change of the lead leaves one line in the log."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datasync.errors import LedgerError
from datasync.models.sync_models import RunKind, RunStatus
from datasync.services.engine.runner import Engine
from datasync.utils.logger import close_logging, configure_logging
from tests.support import fail
from tests.support.world import World, eventually

LEADS = "this process leads: the engine runs here"
LEFT = "this process no longer leads: the engine stopped"


class Log:
    """The lines of one test."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._file.read_text().splitlines()]

    def runs(self) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line["event"] == "run ended"]

    def events(self) -> list[str]:
        return [line["event"] for line in self.lines() if line["event"] != "outcome"]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    """Made before the world, so that it sees everything."""
    configure_logging("INFO", tmp_path / "engine.log", "json")
    yield Log(tmp_path / "engine.log")
    close_logging()


def test_a_run_in_the_foreground_is_one_line_between_taking_the_lead_and_leaving_it(
    log: Log, world: World
) -> None:
    world.bucket.put("in/a", b"one")
    world.sync("in/")
    assert log.events() == [LEADS, "run ended", LEFT]
    [line] = log.runs()
    assert line.pop("seconds") >= 0
    assert {name: line[name] for name in line if name not in ("timestamp", "logger")} == {
        "level": "info",
        "event": "run ended",
        **{"run_id": 1, "kind": "reconcile", "prefix": "in/", "status": "success"},
        **{"listed": 1, "downloaded": 1, "deleted": 0, "adopted": 0, "unchanged": 0},
        **{"skipped": 0, "failed": 0, "bytes": 3},
    }


def test_how_a_run_ended_is_its_level(log: Log, world: World) -> None:
    world.bucket.put("a", b"one")
    world.bucket.script("a", fail.status(403, times=50))
    world.sync()
    world.bucket._scripts.clear()
    world.sync(kind=RunKind.VERIFY)
    world.bucket.script_list(fail.status(403))
    world.sync()
    world.bucket.list_empty()
    world.sync()
    shown = [(line["status"], line["level"]) for line in log.runs()]
    assert shown == [
        ("partial", "warning"),
        ("success", "info"),
        ("failed", "error"),
        ("held", "warning"),
    ]
    failed, held = log.runs()[2:]
    assert "403" in failed["error"] and "s3:ListBucket" in failed["hint"]
    assert held["deletes_planned"] == 1 and "datasync approve 4" in held["hint"]


def test_a_held_run_that_is_superseded_or_cancelled_is_told_of(log: Log, world: World) -> None:
    world.bucket.put("a", b"one")
    world.sync()
    for _ in range(2):
        world.bucket.list_empty()
        world.sync()
    world.service.cancel(3)
    told = [(line["run_id"], line["status"], line.get("error", "")) for line in log.runs()]
    assert [each[:2] for each in told] == [
        (1, "success"),
        (2, "held"),
        (2, "cancelled"),
        (3, "held"),
        (3, "cancelled"),
    ]
    assert told[2][2] == "superseded by run 3"


def test_a_run_that_is_interrupted_is_told_of_once(
    log: Log, world: World, never: threading.Event
) -> None:
    world.bucket.put("a", b"one")
    world.bucket.script("a", fail.pause_until(never))

    def interrupt() -> None:
        eventually(lambda: world.bucket.requests)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            world.sync()
    finally:
        never.set()
        thread.join()
    assert [(line["status"], line["level"]) for line in log.runs()] == [("interrupted", "warning")]


def test_the_background_tells_of_runs_and_of_its_end(
    log: Log, live: World, never: threading.Event
) -> None:
    live.bucket.put("a", b"one")
    live.bucket.script("a", fail.pause_until(never))
    run, _ = live.service.request_run()
    eventually(lambda: live.bucket.requests)
    live.service.cancel(run.id)
    eventually(log.runs)
    live.service.request_run()
    live.service.stop()
    events = log.events()
    assert (events[0], events[-1]) == (LEADS, LEFT)
    assert (log.runs()[0]["status"], log.runs()[0]["level"]) == ("cancelled", "warning")


def test_a_run_that_a_dead_leader_left_is_told_of(log: Log, world: World) -> None:
    left, _ = world.ledger.request_run(RunKind.RECONCILE, "", 1.0)
    world.ledger.start_run(left.id, 2.0)
    world.sync()
    assert [(line["run_id"], line["status"]) for line in log.runs()] == [
        (left.id, "interrupted"),
        (left.id + 1, "success"),
    ]


def test_a_run_that_breaks_is_told_of_with_its_error(
    log: Log, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise LedgerError("the database is gone", hint="Look at the disk.")

    monkeypatch.setattr(Engine, "perform", broken)
    with pytest.raises(LedgerError):
        world.sync()
    [line] = log.runs()
    assert (line["level"], line["status"]) == ("error", RunStatus.FAILED)
    assert (line["error"], line["hint"]) == ("the database is gone", "Look at the disk.")
