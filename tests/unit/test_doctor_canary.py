"""The canary's rules, on a bucket in memory: no server of the tests can refuse one call of many,
and none can stop between two.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from datasync.doctor.canary import ARRIVAL, DELETE, FOLDER, LEFT, PUT, REMOVAL, Canary, Flight
from datasync.doctor.findings import Finding, Level, Line
from datasync.errors import LedgerBusy
from datasync.models.sync_models import Operation, Outcome, OutcomeStatus

SECONDS = 0.15


class Cage:
    """A bucket in memory with the three calls of boto3 that a canary makes.

    `mirrors`: puts and deletes reach the folder at once, as by events. `refused` calls are denied.
    """

    def __init__(self, root: Path, versioned: bool = False) -> None:
        self.root = root
        self.versioned = versioned
        self.mirrors = True
        self.refused: set[str] = set()
        self.before: dict[str, Callable[[], None]] = {}
        self.after: dict[str, Callable[[], None]] = {}
        self.objects: dict[tuple[str, str | None], bytes] = {}
        self.markers: list[str] = []
        self.history: list[Outcome] = []
        self.run: int | None = None

    def put_object(self, Bucket: str, Key: str, Body: bytes) -> dict[str, Any]:
        self._called("put")
        version = f"v{len(self.objects)}" if self.versioned else None
        self.objects[Key, version] = Body
        if self.mirrors:
            (self.root / Key).parent.mkdir(parents=True)
            (self.root / Key).write_bytes(Body)
            self._record(Key, Operation.DOWNLOAD)
        self._answered("put")
        return {"VersionId": version} if version else {}

    def delete_object(self, Bucket: str, Key: str, VersionId: str | None = None) -> None:
        self._called("delete version" if VersionId else "delete")
        if self.versioned and not VersionId:
            self.markers.append(Key)
        else:
            self.objects.pop((Key, None if VersionId == "null" else VersionId), None)
        if self.mirrors and (self.root / Key).exists():
            (self.root / Key).unlink()
            self._record(Key, Operation.DELETE)
        self._answered("delete")

    def list_object_versions(self, Bucket: str, Prefix: str) -> dict[str, Any]:
        self._called("list versions")
        return {
            "Versions": [
                {"Key": key, "VersionId": version or "null"} for key, version in self.objects
            ]
        }

    def _called(self, name: str) -> None:
        if name in self.refused:
            said = {"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
            raise ClientError(cast(Any, said), name)
        self.before.pop(name, lambda: None)()

    def _answered(self, name: str) -> None:
        self.after.pop(name, lambda: None)()

    def _record(self, key: str, did: Operation) -> None:
        self.history.insert(0, Outcome(key, did, OutcomeStatus.SUCCESS, "", 0.0, self.run))


class Aviary:
    """A cage, and what was told of the flights in it."""

    def __init__(self, root: Path) -> None:
        self.cage = Cage(root)
        self.lines: list[Line] = []
        self.has_ledger = True

    def fly(self) -> dict[str, Finding]:
        Canary(self._flight(), self.lines.append).fly()
        return self.told()

    def told(self) -> dict[str, Finding]:
        return {line.name: line.finding for line in self.lines}

    def levels(self) -> dict[str, str]:
        return {name: finding.level.value for name, finding in self.told().items()}

    def _flight(self) -> Flight:
        return Flight(
            s3=cast(Any, self.cage),
            bucket="my-bucket",
            prefix="in/",
            root=self.cage.root,
            timeout_seconds=SECONDS,
            history=(lambda _key: self.cage.history) if self.has_ledger else None,
        )


@pytest.fixture
def aviary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aviary]:
    monkeypatch.setattr("datasync.doctor.canary.LEDGER_SECONDS", SECONDS)
    yield Aviary(tmp_path)


def stop() -> None:
    raise KeyboardInterrupt


def hang_up() -> None:
    raise ReadTimeoutError(endpoint_url="http://s3")


WELL = {PUT: "pass", ARRIVAL: "pass", DELETE: "pass", REMOVAL: "pass"}


@pytest.mark.parametrize("versioned", [False, True])
def test_a_round_trip_leaves_nothing(aviary: Aviary, versioned: bool) -> None:
    aviary.cage.versioned = versioned
    found = aviary.fly()
    assert aviary.levels() == WELL
    assert found[PUT].found.startswith(f"put 'in/{FOLDER}")
    assert found[ARRIVAL].found.endswith("s, by an event")
    assert found[REMOVAL].found.startswith("the file went to the trash after ")
    assert (aviary.cage.objects, aviary.cage.markers) == ({}, [])


def test_a_run_that_was_faster_than_the_event_is_told(aviary: Aviary) -> None:
    aviary.cage.run = 7
    aviary.fly()
    assert aviary.levels() == {**WELL, ARRIVAL: "warn", REMOVAL: "warn"}
    assert "by run 7, not by an event" in aviary.told()[ARRIVAL].found


def test_without_a_ledger_it_cannot_be_told_by_what(aviary: Aviary) -> None:
    aviary.has_ledger = False
    aviary.fly()
    assert aviary.levels() == WELL
    assert "no ledger tells" in aviary.told()[ARRIVAL].found


def test_a_ledger_that_lags_behind(aviary: Aviary) -> None:
    aviary.cage.after["put"] = aviary.cage.history.clear
    aviary.fly()
    assert "does not tell yet by what" in aviary.told()[ARRIVAL].found
    assert aviary.told()[REMOVAL].found.endswith("by an event")


def test_a_busy_ledger_is_a_failure_of_its_step(
    aviary: Aviary, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(_self: Canary) -> Outcome | None:
        raise LedgerBusy("locked")

    monkeypatch.setattr(Canary, "_latest", busy)
    aviary.fly()
    assert aviary.told()[ARRIVAL] == Finding(Level.FAIL, "locked", LedgerBusy.hint)
    assert aviary.cage.objects == {}


def test_no_event_comes(aviary: Aviary) -> None:
    aviary.cage.mirrors = False
    found = aviary.fly()
    assert aviary.levels() == {PUT: "pass", ARRIVAL: "fail", LEFT: "pass"}
    assert found[ARRIVAL].found == f"no file within {SECONDS:g} s: no event has come"
    assert aviary.cage.objects == {}


def test_an_event_came_and_the_download_failed(aviary: Aviary) -> None:
    aviary.cage.mirrors = False
    outcome = Outcome("k", Operation.DOWNLOAD, OutcomeStatus.FAILED, "403", 0.0, hint="Grant it.")
    aviary.cage.history.append(outcome)
    assert aviary.fly()[ARRIVAL] == Finding(
        Level.FAIL, f"no file within {SECONDS:g} s: failed, 403", "Grant it."
    )


def test_the_file_does_not_go(aviary: Aviary) -> None:
    def no_more_events() -> None:
        aviary.cage.mirrors = False

    aviary.cage.before["delete"] = no_more_events
    assert aviary.fly()[REMOVAL].level is Level.FAIL
    assert aviary.cage.objects == {}


def test_no_permission_to_put(aviary: Aviary) -> None:
    aviary.cage.refused.add("put")
    found = aviary.fly()
    assert aviary.levels() == {PUT: "fail"}
    assert found[PUT].advice == (
        "Grant s3:PutObject on my-bucket/in/datasync-canary/* to these credentials."
    )


def test_no_permission_to_delete_tells_what_is_left(aviary: Aviary) -> None:
    aviary.cage.refused.add("delete")
    found = aviary.fly()
    assert aviary.levels() == {PUT: "pass", ARRIVAL: "pass", DELETE: "fail", LEFT: "fail"}
    ((key, _version),) = aviary.cage.objects
    assert f"s3://my-bucket/{key} could not be removed" in found[LEFT].found
    assert "Grant s3:DeleteObject on my-bucket/in/datasync-canary/*" in found[LEFT].advice


def test_no_permission_to_delete_versions_leaves_one_and_says_so(aviary: Aviary) -> None:
    aviary.cage.versioned = True
    aviary.cage.refused.add("delete version")
    found = aviary.fly()
    assert aviary.levels() == {**WELL, DELETE: "warn"}
    assert "version v0 stays behind a delete marker" in found[DELETE].found
    assert len(aviary.cage.objects) == len(aviary.cage.markers) == 1


@pytest.mark.parametrize("versioned", [False, True])
@pytest.mark.parametrize("moment", ["before the put", "after the put", "while it waits"])
def test_ctrl_c_at_any_moment_leaves_nothing(
    aviary: Aviary, moment: str, versioned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cage = aviary.cage
    cage.versioned = versioned
    if moment == "while it waits":
        cage.mirrors = False
        monkeypatch.setattr("time.sleep", lambda _seconds: stop())
    else:
        (cage.before if moment == "before the put" else cage.after)["put"] = stop
    with pytest.raises(KeyboardInterrupt):
        aviary.fly()
    assert (cage.objects, cage.markers) == ({}, [])
    assert aviary.told()[LEFT].level is Level.PASS


@pytest.mark.parametrize("refused", [None, "list versions", "delete version"])
def test_a_put_without_an_answer_may_have_worked(aviary: Aviary, refused: str | None) -> None:
    aviary.cage.refused |= {refused} if refused else set()
    aviary.cage.after["put"] = hang_up
    aviary.fly()
    assert aviary.levels() == {PUT: "fail", LEFT: "pass"}
    assert aviary.cage.objects == {}


def test_a_second_ctrl_c_ends_the_removal_and_tells_what_is_left(aviary: Aviary) -> None:
    aviary.cage.after["put"] = stop
    aviary.cage.before["list versions"] = stop
    with pytest.raises(KeyboardInterrupt):
        aviary.fly()
    left = aviary.told()[LEFT]
    assert left.level is Level.FAIL
    assert "could not be removed: interrupted" in left.found
