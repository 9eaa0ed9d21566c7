"""A mirror in a temporary folder, and the record of its disk calls."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from datasync.services.storage.mirror import Mirror
from tests.support.clocks import StandingClock
from tests.support.disk import BUCKET, RecordingCalls


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "mirror"


@pytest.fixture
def calls() -> RecordingCalls:
    return RecordingCalls()


@pytest.fixture
def mirror(root: Path, calls: RecordingCalls) -> Iterator[Mirror]:
    with Mirror(root, calls=calls) as mirror:
        mirror.prepare(bucket_identity=BUCKET)
        calls.calls.clear()
        yield mirror


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
def clocked(root: Path, calls: RecordingCalls, clock: StandingClock) -> Iterator[Mirror]:
    """A mirror whose time is that of `clock`."""
    with Mirror(root, calls=calls, clock=clock) as mirror:
        mirror.prepare(bucket_identity=BUCKET)
        yield mirror


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)
