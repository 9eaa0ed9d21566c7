"""Who comes when in the benchmark, and when what the one before wrote goes away."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from benchmarks import compare
from benchmarks.compare import Comparison, turned
from benchmarks.contestants import contestants
from benchmarks.light import Item, Pool
from benchmarks.site import Site
from benchmarks.workloads import WORKLOADS
from tests.support.s3_server import S3Server

EVERYBODY = contestants(fresh=True, large=False, aws=None, variables={})


class Nobody:
    """A server that is not asked."""

    dated = True

    def __init__(self) -> None:
        self.pool = Pool()

    def serving(self, items: Sequence[Item]) -> AbstractContextManager[S3Server]:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


def test_each_round_begins_with_another_one_and_has_them_all() -> None:
    rounds = [turned(EVERYBODY, number) for number in range(len(EVERYBODY))]
    assert [each[0] for each in rounds] == EVERYBODY
    names = sorted(each.name for each in EVERYBODY)
    assert all(sorted(each.name for each in order) == names for order in rounds)
    assert turned(EVERYBODY, len(EVERYBODY)) == EVERYBODY


def test_what_one_wrote_goes_right_before_the_next_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there: list[list[str]] = []

    def measured(command: Sequence[str], variables: object, place: Path, pid: int) -> object:
        there.append([each.name for each in place.iterdir()])
        (place / f"made-{len(there)}").mkdir()
        return {}

    monkeypatch.setattr(compare, "measure", measured)
    monkeypatch.setattr(compare, "check", lambda name, folder, *_: None)
    monkeypatch.setattr(
        type(EVERYBODY[0]), "folder", lambda _, place: place / f"made-{len(there) + 1}"
    )
    site, workload = Site(tmp_path), next(each for each in WORKLOADS if each.fresh)
    comparison = Comparison(workload, Nobody(), site, None)
    s3 = S3Server("http://127.0.0.1:1", "a", "b", "us-east-1", 1)
    items: list[Item] = []
    for each in comparison.contestants[:3]:
        comparison.run(each, 1, items, s3)
    assert there == [[], [], []]
    assert [each.name for each in tmp_path.iterdir()] == ["made-3"]
