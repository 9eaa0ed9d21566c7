"""The decisions of the planner, one row a case."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasync.models.sync_models import (
    ListedObject,
    ObjectRow,
    Operation,
    State,
    SyncOptions,
)
from datasync.services.engine.planner import OnDisk, Pair, decide, hold_reason, pair

OPTIONS = SyncOptions(bucket="b", max_bytes=1000)
LISTED = ListedObject("k", 10, "e1", 100)
ROW = ObjectRow(
    "k", "e1", 10, 100, State.SYNCED, path="k", local_size=10, mtime_ns=100 * 10**9, synced_at=5.0
)
BARE = replace(ROW, path=None, local_size=None, mtime_ns=None)


@pytest.mark.parametrize(
    ("listed", "row", "disk", "operation", "reason"),
    [
        (LISTED, None, OnDisk.ABSENT, Operation.DOWNLOAD, "new"),
        (LISTED, None, OnDisk.TOUCHED, Operation.ADOPT, "already there"),
        (LISTED, ROW, OnDisk.INTACT, None, ""),
        (LISTED, ROW, OnDisk.ABSENT, Operation.DOWNLOAD, "missing locally"),
        (LISTED, ROW, OnDisk.CHANGED, Operation.DOWNLOAD, "changed locally"),
        (LISTED, ROW, OnDisk.TOUCHED, Operation.ADOPT, "touched locally"),
        (replace(LISTED, etag="e2"), ROW, OnDisk.INTACT, Operation.DOWNLOAD, "changed in"),
        (replace(LISTED, size=11), ROW, OnDisk.INTACT, Operation.DOWNLOAD, "changed in"),
        (replace(LISTED, last_modified=7), ROW, OnDisk.INTACT, Operation.SKIP, "new date"),
        (None, ROW, OnDisk.INTACT, Operation.DELETE, "no longer"),
        (None, BARE, OnDisk.ABSENT, Operation.DELETE, "no longer"),
        (replace(LISTED, size=1001), None, OnDisk.ABSENT, Operation.SKIP, "MAX_FILE_SIZE_MB"),
        (
            replace(LISTED, size=1001, etag="e2"),
            ROW,
            OnDisk.INTACT,
            Operation.SKIP,
            "MAX_FILE_SIZE_MB",
        ),
        (replace(LISTED, storage_class="GLACIER"), None, OnDisk.ABSENT, Operation.SKIP, "GLACIER"),
        (replace(LISTED, storage_class="DEEP_ARCHIVE"), ROW, OnDisk.INTACT, None, ""),
        (replace(LISTED, storage_class="GLACIER"), ROW, OnDisk.ABSENT, Operation.SKIP, "GLACIER"),
        (
            replace(LISTED, size=1001),
            replace(ROW, size=1001),
            OnDisk.ABSENT,
            Operation.SKIP,
            "MAX_FILE_SIZE_MB",
        ),
        (
            replace(LISTED, storage_class="GLACIER", restored=True),
            None,
            OnDisk.ABSENT,
            Operation.DOWNLOAD,
            "new",
        ),
        (replace(LISTED, problem="not UTF-8"), None, OnDisk.ABSENT, Operation.REJECT, "UTF-8"),
        (
            LISTED,
            replace(ROW, state=State.FAILED, etag="e0"),
            OnDisk.INTACT,
            Operation.DOWNLOAD,
            "changed",
        ),
        (LISTED, replace(ROW, state=State.FAILED), OnDisk.INTACT, Operation.SKIP, "same content"),
        (LISTED, replace(BARE, state=State.FAILED), OnDisk.ABSENT, Operation.DOWNLOAD, "failed"),
        (
            LISTED,
            replace(BARE, state=State.ARCHIVED),
            OnDisk.ABSENT,
            Operation.DOWNLOAD,
            "archived",
        ),
    ],
)
def test_what_one_key_needs(
    listed: ListedObject | None,
    row: ObjectRow | None,
    disk: OnDisk,
    operation: Operation | None,
    reason: str,
) -> None:
    action = decide(Pair(listed, row), disk, OPTIONS)
    assert (action.operation if action else None) is operation
    assert reason in (action.reason if action else "")


def test_skip_existing_off_downloads_what_is_there() -> None:
    action = decide(Pair(LISTED, ROW), OnDisk.INTACT, replace(OPTIONS, skip_existing=False))
    assert action is not None and action.operation is Operation.DOWNLOAD


def test_skip_existing_off_does_not_ask_for_what_is_archived() -> None:
    options, cold = replace(OPTIONS, skip_existing=False), replace(LISTED, storage_class="GLACIER")
    assert decide(Pair(cold, ROW), OnDisk.INTACT, options) is None
    action = decide(Pair(replace(cold, restored=True), ROW), OnDisk.INTACT, options)
    assert action is not None and action.operation is Operation.DOWNLOAD


@pytest.mark.parametrize(
    "listed",
    [
        replace(LISTED, size=1001),
        replace(LISTED, storage_class="GLACIER"),
        replace(LISTED, problem="too long"),
        ListedObject("dir/", 0, "e", 1),
    ],
)
def test_what_is_recorded_once_is_not_recorded_again(listed: ListedObject) -> None:
    first = decide(Pair(listed, None), OnDisk.ABSENT, OPTIONS)
    assert first is not None and first.record is not None
    assert decide(Pair(listed, first.record), OnDisk.ABSENT, OPTIONS) is None


def test_an_object_that_grew_too_large_leaves_the_old_file_marked_stale() -> None:
    action = decide(Pair(replace(LISTED, size=1001, etag="e2"), ROW), OnDisk.INTACT, OPTIONS)
    assert action is not None and action.record is not None
    assert action.record.state is State.STALE
    assert (action.record.path, action.record.etag, action.record.seen_etag) == ("k", "e1", "e2")


def test_a_folder_marker_replaces_a_file_through_the_transfer() -> None:
    row = replace(ROW, key="dir/", path="dir/%FF")
    action = decide(Pair(ListedObject("dir/", 0, "e9", 1), row), OnDisk.INTACT, OPTIONS)
    assert action is not None and action.operation is Operation.DOWNLOAD


@given(left=st.sets(st.text(max_size=4)), right=st.sets(st.text(max_size=4)))
def test_pairing_meets_every_key_once_in_byte_order(left: set[str], right: set[str]) -> None:
    pairs = list(
        pair(
            [replace(LISTED, key=key) for key in sorted(left)],
            [replace(ROW, key=key) for key in sorted(right)],
        )
    )
    keys = [(found.listed or found.row).key for found in pairs]  # type: ignore[union-attr]
    assert keys == sorted(left | right, key=lambda key: key.encode("utf-8", "surrogatepass"))
    for found, key in zip(pairs, keys, strict=True):
        assert (found.listed is not None) == (key in left)
        assert (found.row is not None) == (key in right)


@pytest.mark.parametrize(
    ("files", "mirrored", "listed", "held"),
    [
        (0, 0, 0, False),
        (0, 100, 0, False),
        (1, 1, 0, True),
        (10, 10, 5, False),
        (11, 40, 29, True),
        (11, 44, 33, False),
        (26, 100, 74, True),
        (25, 100, 75, False),
    ],
)
def test_when_a_plan_of_deletes_is_held(files: int, mirrored: int, listed: int, held: bool) -> None:
    assert (hold_reason(files, mirrored, listed, OPTIONS) is not None) == held
