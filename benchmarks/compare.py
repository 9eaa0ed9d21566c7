"""Runs a workload with every contestant in turn, and looks at what each of them wrote."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.contestants import Contestant, contestants
from benchmarks.light import BUCKET, Item, Pool
from benchmarks.measure import Figure, measure
from benchmarks.workloads import Workload
from tests.support.s3_server import S3Server


@dataclass(frozen=True)
class Result:
    """One counted run of one contestant."""

    contestant: str
    round_number: int
    figure: Figure


class Serving(Protocol):
    """A kind of server, at one address for all rounds."""

    pool: Pool

    def serving(self, items: Sequence[Item]) -> AbstractContextManager[S3Server]:
        """The server with these objects, and no others, in its bucket."""

    def close(self) -> None:
        """Stop what still runs."""


class Comparison:
    """One workload on one server, into one folder."""

    def __init__(self, workload: Workload, server: Serving, place: Path) -> None:
        self._workload = workload
        self._server = server
        self._place = place
        self.contestants = contestants(fresh=workload.fresh, large=workload.large)

    def results(self, rounds: int) -> Iterator[Result]:
        """A warm-up that does not count, then so many rounds: A B C A B C ..."""
        try:
            for number in range(rounds + 1):
                for result in self._round(number):
                    if number:
                        yield result
        finally:
            for each in self.contestants:
                shutil.rmtree(each.folder(self._place), ignore_errors=True)

    def _round(self, number: int) -> Iterator[Result]:
        items = self._workload.items(number)
        with self._server.serving(items) as server:
            for each in self.contestants:
                folder = each.folder(self._place)
                if self._workload.fresh:
                    shutil.rmtree(folder, ignore_errors=True)
                os.sync()  # nobody pays for what another left to be written
                command = each.command(BUCKET, self._place)
                variables = each.environment(server, BUCKET, self._place)
                figure = measure(command, variables, self._place, server.pid)
                check(each, folder, items, self._server.pool)
                yield Result(each.name, number, figure)
                if self._workload.fresh:
                    shutil.rmtree(folder)


def check(contestant: Contestant, folder: Path, items: Sequence[Item], pool: Pool) -> None:
    """Every object is there byte for byte, and nothing else. Raises: SystemExit."""
    found = set(_files(folder))
    if found != {item.key for item in items}:
        raise SystemExit(f"{contestant.name} did not write the bucket's keys")
    for item in items:
        if not _equal(folder / item.key, item, pool):
            raise SystemExit(f"{contestant.name} wrote a wrong {item.key}")


def _files(folder: Path) -> Iterator[str]:
    for place, folders, names in os.walk(folder):
        if place == str(folder) and ".datasync" in folders:
            folders.remove(".datasync")
        start = place[len(str(folder)) + 1 :]
        yield from (f"{start}/{name}" if start else name for name in names)


def _equal(path: Path, item: Item, pool: Pool) -> bool:
    with open(path, "rb", buffering=0) as file:
        if os.fstat(file.fileno()).st_size != item.size:
            return False
        return all(file.read(len(piece)) == piece for piece in pool.cut(item.offset, item.size))
