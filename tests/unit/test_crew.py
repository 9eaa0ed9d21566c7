"""How many worker processes help."""

import os

import pytest

from datasync.models.sync_models import SyncOptions
from datasync.services.engine.crew import MOST_WORKERS, worker_count


@pytest.mark.parametrize("cores, workers", [(1, 0), (2, 1), (3, MOST_WORKERS), (64, MOST_WORKERS)])
def test_one_core_is_left_to_the_engine(
    monkeypatch: pytest.MonkeyPatch, cores: int, workers: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    assert worker_count(SyncOptions("bucket")) == workers


def test_a_fixed_number_of_requests_is_the_engines_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert worker_count(SyncOptions("bucket", concurrency=200)) == 0
